"""The x8 autoencoder: few smooth latents, and a decoder that draws sharp pictures from them."""

from __future__ import annotations

import copy
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL
from torch import Tensor, nn
from torch.nn import functional as F

from actionbench.files.atomic import replacing
from actionbench.files.networks import load_weights
from actionbench.progress import SILENT, Progress
from actionbench.puppets.training.corpus import SIZE, Corpus, to_pixels
from actionbench.puppets.training.loop import Schedule, Stage, generator_of, rows_of, train
from actionbench.puppets.training.recipe import Recipe, digest
from actionbench.puppets.training.weights import weights_key

LOG_VARIANCE = -5.0
"""The posterior is a narrow one of fixed width."""
SAMPLE = 4000
"""Pictures that statistics are taken from."""


def principal_code(pixels: Tensor, channels: int) -> tuple[Tensor, Tensor, Tensor]:
    """The principal components of 8 x 8 patches.

    Returns:
        Mean patch [192]; the whitened code [192, channels], so that (patch - mean) @ code has unit
        variance in each channel; and the components' standard deviations, the first being 1.
    """
    patches = _patches(pixels).reshape(-1, 192)
    mean = patches.mean(0)
    values, vectors = torch.linalg.eigh(torch.cov(patches.T))
    values, vectors = values.clamp_min(1e-6).flip(0)[:channels], vectors.flip(1)[:, :channels]
    return mean, vectors / values.sqrt(), (values / values[0]).sqrt()


def _patches(pixels: Tensor) -> Tensor:
    """[n, 64, 192]"""
    return F.unfold(pixels, 8, stride=8).transpose(1, 2)


def scale_channels(vae: AutoencoderKL, scale: Tensor) -> None:
    """Multiply the latents' channels by `scale`, in the layers on either side of them: what the
    autoencoder makes of an image stays the same."""
    n = len(scale)
    with torch.no_grad():
        vae.quant_conv.weight[:n] *= scale.view(-1, 1, 1, 1)
        vae.quant_conv.bias[:n] *= scale
        vae.quant_conv.bias[n:] += 2 * scale.log()  # log-variances
        vae.post_quant_conv.weight /= scale.view(1, -1, 1, 1)


def _key(recipe: Recipe) -> str:
    """Of all but the length, so that a training can go on longer before its rate falls."""
    return replace(recipe, autoencoder_steps=0, autoencoder_decay=0).key("autoencoder", "latent")


def new_autoencoder(recipe: Recipe) -> AutoencoderKL:
    """An AutoencoderKL of the recipe's sizes, with random weights."""
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=recipe.autoencoder_channels,
        layers_per_block=1,
        latent_channels=recipe.latent_channels,
        norm_num_groups=1,
        sample_size=SIZE,
    )


def edges(off: Tensor) -> Tensor:
    """Mean absolute difference of neighbouring pixels of an error: what looks sharp or not."""
    return off.diff(dim=2).abs().mean() + off.diff(dim=3).abs().mean()


def decibels(error: Tensor) -> Tensor:
    """Peak signal to noise from the mean squared error of pixels in [-1, 1]."""
    return 10 * torch.log10(4 / error.detach())


def autoencoder_folder(recipe: Recipe, data: Corpus, work: Path) -> Path:
    """Where the finished encoder, with its first decoder, is kept."""
    return work / f"vae-{data.key}-{_key(recipe)}-{recipe.autoencoder_steps}.model"


