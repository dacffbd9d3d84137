"""A rater that is a program: for exercise and tests, marked wherever its answers go."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np

from evaluation.people.labels import Label
from evaluation.people.questions import QUESTIONS, Answer

if TYPE_CHECKING:
    from evaluation.people.study import Study

KNOWN = {"drawn": (True, True), "other-action": (False, True)}
"""Methods whose images are right, or wrong, by their making: action, subject."""


def simulate(study: Study, rater: str, *, error: float, seed: int = 0) -> int:
    """Answer all that is open to a rater, and return how many answers were given.

    The truth is what `KNOWN` says of an image's method, and the model judge's verdict for other
    methods. Each answer is wrong with the probability `error`.
    """
    labels, store = study.labels, study.store
    truths: dict[str, tuple[bool, bool]] = {}
    for run_id in labels.meta()["runs"]:
        record = store.read_record(run_id)
        rows = store.read_verdicts(record)
        for image, action, subject in zip(
            rows["image"], rows["action_correct"], rows["subject_correct"]
        ):
            truths[image] = KNOWN.get(record.method, (bool(action), bool(subject)))
    rng = np.random.default_rng((seed, *rater.encode()))
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    given = []
    for item in study.packet(rater, None):
        known = truths[item.image] if item.image else (item.action_truth, item.subject_truth)
        action, subject = (_answer(truth, error, rng) for truth in known)
        given.append(
            Label(
                item=item.id,
                sha=item.sha,
                rater=rater,
                session=1,
                action=action,
                subject=subject,
                comment="",
                questions=QUESTIONS,
                answered=now,
                seconds=round(float(rng.gamma(4, 1.5)), 3),
                simulated=True,
            )
        )
    labels.add(given)
    return len(given)


def _answer(truth: bool | None, error: float, rng: np.random.Generator) -> Answer:
    if truth is None:
        return "unsure"
    return "yes" if truth ^ (rng.random() < error) else "no"
