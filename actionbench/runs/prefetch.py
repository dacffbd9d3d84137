"""Fetching and verifying everything that a run needs before it starts."""

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
    """The outcome for one model."""

    what: str
    folder: Path | None
    """None if it cannot be fetched."""
    message: str
    """Its fingerprint or revision, or why it cannot be fetched."""
    pins: tuple[str, ...] = ()
    """Revision and hashes of the base model, which `models.MODEL_PRESETS` can hold."""


def prefetch(
    model: str,
    methods: Sequence[Method[Any]],
    judge: Judge,
    report: Callable[[str], None],
    progress: Progress = SILENT,
) -> Iterator[Fetched]:
    """Fetch the base model and the models that methods and judge use.

    What is on this machine already is only verified. What cannot be fetched gives an outcome like
    any other.

    Args:
        report: gets a line before each download.
        progress: receives the progress of hashing.
    """
    yield _outcome(f"model {model}", partial(_model, model, report, progress))
    owners: list[Method[Any] | Judge] = [*methods, judge]
    for owner in owners:
        for hub_id in owner.downloads:
            what = f"{hub_id} of {owner.name}"
            yield _outcome(what, partial(_download, hub_id, what, report))


def _outcome(what: str, get: Callable[[], Fetched]) -> Fetched:
    try:
        return get()
    except UserError as error:
        return Fetched(what, None, one_line(error))


def _model(name: str, report: Callable[[str], None], progress: Progress) -> Fetched:
    if local_model(name) is None:
        _announce(model_repositories(name), report)
    source = resolve_model(name, progress)
    pins = [
        f"{path.relative_to(source.path).as_posix()} sha256 {sha256_of(path)}"
        for part in NETWORKS
        for path in weight_files(source.path / part, source.variant)
    ]
    if source.path.parent.name == "snapshots":  # in the Hub's cache, the folder is the commit
        pins.insert(0, f"revision {source.path.name}")
    return Fetched(f"model {name}", source.path, f"fingerprint {source.fingerprint}", tuple(pins))


def _download(hub_id: str, what: str, report: Callable[[str], None]) -> Fetched:
    repository = Repository.whole(hub_id)
    if repository.cached() is None:
        _announce([repository], report)
    folder = fetch([repository], "model", hub_id)
    resolve_network(str(folder), "model")  # raises if it has no config or no safetensors
    return Fetched(what, folder, f"revision {folder.name}")


def _announce(repositories: Sequence[Repository], report: Callable[[str], None]) -> None:
    for repository in repositories:
        size = repository.remote_bytes()
        if size is not None:
            report(f"fetching {repository.hub_id}, {size / 1e9:.2f} GB")
            return
