"""The judges' interface: does an image show the item's action, and its subject?"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from PIL.Image import Image

    from actionbench.benchmark import Item
    from actionbench.suites import Suite

VERDICT_COLUMNS = (
    "method",
    "suite",
    "protocol",
    "action",
    "subject",
    "category",
    "index",
    "seed",
    "image",
    "action_correct",
    "subject_correct",
    "total_correct",
    "action_seen",
    "subject_seen",
    "action_score",
    "subject_score",
    "judge",
    "judge_fingerprint",
)
"""The columns of a run's verdicts Parquet, one row an image.

`image` is the PNG's path relative to the runs folder; `total_correct` is both on the same image.
"""


@dataclass(frozen=True)
class Verdict:
    action_correct: bool
    subject_correct: bool
    action_seen: str
    """The action's name that the judge would give, `none`, or "" where it only says yes or no."""
    subject_seen: str
    action_score: float
    """The judge's probability for the item's action, in [0, 1]."""
    subject_score: float


class Judge(ABC):
    """Constructing one is cheap and imports no torch: weights are loaded by the first `judge`."""

    name: ClassVar[str]

    def __init__(self, suite: Suite, device: str = "cpu") -> None:
        self.suite = suite
        self.device = device

    @property
    @abstractmethod
    def fingerprint(self) -> str:
        """Hash of weights and rules, stored with every verdict; computed without torch."""

    @property
    def downloads(self) -> tuple[str, ...]:
        """Hub ids (`owner/name`, `owner/name@revision`) of the models that it judges with:
        `actionbench prefetch` fetches them. Computed without torch."""
        return ()

    @abstractmethod
    def judge(self, images: Sequence[Image], items: Sequence[Item]) -> list[Verdict]:
        """One verdict an image, independent of the batch it came in."""
