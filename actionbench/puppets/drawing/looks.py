"""Looks: palette, clothes, face, fur and body make the subject."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import numpy as np

from actionbench.puppets.drawing.pen import Color

PALETTE: dict[str, Color] = {
    "red": (208, 48, 48),
    "orange": (238, 138, 40),
    "yellow": (242, 208, 60),
    "green": (60, 158, 76),
    "blue": (52, 96, 196),
    "purple": (132, 70, 170),
    "pink": (240, 140, 180),
    "white": (240, 240, 238),
    "grey": (136, 140, 146),
    "black": (40, 40, 46),
    "brown": (124, 80, 48),
}
HAIR: dict[str, Color] = {
    "black": (34, 30, 32),
    "brown": (98, 60, 34),
    "blond": (232, 196, 104),
    "red": (190, 78, 34),
    "grey": (160, 160, 164),
    "blue": (70, 110, 200),
}
SKIN: tuple[Color, ...] = ((250, 214, 182), (232, 184, 144), (186, 128, 88), (116, 76, 52))
PALE, TAN, BROWN, DARK = SKIN

Head = Literal[
    "human", "animal", "spider", "bat", "robot", "skull", "knight", "astronaut", "ninja", "mummy",
    "alien", "ghost", "snowman", "pumpkin", "gingerbread", "devil", "clown", "mime", "monster",
]  # fmt: skip
Hair = Literal[
    "none", "short", "long", "afro", "bun", "pigtails", "sides", "curly", "mohawk", "bob", "wild",
    "braids",
]  # fmt: skip
Beard = Literal["none", "full", "long", "moustache", "goatee"]
Legs = Literal["long", "short", "skirt", "robe"]
Chest = Literal[
    "none", "plaid", "suit", "bowtie", "seven", "stripes", "belly", "bat", "vest", "jacket",
    "spider", "hoops", "dots", "heart", "buttons", "apron", "cross", "star", "belt", "sash",
    "overalls", "ribs", "panel", "bandages", "ruff", "trim", "badge", "reflective", "fur",
    "kimono", "collar",
]  # fmt: skip
Coat = Literal["none", "stripes", "bars", "spots", "panda", "cow", "zebra", "giraffe", "fawn",
               "wool", "skunk", "spines"]  # fmt: skip
Hat = Literal[
    "none", "cap", "fedora", "beanie", "sunhat", "pirate", "witch", "chef", "nurse", "fire",
    "crown", "tiara", "cowboy", "santa", "feather", "deerstalker", "hood", "police", "viking",
    "hard", "top", "turban", "bowler", "beret", "mortarboard", "headband", "nemes", "flyer",
    "sailor", "jester", "samurai", "plume", "veil", "halo", "miner", "helmet", "bow",
]  # fmt: skip
Tail = Literal["none", "thin", "hook", "tuft", "bushy", "stub", "horse", "curl", "ringed", "plume",
               "thick", "cotton", "up"]  # fmt: skip
Ears = Literal["none", "round", "small", "pointed", "floppy", "side", "tall", "leaf", "huge",
               "fluffy", "primate"]  # fmt: skip
Horns = Literal["none", "cow", "goat", "antlers", "knobs", "rhino", "tusks"]
Mask = Literal["none", "panda", "raccoon", "fox", "monkey", "gorilla", "tiger", "cat", "cheetah",
               "lion", "dog", "blaze", "skunk", "sheep", "wolf", "koala", "zebra"]  # fmt: skip
Mane = Literal["none", "lion", "horse", "hyena", "wolf"]


@dataclass(frozen=True)
class Face:
    """An animal's head; lengths are in skull radii, forward is out of the face."""

    ears: Ears = "round"
    ear_size: float = 1.0
    snout: float = 1.1
    """How far the middle of its tip stands from the skull's centre."""
    drop: float = -0.38
    """How high its tip stands: negative is below the skull's centre."""
    base: float = 0.5
    """Half width of the snout at the skull."""
    tip: float = 0.42
    """Half width of the snout at its tip."""
    furry: bool = False
    """Whether the snout has the fur's colour and only its tip the muzzle's."""
    nose: Color = (36, 28, 28)
    nose_size: float = 0.2
    horns: Horns = "none"
    mask: Mask = "none"
    eyes: float = 0.14
    gaze: float = 48.0
    """On four legs: how far the face turns from the viewer, 90 in full profile."""
    pitch: float = 0.0
    """On four legs: how far the face looks down, degrees."""
    whiskers: bool = False


@dataclass(frozen=True)
class Beast:
    """An animal's body on four legs, seen from the side; lengths are of one another."""

    length: float = 0.6
    """From hips to shoulders."""
    rump: float = 0.16
    """Half heights of the trunk: at the hips, in the middle, at the shoulders."""
    waist: float = 0.15
    chest: float = 0.18
    legs: float = 0.34
    """From the ground to the belly."""
    slope: float = 0.0
    """How much higher the shoulders are than the hips."""
    hump: float = 0.0
    leg: float = 0.055
    """Half width of a leg above the paw."""
    thigh: float = 0.1
    neck: float = 0.2
    neck_angle: float = 40.0
    """Above the horizontal, degrees."""
    neck_width: float = 0.1
    head: float = 0.17
    tail: float = 0.45
    """Length."""
    feet: Literal["paws", "hooves", "flat", "knuckles", "pads"] = "paws"
    size: float = 1.0
    """How much of the picture it fills."""


@dataclass(frozen=True)
class Look:
    """All that makes a figure somebody; every length is relative to the standard body."""

    head: Head = "human"
    skin: Color = PALE
    muzzle: Color = PALE
    hair: Hair = "none"
    hair_color: Color = (98, 60, 34)
    beard: Beard = "none"
    shirt: Color = PALETTE["blue"]
    sleeves: Literal["long", "short"] = "long"
    trousers: Color = PALETTE["grey"]
    legs: Legs = "long"
    shoes: Color = (60, 50, 46)
    hands: Color | None = None
    """Gloves or paws; the skin's colour where None."""
    gloves: Literal["both", "right", "boxing"] = "both"
    chest: Chest = "none"
    """What is on the chest."""
    chest_color: Color = (255, 255, 255)
    coat: Coat = "none"
    """What covers an animal's limbs and body."""
    coat_color: Color = (40, 36, 34)
    hat: Hat = "none"
    hat_color: Color = (30, 30, 34)
    eyewear: Literal["none", "glasses", "patch", "mask", "goggles"] = "none"
    pointed_ears: bool = False
    long_nose: bool = False
    cape: Color | None = None
    collar: Color | None = None
    wings: Color | None = None
    tail: Tail = "none"
    mane: Mane = "none"
    face: Face | None = None
    """Of an animal."""
    beast: Beast | None = None
    """Of an animal."""
    height: float = 1.0
    build: float = 1.0
    head_size: float = 1.0


