"""`actionbench tune`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from actionbench.commands.display import print_table
from actionbench.commands.live import RunView, print_work
from actionbench.commands.options import (
    FILE,
    images_option,
    seed_option,
    setup_options,
    subjects_option,
    suite_option,
)
from actionbench.commands.prepare import make_setup
from actionbench.printing import say
from actionbench.registry import get_method
from actionbench.runs.options import RunOptions
from actionbench.suite.suite import get_suite


@click.command()
@click.argument("method")
@click.option("--budget", default=9, show_default=True, type=click.IntRange(1, 200),
              help="Configurations; the first is what the profile has.")  # fmt: skip
@suite_option("puppets-dev")
@subjects_option("; default: a fixed few of each group")
@images_option
@seed_option
@setup_options
@click.option("--dry-run", is_flag=True, help="Say what would be tried; do nothing.")
@click.option("--out", type=FILE, metavar="FILE",
              help="Default: `tuning/METHOD.json` in the runs folder.")  # fmt: skip
def tune(
    method: str, budget: int, suite: str, subjects: list[str] | None, dry_run: bool,
    out: Path | None, **options: Any,
) -> None:  # fmt: skip
    """Search METHOD's learning rate and steps, with the same budget and factors for every method.

    The eight actions are refused: nothing may be tuned on them. Configurations are ordinary
    runs, so the same command goes on, and a larger budget adds to what was tried.
    """
    from evaluation.experiments import measured, tuning

    kind, chosen_suite = get_method(method), get_suite(suite)
    tuning.check_tuning_suite(chosen_suite)
    subjects = subjects or tuning.default_subjects(chosen_suite)
    setup = make_setup(RunOptions(suite=suite, subjects=tuple(subjects), **options))
    plans = tuning.plan_tuning(setup, kind, budget)
    if dry_run:
        for plan in plans:
            print_work(plan)
            say(f"  {tuning.changes(plan)}")
        return
    search = tuning.choose(measured.measure_each(plans, RunView))
    file = out or setup.options.runs / "tuning" / f"{method}.json"
    written = tuning.write_tuning(search, file)
    print_table(tuning.table(search).rich())
    say(f"wrote {written}")
    if search.chosen is None:
        raise click.exceptions.Exit(1)
