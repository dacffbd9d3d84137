"""Draws the floors of the import rule, which tests/test_import_rule.py holds, as docs/floors.svg.

`python -m docs.floors` draws it again; tests/test_docs.py compares.
"""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from pathlib import Path

from tests.test_import_rule import FLOORS, ONE_ROOM

FILE = Path(__file__).with_suffix(".svg")
ROOMS = {
    "actionbench": "the public face",
    "cli": "the table of commands",
    "actionbench.commands": "the commands, one a file",
    "leaderboards": "boards, kept measurements, the published table",
    "evaluation": "judges, measures, experiments, pictures",
    "actionbench.puppets": "drawn suites, the models made of drawings",
    "actionbench.plugins": "template and checks for methods",
    "actionbench.runs": "plan, execution, record, store",
    "methods": "the systems, one a file",
    "actionbench.diffusion": "base model, loops that fits share",
    "actionbench.photos": "from photographs to a dataset",
    "actionbench.puppets.drawing": "drawn figures",
    "actionbench.method": "the contract of a method",
    "actionbench.judge": "the contract of a judge",
    "actionbench.registry": "both, by name",
    "actionbench.suite": "actions, subjects, exemplars, and the formats that hold them",
    "actionbench.files": "atomic writing, hashing, the Hub, where models lie",
    "actionbench.errors": "what people read",
    "actionbench.printing": "how it is shown",
    "actionbench.settings": "hyper-parameters",
    "actionbench.progress": "how far a job is",
    "actionbench.device": "device, memory",
}
"""What each room holds, in the few words that fit into it."""
WIDTH, MARGIN, SIDE, GAP, HEIGHT = 880, 12, 56, 10, 54
FONT = "font-family='ui-monospace, Menlo, Consolas, monospace'"
SANS = "font-family='system-ui, sans-serif'"


def draw() -> str:
    """Draw the floors from the top down, with the rooms of a floor side by side."""
    height = 2 * MARGIN + len(FLOORS) * (HEIGHT + GAP) - GAP
    lines = [
        f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {WIDTH} {height}' "
        f"width='{WIDTH}' height='{height}' role='img'>",
        "<title>The floors: a file imports only from floors below its own</title>",
        f"<rect width='{WIDTH}' height='{height}' rx='8' fill='#ffffff'/>",
        *_arrow(height),
    ]
    for number, rooms in reversed(list(enumerate(FLOORS))):
        top = MARGIN + (len(FLOORS) - 1 - number) * (HEIGHT + GAP)
        lines += _floor(rooms, top)
    return "\n".join([*lines, "</svg>", ""])


def _arrow(height: int) -> Iterator[str]:
    x, end, middle = MARGIN + 14, height - MARGIN - 6, height // 2
    yield (
        f"<path d='M{x} {MARGIN + 6} V{end} m-5 -9 l5 9 l5 -9' fill='none' stroke='#3949ab' "
        "stroke-width='2' stroke-linecap='round'/>"
    )
    yield (
        f"<text x='{x + 16}' y='{middle}' transform='rotate(90 {x + 16} {middle})' fill='#3949ab' "
        f"text-anchor='middle' font-size='13' {SANS}>imports</text>"
    )


def _floor(rooms: set[str], top: int) -> Iterator[str]:
    """A band with a box for each room, or one box if its rooms are one."""
    left, inner = SIDE, WIDTH - SIDE - MARGIN
    together = rooms in ONE_ROOM
    order = [room for room in ROOMS if room in rooms]
    assert len(order) == len(rooms), f"say in ROOMS what {rooms - set(order)} holds"
    width = (inner - (len(order) - 1) * GAP) / len(order)
    if together:
        yield _box(left, top, inner)
    for index, room in enumerate(order):
        x = left + index * (width + GAP)
        if not together:
            yield _box(x, top, width)
        middle = x + width / 2
        yield _text(middle, top + 23, room, f"font-weight='600' font-size='14' {FONT}")
        yield _text(middle, top + 41, ROOMS[room], f"font-size='12.5' {SANS}")


def _box(x: float, y: float, width: float) -> str:
    return (
        f"<rect x='{x:.1f}' y='{y}' width='{width:.1f}' height='{HEIGHT}' rx='6' "
        "fill='#eef0fa' stroke='#9fa8da'/>"
    )


def _text(x: float, y: float, text: str, style: str) -> str:
    place = f"x='{x:.1f}' y='{y}' text-anchor='middle' fill='#20242e'"
    return f"<text {place} {style}>{escape(text)}</text>"


if __name__ == "__main__":
    FILE.write_text(draw(), "utf-8")
