"""Learn an identifier: the settings, the loop and the interface of all token-learning methods.

An identifier is a float32 tensor [L, N, D]: N token embeddings for each of L cross-attention
layers, L = 1 if all layers share it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, TypeVar

import torch
from torch import Tensor

from actionbench.diffusion.denoising import Noised, add_noise, loss_scale, losses
from actionbench.diffusion.exemplars import Exemplars
from actionbench.diffusion.shared_text import encode_equal
from actionbench.errors import UserError
from actionbench.files.kinds import KINDS
from actionbench.method import MEASURES, Customization, Method, Presets, Work
from actionbench.progress import SILENT, Progress
from actionbench.settings import setting
from actionbench.suite.items import SLOT, ActionTask, Exemplar, Item

if TYPE_CHECKING:
    from PIL.Image import Image

    from actionbench.diffusion.backbone import Backbone, Tokens

CHECK_EVERY = 25
"""Steps between two looks at the loss: each look makes a GPU wait."""


_TEMPLATES = (
    f"a photo of a {SLOT}",
    f"a rendering of a {SLOT}",
    f"a cropped photo of the {SLOT}",
    f"the photo of a {SLOT}",
    f"a photo of a clean {SLOT}",
    f"a photo of a dirty {SLOT}",
    f"a dark photo of the {SLOT}",
    f"a photo of my {SLOT}",
    f"a photo of the cool {SLOT}",
    f"a close-up photo of a {SLOT}",
    f"a bright photo of the {SLOT}",
    f"a cropped photo of a {SLOT}",
    f"a photo of the {SLOT}",
    f"a good photo of the {SLOT}",
    f"a photo of one {SLOT}",
    f"a close-up photo of the {SLOT}",
    f"a rendition of the {SLOT}",
    f"a photo of the clean {SLOT}",
    f"a rendition of a {SLOT}",
    f"a photo of a nice {SLOT}",
    f"a good photo of a {SLOT}",
    f"a photo of the nice {SLOT}",
    f"a photo of the small {SLOT}",
    f"a photo of the weird {SLOT}",
    f"a photo of the large {SLOT}",
    f"a photo of a cool {SLOT}",
    f"a photo of a small {SLOT}",
)
_UNKNOWN_TO_PUPPETS = {
    *("rendering", "cropped", "clean", "dirty", "dark", "my", "cool", "rendition", "nice", "small"),
    *("weird", "large"),
}
PUPPET_WORDS: Mapping[str, Any] = {
    "templates": tuple(t for t in _TEMPLATES if not _UNKNOWN_TO_PUPPETS & set(t.split()))
}
"""The miniature's substitute, for `presets`: the templates in words that it knows whole."""

SEARCHED_ON_PUPPETS: Mapping[str, Any] = {
    "initializer": "stands",
    "templates": (
        f"a photo of a {SLOT}",
        f"a picture of a {SLOT}",
        f"a photo of the {SLOT}",
        f"a picture of the {SLOT}",
        f"a close-up photo of a {SLOT}",
        f"a bright photo of a {SLOT}",
        f"a good photo of a {SLOT}",
        f"an image of a {SLOT}",
    ),
    "templates_drawn": "per-step",
}
"""What the search on puppets-v1 held fixed, for `tuned`; the kept board was measured with it."""


