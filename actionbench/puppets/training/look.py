"""Contact sheets of a training in progress: the autoencoder's round trip, and pictures by text."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL, DPMSolverMultistepScheduler, StableDiffusionPipeline
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor

from actionbench.errors import UserError
from actionbench.files.atomic import replacing
from actionbench.files.networks import load_state
from actionbench.puppets.training.autoencoder import encoded, new_autoencoder
from actionbench.puppets.training.corpus import to_pixels
from actionbench.puppets.training.diffusion import noise_schedule
from actionbench.puppets.training.loop import part
from actionbench.puppets.training.stages import Training

PROMPTS = (
    "a panda waves in a park", "a dog stands on all fours", "a tiger sleeps on a beach",
    "Batman runs in a city", "Spiderman jumps", "an old man kneels in a room", "a fox walks",
    "a girl spreads both arms", "a person with red hair and a green shirt dances",
    "someone with left arm up, right knee up", "a monkey lies down", "Barack Obama claps",
    "a gorilla right arm out, left arm bent up, legs apart", "Messi stands at night",
    "a polar bear kicks", "a man raises both arms for cheering",
)  # fmt: skip
SCALE = 3.0
"""Guidance."""


def unfinished_autoencoder(training: Training) -> AutoencoderKL:
    """The autoencoder as its last checkpoint has it. Raises UserError if there is none."""
    files = sorted(training.work.glob(f"vae-{training.corpus.key}-*.safetensors"))
    if not files:
        raise UserError(
            f"{training.work} has no autoencoder yet: train it (`actionbench puppets pretrain`)"
        )
    vae = new_autoencoder(training.recipe)
    load_state(vae, part(load_file(files[-1]), "vae"), files[-1])
    return vae.eval()


@torch.no_grad()  # type: ignore[untyped-decorator]
def round_trip(vae: Any, images: np.ndarray) -> np.ndarray:
    """Pictures uint8 [n, h, w, 3] through the autoencoder."""
    drawn: Tensor = vae.decode(encoded(vae, to_pixels(images, "cpu"))).sample
    pixels = drawn.add(1).mul(127.5).round().clamp(0, 255).byte()
    result: np.ndarray = pixels.permute(0, 2, 3, 1).numpy()
    return result


def by_text(training: Training, prompts: Sequence[str] = PROMPTS, steps: int = 20) -> np.ndarray:
    """Pictures uint8 [n, h, w, 3] of prompts, from the diffusion model's last checkpoint."""
    unet, text, _ = training.latest()
    pipeline = StableDiffusionPipeline(
        vae=training.decoder if training.decoder_done else training.autoencoder,
        text_encoder=text,
        tokenizer=training.clip[1],
        unet=unet,
        scheduler=DPMSolverMultistepScheduler(**noise_schedule(), timestep_spacing="trailing"),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.set_progress_bar_config(disable=True)
    sources = [torch.Generator().manual_seed(number) for number in range(len(prompts))]
    images = pipeline(
        list(prompts), num_inference_steps=steps, guidance_scale=SCALE, generator=sources
    ).images
    return np.stack([np.asarray(image) for image in images])


def write_rows(rows: Sequence[np.ndarray], out: Path, zoom: int = 3) -> Path:
    """Write rows of pictures [n, h, w, 3] below each other, enlarged, as a PNG."""
    sheet = Image.fromarray(np.concatenate([np.concatenate(list(row), 1) for row in rows], 0))
    large = sheet.resize((zoom * sheet.width, zoom * sheet.height), Image.Resampling.NEAREST)
    with replacing(out) as path:
        large.save(path, format="PNG")
    return out


def look(training: Training, out: Path) -> Path:
    """Write a sheet: drawings above their round trip, then `PROMPTS` once there is a UNet."""
    images = training.corpus.images[-32:]
    done = list(training.work.glob(f"vae-{training.corpus.key}-*.model"))
    passed = round_trip(training.autoencoder if done else unfinished_autoencoder(training), images)
    rows = [images[:16], passed[:16], images[16:], passed[16:]]
    if done and list(training.work.glob("diffusion-*.safetensors")):
        rows.append(by_text(training))
    return write_rows(rows, out)
