"""`actionbench puppets pretrain`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click

from actionbench.commands.display import JobProgress
from actionbench.commands.options import FOLDER, device_option, shipped_option, work_option
from actionbench.device import resolve_device
from actionbench.printing import say
from actionbench.suite.suite import get_suite


@click.command()
@shipped_option
@work_option
@device_option
@click.option("--until", metavar="STAGE", help="Stop after this stage; default: the last.")
@click.option("--exact-share", type=click.FloatRange(0, 1),
              help="How tightly descriptions are bound; default: as shipped.")  # fmt: skip
@click.option("--more-steps", type=click.IntRange(0), default=0, show_default=True,
              help="Diffusion steps after the recipe's, at a falling rate.")  # fmt: skip
@click.option("--from", "start", type=FOLDER, metavar="DIR",
              help="A finished pipeline: its text encoder and UNet get these steps.")  # fmt: skip
def pretrain(
    out: Path | None,
    work: Path,
    device: str,
    until: str | None,
    exact_share: float | None,
    more_steps: int,
    start: Path | None,
) -> None:
    """Train puppet-diffusion in stages: text and image encoder, autoencoder, diffusion."""
    from actionbench.puppets import pretrain as training

    folder = out or Path(get_suite("puppets").model)
    recipe = training.Recipe(refine_steps=more_steps)
    if exact_share is not None:
        recipe = replace(recipe, exact_share=exact_share)
    resolved, stage = resolve_device(device), until or training.STAGES[-1]
    with JobProgress() as progress:
        if start is not None:
            made: Path | None = training.refine(start, folder, work, resolved, progress, recipe)
        else:
            made = training.pretrain(folder, work, resolved, stage, progress, recipe)
    say(f"wrote {made or work}")
