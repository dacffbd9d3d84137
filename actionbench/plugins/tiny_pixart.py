"""A minimal pipeline of PixArt-Sigma's shape: a transformer with cross-attention to T5's states."""

from __future__ import annotations

from pathlib import Path

import torch
from diffusers import PixArtTransformer2DModel
from transformers import T5Config, T5EncoderModel, T5Tokenizer

from actionbench.files.networks import quiet_libraries
from actionbench.plugins.tiny import make_text_matter, prompt_words, sd_scheduler, tiny_autoencoder

WIDTH = 16
"""D, the width of the text encoder."""
LAYERS = 3


def tiny_t5_tokenizer(max_length: int = 32) -> T5Tokenizer:
    """Make a T5 tokenizer that knows the prompts' words whole, and spells others."""
    words = [f"▁{word}" for word in prompt_words()]
    letters = sorted({letter for word in words for letter in word})
    special = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
    pieces = [(piece, -1.0) for piece in words] + [(piece, -9.0) for piece in letters]
    return T5Tokenizer(
        vocab=[*special, *dict(pieces[::-1]).items()], extra_ids=0, model_max_length=max_length
    )


def tiny_t5(tokenizer: T5Tokenizer, width: int) -> T5EncoderModel:
    """Make a T5 encoder of two layers with random weights."""
    return T5EncoderModel(
        T5Config(
            vocab_size=len(tokenizer),
            d_model=width,
            d_ff=32,
            d_kv=8,
            num_layers=2,
            num_heads=2,
            feed_forward_proj="gated-gelu",
            pad_token_id=tokenizer.pad_token_id,
            eos_token_id=tokenizer.eos_token_id,
        )
    )


def tiny_pixart_pipeline(folder: Path, prediction_type: str = "epsilon", *, seed: int = 0) -> Path:
    """Save a PixArt-Sigma pipeline of 32-px images with 3 conditioned layers.

    Args:
        folder: where the pipeline goes; made if missing.
        prediction_type: `epsilon` or `v_prediction`.
        seed: seed of the random weights; the global random state is not changed.

    Returns:
        `folder`.
    """
    quiet_libraries()
    from diffusers import PixArtSigmaPipeline

    tokenizer = tiny_t5_tokenizer()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        text_encoder = tiny_t5(tokenizer, WIDTH)
        vae = tiny_autoencoder(scaling_factor=0.13025)
        transformer = PixArtTransformer2DModel(
            sample_size=4,
            patch_size=2,
            num_layers=LAYERS,
            num_attention_heads=2,
            attention_head_dim=8,
            cross_attention_dim=16,
            caption_channels=WIDTH,
            in_channels=4,
            out_channels=8,
            use_additional_conditions=False,
        )
        make_text_matter([text_encoder], transformer)
    PixArtSigmaPipeline(
        vae=vae,
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        transformer=transformer,
        scheduler=sd_scheduler(prediction_type),
    ).save_pretrained(folder, safe_serialization=True)
    return Path(folder)
