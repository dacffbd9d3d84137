"""How far a model's pictures lie from drawings: the Fréchet distance, its bias taken off.

Heusel et al., NeurIPS 2017, arXiv 1706.08500, in the features of an encoder that saw drawings only
(`actionbench.puppets.training.encoder`). With n pictures the distance of two samples of one
distribution is above zero; so that of two halves of drawings, n each, is subtracted.
"""

from __future__ import annotations

import numpy as np

from actionbench.puppets import corpus as first_world
from actionbench.puppets.training.captions import Facts, Manner, caption
from actionbench.puppets.training.corpus import draw_many
from actionbench.puppets.training.encoder import Encoder
from actionbench.puppets.training.recipe import Recipe
from evaluation.judges.acceptance import Painter, Row

SEED = 97_000
"""Of drawings that no model, reader or encoder learns from."""
HALF = 0.5
"""Of the first world's distance: what is asked of the second's."""
FIRST, SECOND = "first world", "second world"


def distance(one: np.ndarray, two: np.ndarray) -> float:
    """The squared Fréchet distance of the Gaussians of features [n, d] and [m, d]."""
    difference = one.mean(0) - two.mean(0)
    first, second = np.cov(one, rowvar=False), np.cov(two, rowvar=False)
    values, vectors = np.linalg.eigh(first)
    root = (vectors * np.sqrt(values.clip(min=0))) @ vectors.T
    mixed = np.linalg.eigvalsh(root @ second @ root).clip(min=0)
    trace = np.trace(first) + np.trace(second) - 2 * np.sqrt(mixed).sum()
    return float(difference @ difference + trace)


def first_drawings(count: int, half: int) -> tuple[np.ndarray, list[str]]:
    """Drawings of the first world, uint8 [count, 64, 64, 3], and their captions."""
    drawn = first_world.draw_many("pretraining", (SEED, half), count)
    return drawn.images, [row["caption"] for row in drawn.rows]


def second_drawings(count: int, half: int) -> tuple[np.ndarray, list[str]]:
    """Drawings of the second world, and captions of them as its corpus has them."""
    recipe = Recipe()
    drawn = draw_many("pretraining", recipe, (SEED, half), count)
    rng = np.random.default_rng((SEED, half, 1))
    manner = Manner(recipe.tell_pose, recipe.tell_where, recipe.tell_style)
    facts = (Facts(r["name"], tuple(r["looks"]), r["does"], r["where"]) for r in drawn.rows)
    return drawn.images, [caption(fact, rng, manner) for fact in facts]


DRAWINGS = {FIRST: first_drawings, SECOND: second_drawings}


def world_rows(encoder: Encoder, painter: Painter, world: str, count: int) -> list[Row]:
    """The distance of a world's model to its drawings, plain, of two halves, and the difference."""
    painter.progress.update(0, 2, f"drawings of the {world}")
    drawings, captions = DRAWINGS[world](count, 0)
    painter.progress.update(1, 2, f"drawings of the {world}")
    others, _ = DRAWINGS[world](count, 1)
    pictures = painter(captions, SEED, f"by caption, {world}")
    own, held_out, drawn = map(encoder.features, (drawings, others, pictures))
    plain, halves = distance(drawn, held_out), distance(own, held_out)
    return [
        number(f"Fréchet distance, {world}", "less that of two halves of drawings",
               plain - halves, count),
        number(f"Fréchet distance, {world}, plain", "by captions of one half, to the other half",
               plain, count),
        number(f"Fréchet distance, {world}, halves", "drawings to drawings", halves, count),
    ]  # fmt: skip


def ratio_row(first: Row | None, second: Row) -> Row:
    """The second world's distance beside the first's; not measured without the first's."""
    name, what = "Fréchet distance, second to first", "of the distances above"
    if first is None or first.share <= 0:
        return Row(name, what, 0, 0.0, 0.0, 0.0, at_most=HALF, percent=False)
    return number(name, what, second.share / first.share, second.n, at_most=HALF)


def number(
    name: str, what: str, value: float, n: int, at_most: float | None = None
) -> Row:  # fmt: skip
    """A row of a plain number, without an interval."""
    return Row(name, what, n, value, value, value, at_most=at_most, percent=False)
