"""The denoiser: v-prediction under a frozen text encoder, with an eye on the limbs."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import CLIPTextModel, CLIPTokenizer

from actionbench.files.atomic import replacing
from actionbench.progress import SILENT, Progress
from actionbench.puppets.training.autoencoder import encoded
from actionbench.puppets.training.corpus import SIZE, Corpus, Picker, shares, to_pixels
from actionbench.puppets.training.limbs import LimbReader, limb_weights
from actionbench.puppets.training.loop import (
    Schedule,
    Stage,
    arithmetic,
    first_alone,
    generator_of,
    own,
    train,
)
from actionbench.puppets.training.recipe import Recipe, digest
from actionbench.puppets.training.text import tokenize
from actionbench.puppets.training.weights import weights_key


def new_unet(recipe: Recipe) -> UNet2DConditionModel:
    """Three levels, two layers a block: 16 cross-attention layers, as in Stable Diffusion."""
    return UNet2DConditionModel(
        sample_size=SIZE // 8,
        in_channels=recipe.latent_channels,
        out_channels=recipe.latent_channels,
        down_block_types=("CrossAttnDownBlock2D",) * 3,
        up_block_types=("CrossAttnUpBlock2D",) * 3,
        block_out_channels=recipe.unet_channels,
        layers_per_block=2,
        cross_attention_dim=recipe.width,
        attention_head_dim=recipe.unet_heads,
        use_linear_projection=True,  # as SD 2's; a few percent faster on a CPU
        norm_num_groups=16,
    )


def noise_schedule() -> dict[str, Any]:
    """Stable Diffusion's, ended at nothing but noise (arXiv 2305.08891, section 3.1)."""
    return {
        "num_train_timesteps": 1000,
        "beta_start": 0.00085,
        "beta_end": 0.012,
        "beta_schedule": "scaled_linear",
        "rescale_betas_zero_snr": True,
        "prediction_type": "v_prediction",
        "steps_offset": 1,
    }


def encode_corpus(
    recipe: Recipe,
    vae: AutoencoderKL,
    data: Corpus,
    work: Path,
    device: str,
    progress: Progress = SILENT,
) -> Tensor:
    """Scaled posterior means, float16 [n, c, 8, 8], made once and kept in the work folder.

    They depend on the encoder alone, so that another decoder changes nothing.
    """
    encoder = nn.ModuleDict({"encoder": vae.encoder, "quant": vae.quant_conv})
    name = digest(data.key, weights_key(encoder), vae.config.scaling_factor)[:8]
    file = work / f"latents-{name}.safetensors"
    if not file.exists():
        rows = []
        for start in range(0, len(data), 512):
            pixels = to_pixels(data.images[start : start + 512], device)
            with arithmetic(recipe.precision, pixels.device):
                latents = encoded(vae, pixels)
            rows.append((latents.float() * vae.config.scaling_factor).half().cpu())
            progress.update(min(start + 512, len(data)), len(data), "encoding the corpus")
        with replacing(file) as path:
            save_file({"latents": torch.cat(rows).contiguous()}, path)
    return load_file(file)["latents"]


def diffusion_stem(
    recipe: Recipe, data: Corpus, text: nn.Module, vae: AutoencoderKL, work: Path
) -> Path:
    """What the checkpoint and log of this training are called; lengths are left out, so that a
    running training can be cut short or go on longer."""
    fields = recipe.key(
        "unet", "diffusion_batch", "diffusion_rate", "diffusion_ema", "limb", "drop", "train_text",
        "four", "names", "others", "known", "free", "described", "exact", "tell",
    )  # fmt: skip
    encoder = nn.ModuleDict({"encoder": vae.encoder, "quant": vae.quant_conv})
    return (
        work / f"diffusion-{digest(fields, data.key, weights_key(text), weights_key(encoder))[:8]}"
    )


def train_diffusion(
    recipe: Recipe,
    data: Corpus,
    text: CLIPTextModel,
    tokenizer: CLIPTokenizer,
    vae: AutoencoderKL,
    work: Path,
    device: str = "cpu",
    progress: Progress = SILENT,
) -> tuple[UNet2DConditionModel, CLIPTextModel]:
    """Train the UNet; returns its running average, and the text encoder's.

    The text encoder stays frozen, as Stable Diffusion's did, unless the recipe trains a twin.
    Processes that train together share each batch.
    """
    stem = diffusion_stem(recipe, data, text, vae, work)
    latents = first_alone(lambda: encode_corpus(recipe, vae, data, work, device, progress))
    torch.manual_seed(recipe.seed)
    unet = new_unet(recipe).to(device).train()
    average = copy.deepcopy(unet).eval().requires_grad_(False)
    points = torch.from_numpy(data.keypoints)
    features: dict[str, Tensor] = {}
    unet.up_blocks[-2].register_forward_hook(
        lambda block, args, output: features.update(now=output)
    )
    width = unet.config.block_out_channels[1]
    reader = LimbReader(width, unet.config.sample_size, points[:4000]).to(device)
    modules: dict[str, nn.Module] = {"unet": unet, "reader": reader}
    averages: dict[str, nn.Module] = {"unet": average}
    text, average_text = text.to(device), text
    if recipe.train_text_along:
        text = copy.deepcopy(text).requires_grad_(True)
        average_text = copy.deepcopy(text).eval().requires_grad_(False)
        modules["text"], averages["text"] = text, average_text
    scheduler, seed = DDPMScheduler(**noise_schedule()), recipe.seed + 2
    late = replace(
        recipe,
        names=recipe.late_names,
        four_legged=recipe.late_four_legged,
        exact_share=recipe.late_exact,
    )
    first = Picker(shares(data.rows, recipe))
    last = Picker(shares(data.rows, late, recipe.late_limbwise))
    begin = recipe.diffusion_steps - recipe.late_steps

    def losses(step: int) -> dict[str, Tensor]:
        draw, borrowed = (first, 0.0) if step < begin else (last, recipe.late_borrowed)
        pick, generator = draw(recipe.diffusion_batch, seed, step), generator_of(seed, step)
        words = data.captions(pick, np.random.default_rng((seed, step, 2)), recipe, borrowed)
        dropped = torch.rand(len(pick), generator=generator) < recipe.drop_caption
        words = ["" if drop else line for drop, line in zip(dropped.tolist(), words, strict=True)]
        noise = torch.randn(len(pick), *latents.shape[1:], generator=generator)
        times = torch.randint(0, 1000, (len(pick),), generator=generator)
        words, pick, noise, times = own(words), own(pick), own(noise), own(times)
        with torch.set_grad_enabled(recipe.train_text_along):
            states = text(tokenize(tokenizer, words).to(device)).last_hidden_state
        clean = latents[pick].float().to(device)
        noise, times = noise.to(device), times.to(device)
        predicted = unet(scheduler.add_noise(clean, noise, times), times, states).sample
        misread, limbs = reader(features["now"], points[pick].to(device))
        error = (predicted - scheduler.get_velocity(clean, noise, times)).square()
        return {
            "velocity": (error * limb_weights(limbs, recipe.limb_weight)).mean(),
            "limbs": recipe.limb_maps * misread,
            "_plain": error.detach().mean(),
        }

    steps = recipe.diffusion_steps
    schedule = Schedule(
        steps, recipe.diffusion_rate, min(500, steps // 4), min(recipe.diffusion_decay, steps)
    )
    stage = Stage(
        "diffusion model",
        stem,
        modules,
        losses,
        schedule,
        averages,
        ema=recipe.diffusion_ema,
        precision=recipe.precision,
    )
    train(stage, progress)
    return average, average_text
