"""Textual Inversion: one token, learned by the denoising loss alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from actionbench.diffusion.token_learning import (
    SEARCHED_ON_PUPPETS,
    TokenMethod,
    TokenSettings,
)
from actionbench.method import Presets
from actionbench.settings import setting


@dataclass(frozen=True)
class Settings(TokenSettings):
    """Those of diffusers' example, or of the paper's own code."""

    recipe: Literal["diffusers", "original"] = setting(
        "diffusers",
        "whose figures: diffusers' (2e-3, 3000 steps of four), or the authors' for Stable "
        "Diffusion (5e-3 scaled by a batch of two, 6100 steps)",
        source="ours: the one that most of the literature runs",
        before="diffusers",
    )


class TextualInversion(TokenMethod[Settings]):
    """All cross-attention layers see the same token [1, 1, D]; prompt "<subject> <v>"."""

    name = "textual-inversion"
    title = "Textual Inversion"
    reference = "Gal et al., ICLR 2023, arXiv 2208.01618"
    Settings = Settings
    recipes: ClassVar[dict[str, dict[str, Any]]] = {
        "diffusers": {},
        # read: configs/stable-diffusion/v1-finetune.yaml of the authors' repository; the rate is
        # scaled by the batch and by one GPU.
        "original": {"steps": 6100, "batch_size": 2, "learning_rate": 1e-2},
    }
    tuned: ClassVar[Presets] = {
        "puppet-diffusion": {
            "steps": 490,
            "batch_size": 8,
            "learning_rate": 2.1e-2,
            **SEARCHED_ON_PUPPETS,
        }
    }
