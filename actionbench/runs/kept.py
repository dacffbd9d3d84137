"""What a runs folder keeps of its suites, so that it can be looked at wherever it is carried.

    suites/<fingerprint>/suite.yaml          the definition
    suites/<fingerprint>/exemplars.parquet   the exemplars as thumbnails

That is enough for pictures and headings. Judging again needs the exemplars themselves, so the
dataset: where it was when the run was drawn, or where the user says that it is now.
"""

from __future__ import annotations

import io
from contextlib import suppress
from pathlib import Path

from actionbench.errors import UserError
from actionbench.files.atomic import once
from actionbench.runs.record import RunRecord
from actionbench.runs.store import Store, reporting
from actionbench.suite.drawn import redrawn
from actionbench.suite.suite import Suite, get_suite, suite_from
from actionbench.suite.tables import EXEMPLARS
from actionbench.suite.yaml_file import SUITE_FILE, write_definition

THUMBNAIL = 128
"""The longest side of a kept exemplar in pixels, which is what pictures of runs show."""


def keep_suite(store: Store, suite: Suite) -> None:
    """Keep a suite's definition and thumbnails in a prepared store, unless they are there."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder = store.suite_folder(suite.fingerprint)
    if folder.exists():
        return
    rows = []
    for name, task in suite.tasks.items():
        for exemplar in task.exemplars:
            image, buffer = exemplar.image.copy(), io.BytesIO()
            image.thumbnail((THUMBNAIL, THUMBNAIL))
            image.save(buffer, "PNG")
            rows.append(
                {
                    "id": exemplar.id,
                    "action": name,
                    "image": {"bytes": buffer.getvalue(), "path": f"{exemplar.id}.png"},
                    "caption": exemplar.caption,
                    "template": exemplar.template,
                    "keypoints": None,
                }
            )
    with reporting(folder), once(folder) as place:
        place.mkdir()
        pq.write_table(pa.Table.from_pylist(rows), place / EXEMPLARS)
        write_definition(suite, place / SUITE_FILE)


def known_suite(store: Store, record: RunRecord) -> Suite | None:
    """Return the suite that a run was drawn for, for its title and lists; None if it is gone."""
    kept = _kept_suite(store, record)
    if kept is None:
        with suppress(UserError):
            return get_suite(record.suite_file or record.suite)
    return kept


def shown_suite(store: Store, record: RunRecord, place: str | None = None) -> Suite:
    """Return the suite that a run was drawn for, to be shown: its exemplars may be thumbnails.

    They are those that the method learned from.

    Args:
        place: the dataset's folder, if the user names one.

    Raises:
        UserError: as `find_suite`, for a run whose folder keeps no thumbnails.
    """
    if record.redraws_exemplars:
        return redrawn(find_suite(record, place), record.exemplar_seed, record.exemplars)
    if place is None and (kept := _kept_suite(store, record)) is not None:
        with suppress(UserError):  # damaged: the dataset serves as well, if it is there
            _ = kept.tasks
            return kept
    return find_suite(record, place)


def same_suite(store: Store, record: RunRecord) -> Suite | None:
    """Return the suite as it was when a run was drawn, to be shown; None if it is gone or another
    by now."""
    with suppress(UserError):
        return shown_suite(store, record)
    return None


def find_suite(record: RunRecord, place: str | None = None) -> Suite:
    """Return the suite that a run was drawn for, with its dataset.

    Args:
        place: where the dataset is; by default where it was when the run was drawn.

    Raises:
        UserError: if it is not there, or is another version of it.
    """
    where = place or record.suite_file or record.suite
    try:
        suite = get_suite(where)
        fingerprint = suite.fingerprint
    except UserError as error:
        if place is not None:
            raise
        raise UserError(
            f"run {record.id} was drawn for the dataset at {where}, which cannot be read there "
            f"({error}): name its new place with --suite FOLDER"
        ) from error
    if fingerprint != record.suite_fingerprint:
        raise UserError(
            f"run {record.id} was drawn for another version of suite {record.suite} than "
            f"{where} holds (fingerprint {record.suite_fingerprint}, not {fingerprint}): "
            "name the place of that one with --suite FOLDER"
        )
    return suite


def is_of(suite: Suite, record: RunRecord) -> bool:
    """Check whether a suite is the one that a run was drawn for, not another version of it."""
    if suite.exemplar_file.parent.name == record.suite_fingerprint:  # kept, so thumbnails
        return suite.exemplar_file.exists()
    return suite.exemplar_file.exists() and suite.fingerprint == record.suite_fingerprint


def _kept_suite(store: Store, record: RunRecord) -> Suite | None:
    folder: Path = store.suite_folder(record.suite_fingerprint)
    if not folder.is_dir():
        return None
    with suppress(UserError):
        return suite_from(folder / SUITE_FILE, folder)
    return None
