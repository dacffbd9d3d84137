"""Fresh actions without end: poses that no corpus names, drawn from a seed.

An action is a state for each arm, the legs and the torso, with angles of its own around the
state's. Its description names the two parts that are farthest from standing at ease, in the words
of the free poses, and leaves the others to the exemplars, as descriptions of real actions do.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from actionbench.errors import UserError
from actionbench.puppets.poses import (
    ACTIONS,
    EITHER_SIDE,
    FREE_ARMS,
    FREE_LEGS,
    KNOWN,
    Joints,
    Limb,
    Pose,
    jittered,
    mirrored,
    solve,
)
from actionbench.suite.items import Action

GENERATOR = 1
"""Version of the generator: another one draws other actions from the same seed."""

APART = 22.0
"""Least distance of two actions, and of an action from every pose with a name: the root mean
square of nine bones' angles in degrees. `jittered` moves each limb of a pose by 5, one standard
deviation."""
OFFSET = 12.0
"""Degrees by which an action's limbs leave the state that describes them, at most."""
LEANS = {"leaning right": -22.0, "leaning left": 22.0}
"""Words for the torso, by the body's own sides, and its angle."""
TRIES = 5000
"""Candidates in a row that are turned down before a seed is given up."""
CLEAR = 0.055
"""Least distance of hands, elbows and feet from what could hide them, in body heights."""

BONES = (
    ("right_shoulder", "right_elbow"),
    ("right_elbow", "right_wrist"),
    ("left_shoulder", "left_elbow"),
    ("left_elbow", "left_wrist"),
    ("right_hip", "right_knee"),
    ("right_knee", "right_ankle"),
    ("left_hip", "left_knee"),
    ("left_knee", "left_ankle"),
    ("pelvis", "neck"),
)


@dataclass(frozen=True)
class FreshAction:
    name: str
    """Its number in the suite: "a000"."""
    description: str
    """At most two phrases: "left arm up, right knee up"."""
    pose: Pose

    @property
    def action(self) -> Action:
        return Action(self.name, self.description)

    def drawn(self, rng: np.random.Generator) -> Pose:
        """The action as somebody holds it: a few degrees more or less everywhere."""
        return jittered(self.pose, rng)


def fresh_actions(count: int, seed: int) -> tuple[FreshAction, ...]:
    """The first `count` actions of a seed; fewer are always the beginning of more.

    Raises:
        UserError: if `count` is no positive number, or if the seed gives no so many actions that
            can be told apart.
    """
    if count < 1:
        raise UserError(f"a suite needs at least one action, not {count}")
    rng = np.random.default_rng((GENERATOR, seed))
    taken = list(_named_angles())
    actions: list[FreshAction] = []
    described: set[str] = set()
    turned_down = 0
    while len(actions) < count:
        pose, words = _candidate(rng)
        joints = _joints(pose)
        angles = bone_angles(joints)
        description = _described(angles, words)
        apart = description not in described and distance(angles, np.stack(taken)).min() >= APART
        if apart and readable(joints):
            described.add(description)
            actions.append(FreshAction(f"a{len(actions):03d}", description, pose))
            taken.append(angles)
            turned_down = 0
            continue
        turned_down += 1
        if turned_down == TRIES:
            raise UserError(
                f"seed {seed} gives {len(actions)} actions that can be told apart, not {count}: "
                "ask for fewer, or for several suites of other seeds"
            )
    return tuple(actions)


def distance(angles: np.ndarray, others: np.ndarray) -> np.ndarray:
    """How far one body's bones [9] are from others' [n, 9]: root mean square, in degrees."""
    off = (others - angles + 180) % 360 - 180
    result: np.ndarray = np.sqrt(np.square(off).mean(-1))
    return result


def bone_angles(joints: Joints) -> np.ndarray:
    """Directions of the nine bones in the picture, in degrees, [9]."""
    angles = []
    for start, end in BONES:
        (x0, y0), (x1, y1) = joints.points[start], joints.points[end]
        angles.append(math.degrees(math.atan2(x1 - x0, y1 - y0)))
    return np.array(angles)