class Named(NamedTuple):
    phrase: str
    look: Look


def _beast(fur: Color, muzzle: Color, face: Face, beast: Beast, **more: object) -> Look:
    """Make an animal, which wears nothing: one fur from head to foot."""
    look = Look(
        head="animal",
        skin=fur,
        muzzle=muzzle,
        shirt=fur,
        trousers=fur,
        shoes=fur,
        chest="belly",
        chest_color=muzzle,
        head_size=1.12,
        height=0.97,
        face=face,
        beast=beast,
    )
    return replace(look, **more)  # type: ignore[arg-type]


_CAT = Beast(0.56, 0.13, 0.115, 0.14, 0.32, leg=0.042, thigh=0.09, neck=0.2, neck_angle=52,
             head=0.2, tail=0.55, size=0.9)  # fmt: skip
_BIG_CAT = Beast(0.68, 0.16, 0.14, 0.185, 0.31, leg=0.06, thigh=0.12, neck=0.2, neck_angle=42,
                 head=0.215, tail=0.6)  # fmt: skip
_BEAR = Beast(0.62, 0.23, 0.23, 0.25, 0.25, hump=0.1, leg=0.085, thigh=0.14, neck=0.3,
              neck_angle=22, neck_width=0.16, head=0.22, tail=0.08, feet="flat")  # fmt: skip
_HORSE = Beast(0.68, 0.18, 0.16, 0.19, 0.46, leg=0.042, thigh=0.11, neck=0.42, neck_angle=54,
               neck_width=0.1, head=0.125, tail=0.5, feet="hooves")  # fmt: skip
_DOG = Beast(0.58, 0.14, 0.125, 0.165, 0.33, leg=0.048, thigh=0.095, neck=0.24, neck_angle=52,
             head=0.195, tail=0.36, size=0.95)  # fmt: skip
_HORSE_FACE = Face("leaf", 0.9, 1.75, -0.95, 0.72, 0.5, furry=True, nose=(40, 30, 30),
                   nose_size=0.1, eyes=0.15, gaze=80, pitch=6)  # fmt: skip
_BEAR_FACE = Face("round", 0.9, 1.25, -0.35, 0.56, 0.44, nose_size=0.25, gaze=58)

ANIMALS: dict[str, Look] = {
    "dog": _beast(
        (176, 116, 62),
        (244, 226, 198),
        Face("floppy", 1.0, 1.5, -0.42, 0.5, 0.42, nose_size=0.26, mask="dog", gaze=60),
        _DOG,
        tail="up",
        collar=(206, 36, 44),
    ),
    "cat": _beast(
        (150, 152, 160),
        (246, 244, 244),
        Face("pointed", 0.95, 0.86, -0.4, 0.42, 0.36, nose=(230, 130, 140), nose_size=0.15,
             mask="cat", gaze=38, whiskers=True),
        _CAT,
        tail="up",
        coat="bars",
        coat_color=(92, 94, 104),
    ),
    "lion": _beast(
        (226, 172, 84),
        (248, 226, 178),
        Face("small", 0.9, 1.05, -0.38, 0.5, 0.42, nose_size=0.24, mask="lion", gaze=46),
        replace(_BIG_CAT, chest=0.19, neck=0.24, head=0.2),
        tail="tuft",
        mane="lion",
        coat_color=(132, 70, 28),
    ),
    "tiger": _beast(
        (240, 136, 36),
        (252, 244, 232),
        Face("round", 0.75, 1.0, -0.38, 0.52, 0.44, nose=(210, 110, 110), mask="tiger", gaze=42),
        _BIG_CAT,
        tail="thin",
        coat="stripes",
    ),
    "bear": _beast(
        (112, 70, 40), (196, 152, 108), _BEAR_FACE, _BEAR, tail="stub", build=1.15,
    ),
    "polar bear": _beast(
        (246, 248, 252),
        (226, 232, 240),
        replace(_BEAR_FACE, ear_size=0.62, snout=1.45),
        replace(_BEAR, hump=0.04, neck=0.38, head=0.17, neck_angle=26),
        tail="stub",
        build=1.15,
    ),
    "fox": _beast(
        (226, 92, 32),
        (255, 250, 244),
        Face("pointed", 1.25, 1.75, -0.5, 0.5, 0.22, nose_size=0.19, mask="fox", gaze=62),
        Beast(0.52, 0.12, 0.1, 0.125, 0.3, leg=0.036, thigh=0.075, neck=0.18, neck_angle=44,
              head=0.185, tail=0.7),
        tail="bushy",
        hands=(54, 36, 32),
        shoes=(54, 36, 32),
    ),
    "cheetah": _beast(
        (240, 196, 92),
        (252, 238, 206),
        Face("small", 0.9, 1.0, -0.4, 0.46, 0.38, mask="cheetah", gaze=52),
        Beast(0.66, 0.12, 0.085, 0.15, 0.44, leg=0.036, thigh=0.085, neck=0.24, neck_angle=46,
              head=0.14, tail=0.6),
        tail="thin",
        coat="spots",
    ),
    "monkey": _beast(
        (124, 76, 42),
        (242, 200, 156),
        Face("primate", 1.0, 0.86, -0.4, 0.66, 0.5, nose_size=0.12, mask="monkey", gaze=34),
        Beast(0.44, 0.11, 0.1, 0.13, 0.34, slope=0.04, leg=0.038, thigh=0.07, neck=0.19,
              neck_angle=52, head=0.2, tail=0.72, feet="knuckles", size=0.9),
        tail="hook",
        hands=(242, 200, 156),
        shoes=(242, 200, 156),
    ),
    "gorilla": _beast(
        (58, 60, 68),
        (120, 116, 122),
        Face("none", 1.0, 0.85, -0.35, 0.6, 0.52, nose_size=0.26, mask="gorilla", gaze=40),
        Beast(0.54, 0.17, 0.18, 0.24, 0.26, slope=0.24, leg=0.085, thigh=0.13, neck=0.28,
              neck_angle=24, neck_width=0.17, head=0.21, tail=0.0, feet="knuckles"),
        build=1.34,
        hands=(92, 90, 98),
        head_size=1.05,
    ),
    "panda": _beast(
        (248, 248, 248),
        (248, 248, 248),
        Face("round", 0.95, 1.0, -0.4, 0.46, 0.38, mask="panda", gaze=27),
        replace(_BEAR, length=0.54, hump=0.0, rump=0.24, waist=0.24, chest=0.23, legs=0.2,
                neck=0.26, neck_angle=30, head=0.225),
        hands=(30, 30, 34),
        shoes=(30, 30, 34),
        trousers=(30, 30, 34),
        coat="panda",
        coat_color=(30, 30, 34),
        tail="stub",
        build=1.15,
    ),
}  # fmt: skip
"""The eleven animals of the benchmark."""

