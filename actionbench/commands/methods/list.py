"""`actionbench methods list`."""

from __future__ import annotations

import click

from actionbench.commands.display import print_settings, print_table, table
from actionbench.errors import UserError
from actionbench.registry import get_method, method_names


@click.command("list")
@click.option("--settings", is_flag=True, help="With each one's settings.")
def list_methods(settings: bool) -> None:
    """List the systems that can be run."""
    kinds, rows = [], []
    for name in method_names():
        try:
            kind = get_method(name)
        except UserError as error:
            rows.append((name, "failed", str(error)))
        else:
            kinds.append(kind)
            rows.append((name, kind.title, kind.reference))
    print_table(table(("method", "title", "reference"), rows))
    for kind in kinds if settings else ():
        print_settings(kind)
