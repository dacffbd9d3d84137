"""Intervals against published examples and by simulation (all of it: benchmarks/coverage.py)."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import binomtest

from benchmarks.coverage import CHOSEN, RULES, Case, coverage, difference_coverage
from evaluation.measures.intervals import (
    Spread,
    correlation,
    difference_interval,
    joined_degrees,
    spread_at_large,
    spread_within,
)


def spread(share: float, variance: float, degrees: float, clusters: int, images: int) -> Spread:
    return Spread(np.array(share), np.array(variance), np.array(degrees), clusters, images)


@pytest.mark.parametrize(
    ("count", "n", "low", "high"),
    [(81, 263, 0.2527, 0.3676), (15, 148, 0.0578, 0.1617), (0, 20, 0.0, 0.1684)],
)
def test_independent_images_have_clopper_and_pearsons_interval(
    count: int, n: int, low: float, high: float
) -> None:
    # Newcombe (1998), Two-Sided Confidence Intervals for the Single Proportion, table I, method 5.
    share = count / n
    found = spread(share, share * (1 - share) / n, math.inf, n, n).interval()
    assert found == pytest.approx((low, high), abs=1e-4)


def test_few_degrees_of_freedom_make_the_effective_size_smaller() -> None:
    # t(6) is 2.4469: 40 images count as 40 (1.95996 / 2.4469)^2 = 25.664.
    low, high = spread(0.5, 0.25 / 40, 6, 8, 368).interval()
    exact = binomtest(13, 26).proportion_ci(method="exact")
    assert low < 0.5 < high and (low, high) == pytest.approx((exact.low, exact.high), abs=0.005)


def test_all_right_and_all_wrong_count_clusters_not_images() -> None:
    sizes = np.full(8, 46)
    for counts in (np.zeros(8), sizes):
        low, high = spread_at_large(counts, sizes).interval()
        exact = binomtest(int(counts[0] > 0) * 8, 8).proportion_ci(method="exact")
        assert (low, high) == pytest.approx((exact.low, exact.high))
    # One image more does not make the interval that of images.
    one = spread_at_large(np.array([1, *[0] * 7]), sizes).interval()
    assert one[1] > 0.15


def test_a_ratio_of_totals_worked_by_hand() -> None:
    # Shares 9/10, 7/10, 6/20: 22 of 40, residuals 3.5, 1.5, -5: 3/2 * 39.5 / 1600.
    found = spread_at_large(np.array([9, 7, 6]), np.array([10, 10, 20]))
    assert (found.share, found.variance) == pytest.approx((0.55, 1.5 * 39.5 / 1600))


def test_strata_worked_by_hand() -> None:
    # Two actions with fits of ten images: 2 and 4; 9, 9 and 6. Shares 0.3 and 0.8; variances of the
    # actions' shares 0.02 / 2 and 0.03 / 3; weights 2/5 and 3/5: 0.0016 + 0.0036.
    counts, strata = np.array([2, 4, 9, 9, 6]), np.array([0, 0, 1, 1, 1])
    found = spread_within(counts, np.full(5, 10), strata)
    assert found.share == pytest.approx(0.6) and found.variance == pytest.approx(0.0052)
    # Welch: 0.0052^2 / (0.0016^2 / 3 + 0.0036^2 / 4) - 2.
    degrees = 0.0052**2 / (0.0016**2 / 3 + 0.0036**2 / 4) - 2
    assert found.degrees == pytest.approx(min(3, degrees))


def test_joined_degrees_are_those_of_the_variances() -> None:
    rng = np.random.default_rng(0)
    variances = rng.chisquare(1, (4000, 12))
    # A mean of 12 variances of one degree each has 12: Satterthwaite's mean is far below.
    assert joined_degrees(variances, np.ones(12)).mean() == pytest.approx(10.6, abs=1.5)
    assert joined_degrees(np.zeros(3), np.ones(3)) == 3


def test_newcombes_differences() -> None:
    def ends(count: int, n: int) -> tuple[float, float, float]:
        return (count / n, *binomtest(count, n).proportion_ci(method="wilson"))

    # 56/70 and 48/80 by method 10 of Newcombe (1998): 0.0524, 0.3339.
    found = difference_interval(ends(56, 70), ends(48, 80), 0.0)
    assert found == pytest.approx((0.0524, 0.3339), abs=1e-4)
    # A pair of shares that go together differ by less, and all right and all wrong by no certainty.
    closer = difference_interval(ends(56, 70), ends(48, 80), 0.7)
    assert closer[1] - closer[0] < 0.7 * (found[1] - found[0])
    sure = difference_interval((1.0, 0.6, 1.0), (0.0, 0.0, 0.4), 0.0)
    assert sure == pytest.approx((1 - math.hypot(0.4, 0.4), 1))


def test_correlation_of_deviations() -> None:
    rng = np.random.default_rng(0)
    one, other = rng.standard_normal((2, 9))
    found = correlation(one - one.mean(), other - other.mean())
    assert found == pytest.approx(np.corrcoef(one, other)[0, 1])
    assert correlation(np.zeros(3), np.ones(3)) == 0


@pytest.mark.parametrize("actions", [8, 48])
@pytest.mark.parametrize("share", [0.05, 0.3, 0.9])
def test_coverage(actions: int, share: float) -> None:
    """A slice of the grid: 2,000 boards a case, with and without seeds."""
    for seeds, these in ((1, False), (2, False), (2, True)):
        for case in (Case(share, 0.0, 0.0), Case(share, 1.0, 0.5)):
            held = coverage(case, actions, seeds, {CHOSEN: RULES[CHOSEN]}, these=these)[CHOSEN]
            assert held >= 93, (case, seeds, these)
            assert held <= 98 or not case.middle, (case, seeds, these)


@pytest.mark.parametrize("share", [0.02, 0.3, 0.9])
def test_coverage_of_differences(share: float) -> None:
    for actions, seeds, these in ((8, 1, False), (8, 2, True)):
        for gap in (0.0, min(0.1, share / 2)):
            case = Case(share, 1.0, 0.5)
            held = difference_coverage(case, gap, actions, seeds, these=these)[CHOSEN]
            assert held >= 93, (gap, these)
            assert held <= 98 or not case.middle, (gap, these)
