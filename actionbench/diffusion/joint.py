"""The transformer in which text and picture are one sequence: Stable Diffusion 3 and 3.5.

Esser et al., "Scaling Rectified Flow Transformers for High-Resolution Image Synthesis", ICML 2024,
arXiv 2403.03206.

The text's stream has S = T + T3 positions: T of both CLIP encoders' penultimate states side by
side, filled up with zeros, and T3 of T5's last ones, or zeros without T5. The transformer projects
them once, and each block attends to them and changes them. Beside them it takes both CLIP encoders'
pooled texts, [P]. An identifier lives in all token tables: of its D = D1 + D2 + D3 channels the
first are for CLIP's, the last for T5's.

Layer-wise identifiers are ours: no published method defines them for a stream that blocks hand on.
The first layer's token is the one in the prompt. Each later layer's is encoded in its place, and
before its block the stream is given, at the identifier's positions alone, what its projected states
there differ by from those of the layer before. So what stands there of the prompt is each block's
own; equal tokens add nothing, and are one identifier.

States are [B, R, W + 1] for states of width W, with rows one after another: S of the stream, whose
last channel numbers the identifier's K positions from 1; pooled text in as many as it takes; and
K for each layer but the first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import linear, pad
from torch.utils.checkpoint import checkpoint

from actionbench.diffusion.backbone import Tokens, place_vectors
from actionbench.diffusion.clip_pair import ClipPair
from actionbench.diffusion.denoising import widened
from actionbench.diffusion.flow import FlowMatching
from actionbench.errors import UserError
from actionbench.files.kinds import JOINT

T5_LENGTH = 256
"""T3 at most. Read: the stock pipeline's default."""


