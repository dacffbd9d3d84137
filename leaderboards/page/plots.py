"""The plots of a board, for its page and as files: forest, failures, cost, heat maps."""

from __future__ import annotations

import math
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from evaluation.drawing import Drawing, Role, fitted, text_width
from evaluation.measures.accuracy import outcomes

if TYPE_CHECKING:
    from evaluation.measures.accuracy import Share
    from leaderboards.board import Board, BoardRow, Group

_NAMES = 190
"""Width of the column of names."""
_ROW = 26
_ACCURACIES = ("action", "subject", "total")
_OUTCOMES = ("total", "neglect", "contamination")


def board_plots(group: Group) -> dict[str, Drawing]:
    """Draw every plot of a group, by the name of its file."""
    plots = {"forest": forest(group), "failures": failures(group), "heat": heat(group)}
    if any(row.fit_seconds for row in group.rows):
        plots["cost"] = cost(group)
    return plots


def write_plots(board: Board, out: Path) -> list[Path]:
    """Write the plots of a board's groups as SVG and PNG: `plots/forest.svg` and so on, those of
    further groups in folders of their own.

    Raises:
        UserError: if a file cannot be written.
    """
    paths = []
    for number, group in enumerate(board.groups):
        folder = out / "plots" / (f"group-{number + 1}" if number else "")
        for name, plot in board_plots(group).items():
            paths += plot.write(folder / name)
    return paths


def _name(plot: Drawing, row: BoardRow, y: float) -> None:
    partial = " (partial)" if row.partial else ""
    plot.text(_NAMES - 12, y, fitted(row.name + partial, _NAMES - 14), anchor="end")


def forest(group: Group) -> Drawing:
    """Draw each accuracy with its interval: a panel an accuracy, a line a row."""
    panel, gap, top = 230, 26, 34
    height = top + _ROW * len(group.rows) + 34
    plot = Drawing(
        "Accuracies with 95% intervals",
        "; ".join(f"{r.name}: total {r.shares['total'].text()}" for r in group.rows),
        _NAMES + 3 * panel + 2 * gap + 16,
        height,
    )
    bottom = height - 30
    for number, measure in enumerate(_ACCURACIES):
        left = _NAMES + number * (panel + gap)
        plot.text(left, 12, f"{measure.capitalize()} accuracy, %", size=13, bold=True)
        for tick in range(0, 101, 25):
            x = left + panel * tick / 100
            plot.line(x, top - 6, x, bottom, "rule")
            plot.text(x, bottom + 14, str(tick), "faint", 11, anchor="middle")
        for place, row in enumerate(group.rows):
            _interval(plot, row, row.shares[measure], left, panel, top + _ROW * (place + 0.5))
    for place, row in enumerate(group.rows):
        y = top + _ROW * (place + 0.5)
        _name(plot, row, y)
        if place and row.rank != group.rows[place - 1].rank:
            border = top + _ROW * place
            plot.line(0, border, plot.width - 16, border, "faint", dashed=True)
    return plot


def _interval(
    plot: Drawing, row: BoardRow, share: Share, left: float, width: float, y: float
) -> None:
    if not share.n:
        return
    role: Role = "none" if row.partial else "right"
    if math.isfinite(share.low):
        low, high = left + width * share.low, left + width * share.high
        plot.line(low, y, high, y, role, 2)
        for end in (low, high):
            plot.line(end, y - 4, end, y + 4, role, 1.5)
    plot.dot(left + width * share.value, y, 4.5, role)


