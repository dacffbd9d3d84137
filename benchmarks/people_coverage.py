"""How often the intervals of `evaluation.people.estimates` cover, and how wide they are.

    python benchmarks/people_coverage.py            # all scenarios; some minutes on one core
    python benchmarks/people_coverage.py --quick

The least of 528 coverages is mostly the unluckiest, so the lowest scenarios of each figure are
simulated again, with other random numbers and more of them, and printed with their standard error.

Fits differ in how often people find their images right (a beta distribution with the given
intra-class correlation), and the judge errs at rates that differ by fit too. Images are labelled
as a study plans them: a number of each verdict, at least a few, at probabilities that differ. A
figure covers if its interval holds the share right of actions at large; a difference, if it holds
the difference of two rows that share how hard each action is.
"""

from __future__ import annotations

import argparse
import itertools
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from evaluation.measures.intervals import t_quantile
from evaluation.people.estimates import POWER, Tally, differences, estimate, interval
from evaluation.people.plan import FLOOR

FIGURES = ("people", "corrected", "differences")
BATCH = 10_000
"""Simulations that are computed together at most."""
JUDGES = {
    "good": (0.95, 0.03, 0.02),
    "middling": (0.80, 0.15, 0.10),
    "chance": (0.50, 0.50, 0.02),
    "all yes": (0.95, 0.50, 0.10),
}
"""How often a judge says right of right and of wrong images, and the correlation within a fit."""
SIZES = ((8, 46), (8, 138), (48, 23))
"""Fits, and images of each."""
SHARES = (0.1, 0.3, 0.6, 0.9)
CORRELATIONS = (0.02, 0.1, 0.2)
LABELS = (40, 100, 300, 1000)


@dataclass(frozen=True)
class Scenario:
    fits: int
    images: int
    """Of a fit."""
    labels: int
    share: float
    correlation: float
    judge: str

    def __str__(self) -> str:
        return (
            f"{self.fits:3} x {self.images:<4} {self.labels:5} labels  share {self.share:.1f}  "
            f"icc {self.correlation:.2f}  {self.judge:9}"
        )


@dataclass(frozen=True)
class Coverage:
    people: float
    corrected: float
    people_width: float
    corrected_width: float
    narrow: float
    """Simulations in which the corrected interval is at most 1.1 times people's."""
    differences: float
    """Coverage of the corrected difference of two rows."""


def scenarios(sizes: tuple[tuple[int, int], ...] = SIZES) -> Iterator[Scenario]:
    for (fits, images), labels in itertools.product(sizes, LABELS):
        if labels <= fits * images:
            for rest in itertools.product(SHARES, CORRELATIONS, JUDGES):
                yield Scenario(fits, images, labels, *rest)


def simulate(scenario: Scenario, simulations: int, seed: int | tuple[int, ...] = 0) -> Coverage:
    """Measure the coverage in one scenario; the same seed gives the same figures."""
    rng = np.random.default_rng(seed)
    share, fits = scenario.share, scenario.fits
    hard = _beta(rng, share, scenario.correlation, (simulations, fits))
    first, second = (_tally(rng, scenario, hard) for _ in range(2))
    found, images = estimate(first), np.float64(fits * scenario.images)
    low, high = interval(found.people, found.people_variance, fits, images)
    low_c, high_c = interval(found.corrected, found.corrected_variance, fits, images, fitted=POWER)
    _, (value, variance) = differences(first, second)
    half = t_quantile(fits - 1 - POWER) * np.sqrt(variance)
    return Coverage(
        people=float(((low <= share) & (share <= high)).mean()),
        corrected=float(((low_c <= share) & (share <= high_c)).mean()),
        people_width=float((high - low).mean()),
        corrected_width=float((high_c - low_c).mean()),
        narrow=float((high_c - low_c <= 1.1 * (high - low)).mean()),
        differences=float((np.abs(value) <= half).mean()),
    )


def _beta(
    rng: np.random.Generator, mean: float, correlation: float, size: tuple[int, ...]
) -> np.ndarray:
    scale = (1 - correlation) / correlation
    return rng.beta(mean * scale, (1 - mean) * scale, size)


def _tally(rng: np.random.Generator, scenario: Scenario, hard: np.ndarray) -> Tally:
    """A row of which each fit's share right is given, labelled as a study is planned.

    Images of a fit that people and judge see alike are exchangeable, so they are drawn as counts.
    """
    images = np.full(hard.shape, scenario.images)
    hit, false, correlation = JUDGES[scenario.judge]
    right = rng.binomial(images, hard)
    yes_right = rng.binomial(right, _beta(rng, hit, correlation, hard.shape))
    yes_wrong = rng.binomial(images - right, _beta(rng, false, correlation, hard.shape))
    # [simulations, fits, verdict no or yes, wrong or right]
    counts = np.stack(
        [
            np.stack([images - right - yes_wrong, right - yes_right], axis=-1),
            np.stack([yes_wrong, yes_right], axis=-1),
        ],
        axis=-2,
    )
    total = counts.sum((1, 3))  # [simulations, verdict]
    take = _allocated(total, scenario.labels)
    labelled = np.stack(
        [_without_replacement(rng, counts[:, :, v], take[:, v]) for v in (0, 1)], axis=-2
    )
    weight = (total / np.maximum(take, 1))[:, None, :]
    labels = labelled.sum(-1).astype(np.float64)
    return Tally(
        images=counts.sum(-1).astype(np.float64),
        labels=labels,
        weights=labels * weight,
        squares=labels * weight**2,
        right=labelled[..., 1] * weight,
    )


