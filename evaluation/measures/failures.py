"""How a system fails: neglect, contamination, and copying of the exemplars.

Neglect: the subject is there, the action is not. Contamination: the action is there, the subject
is not; and the kind of it that the paper shows, in which the subject has turned into a person like
those of the exemplars, so that the judge sees none of the subjects that it knows.

Copying: an image is nearer to an exemplar of its action than an honest drawing of somebody else
doing that action comes by chance. Distances are taken between small pictures in colours as the
eye weighs them: `GRID` x `GRID` cells in CIE L*a*b*, mean colour difference of the cells (CIE
1976). That sees pose, clothes and backdrop together, which a copy repeats and a new picture does
not; the judge's features would not do, because they are trained to overlook who a person is
and where. An image is a copy if its distance to the nearest exemplar of its action

- is below the action's threshold: the `QUANTILE` (1%) of the same distance of `FRESH` fresh
  drawings of random people doing the action in random places, which no exemplar is among; and
- is smaller than its distance to the nearest exemplar of every other action: an image that is as
  near to those is plain rather than copied.

So at most about 1% of honest images count as copies. Thresholds are drawn from a fixed seed and
repeat; they exist for suites whose exemplars this project draws. A copied person in a new place,
or a mirrored copy, is not seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from PIL import Image

from actionbench.errors import UserError
from actionbench.files.hashing import make_key
from actionbench.runs.record import RunRecord
from actionbench.runs.store import Store, read_image
from actionbench.suite.items import NONE, Action
from actionbench.suite.shipped import PUPPETS
from actionbench.suite.suite import Suite, get_suite, suites
from evaluation.measures.accuracy import Share, cluster_names, clustered, outcomes

if TYPE_CHECKING:
    from numpy.typing import NDArray

GRID = 16
FRESH = 400
"""Fresh drawings of each action."""
QUANTILE = 0.01
SEED = 77_000
"""Of the fresh drawings: no exemplar, training or gate uses it."""
VERSION = 1
"""Raised when the same images no longer give the same copies."""

_XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750],
     [0.0193339, 0.1191920, 0.9503041]]
)  # fmt: skip
"""Linear sRGB to CIE XYZ (IEC 61966-2-1); its rows sum to the white point D65."""


@dataclass(frozen=True)
class Failures:
    """Shares of all images, beside `accuracy.overall`'s neglect and contamination."""

    exemplar_like: Share | None
    """The part of contamination in which the judge sees none of the subjects that it knows; None
    if the judge only says yes or no."""
    copied: Share | None
    """None if it cannot be measured."""


def failures(verdicts: pd.DataFrame, copied: NDArray[np.bool_] | None) -> Failures:
    """Count the failures of one run, with 95% intervals clustered as accuracies are.

    `copied` is [n], for the image of each verdict's row.
    """
    table = outcomes(verdicts)
    names, by = cluster_names(verdicts)
    clusters = names.to_numpy(dtype=object)

    def share(outcome: NDArray[np.bool_] | None) -> Share | None:
        return None if outcome is None else clustered(outcome, clusters, by)

    contamination = table["contamination"].to_numpy(dtype=bool)
    seen = verdicts["subject_seen"].to_numpy(dtype=object)
    named = bool((seen != "").any())
    return Failures(share(contamination & (seen == NONE) if named else None), share(copied))


