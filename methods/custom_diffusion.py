"""Custom Diffusion: the cross-attention layers' keys and values, and one token.

Kumari et al., "Multi-Concept Customization of Text-to-Image Diffusion", CVPR 2023,
arXiv 2212.04488.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
from PIL import Image, ImageOps
from torch import Tensor

from actionbench.diffusion.exemplars import content_masks
from actionbench.diffusion.finetune import (
    Draw,
    FinetuneBatch,
    FinetuneSettings,
    finetune,
    finetuning_work,
    generate_with,
    shared_class_images,
)
from actionbench.diffusion.token_learning import TrainingPrompts, relative_norm
from actionbench.files.kinds import KINDS
from actionbench.method import MEASURES, Customization, Method, Presets, Work
from actionbench.progress import Progress
from actionbench.settings import setting
from actionbench.suite.bars import bars_note, content_box
from actionbench.suite.items import SLOT, ActionTask, Item

if TYPE_CHECKING:
    from actionbench.diffusion.backbone import Backbone, Tokens

VIEWS = 20
"""Augmented views of each exemplar. A fixed number, so that each is encoded once."""
GREY = (127, 127, 127)


_READ = "read: the authors' README, human faces"
_READ_CLASS = "read: the authors' and diffusers' README"


@dataclass(frozen=True)
class Settings(FinetuneSettings):
    """The authors' recipe for faces, but without its augmentation; others by name (`recipe`)."""

    recipe: Literal["faces", "faces-augmented", "diffusers-faces", "objects"] = setting(
        "faces",
        "whose figures: the authors' for faces without or with their augmentation, diffusers' for "
        "faces (all of the cross-attention layers, 1000 steps of two), or the authors' for objects",
        source="ours: the exemplars show people, and crops cut off limbs",
        before="faces",
    )
    steps: int = setting(750, "optimisation steps", low=1, source=_READ)
    batch_size: int = setting(
        4,
        "exemplars a step; as many class images come on top",
        low=1,
        source="derived: the authors' batch 2 on each of 2 GPUs",
    )
    learning_rate: float = setting(
        5e-6,
        "AdamW's learning rate for one sample a step",
        low=0,
        rate="unet",
        source=_READ,
    )
    token_learning_rate: float | None = setting(
        5e-6,
        "the same for the token; none: learning_rate",
        low=0,
        rate="token",
        source="read: the authors' code has one optimiser for both",
        before=None,
    )
    scale_learning_rate: bool = setting(
        True,
        "both rates are multiplied by the samples of a step, the class images among them",
        source="read: the authors' --scale_lr, twice that with class images",
    )
    trained: Literal["key-value", "cross-attention"] = setting(
        "key-value",
        "train `to_k` and `to_v` of the cross-attention layers, or all of these layers",
        source="read: the paper",
        before="key-value",
    )
    templates: tuple[str, ...] = setting(
        (f"photo of a {SLOT} person",),
        f"prompts with {SLOT} for the token; each step draws one",
        source="read: diffusers' README",
    )
    class_prompt: str = setting("person", "what the class images show", source=_READ_CLASS)
    initializer: str = setting(
        "ktn",
        "word whose mean embedding starts the token",
        source="read: the authors' rare token",
    )
    augment: bool = setting(
        False,
        "train on exemplars shrunk or enlarged at random, as the paper does. Off: cropping cuts "
        "off limbs, and the figure's size and place are part of an action's picture",
        source="read: diffusers' --noaug for faces; the authors' recipe augments",
    )


