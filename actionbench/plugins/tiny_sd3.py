"""A minimal pipeline of Stable Diffusion 3.5's shape: text and picture are one sequence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from diffusers import FlowMatchEulerDiscreteScheduler, SD3Transformer2DModel
from transformers import CLIPTextModelWithProjection

from actionbench.files.networks import quiet_libraries
from actionbench.plugins.tiny import clip_config, tiny_autoencoder, two_tokenizers
from actionbench.plugins.tiny_pixart import tiny_t5, tiny_t5_tokenizer

CLIP_WIDTHS = (8, 16)
"""D1 and D2, the widths of the CLIP encoders."""
STATE_WIDTH = 32
"""W and D3, wider than D1 + D2, as in the original."""
POOLED = (12, 24)
"""Widths of pooled text, together wider than W, so that it takes two rows of the states."""
LAYERS = 3


def tiny_sd3_pipeline(folder: Path, *, t5: bool = True, shift: float = 3.0, seed: int = 0) -> Path:
    """Save a Stable Diffusion 3.5 pipeline of 32-px images with 3 conditioned layers.

    The first block attends to the picture twice, and queries and keys are normed, as in SD 3.5
    Medium.

    Args:
        folder: where the pipeline goes; made if missing.
        t5: with the third text encoder, which may be left out.
        shift: the scheduler's shift of timesteps.
        seed: seed of the random weights; the global random state is not changed.

    Returns:
        `folder`.
    """
    quiet_libraries()
    from diffusers import StableDiffusion3Pipeline

    first, second = two_tokenizers()
    third = tiny_t5_tokenizer()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        encoders: list[Any] = [
            CLIPTextModelWithProjection(
                clip_config(
                    tokenizer, width, activation, num_hidden_layers=3, projection_dim=pooled
                )
            )
            for tokenizer, width, pooled, activation in zip(
                (first, second), CLIP_WIDTHS, POOLED, ("quick_gelu", "gelu"), strict=True
            )
        ]
        encoders.append(tiny_t5(third, STATE_WIDTH))
        vae = tiny_autoencoder(
            scaling_factor=1.5305,
            shift_factor=0.0609,
            use_quant_conv=False,
            use_post_quant_conv=False,
        )
        transformer = SD3Transformer2DModel(
            sample_size=4,
            patch_size=2,
            in_channels=4,
            out_channels=4,
            num_layers=LAYERS,
            attention_head_dim=8,
            num_attention_heads=2,
            joint_attention_dim=STATE_WIDTH,
            caption_projection_dim=16,
            pooled_projection_dim=sum(POOLED),
            pos_embed_max_size=8,
            dual_attention_layers=(0,),
            qk_norm="rms_norm",
        )
        with torch.no_grad():  # random weights hardly react to the prompt, as a trained model does
            for encoder in encoders:
                encoder.get_input_embeddings().weight.mul_(30.0)
            for block in transformer.transformer_blocks:
                block.attn.add_v_proj.weight.mul_(4.0)
    StableDiffusion3Pipeline(
        vae=vae,
        text_encoder=encoders[0],
        text_encoder_2=encoders[1],
        text_encoder_3=encoders[2] if t5 else None,
        tokenizer=first,
        tokenizer_2=second,
        tokenizer_3=third if t5 else None,
        transformer=transformer,
        scheduler=FlowMatchEulerDiscreteScheduler(shift=shift),
    ).save_pretrained(folder, safe_serialization=True)
    return Path(folder)
