"""Textual Inversion: one token, learned by the denoising loss alone."""

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
from actionbench.suite.items import ActionTask

if TYPE_CHECKING:
    from actionbench.diffusion.backbone import Backbone


@dataclass(frozen=True)
class Settings(TokenSettings):
    """Those of the reference: AdamW, 3000 steps of four images under "a photo of a <v>"."""


class TextualInversion(TokenMethod[Settings]):
    """All cross-attention layers see the same token [1, 1, D]; prompt "<subject> <v>"."""

    name = "textual-inversion"
    title = "Textual Inversion"
    reference = "Gal et al., ICLR 2023, arXiv 2208.01618"
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
            self.start(backbone, layers=1),
            ExemplarBatches(backbone, task, self.settings).draw,
            seed=seed,
            progress=progress,
        )
        return self.customization(backbone, task, learned)

    def fit_work(self, exemplars: int, layers: int) -> Work:
        return learning_work(self.settings, 1)
