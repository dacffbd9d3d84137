"""From nothing to the pipeline folder: the stages in order, each continued where it stands."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    ControlNetModel,
    DPMSolverMultistepScheduler,
    StableDiffusionPipeline,
    UNet2DConditionModel,
)
from safetensors.torch import load_file
from torch import distributed
from transformers import CLIPModel, CLIPTextModel, CLIPTokenizer

from actionbench.errors import UserError, unknown
from actionbench.files.atomic import own_folder, replacing
from actionbench.files.networks import load_state
from actionbench.progress import SILENT, Progress
from actionbench.puppets.training.autoencoder import (
    autoencoder_folder,
    decoder_stem,
    train_autoencoder,
    train_decoder,
)
from actionbench.puppets.training.controlnet import train_controlnet
from actionbench.puppets.training.corpus import Corpus, corpus
from actionbench.puppets.training.diffusion import (
    diffusion_stem,
    new_unet,
    noise_schedule,
    train_diffusion,
)
from actionbench.puppets.training.loop import first_alone, part
from actionbench.puppets.training.recipe import STAGES, Recipe
from actionbench.puppets.training.text import clip_folder, text_half, train_clip
from actionbench.puppets.training.weights import forget_places

PRESET = "puppet-diffusion"
MARK = "actionbench.json"
MODEL, CONTROL = "puppet-diffusion", "puppet-controlnet"
"""Folders of the result."""


class Training:
    """The stages of one recipe in one work folder; each is run when it is first asked for."""

    def __init__(
        self,
        recipe: Recipe,
        work: Path,
        device: str = "cpu",
        workers: int = 1,
        progress: Progress = SILENT,
    ) -> None:
        self.recipe, self.work, self.device = recipe, work, device
        self.workers, self.progress = workers, progress
        work.mkdir(parents=True, exist_ok=True)

    @cached_property
    def corpus(self) -> Corpus:
        recipe = self.recipe
        return corpus(
            self.work, "pretraining", recipe, recipe.drawings, self.workers, self.progress
        )

    @cached_property
    def clip(self) -> tuple[CLIPModel, CLIPTokenizer]:
        return train_clip(self.recipe, self.corpus, self.work, self.device, self.progress)

    @cached_property
    def text(self) -> CLIPTextModel:
        return text_half(self.clip[0]).to(self.device)

    @cached_property
    def autoencoder(self) -> AutoencoderKL:
        return train_autoencoder(self.recipe, self.corpus, self.work, self.device, self.progress)

    @cached_property
    def decoder(self) -> AutoencoderKL:
        """The finished autoencoder."""
        return train_decoder(
            self.recipe,
            self.corpus,
            self.autoencoder,
            self.clip[0].vision_model,
            self.work,
            self.device,
            self.progress,
        )

    @property
    def decoder_done(self) -> bool:
        stem = decoder_stem(self.recipe, self.autoencoder, self.work)
        return stem.with_suffix(".model").exists()

    @cached_property
    def diffusion(self) -> tuple[UNet2DConditionModel, CLIPTextModel]:
        return train_diffusion(
            self.recipe,
            self.corpus,
            self.text,
            self.clip[1],
            self.autoencoder,  # the decoder changes nothing for it, and may come later
            self.work,
            self.device,
            self.progress,
        )

    @cached_property
    def controlnet(self) -> ControlNetModel:
        recipe = self.recipe
        unet, text = self.diffusion
        place = (self.work, "posing", recipe, recipe.control_drawings)
        data = first_alone(lambda: corpus(*place, self.workers, self.progress))
        return train_controlnet(
            recipe,
            data,
            text,
            self.clip[1],
            self.autoencoder,  # whose encoder it needs; the decoder may come later
            unet,
            self.work,
            self.device,
            self.progress,
        )

    def latest(self) -> tuple[UNet2DConditionModel, CLIPTextModel, int]:
        """The averages of the diffusion training's last checkpoint, and its step.

        Raises UserError while there is none.
        """
        stem = diffusion_stem(self.recipe, self.corpus, self.text, self.autoencoder, self.work)
        file = stem.with_suffix(".safetensors")
        if not file.exists():
            raise UserError(
                f"{self.work} has no checkpoint of this recipe's diffusion model yet: train it "
                "first (`actionbench puppets pretrain`)"
            )
        tensors = load_file(file)
        unet, text = new_unet(self.recipe), self.text
        load_state(unet, part(tensors, "average_unet"), file)
        if self.recipe.train_text_along:
            load_state(text, part(tensors, "average_text"), file)
        return unet.eval(), text, int(tensors["step"])


TOGETHER = ("diffusion", "controlnet")
"""Stages that several processes can train."""


def train_together(recipe: Recipe, work: Path, stage: str, progress: Progress = SILENT) -> None:
    """Train a stage as one of several processes that `torchrun` started, one a GPU, or else on the
    processor.

    Raises:
        UserError: if it is none of `TOGETHER`, or the parts before the diffusion model are not
            finished.
    """
    if stage not in TOGETHER:
        raise UserError(
            f"several processes do not train {stage}: give --until {' or '.join(TOGETHER)}, or "
            "train it with one"
        )
    devices = torch.cuda.device_count()
    rank = int(os.environ["LOCAL_RANK"])
    device = f"cuda:{rank}" if rank < devices else "cpu"
    training = Training(recipe, work, device, progress=progress if rank == 0 else SILENT)
    data = training.corpus
    parts = [make(recipe, data, work) for make in (autoencoder_folder, clip_folder)]
    missing = [part.name for part in parts if not part.exists()]
    if missing:
        raise UserError(
            f"{work} lacks {' and '.join(missing)}: one process trains that first (--until clip)"
        )
    distributed.init_process_group("nccl" if device != "cpu" else "gloo")
    try:
        getattr(training, stage)
    finally:
        distributed.destroy_process_group()


def assemble(
    recipe: Recipe,
    text: CLIPTextModel,
    tokenizer: CLIPTokenizer,
    vae: AutoencoderKL,
    unet: UNet2DConditionModel,
    out: Path,
    **facts: Any,
) -> Path:
    """Write the pipeline's folder, float16 safetensors, and swap it in whole."""
    pipeline = StableDiffusionPipeline(
        vae=vae,
        text_encoder=text,
        tokenizer=tokenizer,
        unet=unet,
        scheduler=DPMSolverMultistepScheduler(**noise_schedule(), timestep_spacing="trailing"),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    with replacing(out) as folder:
        pipeline.to(dtype=torch.float16).save_pretrained(folder, safe_serialization=True)
        _mark(folder, recipe, preset=PRESET, **facts)
    return out


def _mark(folder: Path, recipe: Recipe, **facts: Any) -> None:
    forget_places(folder)
    record = {**facts, "recipe_hash": recipe.hash, "recipe": asdict(recipe)}
    (folder / MARK).write_text(json.dumps(record, indent=2) + "\n", "utf-8")


def assemble_latest(training: Training, out: Path) -> Path:
    """Write a pipeline from the last checkpoint, while the training runs or after."""
    out = own_folder(out, MARK)
    unet, text, step = training.latest()
    vae = training.decoder if training.decoder_done else training.autoencoder
    return assemble(training.recipe, text, training.clip[1], vae, unet, out, steps=step)


def pretrain(
    out: Path,
    work: Path,
    recipe: Recipe | None = None,
    device: str = "cpu",
    progress: Progress = SILENT,
    until: str = STAGES[-1],
    workers: int = 1,
    only: bool = False,
) -> Path | None:
    """Run the stages up to `until`, continuing where the work folder stands.

    With `only`, that stage and what it needs: the decoder needs no diffusion model, so that the two
    can be trained at the same time.

    Returns the folder that holds the pipeline and its ControlNet, or None before all are done.

    Raises:
        UserError: for a stage that does not exist, or an `out` that holds other files.
    """
    if until not in STAGES:
        raise unknown("stage", until, STAGES)
    recipe = recipe or Recipe()
    places = {name: own_folder(out / name, MARK) for name in (MODEL, CONTROL)}
    training = Training(recipe, work, device, workers, progress)
    for stage in STAGES[: STAGES.index(until) + 1]:
        if stage == until or not only:
            getattr(training, stage)
    if only or STAGES.index(until) < STAGES.index("decoder"):
        return None
    if until == "controlnet":  # before the UNet is made half as precise
        with replacing(places[CONTROL]) as folder:
            training.controlnet.half().save_pretrained(folder, safe_serialization=True)
            _mark(folder, recipe, prompted_only=False)
    unet, text = training.diffusion
    steps = recipe.diffusion_steps
    assemble(recipe, text, training.clip[1], training.decoder, unet, places[MODEL], steps=steps)
    return out
