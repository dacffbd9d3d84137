"""`actionbench labels card`."""

from __future__ import annotations

from pathlib import Path

import click

from actionbench.commands.labels.options import labels_option, open_labels
from actionbench.commands.options import FILE, runs_option
from actionbench.files.atomic import write_text
from actionbench.printing import say


@click.command("card")
@labels_option
@runs_option
@click.option("--out", type=FILE, metavar="FILE", help="Default: `labels.md` beside the labels.")
def write_card(file: Path | None, runs: Path, out: Path | None) -> None:
    """Write the study's report in Markdown; what only you know is marked to fill in."""
    from evaluation.people.card import study_card

    labels = open_labels(runs, file)
    path = write_text(out or labels.path.with_suffix(".md"), study_card(labels))
    say(f"wrote {path}: fill in what is marked TO FILL IN")
