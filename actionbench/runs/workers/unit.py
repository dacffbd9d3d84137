"""Units of work, and what comes back of them: all that travels between a launcher and its workers.

A unit holds its inputs and names no file of the run store, so that it can be done on a machine that
does not see the store: only the launching process writes it.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from actionbench.errors import UserError
from actionbench.files.models import ModelSource
from actionbench.files.networks import batched
from actionbench.judge import Judge, Verdict
from actionbench.method import Customization, Method
from actionbench.runs.options import RunOptions
from actionbench.runs.record import FitCost
from actionbench.suite.items import ActionTask, Item, Sampling

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor


JUDGE_BATCH = 32
"""Verdicts are handed back after this many images, so that a kill costs a slow judge little."""


def whole_batches(
    items: Sequence[Item], missing: Collection[Any], size: int, by: Callable[[Item], Any]
) -> tuple[Item, ...]:
    """Return the batches of `items` in which any is missing, whole and in order.

    A row of a batch is rounded differently in one of another length or with other neighbours. So
    that a run that was killed ends with the bits of one that was not, what is missing is computed
    again beside the same neighbours.

    Args:
        items: all items of an action.
        missing: those that are missing, by what `by` returns.
        size: items in a batch; the last may have fewer.
    """
    return tuple(
        item
        for batch in batched(items, size)
        if any(by(item) in missing for item in batch)
        for item in batch
    )


class _OnModel:
    """What a worker needs for a unit of the base model."""

    method: Method[Any]
    source: ModelSource
    options: RunOptions

    @property
    def model(self) -> str:
        """The fingerprint of the model that draws; empty if none does."""
        return self.source.fingerprint if self.method.needs_backbone else ""

    @property
    def needs(self) -> tuple[Any, ...]:
        """What a worker loads for it; equal for units that can follow each other."""
        options = self.options
        if not self.method.needs_backbone:
            return (options.device,)
        return (self.source, options.device, options.dtype, options.resources)


@dataclass(frozen=True)
class DrawUnit(_OnModel):
    """One action of one plan: its fit, if it is still to do, and its missing images."""

    method: Method[Any]
    source: ModelSource
    options: RunOptions
    sampling: Sampling
    task: ActionTask
    items: tuple[Item, ...]
    """Those to draw, in whole batches of the action's items."""
    missing: frozenset[str]
    """The ids of those that are handed back; the others are there already."""
    seed: int
    """The fit's."""
    fitted: Customization | None
    """What is learned already; None if it is to be fitted, or the method learns nothing."""
    batch_size: int
    """Images drawn at once: that of the options, or what memory sufficed for."""
    total: int
    """Images of the action, those that are drawn already included."""
    drawn: Mapping[str, Tensor] = field(default_factory=dict)
    """What an earlier fit drew and this one needs as well, by `Method.shared`'s names."""

    @property
    def action(self) -> str:
        """The action's name."""
        return self.task.action.name

    @property
    def draws(self) -> set[str]:
        """The names of what its fit will draw that others need as well."""
        if self.fitted is not None:
            return set()
        return {*self.method.shared(self.task, self.seed)} - self.drawn.keys()


@dataclass(frozen=True)
class FitUnit(_OnModel):
    """The fits of a group of actions, which are made together (`Method.fit_many`).

    The whole group, even if some of its fits are stored: company changes a fit's last bits, and a
    run that goes on after a kill makes the same ones.
    """

    method: Method[Any]
    source: ModelSource
    options: RunOptions
    sampling: Sampling
    tasks: tuple[ActionTask, ...]
    seeds: tuple[int, ...]
    """Each fit's."""
    wanted: frozenset[str]
    """The actions whose fits are handed back; the others keep them company."""
    batch_size: int
    """Images drawn or encoded at once."""
    drawn: Mapping[str, Tensor] = field(default_factory=dict)
    """As a `DrawUnit` has it, for all fits."""

    @property
    def action(self) -> str:
        """The actions' names, with commas."""
        return ", ".join(task.action.name for task in self.tasks)

    @property
    def draws(self) -> set[str]:
        """The names of what its fits will draw that others need as well."""
        pairs = zip(self.tasks, self.seeds, strict=True)
        return {name for pair in pairs for name in self.method.shared(*pair)} - self.drawn.keys()


