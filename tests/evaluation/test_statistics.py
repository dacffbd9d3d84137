from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from evaluation.measures.comparison import compare, compare_fits, correct, holm, rank, rank_fits
from evaluation.measures.fits import pool, tabulate
from tests.helpers.fits import make_fits
from tests.helpers.verdicts import Rule, first_actions, make_verdicts


def test_sign_flip_p_value_worked_by_hand() -> None:
    # One system is right on all eight actions, the other on none: of the 2^8 sign patterns only
    # the observed one and its mirror are as extreme.
    found = compare(make_verdicts(first_actions(range(8))), make_verdicts(first_actions([])))
    assert found.p_value == pytest.approx(2 / 256)
    assert (found.n, found.units, found.unit, found.of) == (368, 8, "action", "actions at large")
    assert found.difference == 1 and found.told_apart
    # All right against all wrong has no variance, and still is eight actions only.
    end = 1 - 0.025 ** (1 / 8)
    assert found.high == 1 and found.low == pytest.approx(1 - math.hypot(end, end))


def test_unanimous_small_gain_on_six_actions() -> None:
    # Better on six actions, equal on two: 2 of 2^6 patterns.
    better = make_verdicts(lambda a, s, i: (s == 0 and a < 6, True))
    worse = make_verdicts(lambda a, s, i: (False, True))
    found = compare(better, worse)
    assert found.p_value == pytest.approx(2 / 64)
    assert found.difference == pytest.approx(12 / 368)
    assert found.low < found.difference < found.high


def test_gain_on_one_action_is_not_told_apart() -> None:
    found = compare(make_verdicts(first_actions([0])), make_verdicts(first_actions([])))
    assert found.difference == pytest.approx(46 / 368)
    assert found.p_value == 1 and not found.told_apart


def test_equal_runs_may_still_differ_elsewhere() -> None:
    verdicts = make_verdicts(first_actions([1, 2]))
    found = compare(verdicts, verdicts)
    assert (found.difference, found.p_value) == (0, 1)
    assert found.low == -found.high < -0.1


def test_pairing_does_not_depend_on_the_rows_order() -> None:
    first = make_verdicts(lambda a, s, i: ((a + s) % 2 == 0, True))
    second = make_verdicts(lambda a, s, i: ((a + s + i) % 3 == 0, s != 3))
    assert compare(first, second) == compare(first.iloc[::-1], second)
    swapped = compare(second, first)
    assert swapped.difference == pytest.approx(-compare(first, second).difference)
    assert swapped.p_value == compare(first, second).p_value


def lucky(luck: float, action: int = 0) -> Rule:
    """Right on the first subjects, by luck more or fewer."""
    return lambda a, s, i: (s < 10 + luck + (a == action), True)


def seeds(*lucks: float, actions: int = 8, first: int = 0) -> list[tuple[int, int, pd.DataFrame]]:
    return [(first + n, 0, make_verdicts(lucky(x), actions=actions)) for n, x in enumerate(lucks)]


def test_of_few_actions_with_one_fit_nothing_is_told() -> None:
    found = compare(make_verdicts(lucky(3), actions=4), make_verdicts(lucky(0), actions=4))
    assert found.difference == pytest.approx(3 / 23)
    assert math.isnan(found.p_value) and math.isnan(found.low)
    assert found.points == "+13.0" and found.p_text == "–" and not found.told_apart


def test_fits_are_the_unit_for_these_actions() -> None:
    """Worked by hand: four actions, three seeds; differences of 6, 3 and 3 subjects in each."""
    first, second = pool(seeds(6, 4, 5, actions=4)), pool(seeds(0, 1, 2, actions=4))
    found = compare(first, second)
    assert (found.of, found.units, found.unit) == ("these actions", 12, "pair of fits")
    assert found.difference == pytest.approx(4 / 23)
    # Each action: variance 3 / 23^2 of its three differences; of the mean, 3 / 23^2 / (3 * 4).
    # Welch's degrees of four equal variances of two degrees each: 16 / (4 / 4) - 2, at most 8;
    # t = 8, whose p would be 0.00004, and no 12 signs say that much.
    assert found.p_value == 2 / 2**12
    # The same shares by other seeds: no pairs, and the variances of both.
    apart = compare(first, pool(seeds(0, 1, 2, actions=4, first=7)))
    assert (apart.units, apart.unit) == (24, "fit")
    assert found.low < apart.low, "these pairs go against each other"


