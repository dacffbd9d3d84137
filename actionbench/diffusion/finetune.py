"""Train the UNet for a while: what DreamBooth, Custom Diffusion and ADI's pool share.

Source of prior preservation: DreamBooth, Ruiz et al., CVPR 2023, arXiv 2208.12242.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from actionbench.diffusion.denoising import add_noise, loss_scale, losses
from actionbench.diffusion.token_learning import CHECK_EVERY
from actionbench.errors import UserError
from actionbench.files.hashing import make_key
from actionbench.method import Work
from actionbench.progress import Progress
from actionbench.settings import setting
from actionbench.suite.items import SLOT, Sampling

if TYPE_CHECKING:
    from PIL.Image import Image

    from actionbench.diffusion.backbone import Backbone


_READ = "read: diffusers, examples/dreambooth"


@dataclass(frozen=True)
class FinetuneSettings:
    """The settings that DreamBooth and Custom Diffusion share; defaults are DreamBooth's."""

    steps: int = setting(800, "optimisation steps", low=1, source=_READ)
    batch_size: int = setting(
        1, "exemplars a step; as many class images come on top", low=1, source=_READ
    )
    learning_rate: float = setting(5e-6, "AdamW's learning rate", low=0, rate="unet", source=_READ)
    weight_decay: float = setting(1e-2, "AdamW's decoupled weight decay", low=0, source=_READ)
    max_gradient_norm: float = setting(
        1.0, "gradients are scaled down to this norm", low=0, source=_READ
    )
    prompts: Literal["template", "caption"] = setting(
        "template",
        "train on `templates`, or on each exemplar's own caption with the action replaced",
        source="read: the paper's one prompt for all exemplars",
    )
    templates: tuple[str, ...] = setting(
        (f"a person {SLOT}",),
        f"prompts with {SLOT} for the action; each step draws one",
        source="ours: the paper's are for subjects",
    )
    prior_weight: float = setting(
        1.0, "weight of the class images' loss; 0: train without them", low=0, source=_READ
    )
    class_prompt: str = setting(
        "a person", "what the class images show", source="ours: the paper's are for subjects"
    )
    class_images: int = setting(
        200, "images that the model draws of its class beforehand", low=1, source=_READ
    )
    class_sampling_steps: int = setting(
        50, "sampling steps of the class images", low=1, source="read: diffusers' pipeline"
    )
    class_guidance_scale: float = setting(
        7.5, "guidance of the class images", low=1, source="read: diffusers' pipeline"
    )


@dataclass(frozen=True)
class FinetuneBatch:
    latents: Tensor
    """[B, C, h, w]"""
    states: Tensor
    """[B, T, D]. What is learned of the text gets its gradient through them."""
    weights: Tensor | None = None
    """How much each sample's loss counts, [B]; None for the mean over the batch."""
    mask: Tensor | None = None
    """[B, 1, h, w], 1 where a prediction counts; None for everywhere."""

    def loss(self, each: Tensor) -> Tensor:
        """Reduce the samples' losses [B] to the step's."""
        return each.mean() if self.weights is None else (each * self.weights).sum()


Draw = Callable[[torch.Generator], FinetuneBatch]
"""Makes the next step's batch."""


@contextmanager
def restored(
    module: torch.nn.Module, parameters: Sequence[Tensor] | None = None
) -> Iterator[dict[str, Tensor]]:
    """Give the module its weights back, bit for bit, whatever happens to them inside.

    All of them, or `parameters` alone if no others are trained. Yields the weights as they were.
    They wait in main memory: a GPU has none to spare while it trains them.
    """
    trained = None if parameters is None else {id(parameter) for parameter in parameters}
    kept = {
        name: tensor.detach().to("cpu", copy=True)
        for name, tensor in module.state_dict(keep_vars=True).items()
        if trained is None or id(tensor) in trained
    }
    try:
        yield kept
    finally:
        module.requires_grad_(False)
        module.zero_grad(set_to_none=True)
        with torch.no_grad():
            state = module.state_dict()
            for name, weight in kept.items():
                state[name].copy_(weight)


