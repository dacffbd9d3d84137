"""`actionbench labels export`."""

from __future__ import annotations

from pathlib import Path

import click

from actionbench.commands.labels.options import labels_option, open_labels
from actionbench.commands.options import FILE, runs_option
from actionbench.files.atomic import write_text
from actionbench.printing import say


@click.command("export")
@labels_option
@runs_option
@click.option("--out", type=FILE, metavar="FILE", help="Default: `labels.csv` beside the labels.")
def export_labels(file: Path | None, runs: Path, out: Path | None) -> None:
    """Write the answers as CSV, a line an answer; `labels import` reads it."""
    labels = open_labels(runs, file)
    path = write_text(out or labels.path.with_suffix(".csv"), labels.export())
    say(f"wrote {len(labels.labels())} answers to {path}")
