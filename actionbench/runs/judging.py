"""Judging the images of a finished run again, from its record alone: no method, no base model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from actionbench.errors import UserError
from actionbench.judge import Judge
from actionbench.progress import SILENT, Observer, Progress
from actionbench.runs.execute import (
    item_name,
    judge_facts,
    judge_images,
    make_run_id,
    make_verdict_key,
    verdict_rows,
)
from actionbench.runs.provenance import git_state, machine, now, versions
from actionbench.suite.items import make_items

if TYPE_CHECKING:
    from actionbench.runs.store import Store


def judge_run(
    store: Store,
    run_id: str,
    judge: Judge,
    command: Sequence[str] = (),
    progress: Progress = SILENT,
) -> str:
    """Judge a run's images on the judge's device; return the id of the run that holds the verdicts.

    It is the run that the same command with `--judge` would make; what is judged already is not
    judged again. Raises UserError for a run that is not finished, whose images are gone, or whose
    suite has changed.
    """
    suite = judge.suite
    record = store.load_record(run_id)
    if record is None or not record["complete"]:
        raise UserError(f"run {run_id} is not finished: finish it with the command that began it")
    if record["suite_fingerprint"] != suite.fingerprint:
        raise UserError(f"run {run_id} was drawn for another version of suite {suite.name}")
    subjects = suite.pick_subjects(record["subjects"])
    items = {
        action.name: make_items(
            [action], subjects, record["images_per_pair"], record["seed"], suite.prompt
        )
        for action in suite.pick_actions(record["actions"])
    }
    image_keys = {action: record["keys"][action]["images"] for action in items}
    for action, own in items.items():
        gone = [item.id for item in own if not store.has_image(image_keys[action], item)]
        if gone:
            raise UserError(
                f"{len(gone)} images of run {run_id} are gone ({gone[0]}): "
                "draw them again with the command that made it"
            )
    keys = {action: make_verdict_key(image_keys[action], suite, judge) for action in items}
    made = make_run_id(
        suite=suite.name,
        protocol=suite.protocol_of(judge.name),
        method=record["method"],
        settings=record["settings"],
        images_per_pair=record["images_per_pair"],
        seed=record["seed"],
        verdict_keys=keys,
        subjects=[subject.name for subject in subjects],
    )
    if made == run_id:
        raise UserError(f"run {run_id} was judged by this {judge.name} judge already")
    earlier = store.load_record(made)
    if earlier is not None and earlier["complete"] and store.has_rows(made):
        return made
    store.prepare()
    begun, rows = now(), []
    costs: dict[str, Any] = {}
    for action, own in items.items():
        costs[action] = {**record["costs"][action], "judge": {"seconds": 0.0, "images": 0}}
        there = store.load_verdicts(keys[action])
        verdicts = judge_images(
            store, judge, image_keys[action], keys[action], own,
            [item for item in own if item_name(item) not in there],
            _Told(progress), costs[action]["judge"],
        )  # fmt: skip
        rows += verdict_rows(
            store, suite, judge, record["method"], image_keys[action], own, verdicts
        )
    store.save_rows(made, rows)
    store.save_record(
        made,
        {
            **record,
            "id": made,
            "protocol": suite.protocol_of(judge.name),
            "judge": judge_facts(judge),
            "judged_from": run_id,
            "keys": {a: {**record["keys"][a], "verdicts": key} for a, key in keys.items()},
            "costs": costs,
            "command": list(command),
            "versions": versions(),
            "machine": machine(),
            "git": git_state(),
            "started": begun,
            "finished": now(),
        },
    )
    return made


class _Told(Observer):
    def __init__(self, progress: Progress) -> None:
        self.progress = progress

    def step(self, action: str, stage: str, done: int, total: int, what: str = "") -> None:
        self.progress.update(done, total, action)
