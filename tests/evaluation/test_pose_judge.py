"""The pose judge on drawings: no detector, one threshold, a reader of drawn subjects."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from actionbench.errors import UserError
from actionbench.judge import Judge
from actionbench.photos.keypoints import KeypointReader, from_coco, to_coco
from actionbench.puppets.training.subject_reader import (
    SubjectReader,
    SubjectRecipe,
    build_network,
    save_subject_reader,
)
from actionbench.registry import make_judge
from actionbench.suite.items import NONE, Action, ActionTask, Item, Subject, paper_subjects
from actionbench.suite.suite import Suite, get_suite
from evaluation.judges.pose import Bodies, body_found, directions
from tests.helpers.tiny_judges import tiny_vitpose

SUITE = get_suite("puppets")
BODY = SUITE.tasks["salute"].exemplars[0].keypoints
assert BODY is not None


def tiny_subjects(folder: Path, seed: int = 0, names: tuple[str, ...] = ()) -> Path:
    """A reader of subjects with random weights."""
    recipe = SubjectRecipe(widths=(4, 8), hidden=8)
    subjects = [*(names or [s.name for s in paper_subjects()]), NONE]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = build_network(len(subjects), recipe.widths, recipe.hidden)
    return save_subject_reader(network, subjects, recipe, folder)


@pytest.fixture(scope="module")
def readers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("readers")
    return {
        "pose_model": tiny_vitpose(folder / "keypoints"),
        "subjects": tiny_subjects(folder / "subjects"),
    }


def build(readers: Mapping[str, Path], *more: str, suite: Suite = SUITE) -> Judge:
    words = [f"{name}={folder}" for name, folder in readers.items()]
    own = ["detector=none", "measure=directions", "action_threshold=0.9", "min_visible=0"]
    return make_judge("pose", suite, [*own, *words, *more])


def shown(suite: Suite) -> tuple[list[Image.Image], list[Item]]:
    """An exemplar of each action, asked for with each of the actions."""
    images = [suite.tasks[action.name].exemplars[0].image for action in suite.actions]
    pairs = [(image, action) for image in images for action in suite.actions]
    subjects = suite.subjects
    items = [Item(action, subjects[n % 23], 0) for n, (_, action) in enumerate(pairs)]
    return [image for image, _ in pairs], items


# --- how alike bodies are -----------------------------------------------------------------------


def test_directions_are_those_of_the_pose_alone() -> None:
    moved = BODY * [0.5, 0.5, 1] + [0.2, 0.1, 0]
    mirrored = BODY * [-1, 1, 1] + [1, 0, 0]
    neck = BODY.copy()
    neck[1, 1] -= 0.05  # where a neck ends is a matter of taste
    found = directions(BODY[None], np.stack([BODY, moved, mirrored, neck]))[0]
    assert found[[0, 1, 3]] == pytest.approx(1) and found[2] < 0.9
    half = BODY.copy()
    half[8:14, 2] = 0  # no legs, hence no torso: four of nine limbs are too little
    assert directions(half[None], BODY[None])[0, 0] == 0 and not body_found(half)
    half[8:11, 2] = 1
    assert directions(half[None], BODY[None])[0, 0] == pytest.approx(1) and body_found(half)
    assert not body_found(None)


def test_directions_by_hand() -> None:
    """One of nine limbs is at a right angle; one that points at the viewer counts for little."""
    one = np.zeros((18, 3))
    one[:, 2] = 1
    places = {2: (4, 2), 3: (4, 3.5), 4: (4, 4.9), 5: (6, 2), 6: (6, 3.5), 7: (6, 4.9),
              8: (4.5, 4.8), 9: (4.5, 6.65), 10: (4.5, 8.5),
              11: (5.5, 4.8), 12: (5.5, 6.65), 13: (5.5, 8.5)}  # fmt: skip
    for point, place in places.items():
        one[point, :2] = np.array(place) / 10
    two = one.copy()
    two[4, :2] = (0.4 - 0.14, 0.35)
    assert directions(one[None], two[None])[0, 0] == pytest.approx(8 / 9, abs=1e-3)
    two[4, :2] = (0.4 - 0.001, 0.35)  # hardly any length in the picture
    assert directions(one[None], two[None])[0, 0] > 0.99


# --- one threshold ------------------------------------------------------------------------------


def test_an_action_more_changes_no_other_verdict(readers) -> None:
    few = replace(SUITE, actions=SUITE.actions[:3])
    images, items = shown(few)
    images = [image.copy() for image in images]  # read, for the judges know their exemplars
    middle = np.median([v.action_score for v in build(readers, suite=few).judge(images, items)])
    judges = [build(readers, f"action_threshold={middle}", suite=suite) for suite in (few, SUITE)]
    one, two = (judge.judge(images, items) for judge in judges)
    for a, b in zip(one, two, strict=True):
        assert (a.action_correct, a.action_score) == (b.action_correct, b.action_score)
    assert 0 < sum(v.action_correct for v in one) < len(one)
    assert judges[0].fingerprint != judges[1].fingerprint


def test_an_exemplar_shows_its_action_and_no_other(readers) -> None:
    few = replace(SUITE, actions=SUITE.actions[:3])
    images, items = shown(few)
    verdicts = build(readers, "action_threshold=0.98", suite=few).judge(images, items)
    for number, (verdict, item) in enumerate(zip(verdicts, items, strict=True)):
        own = few.actions[number // 3]
        assert verdict.action_correct == (item.action == own)
        assert verdict.action_seen == own.name


def test_two_actions_may_be_seen_above_one_threshold(readers) -> None:
    few = replace(SUITE, actions=SUITE.actions[:3])
    images, items = shown(few)
    all_seen = build(readers, "action_threshold=-1", suite=few).judge(images, items)
    assert all(v.action_correct for v in all_seen)
    assert [v.action_seen for v in all_seen] == [few.actions[n // 3].name for n in range(9)]
    none_seen = build(readers, "action_threshold=1").judge([Image.new("RGB", (64, 64))], items[:1])
    assert none_seen[0].action_seen == NONE and not none_seen[0].action_correct


def test_without_a_threshold_actions_are_parted_by_their_exemplars(readers) -> None:
    judge = build(readers, "action_threshold=none")
    images, items = shown(SUITE)
    verdicts = judge.judge(images, items)
    for verdict, item in zip(verdicts, items, strict=True):
        assert verdict.action_correct == (verdict.action_seen == item.action.name)
    assert len(set(judge.thresholds)) > 1
    assert set(build(readers).thresholds) == {0.9}


def test_the_fingerprint_tells_all_that_decides_a_verdict(readers, tmp_path: Path) -> None:
    first = build(readers)
    others = [
        build(readers, word)
        for word in ("action_threshold=0.8", "action_threshold=none", "measure=vectors",
                     "min_visible=0.1", f"subjects={tiny_subjects(tmp_path / 's', seed=1)}",
                     f"pose_model={tiny_vitpose(tmp_path / 'k', seed=1)}")
    ]  # fmt: skip
    found = [first.fingerprint, *(judge.fingerprint for judge in others)]
    assert len(set(found)) == len(found)
    # Without a detector its settings decide nothing, and nothing is fetched.
    assert build(readers, "min_score=0.9", "whole_image=false").fingerprint == found[0]
    assert first.downloads == ()


def test_the_subject_is_the_drawn_readers(readers) -> None:
    images, items = shown(replace(SUITE, actions=SUITE.actions[:2]))
    reader = SubjectReader.load(readers["subjects"])
    for verdict, item, found in zip(
        build(readers).judge(images, items), items, reader.read(images), strict=True
    ):
        assert verdict.subject_seen == reader.subjects[int(found.argmax())]
        assert verdict.subject_correct == (verdict.subject_seen == item.subject.name)
        assert verdict.subject_score == pytest.approx(
            found[reader.subjects.index(item.subject.name)]
        )


# --- bad input ----------------------------------------------------------------------------------


def test_an_action_without_keypoints_is_named(readers) -> None:
    task = SUITE.tasks["pray"]
    assert task.exemplars[0].keypoints is not None
    hidden = tuple(replace(e, keypoints=np.array(e.keypoints) * [1, 1, 0]) for e in task.exemplars)
    suite = replace(SUITE)
    suite.__dict__["tasks"] = {**SUITE.tasks, "pray": replace(task, exemplars=hidden)}
    with pytest.raises(UserError, match=r"no exemplar of 'pray' shows a body's keypoints"):
        Bodies.of(suite, KeypointReader())
    assert isinstance(suite.tasks["pray"], ActionTask)
    strange = Item(Action("juggle", "juggles"), SUITE.subjects[0], 0)
    with pytest.raises(UserError, match="puppets has no exemplars of 'juggle'"):
        build(readers).judge([Image.new("RGB", (64, 64))], [strange])


def test_readers_that_do_not_suit_are_told(readers, tmp_path: Path) -> None:
    item = [Item(SUITE.actions[0], SUITE.subjects[0], 0)]
    image = [Image.new("RGB", (64, 64))]
    with pytest.raises(UserError, match=r"is no reader of subjects: it lacks config\.json"):
        _ = build(readers, f"subjects={tmp_path}").fingerprint
    with pytest.raises(UserError, match="holds no reader of subjects"):
        build(readers, f"subjects={tmp_path}").judge(image, item)
    few = tiny_subjects(tmp_path / "few", names=("Batman",))
    with pytest.raises(UserError, match="does not know boy"):
        suite = replace(SUITE, subjects=(Subject("boy", "human", "A boy"),))
        build(readers, f"subjects={few}", suite=suite).judge(image, item)


# --- the whole picture as the box ---------------------------------------------------------------


def test_without_a_detector_the_whole_picture_is_read_as_it_is(tmp_path: Path) -> None:
    reader = KeypointReader(pose_model=str(tiny_vitpose(tmp_path)), detector=None, min_visible=0)
    processor, network = reader._pose
    asked: list[torch.Tensor] = []
    network.register_forward_pre_hook(
        lambda _, args, kwargs: asked.append(kwargs["pixel_values"]), with_kwargs=True
    )
    rng = np.random.default_rng(0)
    picture = Image.fromarray(rng.integers(0, 256, (64, 48, 3), dtype=np.uint8))
    (points,) = reader.find([picture])
    assert points is not None and points.shape == (18, 3)
    mean, spread = np.array(processor.image_mean), np.array(processor.image_std)
    seen = asked[0][0].permute(1, 2, 0).numpy() * spread + mean
    # A box of another shape than a square is sampled anew, by less than a pixel.
    assert np.abs(seen[:, :-1] * 255 - np.asarray(picture)[:, :-1]).mean() < 12
    large = SUITE.tasks["cheer"].exemplars[0].image
    one, two = reader.find([large, large.resize((48, 64), Image.Resampling.BILINEAR)])
    assert one is not None and one == pytest.approx(two)


def test_cocos_order_and_openposes_are_each_others_inverse() -> None:
    coco = np.random.default_rng(0).uniform(0.1, 0.9, (17, 3))
    there = from_coco(coco[:, :2], coco[:, 2], 0.0)
    assert to_coco(there) == pytest.approx(coco, abs=1e-6)
    assert to_coco(np.stack([there, there])).shape == (2, 17, 3)