def test_seeds_that_are_missing_or_unequal() -> None:
    three, two = pool(seeds(6, 4, 5)), pool(seeds(0, 1))
    found = compare(three, two)
    assert (found.n, found.units) == (368, 8), "every action counts once, whatever its fits"
    assert found.difference == pytest.approx((5 - 0.5) / 23)
    assert compare(three, two, of="these actions").unit == "fit"
    one = compare(three, make_verdicts(lucky(0)), of="these actions")
    assert math.isnan(one.p_value) and one.difference == pytest.approx(5 / 23)
    # A second seed that lacks an action: its first fit stands alone, and nothing is told of it.
    frames = seeds(6, 4)
    short = pool([frames[0], (1, 0, make_verdicts(lucky(4), actions=7))])
    assert math.isnan(compare(short, two, of="these actions").p_value)
    assert compare(short, two).units == 8


def test_no_variance_between_fits_is_no_certainty() -> None:
    right, wrong = (
        pool([(n, 0, make_verdicts(first_actions(which), actions=2)) for n in (0, 1)])
        for which in (range(2), [])
    )
    found = compare(right, wrong)
    assert found.difference == 1 and found.p_value == pytest.approx(2 / 2**4)
    end = 1 - 0.025 ** (1 / 4)
    assert found.low == pytest.approx(1 - math.hypot(end, end))


def test_the_test_of_fits_errs_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    false = 0
    for _ in range(300):
        first, second = (make_fits(10 + right) for right in rng.integers(0, 27, (2, 4, 3)))
        false += compare_fits(first, second).told_apart
    assert 0.02 <= false / 300 <= 0.08


def test_only_shared_items_count() -> None:
    found = compare(
        make_verdicts(first_actions(range(8))), make_verdicts(first_actions([]), actions=7)
    )
    assert found.n == 7 * 46
    with pytest.raises(ValueError, match="no item in common"):
        compare(make_verdicts(first_actions([])), make_verdicts(first_actions([])).iloc[:0])
    twice = make_verdicts(first_actions([])).iloc[[0, 0]]
    with pytest.raises(ValueError, match="same item twice"):
        compare(twice, make_verdicts(first_actions([])))


def test_holms_correction() -> None:
    # Of five: 5 p, 4 p, 3 p, 2 p, p of the sorted, none below the one before it.
    assert holm([0.01, 0.02, 0.03, 0.04, 0.05]) == pytest.approx([0.05, 0.08, 0.09, 0.09, 0.09])
    assert holm([0.04, 0.3, 0.001]) == pytest.approx([0.08, 0.3, 0.003])
    some = holm([0.02, math.nan, 0.9])
    assert some[0] == pytest.approx(0.06) and math.isnan(some[1]) and some[2] == 1
    # With eight actions the smallest p is 2/256: no family of seven can hold it.
    best = compare(make_verdicts(first_actions(range(8))), make_verdicts(first_actions([])))
    assert best.told_apart and not any(one.told_apart for one in correct([best] * 7))


def test_ties_share_a_rank() -> None:
    def p_values(*pairs: str) -> dict[frozenset[str], float]:
        return {frozenset(pair): 0.01 if pair in pairs else 0.5 for pair in ("ab", "ac", "bc")}

    totals = {"c": 0.1, "a": 0.9, "b": 0.8}
    assert rank(totals, p_values("ac", "bc")) == {"a": 1, "b": 1, "c": 3}
    assert rank(totals, p_values("ab", "ac", "bc")) == {"a": 1, "b": 2, "c": 3}
    assert rank(totals, p_values("ab", "ac")) == {"a": 1, "b": 2, "c": 2}
    # a beats c, but b is told apart from neither: no border can be drawn.
    assert rank(totals, p_values("ac")) == {"a": 1, "b": 1, "c": 1}
    # Two borders are a family: 0.03 twice is no 5%.
    assert rank(totals, dict.fromkeys(p_values(), 0.03)) == {"a": 1, "b": 1, "c": 1}


def test_ranks_of_runs() -> None:
    right = {"nothing": [], "one": [2], "all": range(8)}
    ranks, comparisons = rank_fits(
        {name: tabulate(make_verdicts(first_actions(which))) for name, which in right.items()}
    )
    assert len(comparisons) == 3
    assert comparisons["one", "all"].difference == pytest.approx(-7 / 8)
    assert comparisons["nothing", "all"].corrected == pytest.approx(3 * 2 / 256)
    assert ranks == {"all": 1, "one": 2, "nothing": 2}