OTHER_ANIMALS: dict[str, Look] = {
    "wolf": _beast(
        (82, 90, 112),
        (232, 232, 230),
        Face("pointed", 0.95, 1.7, -0.4, 0.56, 0.34, mask="wolf", gaze=66),
        replace(_DOG, length=0.64, chest=0.18, neck_angle=30, neck_width=0.15, tail=0.42,
                head=0.2, size=1.06),
        tail="plume",
        mane="wolf",
        coat_color=(50, 54, 70),
    ),
    "horse": _beast(
        (140, 78, 42), (96, 58, 40), _HORSE_FACE, _HORSE,
        tail="horse", mane="horse", coat_color=(50, 32, 26), shoes=(50, 36, 30),
    ),
    "zebra": _beast(
        (248, 248, 246), (60, 58, 60), replace(_HORSE_FACE, mask="zebra"),
        replace(_HORSE, neck=0.34, legs=0.4, size=0.95),
        tail="tuft", mane="horse", coat="zebra", coat_color=(28, 28, 32), shoes=(40, 40, 44),
    ),
    "donkey": _beast(
        (148, 142, 140), (238, 232, 224), replace(_HORSE_FACE, ears="tall", ear_size=0.8),
        replace(_HORSE, neck=0.3, legs=0.32, neck_angle=46, head=0.15, size=0.88),
        tail="tuft", mane="horse", coat_color=(70, 62, 62), shoes=(60, 54, 54),
    ),
    "cow": _beast(
        (246, 244, 240),
        (240, 178, 176),
        Face("leaf", 0.9, 1.5, -0.8, 0.72, 0.6, furry=True, nose_size=0.1, horns="cow",
             mask="blaze", gaze=64, pitch=4),
        Beast(0.76, 0.22, 0.23, 0.23, 0.26, leg=0.055, thigh=0.1, neck=0.26, neck_angle=24,
              neck_width=0.13, head=0.15, tail=0.4, feet="hooves"),
        tail="tuft", coat="cow", coat_color=(44, 38, 38), shoes=(60, 50, 46),
    ),
    "pig": _beast(
        (246, 166, 176),
        (232, 128, 146),
        Face("floppy", 0.55, 1.3, -0.22, 0.5, 0.42, nose=(232, 128, 146), nose_size=0.4, gaze=62),
        Beast(0.54, 0.22, 0.22, 0.22, 0.16, leg=0.055, thigh=0.09, neck=0.22, neck_angle=12,
              neck_width=0.15, head=0.2, tail=0.16, feet="hooves", size=0.86),
        tail="curl", shoes=(180, 100, 110),
    ),
    "rabbit": _beast(
        (236, 226, 214),
        (252, 246, 240),
        Face("tall", 1.25, 0.9, -0.4, 0.4, 0.34, nose=(236, 130, 150), nose_size=0.14, gaze=52,
             eyes=0.17),
        Beast(0.34, 0.2, 0.17, 0.14, 0.1, leg=0.045, thigh=0.13, neck=0.18, neck_angle=50,
              head=0.17, tail=0.1, feet="flat", size=0.8),
        tail="cotton",
    ),
    "mouse": _beast(
        (168, 160, 166),
        (238, 196, 200),
        Face("huge", 0.72, 1.5, -0.4, 0.5, 0.18, nose=(236, 120, 140), nose_size=0.2, gaze=56,
             furry=True, eyes=0.16, whiskers=True),
        Beast(0.26, 0.22, 0.19, 0.14, 0.06, leg=0.035, thigh=0.1, neck=0.14, neck_angle=16,
              head=0.19, tail=0.5, size=0.84),
        tail="thin", hands=(238, 180, 186), shoes=(238, 180, 186),
    ),
    "elephant": _beast(
        (140, 148, 162),
        (140, 148, 162),
        Face("huge", 1.15, 1.0, -0.5, 0.5, 0.34, furry=True, nose_size=0.0, horns="tusks",
             gaze=72),
        Beast(0.58, 0.26, 0.28, 0.28, 0.26, leg=0.1, thigh=0.13, neck=0.3, neck_angle=28,
              neck_width=0.18, head=0.22, tail=0.3, feet="pads"),
        tail="tuft", coat_color=(80, 86, 98), build=1.25,
    ),
    "giraffe": _beast(
        (246, 206, 118),
        (250, 226, 170),
        Face("leaf", 0.9, 1.6, -0.7, 0.66, 0.46, furry=True, nose_size=0.1, horns="knobs",
             gaze=80),
        Beast(0.44, 0.15, 0.14, 0.16, 0.46, slope=0.08, leg=0.036, thigh=0.08, neck=0.66,
              neck_angle=66, neck_width=0.07, head=0.095, tail=0.3, feet="hooves"),
        tail="tuft", coat="giraffe", coat_color=(166, 92, 40), shoes=(90, 60, 40),
    ),
    "deer": _beast(
        (182, 112, 60),
        (246, 226, 200),
        Face("leaf", 1.05, 1.6, -0.6, 0.56, 0.3, furry=True, nose_size=0.18, horns="antlers",
             gaze=66, eyes=0.17),
        Beast(0.54, 0.14, 0.12, 0.15, 0.42, leg=0.032, thigh=0.08, neck=0.34, neck_angle=64,
              neck_width=0.075, head=0.115, tail=0.1, feet="hooves"),
        tail="cotton", coat="fawn", coat_color=(250, 236, 214), shoes=(60, 44, 36),
    ),
    "goat": _beast(
        (226, 218, 204),
        (200, 186, 168),
        Face("leaf", 1.0, 1.55, -0.7, 0.6, 0.38, furry=True, nose_size=0.12, horns="goat",
             gaze=70),
        Beast(0.54, 0.17, 0.17, 0.18, 0.28, leg=0.04, thigh=0.08, neck=0.28, neck_angle=52,
              neck_width=0.1, head=0.14, tail=0.12, feet="hooves", size=0.9),
        tail="stub", shoes=(60, 52, 48), beard="goatee", coat_color=(120, 104, 90),
    ),
    "sheep": _beast(
        (246, 240, 228),
        (70, 62, 64),
        Face("side", 0.9, 1.3, -0.5, 0.6, 0.42, nose_size=0.1, mask="sheep", gaze=60),
        Beast(0.48, 0.22, 0.22, 0.22, 0.2, leg=0.042, thigh=0.06, neck=0.26, neck_angle=30,
              head=0.16, tail=0.1, feet="hooves", size=0.86),
        tail="cotton", coat="wool", hands=(70, 62, 64), shoes=(70, 62, 64),
        coat_color=(222, 212, 196),
    ),
    "koala": _beast(
        (158, 164, 174),
        (226, 226, 230),
        Face("fluffy", 1.0, 0.9, -0.25, 0.4, 0.34, nose=(44, 42, 48), nose_size=0.34, mask="koala",
             gaze=38),
        Beast(0.36, 0.18, 0.18, 0.17, 0.14, leg=0.055, thigh=0.1, neck=0.22, neck_angle=34,
              neck_width=0.13, head=0.21, tail=0.0, feet="flat", size=0.82),
    ),
    "raccoon": _beast(
        (128, 128, 134),
        (236, 236, 236),
        Face("round", 0.75, 1.35, -0.42, 0.5, 0.26, mask="raccoon", gaze=50),
        Beast(0.48, 0.17, 0.16, 0.14, 0.17, leg=0.042, thigh=0.09, neck=0.18, neck_angle=30,
              head=0.175, tail=0.5, size=0.86),
        tail="ringed", coat_color=(48, 48, 54), hands=(48, 48, 54), shoes=(48, 48, 54),
    ),
    "squirrel": _beast(
        (196, 98, 44),
        (252, 232, 208),
        Face("pointed", 0.75, 1.1, -0.4, 0.46, 0.3, furry=True, nose_size=0.16, gaze=58,
             eyes=0.19),
        Beast(0.3, 0.16, 0.14, 0.12, 0.1, slope=0.06, leg=0.036, thigh=0.11, neck=0.16,
              neck_angle=48, head=0.15, tail=0.7, feet="flat", size=0.84),
        tail="plume",
    ),
    "camel": _beast(
        (216, 168, 104),
        (234, 200, 150),
        Face("leaf", 0.6, 1.5, -0.55, 0.62, 0.5, furry=True, nose_size=0.1, gaze=80),
        Beast(0.58, 0.16, 0.17, 0.18, 0.44, leg=0.042, thigh=0.09, neck=0.46, neck_angle=50,
              neck_width=0.075, head=0.11, tail=0.3, feet="pads", hump=0.16),
        tail="tuft", coat_color=(150, 106, 60),
    ),
    "hippo": _beast(
        (150, 120, 142),
        (214, 160, 172),
        Face("small", 0.5, 1.5, -0.5, 0.8, 0.8, nose_size=0.1, gaze=64),
        Beast(0.62, 0.25, 0.27, 0.26, 0.13, leg=0.085, thigh=0.1, neck=0.28, neck_angle=10,
              neck_width=0.2, head=0.17, tail=0.1, feet="pads", size=0.95),
        tail="stub", build=1.25,
    ),
    "rhino": _beast(
        (126, 128, 132),
        (150, 150, 152),
        Face("leaf", 0.6, 1.6, -0.7, 0.7, 0.5, furry=True, nose_size=0.08, horns="rhino", gaze=78),
        Beast(0.64, 0.23, 0.24, 0.25, 0.19, leg=0.085, thigh=0.11, neck=0.3, neck_angle=0,
              neck_width=0.18, head=0.16, tail=0.2, feet="pads"),
        tail="tuft", coat_color=(80, 80, 84), build=1.2,
    ),
    "leopard": _beast(
        (214, 142, 56),
        (248, 226, 186),
        Face("round", 0.7, 1.0, -0.38, 0.5, 0.42, nose=(190, 100, 100), gaze=44, whiskers=True),
        replace(_BIG_CAT, length=0.7, legs=0.25),
        tail="thin", coat="giraffe", coat_color=(70, 44, 26), build=1.05,
    ),
    "otter": _beast(
        (104, 74, 58),
        (222, 200, 176),
        Face("small", 0.6, 1.0, -0.42, 0.56, 0.46, nose_size=0.26, gaze=54, whiskers=True),
        Beast(0.66, 0.13, 0.13, 0.12, 0.1, leg=0.042, thigh=0.07, neck=0.24, neck_angle=42,
              neck_width=0.1, head=0.14, tail=0.4, size=0.92),
        tail="thick",
    ),
    "hyena": _beast(
        (186, 160, 118),
        (86, 72, 62),
        Face("round", 0.95, 1.5, -0.42, 0.54, 0.36, gaze=66),
        Beast(0.52, 0.13, 0.13, 0.18, 0.28, slope=0.14, leg=0.045, thigh=0.09, neck=0.3,
              neck_angle=32, neck_width=0.12, head=0.15, tail=0.3, size=0.92),
        tail="plume", coat="spots", mane="hyena", coat_color=(84, 66, 50),
        hands=(86, 72, 62), shoes=(86, 72, 62),
    ),
    "skunk": _beast(
        (42, 42, 48),
        (42, 42, 48),
        Face("small", 0.6, 1.3, -0.4, 0.46, 0.26, mask="skunk", gaze=58, nose=(210, 130, 140)),
        Beast(0.44, 0.16, 0.15, 0.12, 0.12, leg=0.04, thigh=0.08, neck=0.16, neck_angle=24,
              head=0.14, tail=0.62, size=0.84),
        tail="plume", coat="skunk", coat_color=(246, 246, 246),
    ),
    "hedgehog": _beast(
        (232, 198, 156),
        (246, 222, 188),
        Face("small", 0.7, 1.6, -0.4, 0.56, 0.2, furry=True, nose_size=0.22, gaze=60),
        Beast(0.34, 0.24, 0.25, 0.2, 0.06, leg=0.04, thigh=0.05, neck=0.2, neck_angle=0,
              neck_width=0.13, head=0.15, tail=0.0, size=0.78),
        coat="spines", coat_color=(104, 76, 58),
    ),
}  # fmt: skip
"""Animals that are not in the benchmark."""

