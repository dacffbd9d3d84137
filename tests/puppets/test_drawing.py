"""The drawn world: who is in it, how they stand, and whether what is said is what is seen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from actionbench.puppets.drawing.backdrop import BACKDROPS
from actionbench.puppets.drawing.looks import (
    ANIMALS,
    OTHERS,
    SUBJECTS,
    Look,
    random_person,
    varied,
)
from actionbench.puppets.drawing.pose import (
    ACTIONS,
    DEVELOPMENT,
    EITHER_SIDE,
    KNOWN,
    VERBS,
    Pose,
    action_pose,
    difference,
    free_pose,
    known_pose,
    loose_pose,
    mirrored,
)
from actionbench.puppets.drawing.quadruped import STANCES, Stance, four_legged
from actionbench.puppets.drawing.scene import Scene, draw
from actionbench.puppets.drawing.sheets import write_animal_sheet, write_sheet
from actionbench.suite.items import SLOT, paper_actions, paper_subjects

NOSE, NECK, WRISTS, KNEES, ANKLES = 0, 1, (4, 7), (9, 12), (10, 13)
CAST = {**SUBJECTS, **{name: other.look for name, other in OTHERS.items()}}
BEASTS = [name for name, look in CAST.items() if look.beast]


def scene(look: Look, pose: Pose | Stance, backdrop: str = "plain-green", seed: int = 3) -> Scene:
    return Scene("A somebody", "does it", "in a park", look, pose, backdrop, seed)


def pixels(item: Scene) -> np.ndarray:
    return np.asarray(draw(item, 64)[0], dtype=np.int16)


def test_the_cast_has_the_subjects_and_many_others() -> None:
    assert set(SUBJECTS) == {s.name for s in paper_subjects()}
    assert len(OTHERS) >= 60
    assert not set(OTHERS) & set(SUBJECTS)
    assert set(ANIMALS) == {name for name, look in SUBJECTS.items() if look.beast}
    assert sum(bool(other.look.beast) for other in OTHERS.values()) >= 20
    assert OTHERS["astronaut"].phrase == "An astronaut"
    assert OTHERS["Robin Hood"].phrase == "Robin Hood"


@pytest.mark.parametrize("four_legs", [False, True])
def test_everybody_looks_different(four_legs: bool) -> None:
    names = BEASTS if four_legs else list(CAST)
    pose: Pose | Stance = Stance() if four_legs else Pose()
    pictures = {name: pixels(scene(CAST[name], pose)) for name in names}
    for a, b in combinations(names, 2):
        changed = (np.abs(pictures[a] - pictures[b]) > 40).any(axis=2).sum()
        assert changed > 120, f"{a} and {b} share all but {changed} pixels"


def test_a_drawing_depends_on_its_seed_alone() -> None:
    for pose in (Stance("walking"), known_pose("dance", np.random.default_rng(1))):
        first, points = draw(scene(CAST["fox"], pose, "park"), 64)
        again, same = draw(scene(CAST["fox"], pose, "park"), 64)
        other, _ = draw(scene(CAST["fox"], pose, "park", seed=4), 64)
        assert first.tobytes() == again.tobytes() != other.tobytes()
        assert np.array_equal(points, same)


@pytest.mark.parametrize(
    "sample",
    [
        lambda rng: action_pose("salute", rng),
        lambda rng: known_pose("throw", rng),
        lambda rng: loose_pose("squat", rng),
        lambda rng: four_legged("running", rng),
        free_pose,
        random_person,
        lambda rng: varied(CAST["lion"], rng),
    ],
)
def test_a_sample_depends_on_its_generator_alone(
    sample: Callable[[np.random.Generator], object],
) -> None:
    first, again, other = (sample(np.random.default_rng(seed)) for seed in (5, 5, 6))
    assert first == again != other


def test_keypoints_lie_in_the_picture_and_on_the_body() -> None:
    rng = np.random.default_rng(0)
    empty = {}
    for name in ("plain-white", "plain-green"):
        base = Scene("", "", "", Look(), Pose(), name, 3)
        wall, floor = draw(base, 64)[0].getpixel((1, 1)), draw(base, 64)[0].getpixel((1, 62))
        empty[name] = np.array([wall, floor], dtype=np.float32)
    for name in BEASTS:
        for stance in STANCES:
            place = "plain-green"
            image, points = draw(scene(CAST[name], four_legged(stance, rng), place), 64)
            assert points.shape == (18, 3) and points.dtype == np.float32
            assert (points[:14, 2] == 1).all(), f"{name} {stance}: a joint is outside"
            grid = np.asarray(image, dtype=np.float32)
            for joint in (NECK, *WRISTS, *ANKLES):
                x, y = (int(v * 64) for v in points[joint, :2])
                away = np.abs(grid[y, x] - empty[place]).max(axis=1).min()
                assert away > 12, f"{name} {stance}: joint {joint} lies on the background"


def test_people_stay_in_the_picture() -> None:
    rng = np.random.default_rng(0)
    poses = [known_pose(name, rng) for name in KNOWN] + [action_pose(name, rng) for name in ACTIONS]
    poses += [free_pose(rng)[1] for _ in range(20)]
    for pose in poses:
        points = draw(scene(random_person(rng).look, pose), 64)[1]
        assert (points[1:14, 2] == 1).all()


@pytest.mark.parametrize("name", BEASTS)
def test_animals_stand_on_four_legs(name: str) -> None:
    for facing in (1, -1):
        points = draw(scene(CAST[name], Stance(facing=facing)), 64)[1]
        feet = points[[*WRISTS, *ANKLES]]
        assert np.ptp(feet[:, 1]) < 0.03, "all four feet are on the ground"
        ahead = facing * (points[list(WRISTS), 0].mean() - points[list(ANKLES), 0].mean())
        assert ahead > 0.12, "the front legs are in front"
        assert facing * (points[NOSE, 0] - points[list(ANKLES), 0].mean()) > 0.2
        # Its right side is seen when it faces the picture's right.
        assert points[14, 2] == 1 if facing == 1 else points[15, 2] == 1


def test_stances_differ_and_have_words_of_their_own() -> None:
    words = [word for stance in STANCES.values() for word in stance]
    assert len(set(words)) == len(words)
    actions = {a.description for a in paper_actions()} | set(DEVELOPMENT.values())
    assert not actions & set(words)
    pictures = {name: pixels(scene(CAST["dog"], Stance(name))) for name in STANCES}
    for a, b in combinations(STANCES, 2):
        changed = np.abs(pictures[a] - pictures[b]).max(axis=2) > 40
        assert changed.sum() > 100, (a, b)
    lying = draw(scene(CAST["dog"], Stance("lying")), 64)[1]
    rearing = draw(scene(CAST["dog"], Stance("rearing")), 64)[1]
    assert lying[NECK, 1] > 0.7 > rearing[NECK, 1]


def ways(name: str) -> list[Pose]:
    variants = ACTIONS[name] if name in ACTIONS else KNOWN[name].variants
    return [w for p in variants for w in ((p, mirrored(p)) if name in EITHER_SIDE else (p,))]


def test_poses_are_many_and_distinct() -> None:
    assert {a.name for a in paper_actions()} | set(DEVELOPMENT) == set(ACTIONS)
    assert len(DEVELOPMENT) == 12 and len(KNOWN) >= 24
    assert not set(KNOWN) & set(ACTIONS)
    assert len(set(VERBS)) >= 20 and all(v.isalpha() and v.endswith("s") for v in VERBS)
    descriptions = {a.description for a in paper_actions()} | set(DEVELOPMENT.values())
    assert not descriptions & {known.words for known in KNOWN.values()}
    for a, b in combinations([*ACTIONS, *KNOWN], 2):
        least = min(difference(x, y) for x in ways(a) for y in ways(b))
        assert least >= 28, f"{a} and {b} differ by {least:.0f} degrees at most"


def test_free_poses_are_no_actions() -> None:
    rng = np.random.default_rng(2)
    for _ in range(60):
        words, pose = free_pose(rng)
        assert words.startswith("right arm ")
        assert min(difference(pose, way) for name in ACTIONS for way in ways(name)) > 12


def test_left_and_right_matter() -> None:
    rng = np.random.default_rng(4)
    for action in ("salute", "gesture", "point", "signal"):
        assert action not in EITHER_SIDE
        for _ in range(5):
            points = draw(scene(CAST["woman"], action_pose(action, rng)), 64)[1]
            right, left = points[WRISTS[0]], points[WRISTS[1]]
            assert right[0] < points[NECK, 0] + 0.03, action  # its right is the picture's left
            assert right[1] < left[1], f"{action}: the right hand is the raised one"


def test_poses_are_what_their_names_say() -> None:
    rng = np.random.default_rng(1)

    def points(name: str) -> np.ndarray:
        pose = action_pose(name, rng) if name in ACTIONS else known_pose(name, rng)
        return draw(scene(CAST["monkey"], pose), 64)[1]

    up = points("cheer")
    assert all(up[w, 1] < up[NOSE, 1] for w in WRISTS)
    turned = points("handstand")
    assert turned[ANKLES[0], 1] < turned[NECK, 1] < turned[WRISTS[0], 1]
    kneeling = points("kneel")
    assert all(abs(kneeling[k, 1] - kneeling[a, 1]) < 0.07 for k, a in zip(KNEES, ANKLES))
    lifted = points("lift")
    assert all(lifted[w, 1] < lifted[NOSE, 1] for w in WRISTS)


def test_things_that_a_pose_needs_are_drawn() -> None:
    rng = np.random.default_rng(1)
    for name in ("sit", "lift", "lean", "aim", "throw", "push", "pull", "climb"):
        pose = action_pose(name, rng) if name in ACTIONS else known_pose(name, rng)
        bare = replace(pose, prop="none")
        item, without = scene(CAST["man"], pose), scene(CAST["man"], bare)
        assert (np.abs(pixels(item) - pixels(without)).max(axis=2) > 30).sum() > 40, name


def test_a_person_without_a_name_is_described_by_what_is_seen() -> None:
    rng = np.random.default_rng(0)
    people = [random_person(rng) for _ in range(200)]
    assert all(p.words.startswith("a person with ") and len(p.features) >= 3 for p in people)
    with_glasses = [p for p in people if "glasses" in p.features]
    assert with_glasses and all(p.look.eyewear == "glasses" for p in with_glasses)
    assert {p.look.legs for p in people} == {"long", "short", "skirt"}
    assert all(p.look not in SUBJECTS.values() for p in people)


def test_a_scene_says_who_does_what_where() -> None:
    item = scene(CAST["dog"], Stance())
    assert item.caption == "A somebody does it in a park"
    assert item.template == f"A somebody {SLOT} in a park"
    assert BACKDROPS["park"][0] == "in a park"


def test_sheets_are_written(tmp_path: Path) -> None:
    names = write_animal_sheet(tmp_path / "animals.png", labelled=False, zoom=1)
    assert sorted(names) == sorted(ANIMALS)
    write_sheet(tmp_path / "one.png", [("", scene(CAST["boy"], Pose()))], 64, 2, 1)
    assert Image.open(tmp_path / "one.png").size == (140, 140)
