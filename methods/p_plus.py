"""P+ (Extended Textual Inversion): a token of its own for each cross-attention layer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from actionbench.diffusion.token_learning import (
    SEARCHED_ON_PUPPETS,
    TokenMethod,
    TokenSettings,
)
from actionbench.method import Presets
from actionbench.settings import setting

_PUBLIC = "read: both public implementations"


@dataclass(frozen=True)
class Settings(TokenSettings):
    """Textual Inversion's, but fewer steps of more images: P+ converges sooner (section 3.3)."""

    steps: int = setting(500, "optimisation steps", low=1, source=f"{_PUBLIC}, after section 4.2.2")
    batch_size: int = setting(
        8, "exemplars a step", low=1, source=f"{_PUBLIC}, batch 1 x accumulation 8"
    )
    learning_rate: float = setting(
        5e-3, "AdamW's learning rate", low=0, rate="token", source=_PUBLIC
    )


class PPlus(TokenMethod[Settings]):
    """Tokens [L, 1, D] from the same initializer, learned by Textual Inversion's loss."""

    name = "p-plus"
    title = "P+"
    reference = "Voynov et al., arXiv 2303.09522"
    Settings = Settings
    tuned: ClassVar[Presets] = {
        "puppet-diffusion": {
            "steps": 490,
            "batch_size": 8,
            "learning_rate": 2.1e-2,
            **SEARCHED_ON_PUPPETS,
        }
    }

    def layers(self, available: int) -> int:
        return available