def _allocated(total: np.ndarray, labels: int) -> np.ndarray:
    """How many images of each verdict are labelled: in proportion, and at least a few."""
    no, yes = total.T
    take = np.round(labels * yes / (yes + no)).astype(int)
    take = np.clip(take, np.minimum(FLOOR, yes), labels - np.minimum(FLOOR, no))
    take = np.clip(take, labels - no, yes)
    return np.stack([labels - take, take], axis=-1)


def _without_replacement(
    rng: np.random.Generator, counts: np.ndarray, take: np.ndarray
) -> np.ndarray:
    """Draw `take` [simulations] of all images, counted by [simulations, fits, wrong or right]."""
    flat = counts.reshape(len(counts), -1)
    left, drawn = flat.sum(1), np.zeros_like(flat)
    for cell in range(flat.shape[1]):
        left = left - flat[:, cell]
        drawn[:, cell] = rng.hypergeometric(flat[:, cell], left, take)
        take = take - drawn[:, cell]
    return drawn.reshape(counts.shape)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--simulations", type=int, default=1500)
    parser.add_argument("--quick", action="store_true", help="an eighth of the simulations")
    parser.add_argument(
        "--worst", type=int, default=4, help="lowest scenarios of each figure, simulated again"
    )
    parser.add_argument("--again", type=int, default=100_000, help="how often")
    options = parser.parse_args()
    divisor = 8 if options.quick else 1
    simulations, again = options.simulations // divisor, options.again // divisor
    began = time.monotonic()
    found = [(s, simulate(s, simulations, seed)) for seed, s in enumerate(scenarios())]
    for scenario, c in found:
        print(
            f"{scenario} people {c.people:.3f} ({c.people_width:.3f})  corrected {c.corrected:.3f} "
            f"({c.corrected_width:.3f})  narrow {c.narrow:.3f}  difference {c.differences:.3f}"
        )
    print("\nfits  labels  judge      coverage: least, mean     width of people's  narrow: least")
    for size, labels, judge in itertools.product(SIZES, LABELS, JUDGES):
        cell = [
            c
            for s, c in found
            if (s.fits, s.images) == size and s.labels == labels and s.judge == judge
        ]
        if cell:
            covered = [c.corrected for c in cell]
            ratio = np.mean([c.corrected_width / c.people_width for c in cell])
            print(
                f"{size[0]:3} x {size[1]:<4} {labels:5}  {judge:9}  {min(covered):.3f} "
                f"{np.mean(covered):.3f}  {ratio:14.2f}  {min(c.narrow for c in cell):14.3f}"
            )
    print(
        f"\n{len(found)} scenarios x {simulations} simulations: least coverage "
        f"{min(c.corrected for _, c in found):.3f} corrected, "
        f"{min(c.people for _, c in found):.3f} people, "
        f"{min(c.differences for _, c in found):.3f} differences; narrow in at least "
        f"{min(c.narrow for _, c in found):.3f}; {time.monotonic() - began:.0f} s"
    )
    for figure in FIGURES:
        lowest = sorted(range(len(found)), key=lambda place: getattr(found[place][1], figure))
        for place in lowest[: options.worst]:
            scenario, first = found[place][0], getattr(found[place][1], figure)
            covered = _simulated_again(scenario, figure, again, place)
            print(
                f"{scenario} {figure} {first:.3f} +- {_error(first, simulations):.4f}, "
                f"again {covered:.4f} +- {_error(covered, again):.4f}"
            )
    print(f"{again} simulations of each of these; {time.monotonic() - began:.0f} s in all")


def _simulated_again(scenario: Scenario, figure: str, simulations: int, place: int) -> float:
    """Simulate a scenario in parts that memory holds, with random numbers of their own."""
    sizes = [BATCH] * (simulations // BATCH) + [simulations % BATCH]
    covered = [
        size * getattr(simulate(scenario, size, (place, part)), figure)
        for part, size in enumerate(sizes, start=1)
        if size
    ]
    return float(sum(covered) / simulations)


def _error(share: float, simulations: int) -> float:
    """The standard error of a simulated share."""
    return math.sqrt(share * (1 - share) / simulations)


if __name__ == "__main__":
    main()
