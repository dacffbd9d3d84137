from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binomtest

from evaluation.measures.accuracy import MEASURES, breakdown, clustered, overall, wilson
from tests.helpers.verdicts import first_actions, make_verdicts


def labels(*sizes: int) -> np.ndarray:
    return np.repeat([f"action {i}" for i in range(len(sizes))], sizes).astype(object)


def test_wilson_against_the_closed_form() -> None:
    # Worked by hand for 5 of 10, z = 1.96: centre 0.5, half 0.2634.
    share = wilson(5, 10)
    assert (share.low, share.high) == pytest.approx((0.2366, 0.7634), abs=1e-4)
    assert wilson(0, 46).low == 0 and wilson(0, 46).high == pytest.approx(0.0771, abs=1e-4)


def test_no_images_have_no_share() -> None:
    share = wilson(0, 0)
    assert np.isnan(share.value) and np.isnan(share.low) and share.percent() == "–"


def test_one_cluster_takes_wilsons_interval() -> None:
    share = clustered(np.array([True] * 3 + [False] * 7), labels(10))
    assert share == wilson(3, 10)
    assert share.interval == "wilson"


def test_clustered_interval_worked_by_hand() -> None:
    # Four actions of ten images with 9, 7, 3, 1 right: share 0.5, residuals 4, 2, -2, -4, so
    # variance = 4/3 * 40 / 1600 = 1/30 and n_eff = 0.25 * 30 * (1.95996 / 3.18245)^2 = 2.84469;
    # Wilson: half = z / (1 + z^2/n) * sqrt(0.25 / n + z^2 / (4 n^2)) = 0.37903.
    outcome = np.concatenate([np.arange(10) < right for right in (9, 7, 3, 1)])
    share = clustered(outcome, labels(10, 10, 10, 10))
    assert share.interval == "by action" and (share.count, share.n) == (20, 40)
    assert (share.low, share.high) == pytest.approx((0.12097, 0.87903), abs=1e-4)


def test_clustering_never_narrows_the_interval() -> None:
    outcome = np.tile([True, False], 20)
    share = clustered(outcome, labels(10, 10, 10, 10))
    plain = binomtest(20, 40).proportion_ci(method="wilson")
    assert share.low <= plain.low + 1e-9 and share.high >= plain.high - 1e-9
    everything = clustered(np.ones(40, dtype=bool), labels(10, 10, 10, 10))
    assert everything.high == 1 and everything.low == pytest.approx(wilson(40, 40).low)


def test_coverage_with_eight_correlated_actions() -> None:
    rng = np.random.default_rng(7)
    names = labels(*[46] * 8)
    truth, correlation, trials = 0.3, 0.1, 300
    a, b = truth * (1 / correlation - 1), (1 - truth) * (1 / correlation - 1)
    hits = 0
    for _ in range(trials):
        outcome = rng.random(368) < np.repeat(rng.beta(a, b, 8), 46)
        share = clustered(outcome, names)
        hits += share.low <= truth <= share.high
    assert 0.91 <= hits / trials <= 0.99


def test_measures_are_shares_of_all_images() -> None:
    # Images by (subject's place, index): 0,0 both right; 0,1 neglect; 1,0 contamination; 1,1 wrong.
    rule = {(0, 0): (True, True), (0, 1): (False, True), (1, 0): (True, False)}
    verdicts = make_verdicts(
        lambda a, s, i: rule.get((s, i), (False, False)), actions=3, subjects=2
    )
    counts = {name: share.count for name, share in overall(verdicts).items()}
    assert counts == {"action": 6, "subject": 6, "total": 3, "neglect": 3, "contamination": 3}
    assert {share.n for share in overall(verdicts).values()} == {12}


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
    assert set(actions["interval"]) == {"wilson"}
    assert set(breakdown(verdicts, "category")["interval"]) == {"by action"}


def test_few_actions_cluster_by_action_and_subject() -> None:
    rule = lambda a, s, i: (s < 8, True)  # noqa: E731
    few = overall(make_verdicts(rule, actions=5))["action"]
    assert few.interval == "by action and subject"
    # Five actions of equal shares: by action there would be no variance, hence the plain width.
    plain = wilson(few.count, few.n)
    assert few.high - few.low > 1.2 * (plain.high - plain.low)
    assert overall(make_verdicts(rule, actions=6))["action"].interval == "by action"


def test_repeats_to_the_last_digit() -> None:
    verdicts = make_verdicts(lambda a, s, i: ((a * s + i) % 3 == 0, s % 4 != 0))
    assert overall(verdicts) == overall(verdicts.sample(frac=1, random_state=1))
