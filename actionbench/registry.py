"""Methods and judges by name, through entry points: built-ins and plug-ins alike.

A class is imported only when its name is asked for: a broken plug-in breaks nothing but itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, is_dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Any, cast

from actionbench.errors import UserError, one_line, unknown
from actionbench.judge import Judge
from actionbench.method import Method
from actionbench.settings import build_settings

if TYPE_CHECKING:
    from actionbench.suite.suite import Suite

METHODS = "actionbench.methods"
JUDGES = "actionbench.judges"


def method_names() -> list[str]:
    """Return the names of all registered methods, without importing them."""
    return sorted(_entries(METHODS))


def system_names() -> list[str]:
    """Return the names of the methods that boards rank, which is what `all` stands for.

    One that cannot be imported is among them: whoever asks for it is told why.
    """
    return [name for name in method_names() if _is_ranked(name)]


def _is_ranked(name: str) -> bool:
    try:
        return get_method(name).ranked
    except UserError:
        return True


def judge_names() -> list[str]:
    """Return the names of all registered judges, without importing them."""
    return sorted(_entries(JUDGES))


def get_method(name: str) -> type[Method[Any]]:
    """Import and return the class of a registered method.

    Raises:
        UserError: for an unknown name, or a plug-in that cannot be imported or used.
    """
    return cast("type[Method[Any]]", _load(METHODS, "method", name, Method))


def get_judge(name: str) -> type[Judge]:
    """Import and return the class of a registered judge.

    Raises:
        UserError: for an unknown name, or a plug-in that cannot be imported or used.
    """
    return cast("type[Judge]", _load(JUDGES, "judge", name, Judge))


def make_judge(name: str, suite: Suite, words: Sequence[str] = (), device: str = "cpu") -> Judge:
    """Make a judge of a suite, its settings changed by `key=value` words."""
    kind = get_judge(name)
    return kind(suite, device, build_settings(kind.Settings, kind.preset(suite), words))


def _entries(group: str) -> dict[str, dict[str, EntryPoint]]:
    """Return the entry points of a group by name, then by value: two values are a collision."""
    entries: dict[str, dict[str, EntryPoint]] = {}
    for entry in entry_points(group=group):
        # An editable install may be seen twice (its metadata lies in the checkout as well).
        entries.setdefault(entry.name, {})[entry.value] = entry
    return entries


def _load(group: str, kind: str, name: str, base: type) -> type:
    entries = _entries(group)
    if name not in entries:
        raise unknown(kind, name, entries)
    value, *others = entries[name]
    if others:
        raise UserError(
            f"two installed packages register {kind} '{name}': "
            f"{value} and {', '.join(others)}; uninstall one"
        )
    try:
        loaded = entries[name][value].load()
    # Whatever a plug-in's import raises is reported under its name, even a SystemExit.
    except (Exception, SystemExit) as error:
        raise UserError(
            f"{kind} '{name}' ({value}) cannot be imported: {one_line(error)}; install "
            "what it needs, or uninstall it"
        ) from error
    if fault := _fault(loaded, base, name):
        raise UserError(f"{kind} '{name}' ({value}) {fault}; its author must fix it")
    return cast(type, loaded)


def _fault(loaded: Any, base: type, name: str) -> str | None:
    """Return why a class cannot be used under its name, or None if it can."""
    if not (isinstance(loaded, type) and issubclass(loaded, base)):
        return f"is not a subclass of {base.__name__}"
    if missing := getattr(loaded, "__abstractmethods__", None):
        return f"does not define {', '.join(sorted(missing))}"
    own = getattr(loaded, "name", None)
    if own != name:
        return f"has the name {own!r}: its entry point must have the same name"
    if issubclass(loaded, Method):
        for fact in ("title", "reference"):
            if not hasattr(loaded, fact):
                return f"has no {fact}"
    settings = cast("type[Method[Any]] | type[Judge]", loaded).Settings
    if not is_dataclass(settings):
        return "has Settings that are not a dataclass"
    for field in fields(settings):
        if "help" not in field.metadata:
            return f"has a setting '{field.name}' that is not made by `setting(default, help)`"
    return None
