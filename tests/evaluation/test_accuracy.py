from __future__ import annotations

import numpy as np
import pytest

from evaluation.measures.accuracy import (
    breakdown,
    clustered,
    overall,
    share,
    wilson,
)
from evaluation.measures.fits import MEASURES, pool, tabulate
from tests.helpers.verdicts import first_actions, make_verdicts


def labels(*sizes: int) -> np.ndarray:
    return np.repeat([f"action {i}" for i in range(len(sizes))], sizes).astype(object)


def test_wilson_against_the_closed_form() -> None:
    # Worked by hand for 5 of 10, z = 1.96: centre 0.5, half 0.2634.
    found = wilson(5, 10)
    assert (found.low, found.high) == pytest.approx((0.2366, 0.7634), abs=1e-4)
    assert wilson(0, 46).low == 0 and wilson(0, 46).high == pytest.approx(0.0771, abs=1e-4)


def test_no_images_have_no_share() -> None:
    found = wilson(0, 0)
    assert np.isnan(found.value) and np.isnan(found.low) and found.percent() == "–"


def test_of_few_actions_with_one_fit_no_interval_is_told() -> None:
    found = overall(make_verdicts(lambda a, s, i: (s < 8, True), actions=5))["action"]
    assert (found.count, found.n, found.interval) == (5 * 16, 5 * 46, "cannot be told")
    assert not found.told and found.text() == "34.8"
    few = clustered(np.array([True] * 3 + [False] * 7), labels(10))
    assert few.interval == "cannot be told" and few.text() == "30.0"
    six = overall(make_verdicts(lambda a, s, i: (s < 8, True), actions=6))["action"]
    assert six.interval == "actions at large" and six.told


def test_of_few_actions_with_several_fits_it_is_about_these() -> None:
    runs = [
        (seed, 0, make_verdicts(lambda a, s, i, n=n: (s < n, True), actions=2))
        for seed, n in enumerate((8, 12, 10))
    ]
    found = overall(pool(runs))["action"]
    assert found.interval == "these actions" and found.count == 2 * 2 * 30
    assert found.low < found.value < found.high
    one_missing = pool([*runs[:1], (1, 0, runs[1][2].query("action == 'salute'"))])
    assert overall(one_missing)["action"].interval == "cannot be told", "one fit of an action"


def test_two_estimands_of_the_same_images() -> None:
    """Actions differ, fits do not: sure about these actions, unsure about actions at large."""
    verdicts = make_verdicts(lambda a, s, i: (s < 3 * a, True))
    other = make_verdicts(lambda a, s, i: (s < 3 * a + (a > 3), True))
    fits = tabulate(pool([(0, 0, verdicts), (1, 0, other)]))
    large, these = (share(fits, "total", of) for of in ("actions at large", "these actions"))
    assert large.value == these.value
    assert large.high - large.low > 5 * (these.high - these.low)


def test_a_seed_that_repeats_the_images_adds_nothing_about_actions_at_large() -> None:
    verdicts = make_verdicts(first_actions([0, 3]))
    one, two = overall(verdicts)["total"], overall(pool([(0, 0, verdicts), (1, 0, verdicts)]))
    assert two["total"].n == 2 * one.n
    assert (two["total"].low, two["total"].high) == pytest.approx((one.low, one.high))


def test_fits_are_counted_by_action_exemplars_and_seed() -> None:
    first = make_verdicts(lambda a, s, i: (s == 0, True), actions=2)
    second = make_verdicts(lambda a, s, i: (s <= a, i == 0), actions=2)
    fits = tabulate(pool([(0, 0, first), (0, 7, second), (3, 7, first)]))
    assert len(fits) == 6 and fits.actions == ("gesture", "salute") and fits.draws == 2
    assert fits.names.tolist() == [[0, 0, 0, 1, 1, 1], [0, 7, 7] * 2, [0, 0, 3] * 2]
    assert fits.counts["action"].tolist() == [2, 4, 2, 2, 2, 2]
    assert fits.counts["total"].tolist() == [2, 2, 2, 2, 1, 2]
    assert fits.per_action.tolist() == [3, 3] and set(fits.sizes.tolist()) == {46}


def test_measures_are_shares_of_all_images() -> None:
    # Images by (subject's place, index): 0,0 both right; 0,1 neglect; 1,0 contamination; 1,1 wrong.
    rule = {(0, 0): (True, True), (0, 1): (False, True), (1, 0): (True, False)}
    verdicts = make_verdicts(
        lambda a, s, i: rule.get((s, i), (False, False)), actions=3, subjects=2
    )
    counts = {name: found.count for name, found in overall(verdicts).items()}
    assert counts == {"action": 6, "subject": 6, "total": 3, "neglect": 3, "contamination": 3}
    assert {found.n for found in overall(verdicts).values()} == {12}


def test_breakdowns_add_up_and_keep_the_order() -> None:
    verdicts = make_verdicts(first_actions([0, 3]))
    for by, groups in (("action", 8), ("subject", 23), ("category", 3)):
        table = breakdown(verdicts, by)  # type: ignore[arg-type]
        assert list(dict.fromkeys(table[by])) == list(dict.fromkeys(verdicts[by]))
        assert len(table) == groups * len(MEASURES)
        totals = table[table["measure"] == "total"]
        assert totals["count"].sum() == 92 and totals["n"].sum() == 368
    actions = breakdown(verdicts, "action").query("measure == 'action'")
    assert actions["share"].tolist() == [1, 0, 0, 1, 0, 0, 0, 0]
    assert set(actions["interval"]) == {"cannot be told"}, "one fit of each"
    assert set(breakdown(verdicts, "category")["interval"]) == {"actions at large"}


def test_repeats_to_the_last_digit() -> None:
    verdicts = make_verdicts(lambda a, s, i: ((a * s + i) % 3 == 0, s % 4 != 0))
    assert overall(verdicts) == overall(verdicts.sample(frac=1, random_state=1))
