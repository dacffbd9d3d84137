"""The transformer with cross-attention to T5: PixArt-Sigma (Chen et al., arXiv 2403.04692).

SANA's shares all of it but text encoder, autoencoder and noise (`sana.py`).

Each of the transformer's blocks is a conditioned layer, so that P+ and ADI carry over as they are.
The transformer projects the text's states once, before its first block. The L states of layer-wise
identifiers therefore stand one after another, [B, L * T, D], are projected together, and each block
is given its own T. A last channel says which positions are text (1) and which are padding (0):
states are [B, T or L * T, D + 1].

T5 is not causal: an identifier changes the states of the words before it as well, so that nothing
of a prompt is encoded beforehand.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from actionbench.diffusion.backbone import Backbone, Tokens, place_vectors
from actionbench.files.kinds import TRANSFORMER

_STATES = 2
"""Where a block takes the text's states among its positional arguments, which checkpoints use."""


class CrossAttentionTransformer(Backbone):
    """A pipeline of PixArt-Sigma's shape."""

    kind = TRANSFORMER

    @property
    def width(self) -> int:
        return int(self._table.shape[1])

    @staticmethod
    def conditioned_layers(denoiser: Any) -> tuple[str, ...]:
        return tuple(f"transformer_blocks.{n}" for n in range(len(denoiser.transformer_blocks)))

    def cross_attentions(self) -> list[torch.nn.Module]:
        return [block.attn2 for block in self.denoiser.transformer_blocks]

    # -- text ------------------------------------------------------------------------------

    def _encode_rows(self, prompts: Sequence[Tokens], vectors: Tensor | None) -> Tensor:
        ids = torch.tensor([p.ids for p in prompts], device=self.device)
        ends = [p.ids.index(self.pipeline.tokenizer.eos_token_id) for p in prompts]
        places = torch.arange(self.length, device=self.device)
        mask = (places <= torch.tensor(ends, device=self.device)[:, None]).long()
        embeddings = self.pipeline.text_encoder.get_input_embeddings()(ids)
        layers = 1
        if vectors is not None:
            layers = vectors.shape[1]
            vectors = vectors.to(self.device).flatten(0, 1)
            slots = torch.tensor([p.slot for p in prompts], device=self.device)
            mask, slots, embeddings = (
                rows.repeat_interleave(layers, 0) for rows in (mask, slots, embeddings)
            )
            embeddings = place_vectors(embeddings, slots, vectors)
        states = self.pipeline.text_encoder(
            inputs_embeds=embeddings, attention_mask=mask
        ).last_hidden_state
        return self._packed(states, mask, layers)

    def _packed(self, states: Tensor, mask: Tensor, layers: int) -> Tensor:
        """Put states [B * L, T, D] and which are text [B * L, T] into [B, L * T, D + 1]."""
        rows = torch.cat([states, mask[..., None].to(states.dtype)], -1)
        return rows if layers == 1 else rows.unflatten(0, (-1, layers)).flatten(1, 2)

    def _tiled(self, plain: Tensor, states: Tensor) -> Tensor:
        return plain.repeat(1, states.shape[1] // plain.shape[1], 1)

    def _split(self, states: Tensor) -> tuple[Tensor, Tensor]:
        """Return the states [B, T or L * T, D] and the mask [B, T], which all layers share."""
        return states[..., :-1], states[:, : self.length, -1]

    # -- transformer -----------------------------------------------------------------------

    def _checkpoint_blocks(self) -> None:
        # A block is computed again after `layer_conditioning` has ended: it is given its own
        # positions here, where they are kept for that.
        length, packed = self.length, self.length * len(self.layers)
        for number, block in enumerate(self.denoiser.transformer_blocks):
            block.conditioned_layer = number

        def run(block: Any, *args: Any) -> Any:
            states = args[_STATES]
            if states.shape[1] == packed:
                start = block.conditioned_layer * length
                states = states[:, start : start + length]
            args = (*args[:_STATES], states, *args[_STATES + 1 :])
            return checkpoint(block, *args, use_reentrant=False)

        self.denoiser.enable_gradient_checkpointing(run)

    def layer_conditioning(self) -> AbstractContextManager[None]:
        """Give each block its own T positions of layer-wise states, while inside."""
        packed = self.length * len(self.layers)

        def slicer(number: int) -> Any:
            own = slice(number * self.length, (number + 1) * self.length)

            def take(_module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
                positional = len(args) > _STATES
                states = args[_STATES] if positional else kwargs["encoder_hidden_states"]
                if states.shape[1] == packed:
                    states = states[:, own]
                if positional:
                    return (*args[:_STATES], states, *args[_STATES + 1 :]), kwargs
                return args, {**kwargs, "encoder_hidden_states": states}

            return take

        return self.before_layers(slicer)

    def predict(self, noisy: Tensor, timesteps: Tensor, states: Tensor) -> Tensor:
        seen, mask = self._split(states)
        with self.layer_conditioning():
            prediction = self.denoiser(
                noisy,
                encoder_hidden_states=seen,
                encoder_attention_mask=mask,
                return_dict=False,
                **self._conditions(timesteps),
            )[0]
        # The second half of the channels, if there is one, is a learned variance.
        return prediction[:, : noisy.shape[1]]

    def _conditions(self, timesteps: Tensor) -> dict[str, Any]:
        """Return what the transformer takes beside latents and text."""
        return {
            "timestep": timesteps,
            "added_cond_kwargs": {"resolution": None, "aspect_ratio": None},
        }

    def _arguments(self, states: Tensor, negative: Tensor) -> dict[str, Any]:
        seen, mask = self._split(states)
        without, mask_without = self._split(negative.expand(len(states), -1, -1))
        return {
            "prompt_embeds": seen,
            "prompt_attention_mask": mask,
            "negative_prompt": None,
            "negative_prompt_embeds": without,
            "negative_prompt_attention_mask": mask_without,
            "use_resolution_binning": False,  # pictures are of the model's own size
        }
