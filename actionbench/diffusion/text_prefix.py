"""Encoding with CLIP's text encoder from an identifier's slot on.

The encoder is causal: the positions before the slot do not depend on the identifier. They are
encoded once for each prompt and kept; each step then encodes only the rest. For layer-wise
identifiers (L rows per prompt) that saves most of a fit's text cost.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from torch.utils.checkpoint import checkpoint


@dataclass(frozen=True)
class Prefix:
    """The P positions of a prompt before its slot, as the encoder's later positions see them."""

    states: Tensor
    """[P, D], the encoder's output."""
    penultimate: Tensor
    """[P, D], what its last layer takes."""
    keys: tuple[Tensor, ...]
    """[heads, P, head width] for each layer of the encoder."""
    values: tuple[Tensor, ...]
    """Shaped like `keys`."""


def encode_prefix(text_encoder: Any, ids: Sequence[int]) -> Prefix:
    """Encode the first P ids of a prompt (P at least 1: BOS)."""
    with torch.no_grad():
        tokens = torch.tensor([ids], device=text_encoder.device)
        embeddings = text_encoder.get_input_embeddings()(tokens)
        states, penultimate, keys, values = _encode(text_encoder, embeddings, None)
    return Prefix(states[0], penultimate[0], tuple(k[0] for k in keys), tuple(v[0] for v in values))


def encode_both(text_encoder: Any, ids: Tensor) -> tuple[Tensor, Tensor]:
    """Encode whole prompts, ids [B, T].

    The library's own `output_hidden_states` would leave hooks in the encoder.

    Returns:
        The encoder's output, and what its last layer takes, each [B, T, D].
    """
    states, penultimate, _, _ = _encode(
        text_encoder, text_encoder.get_input_embeddings()(ids), None
    )
    return states, penultimate


def encode_from(
    text_encoder: Any,
    embeddings: Tensor,
    prefixes: Sequence[Prefix],
    *,
    checkpointing: bool = False,
) -> Tensor:
    """Return the encoder's output for R prompts; arguments as for `encode_both_from`.

    Returns:
        [R, P + S, D], differentiable in `embeddings`.
    """
    states, _ = encode_both_from(text_encoder, embeddings, prefixes, checkpointing=checkpointing)
    return states


def encode_both_from(
    text_encoder: Any,
    embeddings: Tensor,
    prefixes: Sequence[Prefix],
    *,
    checkpointing: bool = False,
) -> tuple[Tensor, Tensor]:
    """Encode R prompts whose first P positions are encoded already.

    Args:
        embeddings: token embeddings [R, S, D] of the positions from P on.
        prefixes: U prefixes of the same length P; R is a multiple of U, and each prefix is that of
            R / U neighbouring rows.
        checkpointing: keep only the layers' inputs for the backward pass.

    Returns:
        The encoder's output, and what its last layer takes, each [R, P + S, D] and differentiable
        in `embeddings`.
    """
    copies = len(embeddings) // len(prefixes)

    def rows(tensors: Sequence[Tensor]) -> Tensor:
        return torch.stack(list(tensors)).repeat_interleave(copies, 0)

    past = [
        (rows([p.keys[layer] for p in prefixes]), rows([p.values[layer] for p in prefixes]))
        for layer in range(len(prefixes[0].keys))
    ]
    states, penultimate, _, _ = _encode(text_encoder, embeddings, past, checkpointing)
    return (
        torch.cat([rows([p.states for p in prefixes]), states], 1),
        torch.cat([rows([p.penultimate for p in prefixes]), penultimate], 1),
    )


def _encode(
    text_encoder: Any,
    embeddings: Tensor,
    past: list[tuple[Tensor, Tensor]] | None,
    checkpointing: bool = False,
) -> tuple[Tensor, Tensor, list[Tensor], list[Tensor]]:
    """Run the encoder's layers on [R, S, D] after `past` keys and values.

    Returns:
        The output and what the last layer takes, [R, S, D]; and, if `past` is None, each layer's
        keys and values.
    """
    before = 0 if past is None else past[0][0].shape[2]
    length = embeddings.shape[1]
    positions = text_encoder.embeddings.position_embedding.weight[before : before + length]
    hidden = embeddings + positions
    seen = torch.ones(length, before + length, dtype=torch.bool, device=hidden.device).tril(before)
    all_keys: list[Tensor] = []
    all_values: list[Tensor] = []
    for number, layer in enumerate(text_encoder.encoder.layers):
        penultimate = hidden
        if past is None:
            hidden, keys, values = _layer(layer, hidden, seen)
            all_keys.append(keys)
            all_values.append(values)
        elif checkpointing:
            hidden = checkpoint(_layer, layer, hidden, seen, *past[number], use_reentrant=False)[0]
        else:
            hidden = _layer(layer, hidden, seen, *past[number])[0]
    return text_encoder.final_layer_norm(hidden), penultimate, all_keys, all_values


def _layer(
    layer: Any,
    hidden: Tensor,
    seen: Tensor,
    past_keys: Tensor | None = None,
    past_values: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Run one layer of the encoder on [R, S, D]; return its output and the keys and values."""
    attention = layer.self_attn
    inner = layer.layer_norm1(hidden)
    query, keys, values = (
        project(inner).unflatten(-1, (attention.num_heads, -1)).transpose(1, 2)
        for project in (attention.q_proj, attention.k_proj, attention.v_proj)
    )
    attended = scaled_dot_product_attention(
        query,
        keys if past_keys is None else torch.cat([past_keys, keys], 2),
        values if past_values is None else torch.cat([past_values, values], 2),
        attn_mask=seen,
    )
    hidden = hidden + attention.out_proj(attended.transpose(1, 2).flatten(2))
    return hidden + layer.mlp(layer.layer_norm2(hidden)), keys, values
