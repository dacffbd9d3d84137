"""A minimal pipeline of Stable Diffusion XL's shape: two text encoders, pooled text, size ids."""

from __future__ import annotations

from pathlib import Path

import torch
from diffusers import UNet2DConditionModel
from transformers import CLIPTextModel, CLIPTextModelWithProjection

from actionbench.files.networks import quiet_libraries
from actionbench.plugins.tiny import (
    clip_config,
    make_text_matter,
    sd_scheduler,
    tiny_autoencoder,
    two_tokenizers,
)

WIDTHS = (8, 16)
"""D1 and D2, the widths of the text encoders."""
POOLED = 28
"""P, wider than D = 24, so that pooled text takes two positions of the states."""


def tiny_xl_pipeline(
    folder: Path,
    prediction_type: str = "epsilon",
    *,
    zeros_for_nothing: bool = True,
    seed: int = 0,
) -> Path:
    """Save a Stable Diffusion XL pipeline of 32-px images with 4 conditioned layers.

    The first level of the UNet has no cross-attention, as in SDXL, and each transformer has two
    blocks.

    Args:
        folder: where the pipeline goes; made if missing.
        prediction_type: `epsilon` or `v_prediction`.
        zeros_for_nothing: guidance leads away from zeros if there is no negative prompt, as in
            SDXL, or from the encoded empty prompt.
        seed: seed of the random weights; the global random state is not changed.

    Returns:
        `folder`.
    """
    quiet_libraries()
    from diffusers import StableDiffusionXLPipeline

    tokenizers = two_tokenizers()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        encoders = [
            kind(
                clip_config(
                    tokenizer, width, activation, num_hidden_layers=3, projection_dim=POOLED
                )
            )
            for kind, tokenizer, width, activation in zip(
                (CLIPTextModel, CLIPTextModelWithProjection),
                tokenizers,
                WIDTHS,
                ("quick_gelu", "gelu"),
                strict=True,
            )
        ]
        vae = tiny_autoencoder(scaling_factor=0.13025)
        unet = UNet2DConditionModel(
            sample_size=4,
            block_out_channels=(8, 16),
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
            layers_per_block=1,
            transformer_layers_per_block=(1, 2),
            attention_head_dim=(2, 4),  # the number of heads, despite its name
            use_linear_projection=True,
            cross_attention_dim=sum(WIDTHS),
            norm_num_groups=4,
            addition_embed_type="text_time",
            addition_time_embed_dim=8,
            projection_class_embeddings_input_dim=6 * 8 + POOLED,
        )
        make_text_matter(encoders, unet)
    StableDiffusionXLPipeline(
        vae=vae,
        text_encoder=encoders[0],
        text_encoder_2=encoders[1],
        tokenizer=tokenizers[0],
        tokenizer_2=tokenizers[1],
        unet=unet,
        scheduler=sd_scheduler(prediction_type),
        force_zeros_for_empty_prompt=zeros_for_nothing,
        add_watermarker=False,
    ).save_pretrained(folder, safe_serialization=True)
    return Path(folder)
