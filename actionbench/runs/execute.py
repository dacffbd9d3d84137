"""Execution of a plan: fit, generate and judge, action by action, each step stored.

`execute` does what a plan leaves to do. If it is killed, the same command goes on from the last
finished fit, image or batch of verdicts.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from actionbench.errors import MethodError
from actionbench.files.hashing import make_key
from actionbench.judge import Verdict
from actionbench.progress import Observer
from actionbench.runs.judging import ActionJudging, judge_facts, verdict_rows
from actionbench.runs.kept import keep_suite
from actionbench.runs.lockstep import fits_at_once, groups
from actionbench.runs.plan import ActionPlan, Plan, fit_seed
from actionbench.runs.provenance import git_state, machine, now, versions
from actionbench.runs.record import (
    ActionCosts,
    ActionKeys,
    Failure,
    ModelFacts,
    RunRecord,
    StepCost,
)
from actionbench.runs.store import Store
from actionbench.runs.workers.executor import InLine
from actionbench.runs.workers.schedule import Job, Schedule
from actionbench.runs.workers.unit import (
    LAST,
    Done,
    Drawn,
    DrawUnit,
    Failed,
    Fitted,
    FitUnit,
    JudgeUnit,
    Result,
    Shared,
    Started,
    Unit,
    whole_batches,
)

if TYPE_CHECKING:
    from torch import Tensor


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
    verdicts: tuple[Mapping[str, Any], ...] = field(repr=False)
    """A row of `judge.VERDICT_COLUMNS` for each image. The store's may be another process's by
    now, which does the same run and has fewer yet."""


def execute(plan: Plan, observer: Observer | None = None) -> RunResult:
    """Do what a plan leaves to do in this process, store each step, and return the run's result.

    A finished run is only read, and loads nothing.

    Args:
        plan: the run.
        observer: receives its progress.

    Raises:
        MethodError: if the method fails, whatever it raises. Its finished actions are kept, and
            the record says why it failed.
        UserError: for a store that cannot be written, and for too little memory.
    """
    execution = Execution(plan)
    execution.watch(observer or Observer())
    with InLine() as executor:
        Schedule(executor).run(execution)
    return execution.result()


class Execution(Job):
    """One run: hands out its units, and stores what comes back. Only it writes the store."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.store = plan.store
        self.observer = Observer()
        self.failure = None
        self.rows: dict[str, list[dict[str, Any]]] = {}
        """Verdict rows of the finished actions, by action."""
        self.table: dict[str, ActionRow] = {}
        """The finished actions' lines."""
        self.at_once = 1
        """Actions that are fitted together."""
        self._actions = {action.action.name: _ActionState(action) for action in plan.actions}

    def watch(self, observer: Observer) -> None:
        """Report to an observer from now on, beginning with the actions that are finished."""
        self.observer = observer
        for row in self.table.values():
            observer.row(row)

    # The job

    def begin(self) -> None:
        plan = self.plan
        earlier = self.store.load_record(plan.run_id)
        if plan.finished and earlier and earlier.complete and self.store.has_rows(plan.run_id):
            self.record = earlier
            self.store.clear()
            for row in self.store.load_row_dicts(plan.run_id):
                self.rows.setdefault(row["action"], []).append(row)
            if sum(map(len, self.rows.values())) == earlier.n_items:
                for name in self._actions:
                    self._finish(name)
                return
            self.rows.clear()  # another process was killed as it wrote fewer
        self.store.prepare()
        keep_suite(self.store, plan.suite)
        self.store.forget_failure(plan.run_id)
        self.at_once = fits_at_once(plan, earlier)
        self.record = begin_record(plan, earlier, self.at_once)
        for name, state in self._actions.items():
            # The rows keep what an earlier run finished while this one works on the rest.
            if state.plan.finished:
                verdicts = self.store.load_verdicts(state.plan.verdict_key)
                self.rows[name] = self._verdict_rows(state.plan, verdicts)
        self._save()
        for name in list(self.rows):
            self._finish(name)
        self._end()

    @property
    def finished(self) -> bool:
        return len(self.table) == len(self._actions)

    @property
    def drawing(self) -> bool:
        return any(state.to_draw for state in self._actions.values())

    def draw_unit(self, under_way: Collection[str]) -> DrawUnit | FitUnit | None:
        for state in self._actions.values():
            if not state.to_draw or state.busy:
                continue
            unit: DrawUnit | FitUnit
            if self.at_once == 1 or self._fitted(state):
                unit = self._draw_unit(state)
            elif state.fitting:
                continue
            else:
                unit = self._fit_unit(self._group(state.plan.action.name))
            if not unit.draws & set(under_way):
                self._mark(unit, True)
                return unit
        return None

    def _mark(self, unit: Unit, under_way: bool) -> None:
        if not isinstance(unit, FitUnit):
            self._actions[unit.action].busy = under_way
            return
        for task in unit.tasks:
            self._actions[task.action.name].fitting = under_way

    def judge_unit(self) -> JudgeUnit | None:
        for name, state in self._actions.items():
            if not (state.to_draw or state.busy or name in self.table):
                if state.judging is None:
                    state.judging = self._judging(state.plan)
                unit = state.judging.unit(self.observer)
                if unit is None:
                    self._judged(name)
                    continue
                state.busy = True
                return unit
        return None

    def give_back(self, unit: Unit) -> None:
        self._mark(unit, False)

    def take(self, unit: Unit, result: Result) -> None:
        if isinstance(result, LAST):
            self._mark(unit, False)
        if isinstance(result, Failed):
            self._fail(result.action or unit.action, result)
        if isinstance(result, Done):
            self.record.peak_mib = max(self.record.peak_mib, result.peak_mib)
        if isinstance(unit, JudgeUnit):
            state = self._actions[unit.action]
            assert state.judging is not None
            state.judging.take(unit, result, self.observer)
            if isinstance(result, Done):
                self._judged(unit.action)
        elif isinstance(result, Started):
            self.record.device = result.device
        elif isinstance(result, Shared):
            self.store.save_drawn(self._drawn_key(result.name), result.tensor)
        elif isinstance(result, Fitted):
            name = result.customization.action
            state = self._actions[name]
            self.store.save_fit(
                state.plan.fit_key, result.customization, result.cost, self.plan.method.version
            )
            state.fitted = True
            self.record.costs[name].fit = self.store.fit_cost(state.plan.fit_key)
            self._step_drawing(state)
        elif isinstance(unit, DrawUnit):
            self._take_images(unit, result)

    def _take_images(self, unit: DrawUnit, result: Result) -> None:
        if isinstance(result, Drawn):
            state = self._actions[unit.action]
            self.store.save_image(state.plan.image_key, result.item, result.image)
            del state.to_draw[result.item.id]
            self._step_drawing(state)
        elif isinstance(result, Done):
            costs = self.record.costs[unit.action]
            costs.generate.add(result.seconds, len(unit.items))
            self.record.resources["batch_size"] = result.batch_size
            if not self._finished_elsewhere():
                self.store.save_record(self.record)

    # Units

    def _fitted(self, state: _ActionState) -> bool:
        return state.fitted or self.store.has_fit(state.plan.fit_key)

    def _group(self, name: str) -> list[_ActionState]:
        (group,) = [names for names in groups(self.plan, self.at_once) if name in names]
        return [self._actions[name] for name in group]

    def _fit_unit(self, group: Sequence[_ActionState]) -> FitUnit:
        plan = self.plan
        drawn = [self._drawn(state) for state in group]
        return FitUnit(
            method=plan.method,
            source=plan.source,
            options=plan.options,
            sampling=plan.suite.sampling,
            tasks=tuple(state.plan.task for state in group),
            seeds=tuple(fit_seed(plan.options.seed, s.plan.action.name) for s in group),
            wanted=frozenset(s.plan.action.name for s in group if not self._fitted(s)),
            batch_size=self.record.resources["batch_size"],
            drawn={name: tensor for part in drawn for name, tensor in part.items()},
        )

    def _drawn(self, state: _ActionState) -> dict[str, Tensor]:
        """Load what the store has of what an action's fit shares with others."""
        kept = {n: self.store.load_drawn(self._drawn_key(n)) for n in self._shared_names(state)}
        return {name: tensor for name, tensor in kept.items() if tensor is not None}

    def _draw_unit(self, state: _ActionState) -> DrawUnit:
        plan, action, store = self.plan, state.plan, self.store
        name, method = action.action.name, plan.method
        model = plan.source.fingerprint if method.needs_backbone else ""
        fitted, drawn = None, {}
        if method.needs_fit and self._fitted(state):
            fitted = store.load_fit(
                action.fit_key, method=method.name, action=name, model=model,
                version=method.version,
            )  # fmt: skip
        elif method.needs_fit:
            drawn = self._drawn(state)
        _forget_verdicts(store, action, state.to_draw)
        if fitted is not None or not method.needs_fit:
            self._step_drawing(state)
        batch_size = self.record.resources["batch_size"]
        return DrawUnit(
            method=method,
            source=plan.source,
            options=plan.options,
            sampling=plan.suite.sampling,
            task=action.task,
            items=whole_batches(action.items, state.to_draw, batch_size, lambda item: item.id),
            missing=frozenset(state.to_draw),
            seed=fit_seed(plan.options.seed, name),
            fitted=fitted,
            batch_size=batch_size,
            total=len(action.items),
            drawn=drawn,
        )

    def _shared_names(self, state: _ActionState) -> tuple[str, ...]:
        seed = fit_seed(self.plan.options.seed, state.plan.action.name)
        return self.plan.method.shared(state.plan.task, seed)

    def _drawn_key(self, name: str) -> str:
        """Return the store's key of what fits share: its name covers all but the base model."""
        return make_key("drawn", name, self.plan.source.fingerprint, self.plan.options.dtype)

    def _step_drawing(self, state: _ActionState) -> None:
        total = len(state.plan.items)
        done = total - len(state.to_draw)
        self.observer.step(state.plan.action.name, "generate", done, total)

    def _judging(self, action: ActionPlan) -> ActionJudging:
        plan = self.plan
        return ActionJudging(
            plan.store, plan.judge, action.image_key, action.verdict_key, action.items,
            plan.options, self.record.costs[action.action.name].judge,
        )  # fmt: skip

    # What becomes of an action

    def _judged(self, name: str) -> None:
        state = self._actions[name]
        assert state.judging is not None
        self.rows[name] = self._verdict_rows(state.plan, state.judging.verdicts)
        self._save()
        self._finish(name)
        self._end()

    def _finish(self, name: str) -> None:
        rows = self.rows[name]
        self.table[name] = ActionRow(
            action=name,
            n=len(rows),
            action_correct=sum(row["action_correct"] for row in rows),
            subject_correct=sum(row["subject_correct"] for row in rows),
            total_correct=sum(row["total_correct"] for row in rows),
            seconds=self.record.costs[name].seconds,
        )
        self.observer.row(self.table[name])

    def _end(self) -> None:
        if self.finished:
            self.record.complete, self.record.finished = True, now()
            self._save()

    def _fail(self, name: str, failed: Failed) -> None:
        """Raise what failed: a method's failure in one line with its name, also in the record."""
        if not failed.doing:
            raise failed.error()
        run_id, reason = self.plan.run_id, failed.message
        if failed.trace:
            self.store.save_failure(run_id, failed.trace)
            reason += f" (traceback in {self.store.failure_path(run_id)})"
        self.record.failure = Failure(name, failed.doing, reason)
        self._save()
        raise MethodError(
            f"{self.plan.method.name} failed {failed.doing} '{name}': {reason}"
        ) from failed.cause

    def _save(self) -> None:
        rows = [row for name in self._actions for row in self.rows.get(name, [])]
        # A kill between the two must not leave "complete" beside too few rows.
        if self.record.complete:
            self.store.save_rows(self.plan.run_id, rows)
            self.store.save_record(self.record)
        elif not self._finished_elsewhere():
            self.store.save_record(self.record)
            self.store.save_rows(self.plan.run_id, rows)

    def _finished_elsewhere(self) -> bool:
        """Whether another process has finished the same run by now: it is not made less whole."""
        stored = self.store.load_record(self.plan.run_id)
        return bool(stored and stored.complete) and not any(
            self.store.missing_images(state.plan.image_key, state.to_draw.values())
            for state in self._actions.values()
        )

    def result(self) -> RunResult:
        """Return the finished run.

        Raises:
            Exception: what made it fail.
        """
        if self.failure is not None:
            raise self.failure
        run_id = self.plan.run_id
        table = tuple(self.table[name] for name in self._actions)
        verdicts = tuple(row for name in self._actions for row in self.rows[name])
        return RunResult(run_id, self.store.run_folder(run_id), table, self.record, verdicts)

    def _verdict_rows(
        self, action: ActionPlan, verdicts: Mapping[tuple[str, int], Verdict]
    ) -> list[dict[str, Any]]:
        plan = self.plan
        return verdict_rows(
            plan.store, plan.suite, plan.judge, plan.method.name, action.image_key, action.items,
            verdicts,
        )  # fmt: skip


class _ActionState:
    """How far an action is."""

    def __init__(self, plan: ActionPlan) -> None:
        self.plan = plan
        self.to_draw = {item.id: item for item in plan.to_draw}
        self.fitted = plan.fit_stored
        self.busy = False
        """Whether it is being drawn or judged."""
        self.fitting = False
        """Whether it is being fitted in a group."""
        self.judging: ActionJudging | None = None


def _forget_verdicts(store: Store, action: ActionPlan, missing: Collection[str]) -> None:
    """Drop the verdicts of missing images, so that none is ever beside a new image."""
    verdicts = store.load_verdicts(action.verdict_key)
    gone = {item.name for item in action.items if item.id in missing}
    kept = {name: verdict for name, verdict in verdicts.items() if name not in gone}
    if kept != verdicts:
        store.save_verdicts(action.verdict_key, kept)


def begin_record(plan: Plan, earlier: RunRecord | None, fits_at_once: int) -> RunRecord:
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
        ranked=method.ranked,
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
            "fits_at_once": fits_at_once,
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
