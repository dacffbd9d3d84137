"""`actionbench suites list`."""

from __future__ import annotations

from pathlib import Path

import click

from actionbench.commands.display import print_table, table
from actionbench.errors import UserError
from actionbench.suite import suite as shelf
from actionbench.suite.drawn import world
from actionbench.suite.suite import Suite

_COLUMNS = ("suite", "title", "protocol", "actions", "subjects", "judge", "model")


@click.command("list")
def list_suites() -> None:
    """List what can be measured."""
    rows = [*map(_row, shelf.suites().values()), *map(_drawn_row, world().names())]
    print_table(table(_COLUMNS, rows))


def _drawn_row(name: str) -> tuple[str, ...]:
    try:
        return _row(shelf.get_suite(name))
    except UserError as error:  # its seed cannot be computed yet
        return (name, str(error).partition(":")[0], *[""] * (len(_COLUMNS) - 2))


def _row(suite: Suite) -> tuple[str, ...]:
    return (
        suite.name,
        suite.title,
        suite.protocol_of(suite.judge),
        _actions(suite),
        str(len(suite.subjects)),
        suite.judge,
        Path(suite.model).name if Path(suite.model).exists() else suite.model,
    )


def _actions(suite: Suite) -> str:
    """Names that say something; the number of those that are numbers."""
    if suite.drawn and suite.drawn.seed is not None:
        return f"{len(suite.actions):,} fresh ones"
    return ", ".join(action.name for action in suite.actions)
