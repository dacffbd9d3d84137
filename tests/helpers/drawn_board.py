"""The kept board with images: what its verdicts say, drawn by the puppets' own code.

The kept runs hold verdicts and no images. A page at full size needs both, so each image is drawn as
its verdict says: the subject or a random person, doing the action or another one.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection
from pathlib import Path

import numpy as np
from PIL import Image

from actionbench.puppets.drawing.holding import anywhere
from actionbench.puppets.drawing.looks import SUBJECTS, random_person
from actionbench.puppets.drawing.pose import action_pose
from actionbench.puppets.drawing.scene import draw
from actionbench.runs.store import Store
from actionbench.suite.items import paper_actions

KEPT = Path(__file__).parents[2] / "leaderboards" / "puppets-v1"
ACTIONS = [action.name for action in paper_actions()]


def draw_board(
    runs: Path,
    *,
    methods: Collection[str] | None = None,
    actions: Collection[str] | None = None,
    subjects: Collection[str] | None = None,
    side: int = 64,
) -> Store:
    """Make a runs folder of the kept runs, or of a part of them, and draw their images."""
    kept, store = Store(KEPT), Store(runs)
    store.prepare()
    for run_id in kept.run_ids():
        record = kept.read_record(run_id)
        if methods is not None and record.method not in methods:
            continue
        own = [name for name in record.actions if actions is None or name in actions]
        chosen = [name for name in record.subjects if subjects is None or name in subjects]
        rows = [
            row
            for row in kept.load_row_dicts(run_id)
            if row["action"] in own and row["subject"] in chosen
        ]
        for row in rows:
            file = store.root / row["image"]
            file.parent.mkdir(parents=True, exist_ok=True)
            picture(row["action_seen"], row["subject_seen"], row["seed"], side).save(file)
        store.save_rows(run_id, rows)
        store.save_record(
            dataclasses.replace(
                record,
                actions=own,
                subjects=chosen,
                n_items=len(rows),
                keys={name: record.keys[name] for name in own},
                costs={name: record.costs[name] for name in own},
            )
        )
    return store


def picture(action: str, subject: str, seed: int, side: int = 64) -> Image.Image:
    """Draw somebody doing something; what has no name is drawn at random."""
    rng = np.random.default_rng(seed)
    does = action if action in ACTIONS else ACTIONS[rng.integers(len(ACTIONS))]
    look = SUBJECTS[subject] if subject in SUBJECTS else random_person(rng).look
    return draw(anywhere(look, action_pose(does, rng), rng), side, supersampling=2)[0]
