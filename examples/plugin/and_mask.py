"""AND-mask: an identifier that moves only where the exemplars' gradients have one sign.

Ten people do one action in ten places. What all their gradients ask for is the action; what one of
them asks for is that person, or that place. The mask is that of Parascandolo et al., "Learning
explanations that are hard to vary", ICLR 2021, arXiv 2009.00329, with a sample for an environment.
It needs no images of other actions, as ADI's masks do.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from actionbench.diffusion.token_learning import TokenMethod, TokenSettings
from actionbench.method import Presets
from actionbench.settings import setting

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Settings(TokenSettings):
    """P+'s, and how many of a step's samples must agree."""

    steps: int = setting(500, "optimisation steps", low=1)
    agreement: float = setting(
        1.0, "a channel moves where |sum of signs| is this share of the samples", low=0, high=1
    )


class AndMask(TokenMethod[Settings]):
    """Layer-wise tokens [L, 1, D]; each sample has a gradient of its own, which votes."""

    name = "and-mask"
    title = "AND-mask"
    reference = "after Parascandolo et al., ICLR 2021, arXiv 2009.00329"
    Settings = Settings
    tuned: ClassVar[Presets] = {
        "puppet-diffusion": {"steps": 400, "batch_size": 3, "learning_rate": 1e-2}
    }

    def layers(self, available: int) -> int:
        return available

    def rule(self, gradients: Tensor) -> tuple[Tensor, Tensor]:
        """From the samples' gradients [B, L, N, D] to their mean, and where they agree."""
        votes = gradients.sign().sum(0).abs()
        agreed = votes >= self.settings.agreement * len(gradients)
        return gradients.mean(0) * agreed, agreed
