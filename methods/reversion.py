"""ReVersion: one token, drawn towards a basis of words and away from what the captions name.

Huang et al., "ReVersion: Diffusion-Based Relation Inversion from Images", SIGGRAPH Asia 2024,
arXiv 2303.13495.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

import torch
from torch import Tensor
from torch.nn.functional import normalize

from actionbench.diffusion.token_learning import (
    PUPPET_WORDS,
    SEARCHED_ON_PUPPETS,
    Batch,
    DrawBatch,
    ExemplarBatches,
    ExtraLoss,
    Fit,
    TokenMethod,
    TokenSettings,
)
from actionbench.errors import UserError
from actionbench.method import Presets
from actionbench.settings import setting

if TYPE_CHECKING:
    from actionbench.diffusion.backbone import Backbone, Tokens

BASES = {
    # The paper's 56 prepositions.
    "prepositions": """
        aboard about above across after against along alongside amid amidst among amongst anti
        around astride at atop before behind below beneath beside between beyond by down following
        from in including inside into near of off on onto opposite out outside over past regarding
        round through throughout to toward towards under underneath up upon versus with within
    """,
    # The miniature's substitute: what its captions say of bodies in everyday poses. None is an
    # action of the benchmark or for development.
    "poses": """
        claps climbs crawls creeps cries dances flexes flies hops jumps kneels leans lifts lunges
        marches pulls pushes puts reaches runs shrugs skates slips spreads stands stretches thinks
        throws walks waves yawns
    """,
    # Everyday verbs for actions, none of them an action of the benchmark.
    "verbs": """
        brings builds calls carries catches chases claps cleans climbs cooks crawls cuts dances
        digs dives drags drinks drives eats falls flies gives hides holds hops hugs jumps kneels
        knocks laughs leans lifts listens looks lunges opens paints plays pulls pushes puts reaches
        rests rides rolls runs shakes sings skates skips sleeps smiles spreads stands steps
        stretches swims swings takes talks throws turns walks watches waves works
    """,
}

STOP_WORDS = """
    i me my myself we our ours ourselves you your yours yourself yourselves he him his himself she
    her hers herself it its itself they them their theirs themselves what which who whom this that
    these those am is are was were be been being have has had having do does did doing a an the and
    but if or because as until while of at by for with about against between into through during
    before after above below to from up down in out on off over under again further then once here
    there when where why how all any both each few more most other some such no nor not only own
    same so than too very s t can will just don should now
"""
"""Words of a caption that name nothing, as in the reference implementation."""


FEWEST = 20
"""Words of a basis, under which the fit warns: the paper's has 56."""
_READ = "read: the authors' README"


@dataclass(frozen=True)
class Settings(TokenSettings):
    """Those of the authors' code."""

    steps: int = setting(3000, "optimisation steps", low=1, source=_READ)
    batch_size: int = setting(
        8, "exemplars a step", low=1, source="derived: the authors' batch 2 x accumulation 4"
    )
    learning_rate: float = setting(
        2e-3,
        "AdamW's learning rate",
        low=0,
        rate="token",
        source="derived: the authors' 2.5e-4, scaled by batch 2 x accumulation 4",
    )
    initializer: str = setting(
        "and", "word or phrase whose mean embedding starts the token", source=_READ
    )
    prompts: Literal["template", "caption"] = setting(
        "caption",
        "train on each exemplar's own caption with the action replaced, or on `templates`",
        source="read: the authors' coarse descriptions of each exemplar",
    )
    basis: tuple[str, ...] = setting(
        ("prepositions",),
        "words that the token is drawn towards: `prepositions` (paper), `poses`, `verbs`, or any "
        "words; those that the tokenizer does not know as one token are left out",
        source="read: the authors' list; that it suits an action is ours",
    )
    positives: int = setting(4, "basis words drawn for each image of a step", low=1, source=_READ)
    steer_weight: float = setting(0.01, "weight of the steering loss", low=0, source=_READ)
    temperature: float = setting(0.07, "of the steering loss", low=1e-3, source=_READ)
    focus: float = setting(
        0.5,
        "how much large timesteps are favoured: p(t) ~ 1 - focus cos(pi t / T)",
        low=0,
        high=1,
        source="read: the paper, relation-focal importance sampling",
    )


