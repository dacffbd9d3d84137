"""Where a figure's variance comes from: actions, draws of exemplars, fits, images.

A nested analysis of variance by moments (Henderson 1953, Estimation of Variance and Covariance
Components, method 1, which is the ordinary one if numbers are equal): images within fits, fits
within draws of exemplars, draws within actions. A component that comes out below zero is put at
zero, as is usual.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from evaluation.measures.fits import Fits

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]


@dataclass(frozen=True)
class Components:
    """Variances of shares, which are in [0, 1]; None for what the data cannot tell."""

    action: float | None
    """Between actions; with one fit of each, what lies between fits is in it."""
    exemplars: float | None
    """Between draws of exemplars for one action."""
    fit: float | None
    """Between fits of one action and one draw; with one fit a draw, what lies between draws is in
    it."""
    image: float
    """Between the images of one fit."""
    confounded: str = ""
    """What cannot be told from what: "action and fit", "exemplars and fit"; empty if nothing."""


def split(fits: Fits, measure: str) -> Components:
    """Split the variance of one method's images."""
    right, sizes = fits.counts[measure].astype(float), fits.sizes.astype(float)
    inside = float((right * (1 - right / sizes)).sum())
    draw = np.unique(np.stack([fits.action, fits.exemplars]), axis=1, return_inverse=True)[1]
    draw = draw.reshape(-1)
    several_fits = len(fits) > len(fits.actions)
    both_vary = fits.draws > 1 and len(fits) > draw.max() + 1
    levels = [fits.action]
    if both_vary:
        levels.append(draw)
    if several_fits:
        levels.append(np.arange(len(fits)))
    image, action, *inner = nested(right / sizes, sizes, inside, levels)
    confounded = ""
    if not several_fits:
        confounded = "action and fit"
    elif fits.draws > 1 and not both_vary:
        confounded = "exemplars and fit"
    return Components(
        action=action,
        exemplars=inner[0] if both_vary else None,
        fit=inner[-1] if several_fits else None,
        image=image or 0.0,
        confounded=confounded,
    )


def nested(
    means: Array, sizes: Array, inside: float, levels: Sequence[Array]
) -> list[float | None]:
    """Estimate the components of a nested design: [within cells, outermost level, ..., innermost].

    Args:
        means: of each cell, [cells].
        sizes: observations of each cell, [cells].
        inside: sum of squares within cells.
        levels: the group of each cell at each level, [cells] each, outermost first; a group of an
            inner level lies within one of the outer, and those of the innermost are the cells.

    Returns:
        None for a level with no more groups than the one around it.
    """
    total = float(sizes.sum())
    free = total - len(sizes)
    error = inside / free if free else 0.0
    around: Array = np.zeros(len(sizes), dtype=np.int64)
    whole = [around, *levels]
    weights = [np.bincount(level, sizes) for level in whole]
    squares = [
        float((np.bincount(level, sizes * means) ** 2 / weight).sum())
        for level, weight in zip(whole, weights, strict=True)
    ]
    found: dict[int, float | None] = {}
    for i in range(len(levels), 0, -1):
        degrees = len(weights[i]) - len(weights[i - 1])
        if not degrees:
            found[i] = None
            continue
        left = squares[i] - squares[i - 1] - degrees * error
        # E[sum of squares of i] = degrees error + sum over j >= i of coefficient(i, j) component(j)
        coefficients = {j: _coefficient(whole, weights, i, j) for j in range(i, len(whole))}
        left -= sum(coefficients[j] * (found[j] or 0.0) for j in coefficients if j > i)
        found[i] = max(0.0, left / coefficients[i])
    return [error if free else None, *(found[i] for i in range(1, len(whole)))]


def _coefficient(levels: Sequence[Array], weights: Sequence[Array], i: int, j: int) -> float:
    """How often component j counts in the sum of squares of level i."""
    groups, place = np.unique(levels[j], return_index=True)
    own = weights[j][groups]
    within, outside = weights[i][levels[i][place]], weights[i - 1][levels[i - 1][place]]
    return float((own**2 * (1 / within - 1 / outside)).sum())
