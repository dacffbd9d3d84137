"""Training the UNet itself for a while: DreamBooth, and ADI's pool of other actions made with it.

Source: DreamBooth, Ruiz et al., CVPR 2023, arXiv 2208.12242.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from actionbench.backbone import Backbone, LatentDistribution
from actionbench.benchmark import SLOT, Action, Sampling
from actionbench.denoising import add_noise, losses
from actionbench.errors import UserError
from actionbench.progress import Progress
from actionbench.settings import setting


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

    The parameters are frozen again afterwards. `report` is told how many steps are done.
    Raises UserError when the loss is no longer a finite number.
    """
    unet = backbone.pipeline.unet.requires_grad_(True)
    optimizer = torch.optim.AdamW(
        unet.parameters(), lr=learning_rate, weight_decay=weight_decay, fused=True
    )
    total = torch.zeros((), device=backbone.device)
    for step in range(1, steps + 1):
        batch = draw(generator)
        noised = add_noise(backbone, batch.latents, generator)
        loss = losses(backbone, noised, batch.states).mean()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(unet.parameters(), max_gradient_norm)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
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
    pool_subject: str = setting(
        f"a {SLOT} person", f"how the pool's prompts name an exemplar; {SLOT} is the rare word"
    )
    pool_describes_action: bool = setting(
        True,
        "train under '<subject> <the action's description>', so that the rare word "
        "takes up the rest of the image; false: under '<subject>' alone",
    )
    pool_steps: int = setting(200, "steps of each DreamBooth", low=1)
    pool_batch_size: int = setting(1, "samples a step of DreamBooth", low=1)
    pool_learning_rate: float = setting(5e-6, "DreamBooth's learning rate", low=0)
    pool_sampling_steps: int = setting(25, "sampling steps of the pool's images", low=1)


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


def action_different_pool(
    backbone: Backbone,
    action: Action,
    anchors: LatentDistribution,
    settings: PoolSettings,
    *,
    generator: torch.Generator,
    progress: Progress,
) -> Tensor:
    """Latents of each anchor's person and scene in other actions, [anchors, P, C, h, w].

    P is the number of other actions times `pool_images`. They stay latents: the fit wants no
    more. The UNet is bit for bit what it was afterwards.
    """
    others = other_actions(action, settings.pool_actions) * settings.pool_images
    subjects = [settings.pool_subject.replace(SLOT, word) for word in rare_words(len(anchors))]
    suffix = f" {action.description}" if settings.pool_describes_action else ""
    joint = settings.pool == "joint"
    groups = [list(range(len(anchors)))] if joint else [[row] for row in range(len(anchors))]
    sampling = Sampling(settings.pool_sampling_steps, backbone.sampling.guidance_scale)
    total = len(groups) * settings.pool_steps
    made = []
    for number, rows in enumerate(groups):

        def report(step: int, before: int = number * settings.pool_steps) -> None:
            progress.update(before + step, total, "pool")

        with restored(backbone.pipeline.unet):
            prompts = [subjects[row] + suffix for row in rows]
            train_unet(
                backbone,
                exemplar_draw(backbone, anchors[rows], prompts, settings.pool_batch_size),
                steps=settings.pool_steps,
                learning_rate=settings.pool_learning_rate,
                generator=generator,
                report=report,
            )
            made.append(
                _draw_others(backbone, [subjects[r] for r in rows], others, sampling, generator)
            )
    return torch.cat(made).unflatten(0, (len(anchors), len(others)))


def _draw_others(
    backbone: Backbone,
    subjects: Sequence[str],
    others: Sequence[str],
    sampling: Sampling,
    generator: torch.Generator,
) -> Any:
    """Latents of every subject in every other action [subjects * others, C, h, w]."""
    prompts = [f"{subject} {other}" for subject in subjects for other in others]
    seeds = torch.randint(2**62, (len(prompts),), generator=generator).tolist()
    with torch.no_grad():
        states = backbone.encode_prompts([backbone.tokenize(prompt) for prompt in prompts])
    return backbone.sample_latents(states, seeds, sampling)
