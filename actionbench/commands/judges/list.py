"""`actionbench judges list`."""

from __future__ import annotations

import click

from actionbench.commands.display import print_settings, print_table, table
from actionbench.errors import UserError
from actionbench.registry import get_judge, judge_names


@click.command("list")
@click.option("--settings", is_flag=True, help="With each one's settings.")
def list_judges(settings: bool) -> None:
    """List who can judge."""
    kinds, rows = [], []
    for name in judge_names():
        try:
            kind = get_judge(name)
        except UserError as error:
            rows.append((name, f"failed: {error}"))
        else:
            kinds.append(kind)
            rows.append((name, (kind.__doc__ or "").strip().split("\n")[0]))
    print_table(table(("judge", "what it is"), rows))
    for kind in kinds if settings else ():
        print_settings(kind)
