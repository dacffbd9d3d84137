"""The loss of latent diffusion for each sample, whatever a method trains."""

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
    """B latents with noise on them, and what the UNet should predict for them."""

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
    """Add noise to latents [B, C, h, w] at random timesteps.

    Args:
        share_timestep, share_noise: so many neighbouring samples get the same timestep (noise);
            both divide B.
        timestep_weights: probabilities of the timesteps, up to a factor; uniform if None.

    Raises:
        UserError: for a model that predicts neither noise nor velocity.
    """
    if backbone.prediction_type not in _PREDICTIONS:
        raise UserError(
            f"model {backbone.name} predicts '{backbone.prediction_type}' (prediction_type of its "
            f"scheduler): only {' and '.join(_PREDICTIONS)} models can be customized"
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
    """Return the mean squared error of each sample [B], in float32 or wider, under `states`.

    With a `mask` [B, 1, h, w] of zeros and ones, a sample's mean is only over its ones.
    """
    prediction = backbone.predict(noised.latents, noised.timesteps, states)
    wide = torch.promote_types(prediction.dtype, torch.float32)
    errors = (prediction.to(wide) - noised.target.to(wide)).square()
    if mask is None:
        return errors.flatten(1).mean(1)
    return (errors.mean(1, keepdim=True) * mask).flatten(1).sum(1) / mask.flatten(1).sum(1)
