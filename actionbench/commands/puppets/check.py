"""`actionbench puppets check`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from actionbench.commands.display import JobProgress, print_table, table
from actionbench.commands.options import FOLDER, device_option
from actionbench.device import resolve_device
from actionbench.printing import say
from actionbench.suite.suite import get_suite

if TYPE_CHECKING:
    from evaluation.judges.gates import Gate

_COLUMNS = ("gate", "what", "n", "measured %", "95% interval", "asked %", "")
_STATES = {True: "passed", False: "missed", None: "reported"}


@click.command()
@click.option("--out", type=FOLDER, default=Path("gates"), show_default=True, metavar="DIR")
@click.option("--model", metavar="PATH_OR_ID", help="Default: the puppets suite's.")
@click.option("--n", default=400, show_default=True, type=click.IntRange(1))
@device_option
def check(out: Path, model: str | None, n: int, device: str) -> None:
    """Measure the gates of base model, judge and ControlNet on fresh seeds.

    Status 1 if one is missed.
    """
    from evaluation.judges.gates import run_gates

    with JobProgress() as progress:
        model = model or get_suite("puppets").model
        gates = run_gates(out, model, resolve_device(device), n, progress)
    print_table(table(_COLUMNS, map(_row, gates)))
    say(f"wrote {out}")
    if any(gate.passed is False for gate in gates):
        raise click.exceptions.Exit(1)


def _row(gate: Gate) -> tuple[str, ...]:
    limits = [
        f"{word} {100 * limit:g}"
        for word, limit in (("at least", gate.at_least), ("at most", gate.at_most))
        if limit is not None
    ]
    interval = f"{100 * gate.low:.1f} to {100 * gate.high:.1f}"
    measured = (str(gate.n), f"{100 * gate.accuracy:.1f}", interval)
    return (gate.name, gate.what, *measured, ", ".join(limits), _STATES[gate.passed])
