"""Learn an identifier: the settings, the loop and the interface of all token-learning methods.

An identifier is a float32 tensor [L, N, D]: N token embeddings for each of L cross-attention
layers, L = 1 if all layers share it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, TypeVar

import torch
from torch import Tensor

from actionbench.device import out_of_memory
from actionbench.diffusion.denoising import Noised, add_noise, loss_scale, losses
from actionbench.diffusion.exemplars import Exemplars
from actionbench.diffusion.shared_text import encode_equal
from actionbench.errors import UserError
from actionbench.files.kinds import KINDS
from actionbench.method import MEASURES, Customization, FitRequest, Method, Presets, Work
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
class LearningSettings:
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
class TokenSettings(LearningSettings):
    """Those of a method whose steps are AdamW's, as all but DTI's are."""

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
        settings: LearningSettings,
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


class TokenOptimizer(Protocol):
    """Takes the steps of identifiers of separate fits, [A, L, N, D], each as if it were alone."""

    vectors: Tensor
    """The identifiers, updated in place."""

    def step(self, gradient: Tensor, moving: Tensor | None = None) -> None:
        """Update `vectors` by the losses' gradients, in the channels `moving` (all if None)."""

    def keep(self, rows: Sequence[int]) -> None:
        """Go on with some of the identifiers alone."""


MakeOptimizer = Callable[[Tensor], TokenOptimizer]
"""From the identifiers [A, L, N, D] that the fits begin with to what takes their steps."""


class ChannelAdamW:
    """AdamW (Loshchilov and Hutter, arXiv 1711.05101, algorithm 2) with a clock for each channel.

    A channel that may not move in a step is left out of it altogether: its value, both moments
    and its step count stay. With all channels moving it is torch's AdamW; that one has a single
    clock, so that rarely moving channels would take steps too large by their missing moments.

    Args:
        vectors: [..., L, N, D]: identifiers of separate fits, each with a gradient norm of its
            own. They are updated in place.
        settings: rates, decay and the norm.
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
            norm = torch.linalg.vector_norm(gradient, dim=(-3, -2, -1), keepdim=True)
            norm = norm.clamp(min=1e-12)
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

    def keep(self, rows: Sequence[int]) -> None:
        """Go on with some of the identifiers [A, L, N, D] alone."""
        kept = list(rows)
        self.vectors, self.mean = self.vectors[kept], self.mean[kept]
        self.square, self.count = self.square[kept], self.count[kept]


def adamw(settings: LearningSettings) -> MakeOptimizer:
    """Return what makes AdamW of the settings.

    Raises:
        TypeError: if they are not AdamW's.
    """
    if not isinstance(settings, TokenSettings):
        kind = type(settings)
        raise TypeError(
            f"{kind.__module__}.{kind.__qualname__} has no settings of AdamW: derive it from "
            "TokenSettings, or override `optimizer`"
        )
    return partial(ChannelAdamW, settings=settings)


@dataclass(frozen=True)
class Learner:
    """What one fit brings to the loop; none of it is another fit's."""

    start: Tensor
    """[L, N, D], the identifier that it begins with."""
    draw: DrawBatch
    seed: int
    progress: Progress = SILENT
    rule: GradientRule | None = None
    """Without one the mean loss of the batch is descended, and the samples share the identifier.
    With one, each sample has a copy of its own, so that one backward pass of the summed losses
    gives every sample's gradient; the rule makes the update of them."""
    extra: ExtraLoss | None = None
    """Added to the loss."""
    after_step: AfterStep | None = None


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
    """Optimise one identifier by AdamW; the arguments are the fields of a `Learner`.

    Raises:
        UserError: when the loss is no longer a finite number.
        Exception: whatever the functions raise.
    """
    learner = Learner(start, draw, seed, progress, rule, extra, after_step)
    (outcome,) = learn_together(backbone, settings, [learner])
    if isinstance(outcome, Exception):
        raise outcome
    return outcome


def learn_together(
    backbone: Backbone,
    settings: LearningSettings,
    learners: Sequence[Learner],
    optimizer: MakeOptimizer | None = None,
) -> list[Learned | Exception]:
    """Optimise A identifiers of one shape in lockstep, each as if it were alone.

    The backbone is frozen and mixes no samples, so that a step of all is one pass through it. One
    that fails or diverges leaves the loop, and the others go on.

    Args:
        backbone: the diffusion model.
        settings: those of all.
        learners: all with a rule, or all without.
        optimizer: makes what takes the steps of all; AdamW if None.

    Returns:
        What became of each, in order. In a fit's place stands what failed in its own functions, or
        a UserError if its loss is no longer a finite number.

    Raises:
        Exception: what concerns all of them, such as too little memory.
    """
    if not learners:
        return []
    return _Lockstep(backbone, settings, learners, optimizer or adamw(settings)).run()


