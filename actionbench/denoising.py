"""The loss of latent diffusion, a sample at a time, for whatever a method trains."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from actionbench.backbone import Backbone


def randn(shape: Sequence[int], generator: torch.Generator, like: Tensor) -> Tensor:
    """Noise drawn on the CPU in float32, the same for every device and dtype, cast as `like`."""
    return torch.randn(shape, generator=generator).to(device=like.device, dtype=like.dtype)


@dataclass(frozen=True)
class Noised:
    """B latents with noise on them, and what the UNet should say of them."""

    latents: Tensor
    """[B, C, h, w]"""
    timesteps: Tensor
    """[B]"""
    target: Tensor
    """[B, C, h, w]: the noise, or the velocity for a v-prediction model."""


def add_noise(
    backbone: Backbone,
    latents: Tensor,
    generator: torch.Generator,
    *,
    share_timestep: int = 1,
    share_noise: int = 1,
) -> Noised:
    """Noise latents [B, C, h, w] at uniformly drawn timesteps.

    Each run of `share_timestep` (`share_noise`) neighbouring samples gets the same timestep
    (noise); both divide B.
    """
    schedule = backbone.noise_schedule
    count = len(latents)
    timesteps = torch.randint(
        schedule.config.num_train_timesteps, (count // share_timestep,), generator=generator
    )
    timesteps = timesteps.repeat_interleave(share_timestep).to(latents.device)
    noise = randn((count // share_noise, *latents.shape[1:]), generator, latents)
    noise = noise.repeat_interleave(share_noise, 0)
    velocity = backbone.prediction_type == "v_prediction"
    target = schedule.get_velocity(latents, noise, timesteps) if velocity else noise
    return Noised(schedule.add_noise(latents, noise, timesteps), timesteps, target)


def losses(backbone: Backbone, noised: Noised, states: Tensor) -> Tensor:
    """Mean squared error of each sample [B], in float32, under conditioning `states`."""
    prediction = backbone.predict(noised.latents, noised.timesteps, states)
    return (prediction.float() - noised.target.float()).square().flatten(1).mean(1)
