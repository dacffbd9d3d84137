"""The judges' interface: does an image show the item's action, and its subject?"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self

from actionbench.errors import UserError
from actionbench.files.models import Network, from_hub
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
"""The columns of a run's verdicts in their order, with their types; one row per image.

`image` is the PNG's path relative to the runs folder; `total_correct` means that action and subject
are correct on the same image.
"""

PAIR = ["action", "subject", "index"]
"""The columns that make two images comparable. The run's seed is not one of them: runs of different
seeds are still paired on what their images should show, though no longer on the noise."""


@dataclass(frozen=True)
class Verdict:
    """What a judge says about one image: is its action correct, and its subject?

    Example:
        >>> Verdict(
        ...     action_correct=True, subject_correct=False,
        ...     action_seen="sit", subject_seen="none",
        ...     action_score=0.93, subject_score=0.08,
        ... )
    """

    action_correct: bool
    subject_correct: bool
    action_seen: str
    """The name of the action that the judge sees, `none`, or "" if it only says yes or no."""
    subject_seen: str
    """The name of the subject that the judge sees, `none`, or "" if it only says yes or no."""
    action_score: float
    """The judge's probability for the item's action, in [0, 1]."""
    subject_score: float
    """The judge's probability for the item's subject, in [0, 1]."""

    @classmethod
    def naming(
        cls, item: Item, action: str, subject: str, action_score: float, subject_score: float
    ) -> Self:
        """Make the verdict of a judge that names what it sees.

        Args:
            item: what the image should show.
            action: the name of the action that the judge sees, or `none`. The verdict is correct
                if it is the item's.
            subject: the name of the subject that it sees, or `none`; likewise.
            action_score: the probability of the item's action.
            subject_score: the probability of the item's subject.
        """
        return cls(
            action_correct=action == item.action.name,
            subject_correct=subject == item.subject.name,
            action_seen=action,
            subject_seen=subject,
            action_score=action_score,
            subject_score=subject_score,
        )


class Judge(ABC):
    """A judge of images: does each show the item's action and subject?

    A judge is a subclass, registered under its `name` in the entry points `actionbench.judges`. It
    must define `fingerprint` and `judge`. Constructing one is cheap and imports no torch: weights
    are loaded by the first call of `judge`.

    Args:
        suite: the suite whose actions and subjects the judge chooses among.
        device: `cpu` or `cuda`.
        settings: an instance of the class's `Settings`; its defaults if None.

    Example:
        >>> class Brightness(Judge):
        ...     name = "brightness"
        ...     fingerprint = "brightness-1"
        ...
        ...     def judge(self, images, items):
        ...         bright = [bool(np.asarray(image).mean() > 127) for image in images]
        ...         return [Verdict(b, b, "", "", float(b), float(b)) for b in bright]
    """

    name: ClassVar[str]
    """What `--judge` takes, and the name of the entry point."""
    Settings: ClassVar[type] = NoSettings
    """A frozen dataclass of `settings.setting` fields, changed by `--judge-set key=value`."""

    def __init__(self, suite: Suite, device: str = "cpu", settings: Any = None) -> None:
        self.suite = suite
        self.device = device
        self.settings = self.Settings() if settings is None else settings

    @classmethod
    def preset(cls, suite: Suite) -> Mapping[str, Any]:
        """Return the settings that differ from the defaults on a suite; none unless overridden."""
        return {}

    @property
    @abstractmethod
    def fingerprint(self) -> str:
        """The hash of weights, rules and settings, stored with every verdict.

        It is computed without torch.

        Raises:
            UserError: if the weights are missing.
        """

    @property
    def networks(self) -> tuple[Network, ...]:
        """The networks that it judges with, each with the class that loads it.

        `actionbench doctor` and `prefetch` compare their weights with what the class needs. They
        are named without torch.
        """
        return ()

    @property
    def downloads(self) -> tuple[str, ...]:
        """The Hub ids (`owner/name`, `owner/name@revision`) of the models that it judges with.

        `actionbench prefetch` fetches them. They are computed without torch; those of `networks` if
        not overridden.
        """
        return from_hub(*(network.path_or_id for network in self.networks))

    @property
    def dtype(self) -> str:
        """The number format that it computes in: `float32`, `float16` or `bfloat16`."""
        dtype: str = getattr(self.settings, "dtype", "float32")
        return dtype

    @abstractmethod
    def judge(self, images: Sequence[Image], items: Sequence[Item]) -> list[Verdict]:
        """Judge images.

        Args:
            images: RGB, of any size.
            items: what each image should show, in the same order.

        Returns:
            One verdict per image, in the same order, with finite scores. It must not depend on the
            other images of the batch, but for the rounding of half precision.

        Raises:
            UserError: if the weights are missing or damaged.
        """

    def without(self, exemplars: Collection[str]) -> Self:
        """Return this judge, but not looking at some exemplars, with its networks loaded once.

        `judges calibrate` shows an exemplar to a judge that does not know it. A judge that looks at
        no exemplars returns itself.

        Args:
            exemplars: ids of the exemplars to leave out.
        """
        return self

    def suggest(self, scores: np.ndarray, truth: np.ndarray) -> dict[str, Any]:
        """Return the settings that balance this judge's errors; none if it has none to set.

        Args:
            scores: float [n, A], the probability of each of the suite's actions on n images.
            truth: int [n], which of the actions each image shows.
        """
        return {}


def verdicts_of(judge: Judge, images: Sequence[Image], items: Sequence[Item]) -> list[Verdict]:
    """Have images judged, and check what comes back.

    Raises:
        UserError: if the judge does, if there is not one verdict per image, or if a score is not a
            finite number: a NaN compares as false, and would count as a wrong image.
    """
    verdicts = judge.judge(images, items)
    if len(verdicts) != len(images):
        raise UserError(
            f"the {judge.name} judge gave {len(verdicts)} verdicts on {len(images)} images: fix it"
        )
    for item, verdict in zip(items, verdicts, strict=True):
        scores = (verdict.action_score, verdict.subject_score)
        if not all(map(math.isfinite, scores)):
            raise UserError(
                f"the {judge.name} judge's scores of {item.id} are not finite numbers {scores}: "
                "its weights are damaged, or its number format is too narrow (--judge-set dtype=)"
            )
    return verdicts
