"""How a system fails: neglect, contamination, and copying of the exemplars.

Neglect: the subject is there, the action is not. Contamination: the action is there, the subject
is not; and the kind of it that the paper shows, in which the subject has turned into a person like
those of the exemplars, so that the judge sees none of the subjects that it knows.

Copying: an image of a person is nearer to an exemplar of its action than one of a method that saw
no exemplar comes by chance. Distances are taken between small pictures in colours as the eye weighs
them: `GRID` x `GRID` cells in CIE L*a*b*, mean colour difference of the cells (CIE 1976). That sees
pose, clothes and backdrop together, which a copy repeats and a new picture does not; the judge's
features would not do, because they are trained to overlook who a person is and where. An image is
a copy if its distance to the nearest exemplar of its action

- is below the board's threshold: the `QUANTILE` (1%) of the same distance over the images of
  methods that were fitted to nothing (text alone), by the same model on the same items; and
- is smaller than its distance to the nearest exemplar of every other action: an image that is as
  near to those is plain rather than copied.

Only people's images are looked at, there and here: exemplars show people, and an animal is far
from them whether it was copied or not. So about 1% of the images of a method that copies nothing
count as copies, whatever the model's pictures look like. A copied person in a new place, or a
mirrored copy, is not seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from PIL import Image

from actionbench.errors import UserError
from actionbench.files.hashing import make_key
from actionbench.runs.kept import find_suite
from actionbench.runs.record import RunRecord
from actionbench.runs.store import Store, read_image
from actionbench.suite.drawn import redrawn
from actionbench.suite.items import NONE
from actionbench.suite.suite import Suite
from evaluation.measures.accuracy import Share, default_estimand, share
from evaluation.measures.fits import Fits, outcomes, tabulate

if TYPE_CHECKING:
    from numpy.typing import NDArray

GRID = 16
QUANTILE = 0.01
FEWEST = 100
"""Images of people by methods without exemplars, from which a threshold is made."""
PEOPLE = ("human", "celebrity")
"""Categories of subjects."""
VERSION = 2
"""Raised when the same images no longer give the same distances."""

_XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750],
     [0.0193339, 0.1191920, 0.9503041]]
)  # fmt: skip
"""Linear sRGB to CIE XYZ (IEC 61966-2-1); its rows sum to the white point D65."""


@dataclass(frozen=True)
class Failures:
    """Shares of all images, beside `accuracy.overall`'s neglect and contamination."""

    exemplar_like: Share | None = None
    """The part of contamination in which the judge sees none of the subjects that it knows; None
    if the judge only says yes or no."""
    copied: Share | None = None
    """Of people's images; None if it cannot be measured."""


def failures(verdicts: pd.DataFrame, copied: NDArray[np.bool_] | None) -> Failures:
    """Count the failures of one method, with 95% intervals as accuracies have.

    `copied` is [n], for the image of each verdict's row.
    """
    contamination = outcomes(verdicts)["contamination"].to_numpy(dtype=bool)
    seen = verdicts["subject_seen"].to_numpy(dtype=object)
    found: dict[str, Share] = {}
    if bool((seen != "").any()):
        extra = {"exemplar_like": contamination & (seen == NONE)}
        found["exemplar_like"] = _share(tabulate(verdicts, extra), "exemplar_like")
    person = people(verdicts)
    if copied is not None and person.any():
        fits = tabulate(verdicts[person], {"copied": copied[person]})
        found["copied"] = _share(fits, "copied")
    return Failures(**found)


def _share(fits: Fits, measure: str) -> Share:
    return share(fits, measure, default_estimand(fits))


def people(verdicts: pd.DataFrame) -> NDArray[np.bool_]:
    """Say which images should show a person, [n]."""
    person: NDArray[np.bool_] = verdicts["category"].str.lower().isin(PEOPLE).to_numpy(dtype=bool)
    return person


def exemplar_distances(
    store: Store, record: RunRecord, verdicts: pd.DataFrame
) -> NDArray[np.float64] | None:
    """Measure how far a complete run's images are from exemplars, in the order of its verdicts.

    Computed once and then read from the run's folder: it does not depend on other runs. None if
    images or exemplars are gone, or if the exemplars are others by now.

    Returns:
        [n, 2]: the distance to the nearest exemplar of an image's own action, and of every other.
    """
    keys = {action: vars(own) for action, own in record.keys.items()}
    key = make_key(VERSION, GRID, keys, record.finished)
    stored = store.load_copying(record.id)
    if stored is None or stored.get("key") != key:
        suite = _suite(record)
        if suite is None:
            return None
        paths = [store.root / name for name in verdicts["image"]]
        if not all(path.exists() for path in paths):
            return None
        images = np.stack([signature(read_image(path)) for path in paths])
        distances = nearest_exemplars(images, list(verdicts["action"]), suite)
        stored = {"key": key, "distances": distances.round(3).tolist()}
        with suppress(UserError):  # a store that is only read: the next board computes it again
            store.save_copying(record.id, stored)
    return np.array(stored["distances"], dtype=np.float64)


def _suite(record: RunRecord) -> Suite | None:
    """The suite with the exemplars that a run learned from, if they are still the same."""
    with suppress(UserError):
        suite = find_suite(record)
        if record.redraws_exemplars:
            return redrawn(suite, record.exemplar_seed, record.exemplars)
        return suite
    return None


def nearest_exemplars(
    images: NDArray[np.float64], actions: Sequence[str], suite: Suite
) -> NDArray[np.float64]:
    """Measure images' distances to the nearest exemplar of their action and of others, [n, 2], by
    signatures [n, cells, 3] and the actions' names."""
    names = [action.name for action in suite.actions]
    exemplars = [
        np.stack([signature(exemplar.image) for exemplar in suite.tasks[name].exemplars])
        for name in names
    ]
    # [n, actions]: each image's distance to the nearest exemplar of each action
    nearest = np.stack([nearest_distance(images, of_action) for of_action in exemplars], axis=1)
    rows, own = np.arange(len(images)), np.array([names.index(action) for action in actions])
    mine = nearest[rows, own]
    nearest[rows, own] = np.inf
    # One action alone has no others to be near to.
    others = np.minimum(nearest.min(axis=1), np.finfo(np.float32).max)
    return np.stack([mine, others], axis=1)


def copy_threshold(unlearned: Sequence[NDArray[np.float64]]) -> float | None:
    """Compute the distance that `QUANTILE` of people's images fall below without an exemplar.

    `unlearned` are distances [n, 2] of people's images, a method each; None if they are too few.
    """
    own = np.concatenate([distances[:, 0] for distances in unlearned]) if unlearned else np.zeros(0)
    return float(np.quantile(own, QUANTILE)) if len(own) >= FEWEST else None


def find_copies(distances: NDArray[np.float64], threshold: float) -> NDArray[np.bool_]:
    """Say which images are copies, [n], by their distances [n, 2]."""
    own, others = distances.T
    copies: NDArray[np.bool_] = (own < threshold) & (own < others)
    return copies


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