@dataclass(frozen=True)
class TokenSettings:
    """The settings of every token-learning method; defaults are Textual Inversion's by diffusers:
    3000 steps of four images, each under one of 27 templates."""

    steps: int = setting(
        3000,
        "optimisation steps",
        low=1,
        source="read: diffusers, examples/textual_inversion",
    )
    batch_size: int = setting(
        4,
        "exemplars a step",
        low=1,
        source="derived: diffusers' batch 1 x accumulation 4",
    )
    learning_rate: float = setting(
        2e-3,
        "AdamW's learning rate",
        low=0,
        rate="token",
        source="derived: diffusers' 5e-4, scaled by batch 1 x accumulation 4",
    )
    weight_decay: float = setting(
        1e-2, "AdamW's decoupled weight decay", low=0, source="read: diffusers"
    )
    beta1: float = setting(
        0.9,
        "AdamW's decay of the gradient's mean",
        low=0,
        high=0.9999,
        source="read: diffusers",
    )
    beta2: float = setting(
        0.999,
        "AdamW's decay of the gradient's square",
        low=0,
        high=0.99999,
        source="read: diffusers",
    )
    epsilon: float = setting(1e-8, "AdamW's epsilon", low=0, source="read: diffusers")
    max_gradient_norm: float | None = setting(
        None,
        "the update's gradient is scaled down to this norm",
        low=0,
        source="read: diffusers clips none",
    )
    initializer: str = setting(
        "person",
        "word or phrase whose mean embedding starts each token; a verb (`stands`) is a variant",
        source="ours: a noun, as the sources take the category's (`toy`, `sculpture`)",
    )
    prompts: Literal["template", "caption"] = setting(
        "template",
        "train on `templates`, or on each exemplar's own caption with the action replaced",
        source="read: the paper and diffusers",
    )
    templates: tuple[str, ...] = setting(
        _TEMPLATES,
        f"prompts with {SLOT} for the identifier",
        source="read: diffusers' 27 for objects",
    )
    templates_drawn: Literal["per-image", "per-step"] = setting(
        "per-image",
        "draw a template for each image of a step, or one for all, which costs less text",
        source="read: diffusers",
        before="per-step",
    )


@dataclass(frozen=True)
class Batch:
    """One step's B samples."""

    noised: Noised
    prompts: Sequence[Tokens]
    """B prompts with the identifier's slot."""
    mask: Tensor | None = None
    """[B, 1, h, w], 1 where a prediction counts; None for everywhere."""


DrawBatch = Callable[[torch.Generator], Batch]
"""Makes the next step's batch; all that is random in it comes from the generator."""

GradientRule = Callable[[Tensor], tuple[Tensor, Tensor | None]]
"""From the samples' gradients [B, L, N, D] to the update's gradient [L, N, D], and which channels
may move (bool [L, N, D]; None for all)."""

ExtraLoss = Callable[[Tensor, Batch, torch.Generator], Tensor]
"""A term of the loss on the identifier itself: from it ([1, L, N, D], or [B, L, N, D] under a
rule) and the step's batch to a scalar."""

AfterStep = Callable[[Tensor, Tensor], Tensor]
"""From the identifier [L, N, D] after the optimiser's step, and the one that the fit began with,
to the one that it goes on with. It changes neither."""


class PromptSettings(Protocol):
    """The settings that say what a method trains under."""

    @property
    def prompts(self) -> Literal["template", "caption"]: ...
    @property
    def templates(self) -> tuple[str, ...]: ...


class TrainingPrompts:
    """The prompts of each step, by the settings `prompts` and `templates`.

    `rewrite` changes each of them before it is tokenised. With `per_image` each image of a step
    has a template of its own; otherwise a step has one, and the text encoder then runs once for
    each layer, whatever B.
    """

    def __init__(
        self,
        backbone: Backbone,
        exemplars: Sequence[Exemplar],
        settings: PromptSettings,
        rewrite: Callable[[str], str] = str,
        *,
        per_image: bool = False,
    ) -> None:
        self.by_caption = settings.prompts == "caption"
        self.per_image = per_image
        texts = [e.template for e in exemplars] if self.by_caption else settings.templates
        for text in texts:
            if SLOT not in text:
                raise UserError(f"a training prompt has no {SLOT} for the identifier: '{text}'")
        self.tokens = [backbone.tokenize(rewrite(text)) for text in texts]

    def draw(self, rows: Sequence[int], generator: torch.Generator) -> list[Tokens]:
        """Draw the prompts of the exemplars `rows`; one that is there twice has one prompt."""
        if self.by_caption:
            return [self.tokens[row] for row in rows]
        count = len(rows) if self.per_image else 1
        drawn = torch.randint(len(self.tokens), (count,), generator=generator).tolist()
        if not self.per_image:
            return [self.tokens[drawn[0]]] * len(rows)
        # Reversed, so that the first of several counts.
        by_row = dict(zip(reversed(rows), reversed(drawn), strict=True))
        return [self.tokens[by_row[row]] for row in rows]


