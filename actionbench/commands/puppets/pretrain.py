"""`actionbench puppets pretrain`."""

from __future__ import annotations

from pathlib import Path

import click

from actionbench.commands.display import JobProgress
from actionbench.commands.options import FOLDER, device_option, shipped_option
from actionbench.device import resolve_device
from actionbench.files.hashing import cache_folder
from actionbench.printing import say
from actionbench.puppets.training.recipe import STAGES, Recipe, changed
from actionbench.suite.shipped import READERS, SECOND


@click.command()
@shipped_option
@click.option(
    "--work",
    type=FOLDER,
    metavar="DIR",
    help="Corpora, checkpoints and logs, from which the same command goes on; default: "
    "puppets-v2 in the user's cache folder.",
)
@click.option(
    "--kept",
    type=FOLDER,
    metavar="DIR",
    help="Go on from what `python -m actionbench.puppets.training keep` kept elsewhere.",
)
@click.option(
    "--until",
    type=click.Choice(STAGES),
    default=STAGES[-1],
    show_default=True,
    help="The last stage of the base model; the judge's readers come after all of them.",
)
@click.option(
    "--set",
    "fields",
    multiple=True,
    metavar="FIELD=VALUE",
    help="A field of the recipe, for a twin.",
)
@click.option(
    "--workers", default=1, show_default=True, type=click.IntRange(1), help="Processes that draw."
)
@device_option
def pretrain(
    out: Path | None,
    work: Path | None,
    kept: Path | None,
    until: str,
    fields: tuple[str, ...],
    workers: int,
    device: str,
) -> None:
    """Train puppet-diffusion, its ControlNet and the judge's readers, from nothing.

    Goes on from where it was killed. `python -m actionbench.puppets.training look` shows what the
    models draw by then.
    """
    recipe = changed(Recipe(), fields)
    from actionbench.puppets.training.keeping import changes, restore
    from actionbench.puppets.training.whole import pretrain_whole

    readers = READERS if out is None else out / READERS.name
    folder, place = out or SECOND, work or cache_folder() / "puppets-v2"
    if kept is not None:
        say(f"goes on from {', '.join(restore(kept, place)) or 'the work folder'}")
        if warning := changes(kept, recipe):
            say(warning)
    with JobProgress() as progress:
        made = pretrain_whole(
            *(folder, readers, place, recipe, resolve_device(device), progress, workers, until)
        )
    say(f"wrote {made or place}")
