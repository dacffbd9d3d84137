"""Trains puppet-diffusion from nothing, in the stages that Stable Diffusion was trained in.

corpus -> tokenizer -> text encoder (contrastive, with a vision half) -> autoencoder -> diffusion
model, which trains the text encoder further -> decoder. Every stage checkpoints to the work folder
and continues from there; a finished stage is not redone. The result is an ordinary diffusers
pipeline folder.
"""

from __future__ import annotations

import copy
import hashlib
import json
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import (
    AutoencoderKL,
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    StableDiffusionPipeline,
    UNet2DConditionModel,
)
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import CLIPConfig, CLIPModel, CLIPTextModel, CLIPTokenizer

from actionbench.errors import UserError, unknown
from actionbench.files.atomic import own_folder, replacing
from actionbench.files.hashing import make_key
from actionbench.files.networks import load_part, load_pipeline, load_state, load_weights
from actionbench.progress import SILENT, Progress
from actionbench.puppets.captions import retell
from actionbench.puppets.corpus import SIZE, Corpus, corpus
from actionbench.suite.skeleton import LIMBS

PRESET = "puppet-diffusion"
MARK = "actionbench.json"


@dataclass(frozen=True)
class Recipe:
    """Sizes and lengths of the training; where the shipped weights were made otherwise is told in
    `docs/puppets.md`."""

    drawings: int = 90_000
    told_as_photo: float = 0.35
    """How often a caption begins as the methods' templates do ("a photo of a ...")."""
    told_in_part: float = 0.6
    """How often a person's looks are told in part alone, so that an action's words are met behind
    few words as behind many."""
    text_tokens: int = 32
    width: int = 128
    text_layers: int = 3
    vision_layers: int = 3
    clip_steps: int = 500
    clip_batch: int = 192
    clip_rate: float = 1e-3
    latent_channels: int = 24
    latent_spread: float = 0.5
    """How much of the principal components' own scale the latents keep: 0 is whitened, all channels
    alike; 1 is as in the pixels, where coarse structure is loud and fine detail quiet."""
    autoencoder_channels: tuple[int, ...] = (8, 16, 64, 128)
    autoencoder_steps: int = 3000
    autoencoder_batch: int = 16
    autoencoder_rate: float = 2e-3
    decoder_steps: int = 3000
    decoder_rate: float = 1e-3
    unet_channels: tuple[int, ...] = (64, 96, 128)
    unet_heads: int = 4
    diffusion_steps: int = 10_000
    diffusion_batch: int = 48
    diffusion_rate: float = 1e-3
    diffusion_limb_weight: float = 2.0
    """How much more an error counts where a limb is: there, 1 + this much; elsewhere 1."""
    diffusion_limb_maps: float = 0.5
    """Weight of the auxiliary loss: the limbs' places are read from the features that the last
    level starts from, by a head that is thrown away. Aligning features with a representation that
    is known speeds a diffusion model's training up (REPA, arXiv 2410.06940); here it is the
    drawn body's own."""
    ema: float = 0.999
    drop_caption: float = 0.1
    action_share: float = 0.36
    """Share of training's pictures that stand under an action's description."""
    exact_share: float = 0.3
    """How tightly an action's description is bound: the share of its pictures in which the body
    does just that. Calibrated once on the development actions (see `docs/puppets.md`)."""
    refine_steps: int = 0
    """More diffusion steps at a falling rate after the first run, for a calibrated share."""
    checkpoint_steps: int = 200
    seed: int = 1

    def key(self, stage: str, data: Corpus) -> str:
        """Names what a stage keeps in the work folder: a hash of all that goes into it.

        The diffusion model's length and what it sees how often are left out, so that a training
        can go on longer, or under other shares, from where it stands.
        """
        facts = {k: v for k, v in asdict(self).items() if k.startswith(_GOES_INTO[stage])}
        return make_key(stage, data.key, self.seed, facts)[:8]


STAGES = ("corpus", "clip", "autoencoder", "diffusion", "decoder")

_GOES_INTO: dict[str, tuple[str, ...]] = {
    "clip": ("clip", "text", "told", "vision", "width"),
    "autoencoder": ("autoencoder", "latent"),
}
"""Beginnings of the recipe's fields that a stage's result depends on."""
_GOES_INTO["decoder"] = (*_GOES_INTO["autoencoder"], "decoder")
_GOES_INTO["diffusion"] = (
    *_GOES_INTO["clip"], *_GOES_INTO["autoencoder"],
    "unet", "diffusion_batch", "diffusion_rate", "diffusion_limb", "ema", "drop",
)  # fmt: skip