class CustomDiffusion(Method[Settings]):
    """Trains `to_k` and `to_v` of all cross-attention layers and a token, beside class images.

    The weights are written into the layers, so that attention keeps its fast kernels. Exemplars
    and class images count alike (1:1), as in the authors' code, where both go through one loss.
    """

    name = "custom-diffusion"
    title = "Custom Diffusion"
    reference = "Kumari et al., CVPR 2023, arXiv 2212.04488"
    Settings = Settings
    kinds = tuple(KINDS)
    presets: ClassVar[Presets] = {
        "puppet-diffusion": {"class_sampling_steps": 8, "class_guidance_scale": 4.0}
    }
    tuned: ClassVar[Presets] = {
        "puppet-diffusion": {
            "steps": 190,
            "batch_size": 3,
            "learning_rate": 6e-4,
            "token_learning_rate": None,
            "scale_learning_rate": False,
            "class_prompt": "a person",
        }
    }
    quick: ClassVar[dict[str, Any]] = {"class_images": 24}
    recipes: ClassVar[dict[str, dict[str, Any]]] = {
        "faces": {},
        "faces-augmented": {"augment": True},
        # read: diffusers, examples/custom_diffusion, human faces
        "diffusers-faces": {
            **{"steps": 1000, "batch_size": 2, "learning_rate": 5e-6, "token_learning_rate": 5e-6},
            **{"scale_learning_rate": True, "trained": "cross-attention", "augment": False},
        },
        # read: the authors' README, on 2 GPUs
        "objects": {
            **{"steps": 250, "batch_size": 4, "learning_rate": 1e-5, "token_learning_rate": 1e-5},
            **{"scale_learning_rate": True, "augment": True},
        },
    }

    def fit(
        self, backbone: Backbone, task: ActionTask, *, seed: int, progress: Progress
    ) -> Customization:
        generator = torch.Generator().manual_seed(seed)
        if note := bars_note(task.action.name, [e.image for e in task.exemplars]):
            progress.note(note)
        vectors, draw = self.exemplars(backbone, task, generator)
        settings = self.settings
        token_rate = settings.token_learning_rate
        factor = learning_rate_factor(settings)
        # Position 0 is the text's beginning, where it has one.
        projections = backbone.text_projections() if backbone.kind.begins else []
        with first_position_detached(projections):
            fitted = finetune(
                backbone,
                settings,
                draw,
                learning_rate=factor * settings.learning_rate,
                parameters=trained_weights(backbone, settings.trained),
                tokens=[vectors],
                token_learning_rate=None if token_rate is None else factor * token_rate,
                generator=generator,
                progress=progress,
            )
        return Customization(
            method=self.name,
            action=task.action.name,
            model=backbone.fingerprint,
            tensors={"vectors": vectors.detach().cpu(), **fitted.changes},
            facts={
                "losses": fitted.losses,
                MEASURES: {"relative_norm": relative_norm(backbone, vectors.detach())},
            },
        )

    def fit_work(self, exemplars: int, layers: int) -> Work:
        return finetuning_work(self.settings, whole=False)

    def shared(self, task: ActionTask, seed: int) -> tuple[str, ...]:
        return shared_class_images(self.settings)

    def exemplars(
        self, backbone: Backbone, task: ActionTask, generator: torch.Generator
    ) -> tuple[Tensor, Draw]:
        """Make the token [1, 1, D] at its start, and batches whose states depend on it."""
        views = Views(backbone, task, self.settings, generator)
        word = backbone.word_embedding(self.settings.initializer)
        vectors = word.expand(1, 1, -1).clone().to(backbone.device)
        count = self.settings.batch_size

        def draw(generator: torch.Generator) -> FinetuneBatch:
            rows = torch.randint(len(views.latents), (count,), generator=generator).tolist()
            prompts = [views.prompt(row, generator) for row in rows]
            return FinetuneBatch(
                views.latents[rows].sample(generator),
                backbone.encode_prompts(prompts, vectors.unsqueeze(0)),
                mask=views.masks[rows],
            )

        return vectors, draw

    def generate(
        self, backbone: Backbone, customization: Customization, items: Sequence[Item]
    ) -> Iterator[Image.Image]:
        tensors = dict(customization.tensors)
        vectors = tensors.pop("vectors")
        yield from generate_with(
            backbone,
            tensors,
            [item.slot_prompt for item in items],
            [item.seed for item in items],
            vectors,
        )


def learning_rate_factor(settings: Settings) -> float:
    """Compute what rates are multiplied by: the batch size, and twice that with class images."""
    if not settings.scale_learning_rate:
        return 1.0
    return settings.batch_size * (2.0 if settings.prior_weight else 1.0)


def trained_weights(backbone: Backbone, trained: str) -> list[Tensor]:
    """List the weights that learn: keys and values, or all of the cross-attention layers."""
    keys_and_values = trained == "key-value"
    modules = backbone.text_projections() if keys_and_values else backbone.cross_attentions()
    return [weight for module in modules for weight in module.parameters()]


