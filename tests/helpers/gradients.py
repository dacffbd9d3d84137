"""The identifier's gradient on any kind of base model, against finite differences."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from actionbench.device import Resources
from actionbench.diffusion.backbone import Backbone
from actionbench.diffusion.denoising import Noised, add_noise
from actionbench.files.models import resolve_model


def check_gradient(
    model: Path,
    vectors: Tensor,
    channels: Sequence[int],
    *,
    step: float,
    rtol: float = 5e-3,
    checkpoints: bool = False,
) -> tuple[Backbone, Noised, Tensor]:
    """Assert that the loss's gradient is the slope, for some channels of each layer.

    Args:
        model: a tiny pipeline, computed in float64 where its code lets it.
        vectors: [L, 1, D].
        channels: of D.
        step: half of what a channel is moved by for its slope.
        rtol: how far gradient and slope may be apart.
        checkpoints: whether blocks are computed again for the backward pass.

    Returns:
        The backbone, the noised latents and the two prompts' states.
    """
    source = resolve_model(str(model))
    backbone = Backbone.load(source, resources=Resources(gradient_checkpointing=checkpoints))
    for part in (backbone.denoiser, *backbone.text_encoders):
        part.double()
    backbone.dtype = torch.float64
    vectors = vectors.double()
    prompts = [backbone.tokenize("a man {}"), backbone.tokenize("a {} panda on a hat")]
    generator = torch.Generator().manual_seed(1)
    noised = add_noise(backbone, torch.randn(2, 4, 4, 4, generator=generator).double(), generator)

    def loss(vectors: Tensor) -> Tensor:
        states = backbone.encode_prompts(prompts, vectors[None])
        prediction = backbone.predict(noised.latents, noised.timesteps, states)
        assert prediction.shape == noised.target.shape, "without a learned variance"
        return (prediction - noised.target).square().mean()

    leaf = vectors.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(loss(leaf), leaf)
    with torch.no_grad():
        for channel in channels:
            for layer in range(len(vectors)):
                moved = torch.zeros_like(vectors)
                moved[layer, 0, channel] = step
                slope = (loss(vectors + moved) - loss(vectors - moved)) / (2 * step)
                assert abs(float(slope)) > 1e-9, "it has an effect"
                own = gradient[layer, 0, channel]
                torch.testing.assert_close(own, slope, rtol=rtol, atol=1e-9)
        return backbone, noised, backbone.encode_prompts(prompts, vectors[None])
