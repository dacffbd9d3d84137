"""`actionbench doctor`."""

from __future__ import annotations

from typing import Any

import click

from actionbench.commands.display import JobProgress, print_table, table
from actionbench.commands.options import (
    actions_option,
    exemplar_options,
    images_option,
    methods_option,
    set_option,
    setup_options,
    subjects_option,
    suite_option,
)
from actionbench.commands.prepare import chosen_methods
from actionbench.printing import shown
from actionbench.runs.doctor import examine
from actionbench.runs.options import RunOptions

_STYLES = {"ok": "green", "warn": "yellow", "fail": "bold red"}


@click.command()
@methods_option
@suite_option()
@actions_option
@subjects_option()
@images_option
@exemplar_options
@set_option
@setup_options
def doctor(methods: list[str], words: tuple[str, ...], **options: Any) -> None:
    """Check device, memory, disk, packages, plug-ins, model and suite; estimate time and memory.

    Takes what `run` takes, but for the seed, loads nothing and needs no network. Status 1 if the
    run cannot work; each failure comes with its fix.
    """
    chosen = chosen_methods(methods, words)
    findings = []
    with JobProgress() as progress:
        for finding in examine(RunOptions(**options), chosen, words):
            findings.append(finding)
            progress.update(len(findings), len(findings) + 1, f"checked {finding.what}")
    rows = [(shown(f.state, _STYLES[f.state]), f.what, f.message, f.fix) for f in findings]
    columns = ("", "what", "finding", "how to fix it")
    print_table(table(columns, rows, lines=any(f.fix for f in findings)))
    if any(finding.state == "fail" for finding in findings):
        raise click.exceptions.Exit(1)
