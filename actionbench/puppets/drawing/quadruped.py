"""Animals on four legs, seen from the side."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import numpy as np

from actionbench.puppets.drawing.heads import AnimalHead
from actionbench.puppets.drawing.looks import Beast, Face, Look, Tail
from actionbench.puppets.drawing.pen import Color, Frame, Pen, Point, between, shade
from actionbench.puppets.drawing.pose import Mouth

STANCES: dict[str, tuple[str, ...]] = {
    # name -> words, each of which may stand in a caption
    "all-fours": ("stands on all fours", "stands"),
    "walking": ("walks on four legs", "walks", "wanders"),
    "running": ("gallops", "runs", "bounds"),
    "haunches": ("rests on its haunches", "waits on its haunches"),
    "lying": ("lies down", "rests on the ground", "lies"),
    "sleeping": ("sleeps", "naps"),
    "sniffing": ("sniffs the ground", "sniffs", "grazes"),
    "rearing": ("rears up", "rears on its hind legs"),
}
"""How animals live on four legs; the words are none of the actions'."""


_SPOTS = tuple(
    # Scattered by an irrational step, so that they line up in neither rows nor columns.
    (-0.16 + 1.14 * ((0.31 + i * 0.618034) % 1.0), 0.84 - 1.5 * (i + 0.5) / 24)
    for i in range(24)
)


@dataclass(frozen=True)
class Stance:
    """One way to be on four legs, held by nobody in particular."""

    name: str = "all-fours"
    facing: Literal[-1, 1] = 1
    """1 faces the picture's right, -1 its left."""
    phase: float = 0.0
    """Of the legs and the tail, about -1 to 1."""
    neck: float = 0.0
    """Degrees above the animal's usual."""
    pitch: float = 0.0
    """Degrees that the face looks down below its usual."""
    gaze: float = 0.0
    """Degrees that the face turns away from the viewer beyond its usual."""
    mouth: Mouth = "smile"


def four_legged(name: str, rng: np.random.Generator) -> Stance:
    """Draw one holding of a stance."""
    mouths: tuple[Mouth, ...] = ("smile", "smile", "flat", "open")
    return Stance(
        name,
        1 if rng.random() < 0.5 else -1,
        float(np.clip(rng.normal(0, 0.5), -1, 1)),
        float(rng.normal(0, 5)),
        float(rng.normal(0, 4)),
        float(rng.normal(0, 7)),
        mouths[rng.integers(len(mouths))],
    )


@dataclass(frozen=True)
class _Skeleton:
    """Where a body's parts are: x forwards, y up from the ground, in the body's own lengths."""

    points: dict[str, Point]
    head_pitch: float
    asleep: bool = False


def _elbow(start: Point, end: Point, a: float, b: float, bend: int) -> Point:
    """Find the middle joint of two bones; `bend` is its side of the line, 1 to the front."""
    dx, dy = end[0] - start[0], end[1] - start[1]
    d = math.hypot(dx, dy) or 1e-6
    reach = min(d, (a + b) * 0.999)
    along = (a * a - b * b + reach * reach) / (2 * reach)
    off = math.sqrt(max(0.0, a * a - along * along))
    ux, uy = dx / d, dy / d
    along *= d / reach if d > reach else 1.0
    return start[0] + ux * along - uy * off * bend, start[1] + uy * along + ux * off * bend


