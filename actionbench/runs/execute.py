"""Execution of a plan: fit, generate and judge, action by action, each step stored.

`execute` does what a plan leaves to do. If it is killed, the same command goes on from the last
finished fit, image or batch of verdicts.
"""

from __future__ import annotations

import dataclasses
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from PIL import Image

from actionbench.device import Resources, out_of_memory, resolve_device
from actionbench.errors import MethodError, UserError, one_line
from actionbench.files.models import ModelSource
from actionbench.judge import Verdict
from actionbench.method import MEASURES, Customization, check_fitted, check_images
from actionbench.progress import Observer, Progress
from actionbench.runs.judging import judge_facts, judge_images, verdict_rows
from actionbench.runs.kept import keep_suite
from actionbench.runs.plan import ActionPlan, Plan, fit_seed
from actionbench.runs.provenance import (
    git_state,
    machine,
    now,
    peak_memory_mib,
    reset_peak_memory,
    versions,
)
from actionbench.runs.record import (
    ActionCosts,
    ActionKeys,
    Failure,
    FitCost,
    ModelFacts,
    RunRecord,
    StepCost,
)

if TYPE_CHECKING:
    from actionbench.diffusion.backbone import Backbone


@dataclass(frozen=True)
class ActionRow:
    """One line of a run's table: an action's counts and the time it took."""

    action: str
    n: int
    action_correct: int
    subject_correct: int
    total_correct: int
    seconds: float
    """The time of its fit, drawing and judging, whenever they were done."""


@dataclass(frozen=True)
class RunResult:
    """A finished run, with its table and record."""

    run_id: str
    folder: Path
    rows: tuple[ActionRow, ...]
    record: RunRecord


def load_backbone(source: ModelSource, device: str, dtype: str, resources: Resources) -> Backbone:
    """Load a base model onto a device in a number format."""
    from actionbench.diffusion.backbone import Backbone

    return Backbone.load(source, device, dtype, resources)


Load = Callable[[ModelSource, str, str, Resources], "Backbone"]
"""A function like `load_backbone`, which may return one that is loaded already."""


def execute(
    plan: Plan,
    observer: Observer | None = None,
    load: Load = load_backbone,
) -> RunResult:
    """Do what a plan leaves to do, store each step, and return the run's result.

    A finished run is only read, and loads nothing.

    Args:
        plan: the run.
        observer: receives its progress.
        load: returns the backbone; several runs may share one.

    Raises:
        MethodError: if the method fails, whatever it raises. Its finished actions are kept, and
            the record says why it failed.
        UserError: for a store that cannot be written, and for too little memory.
    """
    return _Execution(plan, observer or Observer(), load).run()


