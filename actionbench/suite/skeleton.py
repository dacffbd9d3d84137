"""Skeletons as OpenPose draws them: what a pose ControlNet is conditioned on."""

from __future__ import annotations

import math

import numpy as np
from PIL import Image, ImageDraw

LIMBS = (
    (2, 3), (2, 6), (3, 4), (4, 5), (6, 7), (7, 8), (2, 9), (9, 10), (10, 11), (2, 12), (12, 13),
    (13, 14), (2, 1), (1, 15), (15, 17), (1, 16), (16, 18),
)  # fmt: skip
"""Pairs of keypoints, counted from 1."""

COLORS = (
    (255, 0, 0), (255, 85, 0), (255, 170, 0), (255, 255, 0), (170, 255, 0), (85, 255, 0),
    (0, 255, 0), (0, 255, 85), (0, 255, 170), (0, 255, 255), (0, 170, 255), (0, 85, 255),
    (0, 0, 255), (85, 0, 255), (170, 0, 255), (255, 0, 255), (255, 0, 170), (255, 0, 85),
)  # fmt: skip

_SUPERSAMPLING = 2


def draw_skeleton(keypoints: np.ndarray, size: int) -> Image.Image:
    """Draw a skeleton as OpenPose does.

    Limbs are ellipses of half-width 4 at 0.6 of their colour; joints are discs of radius 4 on top
    of them; both at 512 pixels. Neither gets thinner than a radius of one pixel, because at 64
    pixels a limb would be a broken hairline. Points with visibility 0 are left out.

    Args:
        keypoints: float [18, 3]: x and y in [0, 1], and visibility.
        size: the image's side in pixels.

    Returns:
        RGB, `size` x `size`, on black.
    """
    big = size * _SUPERSAMPLING
    image = Image.new("RGB", (big, big))
    draw = ImageDraw.Draw(image)
    radius = max(4 * big / 512, _SUPERSAMPLING)
    points = [(float(x) * big, float(y) * big) if v > 0 else None for x, y, v in keypoints]
    for (a, b), color in zip(LIMBS, COLORS, strict=False):
        start, end = points[a - 1], points[b - 1]
        if start is None or end is None:
            continue
        dx, dy = (end[0] - start[0]) / 2, (end[1] - start[1]) / 2
        half = math.hypot(dx, dy)
        if half < 1e-6:
            continue
        middle = (start[0] + dx, start[1] + dy)
        nx, ny = -dy / half * radius, dx / half * radius
        turns = np.linspace(0, 2 * math.pi, 48, endpoint=False)
        outline = [
            (
                middle[0] + dx * math.cos(t) + nx * math.sin(t),
                middle[1] + dy * math.cos(t) + ny * math.sin(t),
            )
            for t in turns
        ]
        draw.polygon(outline, fill=tuple(round(0.6 * c) for c in color))
    for point, color in zip(points, COLORS, strict=True):
        if point is not None:
            x, y = point
            draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=color)
    return image.reduce(_SUPERSAMPLING)
