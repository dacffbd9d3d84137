"""Made-up verdicts and stores on disk for the tests of numbers, boards and pictures."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from actionbench.judge import VERDICT_COLUMNS
from actionbench.runs.record import RunRecord
from actionbench.runs.store import Store
from actionbench.suite.items import make_items, paper_actions, paper_subjects

Rule = Callable[[int, int, int], tuple[bool, bool]]
"""(action's place, subject's place, index) -> (action right, subject right)."""


def make_verdicts(
    rule: Rule,
    *,
    method: str = "adi",
    actions: int = 8,
    subjects: int = 23,
    images_per_pair: int = 2,
    judge_fingerprint: str = "judge-1",
    seed: int = 0,
) -> pd.DataFrame:
    chosen_actions, chosen_subjects = paper_actions()[:actions], paper_subjects()[:subjects]
    rows = []
    for item in make_items(chosen_actions, chosen_subjects, images_per_pair, seed):
        place = (
            chosen_actions.index(item.action),
            chosen_subjects.index(item.subject),
            item.index,
        )
        action_right, subject_right = rule(*place)
        rows.append(
            {
                "method": method,
                "suite": "puppets",
                "protocol": "puppets-v1",
                "action": item.action.name,
                "subject": item.subject.name,
                "category": item.subject.category,
                "index": item.index,
                "seed": item.seed,
                "image": f"images/{method}/{item.id}.png",
                "action_correct": action_right,
                "subject_correct": subject_right,
                "total_correct": action_right and subject_right,
                "action_seen": item.action.name if action_right else "none",
                "subject_seen": item.subject.name if subject_right else "none",
                "action_score": 0.9 if action_right else 0.1,
                "subject_score": 0.9 if subject_right else 0.1,
                "judge": "puppet",
                "judge_fingerprint": judge_fingerprint,
            }
        )
    return pd.DataFrame(rows, columns=list(VERDICT_COLUMNS))


def first_actions(right: Iterable[int]) -> Rule:
    """The subject is always right; the action is right for the actions at these places."""
    chosen = set(right)
    return lambda action, subject, index: (action in chosen, True)


def save_run(
    runs: Path,
    verdicts: pd.DataFrame,
    *,
    run_id: str = "",
    title: str = "",
    settings: Mapping[str, Any] | None = None,
    seed: int = 0,
    model: str = "model-1",
    suite_fingerprint: str = "suite-1",
    planned_actions: int | None = None,
    finished: str = "2026-01-02T00:00:00+00:00",
) -> str:
    """Store verdicts as a run. With `planned_actions` above the verdicts' own, it is partial."""
    own = list(dict.fromkeys(verdicts["action"]))
    every = dict.fromkeys([*own, *(a.name for a in paper_actions())])
    actions = list(every)[: planned_actions or len(own)]
    subjects = list(dict.fromkeys(verdicts["subject"]))
    images = int(verdicts["index"].max()) + 1
    complete = len(actions) == len(own)
    method = str(verdicts["method"].iloc[0])
    run_id = run_id or f"{method}-{len(Store(runs).run_ids()):08x}"
    nothing = {"seconds": 0.0, "images": 0}
    cost = {
        "fit": {"seconds": 30.5, "peak_mib": 900, "device": "cpu"},
        "generate": {"seconds": 9.2, "images": 46},
        "judge": {"seconds": 1.0, "images": 46},
    }
    unfinished = {"fit": None, "generate": nothing, "judge": nothing}
    record = {
        "format": 1,
        "id": run_id,
        "complete": complete,
        "method": method,
        "title": title or method,
        "settings": dict(settings or {}),
        "suite": str(verdicts["suite"].iloc[0]),
        "suite_fingerprint": suite_fingerprint,
        "protocol": str(verdicts["protocol"].iloc[0]),
        "model": {"name": "tiny", "preset": None, "fingerprint": model},
        "judge": {
            "name": str(verdicts["judge"].iloc[0]),
            "fingerprint": str(verdicts["judge_fingerprint"].iloc[0]),
        },
        "actions": actions,
        "subjects": subjects,
        "images_per_pair": images,
        "n_items": len(actions) * len(subjects) * images,
        "seed": seed,
        "dtype": "float32",
        "device": "cpu",
        "peak_mib": 1234,
        "keys": {name: {"fit": "f", "images": "i", "verdicts": "v"} for name in actions},
        "costs": {name: cost if name in own else unfinished for name in actions},
        "started": "2026-01-01T00:00:00+00:00",
        "finished": finished if complete else None,
    }
    store = Store(runs)
    store.prepare()
    store.save_rows(run_id, verdicts.to_dict("records"))
    store.save_record(RunRecord.from_json(record))
    return run_id