def _build(b: Beast, s: Stance) -> _Skeleton:
    """Place hips, shoulders, head and paws for a body in a stance."""
    front = b.legs + 0.9 * b.chest + b.slope
    hind = b.legs + 0.9 * b.rump
    half = b.length / 2
    hip, shoulder = (-half, hind), (half, front)
    neck, pitch, asleep = b.neck_angle + s.neck, s.pitch, False
    sway = 0.05 * s.phase * b.legs
    # near front, far front, near hind, far hind
    paws: list[Point] = [
        (half + sway, 0.0),
        (half + 0.08 + 0.12 * b.legs, 0.0),
        (-half - 0.04 - sway, 0.0),
        (-half + 0.07 + 0.1 * b.legs, 0.0),
    ]
    if s.name == "walking":
        step = 0.36 + 0.08 * s.phase
        a, c = step * front, step * hind
        paws = [
            (half + a, 0.0),
            (half - 0.62 * a, 0.03),
            (-half - 0.85 * c, 0.0),
            (-half + 0.75 * c, 0.03),
        ]
    elif s.name == "running":
        up = 0.2 * b.legs + 0.04
        hip, shoulder = (-half, hind + up * 0.8), (half + 0.02, front + up)
        neck -= 14
        reach = 0.8 + 0.08 * s.phase
        paws = [
            (half + reach * front, 0.55 * front),
            (half + 0.8 * reach * front, 0.22 * front),
            (-half - reach * hind, 0.42 * hind),
            (-half - 0.62 * reach * hind, 0.12 * hind),
        ]
    elif s.name == "haunches":
        low = b.rump * 0.98
        rise = min(0.93, (front * 1.02 - low) / b.length)
        hip = (-half * 0.7, low)
        run = math.sqrt(1 - rise * rise) * b.length
        shoulder = (hip[0] + run, low + rise * b.length)
        neck = max(neck, 56 + s.neck)
        paws = [
            (shoulder[0] + 0.05, 0.0),
            (shoulder[0] + 0.13, 0.0),
            (hip[0] + b.rump * 1.15 + 0.05, 0.0),
            (hip[0] + b.rump * 1.15 + 0.12, 0.0),
        ]
    elif s.name in ("lying", "sleeping"):
        hip, shoulder = (-half, b.rump * 0.95), (half, b.chest * 0.95 + b.slope * 0.2)
        ahead = 0.5 * b.legs + b.chest
        paws = [
            (half + ahead, 0.03),
            (half + ahead * 0.8 + 0.1, 0.03),
            (-half + 0.34 * hind + 0.1, 0.02),
            (-half + 0.42 * hind + 0.14, 0.02),
        ]
        if s.name == "sleeping":
            neck, pitch, asleep = -28.0, pitch + 14, True
    elif s.name == "sniffing":
        neck = -46.0 + 0.5 * s.neck
        pitch += 26
        shoulder = (half, front * 0.9)
        paws[0] = (half - 0.06 + sway, 0.0)
        paws[1] = (half + 0.3 * front, 0.0)
    elif s.name == "rearing":
        angle = math.radians(54 + 4 * s.phase)
        hip = (-half * 0.4, hind * 0.94)
        shoulder = (hip[0] + math.cos(angle) * b.length, hip[1] + math.sin(angle) * b.length)
        neck = neck + 26
        paws = [
            (shoulder[0] + 0.62 * front, shoulder[1] + 0.02 + 0.06 * s.phase),
            (shoulder[0] + 0.5 * front, shoulder[1] - 0.34 * front),
            (hip[0] - 0.02, 0.0),
            (hip[0] + 0.3 * hind, 0.0),
        ]
    n = math.radians(neck)
    base = (shoulder[0] + 0.35 * b.chest, shoulder[1] + 0.3 * b.chest)
    head = (base[0] + math.cos(n) * b.neck, base[1] + math.sin(n) * b.neck)
    head = (head[0], max(head[1], b.head * 1.02))
    points: dict[str, Point] = {"hip": hip, "shoulder": shoulder, "base": base, "head": head}
    f = 0.505 * (front - 0.2 * b.chest)
    h = 0.53 * (hind - 0.1 * b.rump)
    for side, (fore, back) in (("near", (paws[0], paws[2])), ("far", (paws[1], paws[3]))):
        shift = 0.0 if side == "near" else 0.03
        top = (shoulder[0] + shift, shoulder[1] - 0.2 * b.chest)
        seat = (hip[0] + shift, hip[1] - 0.1 * b.rump)
        points[f"{side}_fore"], points[f"{side}_seat"] = top, seat
        for joint, found in (
            ("elbow", _elbow(top, fore, f, f, -1)),
            ("knee", _elbow(seat, back, h, h, 1)),
        ):
            points[f"{side}_{joint}"] = (found[0], max(found[1], 1.2 * b.leg))
        points[f"{side}_paw"], points[f"{side}_foot"] = fore, back
    return _Skeleton(points, pitch, asleep)


