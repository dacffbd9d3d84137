"""Plots in one style: drawn once, written as SVG (in a page or alone) and as PNG.

A drawing is a list of marks in a few roles (ink, faint, right, wrong ...). In a page the page's
style sheet colours the roles, light or dark; alone, both formats have the light colours. Text is
measured and drawn in Pillow's own typeface, so that plots repeat on every machine.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from html import escape
from pathlib import Path
from typing import Any, Literal

from PIL import Image, ImageDraw, ImageFont

from actionbench.files.atomic import write_text, written

Role = Literal["ink", "faint", "rule", "paper", "right", "wrong", "none"]
Anchor = Literal["start", "middle", "end"]

COLOURS: dict[Role, str] = {
    "ink": "#1c1d20",
    "faint": "#5d6067",
    "rule": "#d9d5cb",
    "paper": "#ffffff",
    "right": "#0a62b4",
    "wrong": "#b34700",
    "none": "#8d8a82",
}
"""Of a plot that stands alone. Blue and orange are told apart by every kind of colour vision."""

_SCALE, _SMOOTH = 2, 2
"""Pixels of a PNG for each unit, and how many times finer it is drawn before it is reduced."""
_FAMILY = "system-ui, -apple-system, 'Segoe UI', Roboto, Helvetica, Arial, sans-serif"
_NOT_XML = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")

Point = tuple[float, float]


def plain(text: str) -> str:
    """Return a text without what is no character, and without marks that turn its direction."""
    kept = (c for c in _NOT_XML.sub(" ", text) if unicodedata.category(c) != "Cf")
    return "".join(kept)


@lru_cache
def _font(size: float) -> Any:
    return ImageFont.load_default(size)


def text_width(text: str, size: float = 13) -> float:
    """Measure a text in units of the drawing."""
    return float(_font(size * 4).getlength(text)) / 4


def fitted(text: str, width: float, size: float = 13) -> str:
    """Cut a text to a width, with an ellipsis where something is gone."""
    text = plain(text)
    if text_width(text, size) <= width:
        return text
    low, high = 0, min(len(text), 400)
    while low < high:
        middle = (low + high + 1) // 2
        fits = text_width(f"{text[:middle]}…", size) <= width
        low, high = (middle, high) if fits else (low, middle - 1)
    return f"{text[:low].rstrip()}…"


@dataclass(frozen=True)
class _Mark:
    kind: Literal["line", "area", "dot", "text"]
    points: tuple[Point, ...]
    role: Role
    size: float = 1.0
    """Width of a line, radius of a dot, height of a text."""
    strength: float = 1.0
    """How much of the colour covers what is behind it, in [0, 1]."""
    dashed: bool = False
    hollow: bool = False
    text: str = ""
    anchor: Anchor = "start"
    bold: bool = False
    turned: bool = False
    """Whether a text runs upwards."""


@dataclass
class Drawing:
    """A plot of `width` x `height` units; the origin is at the top left.

    Example:
        >>> plot = Drawing("Totals", "A dot for each method.", 300, 100)
        >>> plot.dot(50, 50, 4, "right")
        >>> plot.text(60, 50, "54.9")
        >>> plot.write(Path("plots/totals"))
    """

    title: str
    description: str
    """What a reader who does not see it has to know."""
    width: float
    height: float
    marks: list[_Mark] = field(default_factory=list)

    def line(
        self, x0: float, y0: float, x1: float, y1: float, role: Role = "ink", size: float = 1.0,
        *, dashed: bool = False,
    ) -> None:  # fmt: skip
        """Draw a straight line."""
        self.marks.append(_Mark("line", ((x0, y0), (x1, y1)), role, size, dashed=dashed))

    def rect(
        self, x: float, y: float, width: float, height: float, role: Role, strength: float = 1.0
    ) -> None:
        """Fill a rectangle."""
        corners = ((x, y), (x + width, y), (x + width, y + height), (x, y + height))
        self.marks.append(_Mark("area", corners, role, strength=strength))

    def area(self, points: Sequence[Point], role: Role, strength: float = 1.0) -> None:
        """Fill a polygon."""
        self.marks.append(_Mark("area", tuple(points), role, strength=strength))

    def hatch(self, x: float, y: float, width: float, height: float, role: Role) -> None:
        """Rule a rectangle with diagonal lines, for a difference that is not in colour alone."""
        step, offset = 5.0, 0.0
        while offset < width + height:
            x0, y0 = x + min(offset, width), y + max(0.0, offset - width)
            x1, y1 = x + max(0.0, offset - height), y + min(offset, height)
            self.line(x0, y0, x1, y1, role)
            offset += step

    def dot(self, x: float, y: float, radius: float, role: Role, *, hollow: bool = False) -> None:
        """Draw a filled circle, or its outline."""
        self.marks.append(_Mark("dot", ((x, y),), role, radius, hollow=hollow))

    def text(
        self, x: float, y: float, text: str, role: Role = "ink", size: float = 13,
        *, anchor: Anchor = "start", bold: bool = False, turned: bool = False,
    ) -> None:  # fmt: skip
        """Set a line of text, its middle at the height `y`."""
        self.marks.append(
            _Mark("text", ((x, y),), role, size, text=plain(text), anchor=anchor, bold=bold,
                  turned=turned)
        )  # fmt: skip

    def svg(self, *, alone: bool = True) -> str:
        """Write it as SVG: alone with colours of its own, or for a page that colours the roles."""
        width, height = _n(self.width), _n(self.height)
        lines = [
            '<svg xmlns="http://www.w3.org/2000/svg" role="img" class="drawing" '
            f'viewBox="0 0 {width} {height}" width="{width}" height="{height}">',
            f"<title>{escape(plain(self.title))}</title>",
        ]
        lines.append(f"<desc>{escape(plain(self.description))}</desc>")
        if alone:
            lines.append(f"<style>{_own_style()}</style>")
            lines.append(f'<rect class="f-paper" width="{width}" height="{height}"/>')
        lines += map(_svg_mark, self.marks)
        return "\n".join([*lines, "</svg>", ""])

    def png(self) -> Image.Image:
        """Draw it in pixels, twice as many as units, RGB."""
        scale = _SCALE * _SMOOTH
        size = (math.ceil(self.width * scale), math.ceil(self.height * scale))
        canvas = Image.new("RGB", size, COLOURS["paper"])
        pen = ImageDraw.Draw(canvas, "RGBA")
        for mark in self.marks:
            _png_mark(canvas, pen, mark, scale)
        return canvas.reduce(_SMOOTH)

    def write(self, stem: Path) -> list[Path]:
        """Write `stem`.svg and `stem`.png, and return their paths.

        Raises:
            UserError: if one cannot be written.
        """
        picture = stem.with_name(f"{stem.name}.png")
        with written(picture) as temporary:
            self.png().save(temporary, format="PNG", optimize=True)
        return [write_text(stem.with_name(f"{stem.name}.svg"), self.svg()), picture]


def _n(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".")


def _own_style() -> str:
    return "".join(
        f".f-{role}{{fill:{colour}}}.s-{role}{{stroke:{colour};fill:none}}"
        for role, colour in COLOURS.items()
    ) + (f"text{{font-family:{_FAMILY};dominant-baseline:central}}")


def _svg_mark(mark: _Mark) -> str:
    (x, y), *_ = mark.points
    if mark.kind == "line":
        (x1, y1) = mark.points[1]
        dash = ' stroke-dasharray="4 3"' if mark.dashed else ""
        return (
            f'<line class="s-{mark.role}" x1="{_n(x)}" y1="{_n(y)}" x2="{_n(x1)}" y2="{_n(y1)}" '
            f'stroke-width="{_n(mark.size)}"{dash}/>'
        )
    if mark.kind == "area":
        corners = " ".join(f"{_n(a)},{_n(b)}" for a, b in mark.points)
        opacity = "" if mark.strength == 1 else f' fill-opacity="{_n(mark.strength)}"'
        return f'<polygon class="f-{mark.role}" points="{corners}"{opacity}/>'
    if mark.kind == "dot":
        kind, width = ("s", ' stroke-width="1.6"') if mark.hollow else ("f", "")
        place = f'cx="{_n(x)}" cy="{_n(y)}" r="{_n(mark.size)}"'
        return f'<circle class="{kind}-{mark.role}" {place}{width}/>'
    more = "" if mark.anchor == "start" else f' text-anchor="{mark.anchor}"'
    more += ' font-weight="600"' if mark.bold else ""
    more += f' transform="rotate(-90 {_n(x)} {_n(y)})"' if mark.turned else ""
    return (
        f'<text class="f-{mark.role}" x="{_n(x)}" y="{_n(y)}" font-size="{_n(mark.size)}" '
        f'dominant-baseline="central"{more}>{escape(mark.text)}</text>'
    )


def _rgba(mark: _Mark) -> tuple[int, int, int, int]:
    colour = COLOURS[mark.role]
    red, green, blue = (int(colour[place : place + 2], 16) for place in (1, 3, 5))
    return red, green, blue, round(255 * mark.strength)


def _png_mark(canvas: Image.Image, pen: ImageDraw.ImageDraw, mark: _Mark, scale: float) -> None:
    colour = _rgba(mark)
    points = [(x * scale, y * scale) for x, y in mark.points]
    (x, y), *_ = points
    size = mark.size * scale
    if mark.kind == "line":
        ends = _dashes(points[0], points[1], 4 * scale, 3 * scale) if mark.dashed else [points]
        for one in ends:
            pen.line([*one], colour, max(1, round(size)))
    elif mark.kind == "area":
        pen.polygon(points, colour)
    elif mark.kind == "dot":
        box = (x - size, y - size, x + size, y + size)
        if mark.hollow:
            pen.ellipse(box, outline=colour, width=round(1.6 * scale))
        else:
            pen.ellipse(box, colour)
    elif mark.turned:
        width = math.ceil(_font(size).getlength(mark.text)) + 2
        height = math.ceil(size * 1.4)
        strip = Image.new("L", (width, height))
        ImageDraw.Draw(strip).text((1, height / 2), mark.text, 255, _font(size), "lm")
        strip = strip.rotate(90, expand=True)
        shift = {"start": width, "middle": width / 2, "end": 0}[mark.anchor]
        place = (round(x - height / 2), round(y - shift))
        canvas.paste(colour[:3], place, strip)
    else:
        anchor = {"start": "lm", "middle": "mm", "end": "rm"}[mark.anchor]
        stroke = round(0.02 * size) if mark.bold else 0
        pen.text((x, y), mark.text, colour, _font(size), anchor, stroke_width=stroke)


def _dashes(start: Point, end: Point, on: float, off: float) -> list[list[Point]]:
    length = math.dist(start, end)
    steps = [place * (on + off) for place in range(int(length / (on + off)) + 1)]
    between = [(at / length, min(1.0, (at + on) / length)) for at in steps] if length else []
    return [
        [(start[0] + t * (end[0] - start[0]), start[1] + t * (end[1] - start[1])) for t in pair]
        for pair in between
    ]
