"""`actionbench methods new`."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from actionbench.commands.options import FOLDER
from actionbench.plugins.template import write_skeleton
from actionbench.printing import say
from actionbench.registry import method_names


@click.command("new")
@click.argument("name")
@click.option("--out", type=FOLDER, metavar="DIR",
              help="Folder to make; default: actionbench-NAME here.")  # fmt: skip
def new_method(name: str, out: Path | None) -> None:
    """Write an installable package with a method that works as it is, to be changed."""
    folder = out or Path(f"actionbench-{name}")
    for path in write_skeleton(name, folder, method_names()):
        say(f"wrote {path}")
    say(f"next: pip install -e {shlex.quote(str(folder))} / actionbench methods check {name}")
