"""Reference measurements: a board's runs kept in a folder that goes into the repository.

    reference.json               what was measured, and the commands that measure it again
    runs/<run>/run.json          the runs' records, as in a runs folder
    runs/<run>/verdicts.parquet  their verdicts, one row an image
    runs/<run>/copying.json      which images copy an exemplar
    board.md, board.json, ...    the board of these runs

The folder is a runs folder without fits and images, so that what reads one reads the other.
"""

from __future__ import annotations

import json
from pathlib import Path

from actionbench.errors import UserError, unknown
from actionbench.files.atomic import own_folder, replacing
from actionbench.runs.portable import portable, without_places
from actionbench.runs.record import RunRecord
from actionbench.runs.store import Store
from leaderboards.board import Board, BoardRow, build_board, fit_bytes
from leaderboards.claims import add_claims
from leaderboards.submission.folder import MARK as SUBMISSION

MARK = "reference.json"
KEPT = Path(__file__).parent


def keep_reference(board: Board, runs: Path, out: Path) -> Path:
    """Keep the complete runs of a board, which was built from `runs`, in the folder `out`.

    An earlier reference there is replaced as a whole. What names places of this machine is left
    out of the records.

    Raises UserError if the board has no complete run or more than one group, which is not one
    measurement, and if `out` is no earlier reference.
    """
    groups = [group for group in board.groups if any(_to_keep(row) for row in group.rows)]
    if len(groups) != 1:
        headings = "; ".join(group.heading for group in groups) or "none is complete"
        raise UserError(
            f"a reference is one measurement of complete runs, {runs} has {len(groups)} "
            f"({headings}): name one with --suite, or measure it in a --runs folder of its own"
        )
    (group,) = groups
    out = own_folder(out, MARK)
    store = Store(runs)
    records = [record for row in group.rows if _to_keep(row) for record in row.records]
    with replacing(out) as folder:
        kept = Store(folder)
        kept.prepare()
        for record in records:
            _keep_run(store, kept, record)
        facts = {
            "protocol": group.facts.protocol,
            "suite": group.facts.suite,
            "suite_fingerprint": group.facts.suite_fingerprint,
            "model": group.facts.model.fingerprint,
            "judge": group.facts.judge.fingerprint,
            "commands": list(
                dict.fromkeys(" ".join(without_places(record.command)) for record in records)
            ),
            "runs": sorted(record.id for record in records),
        }
        (folder / MARK).write_text(json.dumps(facts, indent=1) + "\n", "utf-8")
        add_claims(build_board(folder)).write(folder)
    return out


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
