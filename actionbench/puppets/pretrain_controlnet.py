"""Trains puppet-diffusion's ControlNet on drawn skeletons (Zhang et al., arXiv 2302.05543).

The base model stays as it is: its UNet is frozen, the ControlNet begins as a copy of its first
half. Checkpoints lie in the work folder, from which the same call goes on.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from actionbench.diffusion.backbone import Backbone
from actionbench.diffusion.control import load_controlnet, new_controlnet
from actionbench.diffusion.denoising import Noised, add_noise
from actionbench.files.atomic import own_folder, replacing
from actionbench.files.hashing import make_key
from actionbench.files.models import resolve_controlnet, resolve_model
from actionbench.progress import SILENT, Progress
from actionbench.puppets.corpus import SIZE, Corpus, corpus
from actionbench.puppets.pretrain import (
    MARK,
    Checkpoint,
    Log,
    batches,
    bone_maps,
    encode_corpus,
    forget_places,
    limb_places,
    rate_at,
)
from actionbench.suite.skeleton import draw_skeleton


@dataclass(frozen=True)
class ControlRecipe:
    """Lengths of the training: 3000 steps take about 33 minutes on one CPU core."""

    drawings: int = 24_000
    steps: int = 3000
    batch: int = 48
    rate: float = 1e-3
    drop_caption: float = 0.0
    """Share of captions left out. None, for drawing steers the half with text alone; half of the
    captions say nothing of the pose, so that the skeleton has to tell it."""
    limb_weight: float = 4.0
    """How much more an error counts where a limb is: there, 1 + this much; elsewhere 1."""
    checkpoint_steps: int = 100
    seed: int = 2

    def key(self, data: Corpus, model: str, start: str) -> str:
        """Names what is kept in the work folder. Without the length, so that a training can go on
        longer from where it stands."""
        facts = {k: v for k, v in asdict(self).items() if k not in ("steps", "checkpoint_steps")}
        return make_key("controlnet", data.key, model, start, facts)[:8]


def pretrain_controlnet(
    out: Path,
    work: Path,
    model: str,
    device: str = "cpu",
    progress: Progress = SILENT,
    recipe: ControlRecipe | None = None,
    start: Path | None = None,
) -> Path:
    """Trains a ControlNet for the pipeline `model` and writes it to the folder `out`, in float16.

    With `start`, a finished ControlNet's folder, that one is trained further.

    Raises UserError where `model` is no pipeline or `out` holds something else.
    """
    recipe, out = recipe or ControlRecipe(), own_folder(out, MARK)
    source = resolve_model(model)
    begun = None if start is None else resolve_controlnet(str(start))
    work.mkdir(parents=True, exist_ok=True)
    data = corpus(work, "posing", recipe.seed, recipe.drawings, 2, progress)
    backbone = Backbone.load(source, device)
    kept = work / f"latents-{make_key(data.key, source.fingerprint)[:8]}.safetensors"
    latents = encode_corpus(backbone.pipeline.vae, data, kept, device)
    points = torch.from_numpy(data.keypoints)
    skeletons = _skeletons(data.keypoints, progress)
    captions = [row["caption"] for row in data.rows]

    if begun is None:
        network = new_controlnet(backbone, recipe.seed)
    else:
        network = load_controlnet(backbone, begun)
    network.train().requires_grad_(True)
    weights = list(network.parameters())
    optimizer = torch.optim.AdamW(weights, lr=recipe.rate, weight_decay=0.01, fused=True)
    key = recipe.key(data, source.fingerprint, begun.fingerprint if begun else "")
    stem = work / f"controlnet-{key}"
    checkpoint = Checkpoint(stem.with_suffix(".safetensors"), {"controlnet": network}, optimizer)
    first = checkpoint.load()
    log = Log(stem.with_suffix(".log"))
    losses: list[Tensor] = []
    for step, pick in enumerate(
        batches(len(captions), recipe.batch, recipe.seed, first, recipe.steps), first
    ):
        for group in optimizer.param_groups:
            group["lr"] = rate_at(step, recipe.steps, recipe.rate)
        generator = torch.Generator().manual_seed(1000 * recipe.seed + step)
        dropped = torch.rand(len(pick), generator=generator) < recipe.drop_caption
        told = ["" if drop else captions[row] for drop, row in zip(dropped.tolist(), pick)]
        clean = latents[pick].float().to(device)
        noised = add_noise(backbone, clean, generator)
        with torch.no_grad():
            states = backbone.encode_prompts([backbone.tokenize(text) for text in told])
        shown = torch.from_numpy(skeletons[pick]).to(device).permute(0, 3, 1, 2).float() / 255
        error = (controlled(backbone, network, noised, states, shown) - noised.target).square()
        limbs = limb_places(bone_maps(points[pick].to(device), 2 * clean.shape[-1]))
        weight = 1 + recipe.limb_weight * limbs
        loss = (error * (weight / weight.mean())).mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        losses.append(loss.detach())
        progress.update(step + 1, recipe.steps, "ControlNet")
        if (step + 1) % 50 == 0:
            log.write(step=step + 1, loss=round(float(torch.stack(losses).mean()), 4))
            losses.clear()
        if (step + 1) % recipe.checkpoint_steps == 0 or step + 1 == recipe.steps:
            checkpoint.save(step + 1)
    facts: dict[str, Any] = {
        "model": source.fingerprint,
        "recipe": asdict(recipe),
        "prompted_only": recipe.drop_caption == 0,
    }
    if begun is not None:
        facts["start"] = json.loads((begun.path / MARK).read_text("utf-8"))
    with replacing(out) as folder:
        network.half().save_pretrained(folder, safe_serialization=True)
        forget_places(folder)
        (folder / MARK).write_text(json.dumps(facts, indent=2) + "\n", "utf-8")
    return out


def controlled(
    backbone: Backbone, network: nn.Module, noised: Noised, states: Tensor, shown: Tensor
) -> Tensor:
    """The UNet's prediction [B, C, h, w] under the ControlNet's steering by `shown` pictures,
    float [B, 3, 8 h, 8 w] in [0, 1]."""
    down, middle = network(
        noised.latents,
        noised.timesteps,
        encoder_hidden_states=states,
        controlnet_cond=shown,
        return_dict=False,
    )
    prediction: Tensor = backbone.pipeline.unet(
        noised.latents,
        noised.timesteps,
        encoder_hidden_states=states,
        down_block_additional_residuals=down,
        mid_block_additional_residual=middle,
        return_dict=False,
    )[0]
    return prediction


def _skeletons(keypoints: np.ndarray, progress: Progress) -> np.ndarray:
    """uint8 [n, SIZE, SIZE, 3]"""
    drawn = np.empty((len(keypoints), SIZE, SIZE, 3), np.uint8)
    for number, points in enumerate(keypoints):
        drawn[number] = np.asarray(draw_skeleton(points, SIZE))
        if (number + 1) % 500 == 0 or number + 1 == len(keypoints):
            progress.update(number + 1, len(keypoints), "skeletons")
    return drawn
