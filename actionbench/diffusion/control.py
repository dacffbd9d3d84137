"""ControlNets: loading one for a backbone, and what it steers.

Source: Zhang et al., ICCV 2023, arXiv 2302.05543.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from actionbench.errors import UserError
from actionbench.files.networks import library_class, load_weights

if TYPE_CHECKING:
    from PIL.Image import Image

    from actionbench.diffusion.backbone import Backbone
    from actionbench.files.models import ControlNetSource

CONDITIONING_CHANNELS = (16, 32, 64, 128)
"""Channels of a new ControlNet's picture encoder; each stage but the first halves the picture."""

_FITTING = ("in_channels", "cross_attention_dim", "block_out_channels", "layers_per_block")
"""The values that a ControlNet's config must share with the UNet's."""


@dataclass(frozen=True)
class Control:
    """A ControlNet and the pictures that it is shown, one for each image to draw."""

    network: Any
    """A diffusers ControlNetModel, on the backbone's device and in its dtype."""
    images: Sequence[Image]
    """RGB, of the backbone's image size."""
    scale: float = 1.0
    """The factor on the ControlNet's outputs."""
    prompted_only: bool = False
    """Steer only the half of guidance that has the prompt: guidance then strengthens the pictures
    as it does the words. The stock pipeline steers both halves."""

    def __getitem__(self, rows: slice) -> Control:
        return replace(self, images=self.images[rows])

    @property
    def arguments(self) -> dict[str, Any]:
        """The arguments for a call of `pipeline`, besides those of a plain pipeline."""
        return {"image": list(self.images), "controlnet_conditioning_scale": self.scale}

    @contextmanager
    def steering(self, guided: bool) -> Iterator[None]:
        """Do what `prompted_only` says, while inside.

        Args:
            guided: whether batches have two halves, the one without the prompt first.
        """
        if not (guided and self.prompted_only):
            yield
            return

        def silence(_network: Any, _inputs: Any, outputs: Any) -> None:
            down, middle = outputs
            for residual in (*down, middle):
                residual[: len(residual) // 2] = 0

        handle = self.network.register_forward_hook(silence)
        try:
            yield
        finally:
            handle.remove()

    def pipeline(self, backbone: Backbone) -> Any:
        """Make the stock pipeline of the backbone's own parts and this ControlNet."""
        kind = backbone.kind
        without = {name: on for name, on in kind.without.items() if on is not None}
        made = library_class(f"diffusers.{kind.controlled}")(
            **backbone.pipeline.components, controlnet=self.network, **without
        )
        made.set_progress_bar_config(disable=True)
        return made


def check_fit(backbone: Backbone, source: ControlNetSource) -> None:
    """Raise UserError if the ControlNet was made for a UNet of another shape."""
    unet = backbone.denoiser.config
    for name in _FITTING:
        own, needed = _plain(source.config.get(name, unet[name])), _plain(unet[name])
        if own != needed:
            raise UserError(
                f"ControlNet {source.name} does not fit model {backbone.name}: its {name} is "
                f"{own}, the model's {needed}; name another with --set controlnet=PATH_OR_ID"
            )


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def load_controlnet(backbone: Backbone, source: ControlNetSource) -> Any:
    """Load a ControlNetModel onto the backbone's device, in its dtype, frozen.

    Raises:
        UserError: if it does not fit the backbone or cannot be loaded.
    """
    from diffusers import ControlNetModel

    check_fit(backbone, source)
    network = load_weights(
        ControlNetModel, source.path, dtype=backbone.dtype, variant=source.variant
    )
    return network.to(backbone.device).eval().requires_grad_(False)


def new_controlnet(backbone: Backbone, seed: int = 0, *, zero: bool = True) -> Any:
    """Make an untrained ControlNetModel, a copy of the UNet's first half.

    Args:
        seed: seed of its random weights.
        zero: let its outputs begin at zero, so that it changes nothing yet; otherwise they begin
            with large random weights, and its pictures have a random effect.
    """
    import torch
    from diffusers import ControlNetModel

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = ControlNetModel.from_unet(
            backbone.denoiser, conditioning_embedding_out_channels=CONDITIONING_CHANNELS
        )
    if not zero:
        generator = torch.Generator().manual_seed(seed)
        picture = network.controlnet_cond_embedding.conv_out
        for part in (*network.controlnet_down_blocks, network.controlnet_mid_block, picture):
            part.weight.data = torch.randn(part.weight.shape, generator=generator)
        picture.weight.data *= 30
    # Not the model's own `to`, which warns of a dtype even if no part of it objects.
    torch.nn.Module.to(network, backbone.device, backbone.dtype)
    return network.eval().requires_grad_(False)
