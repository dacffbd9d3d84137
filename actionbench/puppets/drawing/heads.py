"""Heads of animals: skull, snout, ears, horns and markings, from any side."""

from __future__ import annotations

import math
from collections.abc import Sequence

from actionbench.puppets.drawing.looks import Face, Look
from actionbench.puppets.drawing.pen import Ball, Color, Frame, Pen, Point, blend, shade
from actionbench.puppets.drawing.pose import Mouth

DARK = (36, 28, 28)
_MANE_RING = [(math.cos(t * math.pi / 7), math.sin(t * math.pi / 7)) for t in range(14)]


class AnimalHead:
    """One head on one canvas. What lies behind the skull is painted by `behind`."""

    def __init__(
        self,
        pen: Pen,
        look: Look,
        frame: Frame,
        yaw: float,
        edge: float,
        mouth: Mouth = "smile",
        eyes_closed: bool = False,
    ) -> None:
        """yaw: degrees, 0 faces the viewer, positive the frame's right.
        edge: the outline's width in picture widths."""
        if look.face is None:
            raise ValueError("only an animal's look has an animal's face")
        self.pen, self.look, self.head, self.yaw = pen, look, frame, yaw
        self.face: Face = look.face
        self.edge, self.mouth, self.eyes_closed = edge, mouth, eyes_closed
        self.ball = Ball(frame, yaw)
        self.near = -1 if yaw >= 0 else 1
        """Which of the sides, -1 the animal's right, is turned towards the viewer."""
        self.radius = frame.scale
        wide = self.face.gaze
        self.gap = 0.36 if wide < 50 else 0.48 if wide < 70 else 0.72

    # --- the whole ----------------------------------------------------------------------------

    def behind(self) -> None:
        """Paint what the body may cover: a mane or spines."""
        if self.look.coat == "spines":
            for i in range(11):
                a = math.radians(-30 + 24 * i)
                x, y = math.cos(a), math.sin(a)
                spike = [(1.55 * x, 1.55 * y), (0.9 * x - 0.3 * y, 0.9 * y + 0.3 * x)]
                spike.append((0.9 * x + 0.3 * y, 0.9 * y - 0.3 * x))
                self.pen.polygon(self.head.many(spike), self.look.coat_color)
        if self.look.mane == "lion":
            mane = self.look.coat_color
            for grow, color in ((self.edge / self.radius, shade(mane, 0.55)), (0.0, mane)):
                self.pen.polygon(self.head.ellipse(0, -0.12, 1.5 + grow, 1.5 + grow), color)
                for x, y in _MANE_RING:
                    r = 0.34 + grow
                    self.pen.polygon(self.head.ellipse(1.4 * x, 1.4 * y - 0.12, r, r), color)

    def paint(self) -> None:
        look, f = self.look, self.face
        in_front = f.ears in ("floppy", "huge", "leaf", "side")
        self._ear(-self.near)
        if not in_front:
            self._ear(self.near)
        if f.horns in ("cow", "goat", "antlers", "knobs"):
            for s in (-self.near, self.near):
                self._horn(s)
        self._skull()
        self._mask()
        self._snout()
        if look.coat == "wool":
            for x, y in ((-0.6, 0.75), (0.0, 1.0), (0.6, 0.75)):
                self.pen.polygon(self.head.ellipse(x, y, 0.5, 0.42), look.skin)
        self._eyes()
        if look.mane == "horse":
            lock = [(-0.3, 1.15), (0.35, 1.1), (0.5, 0.35), (0.1, 0.55)]
            side = 1 if self.yaw >= 0 else -1
            self.pen.polygon([self.head(side * x, y) for x, y in lock], look.coat_color)
        if in_front:
            self._ear(self.near)
        if f.horns in ("tusks", "rhino"):
            self._horn(self.near)

    def _outlined(self, shapes: Sequence[tuple[Point, float]], color: Color) -> None:
        for grow, c in ((self.edge, shade(color, 0.42)), (0.0, color)):
            for center, radius in shapes:
                self.pen.circle(center, radius * self.radius + grow, c)

    def _skull(self) -> None:
        f, pen, look = self.face, self.pen, self.look
        fur = look.muzzle if f.mask == "sheep" else look.skin
        g = self.edge / self.radius
        a, b = self.ball(0, f.drop * 0.7, 0.5), self.ball(0, f.drop, f.snout)
        outline = shade(fur, 0.42)
        light = fur if f.furry or f.mask in ("fox", "wolf") else look.muzzle
        pen.polygon(self.head.ellipse(0, 0, 1 + g, 1 + g), outline)
        r0, r1 = f.base * self.radius, f.tip * self.radius
        pen.capsule(a, b, r0 + self.edge, r1 + self.edge, shade(light, 0.42))
        pen.polygon(self.head.ellipse(0, 0, 1, 1), fur)
        if f.furry:
            pen.capsule(a, b, r0, r1, fur)

    def _snout(self) -> None:
        f, pen, look, r = self.face, self.pen, self.look, self.radius
        a, b = self.ball(0, f.drop * 0.7, 0.5), self.ball(0, f.drop, f.snout)
        if f.furry:
            if look.muzzle != look.skin:
                pen.circle(b, f.tip * r, look.muzzle)
        elif f.mask in ("fox", "wolf"):
            pen.capsule(a, b, f.base * r, f.tip * r, look.skin)
            low_a, low_b = (
                self.ball(0, f.drop * 0.7 - 0.2, 0.5),
                self.ball(0, f.drop - 0.1, f.snout),
            )
            pen.capsule(low_a, low_b, f.base * 0.62 * r, f.tip * 0.6 * r, look.muzzle)
        else:
            pen.capsule(a, b, f.base * r, f.tip * r, look.muzzle)
        if f.mask == "zebra":
            for w in (0.75, 1.1):
                top = self.ball(0, f.drop * w / f.snout + f.base * 0.8, w)
                pen.line([top, self.ball(0, f.drop * w / f.snout - 0.2, w)], 0.13 * r,
                         look.coat_color)  # fmt: skip
        if f.horns == "tusks":
            self._trunk()
            return
        self._nose_and_mouth()

    def _nose_and_mouth(self) -> None:
        f, pen, r = self.face, self.pen, self.radius
        dark = DARK if sum(self.look.muzzle) > 240 else shade(self.look.muzzle, 2.2)
        if f.nose_size > 0.35:  # a disc with nostrils, as a pig's, or a koala's
            reach = f.snout + f.tip * 0.55
            tall = f.nose_size * (1.0 if self.look.tail == "curl" else 1.35)
            pen.polygon(self._spot(0, f.drop, reach, f.nose_size + 0.06, tall + 0.06),
                        shade(f.nose, 0.6))  # fmt: skip
            pen.polygon(self._spot(0, f.drop, reach, f.nose_size, tall), f.nose)
            for s in (-1, 1):
                pen.polygon(self._spot(s * 0.16, f.drop, reach, 0.08, 0.12), shade(f.nose, 0.5))
        elif (self.look.tail == "stub" and f.tip > 0.7) or f.nose_size <= 0.12:
            for s in (-1, 1):
                at = self._spot(s * f.tip * 0.5, f.drop + 0.12, f.snout + f.tip * 0.6, 0.09, 0.11)
                pen.polygon(at, DARK)
        else:
            reach = f.snout + f.tip * 0.7
            tall = f.nose_size * (1.5 if f.mask == "koala" else 0.8)
            up = f.drop + (0.12 if f.mask == "koala" else f.tip * 0.45)
            pen.polygon(self._spot(0, up, reach, f.nose_size, tall), f.nose)
        low, reach = f.drop - f.tip * 0.45, f.snout + f.tip * 0.5
        if f.nose_size > 0.35:
            return
        if self.mouth == "open":
            pen.polygon(self._spot(0, low, reach, 0.24, 0.2), (150, 50, 56))
        else:
            x, y = self.ball.flat(0, low, reach - 0.15)
            dip = 0.1 if self.mouth == "smile" else 0.0
            wide = 0.24 * (0.6 + 0.4 * abs(self.ball.cos))
            curve = self.head.many([(x - wide, y + dip), (x, y - dip * 0.6), (x + wide, y + dip)])
            pen.line(curve, 0.09 * r, dark)
        if f.whiskers:
            for s in (-1, 1):
                for v in (0.05, -0.16):
                    a = self.ball(s * 0.3, f.drop + v, f.snout)
                    b = self.ball(s * 1.25, f.drop + v * 2.2, f.snout - 0.2)
                    pen.line([a, b], 0.05 * r, (70, 66, 70) if sum(self.look.skin) > 560
                             else (250, 250, 250))  # fmt: skip

    def _spot(self, u: float, v: float, w: float, a: float, b: float) -> list[Point]:
        """An ellipse that faces forwards, seen narrower from the side."""
        x, y = self.ball.flat(u, v, w)
        return self.head.ellipse(x, y, a * max(0.55, abs(self.ball.cos)), b)

    def _trunk(self) -> None:
        """An elephant's trunk hangs from its face and curls forwards."""
        f, r = self.face, self.radius
        points = [
            self.ball(0, v, w)
            for v, w in ((-0.35, 0.75), (-1.0, 1.05), (-1.7, 1.1), (-2.2, 1.35), (-2.15, 1.75))
        ]
        radii = [f.base, f.tip, 0.28, 0.22, 0.18]
        fur = self.look.skin
        for grow, color in ((self.edge, shade(fur, 0.42)), (0.0, fur)):
            for i in range(4):
                a, b = radii[i] * r + grow, radii[i + 1] * r + grow
                self.pen.capsule(points[i], points[i + 1], a, b, color)
        for i in (1, 2):
            at = points[i]
            half = radii[i] * r * 0.7
            crease = [(at[0] - half, at[1]), (at[0] + half, at[1])]
            self.pen.line(crease, 0.07 * r, shade(fur, 0.75))

    def _eyes(self) -> None:
        f, pen = self.face, self.pen
        r = f.eyes
        v = 0.14
        w = math.sqrt(max(0.1, 0.9 - self.gap**2))
        light = f.mask in ("panda", "raccoon", "gorilla", "sheep", "skunk")
        for s in (-1, 1):
            if self.ball.depth(s * self.gap, w) < 0.12:
                continue
            x, y = self.ball.flat(s * self.gap, v, w)
            if self.eyes_closed:
                lid = self.head.many([(x - r * 1.3, y), (x, y - r), (x + r * 1.3, y)])
                pen.line(lid, 0.1 * self.radius, (230, 230, 230) if light else (30, 24, 24))
                continue
            if light or sum(self.look.skin) < 330:
                pen.polygon(self.head.ellipse(x, y, r * 1.25, r * 1.45), (250, 250, 250))
                pen.polygon(self.head.ellipse(x, y - 0.02, r * 0.75, r), (24, 22, 26))
            else:
                pen.polygon(self.head.ellipse(x, y, r, r * 1.25), (24, 22, 26))

    # --- ears and horns -----------------------------------------------------------------------

    def _ear(self, s: int) -> None:
        f, h, pen, look = self.face, self.head, self.pen, self.look
        fur = look.coat_color if f.mask == "panda" else look.skin
        if f.mask == "sheep":
            fur = look.muzzle
        inner = shade(look.muzzle, 0.9) if f.mask != "panda" else fur
        dark, k, g = shade(fur, 0.42), f.ear_size, self.edge / self.radius
        # Seen from the side, ears stand along the skull's outline rather than over its middle.
        x, y = self.ball.flat(s * 0.78, 0.78, -0.1)
        far = s != self.near
        turned = abs(self.ball.sin)
        if f.ears in ("round", "small", "fluffy"):
            r = {"round": 0.46, "small": 0.36, "fluffy": 0.66}[f.ears] * k
            if f.ears == "fluffy":
                y -= 0.25
                x *= 1.25
            pen.polygon(h.ellipse(x, y, r + g, r + g), dark)
            pen.polygon(h.ellipse(x, y, r, r), fur)
            pen.polygon(h.ellipse(x, y - 0.03, r * 0.55, r * 0.55), inner)
        elif f.ears == "primate":
            x, y = self.ball.flat(s * 1.1, 0.08, -0.1)
            for r, color in ((0.44 + g, dark), (0.44, fur), (0.28, look.muzzle)):
                pen.polygon(h.ellipse(x, y, r, r), color)
        elif f.ears == "pointed":
            x = self.ball.flat(s * 0.6, 0.6, 0.0)[0]
            out = s * 0.3 * (1 - 0.8 * turned) - (0.1 * math.copysign(1, self.yaw) * turned)
            tall, wide = 0.62 + 0.95 * k, 0.42
            for grow, color in ((g, dark), (0.0, fur)):
                triangle = [(x - wide - grow, 0.5), (x + out, tall + 1.6 * grow)]
                pen.polygon(h.many([*triangle, (x + wide + grow, 0.5)]), color)
            tip = (60, 44, 42) if f.mask == "fox" else (240, 170, 180) if f.mask == "cat" else inner
            triangle = [(x - wide * 0.45, 0.72), (x + out * 0.9, tall - 0.22)]
            if f.mask == "fox":
                triangle = [(x + out * 0.4 - 0.2, tall - 0.5), (x + out, tall)]
                pen.polygon(h.many([*triangle, (x + out * 0.6 + 0.22, tall - 0.5)]), tip)
            else:
                pen.polygon(h.many([*triangle, (x + wide * 0.45, 0.72)]), tip)
        elif f.ears == "tall":
            x = self.ball.flat(s * 0.42, 0.6, -0.1)[0]
            tilt = s * 0.2 * (1 - turned) - 0.35 * math.copysign(1, self.yaw) * turned
            a, b = h(x, 0.7), h(x + tilt, 0.8 + 1.1 * k)
            r = 0.24 * self.radius
            pen.capsule(a, b, r + self.edge, r + self.edge, dark)
            pen.capsule(a, b, r, r, fur)
            pen.capsule(a, b, r * 0.45, r * 0.5, blend(fur, (240, 150, 160), 0.6))
        elif f.ears == "leaf":
            x, y = self.ball.flat(s * 0.72, 0.7, -0.25)
            out = s * 0.75 * (1 - turned) - 0.42 * math.copysign(1, self.yaw) * turned
            a, b = h(x, y), h(x + out * k, y + (0.25 + 0.4 * turned) * k)
            r = 0.2 * self.radius
            pen.capsule(a, b, r + self.edge, r * 0.8 + self.edge, dark)
            pen.capsule(a, b, r, r * 0.8, shade(fur, 0.85) if far else fur)
            pen.capsule(a, b, r * 0.3, r * 0.4, blend(fur, (230, 150, 150), 0.5))
        elif f.ears in ("floppy", "side"):
            drop = 1.25 if f.ears == "floppy" else 0.35
            x, y = self.ball.flat(s * 0.9, 0.6, -0.2)
            out = s * (0.2 if f.ears == "floppy" else 0.7) * (1 - 0.7 * turned)
            color = shade(fur, 0.6) if f.mask == "dog" else shade(fur, 0.88)
            a, b = h(x, y), h(x + out, y - drop * k)
            r = (0.27 if f.ears == "floppy" else 0.22) * self.radius
            if f.ear_size < 0.8:  # a pig's: a flap that hangs forwards
                a, b = h(x, y + 0.1), h(x + 0.3 * turned * math.copysign(1, self.yaw), y - 0.2)
                r *= 1.15
            pen.capsule(a, b, r * 0.8 + self.edge, r * 1.15 + self.edge, shade(color, 0.5))
            pen.capsule(a, b, r * 0.8, r * 1.15, color)
        elif f.ears == "huge":
            mouse = f.ear_size < 1
            x, y = self.ball.flat(s * (0.95 if mouse else 1.05), 0.75 if mouse else 0.0, -0.35)
            wide = (0.9 if mouse else 0.95) * k * (1 - 0.15 * turned)
            high = 0.9 * k if mouse else 1.15 * k
            pen.polygon(h.ellipse(x, y, wide + g, high + g), dark)
            pen.polygon(h.ellipse(x, y, wide, high), fur if not far else shade(fur, 0.85))
            inside = look.muzzle if mouse else blend(fur, (226, 170, 180), 0.4)
            pen.polygon(h.ellipse(x, y - 0.05, wide * 0.66, high * 0.66), inside)

    def _horn(self, s: int) -> None:
        f, pen, r = self.face, self.pen, self.radius
        kind, bone = f.horns, (240, 228, 200)
        turned = abs(self.ball.sin)
        back = -math.copysign(1, self.yaw) * turned
        if kind == "cow":
            x, y = self.ball.flat(s * 0.55, 0.85, 0)
            path = [(x, y), (x + s * 0.5 * (1 - turned * 0.7), y + 0.25), (x + s * 0.45 *
                    (1 - turned) - back * 0.3, y + 0.8)]  # fmt: skip
            self._tapered(path, 0.2, bone)
        elif kind == "goat":
            x, y = self.ball.flat(s * 0.35, 0.8, 0.1)
            path = [(x, y), (x + s * 0.2 * (1 - turned) + back * 0.25, y + 0.7),
                    (x + s * 0.6 * (1 - turned) + back * 1.0, y + 0.95)]  # fmt: skip
            self._tapered(path, 0.24, (150, 130, 104))
        elif kind == "knobs":
            x, y = self.ball.flat(s * 0.4, 0.8, -0.1)
            a, b = self.head(x, y), self.head(x + s * 0.1, y + 0.75)
            pen.capsule(a, b, 0.12 * r, 0.12 * r, (150, 96, 50))
            pen.circle(b, 0.24 * r, (96, 56, 34))
        elif kind == "antlers":
            x, y = self.ball.flat(s * 0.4, 0.8, -0.1)
            c, out = (130, 92, 60), s * (1 - turned) + back * 0.5
            main = [(x, y), (x + out * 0.5, y + 0.9), (x + out * 0.8, y + 1.7)]
            pen.line(self.head.many(main), 0.2 * r, c)
            for at, (dx, dy) in ((1, (-0.55, 0.5)), (1, (0.62, 0.45)), (0, (0.62, 0.7))):
                px, py = main[at]
                tine = [(px, py + 0.1), (px + dx * (1.0 if s > 0 else -1.0), py + dy)]
                pen.line(self.head.many(tine), 0.16 * r, c)
        elif kind == "rhino":
            a, b = (
                self.ball(0, f.drop + 0.3, f.snout + 0.2),
                self.ball(0, f.drop + 1.5, f.snout + 0.5),
            )
            base = self.ball(0, f.drop + 0.35, f.snout - 0.35)
            pen.polygon([a, b, base], shade(bone, 0.5))
            pen.polygon([a, self.ball(0, f.drop + 1.35, f.snout + 0.45), base], bone)
            small = [self.ball(0, 0.25, 1.1), self.ball(0, 0.85, 1.15), self.ball(0, 0.3, 0.75)]
            pen.polygon(small, bone)
        elif kind == "tusks":
            for side in (-self.near, self.near):
                path = [self.ball(side * 0.42, v, w) for v, w in ((-0.62, 0.85), (-1.05, 1.3))]
                pen.capsule(path[0], path[1], 0.17 * r, 0.1 * r, shade(bone, 0.6))
                pen.capsule(path[0], path[1], 0.13 * r, 0.06 * r, (255, 250, 236))

    def _tapered(self, path: Sequence[Point], width: float, color: Color) -> None:
        points = self.head.many(path)
        r = self.radius
        for grow, c in ((self.edge, shade(color, 0.42)), (0.0, color)):
            for i in range(len(points) - 1):
                a, b = width * r * (1 - 0.35 * i), width * r * (0.65 - 0.35 * i)
                self.pen.capsule(points[i], points[i + 1], a + grow, max(b, 0.04 * r) + grow, c)

    # --- markings -----------------------------------------------------------------------------

    def _mask(self) -> None:
        f, pen, look, ball, r = self.face, self.pen, self.look, self.ball, self.radius
        c, kind, muzzle = look.coat_color, f.mask, look.muzzle
        w = math.sqrt(max(0.1, 0.9 - self.gap**2))
        for s in (-self.near, self.near):
            depth = ball.depth(s * self.gap, w)
            if depth < 0.05:
                continue
            if kind == "panda":
                pen.polygon(ball.patch(s * 0.42, 0.1, 0.85, 0.32, 0.38), c)
            elif kind == "raccoon":
                pen.polygon(ball.patch(s * 0.4, 0.45, 0.8, 0.44, 0.3), muzzle)
                pen.polygon(ball.patch(s * 0.5, 0.08, 0.8, 0.5, 0.3), c)
            elif kind in ("fox", "wolf"):
                pen.polygon(ball.patch(s * 0.55, -0.42, 0.65, 0.5, 0.42), muzzle)
            elif kind == "monkey":
                pen.polygon(ball.patch(s * 0.34, 0.18, 0.85, 0.46, 0.48), muzzle)
            elif kind in ("tiger", "lion"):
                if kind == "tiger":
                    pen.polygon(ball.patch(s * 0.5, -0.4, 0.7, 0.48, 0.36), muzzle)
                    pen.polygon(ball.patch(s * 0.36, 0.38, 0.85, 0.22, 0.2), muzzle)
            elif kind == "cheetah":
                tear = [ball(s * 0.34, 0.1, 0.9), ball(s * 0.26, -0.3, 1.0),
                        ball(s * 0.4, -0.75, 0.9)]  # fmt: skip
                pen.line(tear, 0.16 * r, DARK)
            elif kind == "blaze":
                pen.polygon(ball.patch(s * 0.65, 0.25, 0.6, 0.5, 0.62), c)
            elif kind == "dog" and s == self.near:
                pen.polygon(ball.patch(s * 0.46, 0.16, 0.8, 0.34, 0.4), muzzle)
        if kind in ("tiger", "cat"):
            for x in (-0.34, 0.0, 0.34):
                pen.line([ball(x, 0.96, 0.3), ball(x * 0.8, 0.52, 0.85)], 0.15 * r, c)
            for s in (-1, 1):
                for v in (0.08, -0.3):
                    if ball.depth(s * 0.9, 0.4) > 0:
                        pen.line([ball(s * 0.98, v, 0.1), ball(s * 0.72, v - 0.05, 0.7)],
                                 0.15 * r, c)  # fmt: skip
        elif kind == "gorilla":
            pen.polygon(ball.patch(0, -0.1, 0.9, 0.72, 0.76), muzzle)
            pen.polygon(self.head.ellipse(0, 0.98, 0.55, 0.4), look.skin)
            x = ball.flat(0, 0.4, 0.9)[0]
            pen.polygon(self.head.ellipse(x, 0.44, 0.7, 0.18), shade(look.skin, 0.8))
        elif kind == "skunk":
            pen.line([ball(0, 1.0, 0.0), ball(0, 0.3, 0.95)], 0.26 * r, c)
        elif kind == "wolf":
            pen.polygon(ball.patch(0, 0.75, 0.6, 0.6, 0.26), c)
        elif kind == "koala":
            pen.polygon(ball.patch(0, -0.75, 0.6, 0.5, 0.3), muzzle)
        elif kind == "zebra":
            for v, x in ((0.85, 0.2), (0.45, 0.6), (0.0, 0.9)):
                pen.line([ball(-0.75, v, -0.1), ball(-0.2, v - 0.1, x)], 0.15 * r, c)
                pen.line([ball(0.75, v, -0.1), ball(0.2, v - 0.1, x)], 0.15 * r, c)
        if look.coat == "spots":
            for s in (-1, 1):
                for u, v in ((0.3, 0.72), (0.72, 0.42), (0.85, -0.15)):
                    d = math.sqrt(max(0.0, 1 - u * u - v * v))
                    if ball.depth(s * u, d) > 0.1:
                        pen.circle(ball(s * u, v, d), 0.1 * r, c)
        if look.coat == "giraffe" and f.horns == "none":  # a leopard's forehead
            for u, v in ((-0.3, 0.7), (0.3, 0.7), (0.0, 0.5), (-0.75, 0.1), (0.75, 0.1)):
                d = math.sqrt(max(0.0, 1 - u * u - v * v))
                if ball.depth(u, d) > 0.1:
                    pen.circle(ball(u, v, d), 0.11 * r, c)
        if look.beard == "goatee" and f.horns == "goat":
            at = f.drop - f.tip
            beard = [ball(0, at + 0.2, f.snout - 0.4), ball(0, at - 0.75, f.snout - 0.15),
                     ball(0, at + 0.2, f.snout + 0.15)]  # fmt: skip
            pen.polygon([(x - 0.05 * r, y) for x, y in beard[:1]] + beard[1:], c)

    # --- keypoints ----------------------------------------------------------------------------

    def landmarks(self) -> list[tuple[Point, bool]]:
        """Find nose, right eye, left eye, right ear and left ear, each with whether it is seen."""
        f = self.face
        w = math.sqrt(max(0.1, 0.9 - self.gap**2))
        found = [(self.ball(0, f.drop + f.tip * 0.3, f.snout + f.tip * 0.6), True)]
        for s in (-1, 1):
            seen = self.ball.depth(s * self.gap, w) >= 0.12
            found.append((self.ball(s * self.gap, 0.14, w), seen))
        for s in (-1, 1):
            at = self.ball(s * 0.85, 0.7, -0.1)
            found.append((at, s == self.near or abs(self.ball.sin) < 0.5))
        return found
