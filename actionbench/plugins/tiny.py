"""A minimal pipeline of the real classes, made on the spot for `methods check` and for tests."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from PIL import Image
from tokenizers import Tokenizer
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel
from tokenizers.trainers import BpeTrainer
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from actionbench.diffusion.backbone import Backbone
from actionbench.files.hashing import canonical_json
from actionbench.files.models import ModelSource
from actionbench.files.networks import quiet_libraries
from actionbench.puppets.drawing.holding import packed, ways
from actionbench.suite.items import (
    SLOT,
    ActionTask,
    Exemplar,
    Item,
    Sampling,
    benchmark_lists,
    make_items,
    paper_actions,
    paper_subjects,
)

BOS, EOS = "<|startoftext|>", "<|endoftext|>"
END_OF_WORD = "</w>"
WORDS = "a an the photo picture of person man with red green blue hair shirt on and in"


def prompt_words() -> list[str]:
    """List the words of the benchmark's prompts, in small letters."""
    lists = benchmark_lists()
    texts = [row["description"] for row in lists["actions"] + lists["development_actions"]]
    texts += [row["phrase"] for row in lists["subjects"]]
    return sorted({word for text in [*texts, WORDS] for word in text.lower().split()})


def tiny_tokenizer(pad_token: str = "!", max_length: int = 32) -> CLIPTokenizer:
    """Train CLIP's byte-level BPE on the prompts' words, so that each is one token.

    The alphabet is sorted as in CLIP's own vocabulary, so that "!" is id 0, the padding of SD 2.
    """
    model = Tokenizer(BPE(end_of_word_suffix=END_OF_WORD))
    trainer = BpeTrainer(vocab_size=10_000, end_of_word_suffix=END_OF_WORD, show_progress=False)
    model.train_from_iterator(prompt_words(), trainer)
    merges = [tuple(pair) for pair in json.loads(model.to_str())["model"]["merges"]]
    letters = sorted(ByteLevel.alphabet())
    tokens = [*letters, *(letter + END_OF_WORD for letter in letters), *map("".join, merges)]
    vocabulary = {token: number for number, token in enumerate(dict.fromkeys([*tokens, BOS, EOS]))}
    return CLIPTokenizer(
        vocab=vocabulary, merges=merges, pad_token=pad_token, model_max_length=max_length
    )


def sd_scheduler(prediction_type: str) -> DDIMScheduler:
    """Make a scheduler with Stable Diffusion's noise schedule."""
    return DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
        prediction_type=prediction_type,
    )


def tiny_autoencoder(**config: Any) -> AutoencoderKL:
    """Make an autoencoder of 32-px images and latents [4, 4, 4]."""
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(8, 8, 8, 8),
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=4,
        sample_size=32,
        **config,
    )


def clip_config(
    tokenizer: CLIPTokenizer, width: int, activation: str, **config: Any
) -> CLIPTextConfig:
    """Make the config of a CLIP text encoder with heads of half its `width`."""
    return CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=32,
        num_attention_heads=2,
        hidden_act=activation,
        max_position_embeddings=tokenizer.model_max_length,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        **config,
    )


def two_tokenizers() -> tuple[CLIPTokenizer, CLIPTokenizer]:
    """Make the two CLIP tokenizers of SDXL and SD 3, which differ in their padding alone."""
    first = tiny_tokenizer("<|endoftext|>")
    # One vocabulary for both: training it anew would number other merges.
    second = copy.deepcopy(first)
    second.pad_token = "!"
    return first, second


