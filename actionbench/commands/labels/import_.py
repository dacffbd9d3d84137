"""`actionbench labels import`."""

from __future__ import annotations

from pathlib import Path

import click

from actionbench.commands.labels.options import labels_option, open_labels
from actionbench.commands.options import runs_option
from actionbench.errors import UserError
from actionbench.printing import say


@click.command("import")
@click.argument("csv", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@labels_option
@runs_option
def import_labels(csv: Path, file: Path | None, runs: Path) -> None:
    """Add the answers of CSV, an export or what a mailed page saved: all of them, or none."""
    labels = open_labels(runs, file)
    try:
        text = csv.read_text("utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"{csv} is no text in UTF-8 ({error}): save it as UTF-8") from error
    added, passed = labels.import_csv(text, str(csv))
    say(f"added {added} answers to {labels.path}, {passed} were there already")
