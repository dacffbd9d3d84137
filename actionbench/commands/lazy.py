"""A group of commands that are imported when they are called."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any, TypeAlias, cast

import click

from actionbench.errors import unknown

Table: TypeAlias = Mapping[str, tuple["str | Table", str]]
"""Commands by name: the place of each, `module:object` or the table of a group, and its help."""


class LazyGroup(click.Group):
    """List commands from a table, and import one when it is called or asked for its own help."""

    def __init__(self, name: str | None = None, *, table: Table, **attributes: Any) -> None:
        super().__init__(name, **attributes)
        self.table = table

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.table)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in self.table and cmd_name not in self.commands:
            self.add_command(_load(cmd_name, *self.table[cmd_name]), cmd_name)
        return super().get_command(ctx, cmd_name)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if not (name.startswith("-") or ctx.resilient_parsing or self.get_command(ctx, name)):
            raise unknown("command", name, self.table)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in self.table.items()])


def _load(name: str, place: str | Table, text: str) -> click.Command:
    if not isinstance(place, str):
        return LazyGroup(name, table=place, help=text)
    module, _, command = place.partition(":")
    return cast(click.Command, getattr(import_module(module), command))