_NAVY = (38, 44, 66)
_GOLD = (240, 196, 60)
_STEEL = (172, 180, 192)

PEOPLE: dict[str, Look] = {
    "boy": Look(
        hair="short", hat="cap", hat_color=PALETTE["red"], shirt=PALETTE["yellow"],
        sleeves="short", trousers=PALETTE["blue"], legs="short", shoes=PALETTE["white"],
        height=0.76, head_size=1.2,
    ),
    "girl": Look(
        hair="pigtails", shirt=PALETTE["pink"], sleeves="short", trousers=PALETTE["pink"],
        legs="skirt", shoes=PALETTE["red"], height=0.76, head_size=1.2,
    ),
    "man": Look(
        skin=TAN, hair="short", hair_color=(60, 40, 28), beard="full", shirt=(188, 60, 52),
        chest="plaid", chest_color=(40, 38, 44), trousers=(66, 88, 140), shoes=(96, 62, 40),
        build=1.08,
    ),
    "woman": Look(
        hair="long", hair_color=HAIR["black"], shirt=PALETTE["purple"], sleeves="short",
        trousers=PALETTE["purple"], legs="skirt", shoes=PALETTE["black"], build=0.9, height=0.97,
    ),
    "old man": Look(
        hair="sides", hair_color=(236, 236, 236), beard="long", eyewear="glasses",
        shirt=(240, 236, 220), chest="vest", chest_color=(120, 92, 60), trousers=(120, 108, 92),
        height=0.93,
    ),
    "Barack Obama": Look(
        skin=(140, 92, 62), hair="short", hair_color=(52, 48, 48), shirt=_NAVY, trousers=_NAVY,
        shoes=(24, 24, 28), chest="suit", chest_color=(200, 40, 44),
    ),
    "Michael Jackson": Look(
        skin=(246, 220, 200), hair="curly", hair_color=(22, 20, 22), hat="fedora",
        hat_color=(26, 26, 30), shirt=(200, 28, 36), chest="jacket", chest_color=(244, 244, 244),
        trousers=(28, 28, 32), shoes=(20, 20, 22), hands=(252, 252, 252), gloves="right",
        build=0.92,
    ),
    "David Beckham": Look(
        skin=(240, 196, 158), hair="mohawk", hair_color=(240, 206, 110), shirt=(214, 30, 40),
        sleeves="short", chest="seven", trousers=(250, 250, 250), legs="short", shoes=(30, 30, 30),
    ),
    "Leonardo DiCaprio": Look(
        skin=(250, 216, 184), hair="short", hair_color=(222, 176, 84), shirt=(26, 26, 30),
        trousers=(26, 26, 30), shoes=(20, 20, 22), chest="bowtie", chest_color=(20, 20, 22),
    ),
    "Messi": Look(
        skin=(236, 190, 150), hair="short", hair_color=(110, 66, 36), beard="full",
        shirt=(244, 248, 252), sleeves="short", chest="stripes", chest_color=(110, 180, 236),
        trousers=(30, 34, 60), legs="short", shoes=(246, 210, 60), height=0.92,
    ),
    "Spiderman": Look(
        head="spider", skin=(214, 34, 40), shirt=(214, 34, 40), trousers=(36, 66, 170),
        shoes=(214, 34, 40), hands=(214, 34, 40), chest="spider", chest_color=(36, 66, 170),
    ),
    "Batman": Look(
        head="bat", skin=(236, 196, 160), shirt=(92, 96, 106), trousers=(92, 96, 106),
        shoes=(30, 30, 38), hands=(30, 30, 38), chest="bat", chest_color=(246, 206, 50),
        cape=(26, 26, 36), build=1.12,
    ),
}  # fmt: skip
"""The twelve people of the benchmark."""

