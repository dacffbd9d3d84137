"""`actionbench puppets pretrain-controlnet`."""

from __future__ import annotations

from pathlib import Path

import click

from actionbench.commands.display import JobProgress
from actionbench.commands.options import FOLDER, device_option, shipped_option, work_option
from actionbench.device import resolve_device
from actionbench.printing import say
from actionbench.suite.shipped import CONTROLNET
from actionbench.suite.suite import get_suite


@click.command()
@shipped_option
@click.option("--model", metavar="PATH_OR_ID", help="Base model; default: the puppets suite's.")
@work_option
@device_option
@click.option("--steps", type=click.IntRange(1), help="Default: the recipe's.")
@click.option("--from", "start", type=FOLDER, metavar="DIR",
              help="A finished ControlNet, to be trained further.")  # fmt: skip
def pretrain_controlnet(
    out: Path | None,
    model: str | None,
    work: Path,
    device: str,
    steps: int | None,
    start: Path | None,
) -> None:
    """Train the base model's ControlNet on drawn skeletons."""
    from actionbench.puppets import pretrain_controlnet as training

    base = Path(get_suite("puppets").model)
    folder, resolved = out or base.parent / CONTROLNET, resolve_device(device)
    recipe = training.ControlRecipe()
    if steps is not None:
        recipe = training.ControlRecipe(steps=steps)
    with JobProgress() as progress:
        made = training.pretrain_controlnet(
            folder, work, model or str(base), resolved, progress, recipe, start
        )
    say(f"wrote {made}")
