"""Hyper-parameters: one frozen dataclass per method, from which all else is derived.

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

Rate = Literal["unet", "token", "angle"]
"""What a learning rate moves: weights of the UNet, token embeddings, or a direction, in radians."""

_NEVER = object()
"""No value is this one."""


def setting(
    default: Any,
    help: str,
    *,
    low: float | None = None,
    high: float | None = None,
    source: str = "",
    rate: Rate | None = None,
    before: Any = _NEVER,
) -> Any:
    """Declare a field of a method's or judge's settings: its default, meaning and range.

    Args:
        default: the value unless a profile, a preset or the user sets another.
        help: one sentence, shown by `actionbench methods list --settings`.
        low: the smallest number allowed, itself included; None is no limit.
        high: the largest number allowed, itself included; None is no limit.
        source: where the default is from, in words that begin with `read`, `derived`, `recalled` or
            `ours`: "read: the paper, section 4.1".
        rate: for a learning rate on Stable Diffusion: what it moves. The profile `published` makes
            the rate for another base model of it; an angle is the same on all.
        before: for a setting that is added to a method with stored fits: the value that does what
            was done before. Where the setting has it, keys and records leave it out.

    Returns:
        A dataclass field.

    Example:
        >>> @dataclass(frozen=True)
        ... class Settings:
        ...     steps: int = setting(500, "Optimizer steps.", low=1)
        ...     prompts: Literal["template", "caption"] = setting("template", "Training prompts.")

        The user changes it with `--set steps=200`; a number out of range is a UserError.
    """
    metadata = {
        "help": help, "low": low, "high": high, "source": source, "rate": rate, "before": before,
    }  # fmt: skip
    return dataclasses.field(default=default, metadata=metadata)


@dataclass(frozen=True)
class NoSettings:
    """The settings of a method or judge that has nothing to set."""


def build_settings(cls: type, preset: Mapping[str, Any], words: Sequence[str]) -> Any:
    """Apply the preset's changes, then the user's `key=value` words, to the defaults.

    Raises:
        UserError: for an unknown key, a value of the wrong type, or one out of range.
    """
    values: dict[str, Any] = dict(preset)
    hints = get_type_hints(cls)
    fields = {f.name: f for f in dataclasses.fields(cls)}
    for word in words:
        key, equals, text = word.partition("=")
        key = key.strip().replace("-", "_")
        if not equals:
            raise UserError(f"'{word}' is not a setting: write key=value")
        if key not in fields:
            raise unknown("setting", key, fields)
        values[key] = _parse(key, text.strip(), hints[key])
    for key, value in values.items():
        _check_range(key, value, fields[key].metadata)
    return cls(**values)


def recorded_settings(settings: Any) -> dict[str, Any]:
    """Return settings by name as keys and records have them: without what adds nothing new."""
    return {
        f.name: value
        for f in dataclasses.fields(settings)
        if (value := getattr(settings, f.name)) != f.metadata.get("before", _NEVER)
    }


def restored_settings(cls: type, recorded: Mapping[str, Any]) -> Any:
    """Make settings of what `recorded_settings` returned, or what a record's JSON has of it.

    Raises:
        TypeError: if they are not the settings of `cls`.
    """
    before = {f.name: f.metadata.get("before", _NEVER) for f in dataclasses.fields(cls)}
    values = {name: value for name, value in before.items() if value is not _NEVER}
    # JSON has no tuples; settings have no lists.
    values |= {n: tuple(v) if isinstance(v, list) else v for n, v in recorded.items()}
    return cls(**values)


def describe_settings(cls: type, preset: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return a row for each setting: name, kind, default under the preset, help, source."""
    hints = get_type_hints(cls)
    return [
        {
            "name": f.name,
            "kind": _kind(hints[f.name]),
            "default": preset.get(f.name, f.default),
            "help": f.metadata["help"],
            "source": f.metadata["source"],
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
