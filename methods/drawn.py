"""A board's ceiling and floor on drawn suites: each item as the suite draws it, right or wrong.

No model draws them, so they say what the judge makes of pictures that are right, and of pictures in
which everything but the action is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from actionbench.errors import UserError, unknown
from actionbench.files.kinds import KINDS
from actionbench.method import Customization, Method
from actionbench.progress import Progress
from actionbench.puppets.drawing.holding import anywhere, held, packed, ways
from actionbench.puppets.drawing.looks import SUBJECTS, varied
from actionbench.puppets.drawing.pose import ACTIONS
from actionbench.puppets.drawing.scene import draw
from actionbench.settings import NoSettings
from actionbench.suite.items import ActionTask, Item

if TYPE_CHECKING:
    from PIL.Image import Image

    from actionbench.diffusion.backbone import Backbone

SIDE = 64
"""Pixels of a picture: as many as the miniature models draw."""


class Drawn(Method[NoSettings]):
    """The suite's own drawing of each item: the asked subject in the asked action."""

    name = "drawn"
    title = "Drawn (ceiling)"
    reference = "the suite's own drawings"
    kinds = tuple(KINDS)
    needs_backbone = False
    ranked = False

    def check_task(self, task: ActionTask) -> None:
        if not task.poses:
            raise UserError(
                f"'{self.name}' draws what a suite was drawn from, and '{task.action.name}' is of "
                "one that was not, or of the first world's: leave this row out"
            )

    def fit(
        self, backbone: Backbone | None, task: ActionTask, *, seed: int, progress: Progress
    ) -> Customization:
        """Keep the action's poses."""
        self.check_task(task)
        return Customization(
            method=self.name,
            action=task.action.name,
            model="" if backbone is None else backbone.fingerprint,
            facts={"poses": [dict(pose) for pose in task.poses]},
        )

    def generate(
        self, backbone: Backbone | None, customization: Customization, items: Sequence[Item]
    ) -> Iterator[Image]:
        side = SIDE if backbone is None else backbone.image_size
        for item in items:
            if item.subject.name not in SUBJECTS:
                raise unknown("subject of the drawn world", item.subject.name, SUBJECTS)
            rng = np.random.default_rng(item.seed)
            look = varied(SUBJECTS[item.subject.name], rng)
            pose = held(self.poses(customization, rng), rng)
            yield draw(anywhere(look, pose, rng), side)[0]

    def poses(
        self, customization: Customization, rng: np.random.Generator
    ) -> Sequence[Mapping[str, Any]]:
        """Return the poses of which the drawing shows one, as JSON values."""
        poses: Sequence[Mapping[str, Any]] = customization.facts["poses"]
        return poses


class OtherAction(Drawn):
    """A drawing of the asked subject in another action: one of the eight or for development."""

    name = "other-action"
    title = "Another action (floor)"

    def poses(
        self, customization: Customization, rng: np.random.Generator
    ) -> Sequence[Mapping[str, Any]]:
        others = [name for name in ACTIONS if name != customization.action]
        return [packed(pose) for pose in ways(others[int(rng.integers(len(others)))])]
