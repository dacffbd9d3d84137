"""How long jobs report their progress. Library code reports; only the command line draws bars."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from actionbench.runs.execute import ActionRow


class Progress:
    """The receiver of a long job's `update(done, total, what)`. This base class is silent."""

    def update(self, done: int, total: int, what: str = "") -> None:
        """Take note that `done` of `total` steps of the part named `what` are finished."""

    def note(self, text: str) -> None:
        """Take note of something that the user should know and need not act on."""


SILENT = Progress()


class Observer:
    """The receiver of a run's progress. This base class is silent; the command line draws."""

    def step(self, action: str, stage: str, done: int, total: int, what: str = "") -> None:
        """Take note that `done` of `total` of an action's `fit`, `generate` or `judge` are done."""

    def note(self, text: str) -> None:
        """Take note of something that the user should know and need not act on."""

    def row(self, row: ActionRow) -> None:
        """Take note that an action is finished: fitted, drawn and judged."""
