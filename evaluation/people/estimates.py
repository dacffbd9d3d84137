"""People's accuracy of a row, from labels of some images and a model judge's verdicts on all.

Three figures stand side by side, and none replaces another:

- **judge**: the model judge's share, which no label changes;
- **people**: the share right among the labels alone, weighted by the inverse of the probability
  with which each image was chosen (Hájek 1971);
- **corrected**: the prediction-powered estimate (PPI++: Angelopoulos, Duchi and Zrnic 2023,
  arXiv 2311.01453). To people's share h it adds power * (F - m): F is the judge's share of all
  images, m that of the labelled ones. The power is people's covariance with the judge over the
  judge's variance, within [0, 1]: a judge that knows nothing gets none.

The estimand is people's accuracy on actions at large (on these very actions if they are few;
`accuracy.cluster_names`), so fits, not images, are the units. The variance has two parts (two-phase
sampling, Särndal, Swensson and Wretman 1992, chapter 9):

    V = V1, the variance if people had labelled every image: the floor, because fits are few
      + V2, what is added because they labelled only some

V1 + V2 is measured by the spread of the fits' scores, the rectifier's share of them included, which
with eight fits is a rough measure. V2 alone can be computed from the labels, of which there are at
least forty; a judge's errors are smoothed by one of each kind (Agresti and Coull 1998), because
none in a few labels does not mean none. So V1 is estimated from both figures' scores together, and
the corrected variance is never above people's own: a judge that helps nothing costs
next to nothing.

Intervals are those of Korn and Graubard (1998), for which the power takes a degree of freedom. The
spread of fits is inflated as HC3 does it (MacKinnon and White 1985; Bell and McCaffrey 2002),
because few units understate it.
`benchmarks/people_coverage.py` measures how often they cover.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.special import betaincinv
from scipy.stats import norm, t

from evaluation.measures.comparison import ALPHA, holm, least_p
from evaluation.measures.intervals import LEVEL, t_quantile
from evaluation.people.plan import MIN_LABELS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]


POWER = 1
"""Degrees of freedom that the power takes."""
MIN_UNITS = 4
"""Fewest units from which anything is estimated."""
NORMAL = float(norm.ppf((1 + LEVEL) / 2))


@dataclass(frozen=True)
class Tally:
    """A row's images and labels, added up: [..., fits, 2], the last axis by the judge's verdict,
    no and yes. Leading axes are rows that are computed together."""

    images: Floats
    """Images of the row."""
    labels: Floats
    """Labelled ones."""
    weights: Floats
    """The sum of the labels' weights."""
    squares: Floats
    """The sum of the weights' squares."""
    right: Floats
    """The sum of the weights of images that people find right."""

    @classmethod
    def of(
        cls,
        judge: NDArray[np.bool_],
        fits: NDArray[Any],
        labelled: NDArray[np.intp],
        right: NDArray[np.bool_],
        weights: Floats,
    ) -> Tally:
        """Add up one row.

        Args:
            judge: [images], whether the model judge finds each right.
            fits: [images], to which unit each belongs.
            labelled: [labels], the places of the images that people labelled.
            right: [labels], whether they find these right.
            weights: [labels], the inverse of the probability of each.
        """
        names, unit = np.unique(fits.astype(str), return_inverse=True)
        cell = 2 * unit + judge
        own = cell[labelled]

        def count(cells: NDArray[Any], values: Floats | None = None) -> Floats:
            flat = np.bincount(cells, values, minlength=2 * len(names))
            return flat.reshape(len(names), 2).astype(np.float64)

        return cls(
            images=count(cell),
            labels=count(own),
            weights=count(own, weights),
            squares=count(own, weights**2),
            right=count(own, weights * right),
        )

    @property
    def units(self) -> int:
        return int(self.images.shape[-2])


@dataclass(frozen=True)
class Estimates:
    """Estimates of some rows together: arrays without the tally's two last axes."""

    people: Floats
    people_variance: Floats
    corrected: Floats
    corrected_variance: Floats
    power: Floats
    """How much of the judge's verdicts goes into the corrected figure, in [0, 1]."""
    floor: Floats
    """V1: the variance that no number of labels can pass."""
    people_scores: Floats
    """[..., fits]: what each fit adds to the error of people's figure."""
    corrected_scores: Floats
    labelling: tuple[Floats, Floats]
    """V2 of people's and of the corrected figure."""


