"""The canary: eight drawn images that a judge scores before it judges a run, always the same.

How a judge of some fingerprint scored them first is kept in the runs folder. Weights and rules are
in the fingerprint; what is not (versions of libraries, the machine's arithmetic) shows here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from actionbench.errors import UserError
from actionbench.files.hashing import make_key
from actionbench.runs.provenance import now, versions
from actionbench.runs.store import Store
from actionbench.suite.items import Item
from actionbench.suite.shipped import CANARY

if TYPE_CHECKING:
    from PIL.Image import Image

    from actionbench.judge import Judge

SIDE = 128
"""Pixels of each image; they stand side by side in `actionbench/data/canary.png`, one of each of
the eight actions in the benchmark's order."""

TOLERANCE = {"float32": 1e-3, "float16": 2e-2, "bfloat16": 5e-2}
"""How far a score, a probability, may lie from its first value, by the judge's number format.

A few rounding errors of the format, and no measured figures: versions of a library that change
nothing else stay well below, another preparation of the pictures lies well above."""

_checked: WeakKeyDictionary[Judge, set[tuple[str, str]]] = WeakKeyDictionary()


def canary_images() -> list[Image]:
    from PIL import Image

    with CANARY.open("rb") as file:
        sheet = Image.open(file).convert("RGB")
    return [sheet.crop((left, 0, left + SIDE, SIDE)) for left in range(0, sheet.width, SIDE)]


def check_canary(store: Store, judge: Judge) -> None:
    """Score the canary and compare, once for each judge that is made; the first time, remember it.

    Scores are kept apart by suite and by kind of device. Raises UserError where one has moved.
    """
    images, suite = canary_images(), judge.suite
    content = hashlib.sha256(b"".join(image.tobytes() for image in images)).hexdigest()
    key = make_key(
        *("canary", content, judge.name, judge.fingerprint, judge.device),
        *(suite.name, suite.fingerprint),
    )
    done = _checked.setdefault(judge, set())
    if (str(store.root), key) in done:
        return
    items = [
        Item(suite.actions[n % len(suite.actions)], suite.subjects[n % len(suite.subjects)], 0)
        for n in range(len(images))
    ]
    scores = [[v.action_score, v.subject_score] for v in judge.judge(images, items)]
    first = store.load_canary(key)
    if first is None:
        facts = {"judge": judge.name, "fingerprint": judge.fingerprint, "device": judge.device}
        store.save_canary(key, {**facts, "scores": scores, "made": now(), "versions": versions()})
    else:
        _compare(first, scores, TOLERANCE[judge.dtype], judge, store.canary_path(key))
    done.add((str(store.root), key))


def _compare(
    first: Mapping[str, Any],
    scores: Sequence[Sequence[float]],
    tolerance: float,
    judge: Judge,
    path: Path,
) -> None:
    for number, (before, after) in enumerate(zip(first["scores"], scores, strict=True), 1):
        for what, old, new in zip(("action", "subject"), before, after, strict=True):
            if not abs(new - old) <= tolerance:  # also where it is no number
                raise UserError(
                    f"the {judge.name} judge ({judge.fingerprint}) has changed on {judge.device}: "
                    f"its {what} score of canary image {number} was {old:.4f} on {first['made']} "
                    f"and is {new:.4f} now; weights and rules are the same, so a library or the "
                    f"machine is not (then: {_told(first['versions'])}; now: {_told(versions())}); "
                    f"put it back, or delete {path} to go on with verdicts that the earlier ones "
                    "do not compare with"
                )


def _told(found: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in found.items())
