"""Judging of stored images: a run's own, and a finished run's again by another judge.

Judging again needs only the run's record, and neither its method nor its base model.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from actionbench.errors import UserError
from actionbench.judge import Judge, Verdict
from actionbench.progress import SILENT, Observer, Progress
from actionbench.runs.canary import compare_canary
from actionbench.runs.kept import keep_suite
from actionbench.runs.options import DEFAULTS, RunOptions
from actionbench.runs.plan import make_run_id, make_verdict_key
from actionbench.runs.provenance import git_state, machine, now, versions
from actionbench.runs.record import ActionCosts, ActionKeys, JudgeFacts, RunRecord, StepCost
from actionbench.runs.store import Store
from actionbench.runs.workers.choose import open_executor
from actionbench.runs.workers.schedule import Job, Schedule
from actionbench.runs.workers.unit import (
    JUDGE_BATCH,
    Canary,
    Done,
    Failed,
    Judged,
    JudgeUnit,
    Result,
    Unit,
    whole_batches,
)
from actionbench.suite.items import Item, make_items
from actionbench.suite.suite import Suite


class ActionJudging:
    """The judging of one action's images: makes the unit, and stores what comes back.

    Args:
        items: all items of the action.
        cost: the time and number of judgements are added to it.
    """

    def __init__(
        self,
        store: Store,
        judge: Judge,
        image_key: str,
        verdict_key: str,
        items: Sequence[Item],
        options: RunOptions,
        cost: StepCost,
    ) -> None:
        self.store, self.judge = store, judge
        self.image_key, self.verdict_key = image_key, verdict_key
        self.items, self.options, self.cost = items, options, cost
        self.verdicts: dict[tuple[str, int], Verdict] = {}
        """The verdicts so far."""

    def unit(self, observer: Observer) -> JudgeUnit | None:
        """Return the unit of what is not judged yet; None if all is."""
        self.verdicts = self.store.load_verdicts(self.verdict_key)
        missing = {item.name for item in self.items} - self.verdicts.keys()
        self._report(observer)
        if not missing:
            return None
        items = whole_batches(self.items, missing, JUDGE_BATCH, lambda item: item.name)
        images = tuple(
            (
                str(self.store.image_path(self.image_key, item)),
                self.store.image_bytes(self.image_key, item),
            )
            for item in items
        )
        judge = self.judge
        return JudgeUnit(
            judge, judge.name, judge.fingerprint, judge.suite.name, self.options, items, images
        )

    def take(self, unit: JudgeUnit, result: Result, observer: Observer) -> None:
        """Store a result of the unit.

        Raises:
            UserError: if the judge has changed under its fingerprint.
        """
        if isinstance(result, Canary):
            compare_canary(self.store, self.judge, result.device, result.scores)
        elif isinstance(result, Judged):
            new = {n: v for n, v in result.verdicts.items() if n not in self.verdicts}
            self.verdicts |= new
            self.store.add_verdicts(self.verdict_key, new)
            self._report(observer)
        elif isinstance(result, Done):
            self.cost.add(result.seconds, len(unit.items))

    def _report(self, observer: Observer) -> None:
        done = sum(item.name in self.verdicts for item in self.items)
        observer.step(self.items[0].action.name, "judge", done, len(self.items))


def verdict_rows(
    store: Store,
    suite: Suite,
    judge: Judge,
    method: str,
    image_key: str,
    items: Sequence[Item],
    verdicts: Mapping[tuple[str, int], Verdict],
) -> list[dict[str, Any]]:
    """Return a row of `judge.VERDICT_COLUMNS` for each item."""
    return [
        {
            "method": method,
            "suite": suite.name,
            "protocol": suite.protocol_of(judge.name),
            "action": item.action.name,
            "subject": item.subject.name,
            "category": item.subject.category,
            "index": item.index,
            "seed": item.seed,
            "image": store.image_path(image_key, item).relative_to(store.root).as_posix(),
            "total_correct": verdict.action_correct and verdict.subject_correct,
            "judge": judge.name,
            "judge_fingerprint": judge.fingerprint,
            **vars(verdict),
        }
        for item in items
        for verdict in [verdicts[item.name]]
    ]


def judge_facts(judge: Judge) -> JudgeFacts:
    """Return what a run's record says about its judge."""
    return JudgeFacts(judge.name, judge.fingerprint, dataclasses.asdict(judge.settings))


@dataclass(frozen=True)
class Rejudging:
    """A finished run's images under another judge, and the run that holds the verdicts."""

    record: RunRecord
    """The record of the run that drew the images."""
    run_id: str
    """The id that the same command with another `--judge` would give its run."""
    items: dict[str, list[Item]]
    """Items by action."""
    verdict_keys: dict[str, str]
    """Keys of the verdicts by action."""


