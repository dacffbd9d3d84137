"""Simulate boards: do 95% intervals hold the truth in 93% to 98%?

    python benchmarks/coverage.py                   # the intervals that boards use
    python benchmarks/coverage.py --tried           # and the others that were tried

A board is a number of actions, each with a few fits of 46 images. An action's share has a
logit-normal distribution around the true one, a fit's around its action's. Everything is
seeded; one core, a few minutes.
"""

from __future__ import annotations

import argparse
import itertools
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq
from scipy.special import expit
from scipy.stats import norm, t

from evaluation.measures.intervals import (
    Spread,
    correlation,
    difference_interval,
    spread_at_large,
    spread_within,
)

IMAGES = 46
"""Of a fit: 23 subjects, two each."""
BOARDS = 2000
CHOSEN = "chosen"
SHARES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9, 0.98)
ACTION_SDS = (0.0, 0.5, 1.0)
"""Standard deviations between actions, of the share's logit."""
FIT_SDS = (0.0, 0.5, 1.0)
"""And between fits of one action."""
WIDER = (1.5,)
"""Between actions, beyond the grid: reported apart."""
DESIGNS = ((8, 1), (8, 3), (48, 1), (48, 2))
"""Actions and seeds, for actions at large."""
GIVEN = ((8, 2), (8, 3), (48, 2))
"""For these actions, which need two fits each."""

_POINTS, _WEIGHTS = np.polynomial.hermite_e.hermegauss(60)
_WEIGHTS = _WEIGHTS / _WEIGHTS.sum()


@dataclass(frozen=True)
class Case:
    """A true share, and the standard deviations of its logit between actions and fits."""

    share: float
    action: float
    fit: float

    @property
    def middle(self) -> bool:
        """Whether coverage is bounded from above, too."""
        return 0.1 <= self.share <= 0.9

    def __str__(self) -> str:
        return f"share {self.share:.2f}, sd {self.action:g} and {self.fit:g}"


def grid(actions: tuple[float, ...] = ACTION_SDS) -> Iterator[Case]:
    """Yield every case of the grid."""
    for share, action, fit in itertools.product(SHARES, actions, FIT_SDS):
        yield Case(share, action, fit)


def centre(share: float, sd: float) -> float:
    """Find the logit around which a logit-normal variable has this mean."""
    return float(brentq(lambda m: float(_WEIGHTS @ expit(m + sd * _POINTS)) - share, -40, 40))


def draw(
    rng: np.random.Generator, case: Case, actions: int, seeds: int, boards: int = BOARDS
) -> tuple[np.ndarray, np.ndarray]:
    """Draw boards: right images [boards, actions, seeds], the actions' logits [boards, actions]."""
    middle = centre(case.share, float(np.hypot(case.action, case.fit)))
    action = middle + case.action * rng.standard_normal((boards, actions, 1))
    fits = action + case.fit * rng.standard_normal((boards, actions, seeds))
    return rng.binomial(IMAGES, expit(fits)), action[..., 0]


def true_share(case: Case, logits: np.ndarray) -> np.ndarray:
    """Compute the true share of each board's own actions over all fits: [boards]."""
    fits = (w * expit(logits + case.fit * x) for x, w in zip(_POINTS, _WEIGHTS) if w > 1e-12)
    return np.asarray(sum(fits)).mean(-1)


def spread(right: np.ndarray, these: bool) -> Spread:
    """Measure boards' shares, by the functions that boards use."""
    boards, actions, seeds = right.shape
    if not these:
        return spread_at_large(right.sum(-1), np.full(actions, seeds * IMAGES))
    strata = np.repeat(np.arange(actions), seeds)
    return spread_within(right.reshape(boards, -1), np.full(actions * seeds, IMAGES), strata)


Rule = Callable[[Spread], tuple[np.ndarray, np.ndarray]]


def coverage(
    case: Case, actions: int, seeds: int, rules: dict[str, Rule], *, these: bool, seed: int = 1
) -> dict[str, float]:
    """Compute the share of boards whose interval holds the truth, by each rule, in %."""
    rng = np.random.default_rng([seed, actions, seeds])
    right, logits = draw(rng, case, actions, seeds)
    found = spread(right, these)
    truth = true_share(case, logits) if these else np.full(len(right), case.share)
    held = {}
    for name, rule in rules.items():
        low, high = rule(found)
        held[name] = 100 * float(((low <= truth + 1e-12) & (truth - 1e-12 <= high)).mean())
    return held


