"""Words: a tokenizer in CLIP's format, and contrastive training of a small CLIP on drawings."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
from torch import Tensor
from torch.nn import functional as F
from transformers import CLIPConfig, CLIPModel, CLIPTextModel, CLIPTokenizer

from actionbench.files.atomic import replacing
from actionbench.files.networks import load_part, load_state, load_weights
from actionbench.progress import SILENT, Progress
from actionbench.puppets.training.corpus import SIZE, Corpus, to_pixels
from actionbench.puppets.training.loop import Schedule, Stage, rows_of, train
from actionbench.puppets.training.recipe import Recipe

TOKENIZER_CAPTIONS = 60_000
"""Captions that the tokenizer is trained on."""


def train_tokenizer(captions: Iterable[str], length: int, vocabulary: int) -> CLIPTokenizer:
    """A byte-pair tokenizer: every word of the captions becomes one token.

    A word that stands in no caption ("sks") is spelled by shorter pieces, down to letters.
    """
    reference = CLIPTokenizer()
    bpe = Tokenizer(models.BPE(end_of_word_suffix="</w>", unk_token="<|endoftext|>"))
    bpe.normalizer = reference.backend_tokenizer.normalizer or normalizers.Lowercase()
    bpe.pre_tokenizer = reference.backend_tokenizer.pre_tokenizer
    # "!" comes first, as in CLIP's own vocabulary; the byte alphabet can spell any word.
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        end_of_word_suffix="</w>",
        show_progress=False,
    )
    bpe.train_from_iterator(sorted(set(captions)), trainer)
    facts = json.loads(bpe.to_str())["model"]
    table: dict[str, int] = {}
    letters = [t for t in facts["vocab"] if len(t) == 1]
    for token in [*letters, *(f"{t}</w>" for t in letters), *facts["vocab"]]:
        table.setdefault(token, len(table))
    for special in ("<|startoftext|>", "<|endoftext|>"):
        table[special] = len(table)
    merges = [tuple(m) for m in facts["merges"]]
    return CLIPTokenizer(vocab=table, merges=merges, model_max_length=length)


def tokenize(tokenizer: CLIPTokenizer, captions: Sequence[str]) -> Tensor:
    """Token ids, int64 [n, model_max_length]."""
    ids: Tensor = tokenizer(
        list(captions), padding="max_length", truncation=True, return_tensors="pt"
    ).input_ids
    return ids


def clip_config(recipe: Recipe, tokenizer: CLIPTokenizer) -> CLIPConfig:
    """Sizes of both halves."""
    ids = {
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    width = {"hidden_size": recipe.width, "num_attention_heads": 4, "projection_dim": recipe.width}
    text = {
        **width,
        **ids,
        "vocab_size": len(tokenizer),
        "intermediate_size": recipe.text_inner,
        "num_hidden_layers": recipe.text_layers,
        "max_position_embeddings": recipe.text_tokens,
    }
    vision = {
        **width,
        "intermediate_size": 2 * recipe.width,
        "num_hidden_layers": recipe.vision_layers,
        "image_size": SIZE,
        "patch_size": 8,
    }
    return CLIPConfig(text_config=text, vision_config=vision, projection_dim=recipe.width)


def clip_folder(recipe: Recipe, data: Corpus, work: Path) -> Path:
    """Where the finished model and its tokenizer are kept."""
    fields = recipe.key("clip", "text", "tell", "vision", "width", "voc")
    return work / f"clip-{data.key}-{fields}.model"


def train_clip(
    recipe: Recipe, data: Corpus, work: Path, device: str = "cpu", progress: Progress = SILENT
) -> tuple[CLIPModel, CLIPTokenizer]:
    """Train both halves to find each other among a batch (CLIP, arXiv 2103.00020)."""
    folder = clip_folder(recipe, data, work)
    stem = folder.with_suffix("")
    if folder.exists():
        return _kept_clip(folder, device)
    torch.manual_seed(recipe.seed)
    everything = np.arange(min(TOKENIZER_CAPTIONS, len(data)))
    captions = data.captions(everything, np.random.default_rng(recipe.seed), recipe)
    tokenizer = train_tokenizer(captions, recipe.text_tokens, recipe.vocabulary)
    model = CLIPModel(clip_config(recipe, tokenizer)).to(device).train()

    def losses(step: int) -> dict[str, Tensor]:
        pick = rows_of(len(data), recipe.clip_batch, recipe.seed, step)
        words = data.captions(pick, np.random.default_rng((recipe.seed, step, 2)), recipe)
        out = model(
            input_ids=tokenize(tokenizer, words).to(device),
            pixel_values=to_pixels(data.images[pick], device),
        )
        logits = out.logits_per_image
        target = torch.arange(len(pick), device=device)
        loss = (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2
        return {"loss": loss, "_top1": (logits.argmax(1) == target).float().mean()}

    schedule = Schedule(recipe.clip_steps, recipe.clip_rate, min(100, recipe.clip_steps // 4))
    train(
        Stage("text encoder", stem, {"model": model}, losses, schedule, weight_decay=0.05), progress
    )
    with replacing(folder) as path:
        # As it is shipped, so that the diffusion model learns from just these weights.
        model.half().save_pretrained(path)
        tokenizer.save_pretrained(path)
    return _kept_clip(folder, device)


def _kept_clip(folder: Path, device: str) -> tuple[CLIPModel, CLIPTokenizer]:
    model = load_weights(CLIPModel, folder, dtype=torch.float32).to(device).eval()
    return model, load_part(CLIPTokenizer, folder)


def text_half(clip: CLIPModel) -> CLIPTextModel:
    """The text encoder of a CLIP as a model of its own, frozen."""
    text = CLIPTextModel(clip.config.text_config)
    load_state(text, clip.text_model.state_dict(), "the text half of a CLIP")
    return text.eval().requires_grad_(False)
