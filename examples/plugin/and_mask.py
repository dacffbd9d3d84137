"""AND-mask: an identifier that moves only where the exemplars' gradients have one sign.

Ten people do one action in ten places. What all their gradients ask for is the action; what one of
them asks for is that person, or that place. The mask is that of Parascandolo et al., "Learning
explanations that are hard to vary", ICLR 2021, arXiv 2009.00329, with a sample for an environment.
It needs no images of other actions, as ADI's masks do.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from actionbench.diffusion.token_learning import (
    ExemplarBatches,
    TokenMethod,
    TokenSettings,
    learn_tokens,
)
from actionbench.method import Customization
from actionbench.progress import Progress
from actionbench.settings import setting
from actionbench.suite.items import ActionTask

if TYPE_CHECKING:
    from torch import Tensor

    from actionbench.diffusion.backbone import Backbone


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
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "puppet-diffusion": {"steps": 400, "batch_size": 3, "learning_rate": 1e-2}
    }

    def fit(
        self, backbone: Backbone, task: ActionTask, *, seed: int, progress: Progress
    ) -> Customization:
        learned = learn_tokens(
            backbone,
            self.settings,
            self.start(backbone, layers=len(backbone.layers)),
            ExemplarBatches(backbone, task, self.settings).draw,
            rule=self.agreed_update,
            seed=seed,
            progress=progress,
        )
        return self.customization(backbone, task, learned)

    def agreed_update(self, gradients: Tensor) -> tuple[Tensor, Tensor]:
        """From the samples' gradients [B, L, N, D] to their mean where they agree, and where."""
        votes = gradients.sign().sum(0).abs()
        agreed = votes >= self.settings.agreement * len(gradients)
        return gradients.mean(0) * agreed, agreed