class _Execution:
    def __init__(
        self,
        plan: Plan,
        observer: Observer,
        load: Load,
    ) -> None:
        self.plan = plan
        self.store = plan.store
        self.observer = observer
        self.load = load
        self.rows: dict[str, list[dict[str, Any]]] = {}
        """Verdict rows of the finished actions, by action."""

    def run(self) -> RunResult:
        plan = self.plan
        earlier = self.store.load_record(plan.run_id)
        if plan.finished and earlier and earlier.complete and self.store.has_rows(plan.run_id):
            self.record = earlier
            for row in self.store.load_row_dicts(plan.run_id):
                self.rows.setdefault(row["action"], []).append(row)
            return self._result([self._report(action) for action in plan.actions])

        self.store.prepare()
        keep_suite(self.store, plan.suite)
        self.store.forget_failure(plan.run_id)
        reset_peak_memory()
        self.record = begin_record(plan, earlier)
        # The rows keep what an earlier run finished while this one works on the rest.
        self.rows = {
            a.action.name: self._verdict_rows(a, self.store.load_verdicts(a.verdict_key))
            for a in plan.actions
            if a.finished
        }
        self._save()
        table = []
        for action in plan.actions:
            if not action.finished:
                with _reporting_memory(plan):
                    verdicts = self._do(action)
                self.rows[action.action.name] = self._verdict_rows(action, verdicts)
            table.append(self._report(action))
            self._save()
        self.record.complete, self.record.finished = True, now()
        self._save()
        return self._result(table)

    def _report(self, action: ActionPlan) -> ActionRow:
        name = action.action.name
        rows = self.rows[name]
        row = ActionRow(
            action=name,
            n=len(rows),
            action_correct=sum(row["action_correct"] for row in rows),
            subject_correct=sum(row["subject_correct"] for row in rows),
            total_correct=sum(row["total_correct"] for row in rows),
            seconds=self.record.costs[name].seconds,
        )
        self.observer.row(row)
        return row

    def _save(self) -> None:
        names = [action.action.name for action in self.plan.actions]
        rows = [row for name in names for row in self.rows.get(name, [])]
        self._note_peak()
        # A kill between the two must not leave "complete" beside too few rows.
        if self.record.complete:
            self.store.save_rows(self.plan.run_id, rows)
            self.store.save_record(self.record)
        else:
            self.store.save_record(self.record)
            self.store.save_rows(self.plan.run_id, rows)

    def _note_peak(self) -> None:
        """Note the peak of memory: the highest of the run's parts, each measured from a reset."""
        self.record.peak_mib = max(self.record.peak_mib, peak_memory_mib())

    def _result(self, table: Sequence[ActionRow]) -> RunResult:
        run_id = self.plan.run_id
        return RunResult(run_id, self.store.run_folder(run_id), tuple(table), self.record)

    # The steps of one action

    def _do(self, action: ActionPlan) -> dict[tuple[str, int], Verdict]:
        """Do an action's steps; return its verdicts, including those of earlier runs."""
        costs = self.record.costs[action.action.name]
        if action.to_draw:
            if self.plan.method.needs_fit:
                if action.to_fit:
                    self._fit(action)
                costs.fit = self.store.fit_cost(action.fit_key)
            self._forget_verdicts(action)
            self._draw(action, costs.generate)
            self.store.save_record(self.record)
        return self._judge(action, costs.judge)

    def _fit(self, action: ActionPlan) -> None:
        import torch

        backbone = self.backbone
        name = action.action.name
        if self.device == "cuda":
            torch.cuda.reset_peak_memory_stats()
        self._note_peak()
        reset_peak_memory()
        started = time.monotonic()
        with self._failing_as_method_error(action, "fitting"):
            fitted = self.plan.method.fit(
                backbone,
                action.task,
                seed=fit_seed(self.plan.options.seed, name),
                progress=_FitProgress(self.observer, name),
            )
            seconds = time.monotonic() - started
            check_fitted(
                fitted,
                method=self.plan.method.name,
                action=name,
                model=self._model,
            )
        cost = FitCost(
            *(round(seconds, 3), peak_memory_mib(), self.device),
            measures=fitted.facts.get(MEASURES),
        )
        if self.device == "cuda":
            cost.peak_cuda_mib = int(torch.cuda.max_memory_allocated() // 2**20)
        self.store.save_fit(action.fit_key, fitted, cost, self.plan.method.version)

    def _customization(self, action: ActionPlan) -> Customization:
        """Return the stored customization, even after a fit: resumed runs draw from the same."""
        method, name, model = self.plan.method, action.action.name, self._model
        if not method.needs_fit:
            return Customization(method.name, name, model)
        return self.store.load_fit(
            action.fit_key, method=method.name, action=name, model=model, version=method.version
        )

    def _draw(self, action: ActionPlan, cost: StepCost) -> None:
        name, total = action.action.name, len(action.items)
        customization = self._customization(action)
        images = self._images(action, self.backbone, customization)
        done = total - len(action.to_draw)
        self.observer.step(name, "generate", done, total)
        started = time.monotonic()
        for number, (item, image) in enumerate(zip(action.to_draw, images, strict=True), 1):
            self.store.save_image(action.image_key, item, image)
            self.observer.step(name, "generate", done + number, total)
        cost.add(time.monotonic() - started, len(action.to_draw))

    def _images(
        self, action: ActionPlan, backbone: Backbone, customization: Customization
    ) -> Iterator[Image.Image]:
        """Draw the action's missing images, in ever smaller batches if memory does not suffice.

        The batch size is halved down to one, because an image does not depend on its batch.
        """
        done = 0
        with self._failing_as_method_error(action, "drawing"):
            while done < len(action.to_draw):
                items = action.to_draw[done:]
                try:
                    drawn = self.plan.method.generate(backbone, customization, items)
                    for image in check_images(drawn, len(items)):
                        yield image
                        done += 1
                except Exception as error:
                    if not out_of_memory(error) or not backbone or backbone.batch_size == 1:
                        raise
                # Outside the handler, where the error no longer keeps alive what filled memory.
                if done < len(action.to_draw):
                    self._halve_batches(action, backbone, done)

    def _halve_batches(self, action: ActionPlan, backbone: Backbone, done: int) -> None:
        import torch

        torch.cuda.empty_cache()
        backbone.batch_size //= 2
        self.record.resources["batch_size"] = backbone.batch_size
        total = len(action.items)
        self.observer.step(
            *(action.action.name, "generate", total - len(action.to_draw) + done, total),
            f"out of memory: now {backbone.batch_size} at once",
        )

    @contextmanager
    def _failing_as_method_error(self, action: ActionPlan, doing: str) -> Iterator[None]:
        """Turn whatever the method raises into one line with its name, also in the record."""
        try:
            yield
        except Exception as error:
            run_id, name = self.plan.run_id, action.action.name
            if out_of_memory(error):
                reason = _memory_advice(self.plan, self.record.resources["batch_size"])
            else:
                reason = one_line(error)
                if not isinstance(error, UserError):
                    self.store.save_failure(run_id, traceback.format_exc())
                    reason += f" (traceback in {self.store.failure_path(run_id)})"
            self.record.failure = Failure(name, doing, reason)
            self._save()
            raise MethodError(
                f"{self.plan.method.name} failed {doing} '{name}': {reason}"
            ) from error

    def _forget_verdicts(self, action: ActionPlan) -> None:
        """Drop the verdicts of missing images, so that none is ever beside a new image."""
        verdicts = self.store.load_verdicts(action.verdict_key)
        gone = {item.name for item in action.to_draw}
        kept = {name: verdict for name, verdict in verdicts.items() if name not in gone}
        if kept != verdicts:
            self.store.save_verdicts(action.verdict_key, kept)

    def _judge(self, action: ActionPlan, cost: StepCost) -> dict[tuple[str, int], Verdict]:
        judge, store = self.plan.judge, self.store
        judge.device = self.device
        return judge_images(
            store, judge, action.image_key, action.verdict_key, action.items, action.to_judge,
            self.observer, cost,
        )  # fmt: skip

    # What the steps use

    @property
    def _model(self) -> str:
        """The fingerprint of the model that draws; empty if none does."""
        return self.plan.source.fingerprint if self.plan.method.needs_backbone else ""

    @cached_property
    def backbone(self) -> Backbone:
        """The base model, loaded when a step first needs it; None for a method that needs none."""
        plan = self.plan
        if not plan.method.needs_backbone:
            return cast("Backbone", None)
        backbone = self.load(plan.source, self.device, plan.options.dtype, plan.options.resources)
        backbone.sampling = self.plan.suite.sampling
        backbone.batch_size = plan.options.batch_size
        return backbone

    @cached_property
    def device(self) -> str:
        """The device, chosen and recorded when a step first needs it."""
        device = resolve_device(self.plan.options.device)
        self.record.device = device
        return device

    # Rows

    def _verdict_rows(
        self, action: ActionPlan, verdicts: Mapping[tuple[str, int], Verdict]
    ) -> list[dict[str, Any]]:
        plan = self.plan
        return verdict_rows(
            plan.store, plan.suite, plan.judge, plan.method.name, action.image_key, action.items,
            verdicts,
        )  # fmt: skip


class _FitProgress(Progress):
    def __init__(self, observer: Observer, action: str) -> None:
        self.observer, self.action = observer, action

    def update(self, done: int, total: int, what: str = "") -> None:
        self.observer.step(self.action, "fit", done, total, what)

    def note(self, text: str) -> None:
        self.observer.note(text)


@contextmanager
def _reporting_memory(plan: Plan) -> Iterator[None]:
    """Turn a lack of memory outside the method, in loading or judging, into a UserError."""
    try:
        yield
    except Exception as error:
        if not out_of_memory(error):
            raise
        raise UserError(_memory_advice(plan, plan.options.batch_size)) from error


def _memory_advice(plan: Plan, batch_size: int) -> str:
    """Say which options that save memory are not used yet."""
    saving = plan.options
    ways = {
        f"lower --batch-size (now {batch_size})": batch_size > 1,
        "take --dtype bfloat16": plan.options.dtype == "float32",
        "take --gradient-checkpointing": not saving.gradient_checkpointing,
        "take --vae-slicing": not saving.vae_slicing,
        "take --offload": not saving.offload,
        "take a --model of smaller images": True,
    }
    advice = " or ".join(way for way, unused in ways.items() if unused)
    return f"there is not enough memory: {advice}; finished work is kept"


def begin_record(plan: Plan, earlier: RunRecord | None) -> RunRecord:
    """Make a run's record, with the costs and start of an earlier, unfinished part.

    Costs of drawing and judging have the number of images that were timed: a step that was killed
    is in neither number.
    """
    method, suite, options = plan.method, plan.suite, plan.options
    costs = {a.action.name: _costs_so_far(plan, a, earlier) for a in plan.actions}
    peaks = [cost.fit.peak_mib for cost in costs.values() if cost.fit]
    return RunRecord(
        id=plan.run_id,
        complete=False,
        method=method.name,
        method_version=method.version,
        title=method.title,
        reference=method.reference,
        profile=options.profile,
        prompts=plan.prompts,
        settings=plan.settings,
        changed_settings=plan.changed_settings,
        suite=suite.name,
        suite_file=str(suite.file.resolve()) if suite.file else None,
        suite_fingerprint=suite.fingerprint,
        protocol=plan.protocol,
        sampling=dataclasses.asdict(suite.sampling),
        model=ModelFacts(
            name=plan.source.name,
            fingerprint=plan.source.fingerprint,
            preset=plan.source.preset,
            path=str(plan.source.path),
        ),
        judge=judge_facts(plan.judge),
        actions=[action.action.name for action in plan.actions],
        subjects=[subject.name for subject in plan.subjects],
        images_per_pair=options.images_per_pair,
        n_items=sum(len(action.items) for action in plan.actions),
        seed=options.seed,
        exemplar_seed=options.exemplar_seed,
        exemplars=options.exemplars,
        dtype=options.dtype,
        resources={
            "batch_size": options.batch_size,
            **dataclasses.asdict(options.resources),
        },
        device=earlier.device if earlier else None,
        command=list(plan.command),
        versions=versions(),
        machine=machine(),
        git=git_state(),
        peak_mib=max([earlier.peak_mib if earlier else 0, *peaks]),
        keys={
            a.action.name: ActionKeys(a.fit_key, a.image_key, a.verdict_key) for a in plan.actions
        },
        costs=costs,
        started=earlier.started if earlier else now(),
    )


def _costs_so_far(plan: Plan, action: ActionPlan, earlier: RunRecord | None) -> ActionCosts:
    """Return an action's costs so far.

    A fit's cost is that of the stored fit, because a killed run had no time to note it.
    """
    costs = earlier.costs.get(action.action.name) if earlier else None
    costs = costs or ActionCosts(None, StepCost(), StepCost())
    if action.fit_stored:
        costs.fit = plan.store.fit_cost(action.fit_key)
    return costs
