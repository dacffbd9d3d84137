"""Paints a posed figure with Pillow: flat vector shapes, drawn large and reduced."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Sequence

import numpy as np
from PIL import Image, ImageDraw

from actionbench.puppets.looks import Color, Look
from actionbench.puppets.pose import HEAD, HIP, SHOULDER, Joints, Pose

Point = tuple[float, float]
_CIRCLE = [(math.cos(t), math.sin(t)) for t in np.linspace(0, 2 * math.pi, 24, endpoint=False)]


def shade(color: Color, factor: float) -> Color:
    r, g, b = (min(255, max(0, round(c * factor))) for c in color)
    return r, g, b


class Pen:
    """Drawing in picture widths on a canvas of any size; every shape can carry an outline."""

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
        """A bone with round ends of two radii."""
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


def between(a: Point, b: Point, t: float) -> Point:
    return a[0] + (b[0] - a[0]) * t, a[1] + (b[1] - a[1]) * t


_OUTLINE = 0.011  # body heights


class Figure:
    """One figure on one canvas. `paint` draws from back to front."""

    def __init__(self, pen: Pen, look: Look, pose: Pose, joints: Joints) -> None:
        self.pen, self.look, self.pose, self.joints = pen, look, pose, joints
        self.unit = joints.unit
        self.p = joints.points
        self.edge = _OUTLINE * self.unit
        self.radius = HEAD * look.head_size * self.unit
        self.head = Frame(self.p["head"], joints.up, self.radius)
        width = 1 - 0.5 * abs(joints.turn)
        self.torso = Frame(self.p["pelvis"], joints.torso, self.unit, width * look.build)
        self.face = Frame(self.head(0.34 * joints.turn, 0), joints.up, self.radius)

    def paint(self) -> None:
        look, turn = self.look, self.joints.turn
        if look.cape:
            self._cape(look.cape)
        if look.tail != "none":
            self._tail()
        if look.hair in ("long", "curly", "pigtails"):
            self._back_hair()
        far, near = ("left", "right") if turn > 0 else ("right", "left")
        sideways = abs(turn) > 0.3
        if sideways:
            self._arm(far)
        self._leg(far)
        self._leg(near)
        self._torso()
        if not sideways:
            self._head()
            self._arm(far)
            self._arm(near)
        else:
            self._head()
            self._arm(near)

    # --- body ---------------------------------------------------------------------------------

    def _outlined(self, color: Color, shape: Callable[[float, Color], None]) -> None:
        """Draws the shape grown by the outline in a darker colour, then itself."""
        shape(self.edge, shade(color, 0.45))
        shape(0.0, color)

    def _bones(
        self, joints: Sequence[Point], radii: Sequence[float], colors: Sequence[Color]
    ) -> None:
        u = self.unit
        for grow in (self.edge, 0.0):
            for i, color in enumerate(colors):
                fill = shade(color, 0.45) if grow else color
                a, b = joints[i], joints[i + 1]
                self.pen.capsule(a, b, radii[i] * u + grow, radii[i + 1] * u + grow, fill)

    def _arm(self, side: str) -> None:
        look, p = self.look, self.p
        shoulder, elbow, wrist = (p[f"{side}_{j}"] for j in ("shoulder", "elbow", "wrist"))
        sleeve = look.coat_color if look.coat == "panda" else look.shirt
        if look.chest == "spider":
            sleeve = look.chest_color
        fore = look.skin if look.sleeves == "short" else sleeve
        if look.chest == "spider":
            fore = look.skin
        b = 0.5 + 0.5 * look.build
        self._bones((shoulder, elbow, wrist), (0.042 * b, 0.036 * b, 0.03 * b), (sleeve, fore))
        self._coat(shoulder, elbow, 0.036 * b)
        self._coat(elbow, wrist, 0.03 * b)
        if look.head == "bat":
            self._bones((between(elbow, wrist, 0.55), wrist), (0.036, 0.036), (look.hands or fore,))
        self._hand(side, elbow, wrist)

    def _hand(self, side: str, elbow: Point, wrist: Point) -> None:
        look, u = self.look, self.unit
        color = look.hands or look.skin
        if look.hands and look.head == "human" and side == "left":
            color = look.skin  # one glove
        angle = math.degrees(math.atan2(wrist[0] - elbow[0], -(wrist[1] - elbow[1])))
        kind = getattr(self.pose, f"{side}_hand")
        hand = Frame(wrist, self.joints.torso if kind == "upright" else angle, u)
        fingers: list[tuple[Point, float]] = []
        if kind == "finger":
            fingers = [((0.0, 0.135), 0.0155)]
        elif kind == "open":
            fingers = [((x, y), 0.0125) for x, y in ((-0.052, 0.05), (-0.02, 0.088), (0.02, 0.088))]
            fingers.append(((0.052, 0.05), 0.0125))
        elif kind in ("flat", "upright"):
            fingers = [((0.0, 0.07 if kind == "flat" else 0.1), 0.024)]
        for grow in (self.edge, 0.0):
            fill = shade(color, 0.45) if grow else color
            for tip, r in fingers:
                self.pen.capsule(wrist, hand(*tip), r * u + grow, r * u + grow, fill)
            self.pen.circle(hand(0, 0.012), 0.04 * u + grow, fill)

    def _leg(self, side: str) -> None:
        look, p, u = self.look, self.p, self.unit
        hip, knee, ankle = (p[f"{side}_{j}"] for j in ("hip", "knee", "ankle"))
        b = 0.6 + 0.4 * look.build
        upper = look.trousers if look.legs != "skirt" else look.skin
        lower = look.skin if look.legs in ("short", "skirt") else look.trousers
        self._bones((hip, knee, ankle), (0.056 * b, 0.044 * b, 0.036 * b), (upper, lower))
        self._coat(hip, knee, 0.048 * b)
        self._coat(knee, ankle, 0.036 * b)
        # The foot: forwards when seen from the side, a little outwards from the front.
        dx, dy = ankle[0] - knee[0], ankle[1] - knee[1]
        length = math.hypot(dx, dy) or 1.0
        shin = (dx / length, dy / length)
        turn = self.joints.turn
        sign = math.copysign(1.0, turn) if abs(turn) > 0.3 else (-1.0 if side == "right" else 1.0)
        if abs(self.pose.roll) > 90:
            sign = -sign
        ahead = (shin[1] * sign, -shin[0] * sign)
        reach = (0.062 if abs(turn) > 0.3 else 0.036) * u
        toe = (
            ankle[0] + ahead[0] * reach + shin[0] * 0.012 * u,
            ankle[1] + ahead[1] * reach + shin[1] * 0.012 * u,
        )
        heel = (ankle[0] + shin[0] * 0.008 * u, ankle[1] + shin[1] * 0.008 * u)
        self._bones((heel, toe), (0.035, 0.03), (look.shoes,))

    def _coat(self, a: Point, b: Point, r: float) -> None:
        """Stripes, bars or spots across one bone."""
        look, u = self.look, self.unit
        if look.coat in ("stripes", "bars", "web"):
            dx, dy = b[0] - a[0], b[1] - a[1]
            length = math.hypot(dx, dy)
            if length < 1e-6:
                return
            nx, ny = -dy / length * r * u, dx / length * r * u
            for t in (0.25, 0.6, 0.95):
                x, y = between(a, b, t)
                self.pen.line([(x - nx, y - ny), (x + nx, y + ny)], 0.016 * u, look.coat_color)
        elif look.coat == "spots":
            for i, t in enumerate((0.15, 0.5, 0.85)):
                x, y = between(a, b, t)
                side = (-1) ** i * 0.4 * r * u
                self.pen.circle((x + side, y + side * 0.3), 0.0125 * u, look.coat_color)

    def _torso(self) -> None:
        look, t, u = self.look, self.torso, self.unit
        neck = look.skin if look.head != "bat" else look.hands or look.skin
        self._bones((t(0, 0.26), self.head(0, -0.6)), (0.04, 0.04), (neck,))
        s, h = SHOULDER, HIP + 0.02
        outline = [(-s, 0.235), (-s * 0.7, 0.275), (s * 0.7, 0.275), (s, 0.235), (h, 0.0)]
        outline += [(h * 0.8, -0.035), (-h * 0.8, -0.035), (-h, 0.0)]

        def body(grow: float, color: Color) -> None:
            g = grow / u
            points = [(x + math.copysign(g, x), y + (g if y > 0.1 else -g)) for x, y in outline]
            self.pen.polygon(t.many(points), color)

        self._outlined(look.shirt, body)
        if look.legs != "skirt" and look.trousers != look.shirt:
            belt = [(-h - 0.004, 0.035), (h + 0.004, 0.035), (h, 0), (h * 0.8, -0.035)]
            belt += [(-h * 0.8, -0.035), (-h, 0.0)]
            if look.coat != "panda":
                self.pen.polygon(t.many(belt), look.trousers)
        if look.legs == "skirt":
            self._skirt()
        self._chest()

    def _skirt(self) -> None:
        p, look, t = self.p, self.look, self.torso
        knees = [between(p[f"{s}_hip"], p[f"{s}_knee"], 0.72) for s in ("right", "left")]
        grow = 0.03 * self.unit
        left, right = sorted(knees)
        hem = [(right[0] + grow, right[1]), (left[0] - grow, left[1])]
        waist = t.many([(-HIP - 0.014, 0.07), (HIP + 0.014, 0.07)])
        if abs(self.pose.roll) > 90:
            hem.reverse()
        top, bottom = waist, hem
        color = shade(look.trousers, 0.88)
        self.pen.polygon([*top, *bottom], color)
        self.pen.line([bottom[0], bottom[1]], 0.02 * self.unit, shade(color, 0.6))

    def _chest(self) -> None:
        look, t, pen, u = self.look, self.torso, self.pen, self.unit
        c, kind = look.chest_color, look.chest
        if kind == "belly":
            pen.polygon(t.ellipse(0, 0.1, 0.058, 0.105), c)
            if look.coat in ("stripes", "bars"):
                for v in (0.2, 0.14, 0.08, 0.02):
                    for s in (-1, 1):
                        line = t.many([(s * 0.098, v + 0.012), (s * 0.052, v)])
                        pen.line(line, 0.017 * u, look.coat_color)
            elif look.coat == "spots":
                for x, y in ((-0.08, 0.21), (0.078, 0.19), (-0.07, 0.13), (0.07, 0.11)):
                    pen.circle(t(x, y), 0.013 * u, look.coat_color)
                pen.circle(t(-0.066, 0.05), 0.013 * u, look.coat_color)
                pen.circle(t(0.064, 0.03), 0.013 * u, look.coat_color)
            elif look.coat == "panda":
                pen.polygon(
                    t.many([(-0.1, 0.235), (-0.07, 0.275), (0.07, 0.275), (0.1, 0.235)])
                    + t.many([(0.088, 0.17), (-0.088, 0.17)]),
                    look.coat_color,
                )
        elif kind in ("suit", "bowtie"):
            pen.polygon(t.many([(-0.045, 0.275), (0.045, 0.275), (0, 0.09)]), (248, 248, 248))
            if kind == "suit":
                tie = [(-0.016, 0.27), (0.016, 0.27), (0.018, 0.13), (0, 0.1), (-0.018, 0.13)]
                pen.polygon(t.many(tie), c)
            else:
                pen.polygon(t.many([(-0.046, 0.28), (-0.046, 0.225), (0.046, 0.28)]), c)
                pen.polygon(t.many([(0.046, 0.28), (0.046, 0.225), (-0.046, 0.28)]), c)
                pen.polygon(t.many([(0.046, 0.225), (-0.046, 0.225), (0, 0.255)]), c)
        elif kind == "vest":
            if look.hat == "fedora":  # an open jacket over a white shirt
                pen.polygon(t.many([(-0.04, 0.275), (0.04, 0.275), (0.03, 0), (-0.03, 0)]), c)
            else:
                for s in (-1, 1):
                    side = [(s * 0.09, 0.245), (s * 0.045, 0.275), (s * 0.012, 0.16)]
                    side += [(s * 0.012, 0.02), (s * 0.078, 0.02)]
                    pen.polygon(t.many(side), c)
        elif kind == "plaid":
            for x in (-0.055, 0.0, 0.055):
                pen.line(t.many([(x * 1.15, 0.268), (x, 0.035)]), 0.014 * u, c)
            for y in (0.22, 0.155, 0.09):
                pen.line(t.many([(-0.09, y), (0.09, y)]), 0.014 * u, c)
        elif kind == "stripes":
            for x in (-0.066, 0.0, 0.066):
                bar = [(x * 1.1 - 0.02, 0.272), (x * 1.1 + 0.02, 0.272)]
                bar += [(x * 0.85 + 0.017, 0.035), (x * 0.85 - 0.017, 0.035)]
                pen.polygon(t.many(bar), c)
        elif kind == "number7":
            pen.line(t.many([(-0.04, 0.215), (0.04, 0.215), (-0.01, 0.08)]), 0.028 * u, c)
        elif kind == "bat":
            pen.polygon(t.ellipse(0, 0.19, 0.062, 0.04), c)
            bat = [(-0.052, 0.205), (-0.016, 0.2), (0, 0.212), (0.016, 0.2), (0.052, 0.205)]
            pen.polygon(t.many([*bat, (0.03, 0.178), (0, 0.162), (-0.03, 0.178)]), (24, 24, 30))
            pen.polygon(t.many([(-0.082, 0.045), (0.082, 0.045), (0.08, 0.01), (-0.08, 0.01)]), c)
        elif kind == "spider":
            for s in (-1, 1):
                side = [(s * 0.1, 0.2), (s * 0.056, 0.17), (s * 0.046, 0.03), (s * 0.08, 0.02)]
                pen.polygon(t.many(side), c)
            pen.circle(t(0, 0.19), 0.02 * u, (20, 20, 24))
            for x, y in ((0.05, 0.235), (0.055, 0.19), (0.05, 0.145)):
                pen.line([t(-x, y), t(0, 0.19), t(x, y)], 0.008 * u, (20, 20, 24))

    def _cape(self, color: Color) -> None:
        fall = -0.4 if abs(self.pose.roll) < 90 else -0.12
        back = -0.06 * self.joints.turn
        shape = [(-0.105, 0.265), (0.105, 0.265), (0.2 + back, fall), (0.095 + back, fall + 0.03)]
        shape += [(back, fall), (-0.095 + back, fall + 0.03), (-0.2 + back, fall)]
        frame = Frame(self.p["pelvis"], self.joints.torso, self.unit)
        # Of somebody who sits or squats, it lies on the ground.
        floor = max(y for _, y in self.p.values()) + 0.02 * self.unit
        points = [(x, min(y, floor)) for x, y in frame.many(shape)]
        self.pen.polygon([(x, y + self.edge) for x, y in points], (12, 12, 18))
        self.pen.polygon(points, color)

    def _tail(self) -> None:
        look, u = self.look, self.unit
        frame = Frame(self.p["pelvis"], self.joints.torso, u)
        s = -1.0 if self.joints.turn > 0.3 else 1.0
        color = look.shirt if look.coat != "panda" else look.skin
        if look.tail == "stub":
            self._bones((frame(s * 0.07, 0.0), frame(s * 0.1, 0.01)), (0.03, 0.03), (color,))
            return
        path = [(0.03, 0.0), (0.13, -0.06), (0.19, 0.0), (0.195, 0.09)]
        points = [frame(s * x, y) for x, y in path]
        if look.tail == "bushy":
            self._bones(points[:3], (0.02, 0.05, 0.055), (color, color))
            self._bones(points[2:], (0.055, 0.026), (color,))
            self._bones(
                (between(points[2], points[3], 0.62), points[3]), (0.036, 0.022), (look.muzzle,)
            )
            return
        self._bones(points, (0.02,) * 4, (color,) * 3)
        if look.tail == "tuft":
            self._bones((points[3], points[3]), (0.038, 0.038), (look.coat_color,))
        for a, b in itertools.pairwise(points[1:]):
            self._coat(a, b, 0.02)

    # --- head ---------------------------------------------------------------------------------

    def _back_hair(self) -> None:
        h, look = self.head, self.look
        c = look.hair_color
        if look.hair == "long":
            shape = [(-1.05, 0.3), (-1.22, -1.3), (-0.5, -1.5), (0.5, -1.5), (1.22, -1.3)]
            self.pen.polygon(h.many([*shape, (1.05, 0.3)]), shade(c, 0.8))
        elif look.hair == "curly":
            for x, y in ((-0.95, -0.2), (0.95, -0.2), (-0.95, -0.75), (0.95, -0.75)):
                self.pen.polygon(h.ellipse(x, y, 0.42, 0.42), c)
        else:
            for s in (-1, 1):
                self.pen.polygon(h.ellipse(s * 1.3, 0.1, 0.4, 0.5), shade(c, 0.85))
                self.pen.polygon(h.ellipse(s * 1.42, -0.4, 0.26, 0.4), shade(c, 0.85))
                self.pen.polygon(h.ellipse(s * 1.02, 0.3, 0.16, 0.16), (214, 48, 60))

    def _head(self) -> None:
        kind = self.look.head
        self._ears(kind)
        skull = self.look.skin if kind != "bat" else (34, 34, 42)

        def ball(grow: float, color: Color) -> None:
            g = grow / self.radius
            self.pen.polygon(self.head.ellipse(0, 0, 1 + g, 1.02 + g), color)

        self._outlined(skull, ball)
        if kind == "human":
            self._human_face()
        elif kind == "bat":
            self._bat_face()
        elif kind == "spider":
            self._spider_face()
        else:
            self._animal_face(kind)

    def _ears(self, kind: str) -> None:
        h, pen, look = self.head, self.pen, self.look
        fur, inner = look.skin, shade(look.muzzle, 0.9)
        dark = shade(fur, 0.45)
        if kind == "lion":
            mane = look.coat_color
            pen.polygon(h.ellipse(0, -0.05, 1.62, 1.6), shade(mane, 0.6))
            pen.polygon(h.ellipse(0, -0.05, 1.54, 1.52), mane)
        for s in (-1, 1):
            if kind in ("bear", "panda", "lion", "cheetah", "tiger"):
                big = 0.42 if kind in ("bear", "panda") else 0.34
                color = look.coat_color if kind == "panda" else fur
                pen.polygon(h.ellipse(s * 0.78, 0.82, big + 0.08, big + 0.08), shade(color, 0.45))
                pen.polygon(h.ellipse(s * 0.78, 0.82, big, big), color)
                if kind != "panda":
                    pen.polygon(h.ellipse(s * 0.78, 0.8, big * 0.55, big * 0.55), inner)
            elif kind in ("cat", "fox"):
                tall = 1.62 if kind == "fox" else 1.45
                pen.polygon(h.many([(s * 0.1, 0.8), (s * 0.98, tall + 0.1), (s * 1.1, 0.2)]), dark)
                pen.polygon(h.many([(s * 0.2, 0.8), (s * 0.92, tall), (s * 1.0, 0.3)]), fur)
                color = (40, 30, 30) if kind == "fox" else (240, 170, 180)
                pen.polygon(
                    h.many([(s * 0.5, 0.85), (s * 0.86, tall - 0.2), (s * 0.88, 0.6)]), color
                )
            elif kind == "monkey":
                pen.polygon(h.ellipse(s * 1.12, 0.05, 0.5, 0.5), dark)
                pen.polygon(h.ellipse(s * 1.12, 0.05, 0.42, 0.42), fur)
                pen.polygon(h.ellipse(s * 1.12, 0.05, 0.26, 0.26), look.muzzle)
            elif kind == "bat":
                pen.polygon(
                    h.many([(s * 0.35, 0.8), (s * 0.78, 1.75), (s * 0.98, 0.4)]), (34, 34, 42)
                )
            elif kind == "human":
                pen.polygon(h.ellipse(s * 0.98, -0.05, 0.2, 0.26), shade(fur, 0.82))

    def _eyes(self, v: float = 0.1, gap: float = 0.38, r: float = 0.14) -> None:
        f, pen = self.face, self.pen
        for s in (-1, 1):
            if self.pose.eyes_closed:
                lid = f.many([(s * gap - r * 1.3, v), (s * gap, v - r), (s * gap + r * 1.3, v)])
                pen.line(lid, 0.09 * self.radius, (30, 24, 24))
            else:
                pen.polygon(f.ellipse(s * gap, v, r, r * 1.25), (24, 22, 26))

    def _mouth(self, v: float, width: float, color: Color = (120, 40, 40)) -> None:
        f, pen, mouth = self.face, self.pen, self.pose.mouth
        if mouth == "open":
            pen.polygon(f.ellipse(0, v, width * 0.8, width * 0.62), color)
        else:
            dip = 0.16 if mouth == "smile" else 0.0
            curve = f.many([(-width, v + dip * 0.6), (0, v - dip), (width, v + dip * 0.6)])
            pen.line(curve, 0.1 * self.radius, color)

    def _human_face(self) -> None:
        f, h, pen, look = self.face, self.head, self.pen, self.look
        c = look.hair_color
        if look.beard == "full":
            jaw = [(-0.94, 0.1), (-0.9, -0.5), (-0.5, -0.98), (0.5, -0.98), (0.9, -0.5)]
            jaw += [(0.94, 0.1), (0.62, -0.22), (-0.62, -0.22)]
            pen.polygon(h.many(jaw), c)
        elif look.beard == "long":
            jaw = [(-0.9, -0.1), (-0.8, -0.9), (0, -1.7), (0.8, -0.9), (0.9, -0.1)]
            pen.polygon(h.many([*jaw, (0.5, -0.25), (-0.5, -0.25)]), c)
        self._eyes()
        mouth = (150, 60, 56) if look.beard == "none" else (214, 120, 110)
        self._mouth(-0.45, 0.3, mouth)
        if look.glasses:
            for s in (-1, 1):
                ring = f.ellipse(s * 0.4, 0.1, 0.32, 0.32)
                pen.line([*ring, ring[0]], 0.09 * self.radius, (50, 50, 60))
        self._hair()
        if look.hat == "cap":
            crown = [
                (-1.06, 0.3),
                (-0.95, 0.85),
                (-0.5, 1.2),
                (0.5, 1.2),
                (0.95, 0.85),
                (1.06, 0.3),
            ]
            pen.polygon(h.many(crown), look.hat_color)
            side = -1.0 if self.joints.turn < -0.3 else 1.0
            brim = [
                (u * side, v) for u, v in ((-0.5, 0.42), (1.6, 0.42), (1.6, 0.24), (-0.5, 0.24))
            ]
            pen.polygon(h.many(brim), shade(look.hat_color, 0.7))
        elif look.hat == "fedora":
            pen.polygon(h.ellipse(0, 0.52, 1.55, 0.24), look.hat_color)
            crown = [(-0.85, 0.5), (-0.72, 1.35), (0, 1.2), (0.72, 1.35), (0.85, 0.5)]
            pen.polygon(h.many(crown), look.hat_color)
            band = [(-0.85, 0.58), (0.85, 0.58), (0.83, 0.8), (-0.83, 0.8)]
            pen.polygon(h.many(band), (236, 236, 236))

    def _hair(self) -> None:
        h, pen, style = self.head, self.pen, self.look.hair
        c = self.look.hair_color
        shift = -0.3 * self.joints.turn
        fringe = [(-1.05, 0.0), (-1.04, 0.5), (-0.75, 0.95), (0, 1.2), (0.75, 0.95), (1.04, 0.5)]
        fringe += [(1.05, 0.0), (0.85 + shift * 0.2, 0.4), (0.2 - shift, 0.58), (-0.85, 0.4)]
        if style in ("short", "long", "bun", "pigtails", "curly"):
            pen.polygon(h.many(fringe), c)
        if style == "bun":
            pen.polygon(h.ellipse(0, 1.35, 0.44, 0.4), c)
        elif style == "long":
            for s in (-1, 1):
                lock = [(s * 1.12, 0.5), (s * 1.3, -1.2), (s * 0.86, -1.1), (s * 0.78, 0.45)]
                pen.polygon(h.many(lock), c)
        elif style == "afro":
            for x, y, r in (
                (-0.8, 0.6, 0.6),
                (0.8, 0.6, 0.6),
                (-0.4, 1.05, 0.62),
                (0.4, 1.05, 0.62),
            ):
                pen.polygon(h.ellipse(x, y, r, r), c)
            pen.polygon(h.many([(-0.9, 0.4), (0.9, 0.4), (0.6, 0.95), (-0.6, 0.95)]), c)
        elif style == "sides":
            for s in (-1, 1):
                pen.polygon(h.ellipse(s * 0.98, 0.15, 0.26, 0.4), c)
        elif style == "mohawk":
            pen.polygon(h.many([(-0.6, 0.75), (-0.36, 1.6), (0.36, 1.6), (0.6, 0.75)]), c)
            side = [
                (-1.0, 0.2),
                (-0.8, 0.8),
                (0, 1.02),
                (0.8, 0.8),
                (1.0, 0.2),
                (0.7, 0.5),
                (-0.7, 0.5),
            ]
            pen.polygon(h.many(side), shade(c, 0.75))

    def _bat_face(self) -> None:
        f, pen = self.face, self.pen
        jaw = [(-0.62, -0.15), (0.62, -0.15), (0.55, -0.75), (0, -0.95), (-0.55, -0.75)]
        pen.polygon(f.many(jaw), self.look.skin)
        for s in (-1, 1):
            eye = [(s * 0.14, 0.12), (s * 0.62, 0.34), (s * 0.58, 0.08)]
            pen.polygon(f.many(eye), (250, 250, 250))
        self._mouth(-0.55, 0.25)

    def _spider_face(self) -> None:
        h, f, pen = self.head, self.face, self.pen
        for a in (-0.9, -0.3, 0.3, 0.9):
            pen.line([h(math.sin(a), -math.cos(a)), f(0, 0)], 0.045 * self.radius, (110, 10, 20))
            pen.line([h(math.sin(a), math.cos(a)), f(0, 0)], 0.045 * self.radius, (110, 10, 20))
        for s in (-1, 1):
            for grow, color in ((0.1, (20, 20, 24)), (0.0, (250, 252, 255))):
                eye = [(s * (0.1 - grow), -0.05 - grow), (s * (0.78 + grow), 0.5 + grow * 1.4)]
                pen.polygon(f.many([*eye, (s * (0.72 + grow), -0.1 - grow * 1.4)]), color)

    def _animal_face(self, kind: str) -> None:
        h, f, pen, look = self.head, self.face, self.pen, self.look
        muzzle, dark = look.muzzle, (36, 28, 28)
        if kind == "monkey":
            for s in (-1, 1):
                pen.polygon(f.ellipse(s * 0.36, 0.18, 0.44, 0.46), muzzle)
            pen.polygon(f.ellipse(0, -0.42, 0.68, 0.46), muzzle)
        elif kind == "gorilla":
            pen.polygon(f.ellipse(0, -0.1, 0.76, 0.78), muzzle)
            pen.polygon(f.many([(-0.75, 0.3), (0.75, 0.3), (0.6, 0.55), (-0.6, 0.55)]), look.skin)
            pen.polygon(h.ellipse(0, 0.95, 0.5, 0.4), look.skin)
        elif kind == "fox":
            for s in (-1, 1):
                cheek = [(0, -0.95), (s * 1.0, -0.1), (s * 0.5, -0.02), (0, 0.1)]
                pen.polygon(f.many(cheek), muzzle)
        elif kind == "panda":
            for s in (-1, 1):
                pen.polygon(f.ellipse(s * 0.42, 0.1, 0.3, 0.36), look.coat_color)
        else:
            pen.polygon(f.ellipse(0, -0.42, 0.56, 0.44), muzzle)
        if kind == "dog":
            for s in (-1, 1):
                ear = h.ellipse(s * 1.02, 0.0, 0.34, 0.8)
                pen.polygon(h.ellipse(s * 1.02, 0.0, 0.42, 0.88), shade(look.skin, 0.3))
                pen.polygon(ear, shade(look.skin, 0.55))
            pen.polygon(f.ellipse(0.4, 0.14, 0.3, 0.34), muzzle)
        if kind in ("tiger", "cat"):
            c = look.coat_color
            for x in (-0.32, 0.0, 0.32):
                pen.line(h.many([(x, 0.98), (x * 0.7, 0.55)]), 0.15 * self.radius, c)
            for s in (-1, 1):
                for y in (0.05, -0.32):
                    pen.line(h.many([(s, y), (s * 0.66, y - 0.04)]), 0.15 * self.radius, c)
        if kind == "cheetah":
            for s in (-1, 1):
                tear = f.many([(s * 0.34, 0.05), (s * 0.24, -0.3), (s * 0.36, -0.6)])
                pen.line(tear, 0.11 * self.radius, dark)
                for x, y in ((0.3, 0.72), (0.7, 0.45), (0.85, -0.2)):
                    pen.polygon(h.ellipse(s * x, y, 0.11, 0.11), look.coat_color)
        if kind == "panda" and not self.pose.eyes_closed:
            for s in (-1, 1):
                pen.polygon(f.ellipse(s * 0.4, 0.12, 0.12, 0.14), (250, 250, 250))
        else:
            self._eyes(0.14, 0.36 if kind != "gorilla" else 0.3)
        nose = (230, 130, 140) if kind == "cat" else dark
        v = -0.9 if kind == "fox" else -0.22
        pen.polygon(f.ellipse(0, v, 0.2, 0.14), nose)
        if kind != "fox":
            self._mouth(-0.58, 0.24, dark)
        if kind == "cat":
            for s in (-1, 1):
                for y in (-0.3, -0.5):
                    whisker = f.many([(s * 0.4, y), (s * 1.2, y + 0.08)])
                    pen.line(whisker, 0.05 * self.radius, (250, 250, 250))

    # --- keypoints ----------------------------------------------------------------------------

    def keypoints(self) -> np.ndarray:
        """float32 [18, 3]: x, y in [0, 1] and visibility, in OpenPose's order (METHODS: nose, neck,
        right arm, left arm, right leg, left leg, right eye, left eye, right ear, left ear)."""
        p, f, h = self.p, self.face, self.head
        limbs = [
            p[f"{side}_{joint}"]
            for joints in (("shoulder", "elbow", "wrist"), ("hip", "knee", "ankle"))
            for side in ("right", "left")
            for joint in joints
        ]
        head = [f(-0.38, 0.1), f(0.38, 0.1), h(-0.98, -0.05), h(0.98, -0.05)]
        points = np.array([f(0, -0.2), p["neck"], *limbs, *head], dtype=np.float32)
        turn = self.joints.turn
        seen = np.ones((18, 1), np.float32)
        if abs(turn) > 0.3:  # the far ear is hidden
            seen[17 if turn > 0 else 16] = 0
        inside = ((points >= 0) & (points <= 1)).all(axis=1, keepdims=True)
        return np.hstack([points, seen * inside]).astype(np.float32)
