"""Is one system better than another? Paired on the same items, clustered by action.

Two systems draw the same items from the same noise, so their difference on an item is the datum,
and pairing removes what is hard about the item (Miller 2024, Adding Error Bars to Evals, arXiv
2411.00640). Differences within one action hang together, for they come from one pair of fits; the
action is therefore the unit that is resampled.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from scipy.stats import permutation_test

from actionbench.judge import PAIR
from evaluation.measures.accuracy import Cluster, cluster_names, outcomes, t_quantile

ALPHA = 0.05
"""Two systems are told apart if the two-sided p-value lies below this."""


@dataclass(frozen=True)
class Comparison:
    """`first` minus `second` on their shared items."""

    n: int
    """Shared items."""
    units: int
    unit: Cluster
    """`action and subject` with few actions: the comparison then holds for these actions only."""
    difference: float
    """Difference of the two shares, in [-1, 1]."""
    low: float
    high: float
    """95% interval of the difference, from Student's t over the units."""
    p_value: float

    @property
    def told_apart(self) -> bool:
        return self.p_value < ALPHA

    @property
    def points(self) -> str:
        """Difference and interval in points of a hundred: "-12.5 [-31, +6]"."""
        low, high = 100 * self.low, 100 * self.high
        return f"{100 * self.difference:+.1f} [{low:+.0f}, {high:+.0f}]"

    @property
    def p_text(self) -> str:
        """Of three places; a p-value is never nothing."""
        return f"{self.p_value:.3f}" if self.p_value >= 0.0005 else "<0.001"

    @property
    def reversed(self) -> Comparison:
        """`second` minus `first`."""
        return replace(self, difference=-self.difference, low=-self.high, high=-self.low)


def compare(
    first: pd.DataFrame,
    second: pd.DataFrame,
    measure: str = "total",
    *,
    resamples: int = 9999,
    seed: int = 0,
) -> Comparison:
    """Compare two runs' verdicts by a paired, clustered sign-flip permutation test.

    Under the hypothesis of no difference, each unit's summed difference is as likely to be of
    either sign (Fisher 1935; Winkler et al. 2015, Multi-level block permutation, for flipping
    whole blocks). All 2^units sign patterns are taken if that is no more than `resamples`,
    and that many seeded random ones otherwise, counting the observed one (Phipson and Smyth
    2010), so that the same verdicts always give the same p-value.

    Raises ValueError if the two have no item in common, or one item twice.
    """
    paired = _keyed(first, measure).merge(
        _keyed(second, measure), on=PAIR, suffixes=("_first", "_second"), validate="1:1"
    )
    if paired.empty:
        raise ValueError("the two runs have no item in common")
    paired["difference"] = paired["right_first"] - paired["right_second"]
    names, unit = cluster_names(paired)
    grouped = paired["difference"].groupby(names)
    sums = grouped.sum().to_numpy(dtype=float)
    sizes = grouped.size().to_numpy(dtype=float)
    n, difference = len(paired), float(sums.sum() / len(paired))
    half = _half_width(sums - sizes * difference, n)
    return Comparison(
        n=n,
        units=len(sums),
        unit=unit,
        difference=difference,
        low=max(-1.0, difference - half),
        high=min(1.0, difference + half),
        p_value=_sign_flip(sums, resamples, seed),
    )


def _keyed(verdicts: pd.DataFrame, measure: str) -> pd.DataFrame:
    # Not under the measure's own name, which may be a column of the pair.
    return verdicts[PAIR].assign(right=outcomes(verdicts)[measure].astype(int))


def _half_width(residuals: np.ndarray, n: int) -> float:
    """Cluster-robust half-width of a mean's 95% interval; `residuals` is [units]."""
    units = len(residuals)
    if units < 2:
        return math.inf
    variance = units / (units - 1) * float(residuals @ residuals) / n**2
    return t_quantile(units - 1) * math.sqrt(variance)


def _sign_flip(sums: np.ndarray, resamples: int, seed: int) -> float:
    if not sums.any():
        return 1.0
    # Zeros change nothing when flipped: without them more cases are enumerated exactly.
    sums = sums[sums != 0]
    if len(sums) == 1:
        return 1.0
    result = permutation_test(
        (sums,),
        np.sum,
        permutation_type="samples",
        n_resamples=resamples,
        rng=np.random.default_rng(seed),
    )
    return float(result.pvalue)


def rank(totals: Mapping[str, float], apart: Mapping[frozenset[str], bool]) -> dict[str, int]:
    """Rank rows, best first; rows that cannot be told apart share a rank.

    A new rank begins only where every row above was told apart from every row below. "Not told
    apart" is no equivalence, so two rows of one rank may differ; but two rows of different ranks
    always do. Each such border needs all its comparisons at 5%, an intersection-union test
    (Berger 1982), whose error stays at 5% without a correction for their number. Ranks count as
    in sport: 1, 1, 3.
    """
    order = sorted(totals, key=lambda name: -totals[name])
    ranks: dict[str, int] = {}
    current = 1
    for place, name in enumerate(order):
        above, below = order[:place], order[place:]
        if place and all(apart[frozenset((a, b))] for a in above for b in below):
            current = place + 1
        ranks[name] = current
    return ranks


def rank_verdicts(
    verdicts: Mapping[str, pd.DataFrame], measure: str = "total", *, seed: int = 0
) -> tuple[dict[str, int], dict[tuple[str, str], Comparison]]:
    """Rank several runs of the same items, and return every pair's comparison behind the ranks."""
    names: Sequence[str] = list(verdicts)
    comparisons = {
        (a, b): compare(verdicts[a], verdicts[b], measure, seed=seed)
        for place, a in enumerate(names)
        for b in names[place + 1 :]
    }
    totals = {name: float(outcomes(rows)[measure].mean()) for name, rows in verdicts.items()}
    apart = {frozenset(pair): compared.told_apart for pair, compared in comparisons.items()}
    return rank(totals, apart), comparisons
