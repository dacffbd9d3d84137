"""Reference measurements: a board's runs kept in a folder that goes into the repository.

    reference.json               what was measured, and the commands that measure it again
    runs/<run>/run.json          the runs' records, as in a runs folder
    runs/<run>/verdicts.parquet  their verdicts, one row an image
    runs/<run>/copying.json      which images copy an exemplar
    runs/<run>/atlas.webp        a sample of its images (`leaderboards.samples`)
    board.md, board.json, ...    the board of these runs

The folder is a runs folder without fits and images, so that what reads one reads the other.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from actionbench.errors import UserError, unknown
from actionbench.files.atomic import own_folder, replacing
from actionbench.runs.portable import portable, without_places
from actionbench.runs.record import RunRecord
from actionbench.runs.store import Store
from leaderboards.board import Board, BoardRow, Group, build_board, fit_bytes
from leaderboards.claims import add_claims
from leaderboards.samples import ROOM, keep_samples
from leaderboards.submission.folder import MARK as SUBMISSION

MARK = "reference.json"
KEPT = Path(__file__).parent


def keep_reference(board: Board, runs: Path, out: Path, room: int = ROOM) -> Path:
    """Keep the complete runs of a board, which was built from `runs`, in the folder `out`.

    An earlier reference there is replaced as a whole. What names places of this machine is left
    out of the records. Of the images a sample is kept that takes at most `room` bytes.

    Several groups of the board, its suites, profiles and kinds of prompts, are one measurement as
    long as one judge judged what one model drew of whole suites.

    Raises UserError if the board has no complete run, runs of several models or judges, or several
    choices of one suite's items, and if `out` is no earlier reference.
    """
    groups = [group for group in board.groups if any(_to_keep(row) for row in group.rows)]
    made = {(g.facts.model.fingerprint, g.facts.judge.fingerprint) for g in groups}
    if len(made) != 1 or len({_whole(group) for group in groups}) != len(groups):
        headings = "; ".join(group.heading for group in groups) or "none is complete"
        raise UserError(
            f"a reference is one model's complete runs under one judge, a suite's items chosen in "
            f"one way; {runs} has {len(groups)} ({headings}): name one suite with --suite, or "
            "measure it in a --runs folder of its own"
        )
    out = own_folder(out, MARK)
    store = Store(runs)
    records = [r for group in groups for r in _records(group)]
    ((model, judge),) = made
    with replacing(out) as folder:
        kept = Store(folder)
        kept.prepare()
        for record in records:
            _keep_run(store, kept, record)
        keep_samples(store, records, kept, room)
        facts = {
            "model": model,
            "judge": judge,
            "measurements": [_facts(group) for group in groups],
        }
        (folder / MARK).write_text(json.dumps(facts, indent=1) + "\n", "utf-8")
        add_claims(build_board(folder)).write(folder)
    return out


def _whole(group: Group) -> tuple[str, str, str]:
    """What tells a group from others, but for the choice of the suite's items."""
    return group.facts.suite_fingerprint, group.facts.profile, group.facts.prompts


def _records(group: Group) -> list[RunRecord]:
    return [record for row in group.rows if _to_keep(row) for record in row.records]


def _facts(group: Group) -> dict[str, Any]:
    """What a group measured, and the commands that measure it again."""
    facts, records = group.facts, _records(group)
    commands = (" ".join(without_places(record.command)) for record in records)
    return {
        "protocol": facts.protocol,
        "suite": facts.suite,
        "suite_fingerprint": facts.suite_fingerprint,
        "profile": facts.profile,
        "prompts": facts.prompts,
        "commands": list(dict.fromkeys(commands)),
        "runs": sorted(record.id for record in records),
    }


def _to_keep(row: BoardRow) -> bool:
    return not row.partial and not row.reference


def _keep_run(store: Store, kept: Store, own: RunRecord) -> None:
    record = portable(own)
    for action, size in fit_bytes(store, own).items():
        if (fit := record.costs[action].fit) is not None:
            fit.bytes = size
    kept.save_rows(own.id, store.load_row_dicts(own.id))
    kept.save_record(record)
    copying = store.load_copying(own.id)
    if copying is not None:
        kept.save_copying(own.id, copying)


def find_reference(name: str) -> Path:
    """The folder of a kept measurement or submission: a path, or the name of one that is shipped.

    Raises UserError if there is none.
    """
    for folder in (Path(name), KEPT / name):
        if (folder / MARK).is_file() or (folder / SUBMISSION).is_file():
            return folder
    if Path(name).exists():
        raise UserError(
            f"{name} is no kept measurement ({MARK} or {SUBMISSION} is missing): name a folder of "
            "`leaderboards/`"
        )
    raise unknown("reference", name, (path.parent.name for path in KEPT.glob(f"*/{MARK}")))
