"""ADI's pool: each exemplar's person and scene in other actions, drawn by a quick DreamBooth.

From it come the action-different images of ADI's triples (`methods.adi`). The paper names the
pool and no details of it: what is a setting here is inferred.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from actionbench.diffusion.exemplars import Exemplars
from actionbench.diffusion.finetune import Draw, FinetuneBatch, restored, train_unet
from actionbench.errors import UserError
from actionbench.files.hashing import make_key
from actionbench.method import Work
from actionbench.progress import Progress
from actionbench.settings import setting
from actionbench.suite.items import SLOT, Action, ActionTask, Sampling

if TYPE_CHECKING:
    from actionbench.diffusion.backbone import Backbone, LatentDistribution


_OURS = "ours: the paper names the pool and no details of it"


@dataclass(frozen=True)
class PoolSettings:
    """How ADI's action-different images are made."""

    pool: Literal["per-anchor", "joint"] = setting(
        "per-anchor",
        "one DreamBooth for each exemplar (the paper's), or one for all (ten rare words, cheap)",
        source="read: the project page",
    )
    pool_actions: tuple[str, ...] = setting(
        ("stands", "squats", "waves", "smiles"),
        "other actions, as a prompt says them; the one that is learned is left out",
        source="read: the project page",
    )
    pool_images: int = setting(
        1, "images of each exemplar in each other action", low=1, source=_OURS
    )
    pool_prompts: Literal["rare", "caption"] = setting(
        "rare",
        "name an exemplar by a rare word (DreamBooth's), or say its own caption with the action "
        "replaced",
        source=_OURS,
    )
    pool_subject: str = setting(
        f"a {SLOT} person",
        f"for pool_prompts=rare: the exemplar; {SLOT} is the rare word",
        source=_OURS,
    )
    pool_describes_action: bool = setting(
        True,
        "for pool_prompts=rare: train under '<subject> <the action's description>', so that the "
        "rare word takes up the rest of the image; false: under '<subject>' alone",
        source=_OURS,
    )
    pool_steps: int = setting(
        200,
        "steps of each DreamBooth; 0 leaves the model as it is",
        low=0,
        source=_OURS,
    )
    pool_batch_size: int = setting(1, "samples a step of DreamBooth", low=1, source=_OURS)
    pool_learning_rate: float = setting(
        5e-6,
        "DreamBooth's learning rate",
        low=0,
        rate="unet",
        source="read: diffusers, examples/dreambooth",
    )
    pool_sampling_steps: int = setting(
        25, "sampling steps of the pool's images", low=1, source=_OURS
    )
    pool_guidance_scale: float = setting(7.5, "guidance of the pool's images", low=1, source=_OURS)


def other_actions(action: Action, pool_actions: Sequence[str]) -> list[str]:
    """List the pool's actions without the one that is learned, whatever its verb's ending.

    Raises UserError if nothing is left.
    """
    own = [w for w in f"{action.name} {action.description}".lower().split() if len(w) > 2]

    def same(phrase: str) -> bool:
        verb = phrase.lower().split()[0]
        return any(verb.startswith(word) or word.startswith(verb) for word in own)

    others = [phrase for phrase in pool_actions if phrase.strip() and not same(phrase)]
    if not others:
        raise UserError(
            f"pool_actions ({', '.join(pool_actions)}) has no action besides '{action.name}': "
            "add another"
        )
    return others


def rare_words(count: int) -> list[str]:
    """Make distinct words without a meaning, for subjects that the model is to learn."""
    first = ["sks", "zwx", "qvh", "xjd", "vkq", "pxw", "jzt", "wqn", "hvz", "kxf"]
    longer = ("".join(pair) for pair in itertools.permutations(first, 2))
    return list(itertools.islice(itertools.chain(first, longer), count))


def pool_prompts(task: ActionTask, settings: PoolSettings) -> tuple[list[str], list[list[str]]]:
    """List what each exemplar is trained under, and the prompts of its other actions."""
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


