"""How long jobs tell where they are. Library code reports; only the command line draws bars."""

from __future__ import annotations


class Progress:
    """Told `update(done, total, what)` by a long job. This base class is silent."""

    def update(self, done: int, total: int, what: str = "") -> None:
        """`done` of `total` steps of the part named `what` are finished."""


SILENT = Progress()