class ExemplarBatches:
    """Draws what Textual Inversion and P+ train on: random exemplars, each with its own noise."""

    def __init__(
        self,
        backbone: Backbone,
        task: ActionTask,
        settings: TokenSettings,
        timestep_weights: Tensor | None = None,
        progress: Progress = SILENT,
    ) -> None:
        """timestep_weights: [T]; without them all timesteps are drawn alike."""
        self.backbone = backbone
        self.timestep_weights = timestep_weights
        self.exemplars = Exemplars(backbone, task, progress)
        self.latents = self.exemplars.latents
        self.prompts = TrainingPrompts(
            backbone,
            task.exemplars,
            settings,
            per_image=settings.templates_drawn == "per-image",
        )
        self.batch_size = settings.batch_size

    def draw(self, generator: torch.Generator) -> Batch:
        rows = torch.randint(len(self.latents), (self.batch_size,), generator=generator).tolist()
        latents = self.latents[rows].sample(generator)
        noised = add_noise(
            self.backbone, latents, generator, timestep_weights=self.timestep_weights
        )
        return Batch(noised, self.prompts.draw(rows, generator), self.exemplars.mask(rows))


class ChannelAdamW:
    """AdamW (Loshchilov and Hutter, arXiv 1711.05101, algorithm 2) with a clock for each channel.

    A channel that may not move in a step is left out of it altogether: its value, both moments
    and its step count stay. With all channels moving it is torch's AdamW; that one has a single
    clock, so that rarely moving channels would take steps too large by their missing moments.
    """

    def __init__(self, vectors: Tensor, settings: TokenSettings) -> None:
        self.vectors = vectors
        self.settings = settings
        self.mean = torch.zeros_like(vectors)
        self.square = torch.zeros_like(vectors)
        self.count = torch.zeros_like(vectors)

    def step(self, gradient: Tensor, moving: Tensor | None = None) -> None:
        """Update `vectors` in place by `gradient` in the channels `moving` (all if None)."""
        s = self.settings
        if s.max_gradient_norm is not None:
            norm = gradient.norm().clamp(min=1e-12)
            gradient = gradient * (s.max_gradient_norm / norm).clamp(max=1.0)
        mean = torch.lerp(gradient, self.mean, s.beta1)
        square = torch.lerp(gradient.square(), self.square, s.beta2)
        count = self.count + 1
        step = mean / (1 - s.beta1**count)
        step /= (square / (1 - s.beta2**count)).sqrt() + s.epsilon
        vectors = self.vectors * (1 - s.learning_rate * s.weight_decay) - s.learning_rate * step
        new = (vectors, mean, square, count)
        for old, value in zip((self.vectors, self.mean, self.square, self.count), new):
            old.copy_(value if moving is None else torch.where(moving, value, old))


@dataclass(frozen=True)
class Learned:
    vectors: Tensor
    """The identifier, float32 [L, N, D] on the CPU."""
    losses: list[float]
    """The mean denoising loss of each `CHECK_EVERY` steps."""


