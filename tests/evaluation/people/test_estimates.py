"""Estimates from labels: PPI++ against its authors' package, by hand, and how often they cover."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
from scipy import stats

from benchmarks.people_coverage import Scenario, simulate
from evaluation.people.estimates import (
    Figure,
    Tally,
    correct_differences,
    difference,
    estimate,
    interval,
    row_figures,
)


def _example() -> dict[str, Any]:
    """400 images of which 60 are labelled, a judge that sees 85% of what is right."""
    rng = np.random.default_rng(18)
    truth = rng.random(400) < 0.4
    judge = np.where(truth, rng.random(400) < 0.85, rng.random(400) < 0.2)
    labelled = np.sort(rng.choice(400, 60, replace=False))
    return {
        "judge": judge,
        "labelled": labelled,
        "right": truth[labelled],
        "fits": np.arange(400),
        "weights": np.ones(60),
    }


def test_the_corrected_figure_is_the_package_s() -> None:
    """ppi-python 0.2.3, `ppi_mean_pointestimate(Y, f, f_unlabelled)` and the standard error of
    `ppi_mean_ci`, where each image is a unit; the package is given the other 340 images."""
    tally = Tally.of(**_example())
    found = estimate(tally)
    assert float(found.corrected) == pytest.approx(0.33927889706233444, abs=1e-12)
    error = math.sqrt(float((found.corrected_scores**2).sum()))
    assert error == pytest.approx(0.04278493818269123, rel=2e-3)
    # With so many units the interval's variance is nearly that.
    assert math.sqrt(float(found.corrected_variance)) == pytest.approx(error, rel=0.03)


def test_weights_enter_the_share_of_labels_and_the_rectifier() -> None:
    weights = 1 + np.random.default_rng(0).integers(0, 4, 60).astype(float)
    example = _example()
    found = estimate(Tally.of(**{**example, "weights": weights}))
    judge, right = example["judge"], example["right"]
    of_labelled = np.average(judge[example["labelled"]], weights=weights)
    people = np.average(right, weights=weights)
    assert float(found.people) == pytest.approx(people)
    expected = people + float(found.power) * (judge.mean() - of_labelled)
    assert float(found.corrected) == pytest.approx(expected)


def test_by_hand() -> None:
    """Two fits of 50 images, 20 labels each: the judge says yes to 30 and 10, rightly in all but
    one of ten labelled; so what is left to correct is one in ten of the yes."""
    tally = Tally(
        images=np.array([[20.0, 30.0], [40.0, 10.0]]),
        labels=np.array([[10.0, 10.0], [15.0, 5.0]]),
        weights=np.array([[10.0, 10.0], [15.0, 5.0]]),
        squares=np.array([[10.0, 10.0], [15.0, 5.0]]),
        right=np.array([[0.0, 9.0], [0.0, 5.0]]),
    )
    found = estimate(tally)
    # h = 14/40, m = 15/40, F = 40/100; covariance 14/40 - 14/40 * 15/40 over 0.24 * 100/99
    power = (14 / 40 - 14 / 40 * 15 / 40) / (0.24 * 100 / 99)
    assert float(found.power) == pytest.approx(power)
    assert float(found.corrected) == pytest.approx(14 / 40 + power * (0.4 - 15 / 40))
    assert found.people_scores.sum() == pytest.approx(0)
    assert found.corrected_scores.sum() == pytest.approx(0)


def test_a_judge_that_is_always_right_corrects_to_its_own_share() -> None:
    rng = np.random.default_rng(3)
    truth = rng.random(368) < 0.3
    labelled = np.sort(rng.choice(368, 120, replace=False))
    fits = np.repeat(np.arange(8), 46)
    figures = row_figures(Tally.of(truth, fits, labelled, truth[labelled], np.ones(120)))
    assert figures.power == pytest.approx(1, abs=0.05)
    assert figures.corrected.value == pytest.approx(truth.mean(), abs=0.005)
    assert figures.corrected.width < figures.people.width


def test_a_judge_that_knows_nothing_has_no_power() -> None:
    rng = np.random.default_rng(4)
    example = _example()
    found = estimate(Tally.of(**{**example, "judge": rng.random(400) < 0.5}))
    assert float(found.power) < 0.3  # what 60 labels see in noise
    assert float(found.corrected_variance) <= float(found.people_variance)
    backwards = estimate(Tally.of(**{**example, "judge": ~example["judge"]}))
    assert float(backwards.power) == 0
    assert float(backwards.corrected) == float(backwards.people)


def test_under_forty_labels_nothing_is_estimated() -> None:
    example = _example()
    few = {key: example[key][:39] for key in ("labelled", "right", "weights")}
    tally = Tally.of(**{**example, **few})
    figures = row_figures(tally)
    assert figures.labels == 39 and figures.corrected.text() == "–"
    assert difference(tally, Tally.of(**example)) is None
    one_fit = Tally.of(**{**example, "fits": np.zeros(400)})
    assert math.isnan(row_figures(one_fit).people.value)


def test_intervals_stay_within_0_and_1_and_count_units_there() -> None:
    shares = np.array([0.0, 0.001, 0.5, 1.0])
    low, high = interval(shares, np.full(4, 4e-4), 8, np.float64(368))
    assert low[0] == 0 and high[3] == 1
    # Clopper and Pearson's of none in eight: 1 - 0.025 ** (1 / 8).
    assert high[0] == pytest.approx(1 - 0.025 ** (1 / 8)) == pytest.approx(1 - low[3])
    assert high[1] < 0.2
    assert low[2] < 0.46 and high[2] > 0.54


def test_the_difference_of_a_row_with_itself_is_none() -> None:
    tally = Tally.of(**_example())
    same = difference(tally, tally)
    assert same is not None and same.corrected.value == 0 and not same.told_apart
    other = dataclasses.replace(tally, images=tally.images[:-1])
    with pytest.raises(ValueError, match="other units"):
        difference(tally, other)


def _row(right: int) -> Tally:
    """Eight fits of 20 images, 10 labelled, of which about `right` are right; the judge sees it."""
    rng = np.random.default_rng(right)
    truth = np.concatenate(
        [np.arange(20) % 10 < right + more for more in rng.permutation([-3, -1, 0, 0, 0, 0, 1, 3])]
    )
    labelled = np.flatnonzero(np.arange(160) % 20 < 10)
    return Tally.of(truth, np.repeat(np.arange(8), 20), labelled, truth[labelled], np.ones(80))


def test_differences_are_told_apart_after_holms_correction() -> None:
    """As on the board, eight fits tell one difference apart, or six, and never seven."""
    far = difference(_row(8), _row(3))
    near = difference(_row(5), _row(3))
    assert far is not None and near is not None
    assert far.corrected.low > 0.3 and far.p_value == 2 / 2**8 and far.told_apart
    # Its interval alone leaves zero out: p is Student's of 8 - 1 - 1 degrees of freedom.
    low, high = near.corrected.low, near.corrected.high
    statistic = near.corrected.value / ((high - low) / 2 / stats.t.ppf(0.975, 6))
    assert low > 0 and near.p_value == pytest.approx(2 * stats.t.sf(statistic, 6))
    assert 0.01 < near.p_value < 0.05 and near.told_apart
    first, _, last = correct_differences([near, far, near])
    assert first.p_holm == pytest.approx(2 * near.p_value) == last.p_holm
    assert [one.told_apart for one in correct_differences([near, far, far])] == [True] * 3
    assert not any(one.told_apart for one in correct_differences([near] * 4))
    assert all(one.told_apart for one in correct_differences([far] * 6))
    assert not any(one.told_apart for one in correct_differences([far] * 7))
    back = near.reversed
    assert (back.corrected.low, back.corrected.high) == (-high, -low)
    assert back.p_value == near.p_value and back.people.value == -near.people.value


def test_figures_read_as_shares() -> None:
    assert Figure(0.5494, 0.461, 0.629).text() == "54.9 [46–63]"


@pytest.mark.parametrize(
    "scenario",
    [
        Scenario(8, 46, 40, 0.3, 0.2, "good"),
        Scenario(8, 46, 100, 0.6, 0.1, "chance"),
        Scenario(8, 138, 1000, 0.3, 0.02, "middling"),
        Scenario(48, 23, 40, 0.1, 0.02, "good"),
        Scenario(48, 23, 300, 0.9, 0.1, "all yes"),
    ],
    ids=lambda s: f"{s.fits}x{s.images}-{s.labels}-{s.judge}",
)
def test_coverage(scenario: Scenario) -> None:
    """A slice of `benchmarks/people_coverage.py`: 93% at least, but for the luck of 500."""
    found = simulate(scenario, 500)
    luck = 2 * math.sqrt(0.05 * 0.95 / 500)
    assert min(found.people, found.corrected, found.differences) >= 0.95 - luck
    assert found.narrow >= 0.95
    assert found.corrected_width <= 1.05 * found.people_width
