"""`actionbench judges run`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from actionbench.commands.display import JobProgress
from actionbench.commands.options import (
    dataset_option,
    device_option,
    judge_set_option,
    ray_option,
    runs_option,
    runs_words,
    workers_option,
)
from actionbench.commands.prepare import command_line, find_runs
from actionbench.judge import Judge
from actionbench.printing import say
from actionbench.registry import make_judge
from actionbench.runs.judging import judge_run
from actionbench.runs.kept import find_suite
from actionbench.runs.options import RunOptions
from actionbench.runs.store import Store


@click.command("run")
@click.argument("run_ids", metavar="RUN [RUN...]", nargs=-1, required=True)
@click.option("--judge", required=True, metavar="NAME",
              help="See `actionbench judges list`.")  # fmt: skip
@judge_set_option
@device_option
@dataset_option
@workers_option
@ray_option
@runs_option
def run_judge(
    run_ids: tuple[str, ...], judge: str, judge_words: tuple[str, ...], suite: str | None,
    runs: Path, **options: Any,
) -> None:  # fmt: skip
    """Judge the images of finished runs again; nothing is fitted or drawn.

    The verdicts become a run of their own beside the first judge's, under its own protocol, so
    that `actionbench report` shows a board for each judge. RUN is a run's id or the beginning of
    one.
    """
    store, chosen = Store(runs), RunOptions(**options)
    judges: dict[str, Judge] = {}  # one a suite, so that its weights are loaded once
    for run_id in find_runs(store, run_ids):
        record = store.read_record(run_id)
        own = judges.get(record.suite_fingerprint)
        if own is None:
            own = make_judge(judge, find_suite(record, suite), judge_words)
            judges[record.suite_fingerprint] = own
        with JobProgress() as progress:
            made = judge_run(store, run_id, own, command_line(), progress, chosen)
        say(f"judged {run_id} by {judge}: run {made}")
    option = runs_words(runs)
    say(f"next: actionbench report{option} / actionbench judges agree{option}")
