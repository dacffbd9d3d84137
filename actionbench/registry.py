"""Methods and judges by name, found through entry points: built-ins and plug-ins alike.

A name is imported only when it is asked for, so that a broken plug-in breaks nothing but itself.
"""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points
from typing import Any, cast

from actionbench.errors import UserError, unknown
from actionbench.judge import Judge
from actionbench.method import Method

METHODS = "actionbench.methods"
JUDGES = "actionbench.judges"


def method_names() -> list[str]:
    return sorted(_entries(METHODS))


def judge_names() -> list[str]:
    return sorted(_entries(JUDGES))


def get_method(name: str) -> type[Method[Any]]:
    """The class of a registered method. UserError: unknown name, or a plug-in that fails."""
    return cast("type[Method[Any]]", _load(METHODS, "method", name, Method))


def get_judge(name: str) -> type[Judge]:
    """The class of a registered judge. UserError: unknown name, or a plug-in that fails."""
    return cast("type[Judge]", _load(JUDGES, "judge", name, Judge))


def _entries(group: str) -> dict[str, EntryPoint]:
    found: dict[str, EntryPoint] = {}
    for entry in entry_points(group=group):
        other = found.setdefault(entry.name, entry)
        # An editable install may be seen twice (its metadata lies in the checkout as well).
        if other.value != entry.value:
            raise UserError(
                f"two installed packages register '{entry.name}' in {group}: "
                f"{other.value} and {entry.value}; uninstall one"
            )
    return found


def _load(group: str, kind: str, name: str, base: type) -> type:
    entries = _entries(group)
    if name not in entries:
        raise unknown(kind, name, entries)
    value = entries[name].value
    try:
        loaded = entries[name].load()
    except Exception as error:  # whatever a plug-in's import raises is told under its name
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise UserError(f"{kind} '{name}' ({value}) cannot be imported: {reason}") from error
    if not (isinstance(loaded, type) and issubclass(loaded, base)):
        raise UserError(f"{kind} '{name}' ({value}) is not a subclass of {base.__name__}")
    return loaded
