"""The one error type that is meant for people: what went wrong, where, and how to mend it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """A mistake in the input or the surroundings, told in one line.

    The command line prints the message alone and exits with status 2; any other exception is a
    defect of this project and keeps its traceback.
    """


def reason_of(error: Exception) -> str:
    """One line that says what went wrong: of a defect, its type comes first."""
    if isinstance(error, UserError):
        return " ".join(str(error).split())
    return f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0]}"


def unknown(kind: str, given: str, valid: Iterable[str]) -> UserError:
    """An error for a name that does not exist, with the nearest valid names first."""
    names = sorted(valid)
    near = difflib.get_close_matches(given.lower(), names, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}? " if near else ""
    return UserError(f"unknown {kind} '{given}': {hint}valid: {', '.join(names) or '(none)'}")
