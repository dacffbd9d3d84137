"""Hyper-parameters: one frozen dataclass a method, from which all else is derived.

The command line (`--set steps=500`), the run record, the cache key and `actionbench methods list`
read the fields; nothing repeats a default.
"""

from __future__ import annotations

import dataclasses
import math
import types
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from actionbench.errors import UserError, unknown


def setting(default: Any, help: str, *, low: float | None = None, high: float | None = None) -> Any:
    """A dataclass field with its explanation and, for numbers, its inclusive range."""
    return dataclasses.field(default=default, metadata={"help": help, "low": low, "high": high})


@dataclass(frozen=True)
class NoSettings:
    """For methods with nothing to set."""


def build_settings(cls: type, preset: Mapping[str, Any], given: Sequence[str]) -> Any:
    """Defaults, then the preset's changes, then the user's `key=value` words.

    Raises UserError for an unknown key, a value of the wrong type, or one out of range.
    """
    values: dict[str, Any] = dict(preset)
    hints = get_type_hints(cls)
    fields = {f.name: f for f in dataclasses.fields(cls)}
    for word in given:
        key, equals, text = word.partition("=")
        key = key.strip().replace("-", "_")
        if not equals:
            raise UserError(f"a setting is given as key=value, not '{word}'")
        if key not in fields:
            raise unknown("setting", key, fields)
        values[key] = _parse(key, text.strip(), hints[key])
    for key, value in values.items():
        _check_range(key, value, fields[key].metadata)
    return cls(**values)


def describe_settings(cls: type, preset: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A row a setting: name, kind, default under the preset, help."""
    hints = get_type_hints(cls)
    return [
        {
            "name": f.name,
            "kind": _kind(hints[f.name]),
            "default": preset.get(f.name, f.default),
            "help": f.metadata["help"],
        }
        for f in dataclasses.fields(cls)
    ]


def _kind(hint: Any) -> str:
    if get_origin(hint) is Literal:
        return "|".join(str(a) for a in get_args(hint))
    if get_origin(hint) in (types.UnionType, Union):
        return "|".join("none" if a is type(None) else _kind(a) for a in get_args(hint))
    if get_origin(hint) is tuple:
        return "a,b,..."
    return str(hint.__name__)


def _parse(key: str, text: str, hint: Any) -> Any:
    origin = get_origin(hint)
    if origin is Literal:
        for choice in get_args(hint):
            if text == str(choice):
                return choice
        raise unknown(f"value of {key}", text, [str(c) for c in get_args(hint)])
    if origin in (types.UnionType, Union):
        if text.lower() == "none":
            return None
        (hint,) = [a for a in get_args(hint) if a is not type(None)]
        return _parse(key, text, hint)
    if origin is tuple:
        return tuple(_parse(key, part.strip(), get_args(hint)[0]) for part in text.split(","))
    if hint is bool:
        if text.lower() in ("true", "false"):
            return text.lower() == "true"
        raise UserError(f"setting {key} takes true or false, not '{text}'")
    try:
        return hint(text)
    except ValueError as error:
        raise UserError(f"setting {key} takes {_kind(hint)}, not '{text}'") from error


def _check_range(key: str, value: Any, metadata: Mapping[str, Any]) -> None:
    low, high = metadata["low"], metadata["high"]
    if value is None or isinstance(value, (str, bool, tuple)):
        return
    if (
        not math.isfinite(value)
        or (low is not None and value < low)
        or (high is not None and value > high)
    ):
        lower = "-inf" if low is None else low
        upper = "inf" if high is None else high
        raise UserError(f"setting {key} must lie between {lower} and {upper}, not {value}")
