"""The record of a run, `run.json`: what was asked for, what made it, what it took.

This module is the one owner of the file's contents, which it reads, checks and writes. Fields that
older records lack have a default.
"""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Self, TypeVar, Union, get_args, get_origin, get_type_hints

from actionbench.suite.drawn import EXEMPLAR_SEED, EXEMPLARS

FORMAT = 1
"""The format of the runs folder and of its records."""

T = TypeVar("T")


class Unreadable(Exception):
    """A record in which a part is missing or wrong; the message is the part's name."""


@dataclass
class FitCost:
    """What an action's fit took and noted, whichever run paid for it."""

    seconds: float
    peak_mib: int = 0
    """The most memory of the process while it fitted, in MiB."""
    device: str | None = None
    peak_cuda_mib: int | None = None
    bytes: int | None = None
    """The size of the stored customization; only in kept references, which hold no fits."""
    measures: dict[str, float] | None = None
    """What the method measured while it fitted, by name: see `method.MEASURES`."""
    at_once: int | None = None
    """How many fits were made together, if several: `seconds` is an equal share, memory is that of
    all."""

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Read a cost from JSON values.

        Raises:
            Unreadable: as `RunRecord.from_json`.
        """
        return _read(cls, value, "")

    def to_json(self) -> dict[str, Any]:
        """Return the parts that are known as JSON values."""
        return {key: part for key, part in vars(self).items() if part is not None}


@dataclass
class StepCost:
    """What drawing or judging an action took, and how many images were timed."""

    seconds: float = 0.0
    images: int = 0

    def add(self, seconds: float, images: int) -> None:
        """Add the time that some more images took."""
        self.seconds = round(self.seconds + seconds, 3)
        self.images += images


@dataclass
class ActionCosts:
    """What one action of a run took."""

    fit: FitCost | None
    generate: StepCost
    judge: StepCost

    @property
    def seconds(self) -> float:
        """The time of fit, drawing and judging together, whenever they were done."""
        fit = self.fit.seconds if self.fit else 0.0
        return fit + self.generate.seconds + self.judge.seconds


@dataclass
class ActionKeys:
    """The store's keys of an action's customization, images and verdicts."""

    fit: str
    images: str
    verdicts: str


@dataclass
class ModelFacts:
    """What a record says about the base model."""

    name: str
    fingerprint: str
    preset: str | None = None
    path: str | None = None
    """The model's folder; left out of kept references."""


@dataclass
class JudgeFacts:
    """What a record says about the judge."""

    name: str
    fingerprint: str
    settings: dict[str, Any] = field(default_factory=dict)


@dataclass
class Failure:
    """Why a run stopped: its method failed on an action, in fitting or drawing."""

    action: str
    doing: str
    reason: str


