"""`actionbench data check`."""

from __future__ import annotations

from pathlib import Path

import click

from actionbench.commands.display import JobProgress
from actionbench.commands.options import FOLDER
from actionbench.photos.imported import check_imported, is_imported
from actionbench.printing import say
from actionbench.puppets.dataset import check_dataset
from actionbench.puppets.suites import check as check_drawn
from actionbench.suite.drawn import DRAWN_FILE
from actionbench.suite.shipped import DATASET


@click.command()
@click.argument("folder", type=FOLDER, required=False)
def check(folder: Path | None) -> None:
    """Check a dataset folder: whole, readable, and as it was made.

    Puppets are compared with a fresh drawing, imported photographs with the fingerprint that their
    import noted. Without FOLDER: the shipped puppets.
    """
    path = folder or DATASET
    if (path / DRAWN_FILE).exists():
        with JobProgress() as progress:
            checked = check_drawn(path, progress)
    else:
        checked = check_imported(path) if is_imported(path) else check_dataset(path)
    say(f"{path} is in order, fingerprint {checked}")
