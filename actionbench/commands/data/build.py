"""`actionbench data build`."""

from __future__ import annotations

from pathlib import Path

import click

from actionbench.commands.display import JobProgress
from actionbench.commands.options import shipped_option
from actionbench.printing import say
from actionbench.puppets.dataset import build_dataset
from actionbench.suite.shipped import DATASET


@click.command()
@shipped_option
def build(out: Path | None) -> None:
    """Draw the puppets' dataset: Parquet files and card."""
    folder = out or DATASET
    with JobProgress() as progress:
        fingerprint = build_dataset(folder, progress)
    say(f"wrote {folder}, fingerprint {fingerprint}")
