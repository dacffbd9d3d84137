"""Flow matching: noise, timesteps and target of models that predict how latents flow to noise.

At timestep t = sigma T, latents are (1 - sigma) x + sigma e of the latents x and noise e, and the
denoiser predicts e - x (Lipman et al., arXiv 2210.02747; Liu et al., arXiv 2209.03003).
"""

from __future__ import annotations

from typing import Any

import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from torch import Tensor

from actionbench.diffusion.backbone import Backbone
from actionbench.diffusion.denoising import widened
from actionbench.errors import UserError


class FlowMatching(Backbone):
    """A pipeline whose denoiser was trained by flow matching."""

    def _training_noise(self) -> Any:
        """Make T timesteps, shifted towards noise as the scheduler says.

        Raises:
            UserError: for a scheduler that is not for flow matching.
        """
        scheduler = self.pipeline.scheduler
        config = scheduler.config
        if isinstance(scheduler, FlowMatchEulerDiscreteScheduler):
            # With dynamic shifting the shift depends on the picture's size, and training has none.
            shift = 1.0 if config.use_dynamic_shifting else config.shift
        elif config.get("use_flow_sigmas") and config.get("prediction_type") == "flow_prediction":
            shift = config.flow_shift
        else:
            raise UserError(
                f"model {self.name}: its scheduler {type(scheduler).__name__} is not for flow "
                f"matching, by which a {self.kind.title} was trained: take the original's "
                "scheduler/scheduler_config.json"
            )
        return FlowMatchEulerDiscreteScheduler(config.num_train_timesteps, shift)

    @property
    def prediction_type(self) -> str:
        return "flow"

    def draw_timesteps(
        self, count: int, generator: torch.Generator, weights: Tensor | None = None
    ) -> Tensor:
        """Draw timesteps, float32 [count] on the CPU: logit-normal ones, if there are no weights.

        Stable Diffusion 3's distribution (Esser et al., arXiv 2403.03206, section 3.1; mean 0,
        deviation 1), as in diffusers' training scripts. `weights` are of the T shifted timesteps,
        the least noise first.
        """
        ascending: Tensor = self.noise_schedule.timesteps.flip(0)
        if weights is None:
            share = torch.randn(count, generator=generator).sigmoid()
            # Rounding can make a share 1.
            rows = (share * self.timesteps).long().clamp(max=self.timesteps - 1)
        else:
            rows = torch.multinomial(weights, count, replacement=True, generator=generator)
        return ascending[rows]

    def add_noise(self, latents: Tensor, noise: Tensor, timesteps: Tensor) -> tuple[Tensor, Tensor]:
        # In float32 or wider: half precision would round sigma away from its timestep.
        sigma = widened(timesteps / self.timesteps).view(-1, 1, 1, 1)
        noisy = (1 - sigma) * widened(latents) + sigma * widened(noise)
        return noisy.to(latents.dtype), noise - latents
