"""Backdrops make the context: flat, quiet scenes with words for them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from actionbench.puppets.drawing.looks import PALETTE
from actionbench.puppets.drawing.pen import Color, Pen, blend, shade

Rng = np.random.Generator


def _vary(color: Color, rng: Rng) -> Color:
    return shade(color, float(rng.uniform(0.92, 1.06)))


def _ground(pen: Pen, rng: Rng, sky: Color, ground: Color, horizon: float) -> float:
    line = horizon + float(rng.uniform(-0.04, 0.04))
    pen.rectangle(0, 0, 1, line, _vary(sky, rng))
    pen.rectangle(0, line, 1, 1, _vary(ground, rng))
    return line


def _side(rng: Rng) -> float:
    """Somewhere left or right, clear of the middle where the figure stands."""
    return float(rng.uniform(0.04, 0.2) if rng.random() < 0.5 else rng.uniform(0.8, 0.96))


def _park(pen: Pen, rng: Rng) -> None:
    line = _ground(pen, rng, (178, 222, 246), (128, 190, 92), 0.68)
    for x in (_side(rng), _side(rng)):
        pen.rectangle(x - 0.018, line - 0.22, x + 0.018, line + 0.02, (122, 84, 52))
        green = _vary((70, 146, 70), rng)
        for dx, dy, r in ((-0.06, -0.24, 0.085), (0.06, -0.25, 0.085), (0.0, -0.33, 0.095)):
            pen.circle((x + dx, line + dy), r, green)


def _beach(pen: Pen, rng: Rng) -> None:
    line = _ground(pen, rng, (158, 214, 248), (244, 222, 164), 0.72)
    pen.rectangle(0, line - 0.15, 1, line, _vary((52, 140, 200), rng))
    pen.circle((_side(rng), 0.14), 0.075, (255, 232, 120))


def _city(pen: Pen, rng: Rng) -> None:
    line = _ground(pen, rng, (206, 216, 228), (140, 142, 150), 0.74)
    x = -0.02
    while x < 1:
        width, top = float(rng.uniform(0.1, 0.2)), float(rng.uniform(0.2, 0.5))
        color = _vary((150, 160, 182), rng)
        pen.rectangle(x, top, x + width - 0.012, line, color)
        for wx in np.arange(x + 0.02, x + width - 0.035, 0.05):
            for wy in np.arange(top + 0.03, line - 0.04, 0.075):
                pen.rectangle(wx, wy, wx + 0.024, wy + 0.035, (228, 232, 206))
        x += width


def _room(pen: Pen, rng: Rng) -> None:
    line = _ground(pen, rng, (238, 222, 194), (176, 124, 82), 0.76)
    x = 0.16 if rng.random() < 0.5 else 0.84
    pen.rectangle(x - 0.12, 0.14, x + 0.12, 0.44, (250, 250, 250))
    pen.rectangle(x - 0.1, 0.16, x + 0.1, 0.42, _vary((166, 212, 240), rng))
    pen.rectangle(x - 0.006, 0.16, x + 0.006, 0.42, (250, 250, 250))
    pen.rectangle(0, line - 0.02, 1, line, (214, 192, 160))


def _snow(pen: Pen, rng: Rng) -> None:
    line = _ground(pen, rng, (172, 198, 226), (238, 244, 250), 0.7)
    for x in (float(rng.uniform(0.0, 0.3)), float(rng.uniform(0.7, 1.0))):
        top, grey = float(rng.uniform(0.25, 0.4)), _vary((128, 144, 168), rng)
        pen.polygon([(x - 0.3, line), (x, top), (x + 0.3, line)], grey)
        pen.polygon([(x - 0.08, top + 0.1), (x, top), (x + 0.08, top + 0.1)], (250, 252, 255))


def _night(pen: Pen, rng: Rng) -> None:
    _ground(pen, rng, (34, 40, 84), (52, 62, 76), 0.76)
    for x, y in rng.uniform((0.02, 0.03), (0.98, 0.6), (14, 2)):
        pen.circle((float(x), float(y)), 0.008, (238, 238, 220))
    pen.circle((_side(rng), 0.16), 0.075, (246, 240, 200))


def _stage(pen: Pen, rng: Rng) -> None:
    _ground(pen, rng, (108, 30, 48), (150, 102, 62), 0.78)
    for x in np.arange(0, 1, 0.1):
        pen.rectangle(x, 0, x + 0.045, 0.74, (132, 38, 58))
    pen.polygon([(0.4, 0), (0.6, 0), (0.86, 0.95), (0.14, 0.95)], (176, 92, 88))
    pen.rectangle(0, 0.8, 1, 1, _vary((168, 118, 74), rng))


def _desert(pen: Pen, rng: Rng) -> None:
    line = _ground(pen, rng, (250, 214, 160), (226, 164, 96), 0.7)
    x = _side(rng)
    green = _vary((88, 140, 84), rng)
    pen.rectangle(x - 0.026, line - 0.26, x + 0.026, line + 0.04, green)
    pen.rectangle(x - 0.09, line - 0.18, x - 0.06, line - 0.08, green)
    pen.rectangle(x - 0.09, line - 0.1, x, line - 0.072, green)
    pen.rectangle(x + 0.06, line - 0.22, x + 0.09, line - 0.12, green)
    pen.rectangle(x, line - 0.14, x + 0.09, line - 0.112, green)


def _forest(pen: Pen, rng: Rng) -> None:
    line = _ground(pen, rng, (150, 196, 160), (96, 116, 66), 0.74)
    for x in (0.05, 0.22, 0.36, 0.64, 0.8, 0.95):
        x += float(rng.uniform(-0.04, 0.04))
        green, top = _vary((44, 104, 66), rng), float(rng.uniform(0.1, 0.26))
        pen.rectangle(x - 0.012, line - 0.1, x + 0.012, line + 0.01, (92, 64, 44))
        pen.polygon([(x - 0.11, line - 0.06), (x, top), (x + 0.11, line - 0.06)], green)


def _field(pen: Pen, rng: Rng) -> None:
    line = _ground(pen, rng, (150, 204, 244), (74, 160, 70), 0.6)
    for i, y in enumerate(np.linspace(line, 1, 6)[:-1]):
        if i % 2 == 0:
            pen.rectangle(0, y, 1, y + (1 - line) / 5, (88, 176, 80))
    pen.rectangle(0, 0.87, 1, 0.885, (240, 246, 240))


def _plain(color: str) -> Callable[[Pen, Rng], None]:
    def paint(pen: Pen, rng: Rng) -> None:
        wall = _vary(blend(PALETTE[color], (246, 246, 246), 0.55), rng)
        pen.rectangle(0, 0, 1, 1, wall)
        pen.rectangle(0, 0.84 + float(rng.uniform(-0.02, 0.02)), 1, 1, shade(wall, 0.88))

    return paint


BACKDROPS: dict[str, tuple[str, Callable[[Pen, Rng], None]]] = {
    # name -> (words, painter)
    "park": ("in a park", _park),
    "beach": ("on a beach", _beach),
    "city": ("in a city", _city),
    "room": ("in a room", _room),
    "snow": ("in the snow", _snow),
    "night": ("at night", _night),
    "stage": ("on a stage", _stage),
    "desert": ("in a desert", _desert),
    "forest": ("in a forest", _forest),
    "field": ("on a sports field", _field),
    **{
        f"plain-{color}": (f"on a {color} background", _plain(color))
        for color in ("red", "yellow", "green", "blue", "purple", "grey", "white")
    },
}
