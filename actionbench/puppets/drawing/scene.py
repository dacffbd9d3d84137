"""Scenes: who does what, where. One scene gives a picture, its words and its keypoints."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

from actionbench.puppets.drawing.backdrop import BACKDROPS
from actionbench.puppets.drawing.figure import Figure
from actionbench.puppets.drawing.looks import Look
from actionbench.puppets.drawing.pen import Pen, Point, between, shade
from actionbench.puppets.drawing.pose import Joints, Pose, solve
from actionbench.puppets.drawing.quadruped import Quadruped, Stance
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
    pose: Pose | Stance
    """A `Pose` is held upright, a `Stance` on four legs."""
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
    """Draw the picture, RGB [size, size], and its keypoints, float32 [18, 3] in [0, 1].

    Shapes are filled without anti-aliasing on a canvas `supersampling` times as large, which is
    then reduced by a box filter.
    """
    rng = np.random.default_rng(scene.seed)
    pen = Pen(size * supersampling)
    BACKDROPS[scene.backdrop][1](pen, rng)
    ground = float(rng.uniform(0.9, 0.94))
    center = float(rng.normal(0.5, 0.03))
    body: Figure | Quadruped
    if isinstance(scene.pose, Stance):
        body = Quadruped(pen, scene.look, scene.pose, center, ground)
        _shadow(pen, list(body.p.values()), ground, 0.8)
    else:
        joints = solve(scene.pose, BODY * scene.look.height, scene.look.build, center, ground)
        _shadow(pen, list(joints.points.values()), ground, joints.unit)
        _behind(pen, scene.pose, joints, ground, rng)
        body = Figure(pen, scene.look, scene.pose, joints)
    body.paint()
    if isinstance(body, Figure):
        _in_front(pen, body.pose, body.joints, ground)
    return pen.image.reduce(supersampling), body.keypoints()


def _shadow(pen: Pen, points: list[Point], ground: float, unit: float) -> None:
    low = [x for x, y in points if y > ground - 0.12 * unit] or [x for x, _ in points]
    x0, x1 = max(0.01, min(low) - 0.07 * unit), min(0.99, max(low) + 0.07 * unit)
    x, y = round((x0 + x1) / 2 * pen.size), round(min(0.995, ground + 0.004) * pen.size)
    color = pen.image.getpixel((min(max(x, 0), pen.size - 1), y))
    s, h = pen.size, 0.022 * unit
    box = (x0 * s, (ground - h) * s, x1 * s, (ground + h) * s)
    pen.draw.ellipse(box, fill=shade(color, 0.72))  # type: ignore[arg-type]


def _behind(pen: Pen, pose: Pose, joints: Joints, ground: float, rng: np.random.Generator) -> None:
    """Draw what stands behind a pose: a seat, a ladder, or a wall to lean on."""
    if pose.prop == "seat":
        _seat(pen, joints, ground, rng)
    elif pose.prop == "ladder":
        x, w = joints.points["pelvis"][0], 0.13 * joints.unit
        for rail in (x - w, x + w):
            pen.rectangle(rail - 0.016, 0.03, rail + 0.016, ground, (120, 78, 44))
        for rung in np.arange(0.1, ground - 0.03, 0.11):
            pen.rectangle(x - w, rung, x + w, rung + 0.026, (150, 100, 58))
    elif pose.prop == "wall":
        side = 1.0 if pose.roll > 0 else -1.0
        hand = joints.points["left_wrist" if side > 0 else "right_wrist"]
        inner = hand[0] + side * 0.03 * joints.unit
        outer = inner + side * 0.12
        x0, x1 = min(inner, outer), max(inner, outer)
        pen.rectangle(x0 - 0.01, 0.12, x1 + 0.01, ground, (70, 50, 44))
        pen.rectangle(x0, 0.13, x1, ground - 0.01, (178, 106, 84))
        for course in np.arange(0.2, ground - 0.05, 0.09):
            pen.rectangle(x0, course, x1, course + 0.012, (214, 160, 136))


_ROPE = (146, 98, 54)
_WOODS = ((150, 100, 62), (196, 62, 58), (70, 110, 170), (128, 132, 140))


def _seat(pen: Pen, joints: Joints, ground: float, rng: np.random.Generator) -> None:
    """Draw a box, a stool or a chair under whoever sits."""
    (x, y), u = joints.points["pelvis"], joints.unit
    w, top, edge = 0.1 * u, y + 0.05 * u, 0.011 * u
    color = _WOODS[rng.integers(len(_WOODS))]
    dark, light = shade(color, 0.42), shade(color, 1.2)
    kind = rng.integers(3)
    if kind == 0:
        pen.rectangle(x - w - edge, top - edge, x + w + edge, ground, dark)
        pen.rectangle(x - w, top, x + w, ground - edge, color)
        pen.rectangle(x - w, top, x + w, top + 0.03 * u, light)
        return
    back = -1.0 if joints.turn > 0 else 1.0
    for s in (-1, 1):
        leg = x + s * (w - 0.02 * u)
        pen.rectangle(leg - 0.018 * u - edge, top, leg + 0.018 * u + edge, ground, dark)
        pen.rectangle(leg - 0.018 * u, top, leg + 0.018 * u, ground - edge, color)
    if kind == 2:
        at = x + back * (w + 0.01 * u)
        pen.rectangle(at - 0.022 * u - edge, top - 0.27 * u, at + 0.022 * u + edge, top, dark)
        pen.rectangle(at - 0.022 * u, top - 0.27 * u + edge, at + 0.022 * u, top, color)
    pen.rectangle(x - w - edge, top - edge, x + w + edge, top + 0.04 * u + edge, dark)
    pen.rectangle(x - w, top, x + w, top + 0.04 * u, light)


def _in_front(pen: Pen, pose: Pose, joints: Joints, ground: float) -> None:
    """Draw what the hands hold or move."""
    p, u = joints.points, joints.unit
    right, left = p["right_wrist"], p["left_wrist"]
    if pose.prop == "barbell":
        y = (right[1] + left[1]) / 2 - 0.02 * u
        x0, x1 = sorted((right[0], left[0]))
        pen.line([(x0 - 0.12 * u, y), (x1 + 0.12 * u, y)], 0.026 * u, (60, 62, 70))
        for x in (x0 - 0.11 * u, x1 + 0.11 * u):
            pen.rectangle(x - 0.026 * u, y - 0.085 * u, x + 0.026 * u, y + 0.085 * u, (40, 42, 50))
    elif pose.prop == "bow":
        # The hand that is stretched out holds the bow, the other the string.
        far = max((right, left), key=lambda wrist: abs(wrist[0] - p["neck"][0]))
        near = left if far is right else right
        side = 1.0 if far[0] > p["neck"][0] else -1.0
        x, y = far
        arc = [(x + side * (0.06 - 0.14 * (v / 0.24) ** 2) * u, y + v * u)
               for v in (-0.24, -0.16, -0.08, 0.0, 0.08, 0.16, 0.24)]  # fmt: skip
        pen.line(arc, 0.026 * u, (124, 78, 44))
        pen.line([arc[0], near, arc[-1]], 0.01 * u, (236, 236, 236))
        pen.line([near, (x + side * 0.14 * u, y)], 0.014 * u, (70, 50, 40))
    elif pose.prop in ("rope", "crate"):
        side = 1.0 if joints.turn > 0 else -1.0
        x, y = between(right, left, 0.5)
        if pose.prop == "rope":
            pen.line([(x - side * 0.03 * u, y), (0.5 + side * 0.5, y + 0.02)], 0.04 * u, _ROPE)
            return
        x = max(side * right[0], side * left[0]) * side + side * 0.045 * u
        x0, x1 = sorted((x, x + side * 0.24 * u))
        top = y - 0.14 * u
        pen.rectangle(x0 - 0.01, top - 0.01, x1 + 0.01, ground + 0.01, shade(_WOODS[0], 0.42))
        pen.rectangle(x0, top, x1, ground, _WOODS[0])
        pen.line([(x0, top), (x1, ground)], 0.03 * u, shade(_WOODS[0], 1.3))
    elif pose.prop == "ball":
        x, y = min((right, left), key=lambda wrist: wrist[1])
        pen.circle((x, y - 0.045 * u), 0.067 * u, (90, 30, 30))
        pen.circle((x, y - 0.045 * u), 0.055 * u, (230, 70, 50))
