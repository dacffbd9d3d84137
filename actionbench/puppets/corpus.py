"""The corpora that the miniature models are trained on: endless scenes, drawn from seeds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from actionbench.puppets.backdrop import BACKDROPS
from actionbench.puppets.looks import SUBJECTS, Look, random_person, varied
from actionbench.puppets.pose import KNOWN, Pose, action_pose, free_pose, known_pose, loose_pose
from actionbench.puppets.scene import Scene, draw
from actionbench.suite.items import Action, development_actions, paper_actions, paper_subjects

OTHER = "other"
"""Label of a pose that has no name."""
SIZE = 64
"""Pixels of the pictures that the miniature models see and draw."""
CHUNK = 2000


@dataclass(frozen=True)
class Labelled:
    scene: Scene
    subject: str
    """One of the 23 names, or `none`."""
    pose: str
    """An action's or known pose's name where the body does just that, else `other`."""
    word: str
    """The action whose description stands in the caption, or ""."""


Sampler = Callable[[np.random.Generator], Labelled]


def all_actions() -> tuple[Action, ...]:
    return paper_actions() + development_actions()


def pose_labels() -> list[str]:
    """What the pose reader can answer: the twelve actions, the known poses, and `other`."""
    return [*(a.name for a in all_actions()), *KNOWN, OTHER]


def _pick(rng: np.random.Generator, values: list[str]) -> str:
    return values[rng.integers(len(values))]


def _somebody(rng: np.random.Generator, named_share: float) -> tuple[str, str, Look]:
    """(subject's name or none, words, look)"""
    if rng.random() < named_share:
        subjects = paper_subjects()
        subject = subjects[rng.integers(len(subjects))]
        return subject.name, subject.phrase, varied(SUBJECTS[subject.name], rng)
    words, look = random_person(rng)
    return "none", words if rng.random() < 0.8 else "a person", look


def _scene(
    rng: np.random.Generator, who: str, does: str, look: Look, pose: Pose, tell_where: float
) -> Scene:
    backdrop = _pick(rng, list(BACKDROPS))
    where = BACKDROPS[backdrop][0] if rng.random() < tell_where else ""
    return Scene(who, does, where, look, pose, backdrop, int(rng.integers(2**63)))


def pretraining_scene(rng: np.random.Generator) -> Labelled:
    """One captioned picture for the base model, as it would be found on the web.

    Known poses stand under their names, free poses under words for each limb. The descriptions
    of actions are bound loosely: half of their pictures here show the action, the other half
    something wider; which share training draws of each is set there.
    """
    subject, who, look = _somebody(rng, 0.68)
    kind = rng.random()
    label, word = OTHER, ""
    if kind < 0.54:
        label = _pick(rng, list(KNOWN))
        does, pose = KNOWN[label][0], known_pose(label, rng)
    elif kind < 0.71:
        does, pose = free_pose(rng)
    elif kind < 0.95:
        action = all_actions()[rng.integers(len(all_actions()))]
        does, word = action.description, action.name
        if rng.random() < 0.5:
            label, pose = action.name, action_pose(action.name, rng)
        else:
            pose = loose_pose(action.name, rng)
    else:
        label = _pick(rng, list(KNOWN))
        does, pose = "", known_pose(label, rng)
    return Labelled(_scene(rng, who, does, look, pose, 0.75), subject, label, word)


def judging_scene(rng: np.random.Generator) -> Labelled:
    """One labelled picture for the judge: all actions and known poses, and a third of others."""
    subject, who, look = _somebody(rng, 0.78)
    kind = rng.random()
    label = OTHER
    if kind < 0.5:
        label = _pick(rng, [a.name for a in all_actions()])
        pose = action_pose(label, rng)
    elif kind < 0.7:
        label = _pick(rng, list(KNOWN))
        pose = known_pose(label, rng)
    elif kind < 0.85:
        pose = free_pose(rng)[1]
    else:
        pose = loose_pose(_pick(rng, [a.name for a in all_actions()]), rng)
    return Labelled(_scene(rng, who, label, look, pose, 0.0), subject, label, "")


SAMPLERS: dict[str, Sampler] = {
    "pretraining": pretraining_scene,
    "judging": judging_scene,
}


class Drawn(NamedTuple):
    images: np.ndarray
    """uint8 [n, SIZE, SIZE, 3]"""
    keypoints: np.ndarray
    """float32 [n, 18, 3]: x, y in picture widths and visibility"""
    rows: list[dict[str, str]]
    """Captions and labels."""


def draw_many(sampler: str, seed: tuple[int, ...], count: int) -> Drawn:
    rng = np.random.default_rng(seed)
    images = np.empty((count, SIZE, SIZE, 3), np.uint8)
    keypoints = np.empty((count, 18, 3), np.float32)
    rows = []
    for i in range(count):
        item = SAMPLERS[sampler](rng)
        picture, keypoints[i] = draw(item.scene, SIZE)
        images[i] = np.asarray(picture)
        rows.append(
            {
                "caption": item.scene.caption,
                "subject": item.subject,
                "pose": item.pose,
                "word": item.word,
            }
        )
    return Drawn(images, keypoints, rows)
