"""Several runs one after another: what they load is shared, and a failure stops its own run only.

A run of many methods, a search over settings and an ablation are all lists of plans; each run is
stored and continued by itself, as any other.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from actionbench.device import PLAIN, Resources
from actionbench.errors import UserError, one_line
from actionbench.files.models import BATCH_SIZE, ModelSource
from actionbench.judge import Judge
from actionbench.method import Method
from actionbench.progress import Observer
from actionbench.runs.execute import Plan, RunResult, execute, load_backbone, plan_run
from actionbench.suite.suite import Suite

if TYPE_CHECKING:
    from actionbench.diffusion.backbone import Backbone


@dataclass(frozen=True)
class Setup:
    """What the runs of a campaign have in common; the fields are `plan_run`'s."""

    runs: Path
    suite: Suite
    source: ModelSource
    judge: Judge
    """One for all runs, so that its weights are loaded once."""
    actions: Sequence[str] | None = None
    subjects: Sequence[str] | None = None
    images_per_pair: int = 2
    device: str = "auto"
    dtype: str = "float32"
    batch_size: int = BATCH_SIZE
    resources: Resources = PLAIN
    command: Sequence[str] = ()

    def plan(self, kind: type[Method[Any]], words: Sequence[str] = (), seed: int = 0) -> Plan:
        """The run of a method with its settings for this model, changed by `key=value` words."""
        method = kind.for_model(self.source.preset, words)
        common = {field.name: getattr(self, field.name) for field in fields(self)}
        return plan_run(method=method, seed=seed, **common)


@dataclass(frozen=True)
class Outcome:
    plan: Plan
    result: RunResult | None
    """None where the run failed."""
    failure: str = ""
    """Why, in one line."""
    trace: str = ""
    """The traceback, where the failure is a defect and no mistake that was told."""


View = Callable[[Plan], AbstractContextManager[Observer]]
"""Who is told how a run goes on, for the time that it takes."""


def unwatched(plan: Plan) -> AbstractContextManager[Observer]:
    return nullcontext(Observer())


def execute_each(plans: Iterable[Plan], view: View = unwatched) -> Iterator[Outcome]:
    """Execute plans in turn; the backbone is loaded once for all that have the same.

    A run that raises is an outcome like another; only an interruption ends the whole.
    """
    shared = _SharedBackbone()
    for plan in plans:
        try:
            with view(plan) as observer:
                result = execute(plan, observer, shared.load)
        except Exception as error:  # of whatever kind: it is one method's, and told under its name
            trace = "" if isinstance(error, UserError) else traceback.format_exc()
            outcome = Outcome(plan, None, one_line(error), trace)
            # What the failed method left of the backbone is not trusted.
            shared.forget()
        else:
            outcome = Outcome(plan, result)
        yield outcome


class _SharedBackbone:
    """Keeps the backbone that was loaded last."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        self._key: tuple[ModelSource, str, str, Resources] | None = None
        self._backbone: Backbone | None = None

    def load(self, source: ModelSource, device: str, dtype: str, resources: Resources) -> Backbone:
        key = (source, device, dtype, resources)
        if self._backbone is None or self._key != key:
            self.forget()  # before loading, so that memory never holds two
            self._backbone, self._key = load_backbone(*key), key
        return self._backbone