def readable(joints: Joints) -> bool:
    """Whether every limb can be seen: none lies before the body, the head or another limb."""
    p = {name: np.array(point) / joints.unit for name, point in joints.points.items()}
    spine = (p["pelvis"], p["neck"])
    for side, other in (("right", "left"), ("left", "right")):
        wrist, elbow, ankle = (p[f"{side}_{joint}"] for joint in ("wrist", "elbow", "ankle"))
        if _away(wrist, *spine) < 0.10 + CLEAR / 2 or _away(elbow, *spine) < 0.10:
            return False
        if np.linalg.norm(wrist - p["head"]) < 0.09 + CLEAR:
            return False
        for limb in ("elbow", "wrist"):
            shoulder = "shoulder" if limb == "elbow" else "elbow"
            if _away(wrist, p[f"{other}_{shoulder}"], p[f"{other}_{limb}"]) < CLEAR:
                return False
        if _away(wrist, p[f"{side}_hip"], p[f"{side}_knee"]) < CLEAR:
            return False
        if _away(ankle, p[f"{other}_knee"], p[f"{other}_ankle"]) < CLEAR:
            return False
        if _away(ankle, p[f"{side}_hip"], p[f"{side}_knee"]) < 1.2 * CLEAR:
            return False
    return True


def _candidate(rng: np.random.Generator) -> tuple[Pose, tuple[str, str, str, str]]:
    """Any pose, and words for right arm, left arm, legs and torso ("" for an upright one)."""
    arms, legs = list(FREE_ARMS), list(FREE_LEGS)
    right, left = arms[int(rng.integers(len(arms)))], arms[int(rng.integers(len(arms)))]
    stance = legs[int(rng.integers(len(legs)))]
    lean = list(LEANS)[int(rng.integers(2))] if rng.random() < 0.35 else ""
    (r1, r2), (l1, l2) = FREE_LEGS[stance]
    off = rng.uniform(-OFFSET, OFFSET, 9).tolist()
    pose = Pose(
        right_arm=Limb(-FREE_ARMS[right][0] + off[0], -FREE_ARMS[right][1] + off[1]),
        left_arm=Limb(FREE_ARMS[left][0] + off[2], FREE_ARMS[left][1] + off[3]),
        right_leg=Limb(-r1 + off[4] / 2, -r2 + off[5] / 2),
        left_leg=Limb(l1 + off[6] / 2, l2 + off[7] / 2),
        lean=LEANS.get(lean, 0.0) + off[8] / 3,
        right_hand="open" if rng.random() < 0.5 else "fist",
        left_hand="open" if rng.random() < 0.5 else "fist",
    )
    return pose, (f"right arm {right}", f"left arm {left}", stance, lean)


def _described(angles: np.ndarray, words: tuple[str, str, str, str]) -> str:
    """The words for the two parts that are farthest from standing at ease, in a fixed order."""
    off = np.abs((angles - _at_ease() + 180) % 360 - 180)
    parts = (off[0:2].sum(), off[2:4].sum(), off[4:8].sum(), 2 * off[8])
    farthest = sorted(range(4), key=lambda i: -float(parts[i]) if words[i] else 0.0)[:2]
    return ", ".join(words[i] for i in sorted(farthest))


@lru_cache
def _at_ease() -> np.ndarray:
    return bone_angles(_joints(Pose()))


def _joints(pose: Pose) -> Joints:
    return solve(pose, 0.8, 1.0, 0.5, 0.92)


def _away(point: np.ndarray, start: np.ndarray, end: np.ndarray) -> float:
    """Distance of a point from the line between two others."""
    along = end - start
    share = float(np.clip((point - start) @ along / max(float(along @ along), 1e-9), 0, 1))
    return float(np.linalg.norm(point - start - share * along))


@lru_cache
def _named_angles() -> tuple[np.ndarray, ...]:
    """The bones of every pose that has a name: known, of the eight, and for development."""
    poses: list[Pose] = []
    for name, variants in [*ACTIONS.items(), *((n, v) for n, (_, v) in KNOWN.items())]:
        poses += variants
        if name in EITHER_SIDE:
            poses += [mirrored(pose) for pose in variants]
    return tuple(bone_angles(_joints(replace(pose, lift=0.0))) for pose in poses)
