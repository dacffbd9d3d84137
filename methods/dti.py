"""DTI, Directional Textual Inversion: one token, whose direction learns and whose norm is fixed.

Kim et al., "Directional Textual Inversion for Personalized Text-to-Image Generation", ICLR 2026,
arXiv 2512.13672. Figures and the step are those of the authors' code (github.com/kunheek/dti,
`SphericalSGD` and `exps/ours_sdxl.py`). Textual Inversion's tokens outgrow the vocabulary, and the
rest of the prompt is then ignored; here the norm stays that of the vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
from torch import Tensor
from torch.nn.functional import normalize

from actionbench.diffusion.token_learning import (
    PUPPET_WORDS,
    LearningSettings,
    TokenMethod,
    TokenOptimizer,
)
from actionbench.method import Presets
from actionbench.settings import setting

if TYPE_CHECKING:
    from actionbench.diffusion.backbone import Backbone

_READ = "read: the authors' code"
_SMALLEST = 1e-8
"""Added to a gradient's norm before it is divided by it, as in the authors' code."""


@dataclass(frozen=True)
class Settings(LearningSettings):
    """Those of the authors' experiments on SDXL."""

    recipe: Literal["experiments", "readme"] = setting(
        "experiments",
        "whose rate: the experiments' scripts, which scale it by the batch, or the README's "
        "command, which does not (0.01)",
        source="ours: what the experiments ran with",
    )
    steps: int = setting(400, "optimisation steps", low=1, source=_READ)
    batch_size: int = setting(4, "exemplars a step", low=1, source=_READ)
    learning_rate: float = setting(
        4e-2,
        "length of a step on the unit sphere, in radians but for its third power",
        low=0,
        rate="angle",
        source="derived: the authors' 0.01, scaled by the batch of 4 (--scale_lr)",
    )
    kappa: float = setting(
        1e-4,
        "concentration of the von Mises-Fisher prior around the initializer's direction",
        low=0,
        source=_READ,
    )
    norm: Literal["mean", "min", "max"] = setting(
        "mean", "which of the vocabulary's norms the token has", source=_READ
    )


class DTI(TokenMethod[Settings]):
    """All cross-attention layers see the same token [1, 1, D]; prompt "<subject> <v>".

    With several text encoders a token has a direction and a norm in each of their tables.
    """

    name = "dti"
    title = "DTI"
    reference = "Kim et al., ICLR 2026, arXiv 2512.13672"
    Settings = Settings
    presets: ClassVar[Presets] = {
        "puppet-diffusion": PUPPET_WORDS,
        # read: exps/ours_sana.py
        "sana-1.5": {"steps": 500, "kappa": 5e-5},
    }
    recipes: ClassVar[dict[str, dict[str, Any]]] = {
        "experiments": {},
        "readme": {"learning_rate": 1e-2},
    }

    def start(self, backbone: Backbone, layers: int) -> Tensor:
        """The initializer's direction at the vocabulary's norm, in each table."""
        words = super().start(backbone, layers).split(_widths(backbone), -1)
        return torch.cat(
            [
                _norm(table, self.settings.norm) * normalize(word, dim=-1)
                for word, table in zip(words, backbone.token_tables, strict=True)
            ],
            -1,
        )

    def optimizer(self, backbone: Backbone, vectors: Tensor) -> TokenOptimizer:
        return SphereDescent(vectors, self.settings, _widths(backbone))


def _widths(backbone: Backbone) -> list[int]:
    return [int(table.shape[1]) for table in backbone.token_tables]


def _norm(table: Tensor, which: str) -> float:
    """Return the mean, least or largest norm of a vocabulary's embeddings that are not zero."""
    norms = table.float().norm(dim=-1)
    return float(getattr(norms[norms > 0], which)())


class SphereDescent:
    """Riemannian gradient descent of directions, whose norms and prior are those of the start.

    A token's part in each table is e = m v with a fixed norm m and a direction v, |v| = 1. The
    prior is von Mises-Fisher around the direction mu that the fit begins with, p(v) ~ exp(kappa
    mu.v), so that to the loss's gradient with respect to v, m dL/de, comes the constant -kappa mu.
    The sum is projected onto the tangent space at v, g - (g.v) v, and brought to length 1; the step
    v - rate g is brought back to the sphere by division by its norm.
    """

    def __init__(self, vectors: Tensor, settings: Settings, widths: Sequence[int]) -> None:
        """vectors: [A, L, N, D], updated in place; widths: of the parts of D, a table's each."""
        self.vectors = vectors
        self.settings = settings
        self.widths = list(widths)
        self.start = vectors.clone()

    def step(self, gradient: Tensor, moving: Tensor | None = None) -> None:
        """Take a step; a direction moves as a whole, so that no channel can be left out of it."""
        if moving is not None:
            raise ValueError("a direction has no channels that stay")
        s = self.settings
        parts = (t.split(self.widths, -1) for t in (self.vectors, self.start, gradient))
        for vector, start, slope in zip(*parts, strict=True):
            norm = start.norm(dim=-1, keepdim=True)
            mean = start / norm
            v = normalize(vector, dim=-1)
            descent = norm * slope - s.kappa * mean
            tangent = descent - (descent * v).sum(-1, keepdim=True) * v
            tangent = tangent / (tangent.norm(dim=-1, keepdim=True) + _SMALLEST)
            # The parts are views, so that this is into `vectors`.
            vector.copy_(norm * normalize(v - s.learning_rate * tangent, dim=-1))

    def keep(self, rows: Sequence[int]) -> None:
        """Go on with some of the identifiers alone."""
        kept = list(rows)
        self.vectors, self.start = self.vectors[kept], self.start[kept]
