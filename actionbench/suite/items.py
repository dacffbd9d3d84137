"""What the benchmark is made of: actions, subjects, exemplars, and the items to draw."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from actionbench.suite.shipped import PAPER

if TYPE_CHECKING:
    import numpy as np
    from PIL.Image import Image

SLOT = "{}"
"""Where a method's identifier stands in a prompt or caption template."""

PROMPT = "{subject} {action}"
"""The prompt to draw: "A panda {}" (paper, section 4). A suite of one's own may have another."""

NONE = "none"
"""A judge's answer when an image shows none of the candidates."""


@dataclass(frozen=True)
class Action:
    name: str
    description: str
    """The textual description, a verb phrase: "raises both arms for cheering"."""


@dataclass(frozen=True)
class Subject:
    name: str
    category: str
    """A group: `human`, `celebrity` or `animal` in the paper."""
    phrase: str
    """How a prompt names it: "A panda", "Batman"."""


@dataclass(frozen=True)
class Exemplar:
    """One picture of somebody doing the action."""

    id: str
    image: Image = field(repr=False, compare=False)
    """RGB, square: 512 pixels as a rule; the backbone resizes it to its own size."""
    caption: str
    """The caption with the action's description in it."""
    template: str
    """The same caption with `SLOT` in place of the action's description."""
    keypoints: np.ndarray | None = field(repr=False, compare=False)
    """float32 [18, 3]: x, y in [0, 1] and visibility, in OpenPose's order. None for a photograph
    whose keypoints nobody has read."""


@dataclass(frozen=True)
class ActionTask:
    """What a method is fitted on: one action and its exemplars (ten in the paper)."""

    action: Action
    exemplars: tuple[Exemplar, ...]
    fingerprint: str
    """Hash of the exemplars' pixels, captions and keypoints."""


@dataclass(frozen=True)
class Item:
    """One image to draw. Its noise seed depends on all but the prompt."""

    action: Action
    subject: Subject
    index: int
    run_seed: int = 0
    prompt: str = PROMPT
    """The suite's, with `{subject}` and `{action}` to fill in."""

    @property
    def id(self) -> str:
        return f"{self.action.name}/{slug(self.subject.name)}/{self.index}"

    @property
    def name(self) -> tuple[str, int]:
        """Its name among its action's items: the subject's, and the index."""
        return self.subject.name, self.index

    @property
    def seed(self) -> int:
        """Noise seed, a 63-bit hash: the same for every method, batch size, order and machine."""
        text = f"{self.run_seed}|{self.action.name}|{self.subject.name}|{self.index}"
        return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1

    @property
    def described_prompt(self) -> str:
        """The prompt in words alone: "A panda raises both arms for cheering"."""
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
    return [
        Item(action, subject, index, run_seed, prompt)
        for action in actions
        for subject in subjects
        for index in range(images_per_pair)
    ]


def slug(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


@dataclass(frozen=True)
class Sampling:
    """How a suite's images are drawn, the same for every method."""

    steps: int
    guidance_scale: float


@lru_cache
def benchmark_lists() -> dict[str, Any]:
    """The lists of actions and subjects, from their one home `actionbench/data/paper.json`."""
    text = PAPER.read_text("utf-8")
    return json.loads(text)  # type: ignore[no-any-return]


def paper_actions() -> tuple[Action, ...]:
    return tuple(Action(**row) for row in benchmark_lists()["actions"])


def development_actions() -> tuple[Action, ...]:
    """The puppets' extra actions, for all tuning: the eight are for measuring only."""
    return tuple(Action(**row) for row in benchmark_lists()["development_actions"])


def paper_subjects() -> tuple[Subject, ...]:
    return tuple(Subject(**row) for row in benchmark_lists()["subjects"])