SUBJECTS: dict[str, Look] = {**PEOPLE, **ANIMALS}
"""The 23 subjects of the benchmark."""


def _one(color: Color, **more: object) -> Look:
    """Make somebody dressed in one colour."""
    return replace(Look(shirt=color, trousers=color), **more)  # type: ignore[arg-type]


_RED, _GREEN, _WHITE, _BLACK = (204, 36, 40), (46, 132, 66), (246, 246, 246), (30, 30, 36)

OTHER_PEOPLE: dict[str, Look] = {
    "pirate": Look(
        skin=TAN, hat="pirate", eyewear="patch", beard="full", hair="curly",
        hair_color=(40, 30, 28), shirt=(240, 236, 226), chest="hoops", chest_color=(190, 40, 44),
        trousers=(70, 50, 40), shoes=(40, 30, 28),
    ),
    "knight": _one(_STEEL, head="knight", skin=_STEEL, hands=(130, 138, 150), shoes=(120, 126, 140),
                   chest="cross", chest_color=(200, 40, 44), build=1.1),
    "witch": _one((72, 44, 96), skin=(150, 190, 110), hat="witch", hat_color=(44, 34, 58),
                  hair="long", hair_color=(60, 60, 64), legs="robe", chest="belt",
                  chest_color=_GOLD),
    "wizard": _one((58, 74, 180), hat="witch", hat_color=(58, 74, 180), beard="long",
                   hair="sides", hair_color=(232, 232, 236), legs="robe", chest="star",
                   chest_color=_GOLD),
    "clown": Look(
        head="clown", skin=(252, 246, 240), hair="afro", hair_color=(236, 110, 40),
        shirt=(250, 216, 70), chest="dots", chest_color=(60, 130, 220), trousers=(60, 170, 90),
        shoes=_RED, build=1.1,
    ),
    "chef": _one(_WHITE, hat="chef", beard="moustache", hair="short", chest="buttons",
                 chest_color=(60, 60, 66), trousers=(70, 74, 84), skin=TAN),
    "nurse": _one((150, 206, 226), hat="nurse", hair="bob", hair_color=HAIR["brown"], legs="skirt",
                  sleeves="short", chest="apron", chest_color=_WHITE, shoes=_WHITE, build=0.9),
    "firefighter": _one((226, 180, 60), hat="fire", hat_color=(200, 32, 36), chest="reflective",
                        chest_color=(236, 240, 210), shoes=_BLACK, hands=(60, 50, 46), build=1.1),
    "astronaut": _one((238, 240, 244), head="astronaut", hands=(238, 240, 244),
                      shoes=(150, 156, 166), chest="panel", chest_color=(60, 100, 190),
                      build=1.22, head_size=1.18),
    "robot": _one((150, 164, 178), head="robot", skin=(150, 164, 178), hands=(96, 106, 120),
                  shoes=(96, 106, 120), chest="panel", chest_color=(230, 80, 60), build=1.15),
    "king": _one((150, 30, 50), hat="crown", beard="full", hair="short", hair_color=(120, 76, 40),
                 legs="robe", chest="fur", chest_color=(250, 248, 242), cape=(110, 20, 90)),
    "queen": _one((120, 60, 160), hat="crown", hair="bun", hair_color=(170, 90, 40), legs="robe",
                  chest="ruff", build=0.9),
    "princess": _one((248, 170, 206), hat="tiara", hair="long", hair_color=(240, 206, 110),
                     legs="robe", chest="belt", chest_color=(255, 240, 250), build=0.86),
    "ninja": _one((34, 36, 48), head="ninja",
        skin=(34, 36, 48), hands=(34, 36, 48), shoes=(24, 24, 30),
                  chest="belt", chest_color=_RED),
    "cowboy": Look(
        skin=TAN, hat="cowboy", hat_color=(150, 100, 56), beard="moustache", hair="short",
        shirt=(206, 170, 120), chest="vest", chest_color=(110, 70, 40), trousers=(60, 84, 140),
        shoes=(96, 60, 36),
    ),
    "Santa Claus": _one((210, 30, 36), hat="santa", hat_color=(210, 30, 36), beard="long",
                        hair="sides", hair_color=_WHITE, chest="trim", chest_color=_WHITE,
                        shoes=_BLACK, hands=_BLACK, build=1.35),
    "Robin Hood": _one((64, 120, 56), hat="feather", hat_color=(50, 100, 46), beard="goatee",
                       hair="short", hair_color=(150, 84, 40), legs="short", chest="belt",
                       chest_color=(110, 70, 40), shoes=(110, 70, 40)),
    "Sherlock Holmes": Look(
        hat="deerstalker", hat_color=(160, 132, 96), hair="short", shirt=(160, 132, 96),
        chest="plaid", chest_color=(112, 88, 60), trousers=(80, 70, 60), cape=(140, 114, 80),
    ),
    "Little Red Riding Hood": Look(
        hat="hood", hat_color=(208, 24, 34), cape=(208, 24, 34), hair="bob",
        hair_color=HAIR["blond"], shirt=(250, 246, 240), trousers=(120, 140, 190), legs="skirt",
        height=0.78, head_size=1.18, shoes=(80, 50, 40),
    ),
    "police officer": _one((48, 70, 132), hat="police", hat_color=(34, 46, 92), hair="short",
                           chest="badge", chest_color=_GOLD, shoes=_BLACK, skin=BROWN),
    "doctor": Look(
        hair="bun", hair_color=HAIR["black"], eyewear="glasses", shirt=_WHITE, chest="buttons",
        chest_color=(60, 160, 150), trousers=_WHITE, legs="robe", shoes=(60, 160, 150),
        skin=BROWN,
    ),
    "farmer": Look(
        skin=TAN, hat="sunhat", hat_color=(236, 204, 110), hair="short", shirt=(226, 90, 70),
        chest="overalls", chest_color=(70, 100, 170), trousers=(70, 100, 170), shoes=(90, 64, 40),
    ),
    "soldier": _one((98, 112, 70), hat="helmet", hat_color=(78, 92, 56), chest="belt",
                    chest_color=(60, 56, 40), shoes=(50, 44, 36)),
    "Viking": Look(
        hat="viking", hair="braids", hair_color=(222, 120, 40), beard="long", shirt=(124, 96, 70),
        chest="fur", chest_color=(90, 66, 46), trousers=(96, 80, 64), shoes=(70, 50, 36),
        build=1.2,
    ),
    "mummy": _one((232, 222, 196), head="mummy", skin=(232, 222, 196), chest="bandages",
                  chest_color=(180, 166, 136), shoes=(232, 222, 196)),
    "zombie": Look(
        skin=(136, 176, 120), hair="wild", hair_color=(60, 70, 50), shirt=(110, 100, 110),
        chest="stripes", chest_color=(84, 76, 84), trousers=(92, 80, 70), legs="short",
        shoes=(136, 176, 120),
    ),
    "vampire": _one((30, 28, 34), skin=(226, 226, 236), hair="short", hair_color=(24, 22, 28),
                    chest="bowtie", chest_color=(200, 24, 40), cape=(130, 14, 32),
                    pointed_ears=True),
    "ghost": _one((240, 242, 250), head="ghost", skin=(240, 242, 250), legs="robe",
                  shoes=(240, 242, 250)),
    "skeleton": _one((44, 44, 52), head="skull", skin=(244, 242, 230), hands=(244, 242, 230),
                     shoes=(244, 242, 230), chest="ribs", chest_color=(244, 242, 230)),
    "devil": _one((196, 28, 34), head="devil", skin=(214, 50, 48), cape=(60, 12, 20),
                  beard="goatee", hair_color=(30, 20, 22), tail="thin", shoes=_BLACK),
    "angel": _one((250, 250, 252), hat="halo", hair="long", hair_color=(240, 206, 110),
                  wings=(252, 252, 255), legs="robe", shoes=(240, 220, 180)),
    "fairy": _one((130, 206, 120), hair="bun", hair_color=(250, 140, 190), legs="skirt",
                  sleeves="short", wings=(176, 226, 250), pointed_ears=True, height=0.8,
                  shoes=(130, 206, 120)),
    "elf": _one((50, 150, 70), hat="santa", hat_color=(50, 150, 70), pointed_ears=True,
                chest="buttons", chest_color=_RED, trousers=_RED, shoes=(50, 150, 70), hair="short",
                hair_color=(170, 90, 40), height=0.76, head_size=1.16),
    "samurai": _one((120, 30, 40), hat="samurai", hat_color=(60, 30, 40), beard="moustache",
                    hair="short", hair_color=_BLACK, chest="kimono", chest_color=(240, 200, 80),
                    trousers=(60, 60, 76), skin=TAN, build=1.12),
    "geisha": _one((226, 60, 90), skin=(254, 246, 240), hair="bun", hair_color=(20, 18, 22),
                   hat="bow", hat_color=_RED, legs="robe", chest="kimono", chest_color=_GOLD,
                   build=0.88),
    "gladiator": Look(
        skin=BROWN, hat="plume", hat_color=(206, 160, 70), shirt=(206, 160, 70), sleeves="short",
        chest="belt", chest_color=(120, 70, 40), trousers=(160, 50, 44), legs="skirt",
        shoes=(120, 70, 40), build=1.12,
    ),
    "pharaoh": Look(
        skin=(190, 126, 76), hat="nemes", hat_color=_GOLD, shirt=(190, 126, 76), chest="collar",
        chest_color=_GOLD, sleeves="short", trousers=(250, 246, 236), legs="skirt",
        beard="goatee", hair_color=(40, 60, 130), shoes=_GOLD,
    ),
    "caveman": Look(
        skin=TAN, hair="wild", hair_color=(70, 44, 28), beard="full", shirt=(222, 150, 70),
        sleeves="short", chest="dots", chest_color=(110, 66, 30), trousers=(222, 150, 70),
        legs="skirt", shoes=TAN, build=1.15,
    ),
    "monk": _one((226, 130, 40), hair="none", legs="robe", chest="sash", chest_color=(170, 60, 30),
                 skin=TAN, shoes=(110, 70, 40)),
    "nun": _one((34, 34, 40), hat="veil", hat_color=(34, 34, 40), legs="robe", chest="cross",
                chest_color=(250, 250, 250), shoes=_BLACK),
    "builder": Look(
        skin=TAN, hat="hard", hat_color=(248, 200, 40), hair="short", beard="moustache",
        shirt=(250, 130, 40), chest="reflective", chest_color=(240, 246, 190),
        trousers=(70, 88, 130), shoes=(130, 90, 50),
    ),
    "pilot": _one((70, 60, 52), hat="flyer", hat_color=(120, 78, 44), eyewear="goggles",
                  chest="fur", chest_color=(236, 220, 190), shirt=(130, 84, 48)),
    "sailor": _one((250, 250, 252), hat="sailor", hat_color=_WHITE, hair="short", chest="sash",
                   chest_color=(40, 70, 150), shoes=(40, 50, 90), skin=TAN),
    "boxer": Look(
        skin=DARK, shirt=DARK, sleeves="short", hands=(214, 30, 36),
        gloves="boxing", trousers=(60, 90, 210),
        legs="short", shoes=_WHITE, hair="short", hair_color=_BLACK, chest="none", build=1.15,
    ),
    "ballerina": Look(
        hair="bun", hair_color=(80, 50, 34), shirt=(252, 200, 216), sleeves="short",
        trousers=(255, 224, 236), legs="skirt", shoes=(250, 160, 190), skin=PALE, build=0.82,
        hat="bow", hat_color=(250, 130, 180),
    ),
    "bride": _one((252, 252, 252), hat="veil", hat_color=(240, 244, 250), hair="bun",
                  hair_color=(90, 56, 34), legs="robe", chest="heart", chest_color=(250, 190, 204),
                  build=0.86, shoes=_WHITE),
    "graduate": _one((40, 52, 110), hat="mortarboard", hat_color=(28, 34, 70), hair="long",
                     hair_color=(120, 70, 40), legs="robe", chest="sash", chest_color=_GOLD,
                     skin=BROWN),
    "mime": Look(
        head="mime", skin=(252, 252, 252), hat="beret", hat_color=_BLACK, shirt=_WHITE,
        chest="hoops", chest_color=(30, 30, 36), trousers=(30, 30, 36), shoes=(30, 30, 36),
        hands=_WHITE, build=0.92,
    ),
    "painter": _one((120, 160, 210), hat="beret", hat_color=(190, 40, 60), beard="goatee",
                    hair="short", chest="apron", chest_color=(250, 240, 220),
                    trousers=(90, 76, 60)),
    "scarecrow": Look(
        head="pumpkin", skin=(240, 140, 40), hat="sunhat", hat_color=(190, 150, 80),
        shirt=(110, 130, 70), chest="plaid", chest_color=(70, 84, 44), trousers=(150, 110, 70),
        hands=(240, 210, 120), shoes=(240, 210, 120),
    ),
    "snowman": _one((246, 250, 255), head="snowman", skin=(246, 250, 255), hat="top",
                    hat_color=_BLACK, chest="buttons", chest_color=(40, 40, 46), build=1.4,
                    hands=(120, 80, 50), shoes=(246, 250, 255)),
    "gingerbread man": _one((184, 112, 58), head="gingerbread", skin=(184, 112, 58),
                            chest="buttons", chest_color=(250, 250, 250), shoes=(184, 112, 58),
                            height=0.84, build=1.2),
    "leprechaun": _one((40, 150, 70), hat="top", hat_color=(30, 120, 56), beard="full",
                       hair="short", hair_color=(226, 110, 36), legs="short", chest="belt",
                       chest_color=_GOLD, height=0.74, head_size=1.2, shoes=_BLACK),
    "jester": Look(
        hat="jester", hat_color=(150, 50, 160), shirt=(150, 50, 160), chest="ruff",
        chest_color=(250, 220, 70), trousers=(250, 200, 60), shoes=(150, 50, 160),
    ),
    "magician": _one((30, 30, 38), hat="top", hat_color=(26, 26, 32), beard="moustache",
                     hair="short", hair_color=(26, 22, 24), chest="bowtie", chest_color=_RED,
                     hands=_WHITE, cape=(90, 20, 120)),
    "genie": Look(
        skin=(90, 170, 226), hat="turban", hat_color=(250, 250, 250), beard="goatee",
        hair_color=(24, 24, 30), shirt=(90, 170, 226), sleeves="short", chest="sash",
        chest_color=_GOLD, trousers=(240, 90, 130), shoes=_GOLD, build=1.15,
    ),
    "alien": _one((120, 210, 110), head="alien", skin=(120, 210, 110), shoes=(90, 170, 86),
                  shirt=(180, 190, 210), trousers=(180, 190, 210), build=0.8, head_size=1.25,
                  height=0.86),
    "Frankenstein's monster": Look(
        head="monster", skin=(130, 170, 110), hair="none", hair_color=(24, 24, 28),
        shirt=(70, 60, 56), trousers=(50, 50, 60), shoes=(30, 28, 30), build=1.3,
    ),
    "Zorro": _one((26, 26, 30), hat="sunhat", hat_color=(26, 26, 30), eyewear="mask",
                  beard="moustache", hair_color=(26, 22, 24), skin=TAN, cape=(20, 20, 26),
                  chest="belt", chest_color=(190, 150, 70)),
    "Charlie Chaplin": _one((44, 44, 48), hat="bowler", hat_color=(28, 28, 32), beard="moustache",
                            hair="curly", hair_color=(30, 26, 26), chest="suit",
                            chest_color=(120, 120, 124), trousers=(110, 110, 112), skin=PALE),
    "Albert Einstein": Look(
        hair="wild", hair_color=(240, 240, 240), beard="moustache", shirt=(150, 130, 104),
        chest="suit", chest_color=(70, 70, 90), trousers=(96, 90, 84),
    ),
    "Abraham Lincoln": _one((46, 42, 46), hat="top", hat_color=(36, 32, 36), beard="goatee",
                            hair="short", hair_color=(40, 30, 28), chest="suit",
                            chest_color=(30, 30, 34), height=1.06, build=0.88),
    "Cleopatra": Look(
        skin=(206, 150, 100), hair="bob", hair_color=(20, 18, 22), hat="tiara", shirt=_WHITE,
        sleeves="short", chest="collar", chest_color=(50, 150, 190), trousers=_WHITE, legs="robe",
        shoes=_GOLD, build=0.88,
    ),
    "Snow White": Look(
        hair="bob", hair_color=(24, 22, 26), hat="bow", hat_color=_RED, shirt=(50, 80, 170),
        sleeves="short", trousers=(250, 220, 80), legs="robe", skin=(255, 232, 220), build=0.86,
    ),
    "Alice in Wonderland": Look(
        hair="long", hair_color=(244, 214, 120), hat="bow", hat_color=(40, 40, 50),
        shirt=(120, 180, 236), sleeves="short", chest="apron", chest_color=_WHITE,
        trousers=(120, 180, 236), legs="skirt", height=0.8, head_size=1.15, shoes=_BLACK,
    ),
    "Pinocchio": Look(
        hat="feather", hat_color=(240, 200, 60), hair="short", hair_color=(40, 30, 28),
        shirt=(200, 40, 40), sleeves="short", trousers=(200, 40, 40), legs="short",
        skin=(230, 184, 130), chest="bowtie", chest_color=(60, 110, 200), long_nose=True,
        height=0.76,
        head_size=1.2,
    ),
    "Tarzan": Look(
        skin=(200, 140, 96), shirt=(200, 140, 96), hair="long", hair_color=(90, 54, 32),
        sleeves="short", trousers=(140, 90, 44), legs="skirt", shoes=(200, 140, 96),
        build=1.12,
    ),
    "superhero": _one((40, 160, 110), eyewear="mask", hair="short", hair_color=(30, 26, 30),
                      chest="star", chest_color=(250, 220, 70), cape=(246, 190, 40),
                      shoes=(246, 190, 40), hands=(246, 190, 40), build=1.18),
    "footballer": Look(
        skin=DARK, hair="afro", hair_color=(28, 24, 24), shirt=(40, 150, 80), sleeves="short",
        chest="hoops", chest_color=(250, 250, 250), trousers=_BLACK, legs="short",
        shoes=(240, 240, 240),
    ),
    "miner": Look(
        hat="miner", hat_color=(90, 94, 104), shirt=(120, 110, 104), chest="overalls",
        chest_color=(66, 62, 66), trousers=(66, 62, 66), beard="full", hair_color=(60, 56, 56),
        skin=(206, 166, 136), shoes=(40, 36, 36),
    ),
}  # fmt: skip
"""Characters that are not in the benchmark."""