class _Course:
    """One fit in the loop: what is its own from step to step."""

    def __init__(self, learner: Learner, start: Tensor) -> None:
        self.learner = learner
        self.start = start
        self.generator = torch.Generator().manual_seed(learner.seed)
        self.history: list[float] = []
        self.batch: Batch
        """The step's."""
        self.outcome: Learned | Exception | None = None
        """What became of it, once it is at its end."""


class _Lockstep:
    """The loop of `learn_together`."""

    def __init__(
        self,
        backbone: Backbone,
        settings: LearningSettings,
        learners: Sequence[Learner],
        optimizer: MakeOptimizer,
    ) -> None:
        self.backbone = backbone
        self.settings = settings
        self.scale = loss_scale(backbone.dtype)
        self.ruled = learners[0].rule is not None
        if any((learner.rule is not None) != self.ruled for learner in learners):
            raise ValueError("of fits in lockstep, all have a rule or none has")
        wide = torch.promote_types(torch.float32, backbone.dtype)
        starts = [learner.start.detach().to(backbone.device, wide) for learner in learners]
        self.courses = [_Course(*pair) for pair in zip(learners, starts, strict=True)]
        self.going = list(self.courses)
        """Those that are not at their end; what follows has a row for each."""
        self.optimizer = optimizer(torch.stack(starts))
        self.running = torch.zeros(len(learners), device=backbone.device)
        """The sums of the losses since the last check."""
        self.since = 0

    def run(self) -> list[Learned | Exception]:
        for step in range(1, self.settings.steps + 1):
            self._draw()
            if self.going:
                self._step()
            if step % CHECK_EVERY == 0 or step == self.settings.steps:
                self._check(step)
            if not self.going:
                break
        for course, vectors in zip(self.going, self.optimizer.vectors, strict=True):
            course.outcome = Learned(vectors.float().cpu(), course.history)
        return [course.outcome for course in self.courses if course.outcome is not None]

    def _draw(self) -> None:
        for course in self.going:
            with _own(course):
                course.batch = course.learner.draw(course.generator)
        self._leave()

    def _step(self) -> None:
        """Take a step of all; one that fails in it is given no update, and leaves after it."""
        sizes = [len(course.batch.prompts) for course in self.going]
        leaves, states = self._encode(sizes)
        batch = _merged([course.batch for course in self.going])
        loss = losses(self.backbone, batch.noised, states, batch.mask)
        each = loss.split(sizes)
        copies = sizes if self.ruled else [1] * len(sizes)
        terms = []
        for course, own, leaf in zip(self.going, each, leaves.split(copies), strict=True):
            with _own(course):
                term = own.sum() if self.ruled else own.mean()
                if course.learner.extra is not None:
                    term = term + course.learner.extra(leaf, course.batch, course.generator)
                terms.append(term)
        if terms:
            total = sum(terms[1:], start=terms[0])
            gradients = torch.autograd.grad(self.scale * total, leaves)[0] / self.scale
            self._update(gradients.split(copies))
        self.running += torch.stack([own.detach().mean() for own in each])
        self.since += 1
        self._leave()

    def _encode(self, sizes: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Encode the step's prompts: the leaves [A or sum of B, L, N, D], and states [sum of B]."""
        prompts = [prompt for course in self.going for prompt in course.batch.prompts]
        owners = [row for row, size in enumerate(sizes) for _ in range(size)]
        encode = self.backbone.encode_prompts
        vectors = self.optimizer.vectors
        if self.ruled:
            leaves = vectors[owners].requires_grad_()
            return leaves, encode_equal(encode, prompts, leaves, owners)
        leaves = vectors.clone().requires_grad_()
        return leaves, encode(prompts, leaves, owners)

    def _update(self, gradients: Sequence[Tensor]) -> None:
        """Step by each fit's gradients: [B, L, N, D] under a rule, else [1, L, N, D]."""
        updates: list[tuple[Tensor, Tensor | None]] = []
        for course, own in zip(self.going, gradients, strict=True):
            update: tuple[Tensor, Tensor | None] = own[0], None
            with _own(course):
                if course.learner.rule is not None:
                    update = course.learner.rule(own)
            updates.append(update)
        moving = None
        if any(channels is not None for _, channels in updates):
            every = torch.ones_like(self.optimizer.vectors[0], dtype=torch.bool)
            masks = [every if channels is None else channels for _, channels in updates]
            moving = torch.stack([mask.expand_as(every) for mask in masks])
        self.optimizer.step(torch.stack([gradient for gradient, _ in updates]), moving)
        for course, vectors in zip(self.going, self.optimizer.vectors, strict=True):
            if course.learner.after_step is not None:
                with _own(course), torch.no_grad():
                    vectors.copy_(course.learner.after_step(vectors, course.start))

    def _check(self, step: int) -> None:
        """Look at the losses since the last check."""
        for course, total in zip(self.going, self.running.tolist(), strict=True):
            mean = total / self.since
            if math.isfinite(mean):
                course.history.append(round(mean, 6))
                with _own(course):
                    course.learner.progress.update(step, self.settings.steps, "learning")
            else:
                course.outcome = UserError(
                    f"the training loss is no finite number after {step} steps: "
                    f"try a lower learning_rate than {self.settings.learning_rate:g}"
                )
        self.running.zero_()
        self.since = 0
        self._leave()

    def _leave(self) -> None:
        """Let those that are at their end leave the loop."""
        rows = [row for row, course in enumerate(self.going) if course.outcome is None]
        if len(rows) < len(self.going):
            self.going = [self.going[row] for row in rows]
            self.running = self.running[rows]
            self.optimizer.keep(rows)


@contextmanager
def _own(course: _Course) -> Iterator[None]:
    """Let a failure inside be one fit's alone. Too little memory concerns all of them."""
    try:
        yield
    except Exception as error:  # of any kind: a hook may be a plug-in's
        if out_of_memory(error):
            raise
        course.outcome = error


def _merged(batches: Sequence[Batch]) -> Batch:
    """Put the fits' batches into one."""
    if len(batches) == 1:
        return batches[0]
    noised = Noised(
        torch.cat([batch.noised.latents for batch in batches]),
        torch.cat([batch.noised.timesteps for batch in batches]),
        torch.cat([batch.noised.target for batch in batches]),
    )
    prompts = [prompt for batch in batches for prompt in batch.prompts]
    if all(batch.mask is None for batch in batches):
        return Batch(noised, prompts)
    masks = [
        torch.ones_like(batch.noised.latents[:, :1]) if batch.mask is None else batch.mask
        for batch in batches
    ]
    return Batch(noised, prompts, torch.cat(masks))


def learning_work(settings: LearningSettings, layers: int, *, leaves: int | None = None) -> Work:
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


T = TypeVar("T", bound=LearningSettings)


class TokenMethod(Method[T]):
    """A method whose customization is an identifier; it owns `fit` and `generate`.

    A subclass overrides the hooks in which it differs from Textual Inversion: `layers`, `start`,
    `batches`, `rule`, `extra_loss`, `after_step` and `optimizer`. Several fits of one object are
    made in lockstep (`fit_many`), so a hook is a pure function of one fit: it depends on its
    arguments and the settings alone, and what belongs to one fit lives in the functions that
    `batches` and `extra_loss` return, never on `self`. The fits of a lockstep have identifiers of
    one shape.

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
    lockstep: ClassVar[bool] = True
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

    def optimizer(self, backbone: Backbone, vectors: Tensor) -> TokenOptimizer:
        """Make what takes the optimiser's steps: by default AdamW with the settings' rates.

        Args:
            backbone: the diffusion model.
            vectors: [A, L, N, D], what A fits begin with, to be updated in place.

        Raises:
            TypeError: if the settings are not AdamW's.
        """
        return adamw(self.settings)(vectors)

    def fit(
        self, backbone: Backbone, task: ActionTask, *, seed: int, progress: Progress
    ) -> Customization:
        (outcome,) = self._fit(backbone, [FitRequest(task, seed, progress)])
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def fit_many(
        self, backbone: Backbone, requests: Sequence[FitRequest]
    ) -> Iterator[Customization | Exception]:
        if type(self).fit is TokenMethod.fit:
            yield from self._fit(backbone, requests)
        else:  # a subclass's own
            yield from super().fit_many(backbone, requests)

    def _fit(
        self, backbone: Backbone, requests: Sequence[FitRequest]
    ) -> list[Customization | Exception]:
        """Fit in lockstep, and return what became of each."""
        fits = [Fit(backbone, r.task, r.seed, r.progress) for r in requests]
        prepared = [self._prepared(fit) for fit in fits]
        learners = [learner for learner in prepared if isinstance(learner, Learner)]
        optimizer = partial(self.optimizer, backbone)
        learned = iter(learn_together(backbone, self.settings, learners, optimizer))
        ends = [next(learned) if isinstance(p, Learner) else p for p in prepared]
        return [
            end if isinstance(end, Exception) else self._customization(fit, end)
            for fit, end in zip(fits, ends, strict=True)
        ]

    def _prepared(self, fit: Fit) -> Learner | Exception:
        try:
            return Learner(
                self.start(fit.backbone, self.layers(len(fit.backbone.layers))),
                self.batches(fit),
                fit.seed,
                fit.progress,
                rule=self.rule_for(fit),
                extra=self.extra_loss(fit),
                after_step=self.after_step,
            )
        except Exception as error:  # of any kind: it is this fit's alone
            if out_of_memory(error):
                raise
            return error

    def _customization(self, fit: Fit, learned: Learned) -> Customization:
        fit.note("relative_norm", relative_norm(fit.backbone, learned.vectors))
        return Customization(
            method=self.name,
            action=fit.task.action.name,
            model=fit.backbone.fingerprint,
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
