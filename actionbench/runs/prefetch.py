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
    Network,
    local_model,
    model_repositories,
    network_class,
    network_repository,
    resolve_model,
    weight_files,
)
from actionbench.files.networks import check_network, check_pipeline
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
        for network in owner.networks:
            what = f"{network.path_or_id} of {owner.name}"
            yield _outcome(what, partial(_network, network, what, report))
        others = {*owner.downloads} - {network.path_or_id for network in owner.networks}
        for hub_id in sorted(others):
            what = f"{hub_id} of {owner.name}"
            yield _outcome(what, partial(_download, network_repository(hub_id), what, report))


def _outcome(what: str, get: Callable[[], Fetched]) -> Fetched:
    try:
        return get()
    except UserError as error:
        return Fetched(what, None, one_line(error))


def _model(name: str, report: Callable[[str], None], progress: Progress) -> Fetched:
    if local_model(name) is None:
        _announce(model_repositories(name), report)
    source = resolve_model(name, progress)
    for part, differences in check_pipeline(source.path, source.half).items():
        differences.refuse(source.path / part, network_class(source.path, part))
    pins = [
        f"{path.relative_to(source.path).as_posix()} sha256 {sha256_of(path)}"
        for part in source.kind.networks
        for path in weight_files(source.path / part, source.variant(part))
    ]
    if source.path.parent.name == "snapshots":  # in the Hub's cache, the folder is the commit
        pins.insert(0, f"revision {source.path.name}")
    return Fetched(f"model {name}", source.path, f"fingerprint {source.fingerprint}", tuple(pins))


def _network(network: Network, what: str, report: Callable[[str], None]) -> Fetched:
    folder = Path(network.path_or_id).expanduser()
    if folder.exists():
        if lacking := network.lacking(folder):
            raise UserError(f"{folder} lacks {', '.join(lacking)}: put it there, or fetch it again")
        fetched = Fetched(what, folder.resolve(), "a local folder")
    else:
        fetched = _download(network.repository, what, report)
    assert fetched.folder is not None
    check_network(network, fetched.folder).refuse(fetched.folder, network.loader)
    return fetched


def _download(repository: Repository, what: str, report: Callable[[str], None]) -> Fetched:
    if repository.cached() is None:
        _announce([repository], report)
    folder = fetch([repository], "model", repository.hub_id)
    return Fetched(what, folder, f"revision {folder.name}")


def _announce(repositories: Sequence[Repository], report: Callable[[str], None]) -> None:
    for repository in repositories:
        size = repository.remote_bytes()
        if size is not None:
            report(f"fetching {repository.hub_id}, {size / 1e9:.2f} GB")
            return
