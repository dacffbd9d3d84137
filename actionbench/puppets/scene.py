"""Scenes: who does what, where. One scene gives a picture, its words and its keypoints."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

from actionbench.puppets.backdrop import BACKDROPS
from actionbench.puppets.figure import Figure, Pen, shade
from actionbench.puppets.looks import Look
from actionbench.puppets.pose import Pose, solve
from actionbench.suite.items import SLOT

BODY = 0.8
"""Height of a standing figure in picture widths, for a look of height 1."""


@dataclass(frozen=True)
class Scene:
    who: str
    """The subject's words: "Batman", "a person with red hair, ..."."""
    does: str
    """The pose's words: "walks"; empty where the caption says nothing of it."""
    where: str
    """The backdrop's words; empty where the caption says nothing of it."""
    look: Look
    pose: Pose
    backdrop: str
    seed: int
    """Of everything small: where the tree stands, how high the horizon is."""

    @property
    def caption(self) -> str:
        return " ".join(part for part in (self.who, self.does, self.where) if part)

    @property
    def template(self) -> str:
        """The caption with the identifier's slot where the pose's words stand."""
        return replace(self, does=SLOT).caption


def draw(scene: Scene, size: int, supersampling: int = 4) -> tuple[Image.Image, np.ndarray]:
    """The picture, RGB [size, size], and its keypoints, float32 [18, 3] in [0, 1].

    Shapes are filled without anti-aliasing on a canvas `supersampling` times as large, which is
    then reduced by a box filter.
    """
    rng = np.random.default_rng(scene.seed)
    pen = Pen(size * supersampling)
    BACKDROPS[scene.backdrop][1](pen, rng)
    ground = float(rng.uniform(0.9, 0.94))
    center = float(rng.normal(0.5, 0.03))
    joints = solve(scene.pose, BODY * scene.look.height, scene.look.build, center, ground)
    _shadow(pen, joints.points, ground, joints.unit)
    if scene.pose.seat:
        _seat(pen, joints.points["pelvis"], ground, joints.unit)
    figure = Figure(pen, scene.look, scene.pose, joints)
    figure.paint()
    return pen.image.reduce(supersampling), figure.keypoints()


def _shadow(pen: Pen, points: dict[str, tuple[float, float]], ground: float, unit: float) -> None:
    low = [x for x, y in points.values() if y > ground - 0.12 * unit] or [points["pelvis"][0]]
    x0, x1 = min(low) - 0.07 * unit, max(low) + 0.07 * unit
    middle = round((x0 + x1) / 2 * pen.size), round(min(0.995, ground + 0.004) * pen.size)
    color = pen.image.getpixel((min(max(middle[0], 0), pen.size - 1), middle[1]))
    s, h = pen.size, 0.022 * unit
    box = (x0 * s, (ground - h) * s, x1 * s, (ground + h) * s)
    pen.draw.ellipse(box, fill=shade(color, 0.72))  # type: ignore[arg-type]


def _seat(pen: Pen, pelvis: tuple[float, float], ground: float, unit: float) -> None:
    x, y = pelvis
    w, top = 0.1 * unit, y + 0.05 * unit
    edge = 0.009 * unit
    pen.rectangle(x - w - edge, top - edge, x + w + edge, ground, (64, 44, 32))
    pen.rectangle(x - w, top, x + w, ground - edge, (150, 100, 62))
    pen.rectangle(x - w, top, x + w, top + 0.03 * unit, (184, 130, 84))
