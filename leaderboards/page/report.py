"""Writing a board's page, `index.html`, with its images in it or in a folder beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from markupsafe import Markup

from actionbench.errors import UserError
from actionbench.judge import PAIR
from evaluation.measures.comparison import p_text
from evaluation.page.document import render, write_page
from leaderboards.board import COPYING
from leaderboards.page.content import group_data, other_judges, provenance, section
from leaderboards.page.images import BESIDE_SIDE, INSIDE_SIDE, MOST_INSIDE, Gallery
from leaderboards.page.plots import board_plots
from leaderboards.people import DIFFERENCES
from leaderboards.render import CLAIMS, FAILURES, MEANING, fits_text

if TYPE_CHECKING:
    from evaluation.drawing import Drawing
    from leaderboards.board import Board, Group
    from leaderboards.difference import Difference

HERE = Path(__file__).parent
PAGE = "index.html"

Html = Literal["auto", "file", "folder"]
"""One file, a file with a folder of images, or what suits the images."""

_WORDS = {
    "meaning": MEANING,
    "exemplar_like": FAILURES,
    "copying": COPYING,
    "claims": CLAIMS,
}
"""What the board's own notes say, in the same words."""


def write_report(
    board: Board, runs: Path, out: Path, reference: Path | None = None, html: Html = "auto"
) -> Path:
    """Write the board's page, `PAGE`, under `out`, and return its path.

    Args:
        board: built from the runs folder `runs` and, if it has such rows, from `reference`.
        html: `auto` puts the images into the page if they are at most `MOST_INSIDE` and small.

    Raises:
        UserError: for a damaged image, and if a file cannot be written; the page is then not
            touched.
    """
    count = sum(row.done for group in board.groups for row in group.rows)
    rows = sum(len(group.rows) for group in board.groups)
    return _write(
        board.groups,
        {False: runs, True: reference or runs},
        out,
        html,
        {
            "kind": "report",
            "title": _title(board.groups),
            "lede": f"{_plural(rows, 'row')} and {count:,} judged images: what was measured, which "
            "differences are real, how each method fails, and the image behind every number.",
            "published": board.published,
            "notes": board.notes,
            "claims": board.claims,
            "diff": None,
        },
    )


def write_difference(difference: Difference, runs: Path, out: Path, html: Html = "auto") -> Path:
    """Write the page of two runs' difference under `out`, flipped items first; return its path.

    Raises:
        UserError: as `write_report`.
    """
    first, second = difference.rows
    keys = (difference.items[name] for name in PAIR)
    return _write(
        [difference.group],
        {False: runs, True: runs},
        out,
        html,
        {
            "kind": "difference of two runs",
            "title": f"{first.name} against {second.name}",
            "lede": difference.summary,
            "published": None,
            "notes": (),
            "claims": (),
            "diff": [difference.measures(), difference.actions()],
        },
        first=[(str(a), str(s), int(i)) for a, s, i in zip(*keys, strict=True)],
    )


def _write(
    groups: Sequence[Group],
    roots: Mapping[bool, Path],
    out: Path,
    html: Html,
    content: Mapping[str, Any],
    first: Sequence[tuple[str, str, int]] = (),
) -> Path:
    gallery = Gallery()
    others = other_judges(groups, roots)
    sections, data = [], []
    for number, group in enumerate(groups):
        values, missing = group_data(number, group, roots, gallery, others, first)
        data.append(values)
        plots = {name: _svg(plot) for name, plot in board_plots(group).items()}
        sections.append(section(number, group, missing, plots))
    images, place = encode(gallery, out, html)
    page = render(
        "report.html",
        folder=HERE,
        styles=["report.css"],
        scripts=["report.js"],
        images=place,
        data={"data": {"groups": data, "minus": content["diff"] is not None}, "images": images},
        content={
            **content,
            "sections": sections,
            "provenance": provenance,
            "p_text": p_text,
            "fits_text": fits_text,
            "differences": DIFFERENCES,
            "words": _WORDS,
            "version": version("actionbench"),
            "images_note": images_note(gallery, place),
        },
    )
    return write_page(out / PAGE, page)


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


def _title(groups: Sequence[Group]) -> str:
    headings = list(dict.fromkeys(group.heading for group in groups))
    if not headings:
        return "No measurement yet"
    return headings[0] if len(headings) == 1 else f"{len(headings)} measurements"


def _plural(count: int, word: str) -> str:
    return f"{count} {word}{'' if count == 1 else 's'}"


def _svg(drawing: Drawing) -> Markup:
    return Markup(drawing.svg(alone=False))
