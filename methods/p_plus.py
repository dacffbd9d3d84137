"""P+ (Extended Textual Inversion): a token of its own for each cross-attention layer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from actionbench.diffusion.token_learning import (
    ExemplarBatches,
    TokenMethod,
    TokenSettings,
    learn_tokens,
    learning_work,
)
from actionbench.method import Customization, Work
from actionbench.progress import Progress
from actionbench.settings import setting
from actionbench.suite.items import ActionTask

if TYPE_CHECKING:
    from actionbench.diffusion.backbone import Backbone


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
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "puppet-diffusion": {"steps": 490, "batch_size": 8, "learning_rate": 2.1e-2}
    }

    def fit(
        self, backbone: Backbone, task: ActionTask, *, seed: int, progress: Progress
    ) -> Customization:
        learned = learn_tokens(
            backbone,
            self.settings,
            self.start(backbone, layers=len(backbone.layers)),
            ExemplarBatches(backbone, task, self.settings).draw,
            seed=seed,
            progress=progress,
        )
        return self.customization(backbone, task, learned)

    def fit_work(self, exemplars: int, layers: int) -> Work:
        return learning_work(self.settings, layers)
