"""The campaign's method and judges: the small ones of the tests, with places to be struck at."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from PIL import Image

from actionbench.diffusion.backbone import Backbone
from actionbench.judge import Verdict
from actionbench.method import Customization
from actionbench.progress import Progress
from actionbench.suite.items import ActionTask, Item
from tests.helpers.small_run import Brightness, Drift

METADATA = "Metadata-Version: 2.1\nName: actionbench-campaign\nVersion: 1\n"
ENTRY_POINTS = """\
[actionbench.methods]
slow = benchmarks.campaign.plugin:Slow
[actionbench.judges]
brightness = benchmarks.campaign.plugin:Watched
dimness = benchmarks.campaign.plugin:Dimness
"""

reached: Callable[[str], None] = lambda stage: None  # noqa: E731
"""Called at each step of "fit", and at each image of "draw" and "judge"; a case replaces it."""


class _Steps(Progress):
    """Passes a fit's progress on, and says that it has come so far."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress

    def update(self, *words: Any) -> None:
        self._progress.update(*words)
        reached("fit")


class Slow(Drift):
    """The small method, in steps that can be counted."""

    name = "slow"
    title = "Slow"

    def fit(
        self, backbone: Backbone, task: ActionTask, *, seed: int, progress: Progress
    ) -> Customization:
        return super().fit(backbone, task, seed=seed, progress=_Steps(progress))

    def generate(
        self, backbone: Backbone, customization: Customization, items: Sequence[Item]
    ) -> Iterator[Image.Image]:
        for image in super().generate(backbone, customization, items):
            reached("draw")
            yield image


class Watched(Brightness):
    """The small judge, image by image."""

    def judge(self, images: Sequence[Image.Image], items: Sequence[Item]) -> list[Verdict]:
        for _ in images:
            reached("judge")
        return super().judge(images, items)


class Dimness(Watched):
    """A second judge, whose verdicts are the first one's turned round."""

    name = "dimness"
    rule = "2"

    def judge(self, images: Sequence[Image.Image], items: Sequence[Item]) -> list[Verdict]:
        return [
            Verdict(not v.action_correct, not v.subject_correct, "", "", 0.5, 0.5)
            for v in super().judge(images, items)
        ]
