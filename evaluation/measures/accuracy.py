"""Accuracies with their uncertainty, from the verdicts of one run (one row an image).

Images of one action are alike: they come from the same fit, so a method that missed the action
misses it on all of them. Overall figures therefore take the action as the sampling unit
(`cluster_names`); inside one action (or one subject, whose images come from as many fits as there
are actions) the plain binomial interval is used.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd
from scipy.stats import binomtest, norm, t

if TYPE_CHECKING:
    from numpy.typing import NDArray

LEVEL = 0.95
"""Coverage of every interval in this project."""

MEASURES = ("action", "subject", "total", "neglect", "contamination")
"""What is counted on each image; all are shares of all images.

`total` needs action and subject on the same image. The two failures of the paper: `neglect` (the
subject is there, the action is not) and `contamination` (the action is there, the subject has
turned into somebody else). So subject = total + neglect and action = total + contamination.
"""

_NORMAL = float(norm.ppf((1 + LEVEL) / 2))
"""The normal distribution's two-sided quantile at `LEVEL`, 1.96."""

MIN_ACTIONS = 6
"""Fewest actions from which anything is said about actions in general.

With fewer, Student's t leaves intervals from nothing to everything, and a sign-flip test cannot
reach 5% (2 / 2^5 = 0.0625, 2 / 2^6 = 0.031); numbers are then about these very actions.
"""

Cluster = Literal["action", "action and subject"]
Interval = Literal["by action", "by action and subject", "wilson"]


@dataclass(frozen=True)
class Share:
    """`count` of `n` images, with a 95% interval. All NaN if there are no images."""

    count: int
    n: int
    low: float
    high: float
    interval: Interval
    """What was clustered by; `wilson`: images taken as independent."""

    @property
    def value(self) -> float:
        return self.count / self.n if self.n else math.nan

    def percent(self, digits: int = 1) -> str:
        """The share alone in %: "54.9"."""
        return f"{100 * self.value:.{digits}f}" if self.n else "–"

    def text(self, digits: int = 1) -> str:
        """Share and interval in %: "54.9 [46–63]"."""
        if not self.n:
            return "–"
        return f"{self.percent(digits)} [{100 * self.low:.0f}–{100 * self.high:.0f}]"


def wilson(count: int, n: int) -> Share:
    """Compute Wilson's score interval (Wilson 1927), good at small n and at shares near 0 and 1
    (Brown, Cai and DasGupta 2001, Interval Estimation for a Binomial Proportion)."""
    if n == 0:
        return Share(0, 0, math.nan, math.nan, "wilson")
    interval = binomtest(count, n).proportion_ci(LEVEL, method="wilson")
    return Share(count, n, float(interval.low), float(interval.high), "wilson")


def cluster_names(verdicts: pd.DataFrame) -> tuple[pd.Series[str], Cluster]:
    """Name each image's cluster: its action, or its action and subject.

    With fewer than `MIN_ACTIONS` it is the second, and the actions are taken as given: what is
    said holds for them alone.
    """
    if verdicts["action"].nunique() >= MIN_ACTIONS:
        return verdicts["action"], "action"
    return verdicts["action"] + "/" + verdicts["subject"], "action and subject"


def clustered(
    outcome: NDArray[np.bool_], clusters: NDArray[np.object_], by: Cluster = "action"
) -> Share:
    """Compute Wilson's interval at the effective sample size of a cluster sample.

    `outcome` and `clusters` are [n]. The cluster-robust variance of the share (a ratio estimator,
    Cochran 1977, section 9A) gives the design effect; n divided by it, and by (t / z)^2 for the
    few degrees of freedom that G clusters leave, is the effective sample size (Korn and Graubard
    1998), which goes into Wilson's formula (recommended by Franco, Little, Louis and Slud 2019,
    Comparative Study of Confidence Intervals for Proportions in Complex Sample Surveys).

    Preferred to a bootstrap over clusters: simulated on 8 x 46 images (shares 0.05 to 0.8,
    intra-class correlation 0 to 0.3), this one covers the truth 91 to 97% of the time, the
    percentile bootstrap 80 to 90%, and plain Wilson down to 37%. It stays within [0, 1] and is a
    formula, so it repeats without a seed. The effective size is never taken above n, and is n
    if the variance is zero. With one cluster there is no variance between clusters to
    estimate: the plain Wilson interval is returned and speaks of that cluster alone.
    """
    n = len(outcome)
    count = int(outcome.sum())
    names, of_row = np.unique(clusters.astype(str), return_inverse=True)
    if len(names) < 2:
        return wilson(count, n)
    share = count / n
    residual = np.bincount(of_row, outcome) - share * np.bincount(of_row)
    variance = len(names) / (len(names) - 1) * float(residual @ residual) / n**2
    effective = float(n)
    if 0 < count < n and variance > 0:
        few = (_NORMAL / t_quantile(len(names) - 1)) ** 2
        effective = min(effective, share * (1 - share) / variance * few)
    low, high = _wilson_formula(share, effective)
    return Share(count, n, low, high, "by action" if by == "action" else "by action and subject")


def t_quantile(degrees: int) -> float:
    """Look up Student's two-sided quantile at `LEVEL`."""
    return float(t.ppf((1 + LEVEL) / 2, degrees))


def _wilson_formula(share: float, n: float) -> tuple[float, float]:
    """Wilson's interval for an n that need not be whole, which SciPy's does not take."""
    z = _NORMAL
    centre = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * math.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    return max(0.0, centre - half), min(1.0, centre + half)


def outcomes(verdicts: pd.DataFrame) -> pd.DataFrame:
    """Tabulate what is right: a Boolean column a measure, a row an image."""
    action = verdicts["action_correct"].astype(bool)
    subject = verdicts["subject_correct"].astype(bool)
    columns = (action, subject, action & subject, subject & ~action, action & ~subject)
    return pd.DataFrame(dict(zip(MEASURES, columns)))


def overall(verdicts: pd.DataFrame) -> dict[str, Share]:
    """Count each measure over all images, with clustered intervals."""
    table = outcomes(verdicts)
    names, by = cluster_names(verdicts)
    clusters = names.to_numpy(dtype=object)
    return {m: clustered(table[m].to_numpy(dtype=bool), clusters, by) for m in MEASURES}


Breakdown = Literal["action", "subject", "category"]


def breakdown(verdicts: pd.DataFrame, by: Breakdown) -> pd.DataFrame:
    """Make a tidy table, one row a group and measure, groups in the verdicts' order.

    Columns: `by`'s name, measure, n, count, share, low, high, interval. A category spans actions
    and many images of each, so it is clustered; an action or a subject takes Wilson's.
    """
    rows = []
    for group, part in verdicts.groupby(by, sort=False):
        table = outcomes(part)
        shares = (
            overall(part)
            if by == "category"
            else {m: wilson(int(table[m].sum()), len(part)) for m in MEASURES}
        )
        for measure, share in shares.items():
            rows.append(
                {
                    by: group,
                    "measure": measure,
                    "n": share.n,
                    "count": share.count,
                    "share": share.value,
                    "low": share.low,
                    "high": share.high,
                    "interval": share.interval,
                }
            )
    columns = [by, "measure", "n", "count", "share", "low", "high", "interval"]
    return pd.DataFrame(rows, columns=columns)
