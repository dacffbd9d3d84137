"""Fresh actions without end: poses that no corpus names, drawn from a seed.

An action is a state for each arm, the legs and the torso, with angles of its own around the
state's. Its description names the two parts that are farthest from standing at ease, in the words
of the free poses, and leaves the others to the exemplars, as descriptions of real actions do.

The states give a seed some 110 actions that lie far enough apart. After these, limbs may point
between the states as well: such a part has no words, and several actions may share a description.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import islice

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
"""Candidates in a row that are turned down before limbs may leave the states, and afterwards before
a seed is given up."""
MOST = 1000
"""Actions of one seed at most. Every seed that was tried gave as many, with room to spare."""
NEAR = 20.0
"""Degrees by which a limb between the states may leave one and still be described by it."""
PRACTICE = range(1000, 2000)
"""Seeds whose actions the judge is practised on: no suite is drawn from them."""
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


@lru_cache(maxsize=4)
def fresh_actions(count: int, seed: int) -> tuple[FreshAction, ...]:
    """The first `count` actions of a seed; fewer are always the beginning of more.

    Raises:
        UserError: if `count` is no positive number, or more than `MOST` or than the seed gives.
    """
    if count < 1:
        raise UserError(f"a suite needs at least one action, not {count}")
    if count > MOST:
        raise UserError(
            f"a seed gives at most {MOST:,} actions that can be told apart, not {count:,}: "
            "ask for fewer, or for several suites of other seeds"
        )
    return tuple(islice(_actions(seed), count))


def _actions(seed: int) -> Iterator[FreshAction]:
    """A seed's actions in order: of the free poses' states, then with limbs between them too."""
    rng = np.random.default_rng((GENERATOR, seed))
    named = np.stack(_named_angles())
    taken = np.empty((len(named) + MOST, len(BONES)))
    taken[: len(named)] = named
    described: set[str] = set()
    number = turned_down = 0
    wide = False
    while number < MOST:
        pose, words = _between(rng) if wide else _candidate(rng)
        joints = _joints(pose)
        angles = bone_angles(joints)
        description = _described(angles, words)
        new = bool(description) if wide else description not in described
        others = taken[: len(named) + number]
        if new and distance(angles, others).min() >= APART and readable(joints):
            described.add(description)
            taken[len(named) + number] = angles
            yield FreshAction(f"a{number:03d}", description, pose)
            number, turned_down = number + 1, 0
            continue
        turned_down += 1
        if turned_down == TRIES:
            if wide:
                raise UserError(
                    f"seed {seed} gives {number} actions that can be told apart and no more: "
                    "ask for fewer, or for several suites of other seeds"
                )
            wide, turned_down = True, 0


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


def _between(rng: np.random.Generator) -> tuple[Pose, tuple[str, str, str, str]]:
    """Any pose whose limbs may point between the states, too; words as `_candidate`'s, "" for a
    part that is near no state."""
    (right, right_words), (left, left_words) = _any_arm(rng), _any_arm(rng)
    (r1, r2), (l1, l2), stance = _any_legs(rng)
    lean = float(rng.uniform(-26, 26)) if rng.random() < 0.5 else float(rng.uniform(-4, 4))
    leaning = [words for words, angle in LEANS.items() if abs(lean - angle) <= OFFSET / 2]
    pose = Pose(
        right_arm=Limb(-right[0], -right[1]),
        left_arm=Limb(*left),
        right_leg=Limb(-r1, -r2),
        left_leg=Limb(l1, l2),
        lean=lean,
        right_hand="open" if rng.random() < 0.5 else "fist",
        left_hand="open" if rng.random() < 0.5 else "fist",
    )
    arms = (right_words and f"right arm {right_words}", left_words and f"left arm {left_words}")
    return pose, (*arms, stance, "".join(leaning))


def _any_arm(rng: np.random.Generator) -> tuple[tuple[float, float], str]:
    """A left arm's two angles, in a state or anyhow, and the words of the state that is near."""
    if rng.random() < 0.5:
        upper, lower = list(FREE_ARMS.values())[int(rng.integers(len(FREE_ARMS)))]
        upper, lower = upper + rng.uniform(-OFFSET, OFFSET), lower + rng.uniform(-OFFSET, OFFSET)
    else:
        upper = rng.uniform(-10, 185)
        lower = upper + rng.uniform(-110, 120)
    return (float(upper), float(lower)), _nearest((upper, lower), FREE_ARMS)


def _any_legs(rng: np.random.Generator) -> tuple[tuple[float, ...], tuple[float, ...], str]:
    """Both legs, opened outwards, in a state or anyhow, and the words of the state that is near."""
    if rng.random() < 0.5:
        right, left = list(FREE_LEGS.values())[int(rng.integers(len(FREE_LEGS)))]
        angles = np.array([*right, *left]) + rng.uniform(-OFFSET / 2, OFFSET / 2, 4)
    else:
        upper = rng.uniform(0, 90, 2)
        lower = upper - rng.uniform(-10, 100, 2)
        angles = np.array([upper[0], lower[0], upper[1], lower[1]])
    states = {words: (*right, *left) for words, (right, left) in FREE_LEGS.items()}
    r1, r2, l1, l2 = angles.tolist()
    return (r1, r2), (l1, l2), _nearest((r1, r2, l1, l2), states)


def _nearest(angles: Sequence[float], states: Mapping[str, Sequence[float]]) -> str:
    """The words of the state in which every bone is within `NEAR` of its angle; "" if in none."""

    def off(words: str) -> float:
        return max(abs((a - b + 180) % 360 - 180) for a, b in zip(angles, states[words]))

    nearest = min(states, key=off)
    return nearest if off(nearest) <= NEAR else ""


def _described(angles: np.ndarray, words: tuple[str, str, str, str]) -> str:
    """The words for the two parts that are farthest from standing at ease, in a fixed order."""
    off = np.abs((angles - _at_ease() + 180) % 360 - 180)
    parts = (off[0:2].sum(), off[2:4].sum(), off[4:8].sum(), 2 * off[8])
    farthest = sorted(range(4), key=lambda i: -float(parts[i]) if words[i] else 0.0)[:2]
    return ", ".join(words[i] for i in sorted(farthest) if words[i])


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
