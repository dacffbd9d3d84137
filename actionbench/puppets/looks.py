"""Looks: palette, clothes, ears, mane, stripes, mask and hat make the subject."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

Color = tuple[int, int, int]

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


@dataclass(frozen=True)
class Look:
    """All that makes a figure somebody; every length is relative to the standard body."""

    head: str = "human"
    """`human`, `mask` or an animal's kind of head."""
    skin: Color = PALE
    muzzle: Color = PALE
    hair: str = "none"
    """Style: none, short, long, afro, bun, pigtails, sides, curly."""
    hair_color: Color = (98, 60, 34)
    beard: str = "none"
    """none, full, moustache, stubble."""
    shirt: Color = PALETTE["blue"]
    sleeves: str = "long"
    """long, short."""
    trousers: Color = PALETTE["grey"]
    legs: str = "long"
    """long, short, skirt."""
    shoes: Color = (60, 50, 46)
    hands: Color | None = None
    """Gloves or paws; the skin's colour where None."""
    chest: str = "none"
    """What is on the chest: none, plaid, suit, bowtie, number, stripes, belly, bat, web, vest."""
    chest_color: Color = (255, 255, 255)
    coat: str = "none"
    """What covers limbs and body: none, stripes, spots, web."""
    coat_color: Color = (40, 36, 34)
    hat: str = "none"
    """none, cap, fedora."""
    hat_color: Color = (30, 30, 34)
    glasses: bool = False
    cape: Color | None = None
    tail: str = "none"
    """none, thin, tuft, bushy, stub."""
    height: float = 1.0
    build: float = 1.0
    head_size: float = 1.0


def _beast(head: str, fur: Color, muzzle: Color, **more: object) -> Look:
    """An animal stands on two legs and wears nothing: one fur from head to foot."""
    look = Look(
        head=head,
        skin=fur,
        muzzle=muzzle,
        shirt=fur,
        trousers=fur,
        shoes=fur,
        chest="belly",
        chest_color=muzzle,
        head_size=1.12,
        height=0.97,
    )
    return replace(look, **more)  # type: ignore[arg-type]


_SUIT = (38, 44, 66)

