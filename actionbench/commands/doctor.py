"""`actionbench doctor`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from rich.text import Text

from actionbench.commands.display import JobProgress, print_table, table
from actionbench.commands.options import (
    actions_option,
    images_option,
    methods_option,
    set_option,
    setup_options,
    subjects_option,
    suite_option,
)
from actionbench.commands.prepare import chosen_methods, take_resources
from actionbench.runs.doctor import Question, examine

_STYLES = {"ok": "green", "warn": "yellow", "fail": "bold red"}


@click.command()
@methods_option
@suite_option("puppets")
@actions_option
@subjects_option()
@images_option
@set_option
@setup_options
def doctor(
    methods: list[str], words: tuple[str, ...], suite_name: str, judge_name: str | None,
    judge_words: tuple[str, ...], batch_size: int, runs: Path, **choices: Any,
) -> None:  # fmt: skip
    """Check device, memory, disk, packages, plug-ins, model and suite; estimate time and memory.

    Takes what `run` takes, but for the seed, loads nothing and needs no network. Status 1 if the
    run cannot work; each failure comes with its fix.
    """
    question = Question(
        suite=suite_name,
        methods=chosen_methods(methods, words),
        given=words,
        judge=judge_name,
        judge_given=judge_words,
        runs=runs,
        resources=take_resources(choices),
        **choices,
    )
    findings = []
    with JobProgress() as progress:
        for finding in examine(question):
            findings.append(finding)
            progress.update(len(findings), len(findings) + 1, f"checked {finding.what}")
    rows = [(Text(f.state, _STYLES[f.state]), f.what, f.told, f.mend) for f in findings]
    columns = ("", "what", "finding", "how to fix it")
    print_table(table(columns, rows, lines=any(f.mend for f in findings)))
    if any(finding.state == "fail" for finding in findings):
        raise click.exceptions.Exit(1)