def learn_tokens(
    backbone: Backbone,
    settings: TokenSettings,
    start: Tensor,
    draw: DrawBatch,
    *,
    seed: int,
    progress: Progress,
    rule: GradientRule | None = None,
    extra: ExtraLoss | None = None,
    after_step: AfterStep | None = None,
) -> Learned:
    """Optimise an identifier from `start` [L, N, D] on the batches that `draw` makes.

    Without a `rule` the mean loss of the batch is descended, and the samples share the identifier.
    With one, each sample has a copy of its own, so that one backward pass of the summed losses
    gives every sample's gradient; the rule makes the update of them. `extra` is added to the loss.

    Raises UserError when the loss is no longer a finite number.
    """
    generator = torch.Generator().manual_seed(seed)
    scale = loss_scale(backbone.dtype)
    start = start.detach().to(backbone.device, torch.float32)
    vectors = start.clone()
    optimizer = ChannelAdamW(vectors, settings)
    running = torch.zeros((), device=backbone.device)
    history: list[float] = []
    since = 0
    for step in range(1, settings.steps + 1):
        batch = draw(generator)
        copies = 1 if rule is None else len(batch.prompts)
        leaves = vectors.repeat(copies, 1, 1, 1).requires_grad_()
        if rule is None:
            states = backbone.encode_prompts(batch.prompts, leaves)
        else:
            states = encode_equal(backbone.encode_prompts, batch.prompts, leaves)
        loss = losses(backbone, batch.noised, states, batch.mask)
        descended = loss.mean() if rule is None else loss.sum()
        if extra is not None:
            descended = descended + extra(leaves, batch, generator)
        gradients = torch.autograd.grad(scale * descended, leaves)[0] / scale
        optimizer.step(*((gradients[0], None) if rule is None else rule(gradients)))
        if after_step is not None:
            with torch.no_grad():
                vectors.copy_(after_step(vectors, start))
        running += loss.detach().mean()
        since += 1
        if step % CHECK_EVERY == 0 or step == settings.steps:
            mean = float(running) / since
            if mean != mean or mean == float("inf"):
                raise UserError(
                    f"the training loss is no finite number after {step} steps: "
                    f"try a lower learning_rate than {settings.learning_rate:g}"
                )
            history.append(round(mean, 6))
            running.zero_()
            since = 0
            progress.update(step, settings.steps, "learning")
    return Learned(vectors.cpu(), history)


def learning_work(settings: TokenSettings, layers: int, *, leaves: int | None = None) -> Work:
    """Count the networks' work in `learn_tokens` for an identifier of `layers` layers.

    `leaves`: the samples of a step under a rule, each with a copy of its own; None if the samples
    share the identifier, and those of one prompt also its encoding.
    """
    samples = leaves or settings.batch_size
    one_prompt = settings.prompts == "template" and settings.templates_drawn == "per-step"
    rows = layers * (1 if leaves is None and one_prompt else samples)
    return Work(
        conditioned=settings.steps * samples,
        texts=settings.steps * rows,
        batch=samples,
        rows=rows,
    )


@dataclass(frozen=True)
class Fit:
    """One fit, as the hooks of a `TokenMethod` are given it."""

    backbone: Backbone
    task: ActionTask
    seed: int
    progress: Progress
    notes: dict[str, list[Tensor]] = field(default_factory=dict, repr=False, compare=False)

    def note(self, name: str, value: Tensor | float) -> None:
        """Note a number by name; the mean of all that are noted comes into the fit's measures."""
        self.notes.setdefault(name, []).append(torch.as_tensor(value).detach().float())

    @property
    def measures(self) -> dict[str, float]:
        """The mean of what was noted, by name."""
        return {name: float(torch.stack(values).mean()) for name, values in self.notes.items()}


def relative_norm(backbone: Backbone, vectors: Tensor) -> float:
    """Return the norm of an identifier over the median norm of the vocabulary's embeddings.

    The mean over its tokens [L, N, D]. DTI (arXiv 2512.13672): a token that has outgrown the
    vocabulary, often twentyfold, makes the model ignore the rest of the prompt.
    """
    return float(vectors.float().norm(dim=-1).mean()) / float(backbone.token_norms().median())


T = TypeVar("T", bound=TokenSettings)