class JointTransformer(FlowMatching, ClipPair):
    """A pipeline of Stable Diffusion 3's shape."""

    kind = JOINT

    def __init__(self, pipeline: Any, *, name: str, **options: Any) -> None:
        if pipeline.text_encoder_3 is None:
            self.kind = JOINT.least()
        super().__init__(pipeline, name=name, **options)
        self.other_length = T5_LENGTH
        """T3, the positions of T5's states."""
        if self._has_t5:
            longest = int(pipeline.tokenizer_3.model_max_length)
            self.other_length = min(longest, T5_LENGTH)
        if pipeline.vae.config.shift_factor is None:
            raise UserError(
                f"model {name}: its autoencoder has no shift_factor, which latents of a "
                f"{self.kind.title} are shifted by: take the original's vae/config.json"
            )
        if self._clip_width > self._state_width:
            raise UserError(
                f"model {name}: its CLIP encoders' states are {self._clip_width} wide together, "
                f"its transformer takes {self._state_width}: the parts are of different models"
            )

    @property
    def _has_t5(self) -> bool:
        return "text_encoder_3" in self.kind.text_encoders

    @property
    def _t5_table(self) -> Tensor:
        """T5's embeddings of its vocabulary [V3, D3]."""
        table: Tensor = self.pipeline.text_encoder_3.get_input_embeddings().weight.detach()
        return table

    @property
    def token_tables(self) -> list[Tensor]:
        return [*self._clip_tables, *([self._t5_table] if self._has_t5 else [])]

    @property
    def width(self) -> int:
        return sum(int(table.shape[1]) for table in self.token_tables)

    @property
    def _state_width(self) -> int:
        """W, the width of the stream's states before they are projected."""
        return int(self.denoiser.config.joint_attention_dim)

    @property
    def _stream(self) -> int:
        """S, the positions of the text's stream."""
        return self.length + self.other_length

    @property
    def _pooled_width(self) -> int:
        """P, the width of both encoders' pooled text."""
        return sum(int(encoder.config.projection_dim) for encoder in self._encoders)

    @property
    def _pooled_rows(self) -> int:
        return -(-self._pooled_width // self._state_width)

    @staticmethod
    def conditioned_layers(denoiser: Any) -> tuple[str, ...]:
        return tuple(f"transformer_blocks.{n}" for n in range(len(denoiser.transformer_blocks)))

    def cross_attentions(self) -> list[torch.nn.Module]:
        """List the joint attentions: of picture and text, to picture and text."""
        return [block.attn for block in self.denoiser.transformer_blocks]

    def text_projections(self) -> list[torch.nn.Module]:
        joint: list[Any] = self.cross_attentions()
        return [p for attention in joint for p in (attention.add_k_proj, attention.add_v_proj)]

    @property
    def _latent_shift(self) -> float:
        return float(self.pipeline.vae.config.shift_factor)

    # -- tokens ----------------------------------------------------------------------------

    def _tokenize(self, text: str, slot_length: int) -> Tokens:
        own = super()._tokenize(text, slot_length)
        if not self._has_t5:
            return own
        other = (self.pipeline.tokenizer_3, text, slot_length, self.other_length)
        return Tokens(own.ids, own.slot, self._tokenize_by(*other, begins=False))

    def token_embeddings(self, ids: Sequence[int]) -> Tensor:
        """Look up CLIP's embeddings of ids of its vocabulary, and beside them T5's of their text.

        Where T5 splits a token's text, the mean of its parts.
        """
        clip = super().token_embeddings(ids)
        if not self._has_t5:
            return clip
        t5 = clip.new_empty(len(ids), self._t5_table.shape[1])
        for row, number in enumerate(ids):
            t5[row] = self._t5_embedding(self.pipeline.tokenizer.decode([number]))
        return torch.cat([clip, t5], -1)

    def _t5_embedding(self, text: str) -> Tensor:
        """Return the mean of T5's embeddings of a text, float32 or wider [D3]."""
        tokenizer = self.pipeline.tokenizer_3
        ids = tokenizer(text, add_special_tokens=False).input_ids or [tokenizer.unk_token_id]
        return widened(self._t5_table[ids]).mean(0)

    def token_norms(self) -> Tensor:
        """Return norms of CLIP's vocabulary; T5 has another one, of which each has the median."""
        clip = super().token_norms()
        if not self._has_t5:
            return clip
        median = self._t5_table.float().norm(dim=-1).median().to(clip.device)
        return (clip.square() + median.square()).sqrt()

    def word_embedding(self, text: str) -> Tensor:
        word = super().word_embedding(text)
        if self._has_t5:  # by its own way to split the whole of it
            word[self._clip_width :] = self._t5_embedding(text)
        return word

    # -- states ----------------------------------------------------------------------------

    def _encode_rows(self, prompts: Sequence[Tokens], vectors: Tensor | None) -> Tensor:
        count = len(prompts)
        parts: Sequence[Tensor | None] = (None, None)
        if vectors is not None:
            parts = vectors.split([self._clip_width, self.width - self._clip_width], -1)
        states, lasts = self._encode_clip(prompts, parts[0])
        states = pad(states, (0, self._state_width - self._clip_width))
        states = torch.cat([states, self._encode_t5(prompts, parts[1], states)], 1)
        layers = states.unflatten(0, (count, -1))  # [B, L, S, W]
        marks = torch.zeros(count, self._stream, device=self.device, dtype=states.dtype)
        own = [self._places(p) for p in prompts]
        places = torch.tensor(own, device=self.device, dtype=torch.long)
        numbers = torch.arange(1, places.shape[1] + 1, device=self.device, dtype=states.dtype)
        marks.scatter_(1, places, numbers.expand(count, -1))
        pooled = torch.cat(
            [
                self._pooled_by(encoder, last.unflatten(0, (count, -1))[:, 0], prompts)
                for encoder, last in zip(self._encoders, lasts)
            ],
            -1,
        )
        where = places[:, None, :, None].expand(-1, layers.shape[1] - 1, -1, self._state_width)
        later = layers[:, 1:].gather(2, where).flatten(1, 2)
        seen = torch.cat([layers[:, 0], marks[..., None]], -1)
        return torch.cat([seen, self._rows(pooled), pad(later, (0, 1))], 1)

    def _rows(self, pooled: Tensor) -> Tensor:
        """Put pooled text [B, P] into rows of states."""
        padded = pad(pooled, (0, -pooled.shape[1] % self._state_width))
        return pad(padded.unflatten(1, (-1, self._state_width)), (0, 1))

    def _places(self, prompt: Tokens) -> list[int]:
        """List the identifier's positions in the stream: first CLIP's, then T5's."""
        other = () if prompt.other is None else prompt.other.slot
        return [*prompt.slot, *(self.length + place for place in other)]

    def _encode_t5(self, prompts: Sequence[Tokens], vectors: Tensor | None, clip: Tensor) -> Tensor:
        """Encode B prompts by T5, as many rows as `clip` has: [R, T3, W]; zeros without it.

        It sees its padding, as the stock pipeline has it. It is not causal, so that nothing of a
        prompt is encoded beforehand.
        """
        if not self._has_t5:
            return clip.new_zeros(len(clip), self.other_length, self._state_width)
        others = [p.other for p in prompts if p.other is not None]
        ids = torch.tensor([other.ids for other in others], device=self.device)
        encoder = self.pipeline.text_encoder_3
        embeddings = encoder.get_input_embeddings()(ids)
        if vectors is not None:
            slots = torch.tensor([other.slot for other in others], device=self.device)
            slots, embeddings = (
                rows.repeat_interleave(vectors.shape[1], 0) for rows in (slots, embeddings)
            )
            vectors = vectors.to(self.device).flatten(0, 1)
            embeddings = place_vectors(embeddings, slots, vectors)
        states: Tensor = encoder(inputs_embeds=embeddings).last_hidden_state
        return states.to(clip.dtype)

    def _tiled(self, plain: Tensor, states: Tensor) -> Tensor:
        # No position of it is the identifier's, so that nothing is added anywhere.
        return pad(plain, (0, 0, 0, states.shape[1] - plain.shape[1]))

    def _pooled(self, states: Tensor) -> Tensor:
        rows = states[:, self._stream : self._stream + self._pooled_rows, :-1]
        return rows.flatten(1)[:, : self._pooled_width]

    def _injected(self, states: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Return what each block but the first is given: where [B, S, K], and what [B, K, dim]."""
        later = states[:, self._stream + self._pooled_rows :, :-1]
        if not later.shape[1]:
            return []
        each = later.unflatten(1, (len(self.layers) - 1, -1))
        marks = states[:, : self._stream, -1:]
        numbers = torch.arange(1, each.shape[2] + 1, device=states.device, dtype=states.dtype)
        where = (marks == numbers).to(states.dtype)
        first = where.mT @ states[:, : self._stream, :-1]
        steps = torch.cat([first[:, None], each], 1).diff(dim=1)
        projection = self.denoiser.context_embedder.weight
        return [(where, linear(step, projection)) for step in steps.unbind(1)]

    # -- transformer -----------------------------------------------------------------------

    @contextmanager
    def layer_conditioning(self) -> Iterator[None]:
        """Take states apart before the transformer, and give each block its own, while inside."""
        blocks = self.denoiser.transformer_blocks

        def unpack(_module: Any, args: Any, kwargs: dict[str, Any]) -> Any:
            states = kwargs["encoder_hidden_states"]
            for block in blocks:
                block.injected = None
            for block, injected in zip(blocks[1:], self._injected(states)):
                block.injected = injected
            return args, {**kwargs, "encoder_hidden_states": states[:, : self._stream, :-1]}

        def giver(_number: int) -> Callable[..., Any]:
            def give(block: Any, args: Any, kwargs: dict[str, Any]) -> Any:
                if "encoder_hidden_states" not in kwargs:  # checkpointed: `run` has given it
                    return None
                states = _with_injected(block, kwargs["encoder_hidden_states"])
                return args, {**kwargs, "encoder_hidden_states": states}

            return give

        handle = self.denoiser.register_forward_pre_hook(unpack, with_kwargs=True)
        try:
            with self.before_layers(giver):
                yield
        finally:
            handle.remove()
            for block in blocks:
                block.injected = None

    def _checkpoint_blocks(self) -> None:
        # A block is computed again after `layer_conditioning` has ended: what it is given is added
        # here, where it is kept for that.
        def run(block: Any, hidden: Tensor, states: Tensor, *rest: Any) -> Any:
            states = _with_injected(block, states)
            return checkpoint(block, hidden, states, *rest, use_reentrant=False)

        self.denoiser.enable_gradient_checkpointing(run)

    def predict(self, noisy: Tensor, timesteps: Tensor, states: Tensor) -> Tensor:
        with self.layer_conditioning():
            return self.denoiser(
                hidden_states=noisy,
                timestep=timesteps,
                encoder_hidden_states=states,
                pooled_projections=self._pooled(states),
                return_dict=False,
            )[0]

    def _arguments(self, states: Tensor, negative: Tensor) -> dict[str, Any]:
        without = negative.expand(len(states), -1, -1)
        return {
            "prompt_embeds": states,
            "pooled_prompt_embeds": self._pooled(states),
            "negative_prompt_embeds": without,
            "negative_pooled_prompt_embeds": self._pooled(without),
        }


def _with_injected(block: Any, states: Tensor) -> Tensor:
    """Add to a block's states [B, S, dim] what `layer_conditioning` has left for it."""
    if block.injected is None:
        return states
    where, what = block.injected
    return states + where @ what
