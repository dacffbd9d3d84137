"""`actionbench verify`."""

from __future__ import annotations

from pathlib import Path

import click

from actionbench.commands.display import JobProgress, output
from actionbench.commands.options import FOLDER, device_option, judge_set_option, model_option
from actionbench.printing import say


@click.command()
@click.argument("folder", type=FOLDER)
@click.option("--sample", default=32, show_default=True, type=click.IntRange(0),
              help="Images of each row to judge again.")  # fmt: skip
@click.option("--redo", default=0, show_default=True, type=click.IntRange(0),
              help="Fits of each row to make again.")  # fmt: skip
@click.option("--seed", type=int, help="Draws the samples; default: another each time.")
@click.option("--suite", metavar="PATH", help="Where a suite that is not shipped lies.")
@model_option
@judge_set_option
@device_option
@click.option("--write", is_flag=True,
              help="Note what was found in the folder, so that boards show it.")  # fmt: skip
def verify(
    folder: Path, sample: int, redo: int, seed: int | None, suite: str | None, model: str | None,
    judge_words: tuple[str, ...], device: str, write: bool,
) -> None:  # fmt: skip
    """Check a submission: what it claims, a sample of its images, and fits made again.

    Nothing of the folder is executed. The exit status is 1 if a check fails.
    """
    from leaderboards.submission.verify import verify as check

    with JobProgress() as progress:
        found = check(
            folder, sample=sample, redo=redo, seed=seed, suite=suite, model=model,
            judge_words=judge_words, device=device, progress=progress,
        )  # fmt: skip
    output().print(found.table().rich())
    for run_id, level in found.levels.items():
        say(f"{run_id}: {level}")
    if not found.passed:
        failed = [check for check in found.checks if not check.passed]
        for one in failed:
            say(f"failed: {one.name}: {one.detail}", err=True)
        raise click.exceptions.Exit(1)
    if write:
        say(f"wrote {found.write()}")