@dataclass(frozen=True)
class JudgeUnit:
    """The images of one action that are to be judged."""

    judge: Judge | None
    """None for a worker that has it already: a judge holds its suite's exemplars."""
    name: str
    """The judge's."""
    fingerprint: str
    """The judge's, as the launcher has it: a worker with other weights must not judge."""
    suite: str
    """The name of the judge's suite."""
    options: RunOptions
    items: tuple[Item, ...]
    """Those to judge, in whole batches of `JUDGE_BATCH` of the action's items."""
    images: tuple[tuple[str, bytes], ...]
    """Each item's PNG file: its path, which messages name, and its content."""

    @property
    def action(self) -> str:
        """The action's name."""
        return self.items[0].action.name

    @property
    def needs(self) -> tuple[Any, ...]:
        """What a worker loads for it; equal for units that can follow each other."""
        return (self.name, self.fingerprint, self.options.device, self.suite)


Unit = DrawUnit | FitUnit | JudgeUnit


def message(unit: Unit, holds: tuple[Any, ...] | None) -> bytes:
    """Pickle a unit for a worker, without what the worker holds already."""
    if isinstance(unit, JudgeUnit) and holds == unit.needs:
        unit = replace(unit, judge=None)
    return pickle.dumps(unit)


class RemoteDefect(Exception):
    """A defect that showed in a worker process; its traceback there is a note."""


# What comes back, about in this order


@dataclass(frozen=True)
class Started:
    """A worker has what it needs and begins."""

    device: str
    load_seconds: float
    """What loading took; 0 if it was loaded already."""


@dataclass(frozen=True)
class Step:
    """`done` of `total` steps of an action's `fit` or `generate` are done, in the part `what`."""

    stage: str
    done: int
    total: int
    what: str
    action: str = ""
    """Which one, if the unit has several."""


@dataclass(frozen=True)
class Note:
    """Something that the user should know."""

    text: str


@dataclass(frozen=True)
class Shared:
    """Something that other fits need as well was drawn."""

    name: str
    tensor: Tensor


@dataclass(frozen=True)
class Fitted:
    customization: Customization
    cost: FitCost


@dataclass(frozen=True)
class Drawn:
    """One missing image, in the order of the unit's items."""

    item: Item
    image: Image


@dataclass(frozen=True)
class Canary:
    """A judge's scores of the canary's images, to be compared with its first ones."""

    device: str
    scores: list[list[float]]


@dataclass(frozen=True)
class Judged:
    """The verdicts of some of the unit's items, by the items' names."""

    verdicts: dict[tuple[str, int], Verdict]


@dataclass(frozen=True)
class Done:
    """The whole unit is done."""

    seconds: float
    """Of drawing or judging."""
    peak_mib: int
    """The most memory of the process while it worked on the unit."""
    batch_size: int
    """Images drawn at once in the end: fewer than asked for if memory did not suffice."""


@dataclass(frozen=True)
class Failed:
    """The unit cannot be done. Words, because not every exception can travel."""

    message: str
    """One line."""
    doing: str
    """`fitting` or `drawing` if the method failed, else empty."""
    trace: str
    """The traceback; empty for a mistake of the user's."""
    cause: Exception | None = None
    """The exception itself, if the unit was done in this process."""
    action: str = ""
    """On which action, if the unit has several and one is to blame."""

    def error(self) -> Exception:
        """Return what to raise if no method is to blame: the exception, or one with its words."""
        if self.cause is not None:
            return self.cause
        if not self.trace:
            return UserError(self.message)
        error = RemoteDefect(self.message)
        error.add_note(f"In the worker: {self.trace}")
        return error


@dataclass(frozen=True)
class Lost:
    """The worker is gone, or cannot do such units; the unit is to be done elsewhere."""

    reason: str
    dead: bool
    """Whether it died over the unit, which may be the unit's fault; if not, it refused it."""


Result = Started | Step | Note | Shared | Fitted | Drawn | Canary | Judged | Done | Failed | Lost
ASIDE = (Step, Note, Shared)
"""These come in the midst of a fit."""
LAST = (Done, Failed, Lost)
"""After one of these nothing more comes of the unit."""
