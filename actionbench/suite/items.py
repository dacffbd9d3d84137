"""The benchmark's parts: actions, subjects, exemplars, and the items to draw."""

from __future__ import annotations

import hashlib
import json
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from actionbench.suite.shipped import PAPER

if TYPE_CHECKING:
    import numpy as np
    from PIL.Image import Image

SLOT = "{}"
"""The place of a method's identifier in a prompt or caption template."""

PROMPT = "{subject} {action}"
"""The prompt to draw: "A panda {}" (paper, section 4). Your own suite may have another."""

NONE = "none"
"""A judge's answer when an image shows none of the candidates."""


@dataclass(frozen=True)
class Action:
    """An action that people do: sit, salute, ..."""

    name: str
    description: str
    """The textual description, a verb phrase: "raises both arms for cheering"."""


@dataclass(frozen=True)
class Subject:
    """Somebody who does an action in a prompt: a panda, Batman, an old man, ..."""

    name: str
    category: str
    """A group: `human`, `celebrity` or `animal` in the paper."""
    phrase: str
    """How a prompt names it: "A panda", "Batman"."""


@dataclass(frozen=True)
class Exemplar:
    """One picture of somebody doing the action.

    Example:
        >>> exemplar = ab.get_suite("puppets").tasks["sit"].exemplars[0]
        >>> exemplar.image.size, exemplar.template
    """

    id: str
    image: Image = field(repr=False, compare=False)
    """RGB, square, usually 512 pixels; the backbone resizes it to its own size."""
    caption: str
    """The caption with the action's description in it."""
    template: str
    """The same caption with `SLOT` in place of the action's description."""
    keypoints: np.ndarray | None = field(repr=False, compare=False)
    """float32 [18, 3]: x, y in [0, 1] and visibility, in OpenPose's order. None for a photograph
    whose keypoints were not read."""


@dataclass(frozen=True)
class ActionTask:
    """What a method is fitted on: one action and its exemplars (ten in the paper).

    Example:
        >>> task = ab.get_suite("puppets").tasks["sit"]
        >>> task.action.description, [exemplar.caption for exemplar in task.exemplars]
    """

    action: Action
    exemplars: tuple[Exemplar, ...]
    fingerprint: str
    """Hash of the exemplars' pixels, captions and keypoints."""
    poses: tuple[Mapping[str, Any], ...] = field(default=(), repr=False, compare=False)
    """How the action is held, in a drawn suite (`actionbench.suite.drawn`); else empty."""


@dataclass(frozen=True)
class Item:
    """One image to draw. Its noise seed depends on every field but the prompt.

    Example:
        >>> suite = ab.get_suite("puppets")
        >>> item = ab.Item(suite.actions[0], suite.subjects[0], index=0)
        >>> item.slot_prompt, item.described_prompt, item.seed
    """

    action: Action
    subject: Subject
    index: int
    """Which of the images of its action and subject this is, from 0 on."""
    run_seed: int = 0
    prompt: str = PROMPT
    """The suite's prompt, with `{subject}` and `{action}` to fill in."""

    @property
    def id(self) -> str:
        """The item's name within a run: "sit/old-man/0"."""
        return f"{self.action.name}/{slug(self.subject.name)}/{self.index}"

    @property
    def name(self) -> tuple[str, int]:
        """The item's name among its action's items: the subject's name, and the index."""
        return self.subject.name, self.index

    @property
    def seed(self) -> int:
        """The noise seed, a 63-bit hash: the same for every method, batch size, order, machine."""
        text = f"{self.run_seed}|{self.action.name}|{self.subject.name}|{self.index}"
        return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1

    @property
    def described_prompt(self) -> str:
        """The prompt in plain words: "A panda raises both arms for cheering"."""
        return self._prompt(self.action.description)

    @property
    def slot_prompt(self) -> str:
        """The prompt with `SLOT` for the identifier: "A panda {}"."""
        return self._prompt(SLOT)

    def _prompt(self, action: str) -> str:
        return self.prompt.replace("{subject}", self.subject.phrase).replace("{action}", action)


def make_items(
    actions: Iterable[Action],
    subjects: Sequence[Subject],
    images_per_pair: int,
    run_seed: int,
    prompt: str = PROMPT,
) -> list[Item]:
    """Return the items of every action and subject, `images_per_pair` of each."""
    return [
        Item(action, subject, index, run_seed, prompt)
        for action in actions
        for subject in subjects
        for index in range(images_per_pair)
    ]


def fold(name: str) -> str:
    """Return what two spellings of one name share: letter case and composed accents do not count.

    Disks and keyboards write "é" as one sign or as two; both are the same letter.
    """
    composed = unicodedata.normalize("NFC", name).casefold()
    return unicodedata.normalize("NFC", composed)


@lru_cache(4096)
def slug(name: str) -> str:
    """Return a name as a folder's name: "Old man" becomes "old-man", "Zoë!" becomes "zoë".

    Letters, their marks and digits of every script are kept; what is between them is a hyphen.
    """
    kept = (sign if unicodedata.category(sign)[0] in "LMN" else " " for sign in fold(name))
    return "-".join("".join(kept).split())


@dataclass(frozen=True)
class Sampling:
    """How a suite's images are drawn, the same for every method."""

    steps: int
    guidance_scale: float
    negative_prompt: str = ""
    """What guidance leads away from; empty as a rule. One for all of a suite's images."""


@lru_cache
def benchmark_lists() -> dict[str, Any]:
    """Read the lists of actions and subjects from their one home, `actionbench/data/paper.json`."""
    text = PAPER.read_text("utf-8")
    return json.loads(text)  # type: ignore[no-any-return]


def paper_actions() -> tuple[Action, ...]:
    """Return the paper's eight actions, which are for measuring only."""
    return tuple(Action(**row) for row in benchmark_lists()["actions"])


def development_actions() -> tuple[Action, ...]:
    """Return the puppets' extra actions, which all tuning is done on."""
    return tuple(Action(**row) for row in benchmark_lists()["development_actions"])


def paper_subjects() -> tuple[Subject, ...]:
    """Return the paper's subjects."""
    return tuple(Subject(**row) for row in benchmark_lists()["subjects"])