_PROPER = frozenset(name for name in OTHER_PEOPLE if name[0].isupper() and name not in {"Viking"})


def _phrase(name: str) -> str:
    if name in _PROPER:
        return name
    return f"{'An' if name[0].lower() in 'aeiou' else 'A'} {name}"


OTHERS: dict[str, Named] = {
    name: Named(_phrase(name), look) for name, look in {**OTHER_PEOPLE, **OTHER_ANIMALS}.items()
}
"""Named characters and animals among whom the 23 are: name -> (phrase, look)."""


class Somebody(NamedTuple):
    """A person without a name."""

    features: tuple[str, ...]
    """Words for what can be seen, the most telling three first."""
    look: Look

    @property
    def words(self) -> str:
        *most, last = self.features
        return f"a person with {', '.join(most)} and {last}"


def _pick(rng: np.random.Generator, values: tuple[str, ...]) -> str:
    return values[rng.integers(len(values))]


def _with_article(words: str) -> str:
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


_HAIRS: tuple[Hair, ...] = ("short", "short", "long", "afro", "bun", "bob", "wild", "braids")
_BEARDS: tuple[tuple[Beard, str], ...] = (
    ("full", "a beard"),
    ("moustache", "a moustache"),
    ("goatee", "a goatee"),
)
_CHESTS: tuple[Chest, ...] = ("none", "none", "none", "none", "hoops", "dots", "heart")


