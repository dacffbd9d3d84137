"""`actionbench methods check`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click
from rich.table import Table

from actionbench.commands.display import JobProgress, print_table, table
from actionbench.printing import say
from actionbench.registry import get_method

if TYPE_CHECKING:
    from actionbench.plugins.conformance import CheckResult


@click.command("check")
@click.argument("name")
def check_method(name: str) -> None:
    """Check that a method keeps the interface's promises, on tiny pipelines made on the spot.

    It is fitted and drawn with in small, with two steps and images wherever a setting says how
    many. Status 1 if a check fails.
    """
    method = get_method(name)  # a wrong name is reported before the heavy imports
    from actionbench.plugins import conformance

    with JobProgress() as progress:
        results = conformance.check_method(method, progress=progress)
    print_table(checks_table(name, results))
    problems = failed_checks(results)
    for line in problems:
        say(line)
    if problems:
        raise click.exceptions.Exit(1)


def checks_table(title: str, results: Sequence[CheckResult]) -> Table:
    """Build a table of checks by pipelines; why one failed does not fit in, and stands below."""
    pipelines = list(dict.fromkeys(result.pipeline for result in results))
    rows = []
    for check in dict.fromkeys(result.check for result in results):
        by_pipeline = {o.pipeline: o for o in results if o.check == check}
        marks = ["passed" if by_pipeline[name].passed else "FAILED" for name in pipelines]
        remarks = dict.fromkeys(o.remark for o in by_pipeline.values() if o.remark)
        rows.append((check, *marks, "; ".join(remarks)))
    return table(("check", *pipelines, "remark"), rows, title)


def failed_checks(results: Sequence[CheckResult]) -> list[str]:
    """Write a line for each problem of a check, with the pipelines that show it."""
    shown_by: dict[tuple[str, str], list[str]] = {}
    for result in results:
        if result.problem is not None:
            shown_by.setdefault((result.check, result.problem), []).append(result.pipeline)
    return [
        f"FAILED {check} ({', '.join(pipelines)}): {problem}"
        for (check, problem), pipelines in shown_by.items()
    ]
