"""P+ (Extended Textual Inversion): a token of its own for each cross-attention layer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from actionbench.diffusion.token_learning import TokenMethod, TokenSettings
from actionbench.method import Presets
from actionbench.settings import setting


@dataclass(frozen=True)
class Settings(TokenSettings):
    """Textual Inversion's, but fewer steps: P+ converges sooner (paper, section 3.3)."""

    steps: int = setting(500, "optimisation steps", low=1)


class PPlus(TokenMethod[Settings]):
    """Tokens [L, 1, D] from the same initializer, learned by Textual Inversion's loss."""

    name = "p-plus"
    title = "P+"
    reference = "Voynov et al., arXiv 2303.09522"
    Settings = Settings
    presets: ClassVar[Presets] = {
        "puppet-diffusion": {"steps": 490, "batch_size": 8, "learning_rate": 2.1e-2}
    }

    def layers(self, available: int) -> int:
        return available
