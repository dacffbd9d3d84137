"""`actionbench puppets check`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from actionbench.commands.display import JobProgress, print_table, table
from actionbench.commands.options import FILE, FOLDER, device_option
from actionbench.device import resolve_device
from actionbench.printing import say


@click.command()
@click.option(
    "--out",
    type=FOLDER,
    default=Path("gates"),
    show_default=True,
    metavar="DIR",
    help="Pictures, finished rows and sheets, from which the same command goes on.",
)
@click.option(
    "--model",
    metavar="PATH_OR_ID",
    help="Base model, its ControlNet beside it; default: the shipped one, or without it "
    "the judge's rows alone.",
)
@click.option(
    "--readers",
    type=FOLDER,
    metavar="DIR",
    help="The judge's readers, keypoints and subjects; default: the shipped ones.",
)
@click.option(
    "--vae",
    type=FOLDER,
    metavar="DIR",
    help="An autoencoder for round trips, while there is no base model.",
)
@click.option("--threshold", type=click.FloatRange(-1, 1), help="Default: the judge's own.")
@click.option("--n", default=800, show_default=True, type=click.IntRange(1), help="Pictures a row.")
@click.option(
    "--pictures",
    default=5000,
    show_default=True,
    type=click.IntRange(2),
    help="Pictures for Fréchet distances.",
)
@click.option(
    "--labels",
    type=FILE,
    metavar="FILE",
    help="Labels by eye; default: labels.csv in --out, which is written to be filled in.",
)
@click.option("--skip-judge", is_flag=True, help="Only the rows that need the base model.")
@click.option(
    "--freeze",
    is_flag=True,
    help="If all is kept: write the fingerprints that the test suite's seed is made of.",
)
@device_option
def check(freeze: bool, device: str, **chosen: Any) -> None:
    """Measure whether the drawn world's base model, ControlNet and judge are fit to be used.

    No method has a part in it. Status 1 if a row failed.
    """
    from evaluation.judges.check import COLUMNS, Check, Choices, cells

    with JobProgress() as progress:
        made = Check(Choices(**chosen, device=resolve_device(device)), progress)
        rows = made.rows()
        file = made.write(rows)
    print_table(table(COLUMNS, map(cells, rows), right=("n", "measured")))
    say(f"wrote {file}")
    if freeze:
        with JobProgress() as progress:
            made.progress = progress
            say(f"wrote {made.freeze(rows)}: commit it before anything is fitted")
    if any(row.passed is False for row in rows):
        raise click.exceptions.Exit(1)
