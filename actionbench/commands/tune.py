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
@click.option("--passes", default=60_000, show_default=True, type=click.IntRange(1),
              help="Samples an action that the search takes through the UNet, forward and backward."
              )  # fmt: skip
@click.option("--fits", default=3, show_default=True, type=click.IntRange(3, 100),
              help="Fits of each configuration and action, with seeds from 0 on.")  # fmt: skip
@suite_option("puppets-dev")
@subjects_option("; default: a fixed few of each group")
@images_option
@setup_options
@click.option("--dry-run", is_flag=True, help="Say what would be tried; do nothing.")
@click.option("--out", type=FILE, metavar="FILE",
              help="Default: `tuning/METHOD.json` in the runs folder.")  # fmt: skip
def tune(
    method: str, passes: int, fits: int, suite: str, subjects: list[str] | None, dry_run: bool,
    out: Path | None, **options: Any,
) -> None:  # fmt: skip
    """Search METHOD's learning rate and steps, with as many sample passes for every method.

    Ranges widen while the best lies at their end; of those within one standard error of the best
    the cheapest is chosen, and measured again with fresh seeds. The eight actions are refused:
    nothing may be tuned on them. Configurations are ordinary runs, so the same command goes on.
    """
    from evaluation.experiments import measured, tuning

    kind, chosen_suite = get_method(method), get_suite(suite)
    tuning.check_tuning_suite(chosen_suite)
    subjects = subjects or tuning.default_subjects(chosen_suite)
    setup = make_setup(RunOptions(suite=suite, subjects=tuple(subjects), **options))
    search = tuning.Search(
        setup, kind, lambda plans: measured.measure_each(plans, RunView), passes, fits
    )
    if dry_run:
        for words in search.first_batch():
            for plan in search.plans(words):
                print_work(plan)
            say(f"  {tuning.changes(plan)}, {tuning.sample_passes(plan)} passes a fit")
        say("then on, to where the best lies")
        if note := tuning.passes_note(setup.plan(kind)):
            say(note)
        return
    found = search.run()
    file = out or setup.options.runs / "tuning" / f"{method}.json"
    written = tuning.write_tuning(found, file)
    print_table(tuning.table(found).rich())
    for line in tuning.notes(found):
        say(line)
    say(f"wrote {written}")
    if found.chosen is None:
        raise click.exceptions.Exit(1)
