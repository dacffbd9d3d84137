"""The canary: eight drawn images, always the same, that a judge scores before it judges a run.

The first scores of a judge with some fingerprint are kept in the runs folder. The fingerprint
covers weights and rules; a change of anything else (a library's version, the machine's arithmetic)
shows here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from actionbench.errors import UserError
from actionbench.files.hashing import make_key
from actionbench.judge import verdicts_of
from actionbench.runs.provenance import now, versions
from actionbench.runs.store import Store
from actionbench.suite.items import Item
from actionbench.suite.shipped import CANARY

if TYPE_CHECKING:
    from PIL.Image import Image

    from actionbench.judge import Judge

SIDE = 128
"""The side of each image in pixels; they are side by side in `actionbench/data/canary.png`, one of
each of the eight actions in the benchmark's order."""

TOLERANCE = {"float32": 1e-3, "float16": 2e-2, "bfloat16": 5e-2}
"""How far a score, a probability, may be from its first value, by the judge's number format.

These are a few rounding errors of the format and not measured figures: versions of a library that
only round differently stay well below, a change in how pictures are prepared is well above."""

_scored: WeakKeyDictionary[Judge, dict[str, list[list[float]]]] = WeakKeyDictionary()
"""Scores by the device that they were made on: a judge object makes them once."""


def canary_images() -> list[Image]:
    """Read the eight images, RGB."""
    from PIL import Image

    with CANARY.open("rb") as file:
        sheet = Image.open(file).convert("RGB")
    return [sheet.crop((left, 0, left + SIDE, SIDE)) for left in range(0, sheet.width, SIDE)]


def check_canary(store: Store, judge: Judge) -> None:
    """Score the canary, and compare with the first scores or keep these as the first.

    Raises:
        UserError: if a score has moved.
    """
    compare_canary(store, judge, judge.device, score_canary(judge))


def score_canary(judge: Judge) -> list[list[float]]:
    """Return a judge's action and subject score of each image; made once for each judge object."""
    done = _scored.setdefault(judge, {})
    if judge.device not in done:
        images, suite = canary_images(), judge.suite
        items = [
            Item(suite.actions[n % len(suite.actions)], suite.subjects[n % len(suite.subjects)], 0)
            for n in range(len(images))
        ]
        verdicts = verdicts_of(judge, images, items)
        done[judge.device] = [[v.action_score, v.subject_score] for v in verdicts]
    return done[judge.device]


def compare_canary(store: Store, judge: Judge, device: str, scores: list[list[float]]) -> None:
    """Compare scores with a judge's first ones, or keep them as the first.

    Scores are kept separately for each suite and each kind of device.

    Args:
        device: the kind of device that the scores were made on.

    Raises:
        UserError: if a score has moved.
    """
    suite = judge.suite
    content = hashlib.sha256(b"".join(image.tobytes() for image in canary_images())).hexdigest()
    key = make_key(
        *("canary", content, judge.name, judge.fingerprint, device),
        *(suite.name, suite.fingerprint),
    )
    first = store.load_canary(key)
    if first is None:
        facts = {"judge": judge.name, "fingerprint": judge.fingerprint, "device": device}
        store.save_canary(key, {**facts, "scores": scores, "made": now(), "versions": versions()})
    else:
        _compare(first, scores, TOLERANCE[judge.dtype], judge, device, store.canary_path(key))


def _compare(
    first: Mapping[str, Any],
    scores: Sequence[Sequence[float]],
    tolerance: float,
    judge: Judge,
    device: str,
    path: Path,
) -> None:
    for number, (before, after) in enumerate(zip(first["scores"], scores, strict=True), 1):
        for what, old, new in zip(("action", "subject"), before, after, strict=True):
            if not abs(new - old) <= tolerance:  # also if it is not a number
                raise UserError(
                    f"the {judge.name} judge ({judge.fingerprint}) has changed on {device}: "
                    f"its {what} score of canary image {number} was {old:.4f} on {first['made']} "
                    f"and is {new:.4f} now; weights and rules are the same, so a library or the "
                    f"machine is not (then: {_list(first['versions'])}; now: {_list(versions())}); "
                    f"restore it, or delete {path} to go on with verdicts that cannot be compared "
                    "with the earlier ones"
                )


def _list(packages: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in packages.items())
