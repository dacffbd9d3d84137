"""`actionbench runs list`."""

from __future__ import annotations

from pathlib import Path

import click

from actionbench.commands.display import print_table, table
from actionbench.commands.options import runs_option
from actionbench.printing import say
from actionbench.runs.record import RunRecord
from actionbench.runs.store import Store

_COLUMNS = ("run", "suite", "model", "seed", "state", "judged", "total %", "begun")


@click.command("list")
@runs_option
def list_runs(runs: Path) -> None:
    """List the stored runs, finished or not."""
    store = Store(runs)
    records = [(run_id, store.load_record(run_id)) for run_id in store.run_ids()]
    rows = [
        _row(store, run_id, record)
        for run_id, record in records
        if record is not None  # else deleted just now
    ]
    if rows:
        print_table(table(_COLUMNS, rows))
    else:
        say(f"no runs in {runs}")


def _row(store: Store, run_id: str, record: RunRecord) -> tuple[str, ...]:
    verdicts = store.load_row_dicts(run_id) if store.has_rows(run_id) else []
    right = sum(verdict["total_correct"] for verdict in verdicts)
    return (
        run_id,
        record.suite,
        record.model.name,
        str(record.seed),
        record.state,
        f"{len(verdicts)} of {record.n_items}",
        f"{100 * right / len(verdicts):.1f}" if verdicts else "",
        record.started,
    )
