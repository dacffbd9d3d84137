"""Made-up verdicts and stores on disk for the tests of numbers, boards and pictures."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pandas as pd

from actionbench.benchmark import make_items, paper_actions, paper_subjects
from actionbench.judge import VERDICT_COLUMNS

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
