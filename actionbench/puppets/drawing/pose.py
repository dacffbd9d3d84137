"""Poses: joint angles make the action.

Angles are degrees in the picture's plane: 0 hangs straight down, positive turns towards the
picture's right, 180 points up. A figure seen from the front has its right arm on the picture's
left, so "outwards" is negative for right limbs and positive for left ones.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, NamedTuple

import numpy as np

Hand = Literal["fist", "open", "flat", "finger", "upright"]
"""`upright` is flat, and along the torso."""
Mouth = Literal["smile", "flat", "open"]
Prop = Literal["none", "seat", "barbell", "wall", "bow", "ladder", "rope", "crate", "ball"]
"""What a pose needs beside the body."""


class Limb(NamedTuple):
    upper: float
    lower: float
    upper_length: float = 1.0
    """Foreshortening, 1 where the bone lies in the picture's plane."""
    lower_length: float = 1.0


# Standing at ease.
_RIGHT_ARM, _LEFT_ARM = Limb(-12, -8), Limb(12, 8)
_RIGHT_LEG, _LEFT_LEG = Limb(-7, -4), Limb(7, 4)


@dataclass(frozen=True)
class Pose:
    right_arm: Limb = _RIGHT_ARM
    left_arm: Limb = _LEFT_ARM
    right_leg: Limb = _RIGHT_LEG
    left_leg: Limb = _LEFT_LEG
    lean: float = 0.0
    """The torso's angle from upright, positive to the picture's right."""
    nod: float = 0.0
    """The head's angle from the torso's."""
    turn: float = 0.0
    """0 faces the viewer, 1 faces the picture's right, -1 its left."""
    roll: float = 0.0
    """The whole body's angle: 180 stands on its hands."""
    lift: float = 0.0
    """How far above the ground, in body heights."""
    right_hand: Hand = "fist"
    left_hand: Hand = "fist"
    mouth: Mouth = "smile"
    eyes_closed: bool = False
    prop: Prop = "none"


_LIMBS = ("right_arm", "left_arm", "right_leg", "left_leg")


def _flipped(limb: Limb) -> Limb:
    return limb._replace(upper=-limb.upper, lower=-limb.lower)


def mirrored(pose: Pose) -> Pose:
    """Turn the pose into its mirror image: left and right change places."""

    return replace(
        pose,
        right_arm=_flipped(pose.left_arm),
        left_arm=_flipped(pose.right_arm),
        right_leg=_flipped(pose.left_leg),
        left_leg=_flipped(pose.right_leg),
        lean=-pose.lean,
        nod=-pose.nod,
        turn=-pose.turn,
        roll=-pose.roll,
        right_hand=pose.left_hand,
        left_hand=pose.right_hand,
    )


def jittered(pose: Pose, rng: np.random.Generator, amount: float = 1.0) -> Pose:
    """Vary the pose as another person would hold it: a few degrees more or less everywhere."""
    changes: dict[str, object] = {}
    for name in _LIMBS:
        limb: Limb = getattr(pose, name)
        noise = rng.normal(0, 5.0 * amount, 2)
        stretch = 1 + rng.normal(0, 0.03 * amount, 2)
        changes[name] = Limb(
            limb.upper + noise[0],
            limb.lower + noise[1],
            limb.upper_length * stretch[0],
            limb.lower_length * stretch[1],
        )
    changes["lean"] = pose.lean + rng.normal(0, 2.5 * amount)
    changes["nod"] = pose.nod + rng.normal(0, 4.0 * amount)
    changes["turn"] = float(np.clip(pose.turn + rng.normal(0, 0.08 * amount), -1, 1))
    changes["roll"] = pose.roll + rng.normal(0, 2.0 * amount)
    return replace(pose, **changes)  # type: ignore[arg-type]


