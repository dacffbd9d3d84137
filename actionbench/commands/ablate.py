"""`actionbench ablate`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from actionbench.commands.display import end_with, print_table
from actionbench.commands.live import RunView
from actionbench.commands.options import (
    FOLDER,
    actions_option,
    images_option,
    names,
    setup_options,
    subjects_option,
    suite_option,
)
from actionbench.commands.prepare import make_setup
from actionbench.printing import say
from actionbench.runs.options import RunOptions
from actionbench.runs.store import Store

if TYPE_CHECKING:
    from evaluation.experiments.ablation import Estimate, PlannedVariant


@click.command()
@click.argument("method")
@click.option("--only", callback=names, metavar="A,B",
              help="Groups to run (of adi: tokens, merge, beta, masked, noise, prompts)."
              )  # fmt: skip
@click.option("--seeds", default=3, show_default=True, type=click.IntRange(1, 100),
              help="Runs of each variant, with seeds from 0 on.")  # fmt: skip
@suite_option()
@actions_option
@subjects_option()
@images_option
@setup_options
@click.option("--dry-run", is_flag=True, help="Say what it comes to; do nothing.")
@click.option("--out", type=FOLDER, metavar="DIR",
              help="Default: `ablation/METHOD` in the runs folder.")  # fmt: skip
def ablate(
    method: str, only: list[str] | None, seeds: int, dry_run: bool, out: Path | None, **options: Any
) -> None:
    """Take METHOD (adi, or another that declares it) apart: one part changed at a time, each
    variant with several seeds.

    Writes a table (Markdown, CSV, JSON) and a plot of the groups that are asked for. Variants are
    ordinary runs, so the same command goes on, and what several groups share is run once.
    """
    from evaluation.experiments import ablation, measured

    questions = ablation.find_questions(method, only)
    setup = make_setup(RunOptions(**options))
    planned = ablation.plan_ablation(setup, questions, seeds)
    plans = ablation.distinct_plans(planned)
    if dry_run:
        _print_plan(planned, ablation.estimate(plans, Store(setup.options.runs)))
        return
    results = ablation.collect(planned, measured.measure_each(plans, RunView))
    written = ablation.write_ablation(results, out or setup.options.runs / "ablation" / method)
    for question in results.questions:
        print_table(ablation.table(results, question).rich())
    for line in results.notes:
        say(line)
    for path in written:
        say(f"wrote {path}")
    end_with(results.failures)


def _print_plan(planned: Sequence[PlannedVariant], estimate: Estimate) -> None:
    for variant in planned:
        words = " ".join(variant.variant.words)
        say(f"{variant.question.name:<9}{variant.variant.method:<19}{words}")
    say(
        f"{estimate.runs} runs, {estimate.runs_to_do} to do: {estimate.fits} fits, "
        f"{estimate.images} images, about {estimate.seconds / 60:.0f} minutes"
    )
    if estimate.untimed:
        untimed = ", ".join(estimate.untimed)
        say(f"not counted, because no run has recorded their time: {untimed}")