def estimate(tally: Tally) -> Estimates:
    """Estimate people's accuracy from labels, and from labels and the judge together."""
    images, weights, right = tally.images, tally.weights, tally.right
    n_images, n_weights = images.sum((-2, -1)), weights.sum((-2, -1))
    people = right.sum((-2, -1)) / n_weights
    judge = images[..., 1].sum(-1) / n_images
    judge_labelled = weights[..., 1].sum(-1) / n_weights
    covariance = right[..., 1].sum(-1) / n_weights - people * judge_labelled
    variance = judge * (1 - judge) * n_images / (n_images - 1)
    power = np.clip(_divide(covariance, variance), 0, 1)
    corrected = people + power * (judge - judge_labelled)

    def spread(column: Floats, all_: Floats, share: Floats, total: Floats) -> Floats:
        return (column - share[..., None] * all_) / total[..., None]

    own = spread(right.sum(-1), weights.sum(-1), people, n_weights)
    more = spread(images[..., 1], images.sum(-1), judge, n_images) - spread(
        weights[..., 1], weights.sum(-1), judge_labelled, n_weights
    )
    scores = own + power[..., None] * more
    labelling = _labelling_variances(tally)
    smooth = (np.clip(corrected, 0, 1) * n_images + 1) / (n_images + 2)
    least = smooth * (1 - smooth) / n_images  # if fits were all alike
    people_variance, corrected_variance, floor = _variances(own, scores, labelling, least)
    return Estimates(
        people, people_variance, corrected, corrected_variance, power, floor, own, scores, labelling
    )


def _variances(
    own: Floats, scores: Floats, labelling: tuple[Floats, Floats], least: Floats
) -> tuple[Floats, Floats, Floats]:
    """Return the variances of people's and of the corrected figure, and their common floor."""
    units = own.shape[-1]
    inflated = (units / (units - 1)) ** 2
    total = (own**2).sum(-1) * inflated, (scores**2).sum(-1) * inflated
    apart = ((total[0] - labelling[0]) + (total[1] - labelling[1])) / 2
    floor = np.maximum(least, apart)
    people = np.maximum(total[0], labelling[0] + least)
    return people, np.minimum(floor + labelling[1], people), floor


def _labelling_variances(tally: Tally) -> tuple[Floats, Floats]:
    """Compute V2 of people's figure, and of the corrected one.

    The corrected figure of a judge that says yes or no is the mean of the labels in each verdict,
    weighted by how many images have it (poststratification), so that only what varies within a
    verdict is left.
    """
    n_images = tally.images.sum((-2, -1))
    shares = tally.images.sum(-2) / n_images[..., None]
    both = _error_variance(
        tally.right.sum((-2, -1)), tally.weights.sum((-2, -1)), tally.squares.sum((-2, -1)),
        tally.labels.sum((-2, -1)), n_images,
    )  # fmt: skip
    each = _error_variance(
        tally.right.sum(-2), tally.weights.sum(-2), tally.squares.sum(-2),
        tally.labels.sum(-2), tally.images.sum(-2),
    )  # fmt: skip
    return both, np.minimum((shares**2 * each).sum(-1), both)


def _error_variance(
    right: Floats, weights: Floats, squares: Floats, labels: Floats, images: Floats
) -> Floats:
    """The variance of a weighted share of labels, of some images without replacement."""
    effective = _divide(weights**2, squares)  # Kish 1965
    share = (_divide(right, weights) * effective + 1) / (effective + 2)
    left = np.clip(1 - _divide(labels, images), 0, 1)
    # Where nothing is labelled, anything may be right.
    return share * (1 - share) / np.maximum(effective, 1) * np.where(labels > 0, left, images > 0)


def interval(
    share: Floats, variance: Floats, units: int, images: Floats, *, fitted: int = 0
) -> tuple[Floats, Floats]:
    """Compute 95% intervals of shares: Clopper and Pearson's at the effective number of images.

    This number is that of independent images with the same variance, lowered for the few degrees
    of freedom that the units leave, and at most that of the images (Korn and Graubard 1998). A
    share of 0 or 1 counts units.

    Args:
        fitted: quantities besides the share that were estimated, a degree of freedom each.
    """
    share = np.clip(share, 0, 1)
    # A share that is near 0 for its error would have an effective number near none.
    error = np.minimum(np.sqrt(variance), 0.5)
    inner = np.clip(share, error, 1 - error)
    few = (NORMAL / t_quantile(units - 1 - fitted)) ** 2
    effective = np.minimum(_divide(inner * (1 - inner), variance) * few, images)
    effective = np.where((share > 0) & (share < 1), effective, units)
    yes = share * effective
    no = effective - yes
    tail = (1 - LEVEL) / 2
    # Bounds that are 0 or 1 for no yes and no no; the function knows no shape of zero.
    low = np.where(yes > 0, betaincinv(np.maximum(yes, 1e-9), no + 1, tail), 0.0)
    high = np.where(no > 0, betaincinv(yes + 1, np.maximum(no, 1e-9), 1 - tail), 1.0)
    return low, high


@dataclass(frozen=True)
class Figure:
    """A share with its 95% interval. NaN if there are too few labels; the ends alone if no interval
    can be told."""

    value: float
    low: float
    high: float

    def text(self, digits: int = 1) -> str:
        """Share and interval in %: "54.9 [46–63]"; the share alone if no interval can be told."""
        if math.isnan(self.value):
            return "–"
        if math.isnan(self.low):
            return f"{100 * self.value:.{digits}f}"
        return f"{100 * self.value:.{digits}f} [{100 * self.low:.0f}–{100 * self.high:.0f}]"

    @property
    def width(self) -> float:
        return self.high - self.low


