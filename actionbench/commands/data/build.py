"""`actionbench data build`."""

from __future__ import annotations

from pathlib import Path

import click

from actionbench.commands.display import JobProgress
from actionbench.commands.options import shipped_option
from actionbench.errors import UserError
from actionbench.printing import say
from actionbench.puppets import suites
from actionbench.puppets.dataset import build_dataset
from actionbench.suite.shipped import DATASET


@click.command()
@click.option("--actions", "count", type=int, metavar="N",
              help="Draws a suite of N fresh actions, 1 to 1000, instead.")  # fmt: skip
@click.option("--seed", type=int, metavar="S", help="Of the fresh actions.")
@shipped_option
def build(out: Path | None, count: int | None, seed: int | None) -> None:
    """Draw the puppets' dataset, or a suite of fresh actions: Parquet files and card."""
    if (count is None) != (seed is None):
        raise UserError("fresh actions need both: --actions N --seed S")
    with JobProgress() as progress:
        if count is None or seed is None:
            folder = out or DATASET
            fingerprint = build_dataset(folder, progress)
        else:
            drawn = suites.built_suite(count, seed)
            folder = out or Path(drawn.name)
            fingerprint = suites.build(drawn, folder, progress)
    say(f"wrote {folder}, fingerprint {fingerprint}")
    if count is not None:
        say(f"next: actionbench run --suite {folder} --method adi")