def random_person(rng: np.random.Generator) -> Somebody:
    """Draw somebody who has no name: everyday clothes, and nothing that marks a named one."""
    names = tuple(PALETTE)
    hair, shirt, trousers = _pick(rng, tuple(HAIR)), _pick(rng, names), _pick(rng, names)
    legs: Legs = ("long", "long", "long", "short", "skirt")[rng.integers(5)]
    below = {"long": f"{trousers} trousers", "short": f"{trousers} shorts"}.get(
        legs, _with_article(f"{trousers} skirt")
    )
    features = [f"{hair} hair", _with_article(f"{shirt} shirt"), below]
    look = Look(
        skin=SKIN[rng.integers(len(SKIN))],
        hair=_HAIRS[rng.integers(len(_HAIRS))],
        hair_color=HAIR[hair],
        shirt=PALETTE[shirt],
        sleeves="long" if rng.random() < 0.6 else "short",
        trousers=PALETTE[trousers],
        legs=legs,
        shoes=PALETTE[_pick(rng, names)],
        chest=_CHESTS[rng.integers(len(_CHESTS))],
        chest_color=(250, 250, 250) if shirt not in ("white", "yellow") else (60, 64, 80),
        height=float(rng.uniform(0.86, 1.06)),
        build=float(rng.uniform(0.84, 1.2)),
        head_size=float(rng.uniform(0.95, 1.08)),
    )
    if rng.random() < 0.2:
        features.append("glasses")
        look = replace(look, eyewear="glasses")
    if rng.random() < 0.2 and legs != "skirt":
        beard, words = _BEARDS[rng.integers(len(_BEARDS))]
        features.append(words)
        look = replace(look, beard=beard)
    if rng.random() < 0.25:
        hat: Hat = ("beanie", "sunhat", "headband", "cap")[rng.integers(4)]
        color = _pick(rng, names)
        noun = {"sunhat": "hat"}.get(hat, hat)
        features.append(_with_article(f"{color} {noun}"))
        look = replace(look, hat=hat, hat_color=PALETTE[color])
    return Somebody(tuple(features), look)


