"""A ControlNet on drawn skeletons (Zhang et al., arXiv 2302.05543), for the stock pipeline.

The UNet stays as it is; the ControlNet begins as a copy of its first half. Its pictures show no
action of the benchmark. Captions are left out as in the UNet's own training, so that it steers the
half of guidance without a prompt as well.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL, ControlNetModel, DDPMScheduler, UNet2DConditionModel
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import CLIPTextModel, CLIPTokenizer

from actionbench.diffusion.control import CONDITIONING_CHANNELS
from actionbench.files.atomic import replacing
from actionbench.files.networks import load_weights
from actionbench.progress import SILENT, Progress
from actionbench.puppets.training.corpus import SIZE, Corpus
from actionbench.puppets.training.diffusion import encode_corpus, noise_schedule
from actionbench.puppets.training.limbs import bone_maps, limb_places, limb_weights
from actionbench.puppets.training.loop import (
    Schedule,
    Stage,
    first_alone,
    generator_of,
    own,
    rows_of,
    train,
)
from actionbench.puppets.training.recipe import Recipe, digest
from actionbench.puppets.training.text import tokenize
from actionbench.puppets.training.weights import weights_key
from actionbench.suite.skeleton import draw_skeleton


def skeletons(data: Corpus, work: Path, progress: Progress = SILENT) -> Tensor:
    """The pictures' skeletons as OpenPose draws them, uint8 [n, 3, SIZE, SIZE], made once."""
    file = work / f"skeletons-{data.key}.safetensors"
    if not file.exists():
        drawn = np.empty((len(data), SIZE, SIZE, 3), np.uint8)
        for number, points in enumerate(data.keypoints):
            drawn[number] = np.asarray(draw_skeleton(points, SIZE))
            progress.update(number + 1, len(data), "skeletons")
        stacked = torch.from_numpy(drawn).permute(0, 3, 1, 2).contiguous()
        with replacing(file) as path:
            save_file({"skeletons": stacked}, path)
    return load_file(file)["skeletons"]


def train_controlnet(
    recipe: Recipe,
    data: Corpus,
    text: CLIPTextModel,
    tokenizer: CLIPTokenizer,
    vae: AutoencoderKL,
    unet: UNet2DConditionModel,
    work: Path,
    device: str = "cpu",
    progress: Progress = SILENT,
) -> ControlNetModel:
    """Train a ControlNet for a finished UNet.

    Processes that train together share each batch.
    """
    fields = digest(recipe.key("control", "drop", "tell"), data.key, weights_key(unet))
    stem = work / f"controlnet-{fields[:8]}"
    folder = stem.with_suffix(".model")
    if folder.exists():
        return _load(folder, device)
    latents = first_alone(lambda: encode_corpus(recipe, vae, data, work, device, progress))
    shown = first_alone(lambda: skeletons(data, work, progress))
    points = torch.from_numpy(data.keypoints)
    torch.manual_seed(recipe.seed)
    unet = unet.to(device).eval().requires_grad_(False)
    network = ControlNetModel.from_unet(
        unet, conditioning_embedding_out_channels=CONDITIONING_CHANNELS
    )
    network = network.to(device).train().requires_grad_(True)
    scheduler, seed = DDPMScheduler(**noise_schedule()), recipe.seed + 4
    telling = replace(recipe, tell_pose=recipe.control_tell_pose)

    def losses(step: int) -> dict[str, Tensor]:
        pick = rows_of(len(data), recipe.control_batch, seed, step)
        rng, generator = np.random.default_rng((seed, step, 2)), generator_of(seed, step)
        words = data.captions(pick, rng, telling)
        dropped = torch.rand(len(pick), generator=generator) < recipe.drop_caption
        words = ["" if drop else line for drop, line in zip(dropped.tolist(), words, strict=True)]
        noise = torch.randn(len(pick), *latents.shape[1:], generator=generator)
        times = torch.randint(0, 1000, (len(pick),), generator=generator)
        words, pick, noise, times = own(words), own(pick), own(noise), own(times)
        with torch.no_grad():
            states = text(tokenize(tokenizer, words).to(device)).last_hidden_state
        clean = latents[pick].float().to(device)
        noise, times = noise.to(device), times.to(device)
        noised = scheduler.add_noise(clean, noise, times)
        picture = shown[pick].float().to(device) / 255
        down, middle = network(noised, times, states, picture, return_dict=False)
        predicted = unet(
            noised,
            times,
            states,
            down_block_additional_residuals=down,
            mid_block_additional_residual=middle,
        ).sample
        error = (predicted - scheduler.get_velocity(clean, noise, times)).square()
        limbs = limb_places(bone_maps(points[pick].to(device), 2 * clean.shape[-1]))
        weight = limb_weights(limbs, recipe.control_limb_weight)
        return {"velocity": (error * weight).mean(), "_plain": error.detach().mean()}

    steps = recipe.control_steps
    schedule = Schedule(steps, recipe.control_rate, min(100, steps // 4))
    modules = {"controlnet": network}
    stage = Stage("ControlNet", stem, modules, losses, schedule, precision=recipe.precision)
    train(stage, progress)

    def kept() -> ControlNetModel:
        if not folder.exists():
            with replacing(folder) as path:
                network.half().save_pretrained(path)
        return _load(folder, device)

    return first_alone(kept)


def _load(folder: Path, device: str) -> ControlNetModel:
    network = load_weights(ControlNetModel, folder, torch_dtype=torch.float32)
    return network.to(device).eval().requires_grad_(False)
