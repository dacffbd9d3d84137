"""Variance components and power against published worked examples, and on made-up boards."""

from __future__ import annotations

import math

import numpy as np
import pytest

from benchmarks.coverage import Case, draw
from evaluation.measures.comparison import ALPHA, compare_fits, least_p
from evaluation.measures.components import nested, split
from evaluation.measures.power import (
    PairedVariance,
    Power,
    actions_needed,
    detectable,
    measure_power,
    paired_variance,
    power,
)
from tests.helpers.fits import IMAGES, make_fits


def test_calcium_in_turnip_leaves() -> None:
    # Snedecor and Cochran, Statistical Methods: four plants, three leaves each, two determinations;
    # components 0.0066, 0.1610 and 0.3652.
    values = np.array(
        [3.28, 3.09, 3.52, 3.48, 2.88, 2.80, 2.46, 2.44, 1.87, 1.92, 2.19, 2.19,
         2.77, 2.66, 3.74, 3.44, 2.55, 2.55, 3.78, 3.87, 4.07, 4.12, 3.31, 3.31]
    ).reshape(12, 2)  # fmt: skip
    means = values.mean(1)
    inside = float(((values - means[:, None]) ** 2).sum())
    leaves = np.arange(12)
    found = nested(means, np.full(12, 2.0), inside, [leaves // 3, leaves])
    assert found == pytest.approx([0.0066, 0.3652, 0.1610], abs=1e-4)


def test_components_of_unequal_numbers_are_right_on_average() -> None:
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(30), rng.integers(1, 6, 30))
    sizes = rng.integers(1, 9, len(groups)).astype(float)
    found = []
    for _ in range(400):
        means = 2 * rng.standard_normal(30)[groups] + 1.5 * rng.standard_normal(len(groups))
        means = means + rng.standard_normal(len(groups)) / np.sqrt(sizes)
        inside = float(rng.chisquare(sizes.sum() - len(sizes)))
        found.append(nested(means, sizes, inside, [groups, np.arange(len(groups))]))
    assert np.mean(found, axis=0) == pytest.approx([1, 4, 2.25], rel=0.1)


def test_seeds_split_the_variance() -> None:
    rng = np.random.default_rng(1)
    right, _ = draw(rng, Case(0.5, 1.0, 0.5), 400, 3, boards=1)
    found = split(make_fits(right[0]), "total")
    # A logit's standard deviation counts a quarter at 0.5, somewhat less as it grows.
    assert found.action is not None and found.fit is not None and not found.confounded
    assert math.sqrt(found.action) == pytest.approx(0.20, abs=0.02)
    assert math.sqrt(found.fit) == pytest.approx(0.10, abs=0.02)
    assert found.image == pytest.approx(0.20, abs=0.02) and found.exemplars is None


def test_what_one_fit_an_action_cannot_tell() -> None:
    rng = np.random.default_rng(2)
    right, _ = draw(rng, Case(0.5, 1.0, 0.5), 8, 1, boards=1)
    found = split(make_fits(right[0]), "total")
    assert found.fit is None and found.confounded == "action and fit"
    alone = split(make_fits(right[0][:1]), "total")
    assert alone.action is None


def test_exemplars_are_split_off_where_both_vary() -> None:
    rng = np.random.default_rng(3)
    logits = rng.standard_normal((300, 1, 1)) + rng.standard_normal((300, 3, 1))
    shares = 1 / (1 + np.exp(-(logits + 0.3 * rng.standard_normal((300, 3, 2)))))
    right = rng.binomial(IMAGES, shares)
    both = split(make_fits(right.reshape(300, 6), draws=3), "total")
    assert both.exemplars is not None and both.fit is not None and both.action is not None
    assert both.exemplars > 5 * both.fit and both.action == pytest.approx(both.exemplars, rel=0.3)
    one = split(make_fits(right[:, :, 0], draws=3), "total")
    assert one.exemplars is None and one.confounded == "exemplars and fit"
    assert one.fit == pytest.approx(both.exemplars + both.fit, rel=0.3)


def test_power_as_published() -> None:
    # Cohen (1988), exercise 2.5: d 0.2, 60 pairs, 10% two-sided; and the manual of G*Power 3,
    # matched pairs: dz 0.421637, 50 pairs, 5% two-sided.
    assert power(0.2, 1 / 60, 59, 0.10) == pytest.approx(0.4555818, abs=1e-6)
    assert power(0.421637, 1 / 50, 49) == pytest.approx(0.832114, abs=1e-5)
    assert power(detectable(1 / 50, 49), 1 / 50, 49) == pytest.approx(0.8)
    assert detectable(0.0, 7) == 0


def test_what_does_not_vary_detects_nothing_and_not_everything() -> None:
    """All right and all wrong: a smallest difference of 0 points would look fine."""
    all_right, all_wrong = (make_fits(np.full((8, 2), n)) for n in (IMAGES, 0))
    found = measure_power([all_right, all_wrong])
    assert found is not None and found.constant
    for of in ("actions at large", "these actions"):
        assert found.detectable(8, 2, of) is None and found.smallest(of) is None
    assert found.needed(0.05, 1) is None
    assert all("whose differences do not vary" in line for line in found.lines)


def test_the_protocols_figures() -> None:
    # A median standard deviation of paired differences of 26 points: 8 actions detect 30, 48 10.7.
    found = [100 * detectable(0.26**2 / n, n - 1) for n in (8, 48)]
    assert found == pytest.approx([30.1, 10.7], abs=0.05)
    assert actions_needed(0.107, PairedVariance(0.26**2, None), 1) in (48, 49)
    assert actions_needed(0.107, PairedVariance(0.26**2, None), 2) is None, "cannot be told"
    assert actions_needed(1e-4, PairedVariance(0.26**2, None), 1) is None, "out of reach"


def test_too_few_units_for_a_small_p_detect_nothing() -> None:
    """Eight actions in a family of seven: 2/256 > 0.05/7, whatever Student's t would detect."""
    found = Power((PairedVariance(0.26**2, 0.05),), actions=8, seeds=1, methods=8)
    assert found.detectable(8, 1, "actions at large") == pytest.approx(0.301, abs=5e-4)
    assert found.detectable(8, 1, "actions at large", ALPHA / 7) is None
    assert found.detectable(9, 1, "actions at large", ALPHA / 7) is not None
    assert found.detectable(5, 1, "actions at large") is None
    alone, family = found.smallest("actions at large") or (None, 0.0)
    assert alone is not None and family is None
    assert found.lines[0].endswith("30 points, none, however large, in a family of 7.")
    # The gap could not be told with eight actions, however wide it is.
    assert found.needed(5.0, 1) == 6 and found.needed(5.0, 1, ALPHA / 7) == 9
    # Two actions with two fits each have four pairs of fits: no p below 2/16.
    assert found.detectable(2, 2, "these actions") is None
    assert found.detectable(2, 3, "these actions") is not None


def test_the_smallest_p_is_that_of_the_clearest_comparison() -> None:
    for actions in (6, 8, 20):
        all_right, all_wrong = (make_fits(np.full((actions, 1), n)) for n in (IMAGES, 0))
        best = compare_fits(all_right, all_wrong)
        assert best.p_value == pytest.approx(least_p(actions, "actions at large"))


@pytest.mark.parametrize("first_seed", [0, 50])
def test_paired_variance_finds_what_made_the_fits(first_seed: int) -> None:
    """Whether the two methods have the same seeds or others."""
    rng = np.random.default_rng(4)
    right, _ = draw(rng, Case(0.5, 0.5, 0.5), 600, 4, boards=2)
    found = paired_variance(
        make_fits(right[0]), make_fits(right[1], first_seed=first_seed), "total"
    )
    assert found is not None and found.fit is not None and found.action is not None
    whole = np.diff(right / IMAGES, axis=0)[0]
    assert found.total == pytest.approx(float(whole.var()), rel=0.1)
    mean = whole.mean(1).var()
    assert found.of_mean(600, 4, "actions at large") == pytest.approx(mean / 600, rel=0.1)
    assert found.of_mean(600, 4, "these actions") == pytest.approx(found.fit / 2400)


def test_more_actions_beat_more_seeds() -> None:
    paired = PairedVariance(0.04, 0.02)
    wide, deep = (paired.of_mean(a, r, "actions at large") for a, r in ((24, 1), (8, 3)))
    assert wide is not None and deep is not None and wide < deep
