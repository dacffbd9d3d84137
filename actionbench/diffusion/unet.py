"""The kinds with a UNet: what their layers are, and the one with a single text encoder.

Stable Diffusion 1.5 and 2.x: the text encoder's last states reach every cross-attention layer.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
from diffusers.models.transformers.transformer_2d import Transformer2DModel
from torch import Tensor

from actionbench.diffusion.backbone import Backbone, Tokens, place_vectors
from actionbench.diffusion.text_prefix import Prefix, encode_from, encode_prefix
from actionbench.files.kinds import UNET

KEPT_PREFIXES = 64
"""How many beginnings of prompts have their encoding kept: a few MB each for Stable Diffusion."""


class UNet(Backbone):
    """A pipeline whose denoiser is a UNet with cross-attention to states [B, T, D]."""

    @staticmethod
    def conditioned_layers(denoiser: Any) -> tuple[str, ...]:
        """Return the names of the UNet's transformers in the order of computation.

        That is down, mid, up; they are sorted because a UNet registers its middle block last.
        """
        stages = {"down_blocks": 0, "mid_block": 1, "up_blocks": 2}

        def place(name: str) -> tuple[int, ...]:
            return (stages[name.split(".")[0]], *map(int, re.findall(r"\d+", name)))

        modules = denoiser.named_modules()
        names = [n for n, module in modules if isinstance(module, Transformer2DModel)]
        return tuple(sorted(names, key=place))

    def cross_attentions(self) -> list[torch.nn.Module]:
        return [
            block.attn2
            for layer in self.layers
            for block in self.denoiser.get_submodule(layer).transformer_blocks
        ]

    def layer_conditioning(self) -> AbstractContextManager[None]:
        """Give each cross-attention layer its own D columns of packed states, while inside.

        States [B, T, D] reach every layer unchanged. This is a pre-hook and not an attention
        processor, because it keeps the stock kernels and compiles.
        """
        width = self.width
        packed = width * len(self.layers)

        def slicer(number: int) -> Any:
            own = slice(number * width, (number + 1) * width)

            def take(_module: Any, args: Any, kwargs: dict[str, Any]) -> Any:
                states = kwargs["encoder_hidden_states"]
                if states.shape[-1] == packed:
                    kwargs = {**kwargs, "encoder_hidden_states": states[..., own]}
                return args, kwargs

            return take

        return self.before_layers(slicer)


class OneEncoder(UNet):
    """A pipeline of Stable Diffusion 1.5's or 2.x's shape."""

    kind = UNET

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._prefixes: dict[tuple[int, ...], Prefix] = {}

    @property
    def width(self) -> int:
        return int(self.pipeline.text_encoder.config.hidden_size)

    def _encode_rows(self, prompts: Sequence[Tokens], vectors: Tensor | None) -> Tensor:
        """Encode prompts, one row of the text encoder for each prompt and layer."""
        ids = torch.tensor([p.ids for p in prompts], device=self.device)
        if vectors is None:
            return self.pipeline.text_encoder(ids).last_hidden_state
        layers = vectors.shape[1]
        vectors = vectors.to(self.device).flatten(0, 1)
        # The positions before every slot do not depend on the identifier.
        start = min(p.slot[0] for p in prompts)
        slots = torch.tensor([p.slot for p in prompts], device=self.device) - start
        table = self.pipeline.text_encoder.get_input_embeddings()
        embeddings = place_vectors(
            table(ids[:, start:]).repeat_interleave(layers, 0),
            slots.repeat_interleave(layers, 0),
            vectors,
        )
        prefixes = [self._prefix(p.ids[:start]) for p in prompts]
        rows = encode_from(
            self.pipeline.text_encoder,
            embeddings,
            prefixes,
            checkpointing=self.resources.gradient_checkpointing,
        )
        if layers == 1:
            return rows
        return rows.unflatten(0, (len(prompts), layers)).transpose(1, 2).flatten(2)

    def _prefix(self, ids: tuple[int, ...]) -> Prefix:
        if ids not in self._prefixes:
            if len(self._prefixes) >= KEPT_PREFIXES:
                self._prefixes.clear()
            self._prefixes[ids] = encode_prefix(self.pipeline.text_encoder, ids)
        return self._prefixes[ids]

    def predict(self, noisy: Tensor, timesteps: Tensor, states: Tensor) -> Tensor:
        with self.layer_conditioning():
            return self.denoiser(noisy, timesteps, encoder_hidden_states=states, return_dict=False)[
                0
            ]

    def _arguments(self, states: Tensor, negative: Tensor) -> dict[str, Any]:
        return {
            "prompt_embeds": states,
            "negative_prompt_embeds": negative.expand(len(states), -1, -1),
        }