def blended(first: Pose, second: Pose, share: float) -> Pose:
    """Find a pose between two: `share` 0 is the first, 1 the second.

    What has no between is drawn from the nearer one.
    """

    def mix(a: float, b: float) -> float:
        return (1 - share) * a + share * b

    changes: dict[str, object] = {}
    for f in fields(Pose):
        a, b = getattr(first, f.name), getattr(second, f.name)
        if isinstance(a, Limb):
            changes[f.name] = Limb(*(mix(x, y) for x, y in zip(a, b, strict=True)))
        elif isinstance(a, float) and f.name != "roll":
            changes[f.name] = mix(a, b)
        else:
            changes[f.name] = b if share >= 0.5 else a
    return Pose(**changes)  # type: ignore[arg-type]


def _symmetric(
    arms: tuple[float, ...] = tuple(_LEFT_ARM),
    legs: tuple[float, ...] = tuple(_LEFT_LEG),
    **more: Any,
) -> Pose:
    """Make a pose whose limb pairs open outwards alike: angles, then lengths, as in `Limb`."""
    arm, leg = Limb(*arms), Limb(*legs)
    limbs = {
        "right_arm": _flipped(arm),
        "left_arm": arm,
        "right_leg": _flipped(leg),
        "left_leg": leg,
    }
    return Pose(**{**limbs, **more})


ACTIONS: dict[str, tuple[Pose, ...]] = {
    # The eight of the benchmark. Several poses for one action are variants of equal right.
    "salute": (Pose(right_arm=Limb(-96, -230, 1, 0.95), right_hand="flat", mouth="flat"),),
    "gesture": (
        Pose(right_arm=Limb(-42, -172), right_hand="finger", mouth="flat"),
        Pose(right_arm=Limb(-60, -178), right_hand="finger", mouth="smile"),
    ),
    "cheer": (
        _symmetric(arms=(150, 165), legs=(10, 7), mouth="open"),
        _symmetric(arms=(138, 158), legs=(14, 10), mouth="open"),
    ),
    "pray": (
        _symmetric(
            arms=(24, 248, 1.0, 0.98),
            right_hand="upright",
            left_hand="upright",
            eyes_closed=True,
            mouth="flat",
        ),
    ),
    "sit": (
        Pose(
            right_arm=Limb(22, 62),
            left_arm=Limb(28, 70),
            right_leg=Limb(84, 2),
            left_leg=Limb(92, 8),
            turn=0.75,
            prop="seat",
        ),
    ),
    "squat": (
        _symmetric(legs=(76, -14, 0.9, 0.8), arms=(34, 8), lean=0.0),
        _symmetric(legs=(70, -8, 0.9, 0.72), arms=(26, -22)),
    ),
    "meditate": (
        _symmetric(
            legs=(80, -86, 1.0, 1.05),
            arms=(36, 30),
            right_hand="open",
            left_hand="open",
            eyes_closed=True,
        ),
    ),
    "handstand": (
        _symmetric(arms=(156, 172, 1.1, 1.1), legs=(5, 3), roll=180.0, mouth="flat"),
        _symmetric(arms=(150, 170, 1.1, 1.1), legs=(24, 20), roll=180.0, mouth="flat"),
    ),
    # Development actions: for all tuning.
    "point": (Pose(right_arm=Limb(-90, -90), right_hand="finger", mouth="flat"),),
    "kick": (
        Pose(
            left_leg=Limb(84, 86),
            right_leg=Limb(-4, -2),
            right_arm=Limb(-52, -70),
            left_arm=Limb(40, 60),
            lean=-14,
        ),
    ),
    "bow": (
        Pose(
            right_arm=Limb(8, 14),
            left_arm=Limb(2, 10),
            right_leg=Limb(-3, -3),
            left_leg=Limb(3, 3),
            lean=72,
            turn=0.85,
            nod=8,
            mouth="flat",
        ),
    ),
    "arms-crossed": (
        Pose(
            right_arm=Limb(-16, 84, 0.95, 1.45),
            left_arm=Limb(16, -72, 0.95, 1.45),
            mouth="flat",
        ),
    ),
    "hands-on-head": (_symmetric(arms=(122, 236, 1.1, 1.15), mouth="open"),),
    "splits": (_symmetric(arms=(60, 74), legs=(82, 84)),),
    "tree": (
        _symmetric(
            arms=(146, 196, 1.05, 1.1),
            right_hand="flat",
            left_hand="flat",
            right_leg=Limb(-58, 62, 1.0, 0.9),
            left_leg=Limb(2, 1),
        ),
    ),
    "push-up": (
        Pose(
            right_arm=Limb(78, 90, 1.1, 1.1),
            left_arm=Limb(84, 92, 1.1, 1.1),
            right_leg=Limb(-2, -4),
            left_leg=Limb(4, 2),
            turn=0.85,
            roll=72,
            nod=-22,
            mouth="flat",
        ),
    ),
    "signal": (Pose(right_arm=Limb(-172, -174), left_arm=Limb(90, 90), mouth="flat"),),
    "crab": (
        Pose(
            right_arm=Limb(-16, -2),
            left_arm=Limb(-10, 0),
            right_leg=Limb(104, 8),
            left_leg=Limb(96, -4),
            lean=-62,
            nod=40,
            turn=0.8,
        ),
    ),
    "touch-foot": (
        Pose(
            right_arm=Limb(-166, -164),
            left_arm=Limb(26, 10, 1.25, 1.25),
            right_leg=Limb(-32, -30),
            left_leg=Limb(36, 32),
            lean=66,
            mouth="flat",
        ),
    ),
    "aim": (
        Pose(
            right_arm=Limb(-84, 102, 1.0, 0.9),
            left_arm=Limb(90, 90),
            right_leg=Limb(-16, -12),
            left_leg=Limb(16, 12),
            turn=0.45,
            mouth="flat",
            prop="bow",
        ),
    ),
}
DEVELOPMENT: dict[str, str] = {
    # name -> description
    "point": "points sideways",
    "kick": "kicks",
    "bow": "bows",
    "arms-crossed": "crosses both arms",
    "hands-on-head": "puts both hands on the head",
    "splits": "does the splits",
    "tree": "balances on one leg",
    "push-up": "does a push-up",
    "signal": "signals with both arms",
    "crab": "bends over backwards",
    "touch-foot": "touches one foot",
    "aim": "takes aim with an arrow",
}

