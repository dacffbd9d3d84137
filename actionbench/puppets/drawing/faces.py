"""Heads of people and of characters: faces, hair and hats."""

from __future__ import annotations

import math
from collections.abc import Callable

from actionbench.puppets.drawing.looks import Look
from actionbench.puppets.drawing.pen import Color, Frame, Pen, Point, shade
from actionbench.puppets.drawing.pose import Mouth

_INK = (24, 22, 26)
_WHITE = (250, 250, 250)


class HumanHead:
    """One head on one canvas, in skull radii from its centre."""

    def __init__(
        self,
        pen: Pen,
        look: Look,
        frame: Frame,
        turn: float,
        edge: float,
        mouth: Mouth = "smile",
        eyes_closed: bool = False,
    ) -> None:
        """turn: 0 faces the viewer, 1 the frame's right, -1 its left."""
        self.pen, self.look, self.head, self.turn = pen, look, frame, turn
        self.edge, self.mouth, self.eyes_closed = edge, mouth, eyes_closed
        self.radius = frame.scale
        self.face = Frame(frame(0.34 * turn, 0), math.degrees(math.atan2(frame.right[1],
                          frame.right[0])), frame.scale)  # fmt: skip
        self.ahead = -1.0 if turn < -0.3 else 1.0

    # --- what lies behind ---------------------------------------------------------------------

    def behind(self) -> None:
        """Paint what the body may cover: long hair, a hood's or a veil's back, a halo."""
        h, look, pen = self.head, self.look, self.pen
        c = look.hair_color
        if look.hair == "long":
            shape = [(-1.05, 0.3), (-1.22, -1.3), (-0.5, -1.5), (0.5, -1.5), (1.22, -1.3)]
            pen.polygon(h.many([*shape, (1.05, 0.3)]), shade(c, 0.8))
        elif look.hair == "curly":
            for x, y in ((-0.95, -0.2), (0.95, -0.2), (-0.95, -0.75), (0.95, -0.75)):
                pen.polygon(h.ellipse(x, y, 0.42, 0.42), c)
        elif look.hair == "bob":
            shape = [(-1.1, 0.4), (-1.24, -0.75), (-0.6, -0.9), (0.6, -0.9), (1.24, -0.75)]
            pen.polygon(h.many([*shape, (1.1, 0.4)]), shade(c, 0.8))
        elif look.hair == "pigtails":
            for s in (-1, 1):
                pen.polygon(h.ellipse(s * 1.3, 0.1, 0.4, 0.5), shade(c, 0.85))
                pen.polygon(h.ellipse(s * 1.42, -0.4, 0.26, 0.4), shade(c, 0.85))
                pen.polygon(h.ellipse(s * 1.02, 0.3, 0.16, 0.16), (214, 48, 60))
        elif look.hair == "wild":
            for a in range(9):
                t = math.radians(-20 + a * 27.5)
                x, y = math.cos(t), math.sin(t)
                spike = [(x * 1.62, y * 1.5 + 0.1), (-y * 0.35 + x * 0.8, x * 0.35 + y * 0.8)]
                pen.polygon(h.many([*spike, (y * 0.35 + x * 0.8, -x * 0.35 + y * 0.8)]), c)
        elif look.hair == "braids":
            for s in (-1, 1):
                for i in range(3):
                    pen.polygon(h.ellipse(s * 1.12, -0.35 - 0.45 * i, 0.24, 0.3),
                                shade(c, 0.85 - 0.06 * (i % 2)))  # fmt: skip
        if look.hat == "hood":
            pen.polygon(h.ellipse(0, 0.05, 1.42, 1.42), shade(look.hat_color, 0.6))
            pen.polygon(h.ellipse(0, 0.05, 1.34, 1.34), look.hat_color)
            pen.polygon(h.many([(-0.4, 1.2), (0.05, 1.75), (0.4, 1.2)]), look.hat_color)
        elif look.hat == "veil":
            shape = [(-1.1, 0.9), (-1.45, -1.5), (1.45, -1.5), (1.1, 0.9), (0, 1.35)]
            pen.polygon(h.many(shape), shade(look.hat_color, 0.82))
        elif look.hat == "nemes":
            self._nemes()
        elif look.hat == "halo":
            for r, color in ((0.95, shade((250, 214, 80), 0.75)), (0.85, (250, 214, 80))):
                pen.polygon(h.ellipse(0, 1.5, r, 0.3 * r), color)
        if look.hat == "samurai":
            for s in (-1, 1):
                flap = [(s * 0.9, 0.4), (s * 1.6, -0.4), (s * 1.3, -0.7), (s * 0.8, -0.3)]
                pen.polygon(h.many(flap), look.hat_color)

    def _nemes(self) -> None:
        h, pen, gold = self.head, self.pen, self.look.hat_color
        shape = [(-1.0, 1.0), (-1.5, -0.4), (-1.25, -1.6), (1.25, -1.6), (1.5, -0.4), (1.0, 1.0)]
        pen.polygon(h.many([*shape, (0, 1.3)]), gold)
        for y in (-1.2, -0.7, -0.2, 0.3):
            for s in (-1, 1):
                pen.line(h.many([(s * 1.4, y), (s * 0.8, y + 0.1)]), 0.14 * self.radius,
                         (40, 70, 150))  # fmt: skip

    # --- the whole ----------------------------------------------------------------------------

    def paint(self) -> None:
        kind, look = self.look.head, self.look
        if kind in ("knight", "robot", "astronaut", "ghost"):
            self._ball((1.02, 1.04))
        else:
            self._ears()
            self._ball((1.0, 1.02))
        faces: dict[str, Callable[[], None]] = {
            "human": self._human, "bat": self._bat, "spider": self._spider,
            "robot": self._robot, "skull": self._skull, "knight": self._knight,
            "astronaut": self._astronaut, "ninja": self._ninja, "mummy": self._mummy,
            "alien": self._alien, "ghost": self._ghost, "snowman": self._snowman,
            "pumpkin": self._pumpkin, "gingerbread": self._gingerbread, "devil": self._devil,
            "clown": self._clown, "mime": self._mime, "monster": self._monster,
        }  # fmt: skip
        faces[kind]()
        if kind in ("clown", "mime"):
            self._hair()
        if look.hat != "none":
            self._hat()

    def _ball(self, size: tuple[float, float]) -> None:
        kind = self.look.head
        skull = (34, 34, 42) if kind == "bat" else self.look.skin
        g = self.edge / self.radius
        a, b = size
        self.pen.polygon(self.head.ellipse(0, 0, a + g, b + g), shade(skull, 0.45))
        self.pen.polygon(self.head.ellipse(0, 0, a, b), skull)

    def _ears(self) -> None:
        h, pen, look = self.head, self.pen, self.look
        for s in (-1, 1):
            if look.head == "bat":
                ear = [(s * 0.35, 0.8), (s * 0.78, 1.75), (s * 0.98, 0.4)]
                pen.polygon(h.many(ear), (34, 34, 42))
            elif look.pointed_ears:
                ear = [(s * 0.85, 0.25), (s * 1.65, 0.6), (s * 0.9, -0.35)]
                pen.polygon(h.many(ear), shade(look.skin, 0.75))
            elif look.head in ("human", "devil", "clown", "mime", "monster"):
                pen.polygon(h.ellipse(s * 0.98, -0.05, 0.2, 0.26), shade(look.skin, 0.82))

    def _eyes(self, v: float = 0.1, gap: float = 0.38, r: float = 0.14,
              color: Color = _INK) -> None:  # fmt: skip
        f, pen = self.face, self.pen
        for s in (-1, 1):
            if self.eyes_closed:
                lid = f.many([(s * gap - r * 1.3, v), (s * gap, v - r), (s * gap + r * 1.3, v)])
                pen.line(lid, 0.09 * self.radius, color)
            else:
                pen.polygon(f.ellipse(s * gap, v, r, r * 1.25), color)

    def _lips(self, v: float, width: float, color: Color = (120, 40, 40)) -> None:
        f, pen = self.face, self.pen
        if self.mouth == "open":
            pen.polygon(f.ellipse(0, v, width * 0.8, width * 0.62), color)
        else:
            dip = 0.16 if self.mouth == "smile" else 0.0
            curve = f.many([(-width, v + dip * 0.6), (0, v - dip), (width, v + dip * 0.6)])
            pen.line(curve, 0.1 * self.radius, color)

    # --- people -------------------------------------------------------------------------------

    def _human(self) -> None:
        look = self.look
        self._beard_behind()
        self._eyewear_behind()
        self._eyes()
        covered = look.beard in ("full", "long")
        self._lips(-0.45, 0.3, (214, 120, 110) if covered else (150, 60, 56))
        self._whiskers()
        self._glasses()
        if look.long_nose:
            tip, r = self.face(1.7 * self.ahead, 0.04), self.radius
            root = self.face(0.1 * self.ahead, -0.16)
            self.pen.capsule(root, tip, 0.22 * r, 0.17 * r, shade(look.skin, 0.5))
            self.pen.capsule(root, tip, 0.14 * r, 0.1 * r, shade(look.skin, 0.95))
        if look.hat != "nemes":
            self._hair()

    def _beard_behind(self) -> None:
        h, pen, look = self.head, self.pen, self.look
        c = look.hair_color
        if look.beard == "full":
            jaw = [(-0.94, 0.1), (-0.9, -0.5), (-0.5, -0.98), (0.5, -0.98), (0.9, -0.5)]
            jaw += [(0.94, 0.1), (0.62, -0.22), (-0.62, -0.22)]
            pen.polygon(h.many(jaw), c)
        elif look.beard == "long":
            jaw = [(-0.9, -0.1), (-0.8, -0.9), (0, -1.7), (0.8, -0.9), (0.9, -0.1)]
            pen.polygon(h.many([*jaw, (0.5, -0.25), (-0.5, -0.25)]), c)

    def _whiskers(self) -> None:
        f, pen, look = self.face, self.pen, self.look
        if look.beard == "moustache":
            shape = [(-0.52, -0.46), (-0.2, -0.2), (0, -0.24), (0.2, -0.2), (0.52, -0.46)]
            pen.polygon(f.many([*shape, (0, -0.36)]), look.hair_color)
        elif look.beard == "goatee":
            pen.polygon(f.many([(-0.3, -0.68), (0.3, -0.68), (0, -1.32)]), look.hair_color)
            pen.line(f.many([(-0.36, -0.3), (0, -0.24), (0.36, -0.3)]), 0.11 * self.radius,
                     look.hair_color)  # fmt: skip

    def _eyewear_behind(self) -> None:
        h, f, pen, kind = self.head, self.face, self.pen, self.look.eyewear
        if kind == "mask":
            band = [(-1.0, 0.32), (1.0, 0.32), (0.98, -0.1), (0.2, -0.1), (0, 0.04), (-0.2, -0.1)]
            pen.polygon(h.many([*band, (-0.98, -0.1)]), (24, 24, 30))
            for s in (-1, 1):
                pen.polygon(f.ellipse(s * 0.38, 0.1, 0.24, 0.2), _WHITE)

    def _glasses(self) -> None:
        h, f, pen, kind = self.head, self.face, self.pen, self.look.eyewear
        if kind == "glasses":
            for s in (-1, 1):
                ring = f.ellipse(s * 0.4, 0.1, 0.32, 0.32)
                pen.line([*ring, ring[0]], 0.09 * self.radius, (50, 50, 60))
        elif kind == "patch":
            pen.line([h(-0.95, 0.5), f(0.38, 0.1), h(0.95, 0.1)], 0.08 * self.radius, _INK)
            pen.polygon(f.ellipse(0.38, 0.08, 0.3, 0.3), _INK)
        elif kind == "goggles":
            pen.line(h.many([(-1.0, 0.62), (1.0, 0.62)]), 0.14 * self.radius, (50, 40, 34))
            for s in (-1, 1):
                pen.polygon(f.ellipse(s * 0.42, 0.62, 0.36, 0.3), (50, 40, 34))
                pen.polygon(f.ellipse(s * 0.42, 0.62, 0.26, 0.2), (160, 220, 240))

    def _hair(self) -> None:
        h, pen, style = self.head, self.pen, self.look.hair
        c = self.look.hair_color
        shift = -0.3 * self.turn
        fringe = [(-1.05, 0.0), (-1.04, 0.5), (-0.75, 0.95), (0, 1.2), (0.75, 0.95), (1.04, 0.5)]
        fringe += [(1.05, 0.0), (0.85 + shift * 0.2, 0.4), (0.2 - shift, 0.58), (-0.85, 0.4)]
        if style in ("short", "long", "bun", "pigtails", "curly", "wild", "braids"):
            pen.polygon(h.many(fringe), c)
        if style == "bun":
            pen.polygon(h.ellipse(0, 1.35, 0.44, 0.4), c)
        elif style == "long":
            for s in (-1, 1):
                lock = [(s * 1.12, 0.5), (s * 1.3, -1.2), (s * 0.86, -1.1), (s * 0.78, 0.45)]
                pen.polygon(h.many(lock), c)
        elif style == "bob":
            pen.polygon(h.many([*fringe[:7], (0.9, 0.36), (-0.9, 0.36)]), c)
            for s in (-1, 1):
                lock = [(s * 1.1, 0.5), (s * 1.24, -0.75), (s * 0.86, -0.7), (s * 0.82, 0.4)]
                pen.polygon(h.many(lock), c)
        elif style == "afro":
            for x, y, r in ((-0.85, 0.55, 0.6), (0.85, 0.55, 0.6), (-0.42, 1.05, 0.62),
                            (0.42, 1.05, 0.62)):  # fmt: skip
                pen.polygon(h.ellipse(x, y, r, r), c)
            pen.polygon(h.many([(-0.9, 0.4), (0.9, 0.4), (0.6, 0.95), (-0.6, 0.95)]), c)
        elif style == "sides":
            for s in (-1, 1):
                pen.polygon(h.ellipse(s * 0.98, 0.15, 0.26, 0.4), c)
        elif style == "mohawk":
            pen.polygon(h.many([(-0.6, 0.75), (-0.36, 1.6), (0.36, 1.6), (0.6, 0.75)]), c)
            side = [(-1.0, 0.2), (-0.8, 0.8), (0, 1.02), (0.8, 0.8), (1.0, 0.2), (0.7, 0.5)]
            pen.polygon(h.many([*side, (-0.7, 0.5)]), shade(c, 0.75))

    # --- characters ---------------------------------------------------------------------------

    def _bat(self) -> None:
        f, pen = self.face, self.pen
        jaw = [(-0.62, -0.15), (0.62, -0.15), (0.55, -0.75), (0, -0.95), (-0.55, -0.75)]
        pen.polygon(f.many(jaw), self.look.skin)
        for s in (-1, 1):
            eye = [(s * 0.14, 0.12), (s * 0.62, 0.34), (s * 0.58, 0.08)]
            pen.polygon(f.many(eye), _WHITE)
        self._lips(-0.55, 0.25)

    def _spider(self) -> None:
        h, f, pen = self.head, self.face, self.pen
        for a in (-0.9, -0.3, 0.3, 0.9):
            pen.line([h(math.sin(a), -math.cos(a)), f(0, 0)], 0.045 * self.radius, (110, 10, 20))
            pen.line([h(math.sin(a), math.cos(a)), f(0, 0)], 0.045 * self.radius, (110, 10, 20))
        for s in (-1, 1):
            for grow, color in ((0.1, (20, 20, 24)), (0.0, (250, 252, 255))):
                eye = [(s * (0.1 - grow), -0.05 - grow), (s * (0.78 + grow), 0.5 + grow * 1.4)]
                pen.polygon(f.many([*eye, (s * (0.72 + grow), -0.1 - grow * 1.4)]), color)

    def _robot(self) -> None:
        h, f, pen, c = self.head, self.face, self.pen, self.look.skin
        pen.line(h.many([(0, 1.0), (0, 1.6)]), 0.14 * self.radius, shade(c, 0.5))
        pen.polygon(h.ellipse(0, 1.65, 0.22, 0.22), (230, 70, 60))
        box = [(-1.08, 0.95), (1.08, 0.95), (1.08, -0.95), (-1.08, -0.95)]
        g = self.edge / self.radius
        pen.polygon(h.many([(x * (1 + g), y * (1 + g)) for x, y in box]), shade(c, 0.45))
        pen.polygon(h.many(box), c)
        for s in (-1, 1):
            pen.polygon(h.ellipse(s * 1.15, 0.0, 0.16, 0.3), shade(c, 0.6))
            pen.polygon(f.ellipse(s * 0.42, 0.2, 0.3, 0.3), (30, 40, 50))
            bright = (90, 110, 120) if self.eyes_closed else (110, 230, 250)
            pen.polygon(f.ellipse(s * 0.42, 0.2, 0.2, 0.2), bright)
        grille = [(-0.5, -0.35), (0.5, -0.35), (0.5, -0.65), (-0.5, -0.65)]
        pen.polygon(f.many(grille), (40, 50, 60))
        for x in (-0.25, 0.0, 0.25):
            pen.line(f.many([(x, -0.35), (x, -0.65)]), 0.07 * self.radius, (200, 210, 220))

    def _skull(self) -> None:
        f, pen = self.face, self.pen
        for s in (-1, 1):
            pen.polygon(f.ellipse(s * 0.4, 0.1, 0.29, 0.33), _INK)
        pen.polygon(f.many([(0, -0.1), (0.14, -0.36), (-0.14, -0.36)]), _INK)
        pen.line(f.many([(-0.5, -0.62), (0.5, -0.62)]), 0.08 * self.radius, _INK)
        for x in (-0.3, 0.0, 0.3):
            pen.line(f.many([(x, -0.48), (x, -0.78)]), 0.07 * self.radius, _INK)

    def _knight(self) -> None:
        h, f, pen, c = self.head, self.face, self.pen, self.look.skin
        pen.polygon(h.many([(-0.16, 1.0), (-0.7 * self.ahead, 1.75), (0.3, 1.45), (0.16, 1.0)]),
                    (204, 36, 44))  # fmt: skip
        visor = [(-0.86, 0.3), (0.86, 0.3), (0.8, -0.05), (-0.8, -0.05)]
        pen.polygon(f.many(visor), (28, 30, 38))
        pen.line(f.many([(0, 0.9), (0, -0.95)]), 0.12 * self.radius, shade(c, 0.7))
        for x in (-0.5, -0.25, 0.25, 0.5):
            pen.line(f.many([(x, -0.35), (x, -0.65)]), 0.08 * self.radius, shade(c, 0.5))

    def _astronaut(self) -> None:
        f, pen = self.face, self.pen
        pen.polygon(f.ellipse(0, 0, 0.78, 0.66), (60, 70, 90))
        pen.polygon(f.ellipse(0, 0, 0.7, 0.58), (236, 176, 70))
        pen.polygon(f.ellipse(-0.25, 0.18, 0.26, 0.18), (255, 236, 180))

    def _ninja(self) -> None:
        f, pen = self.face, self.pen
        slit = [(-0.8, 0.34), (0.8, 0.34), (0.76, -0.12), (-0.76, -0.12)]
        pen.polygon(f.many(slit), (244, 206, 170))
        self._eyes(0.1, 0.34, 0.13)
        pen.line(self.head.many([(-1.0, 0.56), (1.0, 0.56)]), 0.2 * self.radius, (204, 36, 44))
        tail = [(-0.95 * self.ahead, 0.56), (-1.65 * self.ahead, 0.3)]
        pen.line(self.head.many(tail), 0.2 * self.radius, (204, 36, 44))

    def _mummy(self) -> None:
        h, f, pen, c = self.head, self.face, self.pen, shade(self.look.skin, 0.72)
        slit = [(-0.8, 0.3), (0.8, 0.26), (0.78, -0.08), (-0.76, -0.04)]
        pen.polygon(f.many(slit), (50, 44, 50))
        for s in (-1, 1):
            pen.polygon(f.ellipse(s * 0.36, 0.1, 0.15, 0.15), (250, 240, 150))
        for y, d in ((0.75, 0.15), (-0.35, -0.12), (-0.68, 0.12)):
            pen.line(h.many([(-0.75, y), (0.75, y + d)]), 0.08 * self.radius, c)

    def _alien(self) -> None:
        f, h, pen = self.face, self.head, self.pen
        for s in (-1, 1):
            pen.line(h.many([(s * 0.35, 0.9), (s * 0.6, 1.55)]), 0.1 * self.radius,
                     shade(self.look.skin, 0.6))  # fmt: skip
            pen.polygon(h.ellipse(s * 0.6, 1.6, 0.2, 0.2), self.look.skin)
            eye = [(s * 0.1, -0.1), (s * 0.45, 0.42), (s * 0.86, 0.4), (s * 0.6, -0.1)]
            pen.polygon(f.many(eye), _INK)
            pen.polygon(f.ellipse(s * 0.56, 0.24, 0.1, 0.1), _WHITE)
        self._lips(-0.58, 0.2, (40, 90, 40))

    def _ghost(self) -> None:
        f, pen = self.face, self.pen
        for s in (-1, 1):
            pen.polygon(f.ellipse(s * 0.38, 0.1, 0.2, 0.32), _INK)
        pen.polygon(f.ellipse(0, -0.5, 0.22, 0.28), _INK)

    def _snowman(self) -> None:
        f, pen = self.face, self.pen
        self._eyes(0.2, 0.36, 0.13)
        self._lips(-0.55, 0.34, _INK)
        carrot = [(-0.05, 0.02), (0.85 * self.ahead, -0.16), (-0.05, -0.26)]
        pen.polygon(f.many(carrot), (244, 130, 40))

    def _pumpkin(self) -> None:
        h, f, pen, c = self.head, self.face, self.pen, self.look.skin
        for x in (-0.5, 0.5):
            pen.line(h.many([(x, 0.85), (x * 1.3, 0), (x, -0.85)]), 0.08 * self.radius,
                     shade(c, 0.7))  # fmt: skip
        for s in (-1, 1):
            pen.polygon(f.many([(s * 0.2, 0.0), (s * 0.4, 0.38), (s * 0.66, 0.0)]), _INK)
        grin = [(-0.6, -0.25), (-0.25, -0.4), (0, -0.28), (0.25, -0.4), (0.6, -0.25), (0.3, -0.72)]
        pen.polygon(f.many([*grin, (-0.3, -0.72)]), _INK)

    def _gingerbread(self) -> None:
        h, f, pen = self.head, self.face, self.pen
        ring = h.ellipse(0, 0, 0.82, 0.84)
        pen.line([*ring[1:10]], 0.1 * self.radius, _WHITE)
        self._eyes(0.12, 0.36, 0.14, _WHITE if self.eyes_closed else _INK)
        pen.line(f.many([(-0.4, -0.3), (0, -0.52), (0.4, -0.3)]), 0.12 * self.radius, _WHITE)

    def _devil(self) -> None:
        h, pen = self.head, self.pen
        for s in (-1, 1):
            horn = [(s * 0.3, 0.85), (s * 0.95, 1.6), (s * 0.82, 0.5)]
            pen.polygon(h.many(horn), (40, 20, 24))
            brow = [(s * 0.14, 0.26), (s * 0.62, 0.5)]
            pen.line(self.face.many(brow), 0.12 * self.radius, _INK)
        self._eyes(0.08, 0.36, 0.14, (255, 236, 120))
        self._lips(-0.45, 0.34, _INK)
        self._whiskers()

    def _clown(self) -> None:
        f, pen = self.face, self.pen
        for s in (-1, 1):
            pen.polygon(f.ellipse(s * 0.38, 0.2, 0.24, 0.34), (90, 170, 236))
        self._eyes(0.12, 0.38, 0.13)
        pen.polygon(f.ellipse(0, -0.56, 0.5, 0.26), (214, 30, 40))
        pen.line(f.many([(-0.34, -0.5), (0, -0.62), (0.34, -0.5)]), 0.08 * self.radius, _WHITE)
        pen.polygon(f.ellipse(0, -0.14, 0.24, 0.24), (230, 30, 40))

    def _mime(self) -> None:
        f, pen = self.face, self.pen
        for s in (-1, 1):
            pen.line(f.many([(s * 0.38, 0.42), (s * 0.38, -0.22)]), 0.1 * self.radius, _INK)
        self._eyes(0.1, 0.38, 0.15)
        pen.polygon(f.ellipse(0, -0.5, 0.2, 0.12), (204, 30, 44))

    def _monster(self) -> None:
        h, f, pen, look = self.head, self.face, self.pen, self.look
        flat = [(-1.02, 0.2), (-1.05, 1.1), (1.05, 1.1), (1.02, 0.2), (0.6, 0.6), (0.2, 0.45),
                (-0.2, 0.62), (-0.6, 0.45)]  # fmt: skip
        pen.polygon(h.many(flat), look.hair_color)
        for s in (-1, 1):
            pen.polygon(h.many([(s * 0.9, -0.7), (s * 1.35, -0.7), (s * 1.35, -0.95),
                                (s * 0.8, -0.95)]), (120, 126, 136))  # fmt: skip
        self._eyes(0.1, 0.38, 0.14)
        pen.line(f.many([(-0.36, -0.5), (0.36, -0.5)]), 0.12 * self.radius, (60, 70, 50))
        pen.line(f.many([(0.3, 0.55), (0.55, 0.2)]), 0.07 * self.radius, (110, 40, 40))

    # --- hats ---------------------------------------------------------------------------------

    def _dome(self, color: Color, low: float = 0.3, high: float = 1.2, wide: float = 1.08) -> None:
        crown = [(-wide, low), (-0.95, 0.85), (-0.5, high), (0.5, high), (0.95, 0.85), (wide, low)]
        g = self.edge / self.radius
        dark = [(x * (1 + g), y + (g if y > 0.5 else -g)) for x, y in crown]
        self.pen.polygon(self.head.many(dark), shade(color, 0.45))
        self.pen.polygon(self.head.many(crown), color)

    def _brimmed(self, crown: list[Point], brim: tuple[float, float, float], color: Color) -> None:
        """A crown on a brim, both outlined; brim: height, half width, half thickness."""
        h, pen, g = self.head, self.pen, self.edge / self.radius
        v, a, b = brim
        dark = shade(color, 0.45)
        pen.polygon(h.many([(x * (1 + g), y + g) for x, y in crown]), dark)
        pen.polygon(h.ellipse(0, v, a + g, b + g), dark)
        pen.polygon(h.many(crown), color)
        pen.polygon(h.ellipse(0, v, a, b), color)

    def _hat(self) -> None:
        h, pen, look = self.head, self.pen, self.look
        c, s, r = look.hat_color, self.ahead, self.radius
        kind = look.hat
        if kind == "cap":
            self._dome(c)
            brim = [(u * s, v) for u, v in ((-0.5, 0.42), (1.6, 0.42), (1.6, 0.24), (-0.5, 0.24))]
            pen.polygon(h.many(brim), shade(c, 0.7))
        elif kind == "beanie":
            self._dome(c, 0.35, 1.3)
            band = [(-1.1, 0.62), (1.1, 0.62), (1.1, 0.28), (-1.1, 0.28)]
            pen.polygon(h.many(band), shade(c, 0.75))
            pen.polygon(h.ellipse(0, 1.4, 0.26, 0.26), shade(c, 1.2))
        elif kind == "headband":
            band = [(-1.06, 0.62), (1.06, 0.62), (1.06, 0.34), (-1.06, 0.34)]
            pen.polygon(h.many(band), c)
        elif kind in ("fedora", "sunhat", "cowboy", "bowler", "top"):
            self._plain_hat(kind)
        elif kind == "pirate":
            hat = [(-1.5, 0.35), (-1.2, 0.95), (-0.5, 1.5), (0.5, 1.5), (1.2, 0.95), (1.5, 0.35)]
            pen.polygon(h.many([*hat, (0.6, 0.58), (-0.6, 0.58)]), (28, 26, 32))
            pen.polygon(h.ellipse(0, 1.05, 0.26, 0.24), _WHITE)
            pen.line(h.many([(-0.32, 0.72), (0.32, 0.86)]), 0.1 * r, _WHITE)
            pen.line(h.many([(-0.32, 0.86), (0.32, 0.72)]), 0.1 * r, _WHITE)
        elif kind == "witch":
            self._brimmed([(-0.85, 0.5), (-0.3, 1.5), (0.3 * s, 2.3), (0.4, 1.4), (0.85, 0.5)],
                          (0.48, 1.5, 0.24), c)  # fmt: skip
            band = [(-0.84, 0.58), (0.84, 0.58), (0.72, 0.82), (-0.72, 0.82)]
            pen.polygon(h.many(band), (240, 200, 70))
        elif kind == "chef":
            for x, y in ((-0.6, 1.5), (0.6, 1.5), (0, 1.75)):
                pen.polygon(h.ellipse(x, y, 0.66, 0.6), shade((250, 250, 250), 0.6))
            for x, y in ((-0.6, 1.5), (0.6, 1.5), (0, 1.75)):
                pen.polygon(h.ellipse(x, y, 0.58, 0.52), (252, 252, 252))
            band = [(-0.9, 0.5), (0.9, 0.5), (0.86, 1.4), (-0.86, 1.4)]
            pen.polygon(h.many(band), (244, 244, 246))
            pen.line(h.many([(-0.9, 0.5), (0.9, 0.5)]), 0.1 * r, (150, 150, 156))
        elif kind == "nurse":
            cap = [(-0.7, 0.7), (-0.95, 1.4), (0, 1.65), (0.95, 1.4), (0.7, 0.7)]
            pen.polygon(h.many(cap), (252, 252, 252))
            pen.line(h.many([(0, 0.9), (0, 1.4)]), 0.18 * r, (214, 36, 44))
            pen.line(h.many([(-0.26, 1.15), (0.26, 1.15)]), 0.18 * r, (214, 36, 44))
        elif kind == "fire":
            self._brimmed([(-0.98, 0.42), (-0.8, 1.2), (0, 1.5), (0.8, 1.2), (0.98, 0.42)],
                          (0.42, 1.35, 0.2), c)  # fmt: skip
            shield = [(-0.28, 0.6), (-0.28, 1.2), (0.28, 1.2), (0.28, 0.6)]
            pen.polygon(h.many(shield), (246, 210, 70))
        elif kind in ("crown", "tiara"):
            low, tall = (0.62, 1.5) if kind == "crown" else (0.72, 1.2)
            half = 0.86 if kind == "crown" else 0.6
            points = [(-half, low), (-half * 1.1, tall), (-half * 0.5, low + 0.4), (0, tall + 0.1),
                      (half * 0.5, low + 0.4), (half * 1.1, tall), (half, low)]  # fmt: skip
            g = self.edge / r
            pen.polygon(h.many([(x * (1 + g), y + (g if y > 1 else -g)) for x, y in points]),
                        (130, 96, 20))  # fmt: skip
            pen.polygon(h.many(points), (248, 204, 60))
            pen.polygon(h.ellipse(0, low + 0.24, 0.15, 0.15), (210, 40, 60))
        else:
            self._worn(kind)

    def _plain_hat(self, kind: str) -> None:
        h, pen, c = self.head, self.pen, self.look.hat_color
        if kind == "fedora":
            self._brimmed([(-0.85, 0.5), (-0.72, 1.35), (0, 1.2), (0.72, 1.35), (0.85, 0.5)],
                          (0.52, 1.55, 0.24), c)  # fmt: skip
            band = [(-0.85, 0.58), (0.85, 0.58), (0.83, 0.8), (-0.83, 0.8)]
            pen.polygon(h.many(band), (236, 236, 236))
        elif kind == "sunhat":
            self._brimmed([(-0.9, 0.5), (-0.78, 1.15), (0, 1.32), (0.78, 1.15), (0.9, 0.5)],
                          (0.48, 1.7, 0.26), c)  # fmt: skip
            band = [(-0.9, 0.58), (0.9, 0.58), (0.87, 0.78), (-0.87, 0.78)]
            pen.polygon(h.many(band), shade(c, 0.6))
        elif kind == "cowboy":
            crown = [(-0.8, 0.5), (-0.75, 1.5), (-0.3, 1.6), (0, 1.35), (0.3, 1.6), (0.75, 1.5)]
            self._brimmed([*crown, (0.8, 0.5)], (0.5, 1.3, 0.2), c)
            for s in (-1, 1):
                curl = [(s * 1.1, 0.4), (s * 1.85, 0.95), (s * 1.7, 0.5)]
                pen.polygon(h.many(curl), shade(c, 0.85))
            band = [(-0.8, 0.56), (0.8, 0.56), (0.79, 0.78), (-0.79, 0.78)]
            pen.polygon(h.many(band), shade(c, 0.5))
        elif kind == "bowler":
            self._brimmed([(-0.88, 0.5), (-0.78, 1.2), (-0.3, 1.46), (0.3, 1.46), (0.78, 1.2),
                           (0.88, 0.5)], (0.5, 1.26, 0.16), c)  # fmt: skip
        else:
            self._brimmed([(-0.8, 0.5), (-0.88, 1.95), (0.88, 1.95), (0.8, 0.5)],
                          (0.52, 1.3, 0.18), c)  # fmt: skip
            band = [(-0.81, 0.62), (0.81, 0.62), (0.83, 0.95), (-0.83, 0.95)]
            gold = sum(c) > 150
            pen.polygon(h.many(band), (246, 210, 70) if gold else (200, 40, 50))

    def _worn(self, kind: str) -> None:
        """The other hats."""
        h, f, pen, look = self.head, self.face, self.pen, self.look
        c, s, r = look.hat_color, self.ahead, self.radius
        if kind == "santa":
            cone = [(-1.0, 0.5), (-0.8, 1.05), (0.1, 1.75), (1.35, 1.15), (1.0, 0.5)]
            cone = [(x * s, y) for x, y in cone]
            pen.polygon(h.many(cone), c)
            pen.polygon(h.ellipse(1.35 * s, 1.05, 0.28, 0.28), _WHITE)
            band = [(-1.12, 0.72), (1.12, 0.72), (1.12, 0.36), (-1.12, 0.36)]
            pen.polygon(h.many(band), _WHITE)
        elif kind == "feather":
            hat = [(-1.1, 0.4), (-0.7, 1.15), (0.3, 1.35), (1.5, 0.5)]
            pen.polygon(h.many([(x * s, y) for x, y in hat]), c)
            plume = [(-0.2, 0.8), (-1.2, 1.75), (-0.9, 1.1)]
            pen.polygon(h.many([(x * s, y) for x, y in plume]), (214, 40, 44))
        elif kind == "deerstalker":
            self._dome(c, 0.4, 1.35)
            for side in (-1, 1):
                flap = [(side * 0.5, 0.6), (side * 1.65, 0.3), (side * 1.5, 0.56)]
                pen.polygon(h.many(flap), shade(c, 0.7))
                ear = [(side * 0.75, 0.6), (side * 1.16, 0.5), (side * 1.1, -0.3), (side * 0.85, 0)]
                pen.polygon(h.many(ear), shade(c, 0.8))
            pen.line(h.many([(0, 1.3), (0, 0.5)]), 0.08 * r, shade(c, 0.5))
        elif kind == "hood":
            rim = [(-1.1, -0.4), (-1.15, 0.5), (-0.6, 1.2), (0.6, 1.2), (1.15, 0.5), (1.1, -0.4),
                   (0.85, 0.3), (0.4, 0.75), (-0.4, 0.75), (-0.85, 0.3)]  # fmt: skip
            pen.polygon(h.many(rim), c)
        elif kind == "police":
            crown = [
                (-1.05, 0.55),
                (-1.3, 1.15),
                (-0.5, 1.5),
                (0.5, 1.5),
                (1.3, 1.15),
                (1.05, 0.55),
            ]
            pen.polygon(h.many(crown), c)
            brim = [(-0.9, 0.55), (0.9, 0.55), (1.1 * s, 0.26), (-0.6 * s, 0.3)]
            pen.polygon(h.many(brim), (20, 20, 28))
            pen.polygon(h.ellipse(0, 0.98, 0.24, 0.26), (246, 206, 60))
        elif kind == "viking":
            self._dome((150, 156, 168), 0.36, 1.3)
            for side in (-1, 1):
                horn = [(side * 0.8, 0.5), (side * 1.5, 0.7), (side * 1.75, 1.6), (side * 1.2, 1.1),
                        (side * 0.85, 1.0)]  # fmt: skip
                pen.polygon(h.many(horn), (250, 240, 214))
            band = [(-1.1, 0.6), (1.1, 0.6), (1.1, 0.32), (-1.1, 0.32)]
            pen.polygon(h.many(band), (120, 96, 60))
        elif kind in ("hard", "miner", "helmet"):
            self._brimmed([(-1.02, 0.42), (-0.9, 0.95), (-0.4, 1.34), (0.4, 1.34), (0.9, 0.95),
                           (1.02, 0.42)], (0.42, 1.16 if kind == "helmet" else 1.3, 0.13),
                          c)  # fmt: skip
            if kind == "miner":
                pen.polygon(f.ellipse(0, 0.9, 0.34, 0.32), (255, 244, 170))
            elif kind == "hard":
                pen.line(h.many([(0, 0.5), (0, 1.32)]), 0.2 * r, shade(c, 0.8))
        elif kind == "turban":
            pen.polygon(h.ellipse(0, 0.85, 1.16, 0.66), shade(c, 0.7))
            pen.polygon(h.ellipse(0, 0.88, 1.08, 0.58), c)
            pen.polygon(f.ellipse(0, 0.85, 0.2, 0.22), (220, 40, 60))
        elif kind == "beret":
            pen.polygon(h.ellipse(-0.25 * s, 0.95, 1.2, 0.42), c)
            pen.line(h.many([(-0.25 * s, 1.3), (-0.25 * s, 1.55)]), 0.12 * r, c)
        elif kind == "mortarboard":
            pen.polygon(h.many([(-0.95, 0.4), (0.95, 0.4), (0.95, 1.0), (-0.95, 1.0)]), c)
            pen.polygon(h.many([(-1.6, 1.05), (0, 0.75), (1.6, 1.05), (0, 1.4)]), shade(c, 1.3))
            pen.line(h.many([(0, 1.08), (1.3, 0.9), (1.3, 0.25)]), 0.12 * r, (246, 206, 60))
        elif kind == "flyer":
            self._dome(c, 0.3, 1.2)
            for side in (-1, 1):
                flap = [
                    (side * 0.8, 0.5),
                    (side * 1.16, 0.5),
                    (side * 1.1, -0.6),
                    (side * 0.82, -0.4),
                ]
                pen.polygon(h.many(flap), c)
            self._glasses()
        elif kind == "sailor":
            pen.polygon(h.many([(-0.9, 0.5), (0.9, 0.5), (0.8, 1.2), (-0.8, 1.2)]), shade(c, 0.8))
            band = [(-1.1, 0.5), (1.1, 0.5), (1.2, 0.95), (-1.2, 0.95)]
            pen.polygon(h.many(band), c)
            pen.line(h.many([(-1.1, 0.52), (1.1, 0.52)]), 0.1 * r, (40, 70, 150))
        elif kind == "jester":
            for side, color in ((-1, c), (1, (250, 210, 60))):
                horn = [(0, 0.4), (side * 1.05, 0.4), (side * 1.1, 1.0), (side * 1.75, 0.9),
                        (side * 1.1, 1.6), (0, 1.3)]  # fmt: skip
                pen.polygon(h.many(horn), color)
                pen.polygon(h.ellipse(side * 1.75, 0.85, 0.2, 0.2), (220, 50, 60))
        elif kind == "samurai":
            self._brimmed([(-1.02, 0.42), (-0.85, 1.1), (0, 1.4), (0.85, 1.1), (1.02, 0.42)],
                          (0.42, 1.3, 0.16), c)  # fmt: skip
            for side in (-1, 1):
                horn = [(0, 0.7), (side * 0.7, 1.1), (side * 0.8, 2.0), (side * 0.45, 1.2)]
                pen.polygon(h.many(horn), (246, 206, 60))
        elif kind == "plume":
            pen.polygon(h.ellipse(-0.1 * s, 1.35, 1.05, 0.42), (200, 36, 44))
            self._dome(c, 0.36, 1.2)
            for side in (-1, 1):
                cheek = [
                    (side * 0.72, 0.4),
                    (side * 1.08, 0.4),
                    (side * 0.95, -0.6),
                    (side * 0.7, -0.5),
                ]
                pen.polygon(h.many(cheek), c)
        elif kind == "veil":
            rim = [(-1.12, 0.0), (-1.08, 0.6), (-0.6, 1.15), (0.6, 1.15), (1.08, 0.6), (1.12, 0.0),
                   (0.8, 0.5), (-0.8, 0.5)]  # fmt: skip
            pen.polygon(h.many(rim), c)
            if sum(c) < 200:
                pen.line(h.many([(-0.85, 0.48), (0, 0.6), (0.85, 0.48)]), 0.2 * r, _WHITE)
        elif kind == "nemes":
            band = [(-1.05, 0.4), (-0.95, 1.0), (0, 1.25), (0.95, 1.0), (1.05, 0.4)]
            pen.polygon(h.many(band), c)
            pen.line(h.many([(-1.0, 0.48), (1.0, 0.48)]), 0.14 * r, (40, 70, 150))
            pen.polygon(f.ellipse(0, 0.85, 0.16, 0.26), (40, 70, 150))
        elif kind == "bow":
            for side in (-1, 1):
                loop = [(0.1, 1.1), (0.1 + side * 0.7, 1.5), (0.1 + side * 0.7, 0.8)]
                pen.polygon(h.many(loop), c)
            pen.polygon(h.ellipse(0.1, 1.12, 0.18, 0.18), shade(c, 0.7))

    # --- keypoints ----------------------------------------------------------------------------

    def landmarks(self) -> list[tuple[Point, bool]]:
        """Find nose, right eye, left eye, right ear and left ear, each with whether it is seen."""
        f, h, turn = self.face, self.head, self.turn
        return [
            (f(0, -0.2), True),
            (f(-0.38, 0.1), True),
            (f(0.38, 0.1), True),
            (h(-0.98, -0.05), turn >= -0.3),
            (h(0.98, -0.05), turn <= 0.3),
        ]
