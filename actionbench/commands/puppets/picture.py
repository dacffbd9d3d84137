"""`actionbench puppets picture`."""

from __future__ import annotations

from pathlib import Path

import click

from actionbench.commands.options import FILE
from actionbench.printing import say


@click.command()
@click.option("--out", type=FILE, default=Path("puppets.png"), show_default=True, metavar="FILE")
def picture(out: Path) -> None:
    """Draw the eight actions by a few subjects."""
    from actionbench.puppets.picture import write_picture

    write_picture(out)
    say(f"wrote {out}")
