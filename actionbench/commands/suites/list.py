"""`actionbench suites list`."""

from __future__ import annotations

from pathlib import Path

import click

from actionbench.commands.display import print_table, table
from actionbench.suite import suite as shelf
from actionbench.suite.suite import Suite

_COLUMNS = ("suite", "title", "protocol", "actions", "subjects", "judge", "model")


@click.command("list")
def list_suites() -> None:
    """List what can be measured."""
    print_table(table(_COLUMNS, map(_row, shelf.suites().values())))


def _row(suite: Suite) -> tuple[str, ...]:
    return (
        suite.name,
        suite.title,
        suite.protocol_of(suite.judge),
        ", ".join(action.name for action in suite.actions),
        str(len(suite.subjects)),
        suite.judge,
        Path(suite.model).name if Path(suite.model).exists() else suite.model,
    )
