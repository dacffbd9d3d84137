"""Drawing flat vector shapes with Pillow: colours, a pen and local coordinates."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from PIL import Image, ImageDraw

Color = tuple[int, int, int]
Point = tuple[float, float]

_TURNS = 20
_CIRCLE = [
    (math.cos(2 * math.pi * i / _TURNS), math.sin(2 * math.pi * i / _TURNS)) for i in range(_TURNS)
]


def shade(color: Color, factor: float) -> Color:
    """Make a colour darker (factor below 1) or lighter."""
    r, g, b = (min(255, max(0, round(c * factor))) for c in color)
    return r, g, b


def blend(first: Color, second: Color, share: float) -> Color:
    """Mix two colours: `share` 0 is the first, 1 the second."""
    r, g, b = (round(x + (y - x) * share) for x, y in zip(first, second, strict=True))
    return r, g, b


def between(a: Point, b: Point, t: float) -> Point:
    """Find the point at share `t` of the way from `a` to `b`."""
    return a[0] + (b[0] - a[0]) * t, a[1] + (b[1] - a[1]) * t


class Pen:
    """Drawing in picture widths on a canvas of any size."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.image = Image.new("RGB", (size, size))
        self.draw = ImageDraw.Draw(self.image)

    def polygon(self, points: Iterable[Point], color: Color) -> None:
        s = self.size
        self.draw.polygon([(x * s, y * s) for x, y in points], fill=color)

    def circle(self, center: Point, radius: float, color: Color) -> None:
        s, (x, y) = self.size, center
        box = ((x - radius) * s, (y - radius) * s, (x + radius) * s, (y + radius) * s)
        self.draw.ellipse(box, fill=color)

    def rectangle(self, x0: float, y0: float, x1: float, y1: float, color: Color) -> None:
        s = self.size
        self.draw.rectangle((x0 * s, y0 * s, x1 * s, y1 * s), fill=color)

    def line(self, points: Sequence[Point], width: float, color: Color) -> None:
        s = self.size
        pixels = max(1, round(width * s))
        self.draw.line([(x * s, y * s) for x, y in points], fill=color, width=pixels, joint="curve")

    def capsule(self, a: Point, b: Point, ra: float, rb: float, color: Color) -> None:
        """Draw a bone with round ends of two radii."""
        dx, dy = b[0] - a[0], b[1] - a[1]
        length = math.hypot(dx, dy)
        if length > 1e-6:
            nx, ny = -dy / length, dx / length
            self.polygon(
                [
                    (a[0] + nx * ra, a[1] + ny * ra),
                    (b[0] + nx * rb, b[1] + ny * rb),
                    (b[0] - nx * rb, b[1] - ny * rb),
                    (a[0] - nx * ra, a[1] - ny * ra),
                ],
                color,
            )
        self.circle(a, ra, color)
        self.circle(b, rb, color)


class Frame:
    """Local coordinates: `u` to the right and `v` upwards along a direction, scaled."""

    def __init__(self, origin: Point, up: float, scale: float, squeeze: float = 1.0) -> None:
        a = math.radians(up)
        self.origin, self.scale, self.squeeze = origin, scale, squeeze
        self.right, self.up = (math.cos(a), math.sin(a)), (math.sin(a), -math.cos(a))

    def __call__(self, u: float, v: float) -> Point:
        u, v = u * self.scale * self.squeeze, v * self.scale
        (rx, ry), (ux, uy) = self.right, self.up
        return self.origin[0] + u * rx + v * ux, self.origin[1] + u * ry + v * uy

    def many(self, points: Iterable[Point]) -> list[Point]:
        return [self(u, v) for u, v in points]

    def ellipse(self, u: float, v: float, a: float, b: float) -> list[Point]:
        return [self(u + a * c, v + b * s) for c, s in _CIRCLE]


class Ball:
    """A head's surface: points right, up and forwards of its centre, in skull radii, seen from
    where the head has been turned to."""

    def __init__(self, frame: Frame, yaw: float) -> None:
        """yaw: degrees, 0 towards the viewer, 90 to the frame's right."""
        a = math.radians(yaw)
        self.frame, self.sin, self.cos = frame, math.sin(a), math.cos(a)

    def flat(self, u: float, v: float, w: float) -> Point:
        """Project to the frame's coordinates."""
        return u * self.cos + w * self.sin, v

    def __call__(self, u: float, v: float, w: float) -> Point:
        return self.frame(u * self.cos + w * self.sin, v)

    def depth(self, u: float, w: float) -> float:
        """How far towards the viewer, positive in front of the centre."""
        return w * self.cos - u * self.sin

    def patch(self, u: float, v: float, w: float, a: float, b: float) -> list[Point]:
        """An ellipse on the surface, narrower where the surface turns away."""
        x, y = self.flat(u, v, w)
        away = max(0.35, min(1.0, self.depth(u, w) / (math.hypot(u, w) or 1.0)))
        return self.frame.ellipse(x, y, a * away, b)