def difference_coverage(
    case: Case, gap: float, actions: int, seeds: int, *, these: bool, seed: int = 1
) -> dict[str, float]:
    """Compute how many intervals of two methods' difference hold it, in %, by rule.

    The second method's share is `gap` lower. Half of the variance between actions is the method's
    own, half is that some actions are hard for both."""
    rng = np.random.default_rng([seed, actions, seeds, 2])
    hard = rng.standard_normal((BOARDS, actions, 1))
    shares, found, means, truth = [], [], [], np.zeros(BOARDS)
    for share, sign in ((case.share, 1), (case.share - gap, -1)):
        sd = case.action * np.sqrt(0.5)
        logits = centre(share, float(np.hypot(case.action, case.fit)))
        logits = logits + sd * (rng.standard_normal((BOARDS, actions, 1)) + hard)
        fits = logits + case.fit * rng.standard_normal((BOARDS, actions, seeds))
        right = rng.binomial(IMAGES, expit(fits))
        found.append(spread(right, these))
        shares.append(right / IMAGES)
        means.append(shares[-1].mean(-1))
        truth += sign * (true_share(case, logits[..., 0]) if these else share)
    if these:
        apart = [(each - each.mean(-1, keepdims=True)).reshape(BOARDS, -1) for each in shares]
        values = shares[0] - shares[1]
        error = np.sqrt((values.var(-1, ddof=1) / seeds).sum(-1)) / actions
        free = actions * (seeds - 1)
    else:
        apart = [each - each.mean(-1, keepdims=True) for each in means]
        error = (means[0] - means[1]).std(-1, ddof=1) / np.sqrt(actions)
        free = actions - 1
    low, high = difference_interval(found[0].ends(), found[1].ends(), correlation(*apart))
    mean = (means[0] - means[1]).mean(-1)
    held = (low <= truth + 1e-12) & (truth - 1e-12 <= high)
    by_student = np.abs(mean - truth) <= t.ppf(0.975, free) * error + 1e-12
    return {CHOSEN: 100 * float(held.mean()), "Student": 100 * float(by_student.mean())}


# What else was tried


def _size(found: Spread) -> np.ndarray:
    product = found.share * (1 - found.share)
    full = np.full(product.shape, float(found.images))
    return np.divide(product, found.variance, out=full, where=found.variance > 0)


def _few(found: Spread) -> np.ndarray:
    return np.asarray((norm.ppf(0.975) / t.ppf(0.975, found.degrees)) ** 2)


def wilson(found: Spread) -> tuple[np.ndarray, np.ndarray]:
    """Wilson's interval at the effective sample size, at most the images: the rule until now."""
    z, size = norm.ppf(0.975), np.minimum(found.images, _size(found) * _few(found))
    middle = (found.share + z**2 / (2 * size)) / (1 + z**2 / size)
    spread = found.share * (1 - found.share) / size + z**2 / (4 * size**2)
    half = z / (1 + z**2 / size) * np.sqrt(spread)
    return middle - half, middle + half


def logit(found: Spread) -> tuple[np.ndarray, np.ndarray]:
    """Student's interval of the logit; exact by clusters at 0 and 1."""
    share = np.clip(found.share, 1e-12, 1 - 1e-12)
    middle = np.log(share / (1 - share))
    half = t.ppf(0.975, found.degrees) * np.sqrt(found.variance) / (share * (1 - share))
    least = 1 - 0.025 ** (1 / found.clusters)
    low, high = expit(middle - half), expit(middle + half)
    low = np.where(found.share <= 0, 0, np.where(found.share >= 1, 1 - least, low))
    return low, np.where(found.share >= 1, 1, np.where(found.share <= 0, least, high))


def student(found: Spread) -> tuple[np.ndarray, np.ndarray]:
    """Student's interval of the share itself."""
    half = t.ppf(0.975, found.degrees) * np.sqrt(found.variance)
    return found.share - half, found.share + half


def korn_graubard(found: Spread) -> tuple[np.ndarray, np.ndarray]:
    """Clopper and Pearson's at the effective size, whatever the share."""
    from scipy.stats import beta

    inner = (found.share > 0) & (found.share < 1)
    size = np.where(inner, _size(found) * _few(found), found.clusters)
    right = found.share * size
    low = np.where(found.share <= 0, 0, beta.ppf(0.025, right, size - right + 1))
    return low, np.where(found.share >= 1, 1, beta.isf(0.025, right + 1, size - right))


RULES: dict[str, Rule] = {
    CHOSEN: Spread.interval,
    "Korn and Graubard": korn_graubard,
    "logit": logit,
    "Wilson, effective n": wilson,
    "Student": student,
}


def report(name: str, values: dict[Case, float]) -> str:
    """Write a line: least coverage of all, least and most of the middle."""
    least = min(values, key=lambda case: values[case])
    middle = [case for case in values if case.middle]
    most = max(middle, key=lambda case: values[case])
    return f"{name:<22}{values[least]:6.1f} ({least})   {values[most]:6.1f} ({most})"


def main() -> None:
    """Print the tables of docs/statistics.md."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tried", action="store_true")
    rules = RULES if parser.parse_args().tried else {CHOSEN: RULES[CHOSEN]}
    began = time.perf_counter()
    print(f"{BOARDS} boards a case; coverage in %: least of all, most for shares of 10 to 90%")
    for these, designs in ((False, DESIGNS), (True, GIVEN)):
        of = "these actions" if these else "actions at large"
        for actions, seeds in designs:
            print(f"\n{of}: {actions} actions x {seeds} fits")
            for label, sds in (("", ACTION_SDS), ("beyond the grid: ", WIDER)):
                held = {
                    case: coverage(case, actions, seeds, rules, these=these) for case in grid(sds)
                }
                for name in rules:
                    print(report(label + name, {case: by[name] for case, by in held.items()}))
    for these, designs in ((False, DESIGNS), (True, GIVEN)):
        of = "these actions" if these else "actions at large"
        for actions, seeds in designs:
            print(f"\ndifferences, {of}: {actions} actions x {seeds} fits")
            for gapped in (False, True):
                held = {
                    case: difference_coverage(
                        case, min(0.1, case.share / 2) * gapped, actions, seeds, these=these
                    )
                    for case in grid()
                }
                label = "a gap: " if gapped else "no gap: "
                for name in next(iter(held.values())):
                    if name in rules or name == CHOSEN:
                        print(report(label + name, {case: by[name] for case, by in held.items()}))
    print(f"\n{time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main()
