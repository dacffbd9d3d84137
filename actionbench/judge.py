"""The judges' interface: does an image show the item's action, and its subject?"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self

from actionbench.settings import NoSettings

if TYPE_CHECKING:
    import numpy as np
    from PIL.Image import Image

    from actionbench.suite.items import Item
    from actionbench.suite.suite import Suite

VERDICT_COLUMNS: dict[str, type] = {
    **dict.fromkeys(("method", "suite", "protocol", "action", "subject", "category"), str),
    **dict.fromkeys(("index", "seed"), int),
    "image": str,
    **dict.fromkeys(("action_correct", "subject_correct", "total_correct"), bool),
    **dict.fromkeys(("action_seen", "subject_seen"), str),
    **dict.fromkeys(("action_score", "subject_score"), float),
    **dict.fromkeys(("judge", "judge_fingerprint"), str),
}
"""The columns of a run's verdicts Parquet in their order, one row an image, with their types.

`image` is the PNG's path relative to the runs folder; `total_correct` is both on the same image.
"""

PAIR = ["action", "subject", "index"]
"""What makes two images comparable. The run's seed is not part of it: runs of different seeds are
still paired on what is asked for, though no longer on the noise."""


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

    @classmethod
    def naming(
        cls, item: Item, action: str, subject: str, action_score: float, subject_score: float
    ) -> Self:
        """Of a judge that names what it sees: right where that is the item's."""
        return cls(
            action_correct=action == item.action.name,
            subject_correct=subject == item.subject.name,
            action_seen=action,
            subject_seen=subject,
            action_score=action_score,
            subject_score=subject_score,
        )


class Judge(ABC):
    """Constructing one is cheap and imports no torch: weights are loaded by the first `judge`."""

    name: ClassVar[str]
    Settings: ClassVar[type] = NoSettings
    """A frozen dataclass of `settings.setting` fields, changed by `--judge-set key=value`."""

    def __init__(self, suite: Suite, device: str = "cpu", settings: Any = None) -> None:
        self.suite = suite
        self.device = device
        self.settings = self.Settings() if settings is None else settings

    @property
    @abstractmethod
    def fingerprint(self) -> str:
        """Hash of weights, rules and settings, stored with every verdict; computed without torch.

        UserError where the weights are missing.
        """

    @property
    def downloads(self) -> tuple[str, ...]:
        """Hub ids (`owner/name`, `owner/name@revision`) of the models that it judges with:
        `actionbench prefetch` fetches them. Computed without torch."""
        return ()

    @property
    def dtype(self) -> str:
        """The number format that it computes in: `float32`, `float16` or `bfloat16`."""
        dtype: str = getattr(self.settings, "dtype", "float32")
        return dtype

    @abstractmethod
    def judge(self, images: Sequence[Image], items: Sequence[Item]) -> list[Verdict]:
        """One verdict an image, independent of the batch it came in."""

    def without(self, exemplars: Collection[str]) -> Self:
        """The same judge, loaded once for both, kept from looking at these exemplars (ids).

        Itself where it looks at none. It is what `judges calibrate` shows an exemplar to.
        """
        return self

    def suggest(self, scores: np.ndarray, truth: np.ndarray) -> dict[str, Any]:
        """The settings that balance its errors; empty where it has none to set.

        `scores` [n, A]: the probability of each of the suite's actions on n images; `truth` [n]:
        which of them the image shows.
        """
        return {}
