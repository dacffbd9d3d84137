"""`actionbench methods list`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from actionbench.commands.display import print_table, table
from actionbench.commands.options import model_option, names, profile_option, prompts_option
from actionbench.errors import UserError
from actionbench.files.models import (
    ModelTraits,
    local_model,
    model_traits,
    preset_name,
)
from actionbench.method import Method
from actionbench.printing import say
from actionbench.registry import get_method, method_names
from actionbench.runs.profiles import (
    SD_2_1,
    SD_PRETRAINING_RATE,
    SD_TOKEN_RMS,
    Figure,
    figures,
    trains_on_prompts,
)
from actionbench.settings import describe_settings
from actionbench.suite.shipped import BASE_MODEL


@click.command("list")
@click.option("--method", "methods", callback=names, metavar="NAME[,NAME...]",
              help="Only these.")  # fmt: skip
@click.option("--settings", is_flag=True, help="With each one's settings, and where each is from.")
@profile_option
@prompts_option
@model_option
def list_methods(
    methods: list[str] | None, settings: bool, profile: str, prompts: str, model: str | None
) -> None:
    """List the systems that can be run, and the settings that a run would give them.

    Settings are those of a profile for a base model (by default the puppets'): every figure with
    where it comes from, `read` in a source, `derived` from one, `recalled`, or `ours`.
    """
    kinds, rows = [], []
    for name in methods or method_names():
        try:
            kind = get_method(name)
        except UserError as error:
            if methods:
                raise
            rows.append((name, "failed", str(error)))
        else:
            kinds.append(kind)
            rows.append((name, kind.title, kind.reference))
    print_table(table(("method", "title", "reference"), rows))
    if not settings:
        return
    name = model or str(BASE_MODEL)
    folder = local_model(name)
    traits = model_traits(preset_name(name, folder), folder)
    say(_heading(folder.name if folder else name, profile, traits))
    for kind in kinds:
        if prompts != "own" and not trains_on_prompts(kind):
            say(f"{kind.name} trains on no prompts")
            continue
        try:
            _print_figures(kind, figures(kind, traits, profile, prompts))
        except UserError as error:
            say(str(error))


def _heading(model: str, profile: str, traits: ModelTraits) -> str:
    rate, size = traits.pretraining_rate, traits.token_rms
    rms = "not known, the weights are not here" if size is None else f"{size:.4f}, computed"
    rms = f"token table's RMS {rms} (SD 2.1's {SD_TOKEN_RMS:g}, recalled)"
    if profile == "published" and traits.preset in SD_2_1:
        return f"profile {profile} on {model}: rates stand as published; {rms}"
    return (
        f"profile {profile} on {model}: pretraining rate "
        f"{'not known' if rate is None else f'{rate:g}'} (Stable Diffusion's "
        f"{SD_PRETRAINING_RATE:g}), {rms}"
    )


def _print_figures(kind: type[Method[Any]], values: Mapping[str, Figure]) -> None:
    if not values:
        say(f"{kind.name} has no settings")
        return
    rows = [
        (row["name"], row["kind"], _show(figure.value), figure.origin, row["help"])
        for row in describe_settings(kind.Settings, {})
        for figure in [values[row["name"]]]
    ]
    print_table(table(("setting", "kind", "value", "where from", "help"), rows, kind.name))


def _show(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)
