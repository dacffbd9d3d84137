"""The loss of latent diffusion, a sample at a time, for whatever a method trains."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from actionbench.errors import UserError

if TYPE_CHECKING:
    from actionbench.diffusion.backbone import Backbone

_PREDICTIONS = ("epsilon", "v_prediction")


def loss_scale(dtype: torch.dtype) -> float:
    """Return what a loss is multiplied by before its backward pass, and gradients divided by after.

    A power of two, and so exact: in float16 (smallest number 6e-8) small gradients would be zero.
    """
    return 2.0**12 if dtype == torch.float16 else 1.0


def randn(shape: Sequence[int], generator: torch.Generator, like: Tensor) -> Tensor:
    """Draw noise on the CPU in float32, the same for every device and dtype, cast as `like`."""
    return torch.randn(shape, generator=generator).to(device=like.device, dtype=like.dtype)


@dataclass(frozen=True)
class Noised:
    """B latents with noise on them, and what the UNet should predict of them."""

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
    timestep_weights: Tensor | None = None,
) -> Noised:
    """Noise latents [B, C, h, w] at timesteps drawn uniformly, or by `timestep_weights` [T].

    Each run of `share_timestep` (`share_noise`) neighbouring samples gets the same timestep
    (noise); both divide B. Raises UserError for a model that predicts neither noise nor velocity.
    """
    if backbone.prediction_type not in _PREDICTIONS:
        raise UserError(
            f"model {backbone.name} predicts '{backbone.prediction_type}' (prediction_type of its "
            f"scheduler): only {' and '.join(_PREDICTIONS)} models can be learned on"
        )
    schedule = backbone.noise_schedule
    count = len(latents)
    draws = count // share_timestep
    if timestep_weights is None:
        last = schedule.config.num_train_timesteps
        timesteps = torch.randint(last, (draws,), generator=generator)
    else:
        timesteps = torch.multinomial(
            timestep_weights, draws, replacement=True, generator=generator
        )
    timesteps = timesteps.repeat_interleave(share_timestep).to(latents.device)
    noise = randn((count // share_noise, *latents.shape[1:]), generator, latents)
    noise = noise.repeat_interleave(share_noise, 0)
    velocity = backbone.prediction_type == "v_prediction"
    target = schedule.get_velocity(latents, noise, timesteps) if velocity else noise
    return Noised(schedule.add_noise(latents, noise, timesteps), timesteps, target)


def losses(
    backbone: Backbone, noised: Noised, states: Tensor, mask: Tensor | None = None
) -> Tensor:
    """Compute each sample's mean squared error [B], in float32, under conditioning `states`.

    With a `mask` [B, 1, h, w] of zeros and ones, a sample's mean is over its ones alone.
    """
    prediction = backbone.predict(noised.latents, noised.timesteps, states)
    errors = (prediction.float() - noised.target.float()).square()
    if mask is None:
        return errors.flatten(1).mean(1)
    return (errors.mean(1, keepdim=True) * mask).flatten(1).sum(1) / mask.flatten(1).sum(1)