def copied_images(
    store: Store, record: RunRecord, verdicts: pd.DataFrame
) -> NDArray[np.bool_] | None:
    """Say which images of a complete run copy an exemplar [n], in the order of its verdicts.

    Computed once and then read from the run's folder. None if images were deleted, or if the
    suite's exemplars are not drawn by this project, or are others by now.
    """
    keys = {action: vars(own) for action, own in record.keys.items()}
    key = make_key(VERSION, GRID, FRESH, QUANTILE, SEED, keys, record.finished)
    stored = store.load_copying(record.id)
    if stored is None or stored.get("key") != key:
        paths = [store.root / name for name in verdicts["image"]]
        suite = suites().get(record.suite)
        if suite is None or not _drawn_here(suite) or not all(path.exists() for path in paths):
            return None
        if suite.fingerprint != record.suite_fingerprint:
            return None
        images = np.stack([signature(read_image(path)) for path in paths])
        copies = find_copies(images, list(verdicts["action"]), suite)
        stored = {"key": key, "copied": np.flatnonzero(copies).tolist()}
        with suppress(UserError):  # a store that is only read: the next board computes it again
            store.save_copying(record.id, stored)
    copied = np.zeros(len(verdicts), dtype=bool)
    copied[stored["copied"]] = True
    return copied


def _drawn_here(suite: Suite) -> bool:
    return suite.exemplar_file.is_relative_to(PUPPETS)


def find_copies(
    images: NDArray[np.float64], actions: Sequence[str], suite: Suite
) -> NDArray[np.bool_]:
    """Say which images are copies, [n], by signatures [n, cells, 3] and their actions' names."""
    names = [action.name for action in suite.actions]
    # [n, actions]: each image's distance to the nearest exemplar of each action
    nearest = np.stack([nearest_distance(images, _exemplars(suite.name, n)) for n in names], axis=1)
    rows, own = np.arange(len(images)), np.array([names.index(action) for action in actions])
    mine = nearest[rows, own]
    nearest[rows, own] = np.inf
    limits = np.array([threshold(suite.name, name) for name in names])[own]
    copies: NDArray[np.bool_] = (mine < limits) & (mine < nearest.min(axis=1))
    return copies


@lru_cache
def threshold(suite: str, action: str) -> float:
    """Compute the distance to an action's exemplars that 1% of honest drawings fall below."""
    (own,) = [a for a in get_suite(suite).actions if a.name == action]
    distances = nearest_distance(fresh_drawings(own), _exemplars(suite, action))
    return float(np.quantile(distances, QUANTILE))


def fresh_drawings(action: Action, count: int = FRESH) -> NDArray[np.float64]:
    """Compute signatures of random people doing an action in random places, [count, cells, 3]."""
    from actionbench.puppets.corpus import SIZE
    from actionbench.puppets.dataset import EXEMPLARS, exemplar_scenes
    from actionbench.puppets.scene import draw

    scenes = [
        scene
        for number in range(-(-count // EXEMPLARS))
        for scene in exemplar_scenes(action, number, seed=SEED)
    ]
    return np.stack([signature(draw(scene, SIZE)[0]) for scene in scenes[:count]])


@lru_cache
def _exemplars(suite: str, action: str) -> NDArray[np.float64]:
    return np.stack([signature(e.image) for e in get_suite(suite).tasks[action].exemplars])


def signature(image: Image.Image) -> NDArray[np.float64]:
    """Reduce an image to a small one in CIE L*a*b* under D65: [GRID * GRID, 3], L* in [0, 100]."""
    small = image.convert("RGB").resize((GRID, GRID), Image.Resampling.BOX)
    encoded = np.asarray(small, dtype=np.float64).reshape(-1, 3) / 255
    linear = np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)
    relative = linear @ _XYZ.T / _XYZ.sum(axis=1)
    delta = 6 / 29
    root = np.where(relative > delta**3, np.cbrt(relative), relative / (3 * delta**2) + 4 / 29)
    x, y, z = root.T
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=1)


def nearest_distance(
    images: NDArray[np.float64], exemplars: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Measure images' distances to the nearest exemplar, [n]: mean colour difference of the cells.

    Signatures are [n, cells, 3] and [m, cells, 3]. A difference of 2 is just noticeable.
    """
    to_each = [np.linalg.norm(images - one, axis=2).mean(axis=1) for one in exemplars]
    nearest: NDArray[np.float64] = np.min(to_each, axis=0)
    return nearest
