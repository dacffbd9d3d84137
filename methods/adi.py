"""ADI, the Action-Disentangled Identifier: layer-wise tokens, updated in action channels alone.

Huang et al., "Learning Disentangled Identifiers for Action-Customized Text-to-Image Generation",
CVPR 2024, arXiv 2311.15841. No code of it is public; what the paper leaves open is a setting.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
from torch import Tensor

from actionbench.diffusion.denoising import add_noise
from actionbench.diffusion.exemplars import Exemplars
from actionbench.diffusion.token_learning import (
    PUPPET_WORDS,
    SEARCHED_ON_PUPPETS,
    Batch,
    DrawBatch,
    Fit,
    GradientRule,
    TokenMethod,
    TokenSettings,
    TrainingPrompts,
    learning_work,
)
from actionbench.errors import UserError
from actionbench.method import Presets, Question, Variant, Work, varied
from actionbench.progress import Progress
from actionbench.settings import setting
from actionbench.suite.items import ActionTask
from methods.adi_pool import PoolSettings, action_different_pool, pool_name, pool_work

if TYPE_CHECKING:
    from actionbench.diffusion.backbone import Backbone

TRIPLE = 3
"""Samples of a triple, in this order: anchor, context-different, action-different."""

_POOL_STREAM = 0x706F6F6C
"""Tells the pool's random stream from the learning loop's, which has the seed itself. Any number
but zero, within 32 bits: torch's CPU generator looks at no more of a seed."""


_RECALLED = "recalled: no code is public"


@dataclass(frozen=True)
class Settings(PoolSettings, TokenSettings):
    """`beta`, `steps` and AdamW's rate are recalled from the paper."""

    steps: int = setting(3000, "optimisation steps", low=1, source=_RECALLED)
    batch_size: int = setting(
        1, "triples a step: three samples each", low=1, source="ours: a triple is a step's sample"
    )
    learning_rate: float = setting(
        5e-3, "AdamW's learning rate", low=0, rate="token", source=_RECALLED
    )
    prompts: Literal["template", "caption"] = setting(
        "caption",
        "train on each exemplar's own caption with the action replaced, or on `templates`",
        source="read: the project page",
    )
    layerwise: bool = setting(
        True,
        "one token for each cross-attention layer; false: one for all",
        source="read: the paper",
    )
    beta: float = setting(
        0.6, "share of the channels that each mask masks", low=0, high=1, source=_RECALLED
    )
    merge: Literal["intersection", "union", "context", "action", "none"] = setting(
        "intersection",
        "which masks a channel must pass to be updated",
        source="read: the paper",
    )
    quantile: Literal["per-layer", "all"] = setting(
        "per-layer",
        "the share beta is taken of each layer's channels, or of all layers' together",
        source="ours: the paper leaves it open",
    )
    share_timestep: bool = setting(
        True,
        "the three samples of a triple have one timestep",
        source="ours: it lowers the variance of the gradients' differences",
    )
    share_noise: bool = setting(
        True,
        "the three samples of a triple have one noise",
        source="ours: it lowers the variance of the gradients' differences",
    )
    masked_channels: Literal["frozen", "zero-gradient"] = setting(
        "zero-gradient",
        "in a step that masks it, a channel gets a gradient of zero, and momentum and weight decay "
        "still move it; or it and its AdamW moments stay",
        source="read: the paper's equation overwrites the gradient, then the optimiser steps",
    )


