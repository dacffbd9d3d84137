"""One pass of the text encoder for the samples of one prompt, and each sample's own gradient.

A rule that looks at each sample's gradient (ADI's) gives every sample a copy of the identifier. The
copies are equal, so samples of one prompt have the same states: ADI's anchor and action-different
image are under one caption. Fits in lockstep share no pass: each has an identifier of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from actionbench.diffusion.backbone import Tokens

Encode = Callable[[Sequence["Tokens"], Tensor], Tensor]
"""From U prompts and a leaf for each [U, L, N, D] to states [U, T, L * D]."""


def encode_equal(
    encode: Encode,
    prompts: Sequence[Tokens],
    leaves: Tensor,
    owners: Sequence[int] | None = None,
) -> Tensor:
    """Encode B prompts with a leaf for each [B, L, N, D], each different prompt once.

    Args:
        encode: encodes prompts with a leaf for each.
        prompts: B tokenized prompts.
        leaves: of equal values for one owner; their gradients differ, and are each sample's own.
        owners: of which fit each leaf is; None if all are of one.

    Returns:
        States [B, T, L * D].
    """
    keys = list(zip(owners or [0] * len(prompts), prompts, strict=True))
    if len(set(keys)) == len(keys):
        return encode(prompts, leaves)
    states: Tensor = _EncodeEqual.apply(leaves, encode, keys)
    return states


@dataclass(frozen=True)
class _Part:
    """Prompts that stand equally often in the batch."""

    leaves: Tensor
    states: Tensor
    rows: Sequence[Sequence[int]]
    """The samples of the prompts' first occurrence, of their second, and so on."""


class _EncodeEqual(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, leaves: Tensor, encode: Encode, keys: Sequence[tuple[int, Tokens]]
    ) -> Tensor:
        places: dict[tuple[int, Tokens], list[int]] = {}
        for row, key in enumerate(keys):
            places.setdefault(key, []).append(row)
        ctx.parts = []
        for count in sorted({len(rows) for rows in places.values()}):
            unique = {key: rows for key, rows in places.items() if len(rows) == count}
            occurrences = list(zip(*unique.values(), strict=True))
            with torch.enable_grad():
                own = leaves[list(occurrences[0])].detach().requires_grad_()
                states = encode([prompt for _, prompt in unique], own)
                ctx.parts.append(_Part(own, states, occurrences))
        first = ctx.parts[0].states
        result = first.new_empty(len(keys), *first.shape[1:])
        for part in ctx.parts:
            for rows in part.rows:
                result[list(rows)] = part.states.detach()
        return result

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, None, None]:
        result = None
        for part in ctx.parts:
            for number, rows in enumerate(part.rows, 1):
                again = number < len(part.rows)
                (own,) = torch.autograd.grad(
                    part.states, part.leaves, gradient[list(rows)], retain_graph=again
                )
                if result is None:
                    result = own.new_empty(len(gradient), *own.shape[1:])
                result[list(rows)] = own
        return result, None, None
