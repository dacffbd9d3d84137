"""The first world's puppets: drawings, words, and the packaged dataset."""

from __future__ import annotations

import shutil
from pathlib import Path

import datasets
import numpy as np
import pytest

from actionbench.errors import UserError
from actionbench.files.atomic import own_folder, replacing
from actionbench.puppets.corpus import draw_many, pose_labels
from actionbench.puppets.dataset import EXEMPLARS, build_dataset, check_dataset, exemplar_scenes
from actionbench.puppets.looks import SUBJECTS
from actionbench.puppets.pose import ACTIONS, KNOWN, action_pose, free_pose, loose_pose, mirrored
from actionbench.puppets.scene import Scene, draw
from actionbench.suite.items import SLOT, paper_actions, paper_subjects
from actionbench.suite.shipped import DATASET
from actionbench.suite.skeleton import COLORS, draw_skeleton
from actionbench.suite.suite import get_suite

WRISTS, NECK, NOSE, ANKLES = (4, 7), 1, 0, (10, 13)


def scene(action: str, subject: str = "woman", seed: int = 3) -> Scene:
    rng = np.random.default_rng(seed)
    return Scene("A woman", action, "", SUBJECTS[subject], action_pose(action, rng), "park", seed)


def test_every_subject_and_action_of_the_lists_can_be_drawn() -> None:
    assert set(SUBJECTS) == {s.name for s in paper_subjects()}
    assert {a.name for a in paper_actions()} < set(ACTIONS)
    pictures = [draw(scene("salute", name), 64)[0].tobytes() for name in SUBJECTS]
    assert len(set(pictures)) == len(SUBJECTS)


def test_a_drawing_depends_on_its_seed_alone() -> None:
    first, points = draw(scene("cheer"), 64)
    again, same = draw(scene("cheer"), 64)
    other, _ = draw(scene("cheer", seed=4), 64)
    assert first.tobytes() == again.tobytes() != other.tobytes()
    assert np.array_equal(points, same)


def test_left_and_right_matter() -> None:
    for action in ("salute", "gesture", "point"):
        for seed in range(5):
            points = draw(scene(action, seed=seed), 64)[1]
            right, left = points[WRISTS[0]], points[WRISTS[1]]
            assert right[0] < points[NECK, 0] + 0.03, action  # its right is the picture's left
            assert right[1] < left[1], f"{action}: the right hand is the raised one"


def test_poses_are_what_their_names_say() -> None:
    up = draw(scene("cheer"), 64)[1]
    assert all(up[w, 1] < up[NOSE, 1] for w in WRISTS)
    turned = draw(scene("handstand"), 64)[1]
    assert turned[ANKLES[0], 1] < turned[NECK, 1] < turned[WRISTS[0], 1]
    praying = draw(scene("pray"), 64)[1]
    assert abs(praying[WRISTS[0], 0] - praying[WRISTS[1], 0]) < 0.08


def test_mirroring_twice_gives_the_pose_back() -> None:
    pose = action_pose("point", np.random.default_rng(0))
    assert mirrored(mirrored(pose)) == pose
    assert mirrored(pose).left_arm.upper == -pose.right_arm.upper


def test_loose_poses_keep_away_from_the_action() -> None:
    def far(pose, base) -> float:
        limbs = ("right_arm", "left_arm", "right_leg", "left_leg")
        return max(abs(getattr(pose, n).upper - getattr(base, n).upper) for n in limbs)

    rng = np.random.default_rng(1)
    base = ACTIONS["cheer"][0]
    exact = np.median([far(action_pose("cheer", rng), base) for _ in range(60)])
    loose = np.median([far(loose_pose("cheer", rng), base) for _ in range(60)])
    assert loose > 3 * exact


def test_free_poses_are_told_limb_by_limb() -> None:
    rng = np.random.default_rng(2)
    for _ in range(20):
        words, pose = free_pose(rng)
        raised = "right arm up" in words or "right arm high" in words
        assert raised == (abs(pose.right_arm.upper) > 108)


def test_exemplars_are_strangers_in_ten_places() -> None:
    for number, action in enumerate(paper_actions()):
        scenes = exemplar_scenes(action, number)
        assert len({s.backdrop for s in scenes}) == len(scenes) == EXEMPLARS
        assert all(s.look not in SUBJECTS.values() for s in scenes)
        assert all(s.template == s.caption.replace(action.description, SLOT) for s in scenes)