class ADI(TokenMethod[Settings]):
    """Each step: a triple's three gradients, two masks, and the anchor's gradient under both."""

    name = "adi"
    title = "ADI"
    reference = "Huang et al., CVPR 2024, arXiv 2311.15841"
    Settings = Settings
    presets: ClassVar[Presets] = {
        "puppet-diffusion": {
            **PUPPET_WORDS,
            # Poses that the miniature knows by name.
            "pool_actions": ("stands", "walks", "waves", "jumps"),
            # How the miniature draws well: the suite's own sampling has 16 steps and guidance 3.
            "pool_sampling_steps": 8,
            "pool_guidance_scale": 4.0,
        }
    }
    tuned: ClassVar[Presets] = {
        "puppet-diffusion": {
            "steps": 300,
            "batch_size": 3,
            "learning_rate": 7.5e-2,
            "masked_channels": "frozen",
            "pool_steps": 15,
            "pool_batch_size": 2,
            "pool_learning_rate": 2e-4,
            **SEARCHED_ON_PUPPETS,
        }
    }
    quick: ClassVar[dict[str, Any]] = {"pool": "joint"}

    def layers(self, available: int) -> int:
        return available if self.settings.layerwise else 1

    def batches(self, fit: Fit) -> DrawBatch:
        return Triples(fit.backbone, fit.task, self.settings, fit.seed, fit.progress).draw

    def shared(self, task: ActionTask, seed: int) -> tuple[str, ...]:
        return (pool_name(task, self.settings, seed ^ _POOL_STREAM),)

    def fit_work(self, exemplars: int, layers: int) -> Work:
        settings = self.settings
        triples = TRIPLE * settings.batch_size
        learning = learning_work(settings, self.layers(layers), leaves=triples)
        pool = pool_work(settings, exemplars)
        return replace(
            pool,
            conditioned=learning.conditioned,
            texts=learning.texts,
            batch=learning.batch,
            rows=learning.rows,
        )

    @classmethod
    def ablation(cls) -> tuple[Question, ...]:
        """What ADI consists of, part by part, and what its prompts alone do.

        The papers train on different prompts, ADI on each exemplar's caption, P+ and Textual
        Inversion on a template; the last question gives every method both.
        """
        tokens = (
            Variant("layer-wise", "adi", ("layerwise=true",)),
            Variant("one for all", "adi", ("layerwise=false",)),
        )
        merges = varied("adi", "merge", "none", "context", "action", "union", "intersection")
        noise = tuple(
            Variant(label, "adi", (f"share_timestep={timestep}", f"share_noise={noise}"))
            for label, timestep, noise in (
                ("both shared", "true", "true"),
                ("timestep shared", "true", "false"),
                ("noise shared", "false", "true"),
                ("neither shared", "false", "false"),
            )
        )
        masked = varied("adi", "masked_channels", "zero-gradient", "frozen")
        prompts = tuple(
            Variant(f"{title}, {prompts}", method, (f"prompts={prompts}",))
            for title, method in (
                ("Textual Inversion", "textual-inversion"),
                ("P+", "p-plus"),
                ("ADI", "adi"),
            )
            for prompts in ("template", "caption")
        )
        return (
            Question("tokens", "Tokens", tokens),
            Question("merge", "Masks", merges),
            Question(
                "beta",
                "Masking ratio β",
                varied("adi", "beta", "0.2", "0.4", "0.6", "0.8", "0.9"),
            ),
            Question("masked", "What a masked channel does", masked),
            Question("noise", "Timestep and noise of a triple", noise),
            Question("prompts", "Prompts in training", prompts),
        )

    def rule(self, gradients: Tensor) -> tuple[Tensor, Tensor | None]:
        """Make the update of the gradients of B triples [3 * B, L, N, D], and say who may move.

        Each triple masks its own anchor's gradient; their mean is the update.
        """
        return self._masked(gradients, self._masks(gradients))

    def rule_for(self, fit: Fit) -> GradientRule:
        def noting(gradients: Tensor) -> tuple[Tensor, Tensor | None]:
            masks = self._masks(gradients)
            fit.note("channels_kept", masks.float().mean())
            return self._masked(gradients, masks)

        return noting

    def _masks(self, gradients: Tensor) -> Tensor:
        """Return each triple's merged mask, bool [B, L, N, D]."""
        anchors, contexts, actions = gradients.unflatten(0, (-1, TRIPLE)).unbind(1)
        settings = self.settings
        return disentangling_mask(
            (anchors - contexts).abs(),
            (anchors - actions).abs(),
            beta=settings.beta,
            merge=settings.merge,
            per_layer=settings.quantile == "per-layer",
        )

    def _masked(self, gradients: Tensor, masks: Tensor) -> tuple[Tensor, Tensor | None]:
        anchors = gradients[::TRIPLE]
        frozen = self.settings.masked_channels == "frozen"
        return (anchors * masks).mean(0), masks.any(0) if frozen else None