def varied(look: Look, rng: np.random.Generator) -> Look:
    """Draw the same subject on another day: a little brighter or darker, taller or broader."""
    # More of brightness than of hue: white fur must not turn pink.
    gain = rng.normal(1.0, 0.03) * rng.normal(1.0, 0.015, 3)

    def tint(color: Color) -> Color:
        r, g, b = (int(np.clip(c * k, 0, 255)) for c, k in zip(color, gain, strict=True))
        return r, g, b

    changed = replace(
        look,
        skin=tint(look.skin),
        muzzle=tint(look.muzzle),
        shirt=tint(look.shirt),
        trousers=tint(look.trousers),
        shoes=tint(look.shoes),
        hands=tint(look.hands) if look.hands else None,
        chest_color=tint(look.chest_color),
        coat_color=tint(look.coat_color),
        hat_color=tint(look.hat_color),
        height=look.height * float(rng.normal(1, 0.02)),
        build=look.build * float(rng.normal(1, 0.03)),
    )
    if look.beast is None:
        return changed
    beast = replace(
        look.beast,
        length=look.beast.length * float(rng.normal(1, 0.04)),
        legs=look.beast.legs * float(rng.normal(1, 0.05)),
        size=look.beast.size * float(rng.normal(1, 0.03)),
    )
    return replace(changed, beast=beast)