def failures(group: Group) -> Drawing:
    """Draw what becomes of each row's images: right, neglect, contamination, neither."""
    width, top = 620, 40
    height = top + _ROW * len(group.rows) + 30
    plot = Drawing(
        "What becomes of the images",
        "; ".join(
            f"{row.name}: " + ", ".join(f"{name} {row.shares[name].percent()}%" for name in
                                        _OUTCOMES)
            for row in group.rows
        ),
        _NAMES + width + 40,
        height,
    )  # fmt: skip
    x: float = _NAMES
    for name in ("right", "neglect", "contamination", "neither"):
        _outcome(plot, name, x, 6, 16, 14)
        plot.text(x + 22, 13, name, size=12)
        x += text_width(name, 12) + 52
    for place, row in enumerate(group.rows):
        y = top + _ROW * place + 4
        _name(plot, row, y + 9)
        shares = [row.shares[name].value for name in _OUTCOMES]
        if not row.done:
            continue
        shares.append(max(0.0, 1 - sum(shares)))
        at: float = _NAMES
        for name, share in zip(("right", "neglect", "contamination", "neither"), shares):
            length = width * share
            _outcome(plot, name, at, y, length, 18)
            if length > 30:
                text = f"{100 * share:.0f}"
                backed = name != "right"
                if backed:
                    wide = text_width(text, 11) + 6
                    plot.rect(at + length / 2 - wide / 2, y + 2, wide, 14, "paper")
                role: Role = "ink" if backed else "paper"
                plot.text(at + length / 2, y + 9, text, role, 11, anchor="middle")
            at += length
    for tick in range(0, 101, 25):
        plot.text(_NAMES + width * tick / 100, height - 14, f"{tick}%", "faint", 11,
                  anchor="middle")  # fmt: skip
    return plot


def _outcome(plot: Drawing, name: str, x: float, y: float, width: float, height: float) -> None:
    """Fill a part of a bar; each kind has a texture besides its colour."""
    if name == "right":
        plot.rect(x, y, width, height, "right")
    elif name == "neglect":
        plot.rect(x, y, width, height, "wrong", 0.3)
    elif name == "contamination":
        plot.rect(x, y, width, height, "wrong", 0.55)
        plot.hatch(x, y, width, height, "paper")
    else:
        plot.rect(x, y, width, height, "none", 0.35)


def cost(group: Group) -> Drawing:
    """Draw total accuracy against the seconds of a fit, with the front that no row is better than
    in both; rows that fit nothing stand on the left."""
    width, height, left, top, bottom = 760, 400, 60, 24, 52
    rows = [row for row in group.rows if row.done]
    plot = Drawing(
        "Total accuracy against the time of a fit",
        "; ".join(f"{r.name}: {_seconds(r)}, total {r.shares['total'].percent()}%" for r in rows),
        width,
        height,
    )
    fitted_seconds = [row.fit_seconds for row in rows if row.fit_seconds]
    low = math.floor(math.log10(min(fitted_seconds)) - 0.15)
    high = math.ceil(math.log10(max(fitted_seconds)) + 0.02)
    start, end, floor = left + 70, width - 150, height - bottom

    def across(row: BoardRow) -> float:
        if not row.fit_seconds:
            return left + 24
        return start + (end - start) * (math.log10(row.fit_seconds) - low) / max(1, high - low)

    def up(share: float) -> float:
        return floor - (floor - top) * share

    for tick in range(0, 101, 20):
        plot.line(left, up(tick / 100), end, up(tick / 100), "rule")
        plot.text(left - 8, up(tick / 100), str(tick), "faint", 11, anchor="end")
    for power in range(low, high + 1):
        for step in (1, 2, 5) if power < high else (1,):
            x = start + (end - start) * (power + math.log10(step) - low) / max(1, high - low)
            plot.line(x, top, x, floor, "rule", 1.0 if step == 1 else 0.5)
            plot.text(x, floor + 14, f"{step * 10.0**power:g} s", "faint", 11, anchor="middle")
    plot.text(left + 24, floor + 14, "no fit", "faint", 11, anchor="middle")
    plot.text((start + end) / 2, floor + 36, "seconds to fit one action (logarithmic)", size=12,
              anchor="middle")  # fmt: skip
    plot.text(14, (top + floor) / 2, "total accuracy, %", size=12, anchor="middle", turned=True)
    front = _front(rows)
    for first, second in pairwise(front):
        y, z = (up(row.shares["total"].value) for row in (first, second))
        plot.line(across(first), y, across(second), y, "right", dashed=True)
        plot.line(across(second), y, across(second), z, "right", dashed=True)
    labels: list[tuple[float, float]] = []
    for row in sorted(rows, key=lambda row: -row.shares["total"].value):
        x, share = across(row), row.shares["total"]
        best = any(row is one for one in front)
        role: Role = "right" if best else "none"
        if math.isfinite(share.low):
            plot.line(x, up(share.low), x, up(share.high), role, 1.4)
        plot.dot(x, up(share.value), 5, role)
        y = up(share.value)
        while any(abs(y - at) < 15 and abs(x - near) < 130 for near, at in labels):
            y += 3
        labels.append((x, y))
        if abs(y - up(share.value)) > 4:
            plot.line(x + 5, up(share.value), x + 10, y, "faint", 0.8)
        plot.text(x + 12, y, fitted(row.name, 136, 12), size=12, bold=best)
    return plot