_TAILS: dict[Tail, list[Point]] = {
    # Paths from the root, in tail lengths, for a body that stands.
    "thin": [(0, 0), (-0.18, -0.22), (-0.36, -0.3), (-0.52, -0.06), (-0.6, 0.24)],
    "tuft": [(0, 0), (-0.2, -0.12), (-0.36, -0.45), (-0.46, -0.85)],
    "up": [(0, 0), (-0.24, 0.12), (-0.36, 0.5), (-0.24, 0.95)],
    "hook": [(0, 0), (-0.24, 0.0), (-0.42, 0.25), (-0.34, 0.62), (-0.52, 0.82), (-0.66, 0.64)],
    "bushy": [(0, 0), (-0.26, -0.1), (-0.5, 0.1), (-0.56, 0.56)],
    "ringed": [(0, 0), (-0.35, -0.05), (-0.65, 0.02), (-0.9, 0.22)],
    "thick": [(0, -0.1), (-0.4, -0.25), (-0.75, -0.3), (-1.1, -0.25)],
    "horse": [(0, 0.05), (-0.2, 0.0), (-0.3, -0.4), (-0.28, -0.9)],
    "plume": [(0, 0), (-0.22, -0.15), (-0.4, -0.5), (-0.52, -0.85)],
    "curl": [(0, 0.1), (-0.5, 0.3), (-0.55, 0.9), (0.0, 0.8), (-0.1, 0.3), (-0.8, 0.2)],
}
_OVER_THE_BACK: list[Point] = [(0, -0.1), (-0.3, 0.05), (-0.38, 0.5), (-0.22, 0.92)]
_LOW = 0.05


def _tail_path(look: Look, b: Beast, k: _Skeleton, s: Stance) -> list[Point]:
    """Lay a tail from its root, nowhere below the ground."""
    path = _TAILS.get(look.tail, [])
    if look.tail == "plume" and b.tail > 0.55:  # a squirrel's or a skunk's
        path = _OVER_THE_BACK
    if s.name == "running" and look.tail in ("thin", "tuft", "horse", "plume"):
        path = [(x * 1.15, y * 0.35) for x, y in path]
    elif s.name in ("lying", "sleeping") and look.tail != "curl":
        path = [(x * 1.1, y * (0.15 if s.name == "sleeping" else 0.45)) for x, y in path]
    hip = k.points["hip"]
    root = (hip[0] - 0.8 * b.rump, hip[1] + 0.35 * b.rump)
    wag = 0.12 * s.phase
    return [
        (root[0] + b.tail * x, max(_LOW, root[1] + b.tail * (y + wag * abs(x)))) for x, y in path
    ]


def _rounded(
    points: list[Point], radii: tuple[float, ...]
) -> tuple[list[Point], tuple[float, ...]]:
    """Cut the corners of a line once, widths included."""
    soft, widths = [points[0]], [radii[0]]
    for i in range(len(points) - 1):
        for t in (0.25, 0.75):
            soft.append(between(points[i], points[i + 1], t))
            widths.append(radii[i] + (radii[i + 1] - radii[i]) * t)
    return [*soft, points[-1]], (*widths, radii[-1])


_MARGIN = 0.03
_SEAM = 0.7
"""How wide a leg's line on the body is, in outlines."""


class _Box(NamedTuple):
    left: float
    right: float
    top: float


def _extent(look: Look, face: Face, b: Beast, k: _Skeleton, tail: Sequence[Point]) -> _Box:
    """Find the least and greatest x and the greatest y of a body."""
    points = [*k.points.values(), *tail]
    xs = [x for x, _ in points]
    ys = [y for _, y in points]
    (x, y), r = k.points["head"], b.head
    crown = {"tall": 2.2, "pointed": 1.85, "leaf": 1.5}.get(face.ears, 1.4)
    if face.horns == "antlers":
        crown = 2.7
    wide = 1.75 if look.mane == "lion" else 1.1
    reach = max(face.snout + face.tip, 1.2) * math.sin(math.radians(face.gaze)) + 0.15
    thick = 0.1 if look.tail in ("plume", "bushy") else 0.04
    left = min(min(xs) - thick - 0.02, k.points["hip"][0] - b.rump, x - r * wide)
    right = max(max(xs) + 0.08, x + r * max(wide, reach))
    top = max(max(ys) + thick, y + r * max(crown, wide), k.points["shoulder"][1] + b.chest)
    return _Box(left, right, top)


