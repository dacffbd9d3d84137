"""What the options of a command come to: methods, suite, model and judge."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from actionbench import registry
from actionbench.commands.display import JobProgress
from actionbench.errors import UserError
from actionbench.runs.campaign import Setup, prepare
from actionbench.runs.options import RunOptions
from actionbench.runs.store import Store


def command_line() -> list[str]:
    """The command as it was typed, for the record."""
    return ["actionbench", *sys.argv[1:]]


def chosen_methods(methods: list[str], words: Sequence[str]) -> list[str]:
    """List the methods that are named, each once. UserError if `words` are for several."""
    chosen = registry.system_names() if methods == ["all"] else list(dict.fromkeys(methods))
    if words and len(chosen) > 1:
        raise UserError(
            "--set is for one method, because methods have settings of their own: "
            "name it with --method"
        )
    return chosen


def find_runs(store: Store, names: Sequence[str]) -> list[str]:
    """Find the runs that are named by their id or its beginning, each once."""
    return list(dict.fromkeys(store.find_run(name) for name in names))


def make_setup(options: RunOptions) -> Setup:
    """Resolve the options of a command under a bar; fetch the model if it is not here."""
    with JobProgress() as progress:
        return prepare(options, command_line(), progress)