def exemplar_draw(
    backbone: Backbone,
    latents: LatentDistribution,
    prompts: Sequence[str],
    batch_size: int,
    masks: Tensor | None = None,
) -> Draw:
    """Draw batches of random exemplars, each under its own prompt; prompts are encoded once."""
    with torch.no_grad():
        states = backbone.encode_prompts([backbone.tokenize(prompt) for prompt in prompts])

    def draw(generator: torch.Generator) -> FinetuneBatch:
        rows = torch.randint(len(latents), (batch_size,), generator=generator).tolist()
        mask = None if masks is None else masks[rows]
        return FinetuneBatch(latents[rows].sample(generator), states[rows], mask=mask)

    return draw


def action_different_pool(
    backbone: Backbone,
    task: ActionTask,
    anchors: Exemplars,
    settings: PoolSettings,
    *,
    seed: int,
    progress: Progress,
) -> Tensor:
    """Draw each exemplar's person and scene in other actions: latents [exemplars, P, C, h, w].

    P is the number of other actions times `pool_images`; `anchors` are the exemplars.
    The pool stays latents, because the fit needs no more. The UNet is bit for bit what it was
    afterwards. Fits that differ in other settings alone share a pool, as an ablation's do.
    """
    prompts = pool_prompts(task, settings)
    made_by = pool_name(task, settings, seed)
    if made_by not in backbone.drawn:
        generator = torch.Generator().manual_seed(seed)
        backbone.drawn[made_by] = _draw_pool(
            backbone, prompts, anchors, settings, generator, progress
        )
    return backbone.drawn[made_by]


def pool_name(task: ActionTask, settings: PoolSettings, seed: int) -> str:
    """Return a pool's name in `Backbone.drawn`: a hash of all but the base model."""
    own = [getattr(settings, field.name) for field in fields(PoolSettings)]
    action = task.action
    return make_key("ADI's pool", task.fingerprint, action.name, action.description, own, seed)


def _draw_pool(
    backbone: Backbone,
    prompts: tuple[list[str], list[list[str]]],
    anchors: Exemplars,
    settings: PoolSettings,
    generator: torch.Generator,
    progress: Progress,
) -> Tensor:
    instances, wanted = prompts
    every = list(range(len(anchors.latents)))
    groups = [every] if settings.pool == "joint" else [[row] for row in every]
    sampling = Sampling(settings.pool_sampling_steps, settings.pool_guidance_scale)
    total = len(groups) * settings.pool_steps
    made = []
    for number, rows in enumerate(groups):

        def report(step: int, before: int = number * settings.pool_steps) -> None:
            progress.update(before + step, total, "pool")

        trained = [instances[row] for row in rows]
        draw = exemplar_draw(
            *(backbone, anchors.latents[rows], trained, settings.pool_batch_size),
            anchors.mask(rows),
        )
        with restored(backbone.denoiser):
            with backbone.text_encoder_resting():
                train_unet(
                    backbone,
                    draw,
                    steps=settings.pool_steps,
                    learning_rate=settings.pool_learning_rate,
                    generator=generator,
                    report=report,
                )
            prompts_drawn = [prompt for row in rows for prompt in wanted[row]]
            seeds = torch.randint(2**62, (len(prompts_drawn),), generator=generator).tolist()
            with torch.no_grad():
                states = backbone.encode_prompts([backbone.tokenize(p) for p in prompts_drawn])
            made.append(backbone.sample_latents(states, seeds, sampling))
    return torch.cat(made).unflatten(0, (len(anchors.latents), -1))


def pool_work(settings: PoolSettings, exemplars: int) -> Work:
    """Count the work of `action_different_pool` with none of the pool's actions left out."""
    trainings = exemplars if settings.pool == "per-anchor" else 1
    images = exemplars * len(settings.pool_actions) * settings.pool_images
    return Work(
        trained=trainings * settings.pool_steps * settings.pool_batch_size,
        trained_batch=settings.pool_batch_size,
        drawn=2 * settings.pool_sampling_steps * images,
    )