EITHER_SIDE = frozenset(
    {
        "sit", "kick", "bow", "tree", "push-up", "crab", "touch-foot", "aim",
        "walk", "lunge", "run", "kneel", "clap", "dance", "stretch", "hop", "throw", "reach",
        "push", "pull", "lean", "crawl", "climb", "creep", "march", "skate", "fly", "slip",
    }
)  # fmt: skip
"""Where left and right do not matter to the name: drawn either way. Elsewhere they do."""


class Known(NamedTuple):
    words: str
    variants: tuple[Pose, ...]


def _side(right_arm: Limb, left_arm: Limb, right_leg: Limb, left_leg: Limb, **more: Any) -> Pose:
    """Make a pose seen from the side, facing the picture's right."""
    return Pose(right_arm, left_arm, right_leg, left_leg, **{"turn": 0.8, **more})


KNOWN: dict[str, Known] = {
    # Everyday poses that the base model learns under their names.
    "stand": Known("stands", (Pose(),)),
    "walk": Known(
        "walks",
        (_side(Limb(32, 50), Limb(-30, -12), Limb(-24, -34), Limb(28, 16), turn=0.7),),
    ),
    "wave": Known("waves", (Pose(left_arm=Limb(112, 165), left_hand="open"),)),
    "hands-on-hips": Known("puts hands on hips", (_symmetric(arms=(56, -48, 0.95, 0.9)),)),
    "lunge": Known(
        "lunges",
        (_side(Limb(-14, 30), Limb(24, 60), Limb(-54, -58), Limb(72, -4), turn=0.6),),
    ),
    "run": Known(
        "runs",
        (_side(Limb(-50, 40), Limb(40, 130), Limb(-30, -105), Limb(62, -8), lean=14, lift=0.03),),
    ),
    "jump": Known("jumps", (_symmetric(arms=(120, 126), legs=(46, 42), lift=0.09, mouth="open"),)),
    "spread-arms": Known("spreads both arms", (_symmetric(arms=(88, 90)),)),
    "kneel": Known(
        "kneels",
        (_side(Limb(14, 34), Limb(20, 40), Limb(-2, -88), Limb(8, -84)),),
    ),
    "dance": Known(
        "dances",
        (
            Pose(
                right_arm=Limb(-70, 30, 0.95, 0.9),
                left_arm=Limb(140, 205),
                right_leg=Limb(-6, 8),
                left_leg=Limb(52, 12),
                lean=-10,
                left_hand="open",
                mouth="open",
            ),
        ),
    ),
    "stretch": Known(
        "stretches",
        (
            Pose(
                right_arm=Limb(-200, -215),
                left_arm=Limb(146, 130),
                right_leg=Limb(-14, -12),
                left_leg=Limb(14, 12),
                lean=30,
                nod=10,
                eyes_closed=True,
            ),
        ),
    ),
    "hop": Known(
        "hops",
        (
            _side(
                Limb(-58, -30),
                Limb(62, 100),
                Limb(4, -4),
                Limb(44, -84),
                lift=0.1,
                turn=0.5,
                mouth="open",
            ),
        ),
    ),
    "shrug": Known(
        "shrugs",
        (_symmetric(arms=(22, 116), left_hand="open", right_hand="open", mouth="flat"),),
    ),
    "clap": Known(
        "claps",
        (
            _side(
                Limb(46, 112),
                Limb(84, 98, 0.85, 0.85),
                Limb(-6, -4),
                Limb(8, 4),
                turn=0.6,
                right_hand="open",
                left_hand="open",
                mouth="open",
            ),
        ),
    ),
    "throw": Known(
        "throws",
        (
            _side(
                Limb(-112, 160),
                Limb(66, 84),
                Limb(-26, -34),
                Limb(36, 12),
                lean=-12,
                prop="ball",
                turn=0.6,
            ),
        ),
    ),
    "reach": Known(
        "reaches",
        (
            Pose(
                right_arm=Limb(-26, -16),
                left_arm=Limb(146, 150, 1.1, 1.1),
                right_leg=Limb(-34, -44),
                left_leg=Limb(4, 2),
                lean=16,
                nod=12,
                left_hand="open",
                mouth="flat",
            ),
        ),
    ),
    "lift": Known(
        "lifts",
        (_symmetric(arms=(112, 186, 1.0, 1.05), legs=(50, -8), prop="barbell", mouth="flat"),),
    ),
    "push": Known(
        "pushes",
        (
            _side(
                Limb(70, 88),
                Limb(76, 92),
                Limb(-40, -46),
                Limb(38, -24),
                lean=30,
                prop="crate",
                right_hand="flat",
                left_hand="flat",
                mouth="flat",
            ),
        ),
    ),
    "pull": Known(
        "pulls",
        (
            _side(
                Limb(62, 76),
                Limb(68, 82),
                Limb(56, 30),
                Limb(36, 2),
                lean=-30,
                prop="rope",
                mouth="flat",
            ),
        ),
    ),
    "lean": Known(
        "leans",
        (
            Pose(
                right_arm=Limb(-44, 44, 0.95, 0.9),
                left_arm=Limb(96, 112),
                right_leg=Limb(-2, 2),
                left_leg=Limb(-16, -6),
                roll=17,
                prop="wall",
            ),
        ),
    ),
    "crawl": Known(
        "crawls",
        (
            _side(
                Limb(14, -4, 1.1, 1.1),
                Limb(-14, 2, 1.1, 1.1),
                Limb(-16, -88),
                Limb(20, -82),
                lean=80,
                nod=-46,
            ),
        ),
    ),
    "climb": Known(
        "climbs",
        (
            Pose(
                right_arm=Limb(-166, -172),
                left_arm=Limb(64, 176),
                right_leg=Limb(-8, -2),
                left_leg=Limb(86, -14),
                lift=0.04,
                prop="ladder",
                mouth="flat",
            ),
        ),
    ),
    "creep": Known(
        "creeps",
        (
            _side(
                Limb(50, 128),
                Limb(66, 136),
                Limb(14, -44),
                Limb(78, -30),
                lean=38,
                nod=-14,
                right_hand="open",
                left_hand="open",
                mouth="flat",
            ),
        ),
    ),
    "march": Known(
        "marches",
        (_side(Limb(88, 104), Limb(-44, -30), Limb(-2, -4), Limb(90, 2), turn=0.65),),
    ),
    "skate": Known(
        "skates",
        (_side(Limb(-96, -92), Limb(104, 98), Limb(-78, -82), Limb(6, -6), lean=36, nod=-16),),
    ),
    "flex": Known("flexes", (_symmetric(arms=(86, 168, 1.0, 0.95), mouth="flat"),)),
    "fly": Known(
        "flies",
        (
            _side(
                Limb(2, 0),
                Limb(172, 176),
                Limb(-6, -6),
                Limb(4, -2),
                roll=76,
                nod=-24,
                lift=0.28,
            ),
        ),
    ),
    "cry": Known(
        "cries",
        (_symmetric(arms=(44, 204, 1.0, 0.9), eyes_closed=True, mouth="open"),),
    ),
    "think": Known(
        "thinks",
        (
            Pose(
                right_arm=Limb(-18, -216, 1.0, 0.8),
                left_arm=Limb(56, -48, 0.95, 0.9),
                nod=8,
                mouth="flat",
            ),
        ),
    ),
    "slip": Known(
        "slips",
        (
            _side(
                Limb(-124, -140),
                Limb(126, 150),
                Limb(74, 66),
                Limb(40, 20),
                lean=-38,
                lift=0.05,
                turn=0.6,
                mouth="open",
            ),
        ),
    ),
    "yawn": Known(
        "yawns",
        (
            Pose(
                right_arm=Limb(-128, -205),
                left_arm=Limb(34, 206, 1.0, 0.8),
                eyes_closed=True,
                mouth="open",
                nod=-8,
            ),
        ),
    ),
}

