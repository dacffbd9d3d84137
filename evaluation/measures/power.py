"""How small a difference can be detected, and how many actions and seeds tell a given one.

From the variance of paired differences at hand: between actions, and between the fits of one
action. A design of `actions` x `seeds` has the variance (action + fit / seeds) / actions of a
difference of actions at large, and fit / (actions seeds) of these actions. The test is Student's on
one value an action (at large) or a fit (these), and its power is that of the noncentral t
(Cohen 1988, Statistical Power Analysis, chapter 2). Where so few units leave no p-value below the
level, as eight actions in a family of seven, nothing is detected, however large.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import get_args

import numpy as np
from scipy.optimize import brentq
from scipy.stats import nct, t

from evaluation.measures.accuracy import MIN_ACTIONS, Estimand
from evaluation.measures.comparison import ALPHA, action_means, least_p
from evaluation.measures.components import nested
from evaluation.measures.fits import Fits

POWER = 0.8
MOST_ACTIONS = 10_000
"""Actions beyond which a gap counts as out of reach."""


@dataclass(frozen=True)
class PairedVariance:
    """The variance of two methods' differences, on the scale of shares."""

    total: float
    """Of an action's difference with one fit of each method."""
    fit: float | None
    """The part that lies between fits, images included; None if each action has one fit."""

    @property
    def action(self) -> float | None:
        """The part that lies between actions."""
        return None if self.fit is None else max(0.0, self.total - self.fit)

    def of_mean(self, actions: int, seeds: int, of: Estimand) -> float | None:
        """Compute the variance of a mean difference; None if it cannot be told."""
        if of == "these actions":
            return None if self.fit is None else self.fit / (actions * seeds)
        if seeds == 1:
            return self.total / actions
        if self.fit is None:
            return None
        return (self.total - self.fit + self.fit / seeds) / actions


def paired_variance(first: Fits, second: Fits, measure: str) -> PairedVariance | None:
    """Split the variance of two methods' differences on the same items; None with one action."""
    if len(first.actions) < 2:
        return None
    if first.repeated and second.repeated:
        if np.array_equal(first.names, second.names):
            values = first.shares(measure) - second.shares(measure)
            action, fit = _components(values, first.action)
        else:
            parts = [_components(fits.shares(measure), fits.action)[1] for fits in (first, second)]
            fit = sum(parts)
            means = action_means(first, measure) - action_means(second, measure)
            shrunk = sum(
                part * float((1 / fits.per_action).mean())
                for part, fits in zip(parts, (first, second), strict=True)
            )
            action = max(0.0, float(means.var(ddof=1)) - shrunk)
        return PairedVariance(action + fit, fit)
    differences = action_means(first, measure) - action_means(second, measure)
    return PairedVariance(float(differences.var(ddof=1)), None)


def _components(values: np.ndarray, action: np.ndarray) -> tuple[float, float]:
    """Split one value a fit into what lies between actions and between fits."""
    number = np.bincount(action)
    mean = np.bincount(action, values) / number
    inside = float(((values - mean[action]) ** 2).sum())
    fit, between = nested(mean, number.astype(float), inside, [np.arange(len(mean))])
    return between or 0.0, fit or 0.0


def degrees(actions: int, seeds: int, of: Estimand) -> int:
    """Count the degrees of freedom of a design's test; below one, nothing can be told."""
    return actions - 1 if of == "actions at large" else actions * (seeds - 1)


def can_tell(actions: int, seeds: int, of: Estimand, alpha: float = ALPHA) -> bool:
    """Whether a design's smallest p-value lies below the level, fits being paired."""
    units = actions if of == "actions at large" else actions * seeds
    return least_p(units, of) < alpha


def power(difference: float, variance: float, free: float, alpha: float = ALPHA) -> float:
    """Compute the power of a two-sided t-test of a mean with this variance and `free` degrees."""
    limit = float(t.isf(alpha / 2, free))
    shift = abs(difference) / math.sqrt(variance)
    above, below = nct.sf(limit, free, shift), nct.cdf(-limit, free, shift)
    # The distribution's far tail is too small to be computed, and nothing beside the other.
    return float(above) + (0.0 if math.isnan(below) else float(below))


def detectable(variance: float, free: float, alpha: float = ALPHA) -> float:
    """Compute the smallest difference that is detected with a power of `POWER`."""
    if variance <= 0:
        return 0.0
    error = math.sqrt(variance)
    limit = float(t.isf(alpha / 2, free))
    return error * float(
        brentq(lambda shift: power(shift, 1.0, free, alpha) - POWER, 0.0, 4 * limit + 8)
    )