def _seconds(row: BoardRow) -> str:
    return f"{row.fit_seconds:.1f} s" if row.fit_seconds else "no fit"


def _front(rows: Iterable[BoardRow]) -> list[BoardRow]:
    """The rows that no other is better than in accuracy without taking longer, the quickest
    first."""
    front: list[BoardRow] = []
    for row in sorted(rows, key=lambda r: (r.fit_seconds or 0, -r.shares["total"].value)):
        if not front or row.shares["total"].value > front[-1].shares["total"].value:
            front.append(row)
    return front


def heat(group: Group) -> Drawing:
    """Draw each row's total accuracy by action and subject, as small maps."""
    facts = group.facts
    cell, across = 11, 3
    names, head = 84, 26
    wide = names + cell * len(facts.subjects) + 26
    tall = head + cell * len(facts.actions) + 16
    lines = math.ceil(len(group.rows) / across)
    plot = Drawing(
        "Total accuracy by action and subject",
        f"A map for each of {len(group.rows)} rows: actions downwards ({', '.join(facts.actions)}),"
        f" subjects across ({', '.join(facts.subjects)}); the darker, the more images are right.",
        min(across, len(group.rows)) * wide,
        lines * tall + 24,
    )
    for place, row in enumerate(group.rows):
        left, top = place % across * wide + names, place // across * tall + head
        plot.text(left, top - 12, fitted(row.name, wide - names - 26), bold=True, size=12)
        right = outcomes(row.verdicts)["total"]
        keys = [row.verdicts["action"], row.verdicts["subject"]]
        shares = right.groupby(keys).mean().to_dict()
        for down, action in enumerate(facts.actions):
            y = top + cell * down
            plot.text(left - 5, y + cell / 2, fitted(action, names - 10, 10), "faint", 10,
                      anchor="end")  # fmt: skip
            for side, subject in enumerate(facts.subjects):
                x = left + cell * side
                plot.rect(x, y, cell - 1, cell - 1, "rule", 0.45)
                if (share := shares.get((action, subject))) is None:
                    plot.line(x, y, x + cell - 1, y + cell - 1, "faint", 0.6)
                elif share:
                    plot.rect(x, y, cell - 1, cell - 1, "right", share)
    bottom = plot.height - 12
    legend = f"{len(facts.subjects)} subjects in the suite's order; right:"
    plot.text(names, bottom, legend, "faint", 11)
    at: float = names + 1.15 * text_width(legend, 11) + 10  # a page's typeface may be wider
    for share in (0.0, 0.5, 1.0):
        plot.rect(at, bottom - 6, 12, 12, "rule", 0.45)
        plot.rect(at, bottom - 6, 12, 12, "right", share)
        plot.text(at + 17, bottom, f"{100 * share:.0f}%", "faint", 11)
        at += 56
    return plot
