"""The one error type that is meant for people: what went wrong, where, and how to fix it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence


class UserError(Exception):
    """A mistake in the input or the surroundings, reported in one line.

    The message says what is wrong, where, and how to fix it. The command line prints the message
    alone and exits with status 2; any other exception is a defect of this project and keeps its
    traceback. A plug-in raises one for what its user can fix.

    Example:
        >>> raise UserError(f"{path} is missing: download it and name it with --set weights={path}")
    """


class Problems(UserError):
    """Several mistakes in one input, reported together; the command line prints a line for each."""

    def __init__(self, where: str, lines: Sequence[str]) -> None:
        self.heading = f"{where}: {len(lines)} problem{'s' if len(lines) > 1 else ''}"
        self.lines = tuple(lines)
        super().__init__(f"{self.heading}: {'; '.join(self.lines)}")


class MethodError(UserError):
    """A method failed in the middle of its run. The runs of other methods are not affected."""


def one_line(error: BaseException) -> str:
    """Return an exception's message in one line, with its type before it unless a UserError."""
    first = str(error).strip().splitlines()[:1]
    return ": ".join(first if isinstance(error, UserError) else [type(error).__name__, *first])


def unknown(kind: str, name: str, valid: Iterable[str]) -> UserError:
    """Return an error for a name that does not exist, with the nearest valid names first."""
    names = sorted(valid)
    near = difflib.get_close_matches(name.lower(), names, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(map(listed, near))}? " if near else ""
    every = ", ".join(map(listed, names)) or "(none)"
    return UserError(f"unknown {kind} '{name}': {hint}valid: {every}")


def listed(name: str) -> str:
    """Return a name as options take it in a list: in quotes if a comma is in it."""
    return '"' + name.replace('"', '""') + '"' if "," in name or name.startswith('"') else name
