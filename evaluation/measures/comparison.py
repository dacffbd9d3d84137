"""Is one method better than another? Paired by action, with the fit as the unit.

Two methods draw the same items, so their difference on an action is the datum, and pairing removes
what is hard about the action (Miller 2024, Adding Error Bars to Evals, arXiv 2411.00640). What is
resampled is what is independent: actions, if the question is about actions at large; fits, if it is
about these actions.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy.stats import permutation_test, t

from evaluation.measures.accuracy import MIN_ACTIONS, Estimand
from evaluation.measures.fits import Fits, shared_items, tabulate
from evaluation.measures.intervals import (
    Spread,
    correlation,
    difference_interval,
    joined_degrees,
    spread_at_large,
    spread_within,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

ALPHA = 0.05
"""Two methods are told apart if the two-sided p-value, corrected within its family, lies below."""
RESAMPLES = 9999
"""Patterns of signs: all are taken if they are no more, and else so many are drawn."""


@dataclass(frozen=True)
class Comparison:
    """`first` minus `second` on their shared items."""

    n: int
    """Shared items: of both, each action and subject so often as it was drawn by one fit."""
    units: int
    unit: str
    """`action`, or `fit`; `pair of fits` if both methods have the same seeds."""
    of: Estimand
    difference: float
    """Difference of the two shares, in [-1, 1]; every action counts alike."""
    low: float
    high: float
    """95% interval of the difference; NaN if it cannot be told."""
    p_value: float
    """Two-sided; NaN if it cannot be told."""
    corrected: float | None = None
    """The p-value after Holm's correction within the family that the comparison belongs to."""

    @property
    def told_apart(self) -> bool:
        p = self.p_value if self.corrected is None else self.corrected
        return p < ALPHA

    @property
    def points(self) -> str:
        """Difference and interval in points of a hundred: "-12.5 [-31, +6]"."""
        difference = f"{100 * self.difference:+.1f}"
        if math.isnan(self.low):
            return difference
        return f"{difference} [{100 * self.low:+.0f}, {100 * self.high:+.0f}]"

    @property
    def p_text(self) -> str:
        return p_text(self.p_value)

    @property
    def reversed(self) -> Comparison:
        """`second` minus `first`."""
        return replace(self, difference=-self.difference, low=-self.high, high=-self.low)


def p_text(p: float | None) -> str:
    """Write a p-value with three places; it is never nothing."""
    if p is None or math.isnan(p):
        return "–"
    return f"{p:.3f}" if p >= 0.0005 else "<0.001"


def least_p(units: int, of: Estimand, resamples: int = RESAMPLES) -> float:
    """Compute the smallest p-value that a comparison of so many units can have.

    Two of the 2^units patterns of signs are as extreme as all of one sign. At large, from the size
    on at which patterns are drawn, it is two of these.
    """
    signs = 2.0 ** (1 - units)
    return signs if of == "these actions" or 2**units <= resamples else 2 / (resamples + 1)


