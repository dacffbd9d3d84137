"""`actionbench prefetch`."""

from __future__ import annotations

import click

from actionbench.commands.display import JobProgress, end_with
from actionbench.commands.options import (
    judge_option,
    judge_set_option,
    methods_option,
    model_option,
    set_option,
    suite_option,
)
from actionbench.commands.prepare import chosen_methods
from actionbench.files.models import local_model, model_traits, preset_name
from actionbench.printing import say
from actionbench.registry import get_method, make_judge
from actionbench.runs.prefetch import Fetched
from actionbench.runs.prefetch import prefetch as fetch_each
from actionbench.runs.profiles import configure
from actionbench.suite.suite import get_suite


@click.command()
@methods_option
@suite_option()
@model_option
@judge_option
@judge_set_option
@set_option
def prefetch(
    methods: list[str],
    suite: str,
    words: tuple[str, ...],
    model: str | None,
    judge: str | None,
    judge_words: tuple[str, ...],
) -> None:
    """Fetch base model, ControlNet and judge models into the Hub's cache, and verify them.

    Prints revisions, and of the base model fingerprint and hashes. Status 1 if something cannot
    be had.
    """
    chosen_suite = get_suite(suite)
    name = model or chosen_suite.model
    folder = local_model(name)
    traits = model_traits(preset_name(name, folder), folder)
    kinds = map(get_method, chosen_methods(methods, words))
    systems = [configure(kind, traits, words=words) for kind in kinds]
    chosen_judge = make_judge(judge or chosen_suite.judge, chosen_suite, judge_words)
    missing = []
    with JobProgress() as progress:
        for fetched in fetch_each(name, systems, chosen_judge, say, progress):
            _print_fetched(fetched)
            if fetched.folder is None:
                missing.append(fetched.what)
    end_with(missing)


def _print_fetched(fetched: Fetched) -> None:
    say(f"{fetched.what}: {fetched.message}")
    for line in (str(fetched.folder or ""), *fetched.pins):
        if line:
            say(f"  {line}")