class Checkpoint:
    """Modules, optimizer and step in one safetensors file, replaced atomically."""

    def __init__(self, path: Path, modules: Mapping[str, nn.Module], optimizer: Any) -> None:
        self.path, self.modules, self.optimizer = path, modules, optimizer

    def save(self, step: int) -> None:
        tensors = {"step": torch.tensor(step)}
        for name, module in self.modules.items():
            tensors |= {f"{name}.{k}": v.contiguous() for k, v in module.state_dict().items()}
        for index, state in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{index}.{k}": torch.as_tensor(v) for k, v in state.items()}
        plain = torch.contiguous_format
        packed = {k: v.detach().clone(memory_format=plain) for k, v in tensors.items()}
        with replacing(self.path) as path:
            save_file(packed, path)

    def load(self) -> int:
        """The step to go on from: 0 where there is no checkpoint."""
        if not self.path.exists():
            return 0
        tensors = load_file(self.path)
        for name, module in self.modules.items():
            prefix = f"{name}."
            state = {k[len(prefix) :]: v for k, v in tensors.items() if k.startswith(prefix)}
            load_state(module, state, self.path)
        whole = self.optimizer.state_dict()
        states: dict[int, dict[str, Tensor]] = {}
        for key, value in tensors.items():
            if key.startswith("optimizer."):
                _, index, name = key.split(".", 2)
                states.setdefault(int(index), {})[name] = value
        self.optimizer.load_state_dict({**whole, "state": states})
        return int(tensors["step"])


class Log:
    """One JSON line a report, with the seconds that the stage has run."""

    def __init__(self, path: Path) -> None:
        self.path, self.start = path, time.monotonic()

    def write(self, **facts: Any) -> None:
        row = {"seconds": round(time.monotonic() - self.start, 1), **facts}
        with self.path.open("a") as file:
            file.write(json.dumps(row) + "\n")


def rate_at(step: int, steps: int, peak: float, warmup: int = 100) -> float:
    """A linear rise, then half a cosine down to nothing."""
    if step < warmup:
        return peak * (step + 1) / warmup
    return peak * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))


def batches(count: int, size: int, seed: int, first: int, steps: int) -> Iterator[np.ndarray]:
    """Index batches of steps `first` to `steps`; each depends on the seed and its step alone."""
    for step in range(first, steps):
        yield np.random.default_rng((seed, step)).integers(0, count, size)


def to_pixels(images: np.ndarray, device: str) -> Tensor:
    """uint8 [n, h, w, 3] to float [n, 3, h, w] in [-1, 1]."""
    return torch.from_numpy(images).to(device).permute(0, 3, 1, 2).float().div(127.5).sub(1)


# --- words ------------------------------------------------------------------------------------


def told(recipe: Recipe, data: Corpus) -> list[str]:
    """The captions that a recipe trains on."""
    captions = [row["caption"] for row in data.rows]
    return retell(captions, recipe.seed, recipe.told_as_photo, recipe.told_in_part)


def train_tokenizer(captions: Sequence[str], length: int) -> CLIPTokenizer:
    """A byte-pair tokenizer in CLIP's format; every word of the corpus becomes one token."""
    reference = CLIPTokenizer()
    bpe = Tokenizer(models.BPE(end_of_word_suffix="</w>", unk_token="<|endoftext|>"))
    bpe.normalizer = reference.backend_tokenizer.normalizer or normalizers.Lowercase()
    bpe.pre_tokenizer = reference.backend_tokenizer.pre_tokenizer
    # "!" comes first, as in CLIP's own vocabulary; the byte alphabet can spell any word.
    trainer = trainers.BpeTrainer(
        vocab_size=2000,
        special_tokens=[],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        end_of_word_suffix="</w>",
        show_progress=False,
    )
    bpe.train_from_iterator(sorted(set(captions)), trainer)
    facts = json.loads(bpe.to_str())["model"]
    vocabulary: dict[str, int] = {}
    letters = [t for t in facts["vocab"] if len(t) == 1]
    for token in [*letters, *(f"{t}</w>" for t in letters), *facts["vocab"]]:
        vocabulary.setdefault(token, len(vocabulary))
    for special in ("<|startoftext|>", "<|endoftext|>"):
        vocabulary[special] = len(vocabulary)
    merges = [tuple(m) for m in facts["merges"]]
    return CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=length)