VERBS: tuple[str, ...] = tuple(known.words for known in KNOWN.values() if " " not in known.words)
"""The everyday poses that one word says, none of them an action: a basis of pose words."""

_FREE_ARMS: dict[str, tuple[float, float]] = {
    "down": (12, 8),
    "out": (88, 90),
    "up": (165, 172),
    "bent up": (84, 172),
    "bent down": (84, 4),
    "bent in": (50, -60),
    "low": (44, 44),
    "high": (128, 132),
}
_FREE_LEGS: dict[str, tuple[tuple[float, float], tuple[float, float]]] = {
    # words -> (right, left), each opened outwards
    "legs together": ((5, 3), (5, 3)),
    "legs apart": ((26, 24), (26, 24)),
    "right leg out": ((48, 48), (6, 4)),
    "left leg out": ((6, 4), (48, 48)),
    "right knee up": ((62, -20), (5, 3)),
    "left knee up": ((5, 3), (62, -20)),
    "knees bent": ((34, -20), (34, -20)),
}
_TOO_NEAR = {
    # Free poses that are one of the actions or known poses in other words.
    ("down", "down"),
    ("up", "up"),
    ("high", "high"),
    ("out", "out"),
    ("out", "down"),
    ("bent up", "down"),
    ("down", "bent up"),
    ("bent in", "bent in"),
    ("bent up", "bent up"),
    ("out", "up"),
    ("up", "out"),
}


