from __future__ import annotations

import numpy as np
import pytest

from evaluation.measures.comparison import compare, rank, rank_verdicts
from tests.helpers.verdicts import first_actions, make_verdicts


def test_sign_flip_p_value_worked_by_hand() -> None:
    # One system is right on all eight actions, the other on none: of the 2^8 sign patterns only
    # the observed one and its mirror are as extreme.
    found = compare(make_verdicts(first_actions(range(8))), make_verdicts(first_actions([])))
    assert found.p_value == pytest.approx(2 / 256)
    assert (found.n, found.units, found.unit) == (368, 8, "action")
    assert found.difference == 1 and found.told_apart


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


def test_equal_runs() -> None:
    verdicts = make_verdicts(first_actions([1, 2]))
    found = compare(verdicts, verdicts)
    assert (found.difference, found.low, found.high, found.p_value) == (0, 0, 0, 1)


def test_pairing_does_not_depend_on_the_rows_order() -> None:
    first = make_verdicts(lambda a, s, i: ((a + s) % 2 == 0, True))
    second = make_verdicts(lambda a, s, i: ((a + s + i) % 3 == 0, s != 3))
    assert compare(first, second) == compare(first.iloc[::-1], second)
    swapped = compare(second, first)
    assert swapped.difference == pytest.approx(-compare(first, second).difference)
    assert swapped.p_value == compare(first, second).p_value


def test_few_actions_fall_back_to_pairs_and_repeat_by_seed() -> None:
    rng = np.random.default_rng(3)
    luck = rng.random((2, 23, 2))
    first = make_verdicts(lambda a, s, i: (bool(luck[a, s, i] < 0.6), True), actions=2)
    second = make_verdicts(lambda a, s, i: (bool(luck[a, s, i] > 0.55), True), actions=2)
    found = compare(first, second, seed=5)
    assert found.unit == "action and subject" and found.units == 46
    assert found == compare(first, second, seed=5)
    assert found.p_value != compare(first, second, seed=6).p_value
    assert 0 < found.p_value < 1


def test_only_shared_items_count() -> None:
    found = compare(
        make_verdicts(first_actions(range(8))), make_verdicts(first_actions([]), actions=7)
    )
    assert found.n == 7 * 46
    with pytest.raises(ValueError, match="no item in common"):
        compare(make_verdicts(first_actions([])), make_verdicts(first_actions([])).iloc[:0])


def test_ties_share_a_rank() -> None:
    def apart(*pairs: str) -> dict[frozenset[str], bool]:
        every = ["ab", "ac", "bc"]
        return {frozenset(pair): pair in pairs for pair in every}

    totals = {"c": 0.1, "a": 0.9, "b": 0.8}
    assert rank(totals, apart("ac", "bc")) == {"a": 1, "b": 1, "c": 3}
    assert rank(totals, apart("ab", "ac", "bc")) == {"a": 1, "b": 2, "c": 3}
    assert rank(totals, apart("ab", "ac")) == {"a": 1, "b": 2, "c": 2}
    # a beats c, but b is told apart from neither: no border can be drawn.
    assert rank(totals, apart("ac")) == {"a": 1, "b": 1, "c": 1}


def test_ranks_of_runs() -> None:
    ranks, comparisons = rank_verdicts(
        {
            "nothing": make_verdicts(first_actions([])),
            "one": make_verdicts(first_actions([2])),
            "all": make_verdicts(first_actions(range(8))),
        }
    )
    assert ranks == {"all": 1, "one": 2, "nothing": 2}
    assert len(comparisons) == 3
    assert comparisons["one", "all"].difference == pytest.approx(-7 / 8)
