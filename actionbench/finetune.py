"""Training the UNet itself for a while: DreamBooth, and ADI's pool of other actions made with it.

Source: DreamBooth, Ruiz et al., CVPR 2023, arXiv 2208.12242.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from actionbench.benchmark import SLOT, Action, ActionTask, Sampling
from actionbench.denoising import add_noise, loss_scale, losses
from actionbench.errors import UserError
from actionbench.progress import Progress
from actionbench.settings import setting

if TYPE_CHECKING:
    from actionbench.backbone import Backbone, LatentDistribution


@dataclass(frozen=True)
class FinetuneBatch:
    latents: Tensor
    """[B, C, h, w]"""
    states: Tensor
    """[B, T, D]"""


@contextmanager
def restored(module: torch.nn.Module) -> Iterator[None]:
    """Whatever happens to the module's weights inside, they are the same bits again after it."""
    kept = {name: tensor.detach().clone() for name, tensor in module.state_dict().items()}
    try:
        yield
    finally:
        module.requires_grad_(False)
        module.zero_grad(set_to_none=True)
        with torch.no_grad():
            for name, tensor in module.state_dict().items():
                tensor.copy_(kept[name])


def train_unet(
    backbone: Backbone,
    draw: Callable[[torch.Generator], FinetuneBatch],
    *,
    steps: int,
    learning_rate: float,
    weight_decay: float = 1e-2,
    max_gradient_norm: float = 1.0,
    generator: torch.Generator,
    report: Callable[[int], None] | None = None,
) -> None:
    """Train the whole UNet on the batches that `draw` makes; to be called inside `restored`.

    The parameters are frozen again afterwards. Where they are of half precision, the steps are
    taken on float32 copies: half precision would round most of them away. `report` is told how
    many steps are done.
    Raises UserError when the loss is no longer a finite number.
    """
    unet = backbone.pipeline.unet.requires_grad_(True)
    weights = list(unet.parameters())
    half = backbone.dtype != torch.float32
    masters = [weight.detach().float() for weight in weights] if half else weights
    scale = loss_scale(backbone.dtype)
    optimizer = torch.optim.AdamW(masters, lr=learning_rate, weight_decay=weight_decay, fused=True)
    total = torch.zeros((), device=backbone.device)
    for step in range(1, steps + 1):
        batch = draw(generator)
        noised = add_noise(backbone, batch.latents, generator)
        loss = losses(backbone, noised, batch.states).mean()
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
        total += loss.detach()
        if report is not None:
            report(step)
    unet.requires_grad_(False)
    if not bool(torch.isfinite(total)):
        raise UserError(
            f"the loss of training the UNet is no finite number after {steps} steps: "
            f"try a lower learning rate than {learning_rate:g}"
        )


def exemplar_draw(
    backbone: Backbone, latents: LatentDistribution, prompts: Sequence[str], batch_size: int
) -> Callable[[torch.Generator], FinetuneBatch]:
    """Batches of random exemplars, each under its own prompt; the prompts are encoded once."""
    with torch.no_grad():
        states = backbone.encode_prompts([backbone.tokenize(prompt) for prompt in prompts])

    def draw(generator: torch.Generator) -> FinetuneBatch:
        rows = torch.randint(len(latents), (batch_size,), generator=generator).tolist()
        return FinetuneBatch(latents[rows].sample(generator), states[rows])

    return draw


@dataclass(frozen=True)
class PoolSettings:
    """How ADI's action-different images are made (its details are not public: all inferred)."""

    pool: Literal["per-anchor", "joint"] = setting(
        "per-anchor",
        "one DreamBooth for each exemplar (the paper's), or one for all (ten rare words, cheap)",
    )
    pool_actions: tuple[str, ...] = setting(
        ("stands", "squats", "waves", "smiles"),
        "other actions, as a prompt says them; the one that is learned is left out",
    )
    pool_images: int = setting(1, "images of each exemplar in each other action", low=1)
    pool_prompts: Literal["rare", "caption"] = setting(
        "rare",
        "name an exemplar by a rare word (DreamBooth's), or say its own caption with the action "
        "replaced",
    )
    pool_subject: str = setting(
        f"a {SLOT} person", f"for pool_prompts=rare: the exemplar; {SLOT} is the rare word"
    )
    pool_describes_action: bool = setting(
        True,
        "for pool_prompts=rare: train under '<subject> <the action's description>', so that the "
        "rare word takes up the rest of the image; false: under '<subject>' alone",
    )
    pool_steps: int = setting(200, "steps of each DreamBooth; 0 leaves the model as it is", low=0)
    pool_batch_size: int = setting(1, "samples a step of DreamBooth", low=1)
    pool_learning_rate: float = setting(5e-6, "DreamBooth's learning rate", low=0)
    pool_sampling_steps: int = setting(25, "sampling steps of the pool's images", low=1)
    pool_guidance_scale: float = setting(7.5, "guidance of the pool's images", low=1)