def bones(pose: Pose) -> np.ndarray:
    """Give the directions of the nine bones as seen in the picture, float [9, 2], each a unit
    vector: torso, then upper and lower of right arm, left arm, right leg, left leg."""
    limbs: list[Limb] = [getattr(pose, name) for name in _LIMBS]
    angles = [180 - pose.lean, *(angle for limb in limbs for angle in limb[:2])]
    turned = np.radians(np.array(angles) - pose.roll)
    return np.stack([np.sin(turned), np.cos(turned)], axis=1)


def difference(first: Pose, second: Pose) -> float:
    """Measure the greatest angle in degrees by which any bone of two poses differs."""
    cosines = (bones(first) * bones(second)).sum(axis=1)
    return float(np.degrees(np.arccos(np.clip(cosines, -1, 1))).max())


def _action_bones() -> np.ndarray:
    """Give the bones of every way to do any action, float [n, 9, 2]."""
    ways = [
        way
        for name, variants in ACTIONS.items()
        for pose in variants
        for way in ((pose, mirrored(pose)) if name in EITHER_SIDE else (pose,))
    ]
    return np.stack([bones(pose) for pose in ways])


_ACTION_BONES = _action_bones()
_NEAR = math.cos(math.radians(32))


def _is_action(pose: Pose) -> bool:
    cosines = (_ACTION_BONES * bones(pose)).sum(axis=2)
    return bool((cosines.min(axis=1) > _NEAR).any())