@dataclass(kw_only=True)
class RunRecord:
    """Everything that `run.json` holds, in the file's order."""

    format: int = FORMAT
    id: str
    complete: bool
    method: str
    method_version: int = 1
    title: str
    ranked: bool = True
    """False for a floor or ceiling, which boards show without a rank."""
    reference: str = ""
    profile: str = "tuned"
    """Where the settings come from: `published`, `tuned` or `quick`. The records before there were
    profiles have none, the kept ones of puppets-v1 among them: their settings are those that a
    search had chosen, so they count as `tuned`."""
    prompts: str = "own"
    """The prompt block: what the method trained under, `own`, `caption` or `template`. The records
    before there were blocks have none: each method had its own prompts unless `changed_settings`
    names others, so they count as `own`."""
    settings: dict[str, Any]
    changed_settings: dict[str, Any] | None = None
    """The settings that differ from the method's own for the model; None in the first records."""
    suite: str
    suite_file: str | None = None
    """The suite's definition beside its dataset; in the file relative to the runs folder, if both
    are in one folder. None for the suites that are shipped with their exemplars."""
    suite_fingerprint: str
    protocol: str
    sampling: dict[str, Any] = field(default_factory=dict)
    model: ModelFacts
    judge: JudgeFacts
    actions: list[str]
    subjects: list[str]
    images_per_pair: int
    n_items: int
    seed: int
    exemplar_seed: int = EXEMPLAR_SEED
    exemplars: int = EXEMPLARS
    """What the method learned from, if it is not the suite's own exemplars."""
    dtype: str
    resources: dict[str, Any] = field(default_factory=dict)
    safety_checker: bool = False
    device: str | None = None
    command: list[str] = field(default_factory=list)
    versions: dict[str, str] = field(default_factory=dict)
    machine: dict[str, Any] = field(default_factory=dict)
    git: dict[str, Any] | None = None
    """The commit of this project's checkout, and whether it was changed; None without one."""
    peak_mib: int
    keys: dict[str, ActionKeys]
    costs: dict[str, ActionCosts]
    started: str
    finished: str | None = None
    failure: Failure | None = None
    judged_from: str | None = None
    """The run that drew the images, if this run only judged them again."""

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Read a record from the values of `run.json`.

        Parts that this version does not know are left out.

        Raises:
            Unreadable: with the name of the first part that is missing or wrong.
        """
        record = _read(cls, value, "")
        for action in record.actions:
            for name in ("costs", "keys"):
                if action not in getattr(record, name):
                    raise Unreadable(f"{name}.{action}")
        return record

    def to_json(self) -> dict[str, Any]:
        """Return the values of `run.json`; parts that only some records have may be left out."""
        values = dataclasses.asdict(self)
        if self.judged_from is None:
            del values["judged_from"]
        if self.ranked:
            del values["ranked"]
        if not self.redraws_exemplars:
            del values["exemplar_seed"], values["exemplars"]
        for action, costs in self.costs.items():
            values["costs"][action]["fit"] = costs.fit and costs.fit.to_json()
        return values

    @property
    def redraws_exemplars(self) -> bool:
        """Whether the method learned from other exemplars than the suite's own."""
        return (self.exemplar_seed, self.exemplars) != (EXEMPLAR_SEED, EXEMPLARS)

    @property
    def state(self) -> str:
        """`finished`, `not finished`, or on which action the run failed, and why."""
        if self.complete:
            return "finished"
        if self.failure is None:
            return "not finished"
        return f"failed on {self.failure.action}: {self.failure.reason}"

    @property
    def fits(self) -> list[FitCost]:
        """The costs of the actions that were fitted."""
        return [costs.fit for costs in self.costs.values() if costs.fit is not None]


def _read(kind: type[T], value: Any, where: str) -> T:
    """Make a dataclass of JSON values; its fields are checked by their annotations."""
    if not isinstance(value, Mapping):
        raise Unreadable(where)
    hints = _hints(kind)  # type: ignore[arg-type]
    parts = {}
    for part in dataclasses.fields(kind):  # type: ignore[arg-type]
        name = f"{where}.{part.name}" if where else part.name
        if part.name in value:
            parts[part.name] = _value(hints[part.name], value[part.name], name)
        elif part.default is dataclasses.MISSING and part.default_factory is dataclasses.MISSING:
            raise Unreadable(name)
    return kind(**parts)


@lru_cache
def _hints(kind: type) -> dict[str, Any]:
    return get_type_hints(kind)


def _value(hint: Any, value: Any, where: str) -> Any:
    if hint is Any:
        return value
    if dataclasses.is_dataclass(hint):
        return _read(hint, value, where)  # type: ignore[arg-type]
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (types.UnionType, Union):
        (one,) = [kind for kind in inner if kind is not type(None)]
        return None if value is None else _value(one, value, where)
    if origin is dict:
        _check(value, dict, where)
        return {key: _value(inner[1], part, f"{where}.{key}") for key, part in value.items()}
    if origin is list:
        _check(value, list, where)
        return [_value(inner[0], part, where) for part in value]
    _check(value, (int, float) if hint is float else hint, where)
    return value


def _check(value: Any, kind: Any, where: str) -> None:
    # JSON's true is an int to Python.
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise Unreadable(where)
