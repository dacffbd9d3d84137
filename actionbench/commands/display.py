"""What commands print: tables, a job's progress, and what failed."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Self

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars
from rich.table import Table
from rich.text import Text

from actionbench.printing import printable, ready, say, shown
from actionbench.progress import Progress
from actionbench.settings import describe_settings

if TYPE_CHECKING:
    from collections.abc import Container

    from actionbench.judge import Judge

_PLAIN_WIDTH = 160
"""Columns of a table that goes into a pipe, where no terminal says how wide it is."""


def output() -> Console:
    """Standard output; without colours and wide if it is no terminal."""
    return Console(file=ready(sys.stdout), width=None if sys.stdout.isatty() else _PLAIN_WIDTH)


def table(
    columns: Iterable[str],
    rows: Iterable[Sequence[str | Text]] = (),
    title: str = "",
    *,
    right: Container[str] = (),
    lines: bool = False,
) -> Table:
    """Build a table of data; see `shown`.

    `right` are the columns to justify right; `lines` separates the rows.
    """
    heading = shown(title, "table.title") if title else None
    built = Table(title=heading, title_justify="left", show_lines=lines)
    for column in columns:
        built.add_column(shown(column), justify="right" if column in right else "left")
    for row in rows:
        add_row(built, row)
    return built


def add_row(built: Table, row: Sequence[str | Text], style: str = "") -> None:
    cells = (shown(cell) if isinstance(cell, str) else cell for cell in row)
    built.add_row(*cells, style=style or None)


def print_table(built: Table) -> None:
    output().print(built)


def print_settings(kind: type[Judge]) -> None:
    """Print the settings of a judge with their defaults."""
    rows = [
        (row["name"], row["kind"], str(row["default"]), row["help"])
        for row in describe_settings(kind.Settings, {})
    ]
    if rows:
        print_table(table(("setting", "kind", "default", "help"), rows, kind.name))
    else:
        say(f"{kind.name} has no settings")


def end_with(failures: Sequence[str]) -> None:
    """Report what failed and end with status 1; go on if nothing did."""
    for line in failures:
        say(f"failed: {line}", err=True)
    if failures:
        raise click.exceptions.Exit(1)


def description() -> TextColumn:
    """A bar's words: they hold names of files, in which brackets are no markup."""
    return TextColumn("{task.description}", markup=False)


class JobProgress(Progress):
    """A long job's bar on a terminal's stderr; elsewhere one line there, once a minute."""

    def __init__(self) -> None:
        self.bars = Bars(
            description(),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=Console(stderr=True),
        )
        self.task = self.bars.add_task("starting", total=None)
        self.what = ""
        self.reported = time.monotonic()

    def __enter__(self) -> Self:
        if sys.stderr.isatty():
            self.bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        if sys.stderr.isatty():
            self.bars.stop()

    def update(self, done: int, total: int, what: str = "") -> None:
        if sys.stderr.isatty():
            if what != self.what:
                self.bars.reset(self.task, description=printable(what), total=total)
            self.bars.update(self.task, completed=done, total=total)
        elif time.monotonic() - self.reported > 60:
            self.reported = time.monotonic()
            say(f"{what} {done}/{total}", err=True)
        self.what = what
