"""The other ways in which a picture's caption may be said.

On the web nobody describes a picture in one fixed order and length. A base model that has seen its
words at one place of a caption alone does not understand them at another.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from actionbench.diffusion.token_learning import TokenSettings
from actionbench.suite.items import SLOT

# What methods train under must be words to the miniature as well.
HEADS = tuple(dict.fromkeys(t.split(SLOT)[0].strip() for t in TokenSettings().templates))
"""Beginnings of a caption: "a photo of a", ..."""

_PERSON = re.compile(r"^a person with ([^,]+), (.+?) and (\S+ trousers)")


def retold(caption: str, rng: np.random.Generator, as_photo: float, in_part: float) -> str:
    """The caption as somebody else might put it.

    Args:
        caption: a `Scene`'s.
        as_photo: how often it begins with one of `HEADS`, in [0, 1].
        in_part: how often a person's looks are told in part alone: one or two of hair, shirt and
            trousers.
    """
    person = _PERSON.match(caption)
    if person and rng.random() < in_part:
        told = sorted(rng.permutation(3)[: rng.integers(1, 3)])
        looks = " and ".join(person.groups()[number] for number in told)
        caption = f"a person with {looks}{caption[person.end() :]}"
    if rng.random() < as_photo:
        article, _, noun = caption.partition(" ")
        if article.lower() not in ("a", "an"):  # a name
            head = HEADS[rng.integers(len(HEADS))].rsplit(" ", 1)[0]
            return f"{head} {caption}"
        head = HEADS[rng.integers(len(HEADS))]
        if article.lower() == "an" and head.endswith(" a"):
            head += "n"
        return f"{head} {noun}"
    return caption


def retell(captions: Sequence[str], seed: int, as_photo: float, in_part: float) -> list[str]:
    """Each caption `retold` once."""
    rng = np.random.default_rng(seed)
    return [retold(caption, rng, as_photo, in_part) for caption in captions]