def compare(
    first: pd.DataFrame,
    second: pd.DataFrame,
    measure: str = "total",
    of: Estimand | None = None,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Comparison:
    """Compare two methods' verdicts, of one run each or pooled over seeds.

    `of` says what about; by default actions at large where there are enough of them. See
    `compare_fits`.

    Raises:
        ValueError: if the two have no item in common, or if a fit has one twice.
    """
    one, other = shared_items(first, second)
    return compare_fits(tabulate(one), tabulate(other), measure, of, resamples=resamples, seed=seed)


def compare_fits(
    first: Fits,
    second: Fits,
    measure: str = "total",
    of: Estimand | None = None,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Comparison:
    """Compare two methods on the same items, from counts by fit.

    *Actions at large*: a sign-flip permutation test of the actions' differences, each the mean over
    the method's fits. Without a difference each is as likely of either sign (Fisher 1935). All
    2^actions patterns are taken if that is no more than `resamples`, and that many seeded random
    ones otherwise, counting the observed one (Phipson and Smyth 2010), so that the same verdicts
    always give the same p-value.

    *These actions*: Student's t from the spread of the fits of each action (`joined_degrees`): of
    paired differences if both methods have the same seeds, else of each method's own. The p-value
    is no less than that of as many signs. It cannot be told if an action has one fit only.

    The interval is made of the two shares' own and of their correlation (`difference_interval`).
    """
    if of is None:
        of = "actions at large" if len(first.actions) >= MIN_ACTIONS else "these actions"
    mine, theirs = action_means(first, measure), action_means(second, measure)
    differences = mine - theirs
    difference = float(differences.mean())
    made = Comparison(
        n=_items(first),
        units=len(differences) if of == "actions at large" else len(first),
        unit="action" if of == "actions at large" else "fit",
        of=of,
        difference=difference,
        low=math.nan,
        high=math.nan,
        p_value=math.nan,
    )
    if of == "actions at large":
        if len(differences) < MIN_ACTIONS:
            return made
        p_value = _sign_flip(differences, resamples, seed)
        ends = [
            replace(spread_at_large(means, np.ones(len(means))), images=int(fits.sizes.sum()))
            for means, fits in ((mine, first), (theirs, second))
        ]
        together = correlation(mine - mine.mean(), theirs - theirs.mean())
    else:
        if not (first.repeated and second.repeated):
            return made
        one, other = first.shares(measure), second.shares(measure)
        paired = np.array_equal(first.names, second.names)
        if paired:
            parts, own = _within(one - other, first.action)
        else:
            both = [_within(*each) for each in ((one, first.action), (other, second.action))]
            parts, own = (np.concatenate(columns) for columns in zip(*both))
        units = len(first) if paired else len(first) + len(second)
        made = replace(made, units=units, unit="pair of fits" if paired else "fit")
        p_value = _student(difference, parts / len(differences) ** 2, own)
        p_value = max(p_value, least_p(units, of))
        ends = [_equal_strata(fits, measure) for fits in (first, second)]
        together = np.zeros(())
        if paired:
            together = correlation(one - mine[first.action], other - theirs[first.action])
    low, high = difference_interval(ends[0].ends(), ends[1].ends(), together)
    return replace(made, low=float(low), high=float(high), p_value=p_value)


def _items(fits: Fits) -> int:
    """Count the images of one fit of each action."""
    return int(sum(fits.sizes[fits.action == place].max() for place in range(len(fits.actions))))


def _equal_strata(fits: Fits, measure: str) -> Spread:
    """Measure the mean of the actions' shares, in which each action counts alike."""
    weights = 1 / fits.per_action[fits.action]
    found = spread_within(fits.shares(measure) * weights, weights, fits.action)
    return replace(found, images=int(fits.sizes.sum()))


def _student(difference: float, parts: NDArray[Any], degrees: NDArray[Any]) -> float:
    """Test a difference whose variance is the sum of `parts`, of `degrees` each."""
    variance = float(parts.sum())
    if variance <= 0:
        return 0.0 if difference else 1.0
    joined = float(joined_degrees(parts, degrees))
    return min(1.0, 2 * float(t.sf(abs(difference) / math.sqrt(variance), joined)))


def action_means(fits: Fits, measure: str) -> NDArray[np.float64]:
    """Average each action's fits, [actions]."""
    means: NDArray[np.float64] = (
        np.bincount(fits.action, fits.shares(measure), len(fits.actions)) / fits.per_action
    )
    return means


def _within(values: NDArray[Any], action: NDArray[np.int64]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Compute the variance of each action's mean from its fits' values, and its degrees."""
    number = np.bincount(action)
    mean = np.bincount(action, values) / number
    squares = np.bincount(action, (values - mean[action]) ** 2)
    return squares / (number - 1) / number, number - 1


def _sign_flip(sums: NDArray[Any], resamples: int, seed: int) -> float:
    # Zeros change nothing when flipped: without them more cases are enumerated exactly.
    sums = sums[np.abs(sums) > 1e-12]
    if len(sums) < 2:
        return 1.0
    result = permutation_test(
        (sums,),
        np.sum,
        permutation_type="samples",
        n_resamples=resamples,
        rng=np.random.default_rng(seed),
    )
    return float(result.pvalue)


def holm(p_values: Sequence[float]) -> list[float]:
    """Correct the p-values of a family (Holm 1979, A Simple Sequentially Rejective Multiple Test
    Procedure): the chance of one false claim among them stays at the level. NaN stays NaN, and
    counts as a member."""
    corrected = [math.nan] * len(p_values)
    least = 0.0
    known = [place for place, p in enumerate(p_values) if not math.isnan(p)]
    for rank, place in enumerate(sorted(known, key=lambda place: p_values[place])):
        least = max(least, min(1.0, (len(p_values) - rank) * p_values[place]))
        corrected[place] = least
    return corrected


def correct(family: Sequence[Comparison]) -> list[Comparison]:
    """Give each comparison of a family its corrected p-value."""
    p_values = holm([one.p_value for one in family])
    return [replace(one, corrected=p) for one, p in zip(family, p_values, strict=True)]


def rank(totals: Mapping[str, float], p_values: Mapping[frozenset[str], float]) -> dict[str, int]:
    """Rank rows, best first; rows that cannot be told apart share a rank.

    A new rank begins only where every row above was told apart from every row below. "Not told
    apart" is no equivalence, so two rows of one rank may differ; but two rows of different ranks
    always do. A border's p-value is the largest of its comparisons, an intersection-union test
    (Berger 1982); the borders are a family, corrected by Holm. Ranks count as in sport: 1, 1, 3.
    """
    order = sorted(totals, key=lambda name: -totals[name])
    borders = [
        max(p_values[frozenset((a, b))] for a in order[:place] for b in order[place:])
        for place in range(1, len(order))
    ]
    ranks: dict[str, int] = {}
    current = 1
    for place, name in enumerate(order):
        if place and holm(borders)[place - 1] < ALPHA:
            current = place + 1
        ranks[name] = current
    return ranks


def rank_fits(
    tables: Mapping[str, Fits], measure: str = "total", *, seed: int = 0
) -> tuple[dict[str, int], dict[tuple[str, str], Comparison]]:
    """Rank several methods on the same items; return every pair's comparison, corrected as one
    family, behind the ranks."""
    names: Sequence[str] = list(tables)
    pairs = [(a, b) for place, a in enumerate(names) for b in names[place + 1 :]]
    found = [compare_fits(tables[a], tables[b], measure, seed=seed) for a, b in pairs]
    comparisons = dict(zip(pairs, correct(found), strict=True))
    totals = {
        name: float(fits.counts[measure].sum() / fits.sizes.sum()) for name, fits in tables.items()
    }
    p_values = {
        frozenset(pair): 1.0 if math.isnan(one.p_value) else one.p_value
        for pair, one in comparisons.items()
    }
    return rank(totals, p_values), comparisons