def tiny_pipeline(
    folder: Path,
    prediction_type: str = "epsilon",
    *,
    levels: int = 3,
    layers_per_block: int = 2,
    pad_token: str = "!",
    sd2: bool = False,
    dtype: torch.dtype = torch.float32,
    seed: int = 0,
) -> Path:
    """Save a Stable Diffusion pipeline of 32-px images (64-px images for `sd2`).

    Args:
        folder: where the pipeline goes; made if missing.
        prediction_type: `epsilon` or `v_prediction`.
        levels, layers_per_block: the UNet gets
            `levels * (2 * layers_per_block + 1) + 1` cross-attention layers: 16 by default.
        pad_token: "!" as in SD 2, or CLIP's own "<|endoftext|>" as in SD 1.
        sd2: use SD 2's structure: four levels, the innermost without cross-attention (16 layers in
            all), heads of one width, linear projections, GELU. `levels` is then ignored.
        dtype: dtype of the weights on disk.
        seed: seed of the random weights; the global random state is not changed.

    Returns:
        `folder`.
    """
    quiet_libraries()
    # Imported after the line above, as in `Backbone.load`.
    from diffusers import StableDiffusionPipeline

    tokenizer = tiny_tokenizer(pad_token)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        text_encoder = CLIPTextModel(
            clip_config(tokenizer, 16, "gelu" if sd2 else "quick_gelu", num_hidden_layers=2)
        )
        vae = tiny_autoencoder()
        structure = (
            {
                "sample_size": 8,
                "block_out_channels": (8, 8, 16, 16),
                "attention_head_dim": (2, 2, 4, 4),  # the number of heads, despite its name
                "use_linear_projection": True,
            }
            if sd2
            else {
                "sample_size": 4,
                "block_out_channels": (8, 8, 16)[:levels],
                "down_block_types": ("CrossAttnDownBlock2D",) * levels,
                "up_block_types": ("CrossAttnUpBlock2D",) * levels,
                "attention_head_dim": 2,
            }
        )
        unet = UNet2DConditionModel(
            layers_per_block=layers_per_block,
            cross_attention_dim=16,
            norm_num_groups=4,
            **structure,
        )
        make_text_matter([text_encoder], unet)
    pipeline = StableDiffusionPipeline(
        vae=vae,
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        unet=unet,
        scheduler=sd_scheduler(prediction_type),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    if dtype != torch.float32:
        pipeline.to(dtype=dtype)
    pipeline.save_pretrained(folder, safe_serialization=True)
    return Path(folder)


def make_text_matter(text_encoders: Sequence[torch.nn.Module], denoiser: torch.nn.Module) -> None:
    """Enlarge some weights: random ones hardly react to the prompt, as a trained model does."""
    with torch.no_grad():
        for text_encoder in text_encoders:
            text_encoder.get_input_embeddings().weight.mul_(30.0)
        for name, module in denoiser.named_modules():
            if name.endswith("attn2"):
                module.to_q.weight.mul_(2.0)
                module.to_k.weight.mul_(2.0)
                module.to_out[0].weight.mul_(4.0)


def load_tiny(folder: Path, preset: str | None = None) -> Backbone:
    """Load a tiny pipeline as a backbone that samples in few steps."""
    source = ModelSource(name="tiny", path=Path(folder), fingerprint="tiny", preset=preset)
    backbone = Backbone.load(source)
    backbone.sampling = Sampling(steps=4, guidance_scale=4.0)
    return backbone


def backbone_state(backbone: Backbone) -> dict[str, str]:
    """Return all that a method must not change, by name: "unet weights", "scheduler config" ..."""
    state = {
        "pipeline class": type(backbone.pipeline).__name__,
        "parts of the pipeline": str(sorted(backbone.pipeline.components)),
        "tokenizers": str([len(getattr(backbone.pipeline, t)) for t in backbone.kind.tokenizers]),
        "scheduler class": type(backbone.pipeline.scheduler).__name__,
        "scheduler config": str(dict(backbone.pipeline.scheduler.config)),
        "noise schedule": str(dict(backbone.noise_schedule.config)),
        "backbone's sampling": str(backbone.sampling),
        "backbone's batch_size": str(backbone.batch_size),
        "backbone's layers": str(backbone.layers),
    }
    for part in backbone.kind.networks:
        module = getattr(backbone.pipeline, part)
        modules = dict(module.named_modules())
        weights = hashlib.sha256()
        for name, tensor in module.state_dict().items():
            weights.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            weights.update(tensor.cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
        parameters = list(module.parameters())
        classes = [(n, type(m), type(getattr(m, "processor", None))) for n, m in modules.items()]
        state |= {
            f"{part} weights": weights.hexdigest(),
            f"{part} modules": str(classes),
            f"{part} hooks": str([_hooks(m) for m in modules.values()]),
            f"{part} training mode": str([m.training for m in modules.values()]),
            f"{part} requires_grad": str([p.requires_grad for p in parameters]),
            f"{part} gradients": str([p.grad is None for p in parameters]),
        }
    return state


def _hooks(module: torch.nn.Module) -> list[int]:
    """Count a module's hooks of each kind, and note whether its `forward` was replaced."""
    kinds = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return [*(len(getattr(module, kind)) for kind in kinds), int("forward" in vars(module))]


def state_hash(backbone: Backbone) -> str:
    """Return `backbone_state` as one hash, to compare."""
    return hashlib.sha256(canonical_json(backbone_state(backbone)).encode()).hexdigest()


def tiny_task(action: str = "cheer", exemplars: int = 3) -> ActionTask:
    """Make an action with a few exemplars of coloured noise, each with its own caption.

    It has a drawn action's poses, so that rows of drawings can be checked too.
    """
    (described,) = [a for a in paper_actions() if a.name == action]
    rng = np.random.default_rng(0)
    colours = ("red", "green", "blue")
    made = []
    for number in range(exemplars):
        template = f"a person with {colours[number % 3]} hair {SLOT} on the hat"
        pixels = rng.integers(0, 255, (32, 32, 3), dtype=np.uint8)
        made.append(
            Exemplar(
                id=f"{action}-{number}",
                image=Image.fromarray(pixels),
                caption=template.replace(SLOT, described.description),
                template=template,
                keypoints=np.random.default_rng(number).random((18, 3), dtype=np.float32),
            )
        )
    poses = tuple(packed(pose) for pose in ways(action))
    return ActionTask(described, tuple(made), fingerprint="tiny", poses=poses)


def tiny_items(action: str = "cheer", count: int = 3) -> list[Item]:
    """Make an item for each of the first `count` subjects."""
    (drawn,) = [a for a in paper_actions() if a.name == action]
    return make_items([drawn], paper_subjects()[:count], 1, run_seed=0)
