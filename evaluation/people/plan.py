"""Which images are shown to people first: chosen by chance, with known probabilities."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from actionbench.errors import UserError

if TYPE_CHECKING:
    from numpy.typing import NDArray

MIN_LABELS = 40
"""Fewest labelled images of a row from which anything is estimated."""
BUDGET = 300
"""Images labelled by default, an afternoon's work; more if the rows need them."""
OVERLAP = 0.1
"""The share of images that three raters see, so that their agreement can be measured."""
RATERS = 3
"""How many see these."""
FLOOR = 4
"""Images of each verdict at least, so that a judge's rare errors are looked for too."""


@dataclass(frozen=True)
class Chosen:
    """An image to label."""

    run: str
    position: int
    """Its line in the run's verdicts."""
    stratum: str
    """Its run and what the model judge says of it."""
    probability: float
    raters: int


def default_budget(rows: int) -> int:
    """Return how many images are planned if nobody says how many."""
    return max(BUDGET, MIN_LABELS * rows)


def labels_each(budget: int, rows: int) -> int:
    """Divide a budget among rows; what is left over goes to the first ones.

    Raises:
        UserError: if it leaves a row under `MIN_LABELS` images.
    """
    share = budget // rows
    if share < MIN_LABELS:
        over = f"{rows} row{'' if rows == 1 else 's'}"
        raise UserError(
            f"{budget} images over {over} are {share} each, and nothing is estimated "
            f"from fewer than {MIN_LABELS}: --budget {MIN_LABELS * rows} or fewer runs"
        )
    return share


def choose_images(
    verdicts: dict[str, pd.DataFrame], budget: int, *, seed: int = 0, overlap: float = OVERLAP
) -> list[Chosen]:
    """Choose the images that people are to label, in the order in which they are to be labelled.

    Every row gets the same number. Within a row, images are drawn from the strata of what the model
    judge says (right, or wrong in action, subject or both) in proportion to their size, and at
    least `FLOOR` of each; within a stratum, at regular distances along the fits from a random
    start, so that every fit has its share (systematic sampling, Cochran 1977, chapter 8). All
    images of a stratum have the same probability, which is returned. The order is a random one of
    all rows together: wherever labelling stops, what is labelled is a random part of the plan.

    Args:
        verdicts: each row's verdicts, by the run's id.
        budget: images to label, by one rater or more.
        overlap: the share of them that `RATERS` raters are to see.

    Raises:
        UserError: if the budget leaves a row under `MIN_LABELS` images.
    """
    share = labels_each(budget, len(verdicts))
    rng = np.random.default_rng((seed, 18))
    chosen: list[tuple[str, int, str, float]] = []
    for number, (run, rows) in enumerate(verdicts.items()):
        if len(rows) < MIN_LABELS:
            raise UserError(
                f"run {run} has {len(rows)} images, and nothing is estimated from fewer than "
                f"{MIN_LABELS}: draw more, or leave it out"
            )
        count = min(len(rows), share + (number < budget % len(verdicts)))
        chosen += [(run, *choice) for choice in _choose(rows, count, run, rng)]
    order = rng.permutation(len(chosen))
    several = set(rng.choice(len(chosen), size=_overlapping(len(chosen), overlap), replace=False))
    return [
        Chosen(run, position, stratum, probability, RATERS if turn in several else 1)
        for turn, place in enumerate(order)
        for run, position, stratum, probability in [chosen[place]]
    ]


def _overlapping(images: int, overlap: float) -> int:
    return int(np.ceil(round(images * overlap, 9)))


def _choose(
    rows: pd.DataFrame, count: int, run: str, rng: np.random.Generator
) -> list[tuple[int, str, float]]:
    cells = verdict_cells(rows)
    names, of_row = np.unique(cells, return_inverse=True)
    sizes = np.bincount(of_row)
    fits = pd.factorize(rows["action"])[0]
    choices = []
    for cell, take in enumerate(allocate(sizes, count)):
        positions = np.flatnonzero(of_row == cell)
        # By fit, and by chance within one.
        positions = positions[np.lexsort((rng.random(len(positions)), fits[positions]))]
        step = len(positions) / take
        picked = positions[np.floor((np.arange(take) + rng.random()) * step).astype(int)]
        stratum = f"{run}: {names[cell]}"
        choices += [(int(p), stratum, take / len(positions)) for p in np.sort(picked)]
    return choices


def verdict_cells(rows: pd.DataFrame) -> NDArray[np.object_]:
    """Name what the judge says of each image: what is right in it."""
    action, subject = (rows[f"{q}_correct"].to_numpy(bool) for q in ("action", "subject"))
    return np.where(
        action, np.where(subject, "both", "action"), np.where(subject, "subject", "neither")
    ).astype(object)


def allocate(sizes: NDArray[np.int64], count: int, floor: int = FLOOR) -> NDArray[np.int64]:
    """Divide `count` images among strata in proportion to their sizes, `floor` of each at least.

    A stratum that has fewer gives all. Parts of an image go to the largest remainders.
    """
    least = np.minimum(sizes, floor)
    if least.sum() > count:  # more strata than the floor allows for: one of each
        least = np.minimum(sizes, 1)
    taken = least.astype(np.float64)
    open_ = taken < sizes
    while open_.any():
        # What lies under its floor keeps it; the others share the rest in proportion.
        rest = count - taken[~open_].sum()
        wanted = rest * sizes / sizes[open_].sum()
        low = open_ & (wanted <= least)
        if not low.any():
            taken[open_] = wanted[open_]
            break
        open_ &= ~low
    whole = np.maximum(np.floor(taken + 1e-9), least).astype(np.int64)
    left = count - int(whole.sum())
    for cell in np.argsort(-(taken - whole), kind="stable")[:left]:
        whole[cell] += 1
    return np.minimum(whole, sizes)
