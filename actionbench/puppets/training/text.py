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

from actionbench.errors import UserError
from actionbench.files.atomic import replacing
from actionbench.files.networks import load_part, load_state, load_weights
from actionbench.progress import SILENT, Progress
from actionbench.puppets.training.corpus import SIZE, Corpus, to_pixels
from actionbench.puppets.training.limbs import LimbReader, WordReader
from actionbench.puppets.training.loop import Schedule, Stage, rows_of, train
from actionbench.puppets.training.recipe import Recipe

PATCH = 8
"""Pixels of the vision half's patches."""
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
        "patch_size": PATCH,
    }
    return CLIPConfig(text_config=text, vision_config=vision, projection_dim=recipe.width)


def clip_folder(recipe: Recipe, data: Corpus, work: Path) -> Path:
    """Where the finished model and its tokenizer are kept."""
    fields = recipe.key("clip", "text", "tell", "vision", "width", "voc")
    return work / f"clip-{data.key}-{fields}.model"


def kept_tokenizer(recipe: Recipe, data: Corpus, folder: Path) -> CLIPTokenizer:
    """The tokenizer of a training, made once: tokens that are equally frequent are numbered
    otherwise each time that it is made.

    Raises UserError if it is gone and the checkpoint that it numbers is not.
    """
    checkpoint = folder.with_suffix(".safetensors")
    if not folder.exists():
        if checkpoint.exists():
            raise UserError(
                f"{checkpoint} has lost its tokenizer {folder.name}: put it back, or delete both "
                "and train the text encoder anew"
            )
        everything = np.arange(min(TOKENIZER_CAPTIONS, len(data)))
        captions = data.captions(everything, np.random.default_rng(recipe.seed), recipe)
        tokenizer = train_tokenizer(captions, recipe.text_tokens, recipe.vocabulary)
        with replacing(folder) as path:
            tokenizer.save_pretrained(path)
    return load_part(CLIPTokenizer, folder)


def train_clip(
    recipe: Recipe, data: Corpus, work: Path, device: str = "cpu", progress: Progress = SILENT
) -> tuple[CLIPModel, CLIPTokenizer]:
    """Train both halves to find each other among a batch (CLIP, arXiv 2103.00020).

    With `clip_contrary`, each picture is also told from its own caption with another pose; with
    `clip_limb_maps`, the vision half, which serves for nothing else later but the decoder, learns
    to read the limbs' places as well; with `clip_text_limbs`, the words' states have to tell where
    limbs point, and not only the one vector that is compared with pictures.
    """
    folder = clip_folder(recipe, data, work)
    stem = folder.with_suffix("")
    if folder.exists():
        return kept_clip(folder, device)
    torch.manual_seed(recipe.seed)
    tokenizer = kept_tokenizer(recipe, data, stem.with_suffix(".tokenizer"))
    model = CLIPModel(clip_config(recipe, tokenizer)).to(device).train()
    with torch.no_grad():
        model.text_model.embeddings.token_embedding.weight.mul_(recipe.text_token_scale)
    points, cells = torch.from_numpy(data.keypoints), SIZE // PATCH
    reader = LimbReader(recipe.width, cells, points[:4000]).to(device)
    listener = WordReader(recipe.width).to(device)

    def losses(step: int) -> dict[str, Tensor]:
        pick = rows_of(len(data), recipe.clip_batch, recipe.seed, step)
        if recipe.clip_contrary:
            words, others, differ = data.contrary(pick, (recipe.seed, step, 2), recipe)
            words += [other for other, apart in zip(others, differ, strict=True) if apart]
        else:
            words = data.captions(pick, np.random.default_rng((recipe.seed, step, 2)), recipe)
        out = model(
            input_ids=tokenize(tokenizer, words).to(device),
            pixel_values=to_pixels(data.images[pick], device),
        )
        limbs = points[pick].to(device)
        logits, n = out.logits_per_image, len(pick)  # [n, captions]: the pictures' own come first
        target = torch.arange(n, device=device)
        loss = (F.cross_entropy(logits, target) + F.cross_entropy(logits[:, :n].T, target)) / 2
        terms = {"loss": loss, "_top1": (logits.argmax(1) == target).float().mean()}
        if recipe.clip_limb_maps:
            patches = out.vision_model_output.last_hidden_state[:, 1:].transpose(1, 2)
            misread, _ = reader(patches.unflatten(2, (cells, cells)), limbs)
            terms["limbs"] = recipe.clip_limb_maps * misread
        if recipe.clip_text_limbs:
            states = out.text_model_output.last_hidden_state[:n]
            terms["words"] = recipe.clip_text_limbs * listener.loss(states, limbs)
        if recipe.clip_contrary:
            rows = torch.from_numpy(np.flatnonzero(differ)).to(device)
            contrary = logits[rows, n + torch.arange(len(rows), device=device)]
            terms["_told_apart"] = (logits[rows, rows] > contrary).float().mean()
        return terms

    schedule = Schedule(recipe.clip_steps, recipe.clip_rate, min(100, recipe.clip_steps // 4))
    modules = {"model": model, "reader": reader, "listener": listener}
    stage = Stage(
        "text encoder",
        stem,
        modules,
        losses,
        schedule,
        weight_decay=0.05,
        precision=recipe.precision,
    )
    train(stage, progress)
    with replacing(folder) as path:
        # As it is shipped, so that the diffusion model learns from just these weights.
        model.half().save_pretrained(path)
        tokenizer.save_pretrained(path)
    return kept_clip(folder, device)


def kept_clip(folder: Path, device: str) -> tuple[CLIPModel, CLIPTokenizer]:
    """A finished model and its tokenizer."""
    model = load_weights(CLIPModel, folder, dtype=torch.float32).to(device).eval()
    return model, load_part(CLIPTokenizer, folder)


def text_half(clip: CLIPModel) -> CLIPTextModel:
    """The text encoder of a CLIP as a model of its own, frozen."""
    text = CLIPTextModel(clip.config.text_config)
    load_state(text, clip.text_model.state_dict(), "the text half of a CLIP")
    return text.eval().requires_grad_(False)
