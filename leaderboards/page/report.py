"""Writing a board's page, `index.html`, with its images in it or in a folder beside it."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from markupsafe import Markup

from actionbench.errors import UserError
from evaluation.page.document import render, write_page
from leaderboards.page.content import group_data, other_judges, provenance, section
from leaderboards.page.images import BESIDE_SIDE, INSIDE_SIDE, MOST_INSIDE, Gallery
from leaderboards.page.plots import board_plots

if TYPE_CHECKING:
    from evaluation.drawing import Drawing
    from leaderboards.board import Board

HERE = Path(__file__).parent
PAGE = "index.html"

Html = Literal["auto", "file", "folder", "none"]
"""One file, a file with a folder of images, what suits the images, or no page."""


def write_report(
    board: Board, runs: Path, out: Path, reference: Path | None = None, html: Html = "auto"
) -> list[Path]:
    """Write the board's page and plots under `out`, and return the paths of what was written.

    Args:
        board: built from the runs folder `runs` and, if it has such rows, from `reference`.
        html: `auto` puts the images into the page if they are at most `MOST_INSIDE` and small.

    Raises:
        UserError: for a damaged image, and if a file cannot be written; the page is then not
            touched.
    """
    roots = {False: runs, True: reference or runs}
    gallery = Gallery()
    others = other_judges(board.groups, roots)
    sections, groups, plots = [], [], []
    for number, group in enumerate(board.groups):
        data, missing = group_data(number, group, roots, gallery, others)
        groups.append(data)
        drawn = board_plots(group)
        plots.append(drawn)
        sections.append(section(number, group, missing, {n: _svg(p) for n, p in drawn.items()}))
    images, place = encode(gallery, out, html)
    count = sum(s.images for s in sections)
    page = render(
        "report.html",
        folder=HERE,
        styles=["report.css"],
        scripts=["report.js"],
        images=place,
        data={"data": {"groups": groups}, "images": images},
        content={
            "kind": "report",
            "title": _title(board),
            "lede": f"{_plural(sum(len(s.rows) for s in sections), 'row')} and {count:,} judged "
            "images: what was measured, which differences are real, how each method fails, and "
            "the image behind every number.",
            "sections": sections,
            "published": board.published,
            "notes": board.notes,
            "provenance": provenance,
            "version": version("actionbench"),
            "images_note": images_note(gallery, place),
            "diff": None,
        },
    )
    paths = [path for n, drawn in enumerate(plots) for path in _write_plots(out, n, drawn)]
    return [write_page(out / PAGE, page), *paths]


def encode(
    gallery: Gallery, out: Path, html: Html
) -> tuple[Mapping[str, object], Literal["inside", "beside"]]:
    """Encode a page's images into it or beside it.

    Raises:
        UserError: for more images than one file holds, if one file is asked for.
    """
    count = len(gallery.entries)
    if html == "file" and count > MOST_INSIDE:
        raise UserError(
            f"one page of {count} images would be slow to open (at most {MOST_INSIDE}): "
            "use --html folder, or name a suite with --suite"
        )
    if html == "folder" or (html == "auto" and (count > MOST_INSIDE or gallery.side > INSIDE_SIDE)):
        return gallery.beside(out), "beside"
    return gallery.inside(), "inside"


def images_note(gallery: Gallery, place: str) -> str:
    """Say how the page's images differ from the stored ones."""
    side = INSIDE_SIDE if place == "inside" else BESIDE_SIDE
    if gallery.side <= side:
        return "; its images are lossy WebP of the stored size"
    full = " and open in full when they are zoomed" if place == "beside" else ""
    return f"; its images are reduced to {side} pixels (lossy WebP){full}"


def _title(board: Board) -> str:
    headings = list(dict.fromkeys(group.heading for group in board.groups))
    return headings[0] if len(headings) == 1 else f"{len(headings)} measurements"


def _plural(count: int, word: str) -> str:
    return f"{count} {word}{'' if count == 1 else 's'}"


def _svg(drawing: Drawing) -> Markup:
    return Markup(drawing.svg(alone=False))


def _write_plots(out: Path, number: int, drawn: Mapping[str, Drawing]) -> list[Path]:
    folder = out / "plots" / ("" if not number else f"group-{number + 1}")
    return [path for name, plot in drawn.items() for path in plot.write(folder / name)]