def tokenize(tokenizer: CLIPTokenizer, captions: Sequence[str]) -> Tensor:
    """int64 [n, model_max_length]"""
    return tokenizer(
        list(captions), padding="max_length", truncation=True, return_tensors="pt"
    ).input_ids


# --- stages -----------------------------------------------------------------------------------


def _clip_config(recipe: Recipe, tokenizer: CLIPTokenizer) -> CLIPConfig:
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
        "intermediate_size": 2 * recipe.width,
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


def train_clip(
    recipe: Recipe, data: Corpus, work: Path, device: str, progress: Progress
) -> tuple[CLIPModel, CLIPTokenizer]:
    """Contrastive training of both halves on drawings and captions (CLIP, arXiv 2103.00020)."""
    folder = work / f"clip-{recipe.key('clip', data)}"
    if folder.exists():
        return load_weights(CLIPModel, folder).to(device), load_part(CLIPTokenizer, folder)
    torch.manual_seed(recipe.seed)
    captions = told(recipe, data)
    tokenizer = train_tokenizer(captions, recipe.text_tokens)
    ids = tokenize(tokenizer, captions)
    model = CLIPModel(_clip_config(recipe, tokenizer)).to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=recipe.clip_rate, weight_decay=0.05)
    checkpoint = Checkpoint(folder.with_suffix(".safetensors"), {"model": model}, optimizer)
    first = checkpoint.load()
    log = Log(folder.with_suffix(".log"))
    steps = recipe.clip_steps
    for step, pick in enumerate(
        batches(len(ids), recipe.clip_batch, recipe.seed, first, steps), first
    ):
        for group in optimizer.param_groups:
            group["lr"] = rate_at(step, steps, recipe.clip_rate)
        out = model(
            input_ids=ids[pick].to(device), pixel_values=to_pixels(data.images[pick], device)
        )
        logits = out.logits_per_image
        target = torch.arange(len(pick), device=device)
        loss = (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        progress.update(step + 1, steps, "text encoder")
        if (step + 1) % 50 == 0:
            top1 = (logits.argmax(1) == target).float().mean()
            log.write(step=step + 1, loss=float(loss.detach()), top1=float(top1))
        if (step + 1) % recipe.checkpoint_steps == 0:
            checkpoint.save(step + 1)
    with replacing(folder) as path:
        model.save_pretrained(path)
        tokenizer.save_pretrained(path)
    return model.eval(), tokenizer


def principal_code(pixels: Tensor, channels: int) -> Tensor:
    """The whitened principal-component code of 8 x 8 patches: [3 * 8 * 8, channels] so that
    patch @ code has unit variance in each channel."""
    patches = F.unfold(pixels, 8, stride=8).transpose(1, 2).reshape(-1, 192)
    patches = patches - patches.mean(0)
    values, vectors = torch.linalg.eigh(patches.T @ patches / len(patches))
    return (vectors / values.clamp_min(1e-6).sqrt()).flip(1)[:, :channels]


def principal_spread(pixels: Tensor, channels: int) -> Tensor:
    """Standard deviations [channels] of the principal components, the first being 1."""
    patches = F.unfold(pixels, 8, stride=8).transpose(1, 2).reshape(-1, 192)
    values = torch.linalg.eigvalsh(torch.cov(patches.T)).flip(0)[:channels]
    return (values / values[0]).sqrt()


def scale_channels(vae: AutoencoderKL, scale: Tensor) -> None:
    """Multiplies the latents' channels by `scale`, in the layers on either side of them: what the
    autoencoder makes of an image stays the same."""
    n = len(scale)
    with torch.no_grad():
        vae.quant_conv.weight[:n] *= scale.view(-1, 1, 1, 1)
        vae.quant_conv.bias[:n] *= scale
        vae.quant_conv.bias[n:] += 2 * scale.log()  # log-variances
        vae.post_quant_conv.weight /= scale.view(1, -1, 1, 1)


def train_autoencoder(
    recipe: Recipe, data: Corpus, work: Path, device: str, progress: Progress
) -> AutoencoderKL:
    """An x8 autoencoder. First the encoder learns a linear code that is known in closed form and
    the decoder to draw from it, side by side; then both are trained end to end."""
    folder = work / f"vae-{recipe.key('autoencoder', data)}"
    if folder.exists():
        return load_weights(AutoencoderKL, folder).to(device).eval()
    torch.manual_seed(recipe.seed)
    widths = recipe.autoencoder_channels
    vae = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=widths,
        layers_per_block=1,
        latent_channels=recipe.latent_channels,
        norm_num_groups=1,
        sample_size=SIZE,
    ).to(device, memory_format=torch.channels_last)  # an eighth faster on a CPU
    sample = to_pixels(data.images[:4000], device)
    mean = F.unfold(sample, 8, stride=8).transpose(1, 2).reshape(-1, 192).mean(0)
    code = principal_code(sample, recipe.latent_channels)
    optimizer = torch.optim.AdamW(vae.parameters(), lr=recipe.autoencoder_rate, weight_decay=0.01)
    checkpoint = Checkpoint(folder.with_suffix(".safetensors"), {"vae": vae}, optimizer)
    first = checkpoint.load()
    log = Log(folder.with_suffix(".log"))
    steps = recipe.autoencoder_steps
    side_by_side = round(0.15 * steps)
    n = recipe.latent_channels
    for step, pick in enumerate(
        batches(len(data.images), recipe.autoencoder_batch, recipe.seed + 1, first, steps), first
    ):
        for group in optimizer.param_groups:
            group["lr"] = rate_at(step, steps, recipe.autoencoder_rate)
        pixels = to_pixels(data.images[pick], device)
        patches = F.unfold(pixels, 8, stride=8).transpose(1, 2) - mean
        target = (patches @ code).transpose(1, 2).reshape(len(pick), n, SIZE // 8, SIZE // 8)
        moments = vae.quant_conv(vae.encoder(pixels))
        latent, log_variance = moments.chunk(2, 1)
        # The posterior is a narrow one of fixed width: log-variance -5 everywhere.
        tied = (log_variance + 5).square().mean()
        close = F.mse_loss(latent, target)
        start = target if step < side_by_side else latent
        generator = torch.Generator().manual_seed(1000 * recipe.seed + step)
        noise = torch.randn(start.shape, generator=generator).to(device)
        drawn = vae.decode(start + 0.08 * noise).sample
        error = F.mse_loss(drawn, pixels)
        loss = 4 * error + (drawn - pixels).abs().mean() + 0.01 * tied
        loss = loss + close * (0.5 if step < side_by_side else 0.02)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(vae.parameters(), 1.0)
        optimizer.step()
        progress.update(step + 1, steps, "autoencoder")
        if (step + 1) % 50 == 0:
            decibels = 10 * math.log10(4 / float(error.detach()))
            log.write(step=step + 1, psnr=round(decibels, 2), code=float(close.detach()))
        if (step + 1) % recipe.checkpoint_steps == 0:
            checkpoint.save(step + 1)
    vae.eval()
    scale_channels(vae, principal_spread(sample, n) ** recipe.latent_spread)
    with torch.no_grad():
        latents = torch.cat([vae.encode(x).latent_dist.mean for x in sample[:1024].split(128)])
    vae.register_to_config(scaling_factor=float(1 / latents.std()))
    with replacing(folder) as path:
        vae.save_pretrained(path)
    return vae


def train_decoder(
    recipe: Recipe, data: Corpus, vae: AutoencoderKL, work: Path, device: str, progress: Progress
) -> AutoencoderKL:
    """Trains the decoder further under the finished encoder, for sharper pictures of the same
    latents, as Stable Diffusion's later decoders were: the diffusion model does not notice.

    Differences of neighbouring pixels count besides the pixels: they are what looks sharp.
    """
    key = make_key(recipe.key("decoder", data), _weights_key(vae))[:8]
    folder = work / f"decoder-{key}"
    if folder.exists():
        return load_weights(AutoencoderKL, folder).to(device).eval()
    torch.manual_seed(recipe.seed)
    trained = nn.ModuleDict({"post_quant_conv": vae.post_quant_conv, "decoder": vae.decoder})
    trained.to(memory_format=torch.channels_last).requires_grad_(True)
    optimizer = torch.optim.AdamW(trained.parameters(), lr=recipe.decoder_rate, weight_decay=0.01)
    checkpoint = Checkpoint(folder.with_suffix(".safetensors"), {"trained": trained}, optimizer)
    first = checkpoint.load()
    log = Log(folder.with_suffix(".log"))
    steps = recipe.decoder_steps
    with torch.no_grad():
        sample = vae.encode(to_pixels(data.images[:256], device)).latent_dist.mean
    spread = sample.std((0, 2, 3), keepdim=True)
    for step, pick in enumerate(
        batches(len(data.images), recipe.autoencoder_batch, recipe.seed + 3, first, steps), first
    ):
        for group in optimizer.param_groups:
            group["lr"] = rate_at(step, steps, recipe.decoder_rate)
        pixels = to_pixels(data.images[pick], device)
        generator = torch.Generator().manual_seed(2000 * recipe.seed + step)
        noise = torch.randn((len(pick), *sample.shape[1:]), generator=generator).to(device)
        with torch.no_grad():
            latents = vae.encode(pixels).latent_dist.mean + 0.05 * spread * noise
        drawn = vae.decode(latents).sample
        error = F.mse_loss(drawn, pixels)
        off = drawn - pixels
        edges = off.diff(dim=2).abs().mean() + off.diff(dim=3).abs().mean()
        loss = 4 * error + off.abs().mean() + edges
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(trained.parameters(), 1.0)
        optimizer.step()
        progress.update(step + 1, steps, "decoder")
        if (step + 1) % 50 == 0:
            decibels = 10 * math.log10(4 / float(error.detach()))
            log.write(step=step + 1, psnr=round(decibels, 2), edges=round(float(edges.detach()), 4))
        if (step + 1) % recipe.checkpoint_steps == 0:
            checkpoint.save(step + 1)
    vae.requires_grad_(False)
    with replacing(folder) as path:
        vae.save_pretrained(path)
    return vae


def new_unet(recipe: Recipe) -> UNet2DConditionModel:
    """Three levels, two layers a block: 16 cross-attention layers, as in Stable Diffusion."""
    return UNet2DConditionModel(
        sample_size=SIZE // 8,
        in_channels=recipe.latent_channels,
        out_channels=recipe.latent_channels,
        down_block_types=("CrossAttnDownBlock2D",) * 3,
        up_block_types=("CrossAttnUpBlock2D",) * 3,
        block_out_channels=recipe.unet_channels,
        layers_per_block=2,
        cross_attention_dim=recipe.width,
        attention_head_dim=recipe.unet_heads,
        norm_num_groups=16,
    )


def noise_schedule() -> dict[str, Any]:
    """Stable Diffusion's, ended at nothing but noise (arXiv 2305.08891, section 3.1)."""
    return {
        "num_train_timesteps": 1000,
        "beta_start": 0.00085,
        "beta_end": 0.012,
        "beta_schedule": "scaled_linear",
        "rescale_betas_zero_snr": True,
        "prediction_type": "v_prediction",
        "steps_offset": 1,
    }


_LIMBS = tuple((a - 1, b - 1) for a, b in LIMBS if a > 2 and b <= 14)
"""Upper and lower arms and legs, as pairs of keypoints counted from 0."""
_BONES = (*_LIMBS, (1, 0))


def bone_maps(keypoints: Tensor, cells: int) -> Tensor:
    """How near each of `cells` x `cells` places is to each bone, in [0, 1], the limbs first.

    keypoints: float [n, 18, 3], in picture widths. Returns [n, 9, cells, cells].
    """
    ends = keypoints[:, torch.tensor(_BONES, device=keypoints.device), :2]  # n, bones, 2, xy
    start, along = ends[:, :, 0], ends[:, :, 1] - ends[:, :, 0]
    line = (torch.arange(cells, device=keypoints.device) + 0.5) / cells
    places = torch.stack(torch.meshgrid(line, line, indexing="xy"), -1).view(-1, 2)
    offset = places - start[:, :, None]  # n, bones, places, xy
    length = along.square().sum(-1, keepdim=True).clamp_min(1e-8)
    share = ((offset * along[:, :, None]).sum(-1) / length).clamp(0, 1)
    squared = (offset - share[..., None] * along[:, :, None]).square().sum(-1)
    width = 0.04  # about that of an arm
    return (-squared / (2 * width**2)).exp().unflatten(-1, (cells, cells))


def limb_places(maps: Tensor) -> Tensor:
    """Where any limb is, [n, 1, cells, cells] in [0, 1], from `bone_maps` twice as fine."""
    return F.max_pool2d(maps[:, : len(_LIMBS)].amax(1, keepdim=True), 2)


class LimbReader(nn.Module):
    """Reads where the limbs are from a UNet's features; serves in training only."""

    def __init__(self, unet: UNet2DConditionModel, keypoints: Tensor) -> None:
        """keypoints: float [n, 18, 3], to standardise the maps by."""
        super().__init__()
        self.cells = unet.config.sample_size
        width = unet.config.block_out_channels[1]
        finer = bone_maps(keypoints, 2 * self.cells)
        target = F.pixel_unshuffle(finer, 2)
        self.head = nn.Sequential(
            nn.Conv2d(width, 2 * width, 1), nn.SiLU(), nn.Conv2d(2 * width, target.shape[1], 1)
        )
        self.register_buffer("mean", target.mean((0, 2, 3), keepdim=True))
        self.register_buffer("scale", 1 / target.std((0, 2, 3), keepdim=True))
        self.features: Tensor | None = None
        unet.up_blocks[-2].register_forward_hook(self._keep)

    def _keep(self, block: nn.Module, args: Any, output: Tensor) -> None:
        self.features = output

    def forward(self, keypoints: Tensor) -> tuple[Tensor, Tensor]:
        """The loss against the maps of `keypoints` [n, 18, 3], from the UNet's latest features;
        and where limbs are, [n, 1, cells, cells] in [0, 1]."""
        finer = bone_maps(keypoints, 2 * self.cells)
        target = (F.pixel_unshuffle(finer, 2) - self.mean) * self.scale
        return F.mse_loss(self.head(self.features), target), limb_places(finer)


def encode_corpus(vae: AutoencoderKL, data: Corpus, file: Path, device: str) -> Tensor:
    """Scaled posterior means, float16 [n, c, 8, 8], made once and kept in `file`."""
    if not file.exists():
        rows = []
        with torch.no_grad():
            for start in range(0, len(data.images), 256):
                pixels = to_pixels(data.images[start : start + 256], device)
                rows.append(vae.encode(pixels).latent_dist.mean.half().cpu())
        latents = torch.cat(rows).contiguous() * vae.config.scaling_factor
        with replacing(file) as path:
            save_file({"latents": latents}, path)
    return load_file(file)["latents"]


def picture_weights(data: Corpus, action_share: float, exact_share: float) -> np.ndarray:
    """How often each picture is drawn in training, [n], 1 in all: those under the actions'
    descriptions take `action_share`, each description alike; within one description, pictures of
    the action itself take `exact_share` and the wider ones the rest."""
    words = np.array([row["word"] for row in data.rows])
    exact = np.array([row["pose"] == row["word"] for row in data.rows])
    weights = np.where(words == "", (1 - action_share) / max(1, (words == "").sum()), 0.0)
    described = [word for word in np.unique(words) if word]
    for word in described:
        for mask, part in (
            ((words == word) & exact, exact_share),
            ((words == word) & ~exact, 1 - exact_share),
        ):
            weights[mask] = action_share / len(described) * part / max(1, mask.sum())
    shares: np.ndarray = weights / weights.sum()
    return shares


def train_diffusion(
    recipe: Recipe,
    data: Corpus,
    text: CLIPTextModel,
    tokenizer: CLIPTokenizer,
    vae: AutoencoderKL,
    work: Path,
    device: str,
    progress: Progress,
    start: UNet2DConditionModel | None = None,
) -> tuple[UNet2DConditionModel, CLIPTextModel]:
    """Denoising with v-prediction; averages of the weights are kept.

    The text encoder is trained along, unlike Stable Diffusion's, whose contrastive training was
    long enough: here it would leave an action's word almost unheard behind a longer description
    of its person (see `docs/puppets.md`). The UNet begins from nothing, or from `start`.
    """
    torch.manual_seed(recipe.seed)
    key = make_key(recipe.key("diffusion", data), _weights_key(text))[:8]
    if start is not None:
        key = make_key(key, _weights_key(start))[:8]
    kept = work / f"latents-{make_key(data.key, _weights_key(vae))[:8]}.safetensors"
    latents = encode_corpus(vae, data, kept, device)
    ids = tokenize(tokenizer, told(recipe, data))
    empty = tokenize(tokenizer, [""])[0]
    scheduler = DDPMScheduler(**noise_schedule())
    unet, average = new_unet(recipe).to(device), new_unet(recipe).to(device).eval()
    if start is not None:
        load_state(unet, start.state_dict(), "the UNet to go on from")
    load_state(average, unet.state_dict(), "the UNet")
    average_text = copy.deepcopy(text)
    text = copy.deepcopy(text).requires_grad_(True)
    for module in (average, average_text):
        module.requires_grad_(False)
    points = torch.from_numpy(data.keypoints)
    reader = LimbReader(unet, points[:4000]).to(device)
    trained = [*unet.parameters(), *text.parameters(), *reader.parameters()]
    optimizer = torch.optim.AdamW(trained, lr=recipe.diffusion_rate, weight_decay=0.01, fused=True)
    checkpoint = Checkpoint(
        work / f"diffusion-{key}.safetensors",
        {
            "unet": unet,
            "average": average,
            "text": text,
            "average_text": average_text,
            "reader": reader,
        },
        optimizer,
    )
    first = checkpoint.load()
    steps = recipe.diffusion_steps + recipe.refine_steps
    weights = picture_weights(data, recipe.action_share, recipe.exact_share)
    cumulative = np.cumsum(weights)
    log = Log(work / f"diffusion-{key}.log")
    losses: list[Tensor] = []
    averaged = [*average.parameters(), *average_text.parameters()]
    followed = [*unet.parameters(), *text.parameters()]
    for step in range(first, steps):
        rng = np.random.default_rng((recipe.seed + 2, step))
        generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
        if step < recipe.diffusion_steps:
            rate = rate_at(step, recipe.diffusion_steps, recipe.diffusion_rate, 200)
        else:
            done = step - recipe.diffusion_steps
            rate = rate_at(done, recipe.refine_steps, 0.4 * recipe.diffusion_rate, 50)
        for group in optimizer.param_groups:
            group["lr"] = rate
        pick = np.searchsorted(cumulative, rng.random(recipe.diffusion_batch)).clip(
            max=len(weights) - 1
        )
        tokens = ids[pick].clone()
        tokens[torch.rand(len(pick), generator=generator) < recipe.drop_caption] = empty
        clean = latents[pick].float().to(device)
        noise = torch.randn(clean.shape, generator=generator).to(device)
        times = torch.randint(0, 1000, (len(pick),), generator=generator).to(device)
        states = text(tokens.to(device)).last_hidden_state
        predicted = unet(scheduler.add_noise(clean, noise, times), times, states).sample
        misread, limbs = reader(points[pick].to(device))
        weight = 1 + recipe.diffusion_limb_weight * limbs
        error = (predicted - scheduler.get_velocity(clean, noise, times)).square()
        loss = (error * (weight / weight.mean())).mean()
        optimizer.zero_grad(set_to_none=True)
        (loss + recipe.diffusion_limb_maps * misread).backward()
        nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        keep = min(recipe.ema, (step + 1) / (step + 10))
        with torch.no_grad():
            torch._foreach_lerp_(averaged, followed, 1 - keep)
        losses.append(torch.stack((loss.detach(), misread.detach())))
        progress.update(step + 1, steps, "diffusion model")
        if (step + 1) % 50 == 0:
            means = [round(x, 4) for x in torch.stack(losses).mean(0).tolist()]
            log.write(step=step + 1, loss=means[0], limbs=means[1], rate=rate)
            losses.clear()
        if (step + 1) % recipe.checkpoint_steps == 0 or step + 1 == steps:
            checkpoint.save(step + 1)
    return average, average_text


def grown(text: CLIPTextModel, own: CLIPTokenizer, larger: CLIPTokenizer) -> CLIPTextModel:
    """The text encoder for another vocabulary: the words of its own keep their embeddings, the
    others get small random ones."""
    config = copy.deepcopy(text.config)
    config.vocab_size = len(larger)
    for name in ("bos", "eos", "pad"):
        setattr(config, f"{name}_token_id", getattr(larger, f"{name}_token_id"))
    made = CLIPTextModel(config)
    state, table = text.state_dict(), "embeddings.token_embedding.weight"
    rows = made.state_dict()[table].clone()
    old = own.get_vocab()
    for word, row in larger.get_vocab().items():
        if word in old:
            rows[row] = state[table][old[word]]
    load_state(made, {**state, table: rows}, "the text encoder to go on from")
    return made


def text_half(clip: CLIPModel) -> CLIPTextModel:
    text = CLIPTextModel(clip.config.text_config)
    load_state(text, clip.text_model.state_dict(), "the text half of a CLIP")
    return text


def _weights_key(module: nn.Module) -> str:
    digest = hashlib.sha256()
    for tensor in module.state_dict().values():
        digest.update(tensor.detach().float().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def assemble(
    recipe: Recipe,
    text: CLIPTextModel,
    tokenizer: CLIPTokenizer,
    vae: AutoencoderKL,
    unet: UNet2DConditionModel,
    out: Path,
) -> Path:
    """Writes the pipeline folder, float16 safetensors, and swaps it in whole."""
    pipeline = StableDiffusionPipeline(
        vae=vae,
        text_encoder=text,
        tokenizer=tokenizer,
        unet=unet,
        scheduler=DPMSolverMultistepScheduler(**noise_schedule(), timestep_spacing="trailing"),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    facts = {"preset": PRESET, "recipe": asdict(recipe)}
    with replacing(out) as folder:
        pipeline.to(dtype=torch.float16).save_pretrained(folder, safe_serialization=True)
        forget_places(folder)
        (folder / MARK).write_text(json.dumps(facts, indent=2) + "\n", "utf-8")
    return out


def forget_places(folder: Path) -> None:
    """Takes out of a saved network's or pipeline's configs where its parts lay on this machine."""
    for file in folder.rglob("*.json"):
        told = json.loads(file.read_text("utf-8"))
        if isinstance(told, dict) and told.pop("_name_or_path", None) is not None:
            file.write_text(json.dumps(told, indent=2) + "\n", "utf-8")


def pretrain(
    out: Path,
    work: Path,
    device: str = "cpu",
    last_stage: str = STAGES[-1],
    progress: Progress = SILENT,
    recipe: Recipe | None = None,
) -> Path | None:
    """Runs the stages in order up to `last_stage`, continuing where the work folder stands.

    Returns the pipeline's folder once all are done, else None. Raises UserError for a stage that
    does not exist.
    """
    if last_stage not in STAGES:
        raise unknown("stage", last_stage, STAGES)
    recipe, out = recipe or Recipe(), own_folder(out, MARK)
    work.mkdir(parents=True, exist_ok=True)
    data = corpus(work, "pretraining", recipe.seed, recipe.drawings, 2, progress)
    if last_stage == "corpus":
        return None
    clip, tokenizer = train_clip(recipe, data, work, device, progress)
    if last_stage == "clip":
        return None
    vae = train_autoencoder(recipe, data, work, device, progress)
    if last_stage == "autoencoder":
        return None
    text = text_half(clip).to(device)
    unet, text = train_diffusion(recipe, data, text, tokenizer, vae, work, device, progress)
    if last_stage == "diffusion":
        return None
    vae = train_decoder(recipe, data, vae, work, device, progress)
    return assemble(recipe, text, tokenizer, vae, unet, out)


def refine(
    model: Path,
    out: Path,
    work: Path,
    device: str = "cpu",
    progress: Progress = SILENT,
    recipe: Recipe | None = None,
) -> Path:
    """Trains the diffusion model of a finished pipeline further, for `recipe.refine_steps`.

    With it its text encoder, which learns the words of the captions that it does not know yet. The
    autoencoder stays. The pipeline's work folder need not be at hand. Raises UserError where
    `recipe` has no such steps.
    """
    recipe = replace(recipe or Recipe(), diffusion_steps=0)
    if recipe.refine_steps < 1:
        raise UserError("there is nothing to train: ask for more steps (--more-steps)")
    out = own_folder(out, MARK)
    work.mkdir(parents=True, exist_ok=True)
    data = corpus(work, "pretraining", recipe.seed, recipe.drawings, 2, progress)
    pipeline = load_pipeline(model)
    vae = pipeline.vae.to(device).eval()
    torch.manual_seed(recipe.seed)
    tokenizer = train_tokenizer(told(recipe, data), recipe.text_tokens)
    text = grown(pipeline.text_encoder, pipeline.tokenizer, tokenizer).to(device)
    start = pipeline.unet
    unet, text = train_diffusion(
        recipe, data, text, tokenizer, vae, work, device, progress, start=start
    )
    return assemble(recipe, text, tokenizer, vae, unet, out)
