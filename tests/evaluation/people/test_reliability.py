"""Agreement between raters, against published worked figures and the `krippendorff` package."""

from __future__ import annotations

import math

import krippendorff
import numpy as np
import pandas as pd
import pytest

from evaluation.people.reliability import cohen_kappa, krippendorff_alpha, pairwise_kappa

# Krippendorff (2011), Computing Krippendorff's Alpha-Reliability, section C: four observers, twelve
# units, missing answers; nominal alpha 0.743.
WORKED = [
    [1, 2, 3, 3, 2, 1, 4, 1, 2, None, None, None],
    [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, None, 3],
    [None, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, None],
    [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, None],
]


def _frame(rows: list[list[int | None]]) -> pd.DataFrame:
    return pd.DataFrame({f"r{n}": pd.Series(row, dtype=object) for n, row in enumerate(rows)})


def test_alpha_of_the_worked_example() -> None:
    assert krippendorff_alpha(_frame(WORKED), resamples=10).value == pytest.approx(0.743, abs=5e-4)


@pytest.mark.parametrize("seed", range(5))
def test_alpha_is_the_package_s(seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 3, 60)
    data = np.where(rng.random((4, 60)) < 0.7, truth, rng.integers(0, 3, (4, 60))).astype(float)
    data[rng.random((4, 60)) < 0.4] = np.nan
    rows = [[None if math.isnan(v) else int(v) for v in row] for row in data]
    expected = krippendorff.alpha(reliability_data=data, level_of_measurement="nominal")
    found = krippendorff_alpha(_frame(rows), resamples=400)
    assert found.value == pytest.approx(expected, abs=1e-12)
    assert found.low < found.value < found.high
    assert found == krippendorff_alpha(_frame(rows), resamples=400)  # seeded


def test_alpha_s_interval_covers_what_raters_really_agree() -> None:
    """Three raters who each err in 10% of answers, 60 images: the interval covers 90% at least."""
    rng = np.random.default_rng(1)
    # Two answers agree in 0.9^2 + 0.1^2, and shares are even, so that chance is one half.
    real = 1 - (1 - (0.81 + 0.01)) / 0.5
    covered = 0
    for _ in range(100):
        truth = rng.random(60) < 0.5
        rows = [list((truth ^ (rng.random(60) < 0.1)).astype(int)) for _ in range(3)]
        alpha = krippendorff_alpha(_frame(rows), resamples=200)
        covered += alpha.low <= real <= alpha.high
    assert covered >= 88


def test_nothing_to_agree_about_is_nan() -> None:
    alone = krippendorff_alpha(_frame([[1, 1, 0], [None, None, None]]))
    assert math.isnan(alone.value) and alone.images == 0 and str(alone) == "–"
    same = krippendorff_alpha(_frame([[1, 1, 1], [1, 1, 1]]))
    assert math.isnan(same.value) and same.images == 3


def test_kappa_of_a_table_worked_by_hand() -> None:
    """20 yes/yes, 5 yes/no, 10 no/yes, 15 no/no: 0.7 observed, 0.5 by chance, kappa 0.4."""
    first = ["yes"] * 25 + ["no"] * 25
    second = ["yes"] * 20 + ["no"] * 5 + ["yes"] * 10 + ["no"] * 15
    kappa = cohen_kappa(first, second)
    assert kappa.value == pytest.approx(0.4)
    assert kappa.low < 0.4 < kappa.high
    assert kappa.images == 50


def test_kappa_of_every_two_on_what_both_answered() -> None:
    answers = pd.DataFrame(
        {
            "ann": pd.Series(["yes", "no", "yes", None], dtype=object),
            "ben": pd.Series(["yes", "no", None, "no"], dtype=object),
            "cleo": pd.Series([None, None, None, "no"], dtype=object),
        }
    )
    kappas = pairwise_kappa(answers, resamples=20)
    assert list(kappas) == [("ann", "ben"), ("ben", "cleo")]
    assert kappas["ann", "ben"].value == 1 and kappas["ann", "ben"].images == 2
    assert math.isnan(kappas["ben", "cleo"].value)