class TokenMethod(Method[T]):
    """A method whose customization is an identifier; it owns `fit` and `generate`.

    A subclass overrides the hooks in which it differs from Textual Inversion: `layers`, `start`,
    `batches`, `rule`, `extra_loss` and `after_step`. Several fits of one object may be under way
    at once, so a hook depends on its arguments and the settings alone, and what belongs to one
    fit lives in the functions that `batches` and `extra_loss` return, never on `self`.

    Example, a token for each layer whose norm stays that of the start:

        class Direction(TokenMethod[TokenSettings]):
            name, title, reference = "direction", "Direction", "unpublished"
            Settings = TokenSettings

            def layers(self, available: int) -> int:
                return available

            def after_step(self, vectors: Tensor, start: Tensor) -> Tensor:
                return normalize(vectors, dim=-1) * start.norm(dim=-1, keepdim=True)
    """

    presets: ClassVar[Presets] = {"puppet-diffusion": PUPPET_WORDS}
    kinds: ClassVar[Collection[str]] = tuple(KINDS)
    rule: GradientRule | None = None
    """Override it by a method to make the update from each sample's own gradient.

    Args:
        gradients: [B, L, N, D], of the B samples of a step.

    Returns:
        The update's gradient [L, N, D], and which channels may move (bool [L, N, D]; None for
        all). None instead of a method: the gradient of the batch's mean loss, which costs less.
    """

    def rule_for(self, fit: Fit) -> GradientRule | None:
        """Prepare `rule` for a fit; override it instead of `rule` to note something of each step.

        Returns:
            As `rule`: a function of the samples' gradients, or None.
        """
        return self.rule

    def layers(self, available: int) -> int:
        """Say how many layers the identifier has.

        Args:
            available: cross-attention layers of the backbone.

        Returns:
            1 if all layers share the tokens, `available` if each has its own.
        """
        return 1

    def start(self, backbone: Backbone, layers: int) -> Tensor:
        """Make the identifier that learning begins with: the initializer's embedding.

        Returns:
            float32 [layers, N, D]: N tokens for each layer.

        Raises:
            UserError: the setting `initializer` has no token.
        """
        word = backbone.word_embedding(self.settings.initializer)
        return word.expand(layers, 1, -1)

    def batches(self, fit: Fit) -> DrawBatch:
        """Prepare what a step is taken on: random exemplars, each with its own noise.

        Returns:
            A function that makes the next step's batch, all randomness from the generator that it
            is given. It is called once a step, before the extra loss.

        Raises:
            UserError: exemplars or prompts that cannot be learned from.
        """
        return ExemplarBatches(fit.backbone, fit.task, self.settings, progress=fit.progress).draw

    def extra_loss(self, fit: Fit) -> ExtraLoss | None:
        """Prepare a term that is added to a step's denoising loss.

        Returns:
            A function of the identifier ([1, L, N, D]; [B, L, N, D] under a rule), the batch and
            the generator to a scalar; None for no such term.
        """
        return None

    def after_step(self, vectors: Tensor, start: Tensor) -> Tensor:
        """Change the identifier after an optimiser's step, as to keep its norm.

        Args:
            vectors: [L, N, D], after the step; not to be changed in place.
            start: [L, N, D], what the fit began with.

        Returns:
            The identifier that the fit goes on with.
        """
        return vectors

    def fit(
        self, backbone: Backbone, task: ActionTask, *, seed: int, progress: Progress
    ) -> Customization:
        fit = Fit(backbone, task, seed, progress)
        learned = learn_tokens(
            backbone,
            self.settings,
            self.start(backbone, self.layers(len(backbone.layers))),
            self.batches(fit),
            seed=seed,
            progress=progress,
            rule=self.rule_for(fit),
            extra=self.extra_loss(fit),
            after_step=self.after_step,
        )
        fit.note("relative_norm", relative_norm(backbone, learned.vectors))
        return Customization(
            method=self.name,
            action=task.action.name,
            model=backbone.fingerprint,
            tensors={"vectors": learned.vectors},
            facts={"losses": learned.losses, MEASURES: fit.measures},
        )

    def fit_work(self, exemplars: int, layers: int) -> Work:
        leaves = None if self.rule is None else self.settings.batch_size
        return learning_work(self.settings, self.layers(layers), leaves=leaves)

    def generate(
        self, backbone: Backbone, customization: Customization, items: Sequence[Item]
    ) -> Iterator[Image]:
        yield from backbone.generate(
            [item.slot_prompt for item in items],
            [item.seed for item in items],
            customization.tensors["vectors"],
        )
