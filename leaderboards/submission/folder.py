"""The folder of a submission: what is in it, and how it is written.

    submission.json              what it claims; `schema.json` beside this file describes it
    README.md                    the card, for people
    runs/<run>/run.json          the runs' records, without places of the submitter's machine
    runs/<run>/verdicts.parquet  their verdicts, one row an image
    images/<key>/*.png           every image, unless only hashes are submitted
    verification.json            what `actionbench verify --write` found, if it was asked to write

The folder is a runs folder without fits, so that what reads one reads the other.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Any, Literal

from PIL import Image

from actionbench.errors import UserError
from actionbench.files.atomic import own_folder, replacing
from actionbench.runs.portable import portable
from actionbench.runs.provenance import versions
from actionbench.runs.record import RunRecord
from actionbench.runs.store import Store, read_image
from evaluation.measures.accuracy import outcomes
from evaluation.tables import Table

MARK, CARD, VERIFICATION = "submission.json", "README.md", "verification.json"
FORMAT = 1

Level = Literal["self-reported", "re-judged", "re-run"]
"""How far a row was checked: its own word; a sample of its images judged again; fits made again."""

RIGHT = ("action", "subject", "total")


@lru_cache
def schema() -> dict[str, Any]:
    """Read the JSON schema of `submission.json`."""
    text = resources.files("leaderboards.submission").joinpath("schema.json").read_text("utf-8")
    return dict(json.loads(text))


def pixels_sha256(image: Image.Image) -> str:
    """Hash an RGB image's size and pixels, whatever file held it."""
    digest = hashlib.sha256(f"{image.width}x{image.height}|".encode())
    digest.update(image.tobytes())
    return digest.hexdigest()


def file_sha256(path: Path) -> str:
    """Hash a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def submit(store: Store, run_ids: Sequence[str], out: Path, *, images: bool = True) -> Path:
    """Write a submission of some runs into `out`, which is new, empty or an earlier submission.

    Args:
        images: whether the images come along, or only their hashes.

    Raises:
        UserError: for runs that are not finished or not of one measurement, for missing or damaged
            images, and if `out` holds anything else; nothing is then written.
    """
    records = [store.read_record(run_id) for run_id in run_ids]
    _check_one_measurement(records)
    out = own_folder(out, MARK)
    with replacing(out) as folder:
        made = Store(folder)
        made.prepare()
        rows = [_add_row(store, made, record, images) for record in records]
        first = records[0]
        facts = {
            "format": FORMAT,
            "protocol": first.protocol,
            "suite": first.suite,
            "suite_fingerprint": first.suite_fingerprint,
            "model": {"name": first.model.name, "fingerprint": first.model.fingerprint},
            "judge": {"name": first.judge.name, "fingerprint": first.judge.fingerprint},
            "made": versions(),
            "canary": _canary(store, first),
            "rows": rows,
        }
        (folder / MARK).write_text(json.dumps(facts, indent=1) + "\n", "utf-8")
        (folder / CARD).write_text(_card(facts, records), "utf-8")
        for empty in ("fits", "verdicts", "canary"):
            shutil.rmtree(folder / empty, ignore_errors=True)
    return out


def _check_one_measurement(records: Sequence[RunRecord]) -> None:
    for record in records:
        if not record.complete:
            raise UserError(f"run {record.id} is {record.state}: submit finished runs")
    first = records[0]
    for record in records[1:]:
        for what, own, other in (
            ("protocol", record.protocol, first.protocol),
            ("data", record.suite_fingerprint, first.suite_fingerprint),
            ("model", record.model.fingerprint, first.model.fingerprint),
            ("judge", record.judge.fingerprint, first.judge.fingerprint),
        ):
            if own != other:
                raise UserError(
                    f"a submission is one measurement, but {record.id} has another {what} "
                    f"({own}) than {first.id} ({other}): submit them apart"
                )


def _add_row(store: Store, made: Store, record: RunRecord, images: bool) -> dict[str, Any]:
    verdicts = store.read_verdicts(record)
    hashes: dict[str, str] = {}
    for file in verdicts["image"]:
        # A row of one's own may have been read from a folder whose images were left out.
        hashes[file] = pixels_sha256(read_image(store.root / file))
        if images:
            target = made.root / file
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(store.root / file, target)
    made.save_rows(record.id, store.load_row_dicts(record.id))
    made.save_record(portable(record))
    right = outcomes(verdicts)
    folder = made.run_folder(record.id)
    return {
        "run": record.id,
        "method": record.method,
        "title": record.title,
        "seed": record.seed,
        "n": len(verdicts),
        "right": {name: int(right[name].sum()) for name in RIGHT},
        "record_sha256": file_sha256(folder / "run.json"),
        "verdicts_sha256": file_sha256(folder / "verdicts.parquet"),
        "images": {"included": images, "sha256": hashes},
    }


def _canary(store: Store, record: RunRecord) -> list[dict[str, Any]]:
    """The judge's first scores of the canary in this store, on each device."""
    found = []
    for path in sorted((store.root / "canary").glob("*.json")):
        facts = store.load_canary(path.stem) or {}
        if facts.get("fingerprint") == record.judge.fingerprint:
            found.append(facts)
    return found


def _card(facts: Mapping[str, Any], records: Sequence[RunRecord]) -> str:
    rows = [
        (row["title"], row["n"], *(f"{100 * row['right'][name] / row['n']:.1f}" for name in RIGHT),
         "included" if row["images"]["included"] else "hashes only", row["run"])
        for row in facts["rows"]
    ]  # fmt: skip
    table = Table("", ("Method", "n", "Action, %", "Subject, %", "Total, %", "images", "run"), rows)
    commands = dict.fromkeys(" ".join(portable(record).command) for record in records)
    return "\n\n".join(
        [
            f"# Submission: {facts['protocol']}",
            table.markdown(),
            f"Suite {facts['suite']} ({facts['suite_fingerprint']}), model "
            f"{facts['model']['name']} ({facts['model']['fingerprint']}), judge "
            f"{facts['judge']['name']} ({facts['judge']['fingerprint']}).",
            "Measured by:",
            "```\n" + "\n".join(commands) + "\n```",
            "Check it with `actionbench verify DIR`, look at it with "
            "`actionbench report --runs DIR`.",
            "",
        ]
    )


def trust(store: Store, run_id: str) -> Level | None:
    """Say how far a row of a submission was checked; None for a run that is no submission's.

    A verification counts for the very verdicts that it was made of.

    Raises:
        UserError: if a file of the folder is no JSON.
    """
    if not (store.root / MARK).exists():
        return None
    path = store.root / VERIFICATION
    if path.exists():
        try:
            found = json.loads(path.read_text("utf-8"))
            row = found["rows"].get(run_id, {})
            verdicts = store.run_folder(run_id) / "verdicts.parquet"
            if row.get("verdicts_sha256") == file_sha256(verdicts):
                level: Level = row["level"]
                return level
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise UserError(
                f"{path} is no verification ({error}): `actionbench verify {store.root} --write` "
                "makes it anew"
            ) from error
    return "self-reported"