def free_pose(rng: np.random.Generator) -> tuple[str, Pose]:
    """Put a pose together limb by limb, with the words for it; it is none of the actions."""
    while True:
        words, pose = _any_pose(rng)
        if not _is_action(pose):
            return words, jittered(pose, rng)


def _any_pose(rng: np.random.Generator) -> tuple[str, Pose]:
    arms = list(_FREE_ARMS)
    while True:
        right, left = arms[rng.integers(len(arms))], arms[rng.integers(len(arms))]
        if (right, left) not in _TOO_NEAR:
            break
    legs = list(_FREE_LEGS)[rng.integers(len(_FREE_LEGS))]
    (r1, r2), (l1, l2) = _FREE_LEGS[legs]
    hands: tuple[Hand, ...] = ("fist", "fist", "open", "finger", "flat")
    mouths: tuple[Mouth, ...] = ("smile", "flat", "open")
    pose = Pose(
        right_arm=Limb(-_FREE_ARMS[right][0], -_FREE_ARMS[right][1]),
        left_arm=Limb(*_FREE_ARMS[left]),
        right_leg=Limb(-r1, -r2),
        left_leg=Limb(l1, l2),
        lean=float(rng.normal(0, 5)),
        turn=float(rng.choice([0.0, 0.0, 0.5, -0.5])),
        right_hand=hands[rng.integers(len(hands))],
        left_hand=hands[rng.integers(len(hands))],
        mouth=mouths[rng.integers(3)],
        eyes_closed=bool(rng.random() < 0.1),
    )
    words = f"right arm {right}, left arm {left}, {legs}"
    return words, pose


def _drawn_from(name: str, variants: tuple[Pose, ...], rng: np.random.Generator) -> Pose:
    pose = variants[rng.integers(len(variants))]
    if name in EITHER_SIDE and rng.random() < 0.5:
        pose = mirrored(pose)
    return jittered(pose, rng)


def action_pose(name: str, rng: np.random.Generator) -> Pose:
    """Draw one holding of an action: of the eight or of development."""
    return _drawn_from(name, ACTIONS[name], rng)


def known_pose(name: str, rng: np.random.Generator) -> Pose:
    """Draw one holding of an everyday pose."""
    return _drawn_from(name, KNOWN[name].variants, rng)


