"""A minimal pipeline of SANA's shape: a transformer with cross-attention to Gemma's states."""

from __future__ import annotations

import inspect
import json
from pathlib import Path

import torch
from diffusers import AutoencoderDC, DPMSolverMultistepScheduler, SanaTransformer2DModel
from tokenizers import Tokenizer
from tokenizers.models import BPE
from tokenizers.trainers import BpeTrainer
from transformers import Gemma2Config, Gemma2Model, GemmaTokenizer

from actionbench.files.networks import quiet_libraries
from actionbench.plugins.tiny import make_text_matter, prompt_words

WIDTH = 16
"""D, the width of the text encoder."""
LAYERS = 3


def tiny_gemma_tokenizer(texts: str = "", max_length: int = 32) -> GemmaTokenizer:
    """Make a Gemma tokenizer that knows the words of the prompts and of `texts` whole.

    A word's token holds the space before it.
    """
    special = ["<pad>", "<eos>", "<bos>", "<unk>"]
    model = Tokenizer(BPE())
    trainer = BpeTrainer(vocab_size=10_000, special_tokens=special, show_progress=False)
    words = sorted({*prompt_words(), *texts.split(" ")})
    model.train_from_iterator([f"▁{word}" for word in words], trainer)
    trained = json.loads(model.to_str())["model"]
    merges = [tuple(pair) for pair in trained["merges"]]
    return GemmaTokenizer(
        vocab=trained["vocab"],
        merges=merges,
        add_bos_token=True,
        model_max_length=max_length,
    )


def tiny_sana_pipeline(folder: Path, *, flow_shift: float = 3.0, seed: int = 0) -> Path:
    """Save a SANA pipeline of 32-px images with 3 conditioned layers.

    Args:
        folder: where the pipeline goes; made if missing.
        flow_shift: the scheduler's shift of timesteps.
        seed: seed of the random weights; the global random state is not changed.

    Returns:
        `folder`.
    """
    quiet_libraries()
    from diffusers import SanaPipeline

    called = inspect.signature(SanaPipeline.__call__).parameters
    tokenizer = tiny_gemma_tokenizer("\n".join(called["complex_human_instruction"].default))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        text_encoder = Gemma2Model(
            Gemma2Config(
                vocab_size=len(tokenizer),
                hidden_size=WIDTH,
                intermediate_size=32,
                num_hidden_layers=2,
                num_attention_heads=2,
                num_key_value_heads=1,
                head_dim=8,
                query_pre_attn_scalar=8,
                pad_token_id=tokenizer.pad_token_id,
                eos_token_id=tokenizer.eos_token_id,
                bos_token_id=tokenizer.bos_token_id,
            )
        )
        blocks = ("ResBlock", "ResBlock", "ResBlock", "EfficientViTBlock")
        scales: tuple[tuple[int, ...], ...] = ((), (), (), (5,))
        vae = AutoencoderDC(
            latent_channels=4,
            attention_head_dim=8,
            encoder_block_types=blocks,
            decoder_block_types=blocks,
            encoder_block_out_channels=(8, 8, 16, 16),
            decoder_block_out_channels=(8, 8, 16, 16),
            encoder_layers_per_block=(1, 1, 1, 1),
            decoder_layers_per_block=(1, 1, 1, 1),
            encoder_qkv_multiscales=scales,
            decoder_qkv_multiscales=scales,
            scaling_factor=0.41407,
        )
        transformer = SanaTransformer2DModel(
            in_channels=4,
            out_channels=4,
            num_attention_heads=2,
            attention_head_dim=8,
            num_layers=LAYERS,
            num_cross_attention_heads=2,
            cross_attention_head_dim=8,
            cross_attention_dim=16,
            caption_channels=WIDTH,
            sample_size=4,
            qk_norm="rms_norm_across_heads",
            timestep_scale=0.5,  # not the original's 1, which would hide that it is heeded
        )
        make_text_matter([text_encoder], transformer)
    SanaPipeline(
        vae=vae,
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        transformer=transformer,
        scheduler=DPMSolverMultistepScheduler(
            prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=flow_shift
        ),
    ).save_pretrained(folder, safe_serialization=True)
    return Path(folder)
