"""DreamBooth: the whole denoiser, or an adapter of it, learns to draw the action under a rare word.

Ruiz et al., "DreamBooth: Fine Tuning Text-to-Image Diffusion Models for Subject-Driven
Generation", CVPR 2023, arXiv 2208.12242. Its prompts are for subjects; those for actions are ours.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch

from actionbench.diffusion.exemplars import Exemplars
from actionbench.diffusion.finetune import (
    Draw,
    FinetuneBatch,
    FinetuneSettings,
    finetune,
    finetuning_work,
    generate_with,
    shared_class_images,
)
from actionbench.diffusion.lora import LoraSettings, finetune_adapter, generate_adapted, scale_of
from actionbench.diffusion.token_learning import TrainingPrompts
from actionbench.files.kinds import KINDS
from actionbench.method import Customization, Method, Presets, Work
from actionbench.progress import SILENT, Progress
from actionbench.settings import setting
from actionbench.suite.items import SLOT, ActionTask, Item

if TYPE_CHECKING:
    from PIL.Image import Image

    from actionbench.diffusion.backbone import Backbone


@dataclass(frozen=True)
class TrainingSettings(LoraSettings, FinetuneSettings):
    """The settings that DreamBooth and LoRA share."""

    train: Literal["all", "lora"] = setting(
        "all",
        "train the whole denoiser, or a low-rank adapter of it, which takes a higher rate "
        "(recipe=diffusers-lora)",
        source="read: the paper",
        before="all",
    )
    rare_word: str = setting(
        "sks",
        "the word without a meaning that comes to mean the action",
        source="read: diffusers, examples/dreambooth",
    )


@dataclass(frozen=True)
class Settings(TrainingSettings):
    """Those of diffusers' example with prior preservation; that with LoRA has a name (`recipe`)."""

    recipe: Literal["diffusers", "diffusers-lora"] = setting(
        "diffusers",
        "whose figures: diffusers' for the whole denoiser, or for LoRA (an adapter at 1e-4, 500 "
        "steps, no class images)",
        source="ours: the paper trains the whole denoiser",
        before="diffusers",
    )


class DreamBooth(Method[TrainingSettings]):
    """Trains under "a person <rare word>", beside class images of "a person" (equation 2)."""

    name = "dreambooth"
    title = "DreamBooth"
    reference = "Ruiz et al., CVPR 2023, arXiv 2208.12242"
    Settings: ClassVar[type[TrainingSettings]] = Settings
    kinds = tuple(KINDS)
    presets: ClassVar[Presets] = {
        "puppet-diffusion": {"class_sampling_steps": 8, "class_guidance_scale": 4.0}
    }
    tuned: ClassVar[Presets] = {
        "puppet-diffusion": {"steps": 320, "batch_size": 3, "learning_rate": 1.1e-4}
    }
    quick: ClassVar[dict[str, Any]] = {"class_images": 24}
    # read: diffusers, examples/dreambooth, train_dreambooth_lora
    recipes: ClassVar[dict[str, dict[str, Any]]] = {
        "diffusers": {},
        "diffusers-lora": {
            **{"train": "lora", "rank": 4, "alpha": None, "steps": 500, "batch_size": 1},
            **{"learning_rate": 1e-4, "prior_weight": 0.0},
        },
    }

    def fit(
        self, backbone: Backbone, task: ActionTask, *, seed: int, progress: Progress
    ) -> Customization:
        settings = self.settings
        draw = self.exemplars(backbone, task, progress)
        generator = torch.Generator().manual_seed(seed)
        facts: dict[str, Any] = {"rare_word": settings.rare_word}
        if settings.train == "lora":
            fitted = finetune_adapter(
                backbone, settings, settings, draw, generator=generator, progress=progress
            )
            facts["alpha"] = scale_of(settings)
        else:
            fitted = finetune(
                backbone,
                settings,
                draw,
                learning_rate=settings.learning_rate,
                generator=generator,
                progress=progress,
            )
        return Customization(
            method=self.name,
            action=task.action.name,
            model=backbone.fingerprint,
            tensors=fitted.changes,
            facts={**facts, "losses": fitted.losses},
        )

    def fit_work(self, exemplars: int, layers: int) -> Work:
        return finetuning_work(self.settings, whole=self.settings.train == "all", texts=False)

    def shared(self, task: ActionTask, seed: int) -> tuple[str, ...]:
        return shared_class_images(self.settings)

    def exemplars(self, backbone: Backbone, task: ActionTask, progress: Progress = SILENT) -> Draw:
        """Draw batches of random exemplars; the text encoder is frozen, so that it runs once."""
        exemplars = Exemplars(backbone, task, progress)
        word = self.settings.rare_word
        prompts = TrainingPrompts(
            backbone, task.exemplars, self.settings, lambda text: text.replace(SLOT, word)
        )
        with torch.no_grad():
            states = dict(zip(prompts.tokens, backbone.encode_prompts(prompts.tokens)))
        latents = exemplars.latents
        count = self.settings.batch_size

        def draw(generator: torch.Generator) -> FinetuneBatch:
            rows = torch.randint(len(latents), (count,), generator=generator).tolist()
            under = prompts.draw(rows, generator)
            return FinetuneBatch(
                latents[rows].sample(generator),
                torch.stack([states[p] for p in under]),
                mask=exemplars.mask(rows),
            )

        return draw

    def generate(
        self, backbone: Backbone, customization: Customization, items: Sequence[Item]
    ) -> Iterator[Image]:
        facts, tensors = customization.facts, customization.tensors
        prompts = [item.slot_prompt.replace(SLOT, facts["rare_word"]) for item in items]
        seeds = [item.seed for item in items]
        if "alpha" in facts:  # an adapter
            yield from generate_adapted(backbone, tensors, facts["alpha"], prompts, seeds)
        else:
            yield from generate_with(backbone, tensors, prompts, seeds)
