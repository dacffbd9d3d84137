"""Do measured systems stand in the order of another table? Rank correlations with an interval."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from evaluation.measures.accuracy import MIN_ACTIONS
from evaluation.measures.fits import tabulate
from evaluation.measures.intervals import LEVEL

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

MIN_METHODS = 3
"""With two, a rank correlation can only be 1 or -1."""


@dataclass(frozen=True)
class Correlation:
    """In [-1, 1] with a 95% interval. NaN if all values of one side are equal: no order; ends alone
    are NaN if there are too few actions to tell an interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        if math.isnan(self.value):
            return "–"
        if math.isnan(self.low):
            return f"{self.value:.2f}"
        return f"{self.value:.2f} [{self.low:.2f}, {self.high:.2f}]"


@dataclass(frozen=True)
class Agreement:
    """How far some methods' order by one measure is that of another table."""

    measure: str
    methods: tuple[str, ...]
    spearman: Correlation
    """Spearman's rho, equal values and ties having their mean rank."""
    kendall: Correlation
    """Kendall's tau-b (Kendall 1945), which corrects for equal values and ties."""


def agreement(
    verdicts: Mapping[str, pd.DataFrame],
    others: Mapping[str, float],
    measure: str = "total",
    *,
    ties: Collection[frozenset[str]] = (),
    resamples: int = 2000,
    seed: int = 0,
) -> Agreement:
    """Correlate the ranks of the methods that `verdicts` and `others` (shares) both have.

    The verdicts are of the same items for every method. The interval is the percentile bootstrap's
    over actions, drawn once for all methods, so that a hard action is hard for all of them in a
    resample too. `ties` are pairs of the other table that its images cannot tell apart, and so have
    no order; else that table is taken as it stands, without error. Resampling adds noise to
    differences that have some already, so the interval lies low if methods are close together.

    Raises ValueError for fewer than `MIN_METHODS` shared methods, and for different items.
    """
    methods = tuple(name for name in verdicts if name in others)
    if len(methods) < MIN_METHODS:
        raise ValueError(f"{len(methods)} shared methods are too few for a rank correlation")
    tables = [tabulate(verdicts[name]) for name in methods]
    items = [set(zip(table.action.tolist(), table.sizes.tolist())) for table in tables]
    if any(t.actions != tables[0].actions for t in tables) or any(i != items[0] for i in items):
        raise ValueError("the methods were not measured on the same items")
    # [actions, methods]; whole numbers of images of the method with most seeds, so that shares that
    # are equal stay equal under any weights.
    sums = [table.by_action(measure) for table in tables]
    scale = math.lcm(*(int(size) for _, sizes in sums for size in set(sizes.tolist())))
    counts = np.stack([right * (scale // sizes) for right, sizes in sums], axis=1)
    actions = len(counts)
    rng = np.random.default_rng(seed)
    # With too few actions an interval would be about these alone, and look finer than it is.
    draws = resamples if actions >= MIN_ACTIONS else 0
    weights = rng.multinomial(actions, np.full(actions, 1 / actions), size=draws)
    ours = _pair_signs(np.vstack([counts.sum(axis=0), weights @ counts]))
    theirs = _pair_signs(np.array([[others[name] for name in methods]]))
    first, second = np.triu_indices(len(methods), k=1)
    tied = [frozenset((methods[a], methods[b])) in ties for a, b in zip(first, second)]
    theirs[:, tied] = 0
    return Agreement(
        measure,
        methods,
        _estimate(_cosine(_ranks(ours, len(methods)), _ranks(theirs, len(methods)))),
        _estimate(_cosine(ours, theirs)),
    )


def _pair_signs(values: NDArray[Any]) -> NDArray[np.float64]:
    """Which of each pair is the larger: -1, 0 or 1. Tau-b is the cosine of two such rows."""
    first, second = np.triu_indices(values.shape[1], k=1)
    signs: NDArray[np.float64] = np.sign(values[:, first] - values[:, second]).astype(np.float64)
    return signs


def _ranks(signs: NDArray[np.float64], methods: int) -> NDArray[np.float64]:
    """Rows of ranks around zero, times two, from rows of pairs' signs: how many lie below a method
    less how many lie above. Spearman's rho is the cosine of two of them."""
    first, second = np.triu_indices(methods, k=1)
    member = np.eye(methods)
    ranks: NDArray[np.float64] = signs @ (member[first] - member[second])
    return ranks


def _cosine(rows: NDArray[np.float64], row: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of each of [n, m] with one [1, m]; NaN for a row of zeros."""
    lengths = np.linalg.norm(rows, axis=1) * np.linalg.norm(row)
    cosines = np.full(len(rows), np.nan)
    np.divide((rows * row).sum(axis=1), lengths, out=cosines, where=lengths > 0)
    return cosines


def _estimate(values: NDArray[np.float64]) -> Correlation:
    """The first value is the measured one, the others are resampled."""
    resampled = values[1:][~np.isnan(values[1:])]
    if math.isnan(values[0]) or not len(resampled):
        return Correlation(round(float(values[0]), 12), math.nan, math.nan)
    low, high = np.quantile(resampled, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Correlation(*(round(float(v), 12) for v in (values[0], low, high)))
