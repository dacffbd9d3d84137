"""`actionbench labels plan`."""

from __future__ import annotations

from pathlib import Path

import click

from actionbench.commands.labels.options import (
    begin,
    labels_file,
    labels_option,
    labels_words,
    plan_options,
)
from actionbench.commands.options import runs_option
from actionbench.printing import say
from actionbench.runs.store import Store


@click.command("plan")
@click.argument("run_ids", metavar="RUN [RUN...]", nargs=-1, required=True)
@labels_option
@runs_option
def plan_labels(
    run_ids: tuple[str, ...], budget: int | None, seed: int, overlap: float, no_gold: bool,
    file: Path | None, runs: Path,
) -> None:  # fmt: skip
    """Choose which images of finished runs people are to label; say what their labels will buy.

    RUN is a run's id or the beginning of one.
    """
    from evaluation.people.study import StudyOptions

    options = StudyOptions(budget, seed, overlap, gold=not no_gold)
    begin(Store(runs), run_ids, labels_file(runs, file), options)
    say(f"next: actionbench annotate --rater NAME{labels_words(runs, file)}")


for _option in reversed(plan_options):
    plan_labels = _option(plan_labels)