UNKNOWN = Figure(math.nan, math.nan, math.nan)


@dataclass(frozen=True)
class RowFigures:
    """People's figure of one row and measure, and the corrected one."""

    people: Figure
    corrected: Figure
    power: float
    floor: float
    """Half the width of the interval if every image were labelled."""
    labels: int
    units: int
    tally: Tally


def row_figures(tally: Tally) -> RowFigures:
    """Estimate one row; nothing from fewer than `MIN_LABELS` labels or `MIN_UNITS` units."""
    labels, units = int(tally.labels.sum()), tally.units
    if labels < MIN_LABELS or units < MIN_UNITS:
        return RowFigures(UNKNOWN, UNKNOWN, math.nan, math.nan, labels, units, tally)
    found = estimate(tally)

    def figure(share: Floats, variance: Floats, fitted: int) -> Figure:
        low, high = interval(share, variance, units, tally.images.sum(), fitted=fitted)
        return Figure(float(np.clip(share, 0, 1)), float(low), float(high))

    return RowFigures(
        people=figure(found.people, found.people_variance, 0),
        corrected=figure(found.corrected, found.corrected_variance, POWER),
        power=float(found.power),
        floor=t_quantile(units - 1) * math.sqrt(float(found.floor)),
        labels=labels,
        units=units,
        tally=tally,
    )


@dataclass(frozen=True)
class Difference:
    """One row minus another, with its 95% interval: by labels alone, and corrected."""

    people: Figure
    corrected: Figure
    p_value: float
    """Two-sided, of the corrected difference."""
    p_holm: float | None = None
    """The p-value after Holm's correction within the family that the difference belongs to."""

    @property
    def told_apart(self) -> bool:
        """Whether there is a difference, by the board's rule: p, corrected, lies below 5%."""
        return (self.p_value if self.p_holm is None else self.p_holm) < ALPHA

    @property
    def reversed(self) -> Difference:
        """Second minus first."""
        return replace(self, people=_turned(self.people), corrected=_turned(self.corrected))


def _turned(figure: Figure) -> Figure:
    return Figure(-figure.value, -figure.high, -figure.low)


def difference(first: Tally, second: Tally) -> Difference | None:
    """Estimate the difference of two rows of the same units, paired by unit.

    Interval and p-value are Student's. The p-value is no less than that of as many signs, as the
    board's are (`comparison.least_p`): labels of some images tell no more than all verdicts can.

    None if either has too few labels.
    """
    if min(first.labels.sum(), second.labels.sum()) < MIN_LABELS or first.units < MIN_UNITS:
        return None
    found = differences(first, second)
    degrees = first.units - 1

    def figure(value: Floats, variance: Floats, fitted: int) -> Figure:
        half = t_quantile(degrees - fitted) * math.sqrt(float(variance))
        low, high = max(-1.0, float(value) - half), min(1.0, float(value) + half)
        return Figure(float(value), low, high)

    value, error = (float(number) for number in (found[1][0], np.sqrt(found[1][1])))
    if error > 0:
        p_value = 2 * float(t.sf(abs(value) / error, degrees - POWER))
    else:
        p_value = 0.0 if value else 1.0
    p_value = max(p_value, least_p(first.units, "these actions"))
    return Difference(figure(*found[0], 0), figure(*found[1], POWER), p_value)


def correct_differences(family: Sequence[Difference]) -> list[Difference]:
    """Give each difference of a family its p-value after Holm's correction."""
    p_values = holm([one.p_value for one in family])
    return [replace(one, p_holm=p) for one, p in zip(family, p_values, strict=True)]


def differences(first: Tally, second: Tally) -> tuple[tuple[Floats, Floats], tuple[Floats, Floats]]:
    """Return value and variance of the differences of some rows: people's, and corrected.

    Two fits of one action are a pair, so that what is hard about an action cancels; images are
    chosen for each row by itself, so that V2 adds up.
    """
    if first.units != second.units:
        raise ValueError("the two rows have other units")
    a, b = estimate(first), estimate(second)
    labelling = a.labelling[0] + b.labelling[0], a.labelling[1] + b.labelling[1]
    people, corrected, _ = _variances(
        a.people_scores - b.people_scores,
        a.corrected_scores - b.corrected_scores,
        labelling,
        np.zeros_like(a.floor),
    )
    return (a.people - b.people, people), (a.corrected - b.corrected, corrected)


def _divide(numerator: Floats, denominator: Floats) -> Floats:
    """Zero where there is nothing to divide by."""
    quotient = np.zeros(np.broadcast(numerator, denominator).shape)
    np.divide(numerator, denominator, out=quotient, where=np.asarray(denominator) > 0)
    return quotient