SUBJECTS: dict[str, Look] = {
    "boy": Look(
        hair="short",
        hair_color=HAIR["brown"],
        hat="cap",
        hat_color=PALETTE["red"],
        shirt=PALETTE["yellow"],
        sleeves="short",
        trousers=PALETTE["blue"],
        legs="short",
        shoes=PALETTE["white"],
        height=0.76,
        head_size=1.2,
    ),
    "girl": Look(
        hair="pigtails",
        hair_color=HAIR["brown"],
        shirt=PALETTE["pink"],
        sleeves="short",
        trousers=PALETTE["pink"],
        legs="skirt",
        shoes=PALETTE["red"],
        height=0.76,
        head_size=1.2,
    ),
    "man": Look(
        skin=TAN,
        hair="short",
        hair_color=(60, 40, 28),
        beard="full",
        shirt=(188, 60, 52),
        chest="plaid",
        chest_color=(40, 38, 44),
        trousers=(66, 88, 140),
        shoes=(96, 62, 40),
        build=1.08,
    ),
    "woman": Look(
        hair="long",
        hair_color=HAIR["black"],
        shirt=PALETTE["purple"],
        sleeves="short",
        trousers=PALETTE["purple"],
        legs="skirt",
        shoes=PALETTE["black"],
        build=0.9,
        height=0.97,
    ),
    "old man": Look(
        hair="sides",
        hair_color=(236, 236, 236),
        beard="long",
        glasses=True,
        shirt=(240, 236, 220),
        chest="vest",
        chest_color=(120, 92, 60),
        trousers=(120, 108, 92),
        height=0.93,
    ),
    "Barack Obama": Look(
        skin=(140, 92, 62),
        hair="short",
        hair_color=(52, 48, 48),
        shirt=_SUIT,
        trousers=_SUIT,
        shoes=(24, 24, 28),
        chest="suit",
        chest_color=(200, 40, 44),
    ),
    "Michael Jackson": Look(
        skin=(246, 220, 200),
        hair="curly",
        hair_color=(22, 20, 22),
        hat="fedora",
        hat_color=(26, 26, 30),
        shirt=(200, 28, 36),
        chest="vest",
        chest_color=(244, 244, 244),
        trousers=(28, 28, 32),
        shoes=(20, 20, 22),
        hands=(252, 252, 252),
        build=0.92,
    ),
    "David Beckham": Look(
        skin=(240, 196, 158),
        hair="mohawk",
        hair_color=(240, 206, 110),
        shirt=(214, 30, 40),
        sleeves="short",
        chest="number7",
        chest_color=(255, 255, 255),
        trousers=(250, 250, 250),
        legs="short",
        shoes=(30, 30, 30),
    ),
    "Leonardo DiCaprio": Look(
        skin=(250, 216, 184),
        hair="short",
        hair_color=(222, 176, 84),
        shirt=(26, 26, 30),
        trousers=(26, 26, 30),
        shoes=(20, 20, 22),
        chest="bowtie",
        chest_color=(20, 20, 22),
    ),
    "Messi": Look(
        skin=(236, 190, 150),
        hair="short",
        hair_color=(110, 66, 36),
        beard="full",
        shirt=(244, 248, 252),
        sleeves="short",
        chest="stripes",
        chest_color=(110, 180, 236),
        trousers=(30, 34, 60),
        legs="short",
        shoes=(246, 210, 60),
        height=0.92,
    ),
    "Spiderman": Look(
        head="spider",
        skin=(214, 34, 40),
        shirt=(214, 34, 40),
        trousers=(36, 66, 170),
        shoes=(214, 34, 40),
        hands=(214, 34, 40),
        chest="spider",
        chest_color=(36, 66, 170),
    ),
    "Batman": Look(
        head="bat",
        skin=(236, 196, 160),
        shirt=(92, 96, 106),
        trousers=(92, 96, 106),
        shoes=(30, 30, 38),
        hands=(30, 30, 38),
        chest="bat",
        chest_color=(246, 206, 50),
        cape=(26, 26, 36),
        build=1.12,
    ),
    "dog": _beast("dog", (176, 116, 62), (244, 226, 198), tail="thin"),
    "cat": _beast(
        "cat", (150, 152, 160), (246, 244, 244), tail="thin", coat="bars", coat_color=(98, 100, 110)
    ),
    "lion": _beast("lion", (226, 172, 84), (248, 226, 178), tail="tuft", coat_color=(132, 70, 28)),
    "tiger": _beast("tiger", (240, 136, 36), (252, 244, 232), tail="thin", coat="stripes"),
    "bear": _beast("bear", (112, 70, 40), (196, 152, 108), tail="stub", build=1.15),
    "polar bear": _beast("bear", (244, 246, 250), (222, 228, 238), tail="stub", build=1.15),
    "fox": _beast(
        "fox", (226, 92, 32), (255, 250, 244), tail="bushy", hands=(54, 36, 32), shoes=(54, 36, 32)
    ),
    "cheetah": _beast("cheetah", (240, 196, 92), (252, 238, 206), tail="thin", coat="spots"),
    "monkey": _beast("monkey", (124, 76, 42), (242, 200, 156), tail="thin", hands=(242, 200, 156)),
    "gorilla": _beast(
        "gorilla", (58, 60, 68), (120, 116, 122), build=1.34, hands=(92, 90, 98), head_size=1.05
    ),
    "panda": _beast(
        "panda",
        (248, 248, 248),
        (248, 248, 248),
        hands=(30, 30, 34),
        shoes=(30, 30, 34),
        trousers=(30, 30, 34),
        coat="panda",
        coat_color=(30, 30, 34),
        tail="stub",
        build=1.15,
    ),
}


def random_person(rng: np.random.Generator) -> tuple[str, Look]:
    """Somebody who is none of the 23: "a person with red hair, a green shirt and blue trousers".

    Plain clothes, bare face and head: none of what marks a known subject.
    """
    names, hairs = list(PALETTE), list(HAIR)
    hair, shirt, trousers = (
        hairs[rng.integers(len(hairs))],
        names[rng.integers(len(names))],
        names[rng.integers(len(names))],
    )
    styles = ("short", "long", "afro", "bun")
    look = Look(
        skin=SKIN[rng.integers(len(SKIN))],
        hair=styles[rng.integers(len(styles))],
        hair_color=HAIR[hair],
        shirt=PALETTE[shirt],
        sleeves="long" if rng.random() < 0.6 else "short",
        trousers=PALETTE[trousers],
        shoes=PALETTE[names[rng.integers(len(names))]],
        height=float(rng.uniform(0.9, 1.04)),
        build=float(rng.uniform(0.88, 1.14)),
    )
    article = "an" if shirt[0] in "aeiou" else "a"
    return f"a person with {hair} hair, {article} {shirt} shirt and {trousers} trousers", look


def varied(look: Look, rng: np.random.Generator) -> Look:
    """The same subject on another day: a little brighter or darker, taller or broader."""
    gain = rng.normal(1.0, 0.035, 3)

    def tint(color: Color) -> Color:
        r, g, b = (int(np.clip(c * k, 0, 255)) for c, k in zip(color, gain, strict=True))
        return r, g, b

    return replace(
        look,
        skin=tint(look.skin),
        shirt=tint(look.shirt),
        trousers=tint(look.trousers),
        height=look.height * float(rng.normal(1, 0.02)),
        build=look.build * float(rng.normal(1, 0.03)),
    )
