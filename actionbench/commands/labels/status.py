"""`actionbench labels status`."""

from __future__ import annotations

from pathlib import Path

import click

from actionbench.commands.display import print_table
from actionbench.commands.labels.options import labels_option, open_labels
from actionbench.commands.options import runs_option
from actionbench.printing import say
from actionbench.runs.store import Store


@click.command("status")
@labels_option
@runs_option
def show_labels(file: Path | None, runs: Path) -> None:
    """Show who has labelled how much, how they agree, and who is excluded and why."""
    from evaluation.people.card import agreement_table, sessions_table
    from evaluation.people.study import Study

    labels = open_labels(runs, file)
    answers = labels.frame()
    images = labels.items("image")
    done = answers[answers["kind"] == "image"]["item"].nunique()
    say(f"{labels.path}: {done} of {len(images)} images have answers")
    print_table(sessions_table(answers).rich())
    print_table(agreement_table(answers).rich())
    for _, problem in Study(labels, Store(runs)).damaged():
        say(f"left out: {problem}", err=True)
