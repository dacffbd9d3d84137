"""`actionbench diff`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from actionbench.commands.display import output
from actionbench.commands.options import FOLDER, html_option, runs_option
from actionbench.printing import say
from actionbench.runs.store import Store

if TYPE_CHECKING:
    from leaderboards.page.report import Html


@click.command()
@click.argument("first", metavar="RUN_A")
@click.argument("second", metavar="RUN_B")
@runs_option
@click.option("--out", type=FOLDER, metavar="DIR",
              help="Default: `report/diff-A-B` in the runs folder.")  # fmt: skip
@html_option
def diff(
    first: str, second: str, runs: Path, out: Path | None, html: Html | Literal["none"]
) -> None:
    """Compare two runs on the items that both have: the verdicts that flipped come first.

    Printed and written as a page, Markdown, LaTeX and CSV. RUN is a run's id or the beginning of
    one; see `actionbench runs list`.
    """
    from leaderboards.difference import find_difference
    from leaderboards.page.report import write_difference

    store = Store(runs)
    one, two = store.find_run(first), store.find_run(second)
    difference = find_difference(store, one, two)
    folder = out or store.root / "report" / f"diff-{one}-{two}"
    # Files first: they are there whatever becomes of the output.
    written = [*difference.write(folder)]
    if html != "none":
        written.append(write_difference(difference, store.root, folder, html))
    difference.print(output())
    for path in written:
        say(f"wrote {path}")
