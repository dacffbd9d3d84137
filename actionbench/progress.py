"""How long jobs tell where they are. Library code reports; only the command line draws bars."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from actionbench.runs.execute import ActionRow


class Progress:
    """Told `update(done, total, what)` by a long job. This base class is silent."""

    def update(self, done: int, total: int, what: str = "") -> None:
        """`done` of `total` steps of the part named `what` are finished."""


SILENT = Progress()


class Observer:
    """Told how a run goes on. This base class is silent; the command line draws."""

    def step(self, action: str, stage: str, done: int, total: int, what: str = "") -> None:
        """`done` of `total` of a stage (`fit`, `generate`, `judge`) of an action are finished."""

    def row(self, row: ActionRow) -> None:
        """An action is finished: fitted, drawn and judged."""
