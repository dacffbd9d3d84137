"""`actionbench run`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

from actionbench.commands.display import end_with
from actionbench.commands.live import RunView, print_result, print_work
from actionbench.commands.options import (
    actions_option,
    exemplar_options,
    images_option,
    names,
    seed_option,
    set_option,
    setup_options,
    subjects_option,
    suite_option,
)
from actionbench.commands.prepare import chosen_methods, make_setup
from actionbench.errors import UserError
from actionbench.printing import say
from actionbench.registry import get_method
from actionbench.runs.campaign import Setup, check_prompts, execute_each
from actionbench.runs.options import RunOptions
from actionbench.runs.plan import Plan
from actionbench.runs.profiles import trains_on_prompts


@click.command()
@click.option("--method", "methods", required=True, callback=names, metavar="NAME[,NAME...]",
              help="Systems to run, or `all`; see `actionbench methods list`.")  # fmt: skip
@suite_option()
@actions_option
@subjects_option()
@images_option
@seed_option
@exemplar_options
@set_option
@setup_options
@click.option("--dry-run", is_flag=True, help="Say what is to do and what is there; do nothing.")
def run(methods: list[str], words: tuple[str, ...], dry_run: bool, **options: Any) -> None:
    """Fit, draw and judge; what is stored already is not done again.

    Several methods run one after another. One that fails is reported at the end, with status 1,
    and the others go on.
    """
    chosen = chosen_methods(methods, words)
    asked = RunOptions(**options)
    if methods == ["all"] and asked.prompts != "own":
        chosen = _in_block(chosen, asked.prompts)
    setup = make_setup(asked)
    if methods == ["all"]:
        chosen = _with_profile(setup, chosen)
    plans, failures = _plan_each(setup, chosen, words, skip_broken=methods == ["all"])
    for line in [line for plan in plans if not plan.finished for line in check_prompts(plan)]:
        say(f"note: {line}", err=True)
    if dry_run:
        for plan in plans:
            print_work(plan)
    else:
        failures += _execute_each(plans)
    end_with(failures)


def _in_block(methods: Sequence[str], prompts: str) -> list[str]:
    """Leave out the methods that train on no prompts: they are in no block but `own`."""
    without = [name for name in methods if not _has_block(name)]
    if without:
        say(f"not under --prompts {prompts}, because they train on none: {', '.join(without)}")
    return [name for name in methods if name not in without]


def _with_profile(setup: Setup, methods: Sequence[str]) -> list[str]:
    """Leave out the methods that no search has chosen settings of, under --profile tuned."""
    kept = setup.with_profile(methods)
    if without := [name for name in methods if name not in kept]:
        model, profile = setup.source.name, setup.options.profile
        say(
            f"not under --profile {profile}, because no search has chosen their settings for "
            f"{model}: {', '.join(without)}"
        )
    return kept


def _has_block(name: str) -> bool:
    try:
        return trains_on_prompts(get_method(name))
    except UserError:  # a plug-in that cannot be imported is reported with the others' failures
        return True


def _plan_each(
    setup: Setup, methods: Sequence[str], words: Sequence[str], *, skip_broken: bool
) -> tuple[list[Plan], list[str]]:
    """Plan all before one begins: a mistake in the last shows at once, not after hours.

    `skip_broken` is for methods that nobody asked for by name: the others can do without one.
    """
    plans, failures = [], []
    for name in methods:
        try:
            plans.append(setup.plan(get_method(name), words))
        except UserError as error:
            if not skip_broken:
                raise
            failures.append(f"{name}: {error}")
    return plans, failures


def _execute_each(plans: Sequence[Plan]) -> list[str]:
    """Execute and print; return what failed, which is also reported at once: the rest may take
    hours."""
    failures = []
    for outcome in execute_each(plans, RunView):
        if outcome.result is not None:
            print_result(outcome.plan, outcome.result)
            continue
        failures.append(f"{outcome.failure} (run {outcome.plan.run_id})")
        # A traceback is several lines, of which each may name a file.
        now = failures[-1:] if len(plans) > 1 else []
        for line in [*outcome.trace.splitlines(), *now]:
            say(line, err=True)
    return failures