def train_unet(
    backbone: Backbone,
    draw: Draw,
    *,
    steps: int,
    learning_rate: float,
    weight_decay: float = 1e-2,
    max_gradient_norm: float = 1.0,
    generator: torch.Generator,
    parameters: Sequence[Tensor] | None = None,
    tokens: Sequence[Tensor] = (),
    token_learning_rate: float | None = None,
    report: Callable[[int], None] | None = None,
) -> list[float]:
    """Train the UNet on the batches that `draw` makes; to be called inside `restored`.

    All of it, or `parameters` alone, which are some of its own or an adapter's in it; and
    `tokens`: leaves that the batches' states depend on, with a learning rate of their own if
    `token_learning_rate` is given. They are frozen again afterwards. If they are of half precision,
    the steps are taken on float32 copies: half precision would round most of them away. `report` is
    called with how many steps are done. Returns the mean loss of each `CHECK_EVERY` steps.
    Raises UserError when the loss is no longer a finite number.
    """
    own = list(backbone.denoiser.parameters()) if parameters is None else list(parameters)
    weights = [*own, *tokens]
    for weight in weights:
        weight.requires_grad_(True)
    half = backbone.dtype != torch.float32
    masters = [weight.detach().float() for weight in weights] if half else weights
    scale = loss_scale(backbone.dtype)
    groups: list[dict[str, Any]] = [{"params": masters[: len(own)]}]
    if tokens:
        rate = learning_rate if token_learning_rate is None else token_learning_rate
        groups.append({"params": masters[len(own) :], "lr": rate})
    optimizer = torch.optim.AdamW(groups, lr=learning_rate, weight_decay=weight_decay, fused=True)
    running = torch.zeros((), device=backbone.device)
    history = []
    for step in range(1, steps + 1):
        batch = draw(generator)
        noised = add_noise(backbone, batch.latents, generator)
        loss = batch.loss(losses(backbone, noised, batch.states, batch.mask))
        (scale * loss).backward()
        if half:
            for master, weight in zip(masters, weights):
                if weight.grad is not None:
                    master.grad, weight.grad = weight.grad.float() / scale, None
        torch.nn.utils.clip_grad_norm_(masters, max_gradient_norm)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if half:
            with torch.no_grad():
                for master, weight in zip(masters, weights):
                    weight.copy_(master)
        running += loss.detach()
        if step % CHECK_EVERY == 0 or step == steps:
            mean = float(running) / (step % CHECK_EVERY or CHECK_EVERY)
            if not math.isfinite(mean):
                raise UserError(
                    f"the loss of training the {backbone.kind.noun} is no finite number after "
                    f"{step} steps: try a lower learning rate than {learning_rate:g}"
                )
            history.append(round(mean, 6))
            running.zero_()
        if report is not None:
            report(step)
    for weight in weights:
        weight.requires_grad_(False)
    return history


# -- prior preservation --------------------------------------------------------------------


def class_latents(backbone: Backbone, settings: FinetuneSettings, progress: Progress) -> Tensor:
    """Draw the class with the model as it is: latents [class_images, C, h, w].

    Neither the action nor a fit's seed changes them, so that all fits share them.
    """
    count = settings.class_images
    sampling = Sampling(settings.class_sampling_steps, settings.class_guidance_scale)
    made_by = class_images_name(settings)
    if made_by not in backbone.drawn:
        with torch.no_grad():
            states = backbone.encode_prompts([backbone.tokenize(settings.class_prompt)])
        parts = []
        for start in range(0, count, backbone.batch_size):
            seeds = range(start, min(start + backbone.batch_size, count))
            rows = states.expand(len(seeds), -1, -1)
            parts.append(backbone.sample_latents(rows, seeds, sampling))
            progress.update(seeds.stop, count, "class images")
        backbone.drawn[made_by] = torch.cat(parts)
    return backbone.drawn[made_by]


def class_images_name(settings: FinetuneSettings) -> str:
    """Return the class images' name in `Backbone.drawn`: a hash of all but the base model."""
    return make_key(
        *("class images", settings.class_prompt, settings.class_images),
        *(settings.class_sampling_steps, settings.class_guidance_scale),
    )


def shared_class_images(settings: FinetuneSettings) -> tuple[str, ...]:
    """Name what fits with prior preservation share, for `Method.shared`."""
    return (class_images_name(settings),) if settings.prior_weight > 0 else ()


def with_prior(
    backbone: Backbone, draw: Draw, settings: FinetuneSettings, progress: Progress
) -> Draw:
    """Follow each batch of `draw` by as many class images (DreamBooth, equation 2).

    Loss: the exemplars' mean + prior_weight x the class images' mean. To be called before the
    UNet is trained, because the class images are drawn here.
    """
    if settings.prior_weight == 0:
        return draw
    images = class_latents(backbone, settings, progress)
    with torch.no_grad():
        states = backbone.encode_prompts([backbone.tokenize(settings.class_prompt)])

    def both(generator: torch.Generator) -> FinetuneBatch:
        batch = draw(generator)
        count = len(batch.latents)
        rows = torch.randint(len(images), (count,), generator=generator).tolist()
        share = torch.full((count,), 1 / count, device=backbone.device)
        mask = batch.mask
        return FinetuneBatch(
            torch.cat([batch.latents, images[rows]]),
            torch.cat([batch.states, states.expand(count, -1, -1)]),
            torch.cat([share, settings.prior_weight * share]),
            None if mask is None else torch.cat([mask, torch.ones_like(mask)]),
        )

    return both


def finetuning_work(settings: FinetuneSettings, *, whole: bool, texts: bool = True) -> Work:
    """Count the work of `finetune`: of the whole UNet, or of few weights in a frozen one.

    `texts`: whether what is learned is in the text as well, which is then encoded in each step.
    """
    prior = settings.prior_weight > 0
    samples = settings.batch_size * (2 if prior else 1)
    drawn = 2 * settings.class_sampling_steps * settings.class_images if prior else 0
    total = settings.steps * samples
    if whole:
        return Work(trained=total, trained_batch=samples, drawn_once=drawn)
    rows = int(texts)
    return Work(
        conditioned=total,
        texts=rows * settings.steps,
        batch=samples,
        rows=rows,
        drawn_once=drawn,
    )