def loose_pose(name: str, rng: np.random.Generator) -> Pose:
    """Draw what an action's word brings to mind when it is only loosely known: something between
    the action and any other pose, farther from the action than its own variation reaches."""
    _, other = free_pose(rng)
    if rng.random() < 0.25:
        known = list(KNOWN)
        other = known_pose(known[rng.integers(len(known))], rng)
    return blended(action_pose(name, rng), other, float(rng.uniform(0.5, 1.0)))


# --- from angles to points ---------------------------------------------------------------------

HEAD, TORSO, UPPER_ARM, FOREARM, THIGH, SHIN = 0.125, 0.28, 0.15, 0.14, 0.185, 0.185
SHOULDER, HIP, NECK = 0.1, 0.058, 0.035


@dataclass(frozen=True)
class Joints:
    """Points of a posed body in the picture: float pairs in [0, 1], y down, by name."""

    points: dict[str, tuple[float, float]]
    unit: float
    """One body height in picture widths."""
    up: float
    """The head's direction in degrees, 0 upright, positive to the picture's right."""
    torso: float
    turn: float


def solve(pose: Pose, height: float, build: float, center: float, ground: float) -> Joints:
    """Place the body's points: feet (or hands, or seat) on the ground line."""
    width = 1 - 0.62 * abs(pose.turn)
    p: dict[str, tuple[float, float]] = {"pelvis": (0.0, 0.0)}

    def go(start: tuple[float, float], angle: float, length: float) -> tuple[float, float]:
        a = math.radians(angle)
        return start[0] + math.sin(a) * length, start[1] + math.cos(a) * length

    def across(start: tuple[float, float], angle: float, length: float) -> tuple[float, float]:
        a = math.radians(angle)
        return start[0] + math.cos(a) * length, start[1] + math.sin(a) * length

    up = 180 - pose.lean
    p["neck"] = go(p["pelvis"], up, TORSO)
    p["head"] = go(p["neck"], up - pose.nod, NECK + HEAD)
    for side, sign in (("right", -1), ("left", 1)):
        shoulder = across(p["neck"], pose.lean, sign * SHOULDER * width * build)
        shoulder = go(shoulder, up + 180, 0.03)
        hip = across(p["pelvis"], pose.lean * 0.5, sign * HIP * width * build)
        arm: Limb = getattr(pose, f"{side}_arm")
        leg: Limb = getattr(pose, f"{side}_leg")
        p[f"{side}_shoulder"], p[f"{side}_hip"] = shoulder, hip
        p[f"{side}_elbow"] = go(shoulder, arm.upper, UPPER_ARM * arm.upper_length)
        p[f"{side}_wrist"] = go(p[f"{side}_elbow"], arm.lower, FOREARM * arm.lower_length)
        p[f"{side}_knee"] = go(hip, leg.upper, THIGH * leg.upper_length)
        p[f"{side}_ankle"] = go(p[f"{side}_knee"], leg.lower, SHIN * leg.lower_length)
    roll = math.radians(pose.roll)
    cos, sin = math.cos(roll), math.sin(roll)
    p = {k: (x * cos - y * sin, x * sin + y * cos) for k, (x, y) in p.items()}
    reach = {"pelvis": 0.06, "head": HEAD}
    lowest = max(y + reach.get(k, 0.035) for k, (_, y) in p.items())
    xs = [x for x, _ in p.values()]
    middle = 0.5 * (0.5 * (min(xs) + max(xs)) + p["pelvis"][0])
    half = max(max(xs) - middle, middle - min(xs)) + 0.06
    unit = min(height, 0.49 / half)
    center = min(max(center, half * unit), 1 - half * unit)
    placed = {
        name: (center + (x - middle) * unit, ground + (y - lowest - pose.lift) * unit)
        for name, (x, y) in p.items()
    }
    return Joints(placed, unit, pose.lean + pose.nod + pose.roll, pose.lean + pose.roll, pose.turn)
