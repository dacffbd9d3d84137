"""Failures counted by hand; copies told from what is near by chance."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from actionbench.runs.store import Store
from actionbench.suite.suite import get_suite
from evaluation.measures.accuracy import overall
from evaluation.measures.failures import (
    copy_threshold,
    exemplar_distances,
    failures,
    find_copies,
    nearest_distance,
    nearest_exemplars,
    signature,
)
from tests.helpers.verdicts import make_verdicts, save_run

DEV = "puppets-dev"


def flat(*colour: int) -> Image.Image:
    return Image.new("RGB", (40, 40), colour)


def test_failures_by_hand() -> None:
    # In every action: subjects 0 and 1 without the action, 2 to 5 with the action but as somebody
    # else, of whom 2 to 4 as nobody that the judge knows; the rest right.
    verdicts = make_verdicts(lambda a, s, i: (s > 1, not 2 <= s <= 5))
    fifth = verdicts["subject"] == verdicts["subject"].unique()[5]
    verdicts.loc[fifth, "subject_seen"] = "panda"
    copied = np.zeros(368, dtype=bool)
    copied[:3] = True
    found, shares = failures(verdicts, copied), overall(verdicts)
    assert found.exemplar_like is not None and found.copied is not None
    counts = [shares["neglect"], shares["contamination"], found.exemplar_like, found.copied]
    assert [share.count for share in counts] == [8 * 2 * 2, 8 * 4 * 2, 8 * 3 * 2, 3]
    assert {share.n for share in counts[:3]} == {368}
    assert found.copied.interval == "actions at large"


def test_what_cannot_be_told_is_none() -> None:
    verdicts = make_verdicts(lambda a, s, i: (True, False)).assign(subject_seen="")
    found = failures(verdicts, None)
    assert overall(verdicts)["contamination"].value == 1
    assert found.exemplar_like is None and found.copied is None


def test_colours_are_those_of_cie() -> None:
    assert signature(flat(255, 255, 255)) == pytest.approx(np.tile([100, 0, 0], (256, 1)), abs=1e-3)
    assert signature(flat(0, 0, 0)) == pytest.approx(np.zeros((256, 3)))
    # sRGB red in L*a*b* under D65, as in published tables.
    assert signature(flat(255, 0, 0))[0] == pytest.approx([53.24, 80.09, 67.20], abs=0.02)
    dark = signature(flat(3, 3, 3))[0]  # below the cube root's range: L* = 903.3 Y
    assert dark == pytest.approx([903.2963 * 3 / 255 / 12.92, 0, 0], abs=1e-3)


def test_distance_is_the_mean_over_cells_to_the_nearest() -> None:
    half = Image.new("RGB", (32, 32))
    half.paste((255, 255, 255), (0, 0, 32, 16))
    images = np.stack([signature(half), signature(flat(255, 255, 255))])
    exemplars = np.stack([signature(flat(0, 0, 0)), signature(flat(255, 255, 255))])
    assert nearest_distance(images, exemplars[:1]) == pytest.approx([50, 100], abs=1e-3)
    assert nearest_distance(images, exemplars) == pytest.approx([50, 0], abs=1e-3)


def test_copies_are_told_from_pictures_that_are_near_by_chance() -> None:
    suite = get_suite(DEV)
    action, other = (suite.actions[n].name for n in (1, 2))
    exemplars = [e.image.resize((64, 64)) for e in suite.tasks[action].exemplars]
    copies = np.stack([signature(image) for image in exemplars])
    near = nearest_exemplars(copies, [action] * 10, suite)
    assert find_copies(near, 10.0).all() and not find_copies(near, 0.0).any()
    wrong = nearest_exemplars(copies, [other] * 10, suite)
    assert not find_copies(wrong, 100.0).any(), "nearer to an exemplar of another action"


def test_the_threshold_is_what_one_in_a_hundred_without_exemplars_falls_below() -> None:
    own = np.random.default_rng(0).permutation(1000).astype(float)
    unlearned = np.stack([own, np.full(1000, np.inf)], axis=1)
    threshold = copy_threshold([unlearned[:400], unlearned[400:]])
    assert threshold is not None and find_copies(unlearned, threshold).sum() == 10
    assert copy_threshold([unlearned[:99]]) is None and copy_threshold([]) is None


def save_copies(runs: Path, *, honest: int) -> tuple[str, pd.DataFrame]:
    """A run on two development actions of which all images but the first are exemplars."""
    suite = get_suite(DEV)
    names = [action.name for action in suite.actions[:2]]
    verdicts = make_verdicts(lambda a, s, i: (True, True), actions=2, subjects=2)
    verdicts["action"] = verdicts["action"].replace(dict(zip(verdicts["action"].unique(), names)))
    verdicts = verdicts.assign(suite=DEV, protocol=f"{DEV}-v1")
    run_id = save_run(runs, verdicts, suite_fingerprint=suite.fingerprint)
    for row in verdicts.itertuples():
        path = runs / str(row.image)
        path.parent.mkdir(parents=True, exist_ok=True)
        exemplar = suite.tasks[str(row.action)].exemplars[3].image.resize((64, 64))
        (flat(10, 200, 10) if row.Index < honest else exemplar).save(path)
    return run_id, verdicts


def test_distances_are_measured_once_and_kept(tmp_path: Path) -> None:
    run_id, verdicts = save_copies(tmp_path, honest=3)
    store = Store(tmp_path)
    record = store.read_record(run_id)
    found = exemplar_distances(store, record, verdicts)
    assert found is not None
    assert find_copies(found, 5.0).tolist() == [False] * 3 + [True] * 5
    for path in tmp_path.rglob("*.png"):
        path.unlink()
    again = exemplar_distances(store, record, verdicts)
    assert again is not None and again == pytest.approx(found, abs=1e-3), "read, not measured again"
    assert exemplar_distances(store, replace(record, finished="later"), verdicts) is None


def test_other_exemplars_than_the_runs_own_are_not_compared_with(tmp_path: Path) -> None:
    run_id, verdicts = save_copies(tmp_path, honest=0)
    record = Store(tmp_path).read_record(run_id)
    for change in ({"suite_fingerprint": "old"}, {"suite": "gone"}):
        assert exemplar_distances(Store(tmp_path), replace(record, **change), verdicts) is None


def test_only_people_count_as_copies() -> None:
    verdicts = make_verdicts(lambda a, s, i: (True, True))
    found = failures(verdicts, np.ones(len(verdicts), dtype=bool)).copied
    animals = int((verdicts["category"] == "animal").sum())
    assert found is not None and animals and found.count == found.n == 368 - animals