def plan_rejudging(store: Store, run_id: str, judge: Judge) -> Rejudging:
    """Plan from a run's record how to judge its images again.

    Raises:
        UserError: for a run that is not finished, whose images are gone, whose suite has changed,
            or that this judge has judged already.
    """
    suite, record = judge.suite, store.load_record(run_id)
    if record is None or not record.complete:
        raise UserError(f"run {run_id} is not finished: finish it with the command that began it")
    if record.suite_fingerprint != suite.fingerprint:
        raise UserError(
            f"run {run_id} was drawn for another version of suite {suite.name}: name the place of "
            "that one with --suite"
        )
    subjects = suite.pick_subjects(record.subjects)
    items = {
        action.name: make_items(
            [action], subjects, record.images_per_pair, record.seed, suite.prompt
        )
        for action in suite.pick_actions(record.actions)
    }
    for action, own in items.items():
        key = record.keys[action].images
        if gone := store.missing_images(key, own):
            raise UserError(
                f"{len(gone)} images of run {run_id} are gone ({gone[0].id}): "
                "draw them again with the command that made it"
            )
    keys = {action: make_verdict_key(record.keys[action].images, suite, judge) for action in items}
    judged_id = make_run_id(
        suite=suite.name,
        protocol=suite.protocol_of(judge.name),
        method=record.method,
        settings=record.settings,
        images_per_pair=record.images_per_pair,
        seed=record.seed,
        profile=record.profile,
        prompts=record.prompts,
        verdict_keys=keys,
        subjects=[subject.name for subject in subjects],
    )
    if judged_id == run_id:
        raise UserError(
            f"run {run_id} was judged by this {judge.name} judge already: name another with --judge"
        )
    return Rejudging(record, judged_id, items, keys)


class RejudgingJob(Job):
    """Judges a finished run's images as a job of its own."""

    def __init__(
        self, store: Store, work: Rejudging, judge: Judge, options: RunOptions, observer: Observer
    ) -> None:
        self.store, self.observer, self._suite = store, observer, judge.suite
        self.failure = None
        record = work.record
        self.costs = {
            action: ActionCosts(costs.fit, costs.generate, StepCost())
            for action, costs in record.costs.items()
        }
        self._actions = {
            action: ActionJudging(
                store, judge, record.keys[action].images, work.verdict_keys[action], items,
                options, self.costs[action].judge,
            )
            for action, items in work.items.items()
        }  # fmt: skip
        self._waiting = list(self._actions)
        self._under_way: set[str] = set()

    def begin(self) -> None:
        self.store.prepare()
        keep_suite(self.store, self._suite)

    @property
    def finished(self) -> bool:
        return not (self._waiting or self._under_way)

    @property
    def drawing(self) -> bool:
        return False

    def draw_unit(self, under_way: Collection[str]) -> None:
        return None

    def judge_unit(self) -> JudgeUnit | None:
        while self._waiting:
            name = self._waiting.pop(0)
            if unit := self._actions[name].unit(self.observer):
                self._under_way.add(name)
                return unit
        return None

    def take(self, unit: Unit, result: Result) -> None:
        if isinstance(result, Failed):
            raise result.error()
        assert isinstance(unit, JudgeUnit)
        self._actions[unit.action].take(unit, result, self.observer)
        if isinstance(result, Done):
            self._under_way.remove(unit.action)

    def give_back(self, unit: Unit) -> None:
        self._under_way.remove(unit.action)
        self._waiting.insert(0, unit.action)

    def verdicts(self, action: str) -> dict[tuple[str, int], Verdict]:
        """Return an action's verdicts."""
        return self._actions[action].verdicts


def judge_run(
    store: Store,
    run_id: str,
    judge: Judge,
    command: Sequence[str] = (),
    progress: Progress = SILENT,
    options: RunOptions = DEFAULTS,
) -> str:
    """Judge a run's images; return the id of the run that holds the verdicts.

    What is judged already is not judged again.

    Args:
        options: their `device` and `workers` say where it is done.

    Raises:
        UserError: as `plan_rejudging`.
    """
    work = plan_rejudging(store, run_id, judge)
    earlier = store.load_record(work.run_id)
    if earlier is not None and earlier.complete and store.has_rows(work.run_id):
        store.clear()
        return work.run_id
    begun, record = now(), work.record
    job = RejudgingJob(store, work, judge, options, _Progress(progress))
    with open_executor(options, len(work.items)) as executor:
        Schedule(executor).run(job)
    if job.failure is not None:
        raise job.failure
    rows = [
        row
        for action, items in work.items.items()
        for row in verdict_rows(
            store, judge.suite, judge, record.method, record.keys[action].images, items,
            job.verdicts(action),
        )
    ]  # fmt: skip
    store.save_rows(work.run_id, rows)
    store.save_record(
        dataclasses.replace(
            record,
            id=work.run_id,
            suite_file=str(judge.suite.file.resolve()) if judge.suite.file else None,
            protocol=judge.suite.protocol_of(judge.name),
            judge=judge_facts(judge),
            judged_from=run_id,
            keys={
                action: ActionKeys(keys.fit, keys.images, work.verdict_keys[action])
                for action, keys in record.keys.items()
            },
            costs=job.costs,
            command=list(command),
            versions=versions(),
            machine=machine(),
            git=git_state(),
            started=begun,
            finished=now(),
        )
    )
    return work.run_id


class _Progress(Observer):
    """An observer that passes a judge's steps on as those of one job."""

    def __init__(self, progress: Progress) -> None:
        self.progress = progress

    def step(self, action: str, stage: str, done: int, total: int, what: str = "") -> None:
        self.progress.update(done, total, action)
