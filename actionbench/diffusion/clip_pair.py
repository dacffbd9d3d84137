"""Two CLIP encoders that share a vocabulary, as Stable Diffusion XL and 3 have.

An identifier lives in both token tables: of its channels the first D1 are an embedding of the first
encoder, the next D2 one of the second. Both are encoded from the identifier's slot on.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from actionbench.diffusion.backbone import Backbone, Tokens, place_vectors
from actionbench.diffusion.denoising import widened
from actionbench.diffusion.lengths import prompt_length
from actionbench.diffusion.text_prefix import Prefix, encode_both, encode_both_from, encode_prefix
from actionbench.diffusion.unet import KEPT_PREFIXES
from actionbench.errors import UserError


class ClipPair(Backbone):
    """A pipeline whose first two text encoders are CLIP's."""

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

    @property
    def _encoders(self) -> list[Any]:
        """Both encoders, with the projections of pooled text that they have."""
        return [self.pipeline.text_encoder, self.pipeline.text_encoder_2]

    @property
    def _clip(self) -> list[Any]:
        """The encoders without projections."""
        return [getattr(encoder, "text_model", encoder) for encoder in self._encoders]

    @property
    def _clip_tables(self) -> list[Tensor]:
        """Both encoders' embeddings of the vocabulary, [V, D1] and [V, D2]."""
        return [e.get_input_embeddings().weight.detach() for e in self._encoders]

    @property
    def token_tables(self) -> list[Tensor]:
        return self._clip_tables

    @property
    def _clip_width(self) -> int:
        """D1 + D2, the width of both encoders' embeddings and states."""
        return sum(int(table.shape[1]) for table in self._clip_tables)

    def token_embeddings(self, ids: Sequence[int]) -> Tensor:
        rows = torch.tensor(ids, dtype=torch.long, device=self._clip_tables[0].device)
        return widened(torch.cat([table[rows] for table in self._clip_tables], -1))

    def token_norms(self) -> Tensor:
        squares = [table.float().square().sum(-1) for table in self._clip_tables]
        return torch.stack(squares).sum(0).sqrt()

    def _ids(self, prompts: Sequence[Tokens]) -> tuple[Tensor, Tensor]:
        """Return the prompts' ids [B, T] for both encoders, which differ in their padding."""
        end, padding = (getattr(self.pipeline.tokenizer_2, f"{n}_token_id") for n in ("eos", "pad"))
        second = []
        for prompt in prompts:
            used = prompt.ids.index(end) + 1
            second.append((*prompt.ids[:used], *[padding] * (len(prompt.ids) - used)))
        first = [prompt.ids for prompt in prompts]
        return torch.tensor(first, device=self.device), torch.tensor(second, device=self.device)

    def _encode_clip(
        self, prompts: Sequence[Tokens], vectors: Tensor | None
    ) -> tuple[Tensor, list[Tensor]]:
        """Encode B prompts, a row for each prompt and layer.

        Args:
            vectors: the prompts' own [B, L, N, D1 + D2]; None for prompts without a slot.

        Returns:
            Both encoders' penultimate states side by side [B * L, T, D1 + D2], and the last states
            of each, [B * L, T, D1] and [B * L, T, D2].
        """
        both = self._ids(prompts)
        if vectors is None:
            (last, first), (other, second) = (
                encode_both(encoder, ids) for encoder, ids in zip(self._clip, both)
            )
            return torch.cat([first, second], -1), [last, other]
        layers = vectors.shape[1]
        vectors = vectors.to(self.device).flatten(0, 1)
        # The positions before every slot do not depend on the identifier.
        start = min(p.slot[0] for p in prompts)
        slots = torch.tensor([p.slot for p in prompts], device=self.device) - start
        slots = slots.repeat_interleave(layers, 0)
        prefixes = zip(*(self._prefix(p.ids[:start]) for p in prompts))
        parts = vectors.split([table.shape[1] for table in self._clip_tables], -1)
        states, lasts = [], []
        for encoder, ids, own, part in zip(self._clip, both, prefixes, parts):
            rest = encoder.get_input_embeddings()(ids[:, start:]).repeat_interleave(layers, 0)
            last, penultimate = encode_both_from(
                encoder,
                place_vectors(rest, slots, part),
                own,
                checkpointing=self.resources.gradient_checkpointing,
            )
            states.append(penultimate)
            lasts.append(last)
        return torch.cat(states, -1), lasts

    def _prefix(self, ids: tuple[int, ...]) -> tuple[Prefix, Prefix]:
        if ids not in self._prefixes:
            if len(self._prefixes) >= KEPT_PREFIXES:
                self._prefixes.clear()
            first, second = (encode_prefix(encoder, ids) for encoder in self._clip)
            self._prefixes[ids] = (first, second)
        return self._prefixes[ids]

    def _pooled_by(self, encoder: Any, last: Tensor, prompts: Sequence[Tokens]) -> Tensor:
        """Pool an encoder's output [R, T, D] at the texts' ends and project it: [R, P].

        Each of the B prompts has R / B neighbouring rows.
        """
        ends = [p.ids.index(self.pipeline.tokenizer_2.eos_token_id) for p in prompts]
        where = torch.tensor(ends, device=self.device)
        where = where.repeat_interleave(len(last) // len(prompts))
        at_end = last[torch.arange(len(last), device=self.device), where]
        projected: Tensor = encoder.text_projection(at_end)
        return projected
