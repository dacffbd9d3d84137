"""Judging of stored images: a run's own, and a finished run's again by another judge.

Judging again needs only the run's record, and neither its method nor its base model.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from actionbench.device import out_of_memory
from actionbench.errors import UserError
from actionbench.judge import Judge, Verdict, verdicts_of
from actionbench.progress import SILENT, Observer, Progress
from actionbench.runs.canary import check_canary
from actionbench.runs.kept import keep_suite
from actionbench.runs.plan import make_run_id, make_verdict_key
from actionbench.runs.provenance import git_state, machine, now, versions
from actionbench.runs.record import ActionCosts, ActionKeys, JudgeFacts, RunRecord, StepCost
from actionbench.runs.store import Store
from actionbench.suite.items import Item, make_items
from actionbench.suite.suite import Suite

_JUDGE_BATCH = 32
"""Verdicts are stored after this many images, so that a kill costs a slow judge little time."""


def judge_images(
    store: Store,
    judge: Judge,
    image_key: str,
    verdict_key: str,
    items: Sequence[Item],
    to_judge: Sequence[Item],
    observer: Observer,
    cost: StepCost,
) -> dict[tuple[str, int], Verdict]:
    """Judge the images of one action that are not judged yet, and store verdicts as they come.

    Args:
        items: all items of the action.
        to_judge: those that are not judged yet.
        cost: the time and number of these judgements are added to it.

    Returns:
        The verdicts of all items.
    """
    before = store.load_verdicts(verdict_key)
    judged: dict[tuple[str, int], Verdict] = {}
    total, done = len(items), len(items) - len(to_judge)
    observer.step(items[0].action.name, "judge", done, total)
    if to_judge:
        with _reporting_memory(judge):
            check_canary(store, judge)
    started = time.monotonic()
    for begin in range(0, len(to_judge), _JUDGE_BATCH):
        batch = to_judge[begin : begin + _JUDGE_BATCH]
        images = [store.load_image(image_key, item) for item in batch]
        with _reporting_memory(judge):
            verdicts = verdicts_of(judge, images, batch)
        judged |= {item.name: v for item, v in zip(batch, verdicts, strict=True)}
        store.add_verdicts(verdict_key, judged)
        observer.step(items[0].action.name, "judge", done + begin + len(batch), total)
    cost.add(time.monotonic() - started, len(to_judge))
    return {**before, **judged}


@contextmanager
def _reporting_memory(judge: Judge) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        if not out_of_memory(error):
            raise
        raise UserError(
            f"there is not enough memory for the {judge.name} judge: lower its batch size "
            "(--judge-set batch_size=N), or let `actionbench judges run` judge the drawn images, "
            "which loads no base model; finished work is kept"
        ) from error


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
        raise UserError(f"run {run_id} was drawn for another version of suite {suite.name}")
    subjects = suite.pick_subjects(record.subjects)
    items = {
        action.name: make_items(
            [action], subjects, record.images_per_pair, record.seed, suite.prompt
        )
        for action in suite.pick_actions(record.actions)
    }
    for action, own in items.items():
        key = record.keys[action].images
        if gone := [item.id for item in own if not store.has_image(key, item)]:
            raise UserError(
                f"{len(gone)} images of run {run_id} are gone ({gone[0]}): "
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
        raise UserError(f"run {run_id} was judged by this {judge.name} judge already")
    return Rejudging(record, judged_id, items, keys)


def judge_run(
    store: Store,
    run_id: str,
    judge: Judge,
    command: Sequence[str] = (),
    progress: Progress = SILENT,
) -> str:
    """Judge a run's images on the judge's device; return the id of the run that holds the verdicts.

    What is judged already is not judged again.

    Raises:
        UserError: as `plan_rejudging`.
    """
    work = plan_rejudging(store, run_id, judge)
    earlier = store.load_record(work.run_id)
    if earlier is not None and earlier.complete and store.has_rows(work.run_id):
        return work.run_id
    store.prepare()
    keep_suite(store, judge.suite)
    begun, rows = now(), []
    record, costs = work.record, {}
    for action, items in work.items.items():
        image_key, verdict_key = record.keys[action].images, work.verdict_keys[action]
        before = store.load_verdicts(verdict_key)
        cost = StepCost()
        verdicts = judge_images(
            store, judge, image_key, verdict_key, items,
            [item for item in items if item.name not in before],
            _Progress(progress), cost,
        )  # fmt: skip
        costs[action] = ActionCosts(record.costs[action].fit, record.costs[action].generate, cost)
        rows += verdict_rows(store, judge.suite, judge, record.method, image_key, items, verdicts)
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
            costs=costs,
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