class Quadruped:
    """One animal on four legs on one canvas. `paint` draws from back to front."""

    def __init__(self, pen: Pen, look: Look, stance: Stance, center: float, ground: float) -> None:
        if look.beast is None or look.face is None:
            raise ValueError("only an animal stands on four legs")
        self.pen, self.look, self.stance = pen, look, stance
        self.beast = b = look.beast
        self.k = k = _build(b, stance)
        self.sign = stance.facing
        self.tail = _tail_path(look, b, k, stance)
        left, right, top = _extent(look, look.face, b, k, self.tail)
        usual_stance = replace(stance, name="all-fours")
        usual = _build(b, usual_stance)
        still = _extent(look, look.face, b, usual, _tail_path(look, b, usual, usual_stance))
        most = min((1 - 2 * _MARGIN) / (still.right - still.left), 0.84 / still.top) * b.size
        self.unit = min(most * 1.1, (1 - 2 * _MARGIN) / (right - left), 0.87 / top)
        half = (right - left) / 2 * self.unit
        self.center = min(max(center, half + _MARGIN), 1 - _MARGIN - half)
        self.middle = (left + right) / 2
        self.ground = ground
        self.edge = 0.0125
        self.p = {name: self.at(*point) for name, point in k.points.items()}
        pitch = (look.face.pitch + k.head_pitch) * self.sign
        frame = Frame(self.p["head"], pitch, b.head * self.unit)
        yaw = min(86.0, max(20.0, look.face.gaze + stance.gaze)) * self.sign
        self.head = AnimalHead(pen, look, frame, yaw, self.edge, stance.mouth, k.asleep)

    def at(self, x: float, y: float) -> Point:
        """Turn the body's own lengths into the picture's."""
        return self.center + self.sign * (x - self.middle) * self.unit, self.ground - y * self.unit

    # --- the trunk as a surface ---------------------------------------------------------------

    def _radius(self, t: float) -> float:
        b = self.beast
        if t < 0.5:
            return b.rump + (b.waist - b.rump) * math.sin(math.pi * t)
        return b.chest + (b.waist - b.chest) * math.sin(math.pi * t)

    def on(self, t: float, s: float) -> Point:
        """A point of the trunk: `t` 0 at the hips and 1 at the shoulders, `s` 1 on the back and
        -1 on the belly."""
        hip, shoulder = self.k.points["hip"], self.k.points["shoulder"]
        x, y = between(hip, shoulder, t)
        dx, dy = shoulder[0] - hip[0], shoulder[1] - hip[1]
        length = math.hypot(dx, dy) or 1.0
        r = self._radius(min(1.0, max(0.0, t))) * s
        return self.at(x - dy / length * r, y + dx / length * r)

    def _trunk(self, grow: float, color: Color) -> None:
        b, u, pen = self.beast, self.unit, self.pen
        hip, shoulder = self.k.points["hip"], self.k.points["shoulder"]
        steps = [i / 6 for i in range(7)]
        g = grow / u
        top = [self.on(t, 1 + g / self._radius(t)) for t in steps]
        low = [self.on(t, -1 - g / self._radius(t)) for t in reversed(steps)]
        pen.polygon([*top, *low], color)
        pen.circle(self.at(*hip), b.rump * u + grow, color)
        pen.circle(self.at(*shoulder), b.chest * u + grow, color)
        if b.hump:
            if b.feet == "pads":  # a camel's
                for t in (0.34, 0.72):
                    x, y = self.on(t, 1.15)
                    pen.circle((x, y), b.hump * u * 0.8 + grow, color)
                    pen.circle((x, y - b.hump * u * 0.5), b.hump * u * 0.5 + grow, color)
            else:
                x, y = between(hip, shoulder, 0.9)
                pen.circle(self.at(x, y + b.hump), b.chest * 0.92 * u + grow, color)
        if self.look.coat == "wool":
            for i in range(9):
                t = i / 8
                for s in (0.9, -0.75):
                    pen.circle(self.on(t * 1.3 - 0.15, s), 0.085 * u + grow, color)
            for s in (-0.3, 0.3):
                pen.circle(self.on(-0.4, s), 0.085 * u + grow, color)
        if self.look.coat == "spines":
            for i in range(10):
                t = -0.3 + 0.13 * i
                root_a, root_b = self.on(t - 0.12, 0.75), self.on(t + 0.12, 0.75)
                tip = self.on(t - 0.1, 1.28 + g / b.rump)
                pen.polygon([root_a, tip, root_b], color)

    def _neck(self, grow: float, color: Color) -> None:
        b, u = self.beast, self.unit
        base, head = self.k.points["base"], self.k.points["head"]
        start = between(self.k.points["shoulder"], base, 0.4)
        wide = max(b.neck_width, 0.62 * b.chest)
        self.pen.capsule(
            self.at(*start),
            self.at(*head),
            wide * u + grow,
            min(b.neck_width, 0.85 * b.head) * u + grow,
            color,
        )

    # --- legs ---------------------------------------------------------------------------------

    def _leg_bones(self, side: str, hind: bool) -> list[tuple[Point, float]]:
        """A leg's joints from the body to the paw, with half widths."""
        b, p = self.beast, self.k.points
        names = ("seat", "knee", "foot") if hind else ("fore", "elbow", "paw")
        top, middle, end = (p[f"{side}_{name}"] for name in names)
        if self.look.coat == "wool":  # the fleece hides where legs begin
            top = between(top, middle, 0.6)
        thick = b.thigh if hind else b.thigh * 0.82
        bones = [(top, thick), (middle, b.leg * 1.3), (end, b.leg)]
        up = (end[0], end[1] + b.leg)
        if hind and b.feet in ("paws", "hooves") and end[1] < 0.1 and b.legs > 0.2:
            # The hock: the lower leg goes backwards before it goes down.
            hock = between(middle, end, 0.52)
            hock = (hock[0] - 0.09 * b.legs / 0.35, hock[1])
            return [(top, thick), (middle, b.leg * 1.55), (hock, b.leg * 1.05), (up, b.leg)]
        return [*bones[:2], (up if end[1] < 0.02 else end, b.leg)]

    def _colors(self, hind: bool, fur: Color) -> tuple[Color, Color]:
        """A leg's colour above, and below."""
        look, b = self.look, self.beast
        if look.coat == "panda":
            return look.coat_color, look.coat_color
        low = look.shoes if hind else look.hands or look.skin
        if b.feet in ("hooves", "knuckles") and look.coat != "wool":
            low = fur
        if look.coat == "wool":
            return low, low
        return fur, low if low != look.skin else fur

    def _leg(self, side: str, hind: bool, dim: float, grow: float) -> None:
        b, u, look, pen = self.beast, self.unit, self.look, self.pen
        bones = self._leg_bones(side, hind)
        high, low = (shade(c, dim) for c in self._colors(hind, look.skin))
        foot = look.shoes if hind else look.hands or look.shoes
        foot = shade(foot, dim)
        if grow:
            high = low = foot = shade(high, 0.42 if grow == self.edge else 0.7)
        last = len(bones) - 2
        for i, ((a, ra), (c, rc)) in enumerate(itertools.pairwise(bones)):
            color = high if i < last or last == 0 else low
            pen.capsule(self.at(*a), self.at(*c), ra * u + grow, rc * u + grow, color)
        end = bones[-1][0]
        if low != high:
            start = between(bones[-2][0], end, 0.35)
            pen.capsule(self.at(*start), self.at(*end), b.leg * 1.1 * u + grow,
                        b.leg * u + grow, low)  # fmt: skip
        self._foot(bones[-2][0], end, hind, foot, grow)

    def _foot(self, above: Point, end: Point, hind: bool, color: Color, grow: float) -> None:
        b, u, pen = self.beast, self.unit, self.pen
        ahead = {"paws": 0.06, "flat": 0.085, "hooves": 0.02, "knuckles": 0.06, "pads": 0.025}
        reach = ahead[b.feet] * (1.2 if hind and b.feet == "flat" else 1.0)
        dx, dy = end[0] - above[0], end[1] - above[1]
        length = math.hypot(dx, dy) or 1.0
        # Forwards on the ground; along the leg's front where the paw is in the air.
        along = (-dy / length, dx / length) if end[1] > 0.12 else (1.0, 0.0)
        r = b.leg * (0.95 if b.feet != "hooves" else 1.1)
        tip = (end[0] + along[0] * reach, end[1] + along[1] * reach - (b.leg - r))
        pen.capsule(self.at(*end), self.at(*tip), r * u + grow, r * u + grow, color)
        if b.feet == "pads" and not grow and end[1] < 0.12:
            for i in (-0.5, 0.3, 1.0):
                toe = (end[0] + i * b.leg, end[1] - 0.6 * b.leg)
                pen.circle(self.at(*toe), 0.22 * b.leg * u, (244, 238, 224))

    # --- tail ---------------------------------------------------------------------------------

    def _tail(self) -> None:
        look, b, u = self.look, self.beast, self.unit
        kind, n = look.tail, b.tail
        if kind == "none" or n <= 0:
            return
        fur, points = look.skin, self.tail
        if kind in ("stub", "cotton"):
            color = (255, 252, 246) if kind == "cotton" else fur
            r = 0.07 if kind == "cotton" else 0.05
            hip = self.k.points["hip"]
            at = self.at(hip[0] - 0.82 * b.rump - 0.02, hip[1] + 0.35 * b.rump)
            self.pen.circle(at, r * u + self.edge, shade(color, 0.45))
            self.pen.circle(at, r * u, color)
            return
        radii = {
            "bushy": (0.03, 0.085, 0.1, 0.03),
            "ringed": (0.04, 0.07, 0.075, 0.05),
            "thick": (0.09, 0.07, 0.045, 0.02),
            "horse": (0.04, 0.06, 0.075, 0.03),
            "plume": (0.035, 0.07, 0.08, 0.04) if n < 0.55 else (0.05, 0.11, 0.14, 0.1),
            "curl": (0.02,) * 6,
        }.get(kind, (0.034 if b.head > 0.13 else 0.026,) * len(points))
        color = look.coat_color if kind == "horse" or look.coat == "skunk" else fur
        self._strand(points, radii, color)
        tip = points[-1]
        if kind == "tuft":
            self._strand([tip, (tip[0] - 0.02, max(_LOW, tip[1] - 0.05))], (0.05, 0.035),
                         look.coat_color)  # fmt: skip
        elif kind == "bushy":
            start = between(points[2], tip, 0.45)
            self._strand([start, tip], (0.075, 0.03), look.muzzle)
        elif kind == "ringed" or look.coat in ("stripes", "bars", "spots"):
            self._rings(points, radii)

    def _strand(self, points: list[Point], radii: tuple[float, ...], color: Color) -> None:
        """Draw a soft line of changing width through the points."""
        if len(points) > 2:
            points, radii = _rounded(points, radii)
        u = self.unit
        for grow, c in ((self.edge, shade(color, 0.42)), (0.0, color)):
            for i in range(len(points) - 1):
                a, b = self.at(*points[i]), self.at(*points[i + 1])
                self.pen.capsule(a, b, radii[i] * u + grow, radii[i + 1] * u + grow, c)

    def _rings(self, points: list[Point], radii: tuple[float, ...]) -> None:
        for i in range(1, len(points) - 1):
            for t in (0.1, 0.6):
                a, b = points[i], points[i + 1]
                x, y = between(a, b, t)
                dx, dy = b[0] - a[0], b[1] - a[1]
                length = math.hypot(dx, dy) or 1.0
                r = radii[i] * 0.95
                ends = [(x - dy / length * r, y + dx / length * r)]
                ends.append((x + dy / length * r, y - dx / length * r))
                self.pen.line([self.at(*e) for e in ends], 0.042 * self.unit, self.look.coat_color)

    # --- coat ---------------------------------------------------------------------------------

    def _coat(self) -> None:
        look, pen, u = self.look, self.pen, self.unit
        c, coat = look.coat_color, look.coat
        if coat in ("stripes", "bars"):
            pen.polygon([self.on(t, s) for t, s in
                         ((0.05, -0.98), (0.35, -0.55), (0.7, -0.55), (0.95, -0.98))],
                        look.muzzle)  # fmt: skip
            wide = 0.05 if coat == "stripes" else 0.036
            for i, t in enumerate((-0.12, 0.06, 0.24, 0.42, 0.6, 0.78, 0.96)):
                deep = (-0.45, -0.1)[i % 2] if coat == "stripes" else (0.2, 0.4)[i % 2]
                a, b = self.on(t - wide, 1.0), self.on(t + wide, 1.0)
                pen.polygon([a, b, self.on(t + 0.05, (1 + deep) / 2), self.on(t + 0.02, deep)], c)
                if coat == "stripes" and 0 < t < 0.9:
                    low = [self.on(t + 0.07, -0.95), self.on(t + 0.12, -0.95)]
                    pen.polygon([*low, self.on(t + 0.1, -0.35)], c)
        elif coat == "zebra":
            for t in (-0.2, -0.04, 0.12, 0.28, 0.44, 0.6, 0.76, 0.92):
                pen.polygon([self.on(t - 0.035, 0.97), self.on(t + 0.04, 0.97),
                             self.on(t + 0.04, -0.7), self.on(t + 0.015, -0.85)], c)  # fmt: skip
        elif coat == "spots":
            for t, s in _SPOTS:
                pen.circle(self.on(t, s), 0.022 * u, c)
        elif coat == "giraffe":
            big = self.look.face is not None and self.look.face.horns == "knobs"
            r = 0.06 if big else 0.036
            rows = ((0.6, -0.25), (0.2, -0.6)) if big else ((0.7, 0.1, -0.5), (0.42, -0.2))
            for i in range(6 if big else 8):
                t = -0.15 + i * (0.23 if big else 0.16)
                for s in rows[i % 2]:
                    x, y = self.on(t, s)
                    corners = [(x + r * u * math.cos(a + i), y + r * u * math.sin(a + i))
                               for a in (0.3, 1.5, 2.8, 4.0, 5.2)]  # fmt: skip
                    pen.polygon(corners, c)
                    if not big:
                        pen.circle((x, y), 0.014 * u, look.skin)
        elif coat == "cow":
            for t, s, wide, high in ((0.1, 0.35, 0.2, 0.12), (0.62, 0.15, 0.15, 0.14),
                               (0.95, 0.65, 0.08, 0.07), (0.36, -0.6, 0.1, 0.06)):  # fmt: skip
                frame = Frame(self.on(t, s), 0, u)
                pen.polygon(frame.ellipse(0, 0, wide, high), c)
        elif coat == "fawn":
            for i, t in enumerate((-0.1, 0.1, 0.3, 0.5, 0.7)):
                for s in ((0.6,), (0.25, 0.85))[i % 2]:
                    pen.circle(self.on(t, s), 0.018 * u, c)
        elif coat == "skunk":
            pen.polygon([self.on(t, s) for t, s in
                         ((-0.5, 0.6), (0, 1.0), (0.5, 1.0), (1.1, 0.95), (1.1, 0.55), (0.5, 0.35),
                          (0.0, 0.3))], c)  # fmt: skip
        elif coat == "panda":
            pen.polygon([self.on(t, s) for t, s in
                         ((0.66, 1.0), (0.98, 1.0), (1.15, 0.3), (1.05, -0.95), (0.7, -1.0),
                          (0.62, 0.0))], c)  # fmt: skip
        elif coat == "wool":
            for t, s in ((0.1, 0.3), (0.45, -0.1), (0.75, 0.4), (0.3, -0.5), (0.9, -0.3)):
                x, y = self.on(t, s)
                pen.draw.arc(
                    tuple(v * pen.size for v in (x - 0.05, y - 0.05, x + 0.05, y + 0.05)),
                    20, 200, c, max(2, round(0.014 * pen.size)),
                )  # fmt: skip

    def _limb_marks(self, side: str) -> None:
        """Stripes or spots on the near legs."""
        look, u, b = self.look, self.unit, self.beast
        rosettes = look.coat == "giraffe" and self.head.face.horns == "none"
        if look.coat not in ("stripes", "zebra", "spots", "bars") and not rosettes:
            return
        for hind in (False, True):
            bones = self._leg_bones(side, hind)
            for i, ((a, ra), (c, rc)) in enumerate(itertools.pairwise(bones)):
                if look.coat == "spots" or rosettes:
                    spread = (
                        ((-0.1, 0.5), (0.3, -0.6), (0.6, 0.3))
                        if i == 0
                        else ((0.2, 0.2), (0.7, -0.3))
                    )
                    for t, aside in spread:
                        x, y = between(a, c, t)
                        r = (ra + (rc - ra) * max(t, 0.0)) * aside
                        self.pen.circle(self.at(x + r, y), 0.02 * u, look.coat_color)
                    continue
                for t in (0.3, 0.7):
                    x, y = between(a, c, t)
                    r = (ra + (rc - ra) * t) * 0.92
                    ends = [self.at(x - r, y + 0.01), self.at(x + r * 0.4, y - 0.01)]
                    self.pen.line(ends, max(0.02, 0.3 * b.leg) * u, look.coat_color)

    def _crest(self) -> None:
        """The hair along the neck of horses and hyenas."""
        look, u, b = self.look, self.unit, self.beast
        base, head = self.k.points["base"], self.k.points["head"]
        if look.coat == "giraffe" and b.neck > 0.4:
            for i, t in enumerate((0.2, 0.36, 0.52, 0.68, 0.84)):
                x, y = between(base, head, t)
                self.pen.circle(self.at(x + 0.02 * (-1) ** i, y), 0.035 * u, look.coat_color)
        if look.coat == "zebra":
            for t in (0.15, 0.38, 0.6):
                x, y = between(base, head, t)
                a = self.at(x - 0.09, y + 0.02), self.at(x + 0.09, y - 0.05)
                self.pen.line(a, 0.035 * u, look.coat_color)
        if look.mane not in ("horse", "hyena"):
            return
        dx, dy = head[0] - base[0], head[1] - base[1]
        length = math.hypot(dx, dy) or 1.0
        back = (-dy / length, dx / length)
        wide = b.neck_width * 0.95
        root = (self.k.points["shoulder"][0] - 0.05, self.k.points["shoulder"][1] + b.chest * 0.92)
        top = (head[0] + back[0] * b.head * 0.8 + dx / length * b.head * 0.5,
               head[1] + back[1] * b.head * 0.8 + dy / length * b.head * 0.5)  # fmt: skip
        middle = between(base, head, 0.5)
        middle = (middle[0] + back[0] * wide, middle[1] + back[1] * wide)
        self._strand([top, middle, root], (0.045, 0.055, 0.035), look.coat_color)

    # --- the whole ----------------------------------------------------------------------------

    def paint(self) -> None:
        look, pen = self.look, self.pen
        fur = look.coat_color if look.coat == "spines" else look.skin
        dark = shade(look.skin, 0.42)
        self._tail()
        for hind in (True, False):
            self._leg("far", hind, 0.78, self.edge)
            self._leg("far", hind, 0.78, 0.0)
        self._neck(self.edge, dark)
        self._trunk(self.edge, shade(fur, 0.42))
        for hind in (True, False):
            self._leg("near", hind, 1.0, self.edge)
        self._neck(0.0, look.skin)
        self._trunk(0.0, fur)
        self._coat()
        for hind in (True, False):
            self._leg("near", hind, 1.0, _SEAM * self.edge)
            self._leg("near", hind, 1.0, 0.0)
        if look.coat in ("wool", "spines"):
            self._cover(fur)
        self._limb_marks("near")
        self._crest()
        if look.mane == "wolf":
            x, y = self.k.points["base"]
            pen.circle(
                self.at(x + 0.02, y - 0.04), self.beast.chest * 0.72 * self.unit, look.muzzle
            )
        if look.collar:
            base, head = self.k.points["base"], self.k.points["head"]
            x, y = between(base, head, max(0.0, 1 - 1.2 * self.beast.head / self.beast.neck))
            n = math.atan2(head[1] - base[1], head[0] - base[0])
            r = self.beast.neck_width * 1.2
            across = (-math.sin(n) * r, math.cos(n) * r)
            ends = [self.at(x + across[0], y + across[1]), self.at(x - across[0], y - across[1])]
            pen.line(ends, 0.055 * self.unit, look.collar)
        self.head.behind()
        self.head.paint()

    def _cover(self, fur: Color) -> None:
        """Draw what hangs over the tops of the legs: wool or spines."""
        u, pen = self.unit, self.pen
        if self.look.coat == "wool":
            for t in (0.0, 0.25, 0.5, 0.75, 1.0):
                pen.circle(self.on(t, -0.45), 0.1 * u, fur)
            self._coat()
            return
        for i in range(5):
            for j in range(3):
                x, y = self.on(-0.1 + 0.24 * i + 0.1 * (j % 2), 0.7 - 0.5 * j)
                a = (x - self.sign * 0.05 * u, y - 0.03 * u)
                pen.line([(x, y), a], 0.022 * u, shade(fur, 1.5))

    def keypoints(self) -> np.ndarray:
        """Give the 18 points in OpenPose's order, float32 [18, 3]: x, y in [0, 1], visibility.

        Front legs carry the arms' points and hind legs the legs'; wrists and ankles are the paws.
        """
        near, far = ("right", "left") if self.sign > 0 else ("left", "right")
        names = {near: "near", far: "far"}
        p = self.p
        limbs = [
            p[f"{names[side]}_{joint}"]
            for joints in (("fore", "elbow", "paw"), ("seat", "knee", "foot"))
            for side in ("right", "left")
            for joint in joints
        ]
        # A paw's point lies inside the paw, not on the line of the ground.
        inset = self.beast.leg * self.unit
        for i in (2, 5, 8, 11):
            x, y = limbs[i]
            limbs[i] = (x, min(y, self.ground - inset))
        marks = self.head.landmarks()
        points = np.array(
            [marks[0][0], p["base"], *limbs, *(m for m, _ in marks[1:])], dtype=np.float32
        )
        seen = np.ones((18, 1), np.float32)
        for i, (_, visible) in enumerate(marks[1:]):
            seen[14 + i] = float(visible)
        inside = ((points >= 0) & (points <= 1)).all(axis=1, keepdims=True)
        return np.hstack([points, seen * inside]).astype(np.float32)