def test_the_shipped_dataset_is_what_this_code_draws() -> None:
    assert len(check_dataset(DATASET)) == 16


def test_the_dataset_loads_with_the_datasets_library(tmp_path: Path) -> None:
    rows = datasets.load_dataset(str(DATASET), "exemplars", split="train", cache_dir=tmp_path)
    assert len(rows) == 80
    assert rows[0]["image"].size == rows[0]["skeleton"].size == (512, 512)
    assert SLOT in rows[0]["template"]
    assert rows[0]["description"] in rows[0]["caption"]
    subjects = datasets.load_dataset(str(DATASET), "subjects", split="test", cache_dir=tmp_path)
    assert [s["name"] for s in subjects] == [s.name for s in paper_subjects()]
    dev = datasets.load_dataset(str(DATASET), "dev", split="train", cache_dir=tmp_path)
    assert not set(dev["action"]) & set(rows["action"])


def test_a_changed_dataset_is_told(tmp_path: Path) -> None:
    for name in ("exemplars", "dev", "subjects"):
        (tmp_path / f"{name}.parquet").write_bytes((DATASET / "subjects.parquet").read_bytes())
    with pytest.raises(UserError, match="is not what this version makes"):
        check_dataset(tmp_path)


def test_a_damaged_dataset_is_told_in_one_line(tmp_path: Path) -> None:
    folder = tmp_path / "dataset"
    shutil.copytree(DATASET, folder)
    whole = (folder / "dev.parquet").read_bytes()
    (folder / "dev.parquet").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match=r"dev\.parquet is damaged .*data build"):
        check_dataset(folder)


def test_nothing_but_our_own_folders_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("five years")
    with pytest.raises(UserError, match="holds other files"):
        build_dataset(tmp_path)
    with pytest.raises(UserError, match="is a file"):
        own_folder(tmp_path / "thesis.txt", "mark")
    assert (tmp_path / "thesis.txt").read_text() == "five years"


def test_a_folder_is_swapped_in_whole_or_not_at_all(tmp_path: Path) -> None:
    place = tmp_path / "place"
    place.mkdir()
    (place / "old").touch()
    with pytest.raises(KeyboardInterrupt), replacing(place) as folder:
        folder.mkdir()
        raise KeyboardInterrupt
    assert (place / "old").exists()
    with replacing(place) as folder:
        folder.mkdir()
        (folder / "new").touch()
    assert [p.name for p in place.iterdir()] == ["new"]


def test_suites_read_their_exemplars() -> None:
    suite = get_suite("puppets")
    assert [len(t.exemplars) for t in suite.tasks.values()] == [EXEMPLARS] * 8
    assert suite.fingerprint != get_suite("puppets-dev").fingerprint
    assert next(s.name for s in suite.pick_subjects(["animal"])) == "dog"
    with pytest.raises(UserError, match="did you mean salute"):
        suite.pick_actions(["salut"])


def test_skeletons_are_drawn_in_openpose_colours() -> None:
    points = np.zeros((18, 3), np.float32)
    points[2], points[3] = (0.25, 0.5, 1), (0.75, 0.5, 1)
    picture = np.asarray(draw_skeleton(points, 512))
    assert tuple(picture[256, 128]) == COLORS[2]
    assert tuple(picture[256, 384]) == COLORS[3]
    assert tuple(picture[256, 256]) == tuple(round(0.6 * c) for c in COLORS[2])
    assert picture[:200].max() == 0


def test_corpora_repeat_and_label_what_they_show() -> None:
    images, keypoints, rows = draw_many("pretraining", (7, 0), 40)
    again = draw_many("pretraining", (7, 0), 40)
    assert np.array_equal(images, again.images) and np.array_equal(keypoints, again.keypoints)
    known = {name: words for name, (words, _) in KNOWN.items()}
    for row in rows:
        assert row["pose"] in pose_labels()
        said = [name for name, words in known.items() if f" {words}" in row["caption"]]
        assert not said or said == [row["pose"]]
    assert not any("{}" in row["caption"] for row in rows)
