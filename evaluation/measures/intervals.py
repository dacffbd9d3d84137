"""Intervals of shares and differences that count what is independent: actions, or fits.

Everything here takes arrays whose last axis is clusters, so that `benchmarks/coverage.py` simulates
the very functions that boards use: thousands of boards at once.

Two questions, two estimands. *Actions at large*: the actions are a sample, and an action's images
are one cluster however many fits made them. *These actions*: the actions are what they are, and
the fits of each are a sample (Cochran 1977, chapter 5: stratified, with actions as the strata).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.special import betainccinv, betaincinv, ndtri, stdtrit

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

LEVEL = 0.95
"""Coverage of every interval in this project."""

FEW = 0.05
"""p (1 - p) of a share, below which a variance between clusters is believed only in part."""


Ends = tuple[Any, Any, Any]
"""A share and the ends of its interval."""


@dataclass(frozen=True)
class Spread:
    """Shares with what an interval of them needs; every field is a number or an array [...]."""

    share: Array
    variance: Array
    """Of the share."""
    degrees: Array
    """Of freedom of the variance."""
    clusters: int
    """Independent units: actions at large, or fits."""
    images: int

    def interval(self, level: float = LEVEL) -> tuple[Array, Array]:
        """Compute the interval's ends, each [...].

        Clopper and Pearson's (1934) at the effective sample size, as Korn and Graubard (1998,
        Confidence Intervals for Proportions with Small Expected Number of Positive Counts
        Estimated from Survey Data) take it for samples of clusters: share (1 - share) / variance,
        times (z / t)^2 for the few degrees of freedom.

        Near 0 and 1 the variance between clusters is itself hardly known: of eight actions, those
        that would have made the difference are often not among them. So the effective size is
        held between the clusters, at shares of 0 and 1, and the images: clusters times
        (images / clusters)^(share (1 - share) / FEW)^2 at most, and without a limit from
        `FEW` on. At 0 and 1 exactly it is the number of clusters: an interval that is valid
        whatever the dependence within them, since all of a cluster's images are wrong with no
        higher probability than one of them is. Which exponent and which `FEW`:
        docs/statistics.md, by simulation.
        """
        share, variance = np.asarray(self.share, float), np.asarray(self.variance, float)
        tail = (1 - level) / 2
        few = (ndtri(tail) / stdtrit(self.degrees, tail)) ** 2
        certain = (share <= 0) | (share >= 1)
        product = share * (1 - share)
        size = np.divide(
            product, variance, out=np.full(share.shape, float(self.images)), where=variance > 0
        )
        believed = np.minimum(1.0, product / FEW) ** 2
        most = self.clusters * (self.images / self.clusters) ** believed
        size = np.where(believed < 1, np.minimum(size * few, most), size * few)
        size = np.where(certain, self.clusters, size)
        right = share * size
        with np.errstate(invalid="ignore"):
            low = np.where(share <= 0, 0.0, betaincinv(right, size - right + 1, tail))
            high = np.where(share >= 1, 1.0, betainccinv(right + 1, size - right, tail))
        return low, high

    def ends(self, level: float = LEVEL) -> Ends:
        """The share and its interval's ends, for an interval of a difference."""
        return np.asarray(self.share), *self.interval(level)


def spread_at_large(counts: Array, sizes: Array) -> Spread:
    """Measure a share whose clusters are a sample of many.

    `counts` [..., clusters] of `sizes` [clusters] images. The variance is that of a ratio of
    totals (Cochran 1977, section 9A). Its degrees of freedom are the clusters less two: one for
    the mean, and one for shares' being skewed (docs/statistics.md, by simulation).
    """
    clusters, images = len(sizes), float(np.sum(sizes))
    share = counts.sum(-1) / images
    residual = counts - share[..., None] * sizes
    variance = clusters / (clusters - 1) * (residual**2).sum(-1) / images**2
    return Spread(share, variance, np.full(share.shape, clusters - 2.0), clusters, int(images))


def spread_within(counts: Array, sizes: Array, strata: Array) -> Spread:
    """Measure a share whose strata are given, and whose clusters are a sample of each stratum.

    `counts` [..., clusters] of `sizes` [clusters] images, in `strata` [clusters] (numbers from 0
    on), each with two clusters at least.
    """
    member = np.eye(int(strata.max()) + 1)[strata]  # [clusters, strata]
    inside = sizes @ member
    images = float(sizes.sum())
    mean = counts @ member / inside
    residual = counts - mean[..., strata] * sizes
    number = member.sum(0)
    # Of each stratum's share, times the stratum's part of all images.
    parts = number / (number - 1) * (residual**2 @ member) / images**2
    degrees = joined_degrees(parts, number - 1)
    return Spread(counts.sum(-1) / images, parts.sum(-1), degrees, len(sizes), int(images))


def joined_degrees(variances: Array, degrees: Array) -> Array:
    """Compute the degrees of freedom of a sum of independent variances [..., n], of `degrees` each.

    Welch's (1947, The Generalization of Student's Problem) second formula. The first,
    Satterthwaite's as mostly used, is far too low for many variances of one degree each, as two
    seeds give: intervals then cover 98 to 99%.
    """
    total = variances.sum(-1)
    squares = (variances**2 / (degrees + 2)).sum(-1)
    most = np.broadcast_to(degrees, variances.shape[-1:]).sum()
    found = np.divide(total**2, squares, out=np.full(total.shape, most + 2.0), where=squares > 0)
    joined: Array = np.clip(found - 2, 1, most)
    return joined


def difference_interval(
    first: Ends, second: Ends, correlation: Array | float
) -> tuple[Array, Array]:
    """Compute the ends of the interval of `first` minus `second`, from those of the two shares.

    Squares of the distances to the ends are added, less what the correlation of the two estimates
    takes away (Zou and Donner 2008, Construction of Confidence Limits about Effect Measures; for
    proportions Newcombe 1998, method 10, and for pairs his method 10 of the paired case). Where the
    shares' intervals are lopsided, near 0 and 1, so is this one; Student's interval of the
    difference, which cannot be, holds a difference of small shares in 88% only, and says that all
    right against all wrong is certain (docs/statistics.md, by simulation).
    """
    (p, p_low, p_high), (q, q_low, q_high) = first, second

    def distance(one: Array, other: Array) -> Array:
        squares = one**2 - 2 * correlation * one * other + other**2
        root: Array = np.sqrt(np.maximum(0.0, squares))
        return root

    low = p - q - distance(p - p_low, q_high - q)
    high = p - q + distance(p_high - p, q - q_low)
    return np.maximum(-1.0, low), np.minimum(1.0, high)


def correlation(first: Array, second: Array) -> Array:
    """Correlate deviations from the mean along the last axis; 0 if one has none."""
    product = (first * second).sum(-1)
    sizes = np.sqrt((first**2).sum(-1) * (second**2).sum(-1))
    found = np.divide(product, sizes, out=np.zeros_like(sizes), where=sizes > 0)
    clipped: Array = np.clip(found, -1.0, 1.0)
    return clipped


def t_quantile(degrees: float, level: float = LEVEL) -> float:
    """Look up Student's two-sided quantile."""
    return float(stdtrit(degrees, (1 + level) / 2))