def other_actions(action: Action, pool_actions: Sequence[str]) -> list[str]:
    """The pool's actions without the one that is learned, whatever its verb's ending.

    Raises UserError where nothing is left.
    """
    own = [w for w in f"{action.name} {action.description}".lower().split() if len(w) > 2]

    def same(phrase: str) -> bool:
        verb = phrase.lower().split()[0]
        return any(verb.startswith(word) or word.startswith(verb) for word in own)

    others = [phrase for phrase in pool_actions if phrase.strip() and not same(phrase)]
    if not others:
        raise UserError(
            f"pool_actions ({', '.join(pool_actions)}) has no action besides '{action.name}'"
        )
    return others


def rare_words(count: int) -> list[str]:
    """Distinct words without a meaning, for subjects that the model is to learn."""
    first = ["sks", "zwx", "qvh", "xjd", "vkq", "pxw", "jzt", "wqn", "hvz", "kxf"]
    longer = ("".join(pair) for pair in itertools.permutations(first, 2))
    return list(itertools.islice(itertools.chain(first, longer), count))


def pool_prompts(task: ActionTask, settings: PoolSettings) -> tuple[list[str], list[list[str]]]:
    """For each exemplar, what it is trained under, and the prompts of its other actions."""
    others = other_actions(task.action, settings.pool_actions) * settings.pool_images
    if settings.pool_prompts == "caption":
        return [e.caption for e in task.exemplars], [
            [e.template.replace(SLOT, other) for other in others] for e in task.exemplars
        ]
    if SLOT not in settings.pool_subject:
        raise UserError(f"pool_subject has no {SLOT} for the rare word: '{settings.pool_subject}'")
    words = rare_words(len(task.exemplars))
    subjects = [settings.pool_subject.replace(SLOT, word) for word in words]
    suffix = f" {task.action.description}" if settings.pool_describes_action else ""
    return [subject + suffix for subject in subjects], [
        [f"{subject} {other}" for other in others] for subject in subjects
    ]


def action_different_pool(
    backbone: Backbone,
    task: ActionTask,
    anchors: LatentDistribution,
    settings: PoolSettings,
    *,
    generator: torch.Generator,
    progress: Progress,
) -> Tensor:
    """Latents of each exemplar's person and scene in other actions, [exemplars, P, C, h, w].

    P is the number of other actions times `pool_images`; `anchors` are the exemplars' latents.
    The pool stays latents, for the fit wants no more. The UNet is bit for bit what it was
    afterwards.
    """
    instances, wanted = pool_prompts(task, settings)
    every = list(range(len(anchors)))
    groups = [every] if settings.pool == "joint" else [[row] for row in every]
    sampling = Sampling(settings.pool_sampling_steps, settings.pool_guidance_scale)
    total = len(groups) * settings.pool_steps
    made = []
    for number, rows in enumerate(groups):

        def report(step: int, before: int = number * settings.pool_steps) -> None:
            progress.update(before + step, total, "pool")

        with restored(backbone.pipeline.unet):
            train_unet(
                backbone,
                exemplar_draw(
                    backbone,
                    anchors[rows],
                    [instances[row] for row in rows],
                    settings.pool_batch_size,
                ),
                steps=settings.pool_steps,
                learning_rate=settings.pool_learning_rate,
                generator=generator,
                report=report,
            )
            prompts = [prompt for row in rows for prompt in wanted[row]]
            seeds = torch.randint(2**62, (len(prompts),), generator=generator).tolist()
            with torch.no_grad():
                states = backbone.encode_prompts([backbone.tokenize(p) for p in prompts])
            made.append(backbone.sample_latents(states, seeds, sampling))
    return torch.cat(made).unflatten(0, (len(anchors), -1))
