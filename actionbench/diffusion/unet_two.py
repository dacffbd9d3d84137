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

from actionbench.diffusion.backbone import Tokens, place_vectors
from actionbench.diffusion.denoising import widened
from actionbench.diffusion.lengths import prompt_length
from actionbench.diffusion.text_prefix import Prefix, encode_both, encode_both_from, encode_prefix
from actionbench.diffusion.unet import KEPT_PREFIXES, UNet
from actionbench.errors import UserError
from actionbench.files.kinds import UNET_TWO


class TwoEncoders(UNet):
    """A pipeline of Stable Diffusion XL's shape."""

    kind = UNET_TWO

    def __init__(self, pipeline: Any, *, name: str, **options: Any) -> None:
        first, second = pipeline.tokenizer, pipeline.tokenizer_2
        if first.get_vocab() != second.get_vocab():
            raise UserError(
                f"model {name}: its two tokenizers have different vocabularies, so that an "
                "identifier cannot have one place in a prompt: take a model that shares them, as "
                "SDXL does"
            )
        super().__init__(pipeline, name=name, **options)
        length = prompt_length(second, pipeline.text_encoder_2.config, name, self.kind)
        self.length = min(self.length, length)
        self._prefixes: dict[tuple[int, ...], tuple[Prefix, Prefix]] = {}
        vae = pipeline.vae
        if getattr(vae.config, "latents_mean", None) is not None:
            raise UserError(
                f"model {name}: its autoencoder shifts latents (latents_mean), which is not "
                "supported: take SDXL's own autoencoder"
            )
        if self.dtype == torch.float16 and vae.config.force_upcast:
            vae.to(torch.float32)  # as the stock pipeline does: it overflows in float16

    @property
    def token_tables(self) -> list[Tensor]:
        """The encoders' embeddings of the vocabulary, [V, D1] and [V, D2]."""
        return [e.get_input_embeddings().weight.detach() for e in self.text_encoders]

    @property
    def width(self) -> int:
        return sum(int(table.shape[1]) for table in self.token_tables)

    @property
    def _pooled_width(self) -> int:
        """P, the width of the pooled text."""
        return int(self.pipeline.text_encoder_2.config.projection_dim)

    def token_embeddings(self, ids: Sequence[int]) -> Tensor:
        rows = torch.tensor(ids, dtype=torch.long, device=self.token_tables[0].device)
        return widened(torch.cat([table[rows] for table in self.token_tables], -1))

    def token_norms(self) -> Tensor:
        squares = [table.float().square().sum(-1) for table in self.token_tables]
        return torch.stack(squares).sum(0).sqrt()

    # -- text ------------------------------------------------------------------------------

    def _ids(self, prompts: Sequence[Tokens]) -> tuple[Tensor, Tensor]:
        """Return the prompts' ids [B, T] for both encoders, which differ in their padding."""
        end, padding = (getattr(self.pipeline.tokenizer_2, f"{n}_token_id") for n in ("eos", "pad"))
        second = []
        for prompt in prompts:
            used = prompt.ids.index(end) + 1
            second.append((*prompt.ids[:used], *[padding] * (len(prompt.ids) - used)))
        first = [prompt.ids for prompt in prompts]
        return torch.tensor(first, device=self.device), torch.tensor(second, device=self.device)

    def _encode_rows(self, prompts: Sequence[Tokens], vectors: Tensor | None) -> Tensor:
        both = self._ids(prompts)
        if vectors is None:
            (_, first), (last, second) = (
                encode_both(encoder, ids) for encoder, ids in zip(self._clip, both)
            )
            return self._with_pooled(torch.cat([first, second], -1), self._pooled(last, prompts))
        layers = vectors.shape[1]
        vectors = vectors.to(self.device).flatten(0, 1)
        # The positions before every slot do not depend on the identifier.
        start = min(p.slot[0] for p in prompts)
        slots = torch.tensor([p.slot for p in prompts], device=self.device) - start
        slots = slots.repeat_interleave(layers, 0)
        prefixes = zip(*(self._prefix(p.ids[:start]) for p in prompts))
        parts = vectors.split([table.shape[1] for table in self.token_tables], -1)
        states = []
        for encoder, ids, own, part in zip(self._clip, both, prefixes, parts):
            rest = encoder.get_input_embeddings()(ids[:, start:]).repeat_interleave(layers, 0)
            last, penultimate = encode_both_from(
                encoder,
                place_vectors(rest, slots, part),
                own,
                checkpointing=self.resources.gradient_checkpointing,
            )
            states.append(penultimate)
        # `last` is the second encoder's.
        rows = self._with_pooled(torch.cat(states, -1), self._pooled(last, prompts))
        if layers == 1:
            return rows
        return rows.unflatten(0, (len(prompts), layers)).transpose(1, 2).flatten(2)

    @property
    def _clip(self) -> list[Any]:
        """The encoders without the second one's projection."""
        return [self.pipeline.text_encoder, self.pipeline.text_encoder_2.text_model]

    def _prefix(self, ids: tuple[int, ...]) -> tuple[Prefix, Prefix]:
        if ids not in self._prefixes:
            if len(self._prefixes) >= KEPT_PREFIXES:
                self._prefixes.clear()
            first, second = (encode_prefix(encoder, ids) for encoder in self._clip)
            self._prefixes[ids] = (first, second)
        return self._prefixes[ids]

    def _pooled(self, last: Tensor, prompts: Sequence[Tokens]) -> Tensor:
        """Pool the second encoder's output [R, T, D2] at the texts' ends: [R, P].

        Each of the B prompts has R / B neighbouring rows.
        """
        ends = [p.ids.index(self.pipeline.tokenizer_2.eos_token_id) for p in prompts]
        where = torch.tensor(ends, device=self.device)
        where = where.repeat_interleave(len(last) // len(prompts))
        at_end = last[torch.arange(len(last), device=self.device), where]
        projected: Tensor = self.pipeline.text_encoder_2.text_projection(at_end)
        return projected

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
