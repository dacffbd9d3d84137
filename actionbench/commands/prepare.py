"""What the options of a command come to: methods, suite, model and judge."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from actionbench import registry
from actionbench.commands.display import JobProgress
from actionbench.device import Resources
from actionbench.errors import UserError
from actionbench.files.models import resolve_model
from actionbench.runs.campaign import Setup
from actionbench.runs.store import Store
from actionbench.suite.suite import get_suite


def command_line() -> list[str]:
    """The command as it was typed, for the record."""
    return ["actionbench", *sys.argv[1:]]


def chosen_methods(methods: list[str], words: Sequence[str]) -> list[str]:
    """List the methods that are named, each once. UserError if `words` are for several."""
    chosen = registry.method_names() if methods == ["all"] else list(dict.fromkeys(methods))
    if words and len(chosen) > 1:
        raise UserError(
            "--set is for one method, because methods have settings of their own: "
            "name it with --method"
        )
    return chosen


def find_runs(store: Store, names: Sequence[str]) -> list[str]:
    """Find the runs that are named by their id or its beginning, each once."""
    return list(dict.fromkeys(store.find_run(name) for name in names))


def make_setup(
    suite_name: str,
    model: str | None,
    judge_name: str | None,
    judge_words: Sequence[str],
    runs: Path,
    **choices: Any,
) -> Setup:
    """Assemble what the runs of a command have in common; fetch the model if it is not here."""
    suite = get_suite(suite_name)
    judge = registry.make_judge(judge_name or suite.judge, suite, judge_words)
    resources = take_resources(choices)
    _ = suite.tasks  # missing exemplars are reported before a model is fetched
    with JobProgress() as progress:
        source = resolve_model(model or suite.model, progress)
    return Setup(
        runs=runs,
        suite=suite,
        source=source,
        judge=judge,
        resources=resources,
        command=command_line(),
        **choices,
    )


def take_resources(choices: dict[str, Any]) -> Resources:
    """Take the resources out of the options, which then hold them no longer."""
    return Resources(**{field.name: choices.pop(field.name) for field in fields(Resources)})
