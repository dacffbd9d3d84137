"""Black bars beside a photograph that was padded to a square.

A bar that all exemplars of an action share looks like a part of the action, to ADI's masks above
all; so bars are kept out of the loss, and the user is told if there is much of them.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from PIL.Image import Image

BLACK = 8
"""The brightest value of a bar: compression leaves traces in it."""
NOTEWORTHY = 0.05
"""The share of the exemplars' area from which on bars are reported."""

Box = tuple[int, int, int, int]
"""Left, top, right and bottom in pixels; right and bottom are outside."""


def content_box(image: Image) -> Box:
    """Return the part of an image that lies between bars: all of it if there are none.

    Bars are black rims of equal width, to a pixel, at two opposite sides, as padding makes them;
    a dark sky is at one side only. An image that is black all over has none.
    """
    lit = np.asarray(image.convert("RGB")).max(2) > BLACK
    height, width = lit.shape
    top, bottom = _rims(lit.any(1))
    left, right = _rims(lit.any(0))
    return left, top, width - right, height - bottom


def _rims(lit: np.ndarray) -> tuple[int, int]:
    """Return the widths of the bars before and after the lit lines; 0 and 0 for no bars."""
    lines = np.flatnonzero(lit)
    if not len(lines):
        return 0, 0
    before, after = int(lines[0]), int(len(lit) - 1 - lines[-1])
    return (before, after) if abs(before - after) <= 1 else (0, 0)


def bar_share(images: Iterable[Image]) -> float:
    """Return the share of the images' area that is bars, the mean over the images; 0 for none."""
    shares = []
    for image in images:
        left, top, right, bottom = content_box(image)
        shares.append(1 - (right - left) * (bottom - top) / (image.width * image.height))
    return float(np.mean(shares)) if shares else 0.0


def bars_note(action: str, images: Iterable[Image]) -> str:
    """Return a line about the bars of an action's exemplars; empty if they are no more than few."""
    share = bar_share(images)
    if share <= NOTEWORTHY:
        return ""
    return (
        f"black bars take {100 * share:.0f}% of the exemplars of '{action}'; they are kept out of "
        "the loss, but `actionbench data import --fit crop` without them is better if no limb is "
        "lost"
    )