@contextmanager
def first_position_detached(projections: Sequence[torch.nn.Module]) -> Iterator[None]:
    """Learn nothing, while inside, from the keys and values of position 0, the text's start.

    Neither the projections nor the states get a gradient from there, as in the reference. The
    values stay, and hooks rather than an attention processor of our own keep the stock kernels.
    """

    def detach(_module: Any, _args: Any, output: Tensor) -> Tensor:
        return torch.cat([output[:, :1].detach(), output[:, 1:]], 1)

    handles = [projection.register_forward_hook(detach) for projection in projections]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


# -- views of the exemplars ----------------------------------------------------------------


@dataclass(frozen=True)
class View:
    """What a sample may show: an exemplar, or a shrunk or enlarged one."""

    exemplar: int
    image: Image.Image
    mask: Tensor
    """[1, h, w], 1 for the latents' cells that lie in the exemplar, between its bars."""
    words: str = ""
    """What its prompt begins with."""


class Views:
    """The exemplars, or `VIEWS` augmented views of each, as latents."""

    def __init__(
        self, backbone: Backbone, task: ActionTask, settings: Settings, generator: torch.Generator
    ) -> None:
        cells = backbone.latent_size
        images = [e.image for e in task.exemplars]
        if settings.augment:
            size = backbone.image_size
            views = [
                augmented(number, image, size, cells, generator)
                for number, image in enumerate(images)
                for _ in range(VIEWS)
            ]
        else:
            masks = content_masks(backbone, images)
            if masks is None:
                masks = torch.ones(len(images), 1, cells, cells)
            views = [
                View(number, image, mask.cpu())
                for number, (image, mask) in enumerate(zip(images, masks, strict=True))
            ]
        self.views = views
        self.latents = backbone.encode_images([view.image for view in views])
        self.masks = torch.stack([view.mask for view in views]).to(backbone.device)
        self.prompts = {
            words: TrainingPrompts(backbone, task.exemplars, settings, words.__add__)
            for words in {view.words for view in views}
        }

    def prompt(self, row: int, generator: torch.Generator) -> Tokens:
        """Draw the tokens that view `row` is trained under."""
        view = self.views[row]
        return self.prompts[view.words].draw([view.exemplar], generator)[0]


def augmented(
    exemplar: int, image: Image.Image, size: int, cells: int, generator: torch.Generator
) -> View:
    """Make a view of `size` px and `cells` latent cells a side: two of three shrunk, else enlarged.

    Sizes and words are the reference's (recalled). A shrunk exemplar lies on the latents' grid,
    while the reference puts it anywhere and masks a cell more at each edge: small latents have no
    cells to spare.
    """

    def integer(low: int, high: int) -> int:
        return int(torch.randint(low, high, (), generator=generator))

    def resized(side: int) -> Image.Image:
        return ImageOps.pad(image.convert("RGB"), (side, side), method=Image.Resampling.LANCZOS)

    def content(side: int, left: int, top: int) -> Tensor:
        """Mark the whole cells between bars of an exemplar that lies at `left`, `top` px."""
        mask = torch.zeros(1, cells, cells)
        for box in (content_box(resized(size)), (0, 0, size, size)):
            x0, y0, x1, y1 = (edge * side / size / cell for edge in box)
            columns = slice(max(0, math.ceil(x0 + left / cell)), math.floor(x1 + left / cell))
            rows = slice(max(0, math.ceil(y0 + top / cell)), math.floor(y1 + top / cell))
            mask[:, rows, columns] = 1
            if mask.any():  # otherwise its content is narrower than a cell
                return mask
        return mask

    cell = size // cells
    if integer(0, 3) < 2:
        side = integer(size // 3, size + 1)
        left, top = (cell * integer(0, (size - side) // cell + 1) for _ in range(2))
        canvas = Image.new("RGB", (size, size), GREY)
        canvas.paste(resized(side), (left, top))
        far = ("a far away ", "very small ")[integer(0, 2)]
        words = far if side < 0.6 * size else ""
        return View(exemplar, canvas, content(side, left, top), words)
    side = integer(int(1.2 * size), int(1.4 * size) + 1)
    left, top = (integer(0, side - size + 1) for _ in range(2))
    crop = resized(side).crop((left, top, left + size, top + size))
    words = ("zoomed in ", "close up ")[integer(0, 2)]
    return View(exemplar, crop, content(side, -left, -top), words)
