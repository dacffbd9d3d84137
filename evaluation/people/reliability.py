"""Do raters agree? Krippendorff's alpha of all of them, Cohen's kappa of every two."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from evaluation.measures.accuracy import LEVEL

if TYPE_CHECKING:
    from numpy.typing import NDArray

RESAMPLES = 2000


@dataclass(frozen=True)
class Reliability:
    """A coefficient of agreement with its 95% interval: 1 is perfect, 0 what chance gives.

    NaN if there is nothing to agree about: no image with two answers, or all answers the same.
    """

    value: float
    low: float
    high: float
    images: int
    """Images with at least two answers."""

    def __str__(self) -> str:
        if math.isnan(self.value):
            return "–"
        if math.isnan(self.low):
            return f"{self.value:.2f}"
        return f"{self.value:.2f} [{self.low:.2f}, {self.high:.2f}]"


def krippendorff_alpha(
    answers: pd.DataFrame, *, resamples: int = RESAMPLES, seed: int = 0
) -> Reliability:
    """Compute Krippendorff's alpha for nominal answers, any of which may be missing.

    alpha = 1 - observed / expected disagreement, from the coincidences of the answers to one
    image (Krippendorff 2019, Content Analysis, chapter 12). The interval is the percentile
    bootstrap's over images; a resample in which all answers are the same is left out.

    Args:
        answers: a row an image, a column a rater; None where a rater did not answer.
    """
    codes, values = pd.factorize(answers.to_numpy(dtype=object).ravel())
    codes = codes.reshape(answers.shape)
    # [images, values]: how many raters gave each answer
    counts = np.stack([(codes == value).sum(axis=1) for value in range(len(values))], axis=-1)
    counts = counts[counts.sum(axis=1) > 1].astype(np.float64)
    return _with_interval(counts, _alpha, resamples, seed)


def _alpha(counts: NDArray[np.float64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Alpha of each of some resamples of the images, whose `weights` are [resamples, images]."""
    answered = counts.sum(axis=1)
    # Ordered pairs of one image's answers that differ, each image worth as much as its answers.
    differing = (answered**2 - (counts**2).sum(axis=1)) / (answered - 1)
    given = weights @ counts
    total = given.sum(axis=1)
    expected = (total**2 - (given**2).sum(axis=1)) / (total - 1)
    return 1 - _divide(weights @ differing, expected)


def cohen_kappa(
    first: Sequence[object], second: Sequence[object], *, resamples: int = RESAMPLES, seed: int = 0
) -> Reliability:
    """Compute Cohen's kappa (1960) of two raters' answers to the same images.

    The interval is the percentile bootstrap's over images, as alpha's.
    """
    codes, values = pd.factorize(np.array([*first, *second], dtype=object))
    one_hot = np.eye(len(values))[codes]
    pairs = np.concatenate([one_hot[: len(first)], one_hot[len(first) :]], axis=1)
    return _with_interval(pairs, _kappa, resamples, seed)


def _kappa(pairs: NDArray[np.float64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    values = pairs.shape[1] // 2
    same = (pairs[:, :values] * pairs[:, values:]).sum(axis=1)
    images = weights.sum(axis=1)
    shares = (weights @ pairs) / images[:, None]
    by_chance = (shares[:, :values] * shares[:, values:]).sum(axis=1)
    return 1 - _divide(1 - (weights @ same) / images, 1 - by_chance)


def pairwise_kappa(
    answers: pd.DataFrame, *, resamples: int = RESAMPLES, seed: int = 0
) -> dict[tuple[str, str], Reliability]:
    """Compute Cohen's kappa of every two raters on the images that both answered, by name."""
    kappas = {}
    for first, second in combinations(answers.columns, 2):
        both = answers[[first, second]].dropna()
        if len(both):
            kappas[str(first), str(second)] = cohen_kappa(
                list(both[first]), list(both[second]), resamples=resamples, seed=seed
            )
    return kappas


def _with_interval(
    rows: NDArray[np.float64],
    coefficient: object,
    resamples: int,
    seed: int,
) -> Reliability:
    """A coefficient of some rows (images), and its percentile interval over resampled rows."""
    images = len(rows)
    if not images:
        return Reliability(math.nan, math.nan, math.nan, 0)
    assert callable(coefficient)
    value = float(coefficient(rows, np.ones((1, images)))[0])
    rng = np.random.default_rng(seed)
    weights = rng.multinomial(images, np.full(images, 1 / images), size=resamples)
    resampled = coefficient(rows, weights.astype(np.float64))
    resampled = resampled[~np.isnan(resampled)]
    if math.isnan(value) or not len(resampled):
        return Reliability(value, math.nan, math.nan, images)
    low, high = np.quantile(resampled, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Reliability(value, float(low), float(high), images)


def _divide(
    numerator: NDArray[np.float64], denominator: NDArray[np.float64]
) -> NDArray[np.float64]:
    """NaN where there is nothing to divide by: with rounding, a sum of shares may miss 1."""
    quotient = np.full(len(denominator), np.nan)
    np.divide(numerator, denominator, out=quotient, where=denominator > 1e-12)
    return quotient
