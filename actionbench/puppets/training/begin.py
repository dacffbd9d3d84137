"""Beginning a diffusion model with another's weights, which was trained under another text encoder.

What a UNet has learned of pictures is worth keeping when its text encoder is replaced. Its
cross-attention reads states of the old one, so each projection is taken behind the linear map that
brings the new encoder's states nearest to the old one's (least squares over captions).
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor
from transformers import CLIPTextModel, CLIPTokenizer

from actionbench.errors import UserError
from actionbench.files.atomic import replacing
from actionbench.puppets.training.diffusion import diffusion_stem
from actionbench.puppets.training.loop import part, slim
from actionbench.puppets.training.stages import Training
from actionbench.puppets.training.text import clip_folder, kept_clip, text_half, tokenize

CAPTIONS = 4000
_READS_TEXT = re.compile(r"\.attn2\.to_[kv]\.weight$")


def begin_with(training: Training, kept: Path) -> Path:
    """Write the first checkpoint of a training's diffusion model from that of a kept one.

    Args:
        training: has its text encoder, and no diffusion model yet.
        kept: a folder that `keep` wrote, with a diffusion model and its text encoder.

    Raises:
        UserError: if either is not so.
    """
    stem = diffusion_stem(
        training.recipe, training.corpus, training.text, training.autoencoder, training.work
    )
    place = stem.with_suffix(".safetensors")
    if place.exists():
        raise UserError(f"{place} is there already: the training goes on from it")
    own = clip_folder(training.recipe, training.corpus, training.work).name
    encoders = [folder for folder in kept.glob("clip-*.model") if folder.name != own]
    models = [file for file in kept.glob("diffusion-*.safetensors") if file.name != place.name]
    if len(encoders) != 1 or len(models) != 1:
        raise UserError(
            f"{kept} holds {len(models)} diffusion models and {len(encoders)} text encoders of "
            "another training, one of each is needed: `keep` writes such a folder"
        )
    clip, tokenizer = kept_clip(encoders[0], "cpu")
    captions = training.corpus.captions(
        range(min(CAPTIONS, len(training.corpus))), np.random.default_rng(0), training.recipe
    )
    new, old = (tokenize(one, captions) for one in (training.clip[1], tokenizer))
    if _tokens(training.clip[1], new) != _tokens(tokenizer, old):  # their numbers may differ
        raise UserError(f"{encoders[0]} splits words otherwise: begin the diffusion model anew")
    change = nearest_map(states(training.text, new), states(text_half(clip), old))
    tensors = {k: t for k, t in slim(models[0]).items() if not k.startswith("average_text")}
    if not part(tensors, "average_unet"):
        raise UserError(
            f"{models[0]} holds no running average of a diffusion model: `keep` writes one"
        )
    for name, weight in tensors.items():
        if _READS_TEXT.search(name):
            tensors[name] = (weight.float() @ change.T).half().contiguous()
    tensors |= {"step": torch.tensor(0), "seconds": torch.tensor(0.0)}
    with replacing(place) as path:
        save_file(tensors, path)
    return place


def _tokens(tokenizer: CLIPTokenizer, ids: Tensor) -> list[str]:
    tokens: list[str] = tokenizer.convert_ids_to_tokens(ids.flatten().tolist())
    return tokens


def states(text: CLIPTextModel, ids: Tensor) -> Tensor:
    """All states of captions' tokens, float64 [n, width]."""
    with torch.no_grad():
        found = [text(rows).last_hidden_state.flatten(0, 1) for rows in ids.split(500)]
    return torch.cat(found).double()


def nearest_map(new: Tensor, old: Tensor) -> Tensor:
    """The map M, float [width, width], with new @ M nearest to old, both [n, width]."""
    ridge = 1e-6 * new.square().mean() * len(new) * torch.eye(new.shape[1], dtype=new.dtype)
    return torch.linalg.solve(new.T @ new + ridge, new.T @ old).float()
