"""LoRA: DreamBooth's training of a low-rank adapter, under each exemplar's own caption.

What practitioners use for poses: an adapter on the denoiser's attention, trained under captions in
which a trigger word stands for the action, without class images. There is no paper of it. The
adapter is Hu et al.'s (ICLR 2022, arXiv 2106.09685), the training DreamBooth's (Ruiz et al., CVPR
2023, arXiv 2208.12242), the figures those of diffusers' example of both.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from actionbench.method import Presets
from actionbench.settings import setting
from methods import dreambooth

_READ = "read: diffusers, examples/dreambooth, train_dreambooth_lora"


@dataclass(frozen=True)
class Settings(dreambooth.TrainingSettings):
    """Those of diffusers' example of DreamBooth with LoRA, under captions."""

    steps: int = setting(500, "optimisation steps", low=1, source=_READ)
    learning_rate: float = setting(1e-4, "AdamW's learning rate", low=0, rate="unet", source=_READ)
    prompts: Literal["template", "caption"] = setting(
        "caption",
        "train on `templates`, or on each exemplar's own caption with the action replaced",
        source="ours: captions keep the exemplars' people and places out of what is learned",
    )
    prior_weight: float = setting(
        0.0,
        "weight of the class images' loss; 0: train without them",
        low=0,
        source=f"{_READ}, which draws none unless asked",
    )
    train: Literal["all", "lora"] = setting(
        "lora",
        "train the whole denoiser, or a low-rank adapter of it",
        source="ours: the adapter is the method",
        before="lora",
    )
    rare_word: str = setting(
        "sks",
        "the trigger word, which comes to mean the action",
        source="read: diffusers, examples/dreambooth",
    )


class LoRA(dreambooth.DreamBooth):
    """DreamBooth with `train=lora` and `prompts=caption`; prompt "<subject> <rare word>"."""

    name = "lora"
    title = "DreamBooth-LoRA"
    reference = "Hu et al., ICLR 2022, arXiv 2106.09685; training: Ruiz et al., CVPR 2023"
    Settings = Settings
    tuned: ClassVar[Presets] = {}
    quick: ClassVar[dict[str, Any]] = {}
    recipes: ClassVar[dict[str, dict[str, Any]]] = {}
