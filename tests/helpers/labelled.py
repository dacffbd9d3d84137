"""Small runs with real drawings on disk, whose truth is known, for tests of labels."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from actionbench.puppets.drawing.holding import anywhere
from actionbench.puppets.drawing.looks import SUBJECTS
from actionbench.puppets.drawing.pose import action_pose
from actionbench.puppets.drawing.scene import draw
from actionbench.suite.items import paper_actions
from actionbench.suite.suite import get_suite
from tests.helpers.verdicts import make_verdicts, save_run

SIDE = 32
ROWS = {"drawn": (1.0, 0.0), "other-action": (0.0, 0.1), "adi": (0.6, 0.15)}
"""By method: the share of drawings that show the asked action, and how often the judge errs."""


def drawn_runs(runs: Path, methods: tuple[str, ...] = ("adi",), subjects: int = 6) -> list[str]:
    """Store runs of eight actions by some subjects, drawn by the puppets, and return their ids.

    The file `truth.csv` in the runs folder's parent says what each image shows.
    """
    suite, truths, ids = get_suite("puppets"), [], []
    for method in methods:
        share, error = ROWS[method]
        rng = np.random.default_rng(len(method))
        right = rng.random((8, subjects)) < share
        seen = right ^ (rng.random((8, subjects)) < error)
        verdicts = make_verdicts(
            lambda action, subject, index, seen=seen: (bool(seen[action, subject]), True),
            method=method, subjects=subjects, images_per_pair=1,
        )  # fmt: skip
        ids.append(save_run(runs, verdicts, suite_fingerprint=suite.fingerprint, title=method))
        for place, row in enumerate(verdicts.to_dict("records")):
            shows = bool(right[divmod(place, subjects)])
            path = runs / row["image"]
            path.parent.mkdir(parents=True, exist_ok=True)
            _drawing(row["action"], row["subject"], shows, method).save(path)
            truths.append({"image": row["image"], "action": shows, "subject": True})
    pd.DataFrame(truths).to_csv(runs.parent / "truth.csv", index=False)
    return ids


@cache
def _drawing(action: str, subject: str, right: bool, method: str) -> Image.Image:
    names = [known.name for known in paper_actions()]
    seed = [len(method), *method.encode()[:2], names.index(action), *subject.encode()[:4]]
    rng = np.random.default_rng(seed)
    shown = action if right else names[(names.index(action) + 1) % len(names)]
    return draw(anywhere(SUBJECTS[subject], action_pose(shown, rng), rng), SIDE, 2)[0]
