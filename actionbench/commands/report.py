"""`actionbench report`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from actionbench.commands.display import output
from actionbench.commands.labels.options import labels_file, labels_option, open_labels
from actionbench.commands.options import FOLDER, html_option, runs_option
from actionbench.errors import UserError
from actionbench.printing import say
from actionbench.runs.store import Store

if TYPE_CHECKING:
    from leaderboards import Board
    from leaderboards.claims import Claim
    from leaderboards.page.report import Html


@click.command()
@runs_option
@click.option("--suite", metavar="NAME_OR_PATH", help="Only runs on this suite.")
@click.option("--reference", metavar="NAME_OR_DIR",
              help="Show a kept measurement's rows as well, marked as such.")  # fmt: skip
@click.option("--claims", is_flag=False, flag_value="registered", metavar="[FILE]",
              help="Say what became of all registered claims, or of a file's; without it, of the "
              "registered ones about the suites shown.")  # fmt: skip
@click.option("--keep", type=FOLDER, metavar="DIR",
              help="Keep the complete runs (verdicts, records, board, a sample of the images) as a "
              "reference.")  # fmt: skip
@click.option("--samples", type=click.FloatRange(0), metavar="MB",
              help="Room for the sample of images with --keep, 1 if it is not given; 0 keeps none."
              )  # fmt: skip
@click.option("--out", type=FOLDER, metavar="DIR", help="Default: `report` in the runs folder.")
@html_option
@labels_option
@click.option("--calibration", type=FOLDER, metavar="DIR",
              help="Corrects rows that nobody has labelled by the judge's error, which `judges "
              "calibrate` wrote there.")  # fmt: skip
def report(
    runs: Path, suite: str | None, reference: str | None, claims: str | None,
    keep: Path | None, samples: float | None, out: Path | None, html: Html | Literal["none"],
    file: Path | None, calibration: Path | None,
) -> None:  # fmt: skip
    """Print the board of the stored runs, and write it: a page, Markdown, LaTeX, CSV, JSON, plots.

    The page, index.html, stands alone: send the file, or with it the folder index_files if there is
    one.
    """
    from leaderboards.claims import REGISTERED, read_claims
    from leaderboards.reference import keep_reference

    if samples is not None and keep is None:
        raise UserError(
            "--samples is room in what --keep writes: name its folder with --keep, or leave "
            "--samples out"
        )
    # Before the board is made: a file that cannot be read is reported at once.
    registered = None
    if claims:
        registered = read_claims(REGISTERED if claims == "registered" else Path(claims))
    board = make_report(runs, suite, reference, out, html, file, calibration, registered)
    if keep:
        room = round(1e6 * (1.0 if samples is None else samples))
        say(f"kept in {keep_reference(board, runs, keep, room)}")


def make_report(
    runs: Path,
    suite: str | None,
    reference: str | None,
    out: Path | None,
    html: Html | Literal["none"],
    file: Path | None = None,
    calibration: Path | None = None,
    claims: Sequence[Claim] | None = None,
) -> Board:
    """Build the board of the stored runs, print it and write it; see `actionbench.report`.

    Args:
        file: the labels file; that of the runs folder, if there is one, if None.
        calibration: the folder of a judge's measured error.
        claims: of which it says what became; the registered ones about the suites shown if None.
    """
    from evaluation.people.calibrated import read_calibration
    from leaderboards import build_board
    from leaderboards.claims import add_claims
    from leaderboards.page.plots import write_plots
    from leaderboards.page.report import write_report
    from leaderboards.people import add_people
    from leaderboards.reference import find_reference

    store = Store(runs)
    kept = find_reference(reference) if reference else None
    if not store.run_ids() and not kept:
        raise UserError(f"no runs in {runs}: `actionbench run --method NAME` makes them")
    error = read_calibration(calibration) if calibration else None
    labels = (
        open_labels(store.root, file) if file or labels_file(store.root, None).exists() else None
    )
    board = add_people(build_board(store.root, suite, kept), labels, error)
    board = add_claims(board, claims)
    # Files first: they are there whatever becomes of the output.
    written: list[Path] = []
    if out or store.root.exists():
        folder = out or store.root / "report"
        try:
            written = [*board.write(folder), *write_plots(board, folder)]
        except UserError as error:
            raise UserError(f"{error}; name another folder with --out") from error
        if html != "none":
            written.append(write_report(board, store.root, folder, kept, html))
    board.print(output())
    for path in written:
        say(f"wrote {path}")
    return board