class ReVersion(TokenMethod[Settings]):
    """All cross-attention layers see the same token r [1, 1, D]; prompt "<subject> <r>"."""

    name = "reversion"
    title = "ReVersion"
    reference = "Huang et al., SIGGRAPH Asia 2024, arXiv 2303.13495"
    Settings = Settings
    # Of the prepositions the miniature knows 8, and half of these begin its backdrops.
    presets: ClassVar[Presets] = {"puppet-diffusion": {**PUPPET_WORDS, "basis": ("poses",)}}
    tuned: ClassVar[Presets] = {
        "puppet-diffusion": {
            "steps": 220,
            "batch_size": 8,
            "learning_rate": 3e-2,
            **SEARCHED_ON_PUPPETS,
            "initializer": "and",
            "basis": ("prepositions",),
        }
    }

    def batches(self, fit: Fit) -> DrawBatch:
        weights = focal_weights(fit.backbone.timesteps, self.settings.focus)
        return ExemplarBatches(
            fit.backbone, fit.task, self.settings, weights, progress=fit.progress
        ).draw

    def extra_loss(self, fit: Fit) -> ExtraLoss:
        steering = Steering(fit.backbone, self.settings)
        size = len(steering.basis)
        fit.note("basis_words", size)
        if size < FEWEST:
            fit.progress.note(
                f"ReVersion's basis has {size} words that {fit.backbone.name} knows, the paper's "
                "has 56: name more with --set basis="
            )
        return steering.loss


def focal_weights(timesteps: int, focus: float) -> Tensor:
    """Weigh timesteps for relation-focal sampling: t is drawn by 1 - focus cos(pi t / T), [T].

    At large t the layout is decided, and with it who relates to whom.
    """
    return 1 - focus * torch.cos(math.pi * torch.arange(timesteps) / timesteps)


class Steering:
    """The steering loss of a step: basis words against what its captions name."""

    def __init__(self, backbone: Backbone, settings: Settings) -> None:
        self.settings = settings
        self.backbone = backbone
        words = " ".join(BASES.get(entry, entry) for entry in settings.basis).split()
        ids = self._single_tokens(words)
        if not ids:
            raise UserError(
                f"none of the {len(words)} basis words ({', '.join(settings.basis)}) is a single "
                f"token of {backbone.name}'s tokenizer: name words that it knows with --set basis="
            )
        self.basis = self._unit(ids)
        self.ignored = {*ids, *self._single_tokens(STOP_WORDS.split())}
        self._named: dict[Tokens, Tensor] = {}

    def loss(self, vectors: Tensor, batch: Batch, generator: torch.Generator) -> Tensor:
        """Compute it, weighted; positives are drawn anew for each image, without repetition."""
        s = self.settings
        order = torch.rand(len(batch.prompts), len(self.basis), generator=generator)
        drawn = order.topk(min(s.positives, len(self.basis))).indices.flatten()
        negatives = torch.cat([self.named(prompt) for prompt in batch.prompts])
        return s.steer_weight * steering_loss(
            vectors.flatten(0, -2), self.basis[drawn.tolist()], negatives, s.temperature
        )

    def named(self, prompt: Tokens) -> Tensor:
        """Look up unit embeddings [M, D] of the prompt's words but stop and basis words."""
        if prompt not in self._named:
            own = self.backbone.own_ids(prompt)
            self._named[prompt] = self._unit([t for t in own if t not in self.ignored])
        return self._named[prompt]

    def _single_tokens(self, words: Sequence[str]) -> list[int]:
        """List the ids of those words that the tokenizer knows whole."""
        split = [self.backbone.word_ids(word) for word in words]
        return list(dict.fromkeys(ids[0] for ids in split if len(ids) == 1))

    def _unit(self, ids: Sequence[int]) -> Tensor:
        return normalize(self.backbone.token_embeddings(ids), dim=-1)


def steering_loss(
    vectors: Tensor, positives: Tensor, negatives: Tensor, temperature: float
) -> Tensor:
    """Compute the relation-steering contrastive loss, the mean over `vectors` [R, D] of

        -log( sum over P of e^(cos(r, p) / temperature) / sum over P and N of the same )

    with `positives` P [P, D] and `negatives` N [M, D] of unit length. Zero if M is.
    """
    similar = normalize(vectors, dim=-1) @ torch.cat([positives, negatives]).T / temperature
    return (similar.logsumexp(1) - similar[:, : len(positives)].logsumexp(1)).mean()
