"""The UNet with two text encoders: Stable Diffusion XL (Podell et al., arXiv 2307.01952).

Cross-attention sees both encoders' penultimate states side by side, [B, T, D1 + D2]. Beside them
the UNet takes the second encoder's pooled text [B, P] and six numbers of a picture's size and crop.
An identifier lives in both token tables: of its D = D1 + D2 channels the first D1 are an embedding
of the first encoder, the others one of the second.

States carry the pooled text in positions of their own: [B, T + ceil(P / D), D], and for layer-wise
identifiers [B, T + ceil(P / D), L * D]. The UNet has one pooled text for all layers, so with L
identifiers it is the mean of theirs, which is one's own if all are equal. That is ours: P+ and ADI
were published for one encoder without pooled text.

A conditioned layer is a transformer of the UNet, 11 in SDXL, whose 2 or 10 blocks share its token.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from actionbench.diffusion.backbone import Tokens
from actionbench.diffusion.clip_pair import ClipPair
from actionbench.diffusion.unet import UNet
from actionbench.errors import UserError
from actionbench.files.kinds import UNET_TWO


class TwoEncoders(ClipPair, UNet):
    """A pipeline of Stable Diffusion XL's shape."""

    kind = UNET_TWO

    def __init__(self, pipeline: Any, *, name: str, **options: Any) -> None:
        super().__init__(pipeline, name=name, **options)
        vae = pipeline.vae
        if getattr(vae.config, "latents_mean", None) is not None:
            raise UserError(
                f"model {name}: its autoencoder shifts latents (latents_mean), which is not "
                "supported: take SDXL's own autoencoder"
            )
        if self.dtype == torch.float16 and vae.config.force_upcast:
            vae.to(torch.float32)  # as the stock pipeline does: it overflows in float16

    @property
    def width(self) -> int:
        return self._clip_width

    @property
    def _pooled_width(self) -> int:
        """P, the width of the pooled text."""
        return int(self.pipeline.text_encoder_2.config.projection_dim)

    # -- text ------------------------------------------------------------------------------

    def _encode_rows(self, prompts: Sequence[Tokens], vectors: Tensor | None) -> Tensor:
        states, (_, last) = self._encode_clip(prompts, vectors)
        pooled = self._pooled_by(self.pipeline.text_encoder_2, last, prompts)
        rows = self._with_pooled(states, pooled)
        if vectors is None or vectors.shape[1] == 1:
            return rows
        return rows.unflatten(0, (len(prompts), -1)).transpose(1, 2).flatten(2)

    def _with_pooled(self, states: Tensor, pooled: Tensor) -> Tensor:
        """Append the pooled text [R, P] to states [R, T, D], in as many positions as it takes."""
        padded = pad(pooled, (0, -pooled.shape[1] % self.width))
        return torch.cat([states, padded.unflatten(1, (-1, self.width))], 1)

    def _split(self, states: Tensor) -> tuple[Tensor, Tensor]:
        """Return what cross-attention sees [B, T, D or L * D], and the pooled text [B, P]."""
        each = states[:, self.length :].unflatten(-1, (-1, self.width))
        return states[:, : self.length], each.mean(2).flatten(1)[:, : self._pooled_width]

    def _encode_negative(self, text: str) -> Tensor:
        plain = super()._encode_negative(text)
        # As the stock pipeline does without a negative prompt.
        return torch.zeros_like(plain) if not text and self._zeros_for_nothing else plain

    @property
    def _zeros_for_nothing(self) -> bool:
        return bool(self.pipeline.config.force_zeros_for_empty_prompt)

    # -- UNet ------------------------------------------------------------------------------

    def predict(self, noisy: Tensor, timesteps: Tensor, states: Tensor) -> Tensor:
        seen, pooled = self._split(states)
        # Pictures are padded to the model's own square and never cropped: all are of its size.
        side = self.image_size
        sizes = torch.tensor([[side, side, 0, 0, side, side]], device=self.device, dtype=self.dtype)
        with self.layer_conditioning():
            return self.denoiser(
                noisy,
                timesteps,
                encoder_hidden_states=seen,
                added_cond_kwargs={
                    "text_embeds": pooled,
                    "time_ids": sizes.expand(len(noisy), -1),
                },
                return_dict=False,
            )[0]

    def _arguments(self, states: Tensor, negative: Tensor) -> dict[str, Any]:
        seen, pooled = self._split(states)
        without, pooled_without = self._split(negative.expand(len(states), -1, -1))
        return {
            "prompt_embeds": seen,
            "pooled_prompt_embeds": pooled,
            "negative_prompt_embeds": without,
            "negative_pooled_prompt_embeds": pooled_without,
        }
