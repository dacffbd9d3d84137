"""`actionbench data pull`."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from actionbench.commands.options import FOLDER
from actionbench.photos.sharing import pull as fetch
from actionbench.printing import say


@click.command()
@click.argument("source", metavar="REPO_ID[@REVISION]")
@click.option("--out", type=FOLDER, default=Path("photos"), show_default=True, metavar="FOLDER")
def pull(source: str, out: Path) -> None:
    """Fetch a dataset from the Hugging Face Hub, or copy it from a folder, and check it."""
    commit = fetch(source, out)
    say(f"pulled {out}{f', commit {commit}' if commit else ''}")
    say(f"next: actionbench run --suite {shlex.quote(str(out))} --method adi")