# -- what a fit changed --------------------------------------------------------------------


@dataclass(frozen=True)
class Finetuned:
    changes: dict[str, Tensor]
    """By the UNet's parameters, float16 on the CPU: what is to be added to those that moved. Or
    an adapter's own weights, float32."""
    losses: list[float]
    """As `train_unet` returns them."""


def finetune(
    backbone: Backbone,
    settings: FinetuneSettings,
    draw: Draw,
    *,
    learning_rate: float,
    parameters: Sequence[Tensor] | None = None,
    tokens: Sequence[Tensor] = (),
    token_learning_rate: float | None = None,
    generator: torch.Generator,
    progress: Progress,
) -> Finetuned:
    """Train the UNet with prior preservation, note what changed, and undo it.

    All of it, or `parameters` and `tokens`, as `train_unet` does. Without `parameters`, `draw` may
    not run the text encoder.
    """
    draw = with_prior(backbone, draw, settings, progress)
    denoiser = backbone.denoiser
    # If the whole denoiser is trained, the batches' states are encoded already.
    resting = backbone.text_encoder_resting() if parameters is None else nullcontext()
    with resting, restored(denoiser, parameters) as before:
        history = train(
            backbone,
            settings,
            draw,
            learning_rate=learning_rate,
            parameters=parameters,
            tokens=tokens,
            token_learning_rate=token_learning_rate,
            generator=generator,
            progress=progress,
        )
        return Finetuned(weight_changes(denoiser, before), history)


def train(
    backbone: Backbone,
    settings: FinetuneSettings,
    draw: Draw,
    *,
    learning_rate: float,
    parameters: Sequence[Tensor] | None,
    tokens: Sequence[Tensor] = (),
    token_learning_rate: float | None = None,
    generator: torch.Generator,
    progress: Progress,
) -> list[float]:
    """Call `train_unet` with the settings' steps, decay and clipping, and report its steps."""
    return train_unet(
        backbone,
        draw,
        steps=settings.steps,
        learning_rate=learning_rate,
        weight_decay=settings.weight_decay,
        max_gradient_norm=settings.max_gradient_norm,
        generator=generator,
        parameters=parameters,
        tokens=tokens,
        token_learning_rate=token_learning_rate,
        report=lambda step: progress.update(step, settings.steps, "learning"),
    )


def weight_changes(module: torch.nn.Module, before: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """List what has changed of the weights `before`, as float16 differences on the CPU.

    Differences, because a weight in float16 is off by up to its 2000th part, as much as fine-tuning
    may move it; a difference is off by its own 2000th part alone.
    """
    changes = {}
    for name, weight in module.named_parameters():
        if name not in before:
            continue
        old = before[name].to(weight.device).float()
        change = (weight.detach().float() - old).half()
        if bool(change.any()):
            changes[name] = change.cpu()
    return changes


def changed_weights(backbone: Backbone, changes: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Add the changes to the UNet's parameters of those names, as new tensors.

    Raises UserError if the UNet has no such parameter, or one of another shape.
    """
    own = dict(backbone.denoiser.named_parameters())
    changed = {}
    for name, change in changes.items():
        there = tuple(own[name].shape) if name in own else "missing"
        if there != tuple(change.shape):
            raise UserError(
                f"the customization does not fit the {backbone.kind.noun} of {backbone.name}: it "
                f"changes {name} {tuple(change.shape)}, which is {there} there"
            )
        weight = own[name].detach()
        changed[name] = (weight.float() + change.to(weight.device)).to(weight.dtype)
    return changed


@contextmanager
def using(module: torch.nn.Module, weights: Mapping[str, Tensor]) -> Iterator[None]:
    """Let the module compute with `weights` while inside; its own are put aside, not written to."""
    parameters = {name: module.get_parameter(name) for name in weights}
    own = {name: parameter.data for name, parameter in parameters.items()}
    try:
        for name, parameter in parameters.items():
            parameter.data = weights[name]
        yield
    finally:
        for name, parameter in parameters.items():
            parameter.data = own[name]


def generate_with(
    backbone: Backbone,
    changes: Mapping[str, Tensor],
    prompts: Sequence[str],
    seeds: Sequence[int],
    vectors: Tensor | None = None,
) -> Iterator[Image]:
    """Draw as `Backbone.generate` does, by the UNet with `changes`.

    They are added once. Whenever an image is handed out the UNet has its own weights: a caller
    may stop half way, or draw with something else in between.
    """
    weights = changed_weights(backbone, changes)
    for start in range(0, len(prompts), backbone.batch_size):
        part = slice(start, start + backbone.batch_size)
        with using(backbone.denoiser, weights):
            images = list(backbone.generate(prompts[part], seeds[part], vectors))
        yield from images
