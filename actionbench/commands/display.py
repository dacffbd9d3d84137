"""What a terminal shows of a run as it goes: a table that fills in, bars, or plain lines."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Self

from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as Bars
from rich.table import Table

from actionbench.progress import Observer, Progress
from actionbench.runs.execute import (ActionRow)
from actionbench.runs.plan import Plan

if TYPE_CHECKING:
    from actionbench.plugins.conformance import Outcome
    from actionbench.runs.doctor import Finding

_PLAIN_WIDTH = 160
"""Columns of a table that goes into a pipe, where no terminal says how wide it is."""


def output() -> Console:
    """Standard output; without colours and wide where it is no terminal."""
    return Console(width=None if sys.stdout.isatty() else _PLAIN_WIDTH)


def shows_table() -> bool:
    """Whether a run's table fills in on a terminal, instead of a line an action."""
    return sys.stdout.isatty() and sys.stderr.isatty()


def total_row(rows: Sequence[ActionRow]) -> ActionRow:
    return ActionRow(
        "total",
        sum(row.n for row in rows),
        sum(row.action_correct for row in rows),
        sum(row.subject_correct for row in rows),
        sum(row.total_correct for row in rows),
        sum(row.seconds for row in rows),
    )


def run_table(title: str, rows: Sequence[ActionRow], *, with_total: bool) -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column("action")
    for name in ("action %", "subject %", "total %", "n", "seconds"):
        table.add_column(name, justify="right")
    for row in rows:
        table.add_row(*_cells(row))
    if with_total and rows:
        table.add_section()
        table.add_row(*_cells(total_row(rows)), style="bold")
    return table


def run_line(row: ActionRow) -> str:
    name, action, subject, total, n, seconds = _cells(row)
    return (
        f"{name:<14} action {action:>5}%  subject {subject:>5}%  total {total:>5}%  "
        f"n {n:>4}  {seconds:>7} s"
    )


def _cells(row: ActionRow) -> tuple[str, ...]:
    counts = (row.action_correct, row.subject_correct, row.total_correct)
    rates = (f"{100 * count / row.n:.1f}" for count in counts)
    return (row.action, *rates, str(row.n), f"{row.seconds:.1f}")


def checks_table(title: str, outcomes: Sequence[Outcome]) -> Table:
    """Checks by pipelines; why one failed does not fit in, and stands below."""
    pipelines = list(dict.fromkeys(outcome.pipeline for outcome in outcomes))
    table = Table("check", *pipelines, "remark", title=title, title_justify="left")
    for check in dict.fromkeys(outcome.check for outcome in outcomes):
        found = {o.pipeline: o for o in outcomes if o.check == check}
        marks = ["passed" if found[pipeline].passed else "FAILED" for pipeline in pipelines]
        remarks = dict.fromkeys(o.remark for o in found.values() if o.remark)
        table.add_row(check, *marks, escape("; ".join(remarks)))
    return table


_STATES = {"ok": "green", "warn": "yellow", "fail": "bold red"}


def findings_table(findings: Sequence[Finding]) -> Table:
    table = Table("", "what", "found", "how to mend it", show_lines=any(f.mend for f in findings))
    for finding in findings:
        state = f"[{_STATES[finding.state]}]{finding.state}[/]"
        table.add_row(state, *map(escape, (finding.what, finding.told, finding.mend)))
    return table


def failed_checks(outcomes: Sequence[Outcome]) -> list[str]:
    """A line for each problem of a check, with the pipelines that show it."""
    where: dict[tuple[str, str], list[str]] = {}
    for outcome in outcomes:
        if outcome.problem is not None:
            where.setdefault((outcome.check, outcome.problem), []).append(outcome.pipeline)
    return [f"FAILED {check} ({', '.join(p)}): {problem}" for (check, problem), p in where.items()]


class RunView(Observer):
    """Shows a run: bars on a terminal's stderr, and on stdout one line a finished action.

    Where stdout is a terminal too, the table fills in above the bars instead of the lines.
    """

    def __init__(self, plan: Plan) -> None:
        self.title = f"{plan.run_id} · {plan.method.title} on {plan.suite.name}"
        self.rows: list[ActionRow] = []
        self.actions = len(plan.actions)
        # How an action's time divides, roughly: only the time left in all depends on it.
        fit = 0.7 if plan.method.needs_fit else 0.0
        self.begins = {"fit": 0.0, "generate": fit, "judge": 0.97}
        self.ends = {"fit": fit, "generate": 0.97, "judge": 1.0}
        self.table = shows_table()
        console = Console(stderr=True)
        self.bars = _bars(console)
        self.all = self.bars.add_task("all actions", total=1.0)
        self.stage = self.bars.add_task("starting", total=None)
        self.live = Live(
            get_renderable=self._render, console=console, transient=True, refresh_per_second=4
        )
        self.shown = sys.stderr.isatty()

    def __enter__(self) -> Self:
        if self.shown:
            self.live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.shown:
            self.live.stop()
        if self.table and self.rows:
            output().print(run_table(self.title, self.rows, with_total=True))

    def step(self, action: str, stage: str, done: int, total: int, what: str = "") -> None:
        words = f"{action} · {stage}" + (f" · {what}" if what else "")
        if self.bars.tasks[self.stage].description != words:
            self.bars.reset(self.stage, description=words, total=total)
        self.bars.update(self.stage, completed=done)
        begin, end = self.begins[stage], self.ends[stage]
        self._advance(begin + (end - begin) * done / max(total, 1))

    def row(self, row: ActionRow) -> None:
        self.rows.append(row)
        self._advance(0.0)
        if not self.table:
            print(run_line(row), flush=True)

    def _advance(self, within: float) -> None:
        """Move the bar of the whole run; a fit of several parts never moves it back."""
        done = (len(self.rows) + within) / self.actions
        if done > self.bars.tasks[self.all].completed:
            self.bars.update(self.all, completed=done)

    def _render(self) -> Group:
        table = run_table(self.title, self.rows, with_total=False)
        return Group(table, self.bars) if self.table else Group(self.bars)


def _bars(console: Console) -> Bars:
    return Bars(
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeRemainingColumn(),
        console=console,
    )


class JobProgress(Progress):
    """A long job's bar on a terminal's stderr; elsewhere one line there, once a minute."""

    def __init__(self) -> None:
        self.bars = Bars(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=Console(stderr=True),
        )
        self.task = self.bars.add_task("starting", total=None)
        self.what = ""
        self.told = time.monotonic()

    def __enter__(self) -> Self:
        if sys.stderr.isatty():
            self.bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        if sys.stderr.isatty():
            self.bars.stop()

    def update(self, done: int, total: int, what: str = "") -> None:
        if sys.stderr.isatty():
            if what != self.what:
                self.bars.reset(self.task, description=what, total=total)
            self.bars.update(self.task, completed=done, total=total)
        elif time.monotonic() - self.told > 60:
            self.told = time.monotonic()
            print(f"{what} {done}/{total}", file=sys.stderr, flush=True)
        self.what = what