class Triples:
    """Draws anchor x(a, c), context-different x(a, c') and action-different x(a', c).

    x(a, c') is another exemplar, under its own caption; x(a', c) comes from the anchor's pool,
    under the anchor's caption, whose context it shares.
    """

    def __init__(
        self,
        backbone: Backbone,
        task: ActionTask,
        settings: Settings,
        seed: int,
        progress: Progress,
    ) -> None:
        if len(task.exemplars) < 2:
            raise UserError(
                f"ADI needs two exemplars or more of an action; {task.action.name} has "
                f"{len(task.exemplars)}"
            )
        self.backbone = backbone
        self.settings = settings
        self.prompts = TrainingPrompts(
            backbone,
            task.exemplars,
            settings,
            per_image=settings.templates_drawn == "per-image",
        )
        self.exemplars = Exemplars(backbone, task, progress)
        self.latents = self.exemplars.latents
        self.pool = action_different_pool(
            backbone,
            task,
            self.exemplars,
            settings,
            seed=seed ^ _POOL_STREAM,
            progress=progress,
        )

    def draw(self, generator: torch.Generator) -> Batch:
        exemplars, other_actions = self.pool.shape[:2]
        count = self.settings.batch_size
        anchor = torch.randint(exemplars, (count,), generator=generator)
        apart = torch.randint(1, exemplars, (count,), generator=generator)
        context = (anchor + apart) % exemplars
        choice = torch.randint(other_actions, (count,), generator=generator)
        images = self.latents[torch.cat([anchor, context]).tolist()].sample(generator)
        pooled = self.pool[anchor.tolist(), choice.tolist()]
        latents = torch.stack([images[:count], images[count:], pooled], 1).flatten(0, 1)
        captions = torch.stack([anchor, context, anchor], 1).flatten().tolist()
        noised = add_noise(
            self.backbone,
            latents,
            generator,
            share_timestep=TRIPLE if self.settings.share_timestep else 1,
            share_noise=TRIPLE if self.settings.share_noise else 1,
        )
        # The pool's images are drawn after the anchor, bars and all.
        mask = self.exemplars.mask(captions)
        return Batch(noised, self.prompts.draw(captions, generator), mask)


def disentangling_mask(
    context_difference: Tensor,
    action_difference: Tensor,
    *,
    beta: float,
    merge: str,
    per_layer: bool,
) -> Tensor:
    """Say which channels of v carry the action: True if the anchor's gradient is kept.

    Args:
        context_difference: |g(a, c) - g(a, c')|, [..., L, N, D]. Small: the channel does not mind
            the context, and is kept by the context mask.
        action_difference: |g(a, c) - g(a', c)|, [..., L, N, D]. Small: the channel does not mind
            the action, and is masked by the action mask.
        beta: share of the channels that each mask masks, rounded to whole channels. Taken by
            rank, because a threshold at the quantile would miss the share if values are equal.
        merge: `intersection`, `union`, `context`, `action` or `none`.
        per_layer: whether the share is of each layer's channels or of all together.
    """
    keeps_small = _keep_largest(-context_difference, beta, per_layer)
    keeps_large = _keep_largest(action_difference, beta, per_layer)
    return {
        "intersection": keeps_small & keeps_large,
        "union": keeps_small | keeps_large,
        "context": keeps_small,
        "action": keeps_large,
        "none": torch.ones_like(keeps_small),
    }[merge]


def _keep_largest(values: Tensor, beta: float, per_layer: bool) -> Tensor:
    """Return False for the share `beta` of smallest values; of equal ones the first are masked."""
    rows = values.flatten(-2) if per_layer else values.flatten(-3)
    masked = round(beta * rows.shape[-1])
    smallest = rows.argsort(dim=-1, stable=True)[..., :masked]
    keep = torch.ones_like(rows, dtype=torch.bool).scatter(-1, smallest, False)
    return keep.reshape(values.shape)
