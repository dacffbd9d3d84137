"""Accuracies with their uncertainty, from verdicts (one row an image) of one run or of pooled ones.

Each share is about one of two things, and says which: `actions at large`, of which those measured
are a sample, or `these actions`, of which each fit is a sample. If neither can be told, as of one
fit of one action, there is a share and no interval.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
from scipy.stats import binomtest

from evaluation.measures.fits import (
    EXEMPLARS,
    MEASURES,
    SEED,
    Fits,
    outcomes,
    tabulate,
    tabulate_groups,
)
from evaluation.measures.intervals import LEVEL, Spread, spread_at_large, spread_within

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["LEVEL", "MEASURES", "Share", "breakdown", "outcomes", "overall", "wilson"]

MIN_ACTIONS = 6
"""Fewest actions from which anything is said about actions at large.

With fewer, Student's t leaves intervals from nothing to everything, and a sign-flip test cannot
reach 5% (2 / 2^5 = 0.0625, 2 / 2^6 = 0.031).
"""

Estimand = Literal["actions at large", "these actions"]
Interval = Literal["actions at large", "these actions", "images", "cannot be told"]


@dataclass(frozen=True)
class Share:
    """`count` of `n` images, with a 95% interval. NaN if there are no images, or no interval."""

    count: int
    n: int
    low: float
    high: float
    interval: Interval
    """What it is about; `images`: Wilson's, which takes images as independent."""

    @property
    def value(self) -> float:
        return self.count / self.n if self.n else math.nan

    @property
    def told(self) -> bool:
        """Whether there is an interval."""
        return not math.isnan(self.low)

    def percent(self, digits: int = 1) -> str:
        """The share alone in %: "54.9"."""
        return f"{100 * self.value:.{digits}f}" if self.n else "–"

    def text(self, digits: int = 1) -> str:
        """Share and interval in %: "54.9 [46–63]"; the share alone if no interval can be told."""
        if not self.told:
            return self.percent(digits)
        return f"{self.percent(digits)} [{100 * self.low:.0f}–{100 * self.high:.0f}]"


def wilson(count: int, n: int) -> Share:
    """Compute Wilson's score interval (Wilson 1927) of independent images, good at small n and at
    shares near 0 and 1 (Brown, Cai and DasGupta 2001, Interval Estimation for a Binomial
    Proportion)."""
    if n == 0:
        return Share(0, 0, math.nan, math.nan, "images")
    interval = binomtest(count, n).proportion_ci(LEVEL, method="wilson")
    return Share(count, n, float(interval.low), float(interval.high), "images")


def spread(fits: Fits, measure: str, of: Estimand) -> Spread | None:
    """Measure a share's spread between its independent units; None if these are too few."""
    if of == "actions at large":
        if len(fits.actions) < MIN_ACTIONS:
            return None
        return spread_at_large(*fits.by_action(measure))
    if not fits.repeated:
        return None
    return spread_within(fits.counts[measure], fits.sizes, fits.action)


def share(fits: Fits, measure: str, of: Estimand) -> Share:
    """Count a measure, with an interval that counts actions (at large) or fits (these actions)."""
    count, n = int(fits.counts[measure].sum()), int(fits.sizes.sum())
    found = spread(fits, measure, of)
    if found is None:
        return Share(count, n, math.nan, math.nan, "cannot be told")
    low, high = found.interval()
    return Share(count, n, float(low), float(high), of)


def default_estimand(fits: Fits) -> Estimand:
    """Choose actions at large where there are enough of them."""
    return "actions at large" if len(fits.actions) >= MIN_ACTIONS else "these actions"


def cluster_names(verdicts: pd.DataFrame) -> tuple[pd.Series[str], str]:
    """Name each image's independent unit, and what that is: its action, or its fit if actions are
    too few to say anything of actions at large."""
    action = verdicts["action"].astype(str)
    if action.nunique() >= MIN_ACTIONS:
        return action, "action"
    for name in (EXEMPLARS, SEED):
        if name in verdicts:
            action = action + "/" + verdicts[name].astype(str)
    return action, "fit"


def overall(verdicts: pd.DataFrame) -> dict[str, Share]:
    """Count each measure over all images: of actions at large, of these if they are few."""
    fits = tabulate(verdicts)
    of = default_estimand(fits)
    return {measure: share(fits, measure, of) for measure in MEASURES}


def clustered(outcome: NDArray[np.bool_], clusters: NDArray[Any]) -> Share:
    """Count [n] outcomes whose clusters [n] (the actions' names) are a sample of many."""
    names, place = np.unique(clusters.astype(str), return_inverse=True)
    count, n = int(outcome.sum()), len(outcome)
    if len(names) < MIN_ACTIONS:
        return Share(count, n, math.nan, math.nan, "cannot be told")
    found = spread_at_large(np.bincount(place, outcome), np.bincount(place))
    low, high = found.interval()
    return Share(count, n, float(low), float(high), "actions at large")


Breakdown = Literal["action", "subject", "category"]


def breakdown(verdicts: pd.DataFrame, by: Breakdown) -> pd.DataFrame:
    """Make a tidy table, one row a group and measure, groups in the verdicts' order.

    Columns: `by`'s name, measure, n, count, share, low, high, interval. A subject or a category is
    drawn with every action, so its interval is of actions at large; an action's is of its fits.
    """
    rows = []
    for group, fits in tabulate_groups(verdicts, by).items():
        of: Estimand = "these actions" if by == "action" else default_estimand(fits)
        for measure in MEASURES:
            found = share(fits, measure, of)
            rows.append(
                {
                    by: group,
                    "measure": measure,
                    "n": found.n,
                    "count": found.count,
                    "share": found.value,
                    "low": found.low,
                    "high": found.high,
                    "interval": found.interval,
                }
            )
    columns = [by, "measure", "n", "count", "share", "low", "high", "interval"]
    return pd.DataFrame(rows, columns=columns)
