"""DreamBooth: the whole UNet learns to draw the action under a rare word.

Ruiz et al., "DreamBooth: Fine Tuning Text-to-Image Diffusion Models for Subject-Driven
Generation", CVPR 2023, arXiv 2208.12242. Its prompts are for subjects; those for actions are ours.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

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
class Settings(FinetuneSettings):
    """Those of diffusers' example with prior preservation."""

    rare_word: str = setting(
        "sks",
        "the word without a meaning that comes to mean the action",
        source="read: diffusers, examples/dreambooth",
    )


class DreamBooth(Method[Settings]):
    """Trains under "a person <rare word>", beside class images of "a person" (equation 2)."""

    name = "dreambooth"
    title = "DreamBooth"
    reference = "Ruiz et al., CVPR 2023, arXiv 2208.12242"
    Settings = Settings
    kinds = tuple(KINDS)
    presets: ClassVar[Presets] = {
        "puppet-diffusion": {"class_sampling_steps": 8, "class_guidance_scale": 4.0}
    }
    tuned: ClassVar[Presets] = {
        "puppet-diffusion": {"steps": 320, "batch_size": 3, "learning_rate": 1.1e-4}
    }
    quick: ClassVar[dict[str, Any]] = {"class_images": 24}

    def fit(
        self, backbone: Backbone, task: ActionTask, *, seed: int, progress: Progress
    ) -> Customization:
        fitted = finetune(
            backbone,
            self.settings,
            self.exemplars(backbone, task, progress),
            learning_rate=self.settings.learning_rate,
            generator=torch.Generator().manual_seed(seed),
            progress=progress,
        )
        return Customization(
            method=self.name,
            action=task.action.name,
            model=backbone.fingerprint,
            tensors=fitted.changes,
            facts={"rare_word": self.settings.rare_word, "losses": fitted.losses},
        )

    def fit_work(self, exemplars: int, layers: int) -> Work:
        return finetuning_work(self.settings, whole=True)

    def shared(self, task: ActionTask, seed: int) -> tuple[str, ...]:
        return shared_class_images(self.settings)

    def exemplars(self, backbone: Backbone, task: ActionTask, progress: Progress = SILENT) -> Draw:
        """Draw batches of random exemplars; the text encoder is frozen, so that it runs once."""
        word = self.settings.rare_word
        prompts = TrainingPrompts(
            backbone, task.exemplars, self.settings, lambda text: text.replace(SLOT, word)
        )
        with torch.no_grad():
            states = dict(zip(prompts.tokens, backbone.encode_prompts(prompts.tokens)))
        exemplars = Exemplars(backbone, task, progress)
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
        word = customization.facts["rare_word"]
        yield from generate_with(
            backbone,
            customization.tensors,
            [item.slot_prompt.replace(SLOT, word) for item in items],
            [item.seed for item in items],
        )
