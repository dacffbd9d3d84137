"""`actionbench labels page`."""

from __future__ import annotations

from pathlib import Path

import click

from actionbench.commands.labels.options import labels_option, open_labels, rater_option
from actionbench.commands.options import FILE, runs_option
from actionbench.errors import UserError
from actionbench.printing import say
from actionbench.runs.store import Store
from actionbench.suite.items import slug

_MONTH = 30 * 24 * 3600.0


@click.command("page")
@rater_option
@click.option("--count", type=click.IntRange(1), metavar="N", help="Images in it. Default: all "
              "that this rater can help with.")  # fmt: skip
@labels_option
@runs_option
@click.option("--out", type=FILE, metavar="FILE", help="Default: `labels-NAME.html` here.")
def write_label_page(
    rater: str, count: int | None, file: Path | None, runs: Path, out: Path | None
) -> None:
    """Write a page of one file to mail to a rater, who labels and sends a CSV back.

    Its images are kept from other raters for 30 days. `labels import` reads the CSV.
    """
    from evaluation.page.document import write_page
    from evaluation.people.page.document import mailed_page
    from evaluation.people.study import Study
    from evaluation.people.verdicts import excluded_sessions

    labels = open_labels(runs, file)
    study = Study(labels, Store(runs))
    damaged = dict(study.damaged())
    items = study.packet(
        rater, count, excluded=excluded_sessions(labels), passed=damaged, seconds=_MONTH
    )
    if not any(item.kind == "image" for item in items):
        raise UserError(
            f"nothing is left in {labels.path} for {rater} to label: name another person with "
            "--rater, or go on to `actionbench labels report`"
        )
    path = out or Path(f"labels-{slug(rater) or 'rater'}.html")
    write_page(path, mailed_page(study, rater, items))
    say(
        f"wrote {path} with {len(items)} pictures, {path.stat().st_size / 2**20:.1f} MiB; "
        "`actionbench labels import CSV` reads what comes back"
    )
