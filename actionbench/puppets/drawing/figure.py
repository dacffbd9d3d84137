"""Upright figures: people, characters, and animals that stand like people."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence

import numpy as np

from actionbench.puppets.drawing.faces import HumanHead
from actionbench.puppets.drawing.heads import AnimalHead
from actionbench.puppets.drawing.looks import Look
from actionbench.puppets.drawing.pen import Color, Frame, Pen, Point, between, shade
from actionbench.puppets.drawing.pose import HEAD, HIP, SHOULDER, Joints, Pose

_OUTLINE = 0.013  # body heights
_SIDEWAYS = 0.3
_INK = (24, 24, 30)


class Figure:
    """One figure on one canvas. `paint` draws from back to front."""

    def __init__(self, pen: Pen, look: Look, pose: Pose, joints: Joints) -> None:
        self.pen, self.look, self.pose, self.joints = pen, look, pose, joints
        self.unit = joints.unit
        self.p = joints.points
        self.edge = _OUTLINE * self.unit
        self.radius = HEAD * look.head_size * self.unit
        frame = Frame(self.p["head"], joints.up, self.radius)
        width = 1 - 0.5 * abs(joints.turn)
        self.torso = Frame(self.p["pelvis"], joints.torso, self.unit, width * look.build)
        self.head: AnimalHead | HumanHead
        if look.face is not None:
            yaw = 62 * joints.turn
            if abs(pose.roll) > 90:
                yaw = -yaw
            small = Frame(self.p["head"], joints.up, self.radius * 0.93)
            self.head = AnimalHead(pen, look, small, yaw, self.edge, pose.mouth, pose.eyes_closed)
        else:
            self.head = HumanHead(
                pen, look, frame, joints.turn, self.edge, pose.mouth, pose.eyes_closed
            )

    def paint(self) -> None:
        look, turn = self.look, self.joints.turn
        if look.wings:
            self._wings(look.wings)
        if look.cape:
            self._cape(look.cape)
        if look.tail != "none":
            self._tail()
        self.head.behind()
        far, near = ("left", "right") if turn > 0 else ("right", "left")
        sideways = abs(turn) > _SIDEWAYS
        if sideways:
            self._arm(far)
        self._leg(far)
        self._leg(near)
        self._torso()
        self.head.paint()
        if not sideways:
            self._arm(far)
        self._arm(near)

    # --- limbs --------------------------------------------------------------------------------

    def _outlined(self, color: Color, shape: Callable[[float, Color], None]) -> None:
        """Draw the shape grown by the outline in a darker colour, then itself."""
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
        if look.chest == "overalls":
            sleeve = look.shirt
        if look.chest == "spider":
            sleeve, fore = look.chest_color, look.skin
        else:
            fore = look.skin if look.sleeves == "short" else sleeve
        b = 0.5 + 0.5 * look.build
        thick = (0.042 * b, 0.036 * b, 0.03 * b)
        if look.head == "skull":
            thick, sleeve, fore = (0.024, 0.02, 0.02), look.skin, look.skin
        elif look.head == "snowman":
            thick, sleeve, fore = (0.02, 0.018, 0.018), look.hands or fore, look.hands or fore
        elif look.legs == "robe" and look.sleeves == "long":
            thick = (0.044 * b, 0.042 * b, 0.044 * b)
        self._bones((shoulder, elbow, wrist), thick, (sleeve, fore))
        self._coat(shoulder, elbow, 0.036 * b)
        self._coat(elbow, wrist, 0.03 * b)
        if look.chest in ("trim", "reflective", "bandages"):
            self._cuff(elbow, wrist, 0.8 if look.chest == "trim" else 0.5, 0.032 * b)
        if look.head == "bat":
            self._bones((between(elbow, wrist, 0.55), wrist), (0.036, 0.036), (look.hands or fore,))
        self._hand(side, elbow, wrist)

    def _cuff(self, a: Point, b: Point, t: float, r: float) -> None:
        dx, dy = b[0] - a[0], b[1] - a[1]
        length = math.hypot(dx, dy) or 1.0
        nx, ny = -dy / length * r * self.unit, dx / length * r * self.unit
        x, y = between(a, b, t)
        self.pen.line([(x - nx, y - ny), (x + nx, y + ny)], 0.026 * self.unit,
                      self.look.chest_color)  # fmt: skip

    def _hand(self, side: str, elbow: Point, wrist: Point) -> None:
        look, u = self.look, self.unit
        color = look.hands or look.skin
        if look.gloves == "right" and side == "left":
            color = look.skin
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
        big = 0.058 if look.gloves == "boxing" else 0.04
        for grow in (self.edge, 0.0):
            fill = shade(color, 0.45) if grow else color
            for tip, r in fingers:
                self.pen.capsule(wrist, hand(*tip), r * u + grow, r * u + grow, fill)
            self.pen.circle(hand(0, 0.012), big * u + grow, fill)

    def _leg(self, side: str) -> None:
        look, p, u = self.look, self.p, self.unit
        hip, knee, ankle = (p[f"{side}_{j}"] for j in ("hip", "knee", "ankle"))
        b = 0.6 + 0.4 * look.build
        upper = look.trousers if look.legs != "skirt" else look.skin
        lower = look.skin if look.legs in ("short", "skirt") else look.trousers
        if look.legs == "robe":
            upper = lower = look.trousers
        thick = (0.056 * b, 0.044 * b, 0.036 * b)
        if look.head == "skull":
            thick, upper, lower = (0.03, 0.024, 0.024), look.skin, look.skin
        self._bones((hip, knee, ankle), thick, (upper, lower))
        self._coat(hip, knee, 0.048 * b)
        self._coat(knee, ankle, 0.036 * b)
        if look.chest in ("reflective", "bandages"):
            self._cuff(knee, ankle, 0.5, 0.038 * b)
        self._foot(side, knee, ankle, u)

    def _foot(self, side: str, knee: Point, ankle: Point, u: float) -> None:
        """The foot: forwards when seen from the side, a little outwards from the front."""
        dx, dy = ankle[0] - knee[0], ankle[1] - knee[1]
        length = math.hypot(dx, dy) or 1.0
        shin = (dx / length, dy / length)
        turn = self.joints.turn
        sideways = abs(turn) > _SIDEWAYS
        sign = math.copysign(1.0, turn) if sideways else (-1.0 if side == "right" else 1.0)
        if abs(self.pose.roll) > 90:
            sign = -sign
        ahead = (shin[1] * sign, -shin[0] * sign)
        reach = (0.062 if sideways else 0.036) * u
        toe = (
            ankle[0] + ahead[0] * reach + shin[0] * 0.012 * u,
            ankle[1] + ahead[1] * reach + shin[1] * 0.012 * u,
        )
        heel = (ankle[0] + shin[0] * 0.008 * u, ankle[1] + shin[1] * 0.008 * u)
        big = 1.35 if self.look.head == "clown" else 1.0
        self._bones((heel, toe), (0.035 * big, 0.03 * big), (self.look.shoes,))

    def _coat(self, a: Point, b: Point, r: float) -> None:
        """Stripes, bars or spots across one bone."""
        look, u = self.look, self.unit
        if look.coat in ("stripes", "bars", "zebra"):
            dx, dy = b[0] - a[0], b[1] - a[1]
            length = math.hypot(dx, dy)
            if length < 1e-6:
                return
            nx, ny = -dy / length * r * u, dx / length * r * u
            for t in (0.25, 0.6, 0.95):
                x, y = between(a, b, t)
                wide = 0.024 if look.coat == "zebra" else 0.016
                self.pen.line([(x - nx, y - ny), (x + nx, y + ny)], wide * u, look.coat_color)
        elif look.coat in ("spots", "giraffe"):
            for i, t in enumerate((0.15, 0.5, 0.85)):
                x, y = between(a, b, t)
                side = (-1) ** i * 0.4 * r * u
                big = 0.0125 if look.coat == "spots" else 0.021
                self.pen.circle((x + side, y + side * 0.3), big * u, look.coat_color)
        elif look.coat == "cow":
            self.pen.circle(between(a, b, 0.45), 0.03 * u, look.coat_color)

    # --- trunk --------------------------------------------------------------------------------

    def _torso(self) -> None:
        look, t, u = self.look, self.torso, self.unit
        neck = look.skin if look.head != "bat" else look.hands or look.skin
        throat = between(self.p["neck"], self.p["head"], 0.6)
        self._bones((t(0, 0.26), throat), (0.04, 0.04), (neck,))
        s, h = SHOULDER, HIP + 0.02
        outline = [(-s, 0.235), (-s * 0.7, 0.275), (s * 0.7, 0.275), (s, 0.235), (h, 0.0)]
        outline += [(h * 0.8, -0.035), (-h * 0.8, -0.035), (-h, 0.0)]
        if look.head == "snowman":
            self._snowballs()
            return

        def body(grow: float, color: Color) -> None:
            g = grow / u
            points = [(x + math.copysign(g, x), y + (g if y > 0.1 else -g)) for x, y in outline]
            self.pen.polygon(t.many(points), color)

        self._outlined(look.shirt, body)
        if look.coat == "wool":
            for x, y in ((-0.09, 0.2), (0.09, 0.2), (-0.1, 0.11), (0.1, 0.11), (-0.08, 0.02),
                         (0.08, 0.02)):  # fmt: skip
                self.pen.circle(t(x, y), 0.05 * u, look.shirt)
        if look.legs in ("long", "short") and look.trousers != look.shirt and look.coat != "panda":
            belt = [(-h - 0.004, 0.035), (h + 0.004, 0.035), (h, 0), (h * 0.8, -0.035)]
            self.pen.polygon(t.many([*belt, (-h * 0.8, -0.035), (-h, 0.0)]), look.trousers)
        if look.legs == "skirt":
            self._skirt(0.72, 0.88)
        elif look.legs == "robe":
            self._skirt(1.0, 1.0)
        self._chest()
        if look.collar:
            band = t.many([(-0.05, 0.272), (0.05, 0.272)])
            self.pen.line(band, 0.034 * u, look.collar)

    def _snowballs(self) -> None:
        t, u, look = self.torso, self.unit, self.look
        for v, r in ((0.02, 0.125), (0.17, 0.1)):
            self.pen.circle(t(0, v), r * u + self.edge, shade(look.skin, 0.5))
            self.pen.circle(t(0, v), r * u, look.skin)
        for v in (0.22, 0.15, 0.07):
            self.pen.circle(t(0, v), 0.018 * u, look.chest_color)
        scarf = t.many([(-0.09, 0.25), (0.09, 0.25)])
        self.pen.line(scarf, 0.05 * u, (208, 40, 48))

    def _skirt(self, reach: float, tone: float) -> None:
        """A skirt hangs between the thighs, a robe to the ankles of whoever stands."""
        p, look, t = self.p, self.look, self.torso
        robe = reach == 1.0
        color = shade(look.trousers, tone)
        ends = [between(p[f"{s}_hip"], p[f"{s}_knee"], reach) for s in ("right", "left")]
        waist = t.many([(-HIP - 0.014, 0.07), (HIP + 0.014, 0.07)])
        if abs(self.pose.roll) > 90:
            waist.reverse()
        (lx, ly), (rx, ry) = sorted(ends)
        grow = (0.03 if not robe else 0.045) * self.unit
        hem = [(rx + grow, ry), (lx - grow, ly)]
        if robe:
            # Below the knees only as far as both shins agree.
            ankles = [between(p[f"{s}_knee"], p[f"{s}_ankle"], 0.72) for s in ("right", "left")]
            straight = all(
                abs(p[f"{s}_ankle"][0] - p[f"{s}_hip"][0]) < 0.16 * self.unit
                and p[f"{s}_ankle"][1] > p[f"{s}_knee"][1]
                for s in ("right", "left")
            )
            if straight:
                (ax, ay), (bx, by) = sorted(ankles)
                hem = [(rx + grow, ry), (bx + grow * 1.2, by), (ax - grow * 1.2, ay),
                       (lx - grow, ly)]  # fmt: skip
        dark = shade(color, 0.5)
        outline = [*waist, *hem]
        self.pen.polygon(outline, color)
        self.pen.line([*outline[1:], outline[0]], self.edge, dark)

    def _chest(self) -> None:
        marks = _CHESTS.get(self.look.chest)
        if marks:
            marks(self)

    def _belly(self) -> None:
        look, t, pen, u = self.look, self.torso, self.pen, self.unit
        c = look.chest_color
        if look.coat in ("zebra", "cow", "wool"):
            c = look.shirt
        pen.polygon(t.ellipse(0, 0.1, 0.058, 0.105), c)
        if look.coat in ("stripes", "bars", "zebra"):
            for v in (0.2, 0.14, 0.08, 0.02):
                for s in (-1, 1):
                    inner = 0.052 if look.coat != "zebra" else 0.012
                    line = t.many([(s * 0.098, v + 0.012), (s * inner, v)])
                    pen.line(line, 0.017 * u, look.coat_color)
        elif look.coat in ("spots", "giraffe"):
            big = 0.013 if look.coat == "spots" else 0.024
            for x, y in ((-0.08, 0.21), (0.078, 0.19), (-0.07, 0.13), (0.07, 0.11), (-0.066, 0.05),
                         (0.064, 0.03)):  # fmt: skip
                pen.circle(t(x, y), big * u, look.coat_color)
        elif look.coat == "cow":
            pen.polygon(t.ellipse(-0.045, 0.2, 0.04, 0.05), look.coat_color)
            pen.polygon(t.ellipse(0.045, 0.08, 0.04, 0.06), look.coat_color)
        elif look.coat == "panda":
            top = t.many([(-0.1, 0.235), (-0.07, 0.275), (0.07, 0.275), (0.1, 0.235)])
            pen.polygon(top + t.many([(0.088, 0.17), (-0.088, 0.17)]), look.coat_color)

    def _suit(self) -> None:
        look, t, pen = self.look, self.torso, self.pen
        c = look.chest_color
        pen.polygon(t.many([(-0.045, 0.275), (0.045, 0.275), (0, 0.09)]), (248, 248, 248))
        if look.chest == "suit":
            tie = [(-0.016, 0.27), (0.016, 0.27), (0.018, 0.13), (0, 0.1), (-0.018, 0.13)]
            pen.polygon(t.many(tie), c)
        else:
            pen.polygon(t.many([(-0.046, 0.28), (-0.046, 0.225), (0.046, 0.28)]), c)
            pen.polygon(t.many([(0.046, 0.28), (0.046, 0.225), (-0.046, 0.28)]), c)
            pen.polygon(t.many([(0.046, 0.225), (-0.046, 0.225), (0, 0.255)]), c)

    def _jacket(self) -> None:
        shirt = [(-0.04, 0.275), (0.04, 0.275), (0.03, 0), (-0.03, 0)]
        self.pen.polygon(self.torso.many(shirt), self.look.chest_color)

    def _vest(self) -> None:
        for s in (-1, 1):
            side = [(s * 0.09, 0.245), (s * 0.045, 0.275), (s * 0.012, 0.16)]
            side += [(s * 0.012, 0.02), (s * 0.078, 0.02)]
            self.pen.polygon(self.torso.many(side), self.look.chest_color)

    def _plaid(self) -> None:
        t, pen, u, c = self.torso, self.pen, self.unit, self.look.chest_color
        for x in (-0.055, 0.0, 0.055):
            pen.line(t.many([(x * 1.15, 0.268), (x, 0.035)]), 0.014 * u, c)
        for y in (0.22, 0.155, 0.09):
            pen.line(t.many([(-0.09, y), (0.09, y)]), 0.014 * u, c)

    def _stripes(self) -> None:
        for x in (-0.066, 0.0, 0.066):
            bar = [(x * 1.1 - 0.02, 0.272), (x * 1.1 + 0.02, 0.272)]
            bar += [(x * 0.85 + 0.017, 0.035), (x * 0.85 - 0.017, 0.035)]
            self.pen.polygon(self.torso.many(bar), self.look.chest_color)

    def _hoops(self) -> None:
        for v in (0.23, 0.17, 0.11, 0.05):
            wide = 0.082 + 0.06 * (v - 0.05)
            line = self.torso.many([(-wide, v), (wide, v)])
            self.pen.line(line, 0.024 * self.unit, self.look.chest_color)

    def _seven(self) -> None:
        line = self.torso.many([(-0.04, 0.215), (0.04, 0.215), (-0.01, 0.08)])
        self.pen.line(line, 0.028 * self.unit, self.look.chest_color)

    def _bat(self) -> None:
        t, pen, c = self.torso, self.pen, self.look.chest_color
        pen.polygon(t.ellipse(0, 0.19, 0.062, 0.04), c)
        bat = [(-0.052, 0.205), (-0.016, 0.2), (0, 0.212), (0.016, 0.2), (0.052, 0.205)]
        pen.polygon(t.many([*bat, (0.03, 0.178), (0, 0.162), (-0.03, 0.178)]), _INK)
        pen.polygon(t.many([(-0.082, 0.045), (0.082, 0.045), (0.08, 0.01), (-0.08, 0.01)]), c)

    def _spider(self) -> None:
        t, pen, u = self.torso, self.pen, self.unit
        for s in (-1, 1):
            side = [(s * 0.1, 0.2), (s * 0.056, 0.17), (s * 0.046, 0.03), (s * 0.08, 0.02)]
            pen.polygon(t.many(side), self.look.chest_color)
        pen.circle(t(0, 0.19), 0.02 * u, _INK)
        for x, y in ((0.05, 0.235), (0.055, 0.19), (0.05, 0.145)):
            pen.line([t(-x, y), t(0, 0.19), t(x, y)], 0.008 * u, _INK)

    def _dots(self) -> None:
        for x, y in ((-0.05, 0.22), (0.03, 0.2), (-0.03, 0.14), (0.06, 0.12), (-0.06, 0.07),
                     (0.02, 0.06)):  # fmt: skip
            self.pen.circle(self.torso(x, y), 0.02 * self.unit, self.look.chest_color)

    def _heart(self) -> None:
        t, c = self.torso, self.look.chest_color
        for s in (-1, 1):
            self.pen.polygon(t.ellipse(s * 0.022, 0.19, 0.026, 0.026), c)
        self.pen.polygon(t.many([(-0.048, 0.182), (0.048, 0.182), (0, 0.115)]), c)

    def _buttons(self) -> None:
        two = self.look.hat == "chef"
        for v in (0.22, 0.15, 0.08):
            for x in (-0.035, 0.035) if two else (0.0,):
                self.pen.circle(self.torso(x, v), 0.019 * self.unit, self.look.chest_color)

    def _apron(self) -> None:
        apron = [(-0.05, 0.25), (0.05, 0.25), (0.058, 0.13), (0.075, -0.02), (-0.075, -0.02)]
        self.pen.polygon(self.torso.many([*apron, (-0.058, 0.13)]), self.look.chest_color)

    def _cross(self) -> None:
        t, pen, u, c = self.torso, self.pen, self.unit, self.look.chest_color
        thick = 0.036 if self.look.head == "knight" else 0.018
        pen.line(t.many([(0, 0.24), (0, 0.07)]), thick * u, c)
        pen.line(t.many([(-0.055, 0.175), (0.055, 0.175)]), thick * u, c)

    def _star(self) -> None:
        points = []
        for i in range(10):
            a, r = math.radians(90 + 36 * i), (0.064, 0.028)[i % 2]
            points.append((r * math.cos(a), 0.175 + r * math.sin(a)))
        self.pen.polygon(self.torso.many(points), self.look.chest_color)

    def _belt(self) -> None:
        t, pen, u = self.torso, self.pen, self.unit
        pen.line(t.many([(-0.082, 0.055), (0.082, 0.055)]), 0.036 * u, self.look.chest_color)
        pen.circle(t(0, 0.055), 0.022 * u, shade(self.look.chest_color, 1.7))

    def _sash(self) -> None:
        line = self.torso.many([(-0.08, 0.255), (0.078, 0.03)])
        self.pen.line(line, 0.042 * self.unit, self.look.chest_color)

    def _overalls(self) -> None:
        t, pen, c = self.torso, self.pen, self.look.chest_color
        bib = [(-0.052, 0.17), (0.052, 0.17), (0.08, 0.02), (0.062, -0.03), (-0.062, -0.03)]
        pen.polygon(t.many([*bib, (-0.08, 0.02)]), c)
        for s in (-1, 1):
            pen.line(t.many([(s * 0.058, 0.275), (s * 0.044, 0.16)]), 0.024 * self.unit, c)

    def _ribs(self) -> None:
        t, pen, u, c = self.torso, self.pen, self.unit, self.look.chest_color
        pen.line(t.many([(0, 0.27), (0, 0.0)]), 0.022 * u, c)
        for v in (0.235, 0.185, 0.135, 0.085):
            pen.line(t.many([(-0.068, v - 0.012), (0, v), (0.068, v - 0.012)]), 0.02 * u, c)
        pen.line(t.many([(-0.065, 0.0), (0.065, 0.0)]), 0.036 * u, c)

    def _panel(self) -> None:
        t, pen, u = self.torso, self.pen, self.unit
        box = [(-0.06, 0.22), (0.06, 0.22), (0.06, 0.1), (-0.06, 0.1)]
        pen.polygon(t.many(box), (60, 70, 84))
        for x, color in ((-0.032, self.look.chest_color), (0.0, (250, 210, 70)),
                         (0.032, (110, 220, 120))):  # fmt: skip
            pen.circle(t(x, 0.16), 0.016 * u, color)

    def _bandages(self) -> None:
        t, pen, u, c = self.torso, self.pen, self.unit, self.look.chest_color
        for v, d in ((0.24, -0.03), (0.17, 0.02), (0.1, -0.02), (0.04, 0.02)):
            pen.line(t.many([(-0.085, v), (0.085, v + d)]), 0.012 * u, c)

    def _ruff(self) -> None:
        for x in (-0.08, -0.04, 0.0, 0.04, 0.08):
            at = self.torso(x, 0.262 - abs(x) * 0.2)
            color = (250, 250, 250) if self.look.chest_color == (255, 255, 255) else (
                self.look.chest_color)  # fmt: skip
            self.pen.circle(at, 0.034 * self.unit, shade(color, 0.6))
            self.pen.circle(at, 0.026 * self.unit, color)

    def _trim(self) -> None:
        t, pen, u, c = self.torso, self.pen, self.unit, self.look.chest_color
        pen.line(t.many([(0, 0.27), (0, 0.06)]), 0.042 * u, c)
        pen.line(t.many([(-0.08, 0.055), (0.08, 0.055)]), 0.036 * u, _INK)
        pen.circle(t(0, 0.055), 0.024 * u, (246, 206, 60))
        pen.line(t.many([(-0.07, -0.025), (0.07, -0.025)]), 0.036 * u, c)

    def _badge(self) -> None:
        t, pen, u = self.torso, self.pen, self.unit
        pen.circle(t(0.05, 0.2), 0.024 * u, self.look.chest_color)
        pen.line(t.many([(0, 0.27), (0, 0.05)]), 0.018 * u, _INK)
        pen.line(t.many([(-0.08, 0.04), (0.08, 0.04)]), 0.03 * u, _INK)

    def _reflective(self) -> None:
        t, pen, u, c = self.torso, self.pen, self.unit, self.look.chest_color
        for v in (0.16, 0.07):
            pen.line(t.many([(-0.088, v), (0.088, v)]), 0.026 * u, c)
        for s in (-1, 1):
            pen.line(t.many([(s * 0.05, 0.27), (s * 0.05, 0.1)]), 0.024 * u, c)

    def _fur(self) -> None:
        for x in (-0.09, -0.045, 0.0, 0.045, 0.09):
            at = self.torso(x, 0.25)
            self.pen.circle(at, 0.038 * self.unit, self.look.chest_color)

    def _kimono(self) -> None:
        t, pen, u, c = self.torso, self.pen, self.unit, self.look.chest_color
        pen.line(t.many([(-0.06, 0.275), (0.03, 0.09)]), 0.026 * u, c)
        pen.line(t.many([(0.06, 0.275), (0.0, 0.16)]), 0.026 * u, c)
        pen.line(t.many([(-0.08, 0.07), (0.08, 0.07)]), 0.06 * u, c)

    def _collar(self) -> None:
        t, pen, c = self.torso, self.pen, self.look.chest_color
        pen.polygon(t.ellipse(0, 0.25, 0.095, 0.06), c)
        pen.polygon(t.ellipse(0, 0.262, 0.06, 0.034), shade(c, 0.6))

    # --- behind -------------------------------------------------------------------------------

    def _cape(self, color: Color) -> None:
        fall = -0.4 if abs(self.joints.torso) < 45 else -0.1
        back = -0.06 * self.joints.turn
        shape = [(-0.105, 0.265), (0.105, 0.265), (0.2 + back, fall), (0.095 + back, fall + 0.03)]
        shape += [(back, fall), (-0.095 + back, fall + 0.03), (-0.2 + back, fall)]
        frame = Frame(self.p["pelvis"], self.joints.torso, self.unit)
        # Of somebody who sits or squats, it lies on the ground.
        floor = max(y for _, y in self.p.values()) + 0.02 * self.unit
        points = [(x, min(y, floor)) for x, y in frame.many(shape)]
        self.pen.polygon([(x, y + self.edge) for x, y in points], shade(color, 0.45))
        self.pen.polygon(points, color)

    def _wings(self, color: Color) -> None:
        frame = Frame(self.p["pelvis"], self.joints.torso, self.unit)
        for s in (-1, 1):
            wing = [(0, 0.2), (s * 0.2, 0.42), (s * 0.34, 0.38), (s * 0.3, 0.2), (s * 0.22, 0.04)]
            grown = [(x * 1.07, 0.22 + (y - 0.22) * 1.1) for x, y in wing]
            self.pen.polygon(frame.many(grown), shade(color, 0.55))
            self.pen.polygon(frame.many(wing), color)

    def _tail(self) -> None:
        look, u = self.look, self.unit
        frame = Frame(self.p["pelvis"], self.joints.torso, u)
        s = -1.0 if self.joints.turn > _SIDEWAYS else 1.0
        color = look.shirt if look.coat != "panda" else look.skin
        if look.tail in ("stub", "cotton", "curl"):
            if look.tail == "cotton":
                color = (255, 252, 246)
            self._bones((frame(s * 0.07, 0.0), frame(s * 0.1, 0.01)), (0.03, 0.03), (color,))
            return
        path = [(0.03, 0.0), (0.13, -0.06), (0.19, 0.0), (0.195, 0.09)]
        points = [frame(s * x, y) for x, y in path]
        if look.tail == "plume" and look.beast is not None and look.beast.tail > 0.55:
            # A squirrel's or a skunk's stands behind the back.
            color = look.coat_color if look.coat == "skunk" else color
            tall = [frame(s * x, y) for x, y in ((0.04, -0.04), (0.17, 0.0), (0.22, 0.2))]
            self._bones([*tall, frame(s * 0.2, 0.36)], (0.03, 0.06, 0.075, 0.06), (color,) * 3)
            return
        if look.tail in ("bushy", "plume"):
            self._bones(points[:3], (0.02, 0.05, 0.055), (color, color))
            self._bones(points[2:], (0.055, 0.026), (color,))
            if look.tail == "bushy":
                tip = (between(points[2], points[3], 0.62), points[3])
                self._bones(tip, (0.036, 0.022), (look.muzzle,))
            return
        if look.tail == "horse":
            color = look.coat_color
        thick = 0.036 if look.tail in ("ringed", "thick", "horse") else 0.02
        self._bones(points, (thick,) * 4, (color,) * 3)
        if look.tail == "tuft":
            self._bones((points[3], points[3]), (0.038, 0.038), (look.coat_color,))
        elif look.head == "devil":
            x, y = points[3]
            self.pen.polygon([(x - 0.04 * u, y), (x + 0.04 * u, y), (x, y - 0.07 * u)], color)
        elif look.tail == "ringed":
            for i in (1, 2):
                middle = between(points[i], points[i + 1], 0.5)
                self.pen.circle(middle, thick * 0.9 * u, look.coat_color)
        for a, b in itertools.pairwise(points[1:]):
            self._coat(a, b, 0.02)

    # --- keypoints ----------------------------------------------------------------------------

    def keypoints(self) -> np.ndarray:
        """Give the 18 points in OpenPose's order, float32 [18, 3]: x, y in [0, 1], visibility.

        The order: nose, neck, right arm, left arm, right leg, left leg, right eye, left eye,
        right ear, left ear.
        """
        p = self.p
        limbs = [
            p[f"{side}_{joint}"]
            for joints in (("shoulder", "elbow", "wrist"), ("hip", "knee", "ankle"))
            for side in ("right", "left")
            for joint in joints
        ]
        marks = self.head.landmarks()
        points = np.array(
            [marks[0][0], p["neck"], *limbs, *(m for m, _ in marks[1:])], dtype=np.float32
        )
        seen = np.ones((18, 1), np.float32)
        for i, (_, visible) in enumerate(marks[1:]):
            seen[14 + i] = float(visible)
        inside = ((points >= 0) & (points <= 1)).all(axis=1, keepdims=True)
        return np.hstack([points, seen * inside]).astype(np.float32)


_CHESTS: dict[str, Callable[[Figure], None]] = {
    "belly": Figure._belly,
    "suit": Figure._suit,
    "bowtie": Figure._suit,
    "jacket": Figure._jacket,
    "vest": Figure._vest,
    "plaid": Figure._plaid,
    "stripes": Figure._stripes,
    "hoops": Figure._hoops,
    "seven": Figure._seven,
    "bat": Figure._bat,
    "spider": Figure._spider,
    "dots": Figure._dots,
    "heart": Figure._heart,
    "buttons": Figure._buttons,
    "apron": Figure._apron,
    "cross": Figure._cross,
    "star": Figure._star,
    "belt": Figure._belt,
    "sash": Figure._sash,
    "overalls": Figure._overalls,
    "ribs": Figure._ribs,
    "panel": Figure._panel,
    "bandages": Figure._bandages,
    "ruff": Figure._ruff,
    "trim": Figure._trim,
    "badge": Figure._badge,
    "reflective": Figure._reflective,
    "fur": Figure._fur,
    "kimono": Figure._kimono,
    "collar": Figure._collar,
}
"""What is on a chest -> its painter."""
