"""What a terminal shows of a run: what it comes to, a table that fills in or lines, the result."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Self

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, TaskID, TaskProgressColumn, TimeRemainingColumn
from rich.progress import Progress as Bars
from rich.table import Table

from actionbench.commands.display import add_row, description, print_table, table
from actionbench.commands.options import runs_words
from actionbench.printing import printable, say, shown
from actionbench.progress import Observer
from actionbench.runs.execute import ActionRow, RunResult
from actionbench.runs.plan import Plan

_NUMBERS = ("action %", "subject %", "total %", "n", "seconds")


def print_work(plan: Plan) -> None:
    """Print what a run comes to and what of it is there already."""
    say(
        f"{plan.run_id}: {plan.method.name} on {plan.suite.name}, "
        f"profile {plan.options.profile}, prompts {plan.prompts}, "
        f"model {plan.source.name} {plan.source.fingerprint}, judge {plan.judge.name}"
    )
    for work in plan.work():
        say(f"  {work.what:<9} {work.to_do:>5} to do, {work.total - work.to_do:>5} present")


def print_result(plan: Plan, result: RunResult) -> None:
    """Print where a finished run is and what to do with it."""
    if not shows_table():
        say(run_line(total_row(result.rows)))
    runs = runs_words(plan.store.root)
    say(f"run {result.run_id}, stored in {result.folder}")
    if plan.options.profile == "quick":
        say("profile quick: short fits for a look, no measurement; --profile published is one")
    say(f"next: actionbench report{runs} / actionbench show {result.run_id}{runs}")


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
    built = table(("action", *_NUMBERS), map(_cells, rows), title, right=_NUMBERS)
    if with_total and rows:
        built.add_section()
        add_row(built, _cells(total_row(rows)), style="bold")
    return built


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


class RunView(Observer):
    """Show a run: bars on a terminal's stderr, and on stdout one line a finished action.

    If stdout is a terminal too, the table fills in above the bars instead of the lines.
    """

    def __init__(self, plan: Plan) -> None:
        self.title = (
            f"{plan.run_id} · {plan.method.title} on {plan.suite.name} · {plan.options.profile}"
        )
        self.rows: list[ActionRow] = []
        self.notes: list[str] = []
        self.actions = len(plan.actions)
        # How an action's time divides, roughly: only the time left in all depends on it.
        fit = 0.7 if plan.method.needs_fit else 0.0
        self.begins = {"fit": 0.0, "generate": fit, "judge": 0.97}
        self.ends = {"fit": fit, "generate": 0.97, "judge": 1.0}
        self.table = shows_table()
        console = Console(stderr=True)
        self.bars = _bars(console)
        self.all = self.bars.add_task("all actions", total=1.0)
        self.starting = self.bars.add_task("starting", total=None)
        self.going: dict[str, TaskID] = {}
        """The bars of the actions under way."""
        self.within: dict[str, float] = {}
        """How far each of them is."""
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
            print_table(run_table(self.title, self.rows, with_total=True))

    def step(self, action: str, stage: str, done: int, total: int, what: str = "") -> None:
        self.bars.update(self.starting, visible=False)
        words = printable(f"{action} · {stage}" + (f" · {what}" if what else ""))
        if action not in self.going:
            self.going[action] = self.bars.add_task(words, total=total)
            if self.shown:  # a short action would be over before the display's own turn
                self.live.refresh()
        bar = self.going[action]
        if self._described(bar) != words:
            self.bars.reset(bar, description=words, total=total)
        self.bars.update(bar, completed=done)
        begin, end = self.begins[stage], self.ends[stage]
        share = begin + (end - begin) * done / max(total, 1)
        # A fit of several parts never moves the bar of the whole run back.
        self.within[action] = max(share, self.within.get(action, 0.0))
        self._advance()

    def note(self, text: str) -> None:
        if text not in self.notes:  # each action's fit says it again
            self.notes.append(text)
            self.live.console.print(shown(f"note: {text}"), soft_wrap=True)

    def row(self, row: ActionRow) -> None:
        self.rows.append(row)
        self.within.pop(row.action, None)
        if row.action in self.going:
            self.bars.remove_task(self.going.pop(row.action))
        self._advance()
        if not self.table:
            say(run_line(row))

    def _described(self, bar: TaskID) -> str:
        return next(task.description for task in self.bars.tasks if task.id == bar)

    def _advance(self) -> None:
        done = (len(self.rows) + sum(self.within.values())) / self.actions
        self.bars.update(self.all, completed=done)

    def _render(self) -> Group:
        if not self.table:
            return Group(self.bars)
        return Group(run_table(self.title, self.rows, with_total=False), self.bars)


def _bars(console: Console) -> Bars:
    return Bars(
        description(),
        BarColumn(),
        TaskProgressColumn(),
        TimeRemainingColumn(),
        console=console,
    )
