"""`actionbench puppets sheets`."""

from __future__ import annotations

from pathlib import Path

import click

from actionbench.commands.options import FOLDER
from actionbench.printing import say


@click.command()
@click.option("--out", type=FOLDER, default=Path("sheets"), show_default=True, metavar="DIR")
def sheets(out: Path) -> None:
    """Draw contact sheets of puppets-v2: the cast, the poses, and the animals without labels.

    The animals are numbered and shuffled, to see whether somebody who does not know them can name
    them; their names are printed.
    """
    from actionbench.puppets.drawing import sheets as draw

    say(f"wrote {draw.write_cast_sheet(out / 'cast.png')}")
    say(f"wrote {draw.write_pose_sheet(out / 'poses.png')}")
    animals = draw.write_animal_sheet(out / "animals.png", labelled=False)
    named = ", ".join(f"{number} {name}" for number, name in enumerate(animals, 1))
    say(f"wrote {out / 'animals.png'}: {named}")