def actions_needed(
    gap: float, paired: PairedVariance, seeds: int, alpha: float = ALPHA
) -> int | None:
    """Count the fewest actions whose `seeds` fits each detect a gap of actions at large.

    None if it cannot be told, or is out of reach.
    """

    def reaches(actions: int) -> bool | None:
        variance = paired.of_mean(actions, seeds, "actions at large")
        if variance is None:
            return None
        if not can_tell(actions, seeds, "actions at large", alpha):
            return False
        return detectable(variance, actions - 1, alpha) <= gap

    low, high = 1, MOST_ACTIONS
    if not reaches(high):
        return None
    while high - low > 1:
        middle = (low + high) // 2
        if reaches(middle):
            high = middle
        else:
            low = middle
    return high


@dataclass(frozen=True)
class Power:
    """What comparisons of a board's methods can detect, by the variance of their differences."""

    pairs: tuple[PairedVariance, ...]
    actions: int
    seeds: int
    """The fewest fits that an action has."""
    methods: int

    def detectable(
        self, actions: int, seeds: int, of: Estimand, alpha: float = ALPHA
    ) -> float | None:
        """Compute the smallest detectable difference, the median over pairs; None if it cannot be
        told: too few units for any p-value below `alpha`, or differences that do not vary."""
        free = degrees(actions, seeds, of)
        variances = [pair.of_mean(actions, seeds, of) for pair in self.pairs]
        known = [variance for variance in variances if variance is not None]
        if free < 1 or not known or self.constant or not can_tell(actions, seeds, of, alpha):
            return None
        # Differences scale with the standard error: the pair in the middle is so for any alpha.
        return detectable(float(np.median(known)), free, alpha)

    @property
    def constant(self) -> bool:
        """Whether differences do not vary, as where methods are all right or all wrong: what
        another measurement would detect is then not known, and certainly not everything."""
        return float(np.median([pair.total for pair in self.pairs])) <= 0

    def needed(self, gap: float, seeds: int, alpha: float = ALPHA) -> int | None:
        """Count the actions at which the median pair's gap is detected; None: see
        `actions_needed`."""
        if self.constant:
            return None
        fits = [pair.fit for pair in self.pairs]
        known = [fit for fit in fits if fit is not None]
        total = float(np.median([pair.total for pair in self.pairs]))
        fit = min(total, float(np.median(known))) if known else None
        return actions_needed(gap, PairedVariance(total, fit), seeds, alpha)

    @property
    def family(self) -> int:
        """Comparisons of one method with each other one."""
        return self.methods - 1

    @property
    def design(self) -> str:
        """The board's actions and fits, in words."""
        return f"{self.actions} actions x {self.seeds} {'fit' if self.seeds == 1 else 'fits'}"

    @property
    def untold(self) -> str:
        """Why the smallest difference cannot be told, where it cannot."""
        alike = ", whose differences do not vary" if self.constant else ""
        return f"cannot be told with {self.design}{alike}"

    def smallest(self, of: Estimand) -> tuple[float, float | None] | None:
        """Compute what the board's own design detects: alone, and in the family of the lead's
        comparisons, None if nothing; None if it cannot be told."""
        alone = self.detectable(self.actions, self.seeds, of)
        if alone is None or (of == "actions at large" and self.actions < MIN_ACTIONS):
            return None
        return alone, self.detectable(self.actions, self.seeds, of, ALPHA / max(1, self.family))

    def in_family(self, strict: float | None, digits: int = 0) -> str:
        """Write what is detected in the family of the lead's comparisons, in points."""
        found = "none, however large," if strict is None else f"{100 * strict:.{digits}f}"
        return f"{found} in a family of {self.family}"

    @property
    def lines(self) -> list[str]:
        """Say what is detected, for the notes under a board."""
        lines = []
        for of in get_args(Estimand):
            found = self.smallest(of)
            if found is None:
                lines.append(f"Smallest detectable difference, {of}: {self.untold}.")
                continue
            alone, strict = found
            family = f", {self.in_family(strict)}" if self.family > 1 else ""
            lines.append(
                f"Smallest difference of total accuracy that {self.design} detect with 80% power, "
                f"{of}: {100 * alone:.0f} points{family}."
            )
        return lines


def measure_power(tables: Sequence[Fits], measure: str = "total") -> Power | None:
    """Measure what comparisons of methods on the same items can detect; None for fewer than two
    methods or actions."""
    found = [
        paired_variance(first, second, measure)
        for place, first in enumerate(tables)
        for second in tables[place + 1 :]
    ]
    pairs = tuple(pair for pair in found if pair is not None)
    if not pairs:
        return None
    seeds = min(int(table.per_action.min()) for table in tables)
    return Power(pairs, len(tables[0].actions), seeds, len(tables))
