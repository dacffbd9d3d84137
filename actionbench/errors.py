"""The one error type that is meant for people: what went wrong, where, and how to mend it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence


class UserError(Exception):
    """A mistake in the input or the surroundings, told in one line.

    The command line prints the message alone and exits with status 2; any other exception is a
    defect of this project and keeps its traceback.
    """


class Problems(UserError):
    """Several mistakes of one input, all at once; the command line prints a line for each."""

    def __init__(self, where: str, lines: Sequence[str]) -> None:
        self.heading = f"{where}: {len(lines)} problem{'s' if len(lines) > 1 else ''}"
        self.lines = tuple(lines)
        super().__init__(f"{self.heading}: {'; '.join(self.lines)}")


class MethodError(UserError):
    """A method failed in the middle of its run. The runs of other methods are not concerned."""


def one_line(error: BaseException) -> str:
    """What an exception says, in one line: a UserError's message, else its type and first line."""
    words = str(error).strip().splitlines()[:1]
    return ": ".join(words if isinstance(error, UserError) else [type(error).__name__, *words])


def unknown(kind: str, given: str, valid: Iterable[str]) -> UserError:
    """An error for a name that does not exist, with the nearest valid names first."""
    names = sorted(valid)
    near = difflib.get_close_matches(given.lower(), names, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}? " if near else ""
    return UserError(f"unknown {kind} '{given}': {hint}valid: {', '.join(names) or '(none)'}")
