"""`actionbench puppets train-judge`."""

from __future__ import annotations

from pathlib import Path

import click

from actionbench.commands.display import JobProgress
from actionbench.commands.options import FOLDER, device_option, shipped_option, work_option
from actionbench.device import resolve_device
from actionbench.printing import say
from actionbench.suite.shipped import JUDGE
from actionbench.suite.suite import get_suite
from evaluation.judges.puppet import train_judge as train


@click.command()
@shipped_option
@click.option("--model", type=FOLDER, metavar="DIR",
              help="Pipeline for round trips; default: the puppets suite's.")  # fmt: skip
@work_option
@device_option
def train_judge(out: Path | None, model: Path | None, work: Path, device: str) -> None:
    """Train the puppet judge on drawings that the base model never saw."""
    pipeline = model or Path(get_suite("puppets").model)
    with JobProgress() as progress:
        made = train(out or JUDGE, work, pipeline, resolve_device(device), progress=progress)
    say(f"wrote {made}")