def train_autoencoder(
    recipe: Recipe, data: Corpus, work: Path, device: str = "cpu", progress: Progress = SILENT
) -> AutoencoderKL:
    """Train encoder and decoder.

    First the encoder learns a linear code that is known in closed form and the decoder to draw from
    it, side by side; then both are trained end to end. At last the channels are scaled to between
    whitened and the pixels' own spread, so that coarse structure is louder than fine detail.
    """
    steps, folder = recipe.autoencoder_steps, autoencoder_folder(recipe, data, work)
    stem = folder.with_name(folder.name.removesuffix(f"-{steps}.model"))
    if folder.exists():
        return _load(folder, device)
    torch.manual_seed(recipe.seed)
    # a quarter faster on a CPU than with the channels first
    vae = new_autoencoder(recipe).to(device, memory_format=torch.channels_last).train()
    sample = to_pixels(data.images[:SAMPLE], device)
    mean, code, spread = principal_code(sample, recipe.latent_channels)
    cells = SIZE // 8

    def losses(step: int) -> dict[str, Tensor]:
        pick = rows_of(len(data), recipe.autoencoder_batch, recipe.seed + 1, step)
        pixels = to_pixels(data.images[pick], device)
        target = (_patches(pixels) - mean) @ code
        target = target.transpose(1, 2).reshape(len(pick), -1, cells, cells)
        latent, log_variance = vae.quant_conv(vae.encoder(pixels)).chunk(2, 1)
        start = target if step < recipe.autoencoder_aside_steps else latent
        noise = torch.randn(start.shape, generator=generator_of(recipe.seed + 1, step))
        drawn = vae.decode(start + math.exp(LOG_VARIANCE / 2) * noise.to(device)).sample
        error, off = F.mse_loss(drawn, pixels), drawn - pixels
        close = F.mse_loss(latent, target)
        return {
            "pixels": 4 * error + off.abs().mean(),
            "edges": 0.5 * edges(off),
            "code": close * (0.5 if step < recipe.autoencoder_aside_steps else 0.02),
            "tied": 0.01 * (log_variance - LOG_VARIANCE).square().mean(),
            "_psnr": decibels(error),
        }

    decay = min(recipe.autoencoder_decay, steps)
    schedule = Schedule(steps, recipe.autoencoder_rate, min(100, steps // 4), decay)
    stage = Stage("autoencoder", stem, {"vae": vae}, losses, schedule, precision=recipe.precision)
    train(stage, progress)
    vae.eval().requires_grad_(False)
    scale_channels(vae, spread**recipe.latent_spread)
    latents = encoded(vae, sample[:1024])
    vae.register_to_config(scaling_factor=float(1 / latents.std()))
    return _kept(vae, folder, device)


def _kept(vae: AutoencoderKL, folder: Path, device: str) -> AutoencoderKL:
    """Keep a finished autoencoder in half precision, as it is shipped, and go on with just that:
    what is trained beside it then fits it to the bit, wherever the training goes on."""
    with replacing(folder) as path:
        vae.half().save_pretrained(path)
    return _load(folder, device)


def _load(folder: Path, device: str) -> AutoencoderKL:
    vae = load_weights(AutoencoderKL, folder, torch_dtype=torch.float32)
    return vae.to(device).eval().requires_grad_(False)


@torch.no_grad()  # type: ignore[untyped-decorator]
def encoded(vae: AutoencoderKL, pixels: Tensor) -> Tensor:
    """The posterior's means of pictures, unscaled."""
    return torch.cat([vae.encode(part).latent_dist.mean for part in pixels.split(128)])


class Critic(nn.Module):
    """Tells drawn patches from decoded ones (in the manner of PatchGAN), in places of 16 pixels."""

    def __init__(self, width: int = 24) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        before = 3
        for channels, stride in ((width, 2), (2 * width, 2), (2 * width, 1)):
            layers += [nn.Conv2d(before, channels, 4, stride, 1), nn.LeakyReLU(0.2)]
            before = channels
        self.layers = nn.Sequential(*layers, nn.Conv2d(before, 1, 3, 1, 1))

    def forward(self, pixels: Tensor) -> Tensor:
        scores: Tensor = self.layers(pixels)
        return scores

    def frozen(self, pixels: Tensor) -> Tensor:
        """The same scores, whose gradient reaches the pixels but not the weights."""
        weights = {name: value.detach() for name, value in self.named_parameters()}
        scores: Tensor = torch.func.functional_call(self, weights, (pixels,))
        return scores


class Perception:
    """Distance of pictures in the features of a vision network that has seen drawings only."""

    def __init__(self, vision: Any) -> None:
        self.vision = vision.eval().requires_grad_(False)

    def features(self, pixels: Tensor) -> list[Tensor]:
        """Normalised hidden states of each layer but the last, which knows little of places."""
        states = self.vision(pixel_values=pixels, output_hidden_states=True).hidden_states
        return [F.normalize(state[:, 1:], dim=-1) for state in states[1:-1]]

    def __call__(self, drawn: Tensor, pixels: Tensor, shift: tuple[int, int]) -> Tensor:
        """Mean squared distance; both are shifted, for the network sees fixed patches."""
        both = torch.cat((drawn, pixels)).roll(shift, (2, 3))
        halves = [feature.chunk(2) for feature in self.features(both)]
        return torch.stack([(a - b).square().sum(-1).mean() for a, b in halves]).mean()


def decoder_stem(recipe: Recipe, vae: AutoencoderKL, work: Path) -> Path:
    """What the decoder's checkpoint, log and result are called."""
    fields = recipe.key("decoder", "perceptual", "adversarial", "autoencoder_batch")
    return work / f"decoder-{digest(fields, weights_key(vae))[:8]}"


def train_decoder(
    recipe: Recipe,
    data: Corpus,
    vae: AutoencoderKL,
    vision: Any,
    work: Path,
    device: str = "cpu",
    progress: Progress = SILENT,
) -> AutoencoderKL:
    """Train the decoder further under the finished encoder, for sharper pictures of the same
    latents, as Stable Diffusion's later decoders were: the diffusion model does not notice.

    The loss: pixels, edges, features of a network that has seen drawings only, and a critic that
    comes in after a third of the steps.
    """
    stem = decoder_stem(recipe, vae, work)
    folder = stem.with_suffix(".model")
    if folder.exists():
        return _load(folder, device)
    torch.manual_seed(recipe.seed)
    vae = copy.deepcopy(vae)
    critic, perception = Critic().to(device), Perception(vision)
    for module in (vae.post_quant_conv, vae.decoder):
        module.to(memory_format=torch.channels_last).requires_grad_(True)
    spread = encoded(vae, to_pixels(data.images[:256], device)).std((0, 2, 3), keepdim=True)
    begin = recipe.decoder_steps // 3

    def losses(step: int) -> dict[str, Tensor]:
        pick = rows_of(len(data), recipe.autoencoder_batch, recipe.seed + 3, step)
        pixels = to_pixels(data.images[pick], device)
        latents = encoded(vae, pixels)
        source = generator_of(recipe.seed + 3, step)
        noise = torch.randn(latents.shape, generator=source).to(device)
        drawn = vae.decode(latents + recipe.decoder_noise * spread * noise).sample
        shift = (step % 8, step // 8 % 8)
        error, off = F.mse_loss(drawn, pixels), drawn - pixels
        terms = {
            "pixels": 2 * error + off.abs().mean(),
            "edges": edges(off),
            "features": recipe.perceptual_weight * perception(drawn, pixels, shift),
            "_psnr": decibels(error),
        }
        if step >= begin and recipe.adversarial_weight > 0:
            real, fake = critic(pixels), critic(drawn.detach())
            terms["critic"] = F.relu(1 - real).mean() + F.relu(1 + fake).mean()
            terms["fooled"] = -recipe.adversarial_weight * critic.frozen(drawn).mean()
        return terms

    steps = recipe.decoder_steps
    schedule = Schedule(steps, recipe.decoder_rate, min(100, steps // 4))
    # the encoder's weights have no gradient, so that the vae as a whole can be kept
    modules = {"vae": vae, "critic": critic}
    stage = Stage("decoder", stem, modules, losses, schedule, precision=recipe.precision)
    train(stage, progress)
    return _kept(vae, folder, device)
