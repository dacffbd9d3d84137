"""The transformer with cross-attention to Gemma: SANA (Xie et al., arXiv 2410.10629).

As PixArt-Sigma's, but for the text encoder, an autoencoder without a posterior, and flow matching.

The pipeline puts a "complex human instruction" before each prompt (section 3.1 of the paper), by
which Gemma reads it, and drops the instruction's states but the first one. So does this: the model
was trained with it. What guidance leads away from has none. Gemma is causal, so that the
instruction is encoded once, and with each prompt only its own words, without padding.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad
from transformers import DynamicCache

from actionbench.diffusion.backbone import Tokens, place_vectors
from actionbench.diffusion.flow import FlowMatching
from actionbench.diffusion.transformer import CrossAttentionTransformer
from actionbench.files.kinds import SANA
from actionbench.suite.items import SLOT


@dataclass(frozen=True)
class Beginning:
    """What stands before a prompt's words, encoded."""

    first: Tensor
    """[1, 1, D], the state of the first token."""
    keys_and_values: tuple[tuple[Tensor, Tensor], ...]
    """Of each of the text encoder's layers, [1, heads, P, head width]."""


class Sana(FlowMatching, CrossAttentionTransformer):
    """A pipeline of SANA's shape."""

    kind = SANA

    def __init__(self, pipeline: Any, **options: Any) -> None:
        super().__init__(pipeline, **options)
        stock = inspect.signature(type(pipeline).__call__).parameters
        lines: list[str] = stock["complex_human_instruction"].default
        # A word's token holds the space before it: the instruction's last one is the prompt's.
        self._instruction = self._ids_of("\n".join(lines).rstrip())
        self._beginnings: dict[tuple[int, ...], Beginning] = {}

    # -- tokens ----------------------------------------------------------------------------

    def _ids_of(self, text: str) -> list[int]:
        return list(self.pipeline.tokenizer(text, add_special_tokens=False).input_ids)

    def _parts(self, text: str) -> list[str]:
        """Split a prompt as it stands behind the instruction: a word's token holds its space."""
        before, *after = f" {self._prepared(text)}".split(SLOT)
        return [before.rstrip() if after else before, *after]

    def word_ids(self, text: str) -> list[int]:
        return self._ids_of(f" {self._prepared(text)}")

    def _end(self, prompt: Tokens) -> int:
        """Return the position behind a prompt's words; padding is no word."""
        padding, length = self.pipeline.tokenizer.pad_token_id, len(prompt.ids)
        places = (n for n, token in enumerate(prompt.ids) if token == padding)
        return next((place for place in places if place not in prompt.slot), length)

    # -- text ------------------------------------------------------------------------------

    def _encode_rows(self, prompts: Sequence[Tokens], vectors: Tensor | None) -> Tensor:
        return self._encode_behind(self._instruction, prompts, vectors)

    def _encode_negative(self, text: str) -> Tensor:
        tokenizer = self.pipeline.tokenizer
        ids = [tokenizer.bos_token_id, *self._ids_of(self._prepared(text))][: self.length]
        padding = [tokenizer.pad_token_id] * (self.length - len(ids))
        return self._encode_behind([], [Tokens((*ids, *padding), ())], None)

    def _encode_behind(
        self, instruction: Sequence[int], prompts: Sequence[Tokens], vectors: Tensor | None
    ) -> Tensor:
        """Encode B prompts that stand behind an instruction, as `_encode_rows` does."""
        ends = torch.tensor([self._end(p) for p in prompts], device=self.device)
        longest = int(ends.max())
        mask = (torch.arange(self.length, device=self.device) < ends[:, None]).long()
        table = self.pipeline.text_encoder.get_input_embeddings()
        own = torch.tensor([p.ids[1:longest] for p in prompts], device=self.device).long()
        embeddings = table(own)
        layers = 1
        if vectors is not None:
            layers = vectors.shape[1]
            slots = torch.tensor([p.slot for p in prompts], device=self.device) - 1
            mask, slots, embeddings = (
                rows.repeat_interleave(layers, 0) for rows in (mask, slots, embeddings)
            )
            # What Gemma reads is its table's embeddings times this.
            scale = getattr(table, "embed_scale", 1.0)
            embeddings = place_vectors(
                embeddings, slots, vectors.to(self.device).flatten(0, 1) * scale
            )
        count = len(embeddings)
        beginning = self._beginning(instruction)
        states = beginning.first.expand(count, -1, -1)
        if longest > 1:
            past = DynamicCache()
            for number, kept in enumerate(beginning.keys_and_values):
                past.update(*(each.expand(count, -1, -1, -1) for each in kept), number)
            rest = self.pipeline.text_encoder(
                inputs_embeds=embeddings, past_key_values=past, use_cache=True
            ).last_hidden_state
            states = torch.cat([states, rest], 1)
        # Padding is masked wherever states are seen, so that it is not encoded.
        return self._packed(pad(states, (0, 0, 0, self.length - longest)), mask, layers)

    def _beginning(self, instruction: Sequence[int]) -> Beginning:
        """Encode the text's first token and an instruction, once."""
        ids = (self.pipeline.tokenizer.bos_token_id, *instruction)
        if ids not in self._beginnings:
            with torch.no_grad():
                encoded = self.pipeline.text_encoder(
                    torch.tensor([ids], device=self.device), use_cache=True
                )
            kept = tuple((layer.keys, layer.values) for layer in encoded.past_key_values.layers)
            self._beginnings[ids] = Beginning(encoded.last_hidden_state[:, :1], kept)
        return self._beginnings[ids]

    # -- transformer and autoencoder -------------------------------------------------------

    def _conditions(self, timesteps: Tensor) -> dict[str, Any]:
        return {"timestep": timesteps * self.denoiser.config.timestep_scale}

    def _posterior(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        latents = self.pipeline.vae.encode(pixels).latent
        return latents, torch.zeros_like(latents)
