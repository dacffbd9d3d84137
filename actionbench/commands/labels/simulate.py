"""`actionbench labels simulate`."""

from __future__ import annotations

from pathlib import Path

import click

from actionbench.commands.labels.options import (
    labels_option,
    labels_words,
    open_labels,
    rater_option,
)
from actionbench.commands.options import runs_option
from actionbench.printing import say
from actionbench.runs.store import Store


@click.command("simulate")
@rater_option
@click.option("--error", default=0.05, show_default=True, type=click.FloatRange(0, 1),
              help="How often the rater errs.")  # fmt: skip
@click.option("--seed", default=0, show_default=True)
@labels_option
@runs_option
def simulate_rater(rater: str, error: float, seed: int, file: Path | None, runs: Path) -> None:
    """Let a program answer in place of a rater, for exercise: no person's labels, marked as such.

    It knows what is right of rows whose truth is known (`drawn`, `other-action`); of other rows it
    takes the model judge's word for the truth.
    """
    from evaluation.people.simulated import simulate
    from evaluation.people.study import Study

    labels = open_labels(runs, file)
    given = simulate(Study(labels, Store(runs)), rater, error=error, seed=seed)
    say(f"simulated {given} answers by {rater} in {labels.path}; they are not people's")
    say(
        f"next: actionbench labels status{labels_words(runs, file)} / actionbench report"
        f"{labels_words(runs, None)}"
    )
