"""`actionbench data export`."""

from __future__ import annotations

from pathlib import Path

import click

from actionbench.commands.display import JobProgress
from actionbench.commands.options import FOLDER, runs_option
from actionbench.printing import say
from actionbench.runs.export import export_run
from actionbench.runs.store import Store


@click.command()
@click.argument("run_id", metavar="RUN")
@click.option("--out", type=FOLDER, metavar="DIR", help="Default: `export/RUN` here.")
@runs_option
def export(run_id: str, out: Path | None, runs: Path) -> None:
    """Write a finished run as a Hugging Face dataset: images, verdicts, prompts, seeds.

    RUN is a run's id or the beginning of one.
    """
    store = Store(runs)
    found = store.find_run(run_id)
    with JobProgress() as progress:
        folder = export_run(store, found, out or Path("export") / found, progress)
    say(f"wrote {folder}: `actionbench data push {folder} OWNER/NAME` uploads it")
