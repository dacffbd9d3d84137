"""`actionbench submit`."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from actionbench.commands.options import FOLDER, runs_option
from actionbench.commands.prepare import find_runs
from actionbench.printing import say
from actionbench.runs.store import Store


@click.command()
@click.argument("run_ids", metavar="RUN [RUN...]", nargs=-1, required=True)
@click.option("--out", type=FOLDER, metavar="DIR", required=True,
              help="A new or empty folder, or an earlier submission.")  # fmt: skip
@click.option("--hashes", is_flag=True,
              help="Only the images' hashes: the rows then stay self-reported.")  # fmt: skip
@runs_option
def submit(run_ids: tuple[str, ...], out: Path, hashes: bool, runs: Path) -> None:
    """Write a folder with runs for others to check: verdicts, records, images, a card.

    RUN is a run's id or the beginning of one. The folder goes into a pull request; `actionbench
    verify` checks it.
    """
    from leaderboards.submission.folder import submit as write_submission

    store = Store(runs)
    made = write_submission(store, find_runs(store, run_ids), out, images=not hashes)
    say(f"wrote {made}: check it with `actionbench verify {shlex.quote(str(made))}`")
