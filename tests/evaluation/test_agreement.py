"""Rank correlations against scipy's, and their bootstrap against cases worked by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import kendalltau, spearmanr

from evaluation.measures.fits import pool
from evaluation.measures.order import _cosine, _pair_signs, _ranks, agreement
from tests.helpers.verdicts import first_actions, make_verdicts

PUBLISHED = {"a": 0.5, "b": 0.4, "c": 0.3, "d": 0.3}


def test_correlations_are_scipys_with_ties_too() -> None:
    rng = np.random.default_rng(0)
    rows = rng.integers(0, 6, (40, 7))
    other = np.array([[3, 1, 4, 1, 5, 9, 2]])
    signs, others = _pair_signs(rows), _pair_signs(other)
    rho, tau = _cosine(_ranks(signs, 7), _ranks(others, 7)), _cosine(signs, others)
    assert rho == pytest.approx([spearmanr(row, other[0]).statistic for row in rows])
    assert tau == pytest.approx([kendalltau(row, other[0]).statistic for row in rows])


def test_a_table_by_hand() -> None:
    # Totals: a 6, b 7, c 2, d 0 actions of eight; theirs: a > b > c = d.
    right = {"a": range(6), "b": range(7), "c": range(2), "d": range(0), "unknown": range(3)}
    verdicts = {m: make_verdicts(first_actions(r), method=m) for m, r in right.items()}
    found = agreement(verdicts, PUBLISHED)
    assert found.methods == ("a", "b", "c", "d")
    # Ranks 3, 4, 2, 1 and 4, 3, 1.5, 1.5, less 2.5: 3.5 / sqrt(5 * 4.5).
    assert found.spearman.value == pytest.approx(3.5 / math.sqrt(5 * 4.5))
    # Of six pairs four agree, one disagrees, one is tied on one side: 3 / sqrt(6 * 5).
    assert found.kendall.value == pytest.approx(3 / math.sqrt(6 * 5))
    assert found.spearman.low <= found.spearman.value <= found.spearman.high
    assert found == agreement(verdicts, PUBLISHED), "seeded"


def test_an_order_that_holds_in_every_action_is_certain() -> None:
    verdicts = {
        method: make_verdicts(lambda a, s, i, n=n: (s < n, True), method=method)
        for method, n in (("a", 20), ("b", 10), ("c", 5))
    }
    found = agreement(verdicts, PUBLISHED)
    assert vars(found.spearman) == vars(found.kendall) == {"value": 1, "low": 1, "high": 1}
    reversed_ = agreement(verdicts, {"a": 0.1, "b": 0.2, "c": 0.3})
    assert reversed_.spearman.value == reversed_.spearman.high == -1


def test_the_same_actions_are_drawn_for_all_methods() -> None:
    # b is right on one image more than a in every action: only a paired draw keeps them apart.
    verdicts = {
        "a": make_verdicts(lambda a, s, i: (s < 2 * a, True)),
        "b": make_verdicts(lambda a, s, i: (s < 2 * a or (s, i) == (22, 0), True)),
        "c": make_verdicts(first_actions([])),
    }
    found = agreement(verdicts, {"a": 0.2, "b": 0.3, "c": 0.1})
    assert found.spearman.low == 1


def test_what_has_no_order_or_no_items_in_common() -> None:
    same = {m: make_verdicts(first_actions([1]), method=m) for m in "abc"}
    found = agreement(same, PUBLISHED)
    assert math.isnan(found.spearman.value) and str(found.kendall) == "–"
    with pytest.raises(ValueError, match="2 shared methods"):
        agreement({m: same[m] for m in "ab"}, PUBLISHED)
    with pytest.raises(ValueError, match="same items"):
        agreement({**same, "c": same["c"].iloc[1:]}, PUBLISHED)


def test_of_few_actions_no_interval_is_told() -> None:
    verdicts = {
        m: make_verdicts(lambda a, s, i, n=n: (s % 4 < n, True), actions=2)
        for n, m in enumerate("cba")
    }
    found = agreement(verdicts, PUBLISHED).spearman
    assert found.value == 1 and math.isnan(found.low) and str(found) == "1.00"


def test_seeds_are_rows_of_one_method() -> None:
    more = {m: make_verdicts(first_actions(range(n)), method=m) for n, m in enumerate("dcba")}
    pooled = {**more, "a": pool([(0, 0, more["a"]), (1, 0, more["a"])])}
    assert agreement(pooled, PUBLISHED) == agreement(more, PUBLISHED)


def test_ties_of_the_other_table_have_no_order() -> None:
    verdicts = {m: make_verdicts(first_actions(range(n)), method=m) for n, m in enumerate("cab")}
    theirs = {"a": 0.5, "b": 0.49, "c": 0.1}
    assert agreement(verdicts, theirs).kendall.value == pytest.approx(1 / 3)
    found = agreement(verdicts, theirs, ties={frozenset("ab")})
    # Of three pairs one is a tie of theirs and two agree: 2 / sqrt(3 * 2).
    assert found.kendall.value == pytest.approx(2 / math.sqrt(6))
    assert found.spearman.value == pytest.approx(6 / math.sqrt(8 * 6))
