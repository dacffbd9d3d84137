"""Do measured systems stand in the order of another table? Rank correlations with an interval."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from evaluation.measures.accuracy import LEVEL, Cluster, cluster_names, outcomes

if TYPE_CHECKING:
    from numpy.typing import NDArray

MIN_METHODS = 3
"""With two, a rank correlation can only be 1 or -1."""


@dataclass(frozen=True)
class Correlation:
    """In [-1, 1] with a 95% interval. NaN if all values of one side are equal: no order."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        if math.isnan(self.value):
            return "–"
        return f"{self.value:.2f} [{self.low:.2f}, {self.high:.2f}]"


@dataclass(frozen=True)
class Agreement:
    """How far some methods' order by one measure is that of another table."""

    measure: str
    methods: tuple[str, ...]
    spearman: Correlation
    """Spearman's rho, equal values having their mean rank."""
    kendall: Correlation
    """Kendall's tau-b (Kendall 1945), which corrects for equal values."""
    unit: Cluster
    """What was resampled."""


def agreement(
    verdicts: Mapping[str, pd.DataFrame],
    others: Mapping[str, float],
    measure: str = "total",
    *,
    resamples: int = 2000,
    seed: int = 0,
) -> Agreement:
    """Correlate the ranks of the methods that `verdicts` and `others` (shares) both have.

    The verdicts are of the same items for every method. The interval is the percentile bootstrap's
    over clusters (actions; action and subject if there are few actions), drawn once for all
    methods, so that a hard action is hard for all of them in a resample too. The other table is
    taken as it stands, without error. Resampling adds noise to differences that have some already,
    so the interval lies low if methods are close together.

    Raises ValueError for fewer than `MIN_METHODS` shared methods, and for different items.
    """
    methods = tuple(name for name in verdicts if name in others)
    if len(methods) < MIN_METHODS:
        raise ValueError(f"{len(methods)} shared methods are too few for a rank correlation")
    columns, sizes, unit = [], [], None
    for name in methods:
        names, unit = cluster_names(verdicts[name])
        grouped = outcomes(verdicts[name])[measure].astype(int).groupby(names)
        columns.append(grouped.sum())
        sizes.append(grouped.size())
    if unit is None or any(not size.equals(sizes[0]) for size in sizes):
        raise ValueError("the methods were not measured on the same items")
    # Counts rank as shares do, for all methods have as many images of each cluster.
    counts = pd.concat(columns, axis=1).to_numpy(dtype=np.int64)
    clusters = len(counts)
    rng = np.random.default_rng(seed)
    weights = rng.multinomial(clusters, np.full(clusters, 1 / clusters), size=resamples)
    ours = np.vstack([counts.sum(axis=0), weights @ counts])
    theirs = np.array([[others[name] for name in methods]])
    return Agreement(
        measure,
        methods,
        _estimate(_cosine(_centred_ranks(ours), _centred_ranks(theirs))),
        _estimate(_cosine(_pair_signs(ours), _pair_signs(theirs))),
        unit,
    )


def _centred_ranks(values: NDArray[Any]) -> NDArray[np.float64]:
    """Rows of ranks around zero: Spearman's rho is the cosine of two of them."""
    ranks: NDArray[np.float64] = rankdata(values, axis=1)
    ranks -= ranks.mean(axis=1, keepdims=True)
    return ranks


def _pair_signs(values: NDArray[Any]) -> NDArray[np.float64]:
    """Which of each pair is the larger: -1, 0 or 1. Tau-b is the cosine of two such rows."""
    first, second = np.triu_indices(values.shape[1], k=1)
    signs: NDArray[np.float64] = np.sign(values[:, first] - values[:, second]).astype(np.float64)
    return signs


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
        return Correlation(math.nan, math.nan, math.nan)
    low, high = np.quantile(resampled, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Correlation(*(round(float(v), 12) for v in (values[0], low, high)))
