"""The loss of latent diffusion for each sample, whatever a method trains."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from actionbench.diffusion.backbone import Backbone


def loss_scale(dtype: torch.dtype) -> float:
    """Return the factor on a loss in its backward pass, by which gradients are divided after it.

    Without it, small gradients would be zero in float16, whose smallest number is 6e-8. It is a
    power of two and therefore exact.
    """
    return 2.0**12 if dtype == torch.float16 else 1.0


def randn(shape: Sequence[int], generator: torch.Generator, like: Tensor) -> Tensor:
    """Draw noise on the CPU in float32, the same for every device and dtype, and cast as `like`."""
    return torch.randn(shape, generator=generator).to(device=like.device, dtype=like.dtype)


@dataclass(frozen=True)
class Noised:
    """B latents with noise on them, and what the denoiser should predict for them."""

    latents: Tensor
    """[B, C, h, w]"""
    timesteps: Tensor
    """[B]"""
    target: Tensor
    """[B, C, h, w]: the noise or a velocity, as the model predicts."""


def add_noise(
    backbone: Backbone,
    latents: Tensor,
    generator: torch.Generator,
    *,
    share_timestep: int = 1,
    share_noise: int = 1,
    timestep_weights: Tensor | None = None,
) -> Noised:
    """Add noise to latents [B, C, h, w] at random timesteps.

    Args:
        share_timestep, share_noise: so many neighbouring samples get the same timestep (noise);
            both divide B.
        timestep_weights: probabilities of the timesteps, up to a factor; as the model was trained
            if None.

    Raises:
        UserError: for a model that predicts what no kind is known to.
    """
    count = len(latents)
    timesteps = backbone.draw_timesteps(count // share_timestep, generator, timestep_weights)
    timesteps = timesteps.repeat_interleave(share_timestep).to(latents.device)
    noise = randn((count // share_noise, *latents.shape[1:]), generator, latents)
    noise = noise.repeat_interleave(share_noise, 0)
    noisy, target = backbone.add_noise(latents, noise, timesteps)
    return Noised(noisy, timesteps, target)


def widened(values: Tensor) -> Tensor:
    """Return `values` in float32, or wider if they are."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


def losses(
    backbone: Backbone, noised: Noised, states: Tensor, mask: Tensor | None = None
) -> Tensor:
    """Return the mean squared error of each sample [B], in float32 or wider, under `states`.

    With a `mask` [B, 1, h, w] of zeros and ones, a sample's mean is only over its ones.
    """
    prediction = backbone.predict(noised.latents, noised.timesteps, states)
    errors = (widened(prediction) - widened(noised.target)).square()
    if mask is None:
        return errors.flatten(1).mean(1)
    return (errors.mean(1, keepdim=True) * mask).flatten(1).sum(1) / mask.flatten(1).sum(1)
