"""Fetching all that a run needs before it starts, and verifying it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from actionbench.errors import UserError, one_line
from actionbench.files.hashing import sha256_of
from actionbench.files.hub import Repository, fetch
from actionbench.files.models import (
    NETWORKS,
    local_model,
    model_repositories,
    resolve_model,
    resolve_network,
    weight_files,
)
from actionbench.judge import Judge
from actionbench.method import Method
from actionbench.progress import SILENT, Progress


@dataclass(frozen=True)
class Fetched:
    what: str
    folder: Path | None
    """None where it cannot be had."""
    message: str
    """Its fingerprint or revision, or why it cannot be had."""
    pins: tuple[str, ...] = ()
    """For the base model: revision and hashes, as `models.MODEL_PRESETS` can hold them."""


def prefetch(
    model: str,
    methods: Sequence[Method[Any]],
    judge: Judge,
    tell: Callable[[str], None],
    progress: Progress = SILENT,
) -> Iterator[Fetched]:
    """Fetch the model and what methods and judge name; what is here already is only verified.

    `tell` gets a line before each download. What cannot be had is an outcome like another.
    """
    yield _outcome(f"model {model}", partial(_model, model, tell, progress))
    owners: list[Method[Any] | Judge] = [*methods, judge]
    for owner in owners:
        for hub_id in owner.downloads:
            what = f"{hub_id} of {owner.name}"
            yield _outcome(what, partial(_download, hub_id, what, tell))


def _outcome(what: str, get: Callable[[], Fetched]) -> Fetched:
    try:
        return get()
    except UserError as error:
        return Fetched(what, None, one_line(error))


def _model(name: str, tell: Callable[[str], None], progress: Progress) -> Fetched:
    if local_model(name) is None:
        _announce(model_repositories(name), tell)
    source = resolve_model(name, progress)
    pins = [
        f"{path.relative_to(source.path).as_posix()} sha256 {sha256_of(path)}"
        for part in NETWORKS
        for path in weight_files(source.path / part, source.variant)
    ]
    if source.path.parent.name == "snapshots":  # of the Hub's cache: the folder is the commit
        pins.insert(0, f"revision {source.path.name}")
    return Fetched(f"model {name}", source.path, f"fingerprint {source.fingerprint}", tuple(pins))


def _download(hub_id: str, what: str, tell: Callable[[str], None]) -> Fetched:
    repository = Repository.whole(hub_id)
    if repository.cached() is None:
        _announce([repository], tell)
    folder = fetch([repository], "model", hub_id)
    resolve_network(str(folder), "model")  # raises where it has no config, or no safetensors
    return Fetched(what, folder, f"revision {folder.name}")


def _announce(repositories: Sequence[Repository], tell: Callable[[str], None]) -> None:
    for repository in repositories:
        size = repository.remote_bytes()
        if size is not None:
            tell(f"fetching {repository.hub_id}, {size / 1e9:.2f} GB")
            return
