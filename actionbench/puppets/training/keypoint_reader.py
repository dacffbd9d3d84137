"""The reader of keypoints: a small ViTPose (Xu et al. 2022, arXiv 2204.12484) for drawings.

It is saved as any ViTPose is, with its image processor, so that `photos.keypoints` loads it like
the large one for photographs. Pictures of 64 pixels are enlarged to 96: patches of 8 pixels are
then 5.3 of the picture's, fine enough to tell a forearm's direction.
"""

from __future__ import annotations

import copy
import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from actionbench.files.atomic import replacing
from actionbench.photos.keypoints import to_coco
from actionbench.progress import SILENT, Progress
from actionbench.puppets.training.corpus import SIZE
from actionbench.puppets.training.loop import Schedule, Stage, generator_of, train
from actionbench.puppets.training.reading import (
    Pictures,
    degraded,
    fingerprint_of,
    moved,
    readings,
)
from actionbench.puppets.training.weights import forget_places

MARK = "actionbench.json"
POINTS = 17
"""COCO's."""


@dataclass(frozen=True)
class KeypointRecipe:
    """How the reader is made; lengths are steps of a batch."""

    seed: int = 11
    drawings: int = 80_000
    round_trips: int = 20_000
    """Drawings that are also seen after the autoencoder's round trip."""
    image: int = 96
    """Pixels to which a picture is enlarged."""
    patch: int = 8
    width: int = 96
    layers: int = 5
    heads: int = 3
    inner: int = 3
    """Width of the feed-forward layers, in widths."""
    enlarged: int = 2
    """Cells of the heatmap a patch."""
    spread: float = 1.0
    """Standard deviation of a point's target in cells."""
    steps: int = 30_000
    batch: int = 16
    rate: float = 1e-3
    decay: int = 8000
    """Steps of the rate's fall at the end."""
    ema: float = 0.998
    sharpness: float = 10.0
    """Of the distribution over cells whose divergence is part of the loss."""
    place_weight: float = 0.1
    covered: float = 0.12
    """Pictures with a part covered, whose points there are not visible."""
    move: int = 3
    """Pixels by which a picture is moved, at most."""

    @property
    def cells(self) -> int:
        """Cells of a heatmap's side."""
        return self.image // self.patch * self.enlarged

    def scaled(self, factor: float) -> KeypointRecipe:
        """The same recipe with every length multiplied."""
        names = ("drawings", "round_trips", "steps", "decay")
        return replace(self, **{n: max(2, round(getattr(self, n) * factor)) for n in names})


def new_network(recipe: KeypointRecipe) -> nn.Module:
    """A `VitPoseForPoseEstimation` with random weights of the recipe's seed."""
    from transformers import VitPoseBackboneConfig, VitPoseConfig, VitPoseForPoseEstimation

    backbone = VitPoseBackboneConfig(
        hidden_size=recipe.width,
        num_hidden_layers=recipe.layers,
        num_attention_heads=recipe.heads,
        mlp_ratio=recipe.inner,
        image_size=[recipe.image, recipe.image],
        patch_size=[recipe.patch, recipe.patch],
        out_indices=[recipe.layers],
    )
    config = VitPoseConfig(
        backbone_config=backbone,
        num_labels=POINTS,
        use_simple_decoder=True,
        scale_factor=recipe.enlarged,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        network: nn.Module = VitPoseForPoseEstimation(config)
    return network


# --- targets and losses ---------------------------------------------------------------------------


def to_cells(points: Tensor, cells: int, image: int) -> Tensor:
    """Cells of points in picture widths, such that the image processor's inverse gives these
    points: it sends cells 0 to `cells` - 1 to pixels 0 to `image` - 1 and counts widths of
    `image`."""
    return points * image * (cells - 1) / (image - 1)


def heatmaps(places: Tensor, visible: Tensor, cells: int, spread: float) -> Tensor:
    """[n, k, cells, cells]: a bell of height 1 at each visible place [n, k, 2], given in cells."""
    grid = torch.arange(cells, dtype=torch.float32)
    x = torch.exp(-((grid - places[..., :1]) ** 2) / (2 * spread**2))
    y = torch.exp(-((grid - places[..., 1:]) ** 2) / (2 * spread**2))
    return visible[..., None, None] * y[..., :, None] * x[..., None, :]


def losses(
    found: Tensor, places: Tensor, visible: Tensor, recipe: KeypointRecipe
) -> dict[str, Tensor]:
    """Terms that all have their minimum where the heatmaps are the targets.

    `height` is the squared error, `cell` the divergence of the distributions over cells that both
    heatmaps give (it alone finds the way at the beginning, for nearly all of a target is 0), and
    `place` the distance in cells of the place that the image processor would read.
    """
    target = heatmaps(places, visible, recipe.cells, recipe.spread)
    height = (found - target).square().mean() * 100
    wanted = (target.flatten(2) * recipe.sharpness).log_softmax(-1)
    given = (found.flatten(2) * recipe.sharpness).log_softmax(-1)
    divergence = (wanted.exp() * (wanted - given)).sum(-1)
    cell = (divergence * visible).sum() / visible.sum().clamp(min=1)
    read, sure = decoded(found)
    off = (read - places).norm(dim=-1)
    near = visible * sure * (off.detach() < 2.5)
    place = (F.smooth_l1_loss(read, places, reduction="none", beta=0.5).sum(-1) * near).sum()
    place = place / near.sum().clamp(min=1)
    pixels = off.detach() * SIZE / recipe.cells
    return {
        "height": height,
        "cell": cell,
        "place": recipe.place_weight * place,
        "_pixels": (pixels * visible).sum() / visible.sum().clamp(min=1),
        "_within_2": ((pixels < 2).float() * visible).sum() / visible.sum().clamp(min=1),
    }


def decoded(found: Tensor) -> tuple[Tensor, Tensor]:
    """The places in cells [n, k, 2] that the image processor reads from heatmaps [n, k, h, w].

    As it does, by one step of Newton's method in the logarithm of the blurred map from its highest
    cell (DARK, Zhang et al. 2020, arXiv 1910.06278). The gradient goes through. Also, as floats
    [n, k], whether the step can be trusted: it is a maximum and lies near.
    """
    n, k, h, w = found.shape
    tap = torch.exp(-(torch.arange(-5.0, 6.0) ** 2) / (2 * 0.8**2)).to(found)
    tap = tap / tap.sum()
    maps = F.pad(found.reshape(n * k, 1, h, w), (5, 5, 5, 5), mode="reflect")
    maps = F.conv2d(F.conv2d(maps, tap.view(1, 1, 1, -1)), tap.view(1, 1, -1, 1))
    maps = F.pad(maps.clamp(0.001, 50).log(), (1, 1, 1, 1), mode="replicate").flatten(1)
    at = found.detach().reshape(n * k, -1).argmax(1)
    x, y = at % w, at // w
    middle, row = (y + 1) * (w + 2) + x + 1, w + 2

    def value(offset: int) -> Tensor:
        return maps.gather(1, (middle + offset)[:, None])[:, 0]

    here, left, right, above, below = (value(o) for o in (0, -1, 1, -row, row))
    dx, dy = (right - left) / 2, (below - above) / 2
    dxx, dyy = right - 2 * here + left, below - 2 * here + above
    dxy = 0.5 * (
        value(row + 1) - right - below + 2 * here - left - above + value(-row - 1)
    )  # fmt: skip
    size = dxx * dyy - dxy * dxy
    sure = (size.detach() > 1e-3) & (dxx.detach() < 0)
    size = torch.where(sure, size, torch.ones_like(size))
    step_x, step_y = (dyy * dx - dxy * dy) / size, (dxx * dy - dxy * dx) / size
    sure = sure & (step_x.detach().abs() < 2) & (step_y.detach().abs() < 2)
    zero = torch.zeros_like(step_x)
    place = torch.stack(
        [x - torch.where(sure, step_x, zero), y - torch.where(sure, step_y, zero)], dim=1
    )
    return place.view(n, k, 2), sure.float().view(n, k)


# --- training -------------------------------------------------------------------------------------


class KeypointBatches:
    """The batches of a recipe: degraded, moved and partly covered pictures with their points."""

    def __init__(self, recipe: KeypointRecipe, pictures: Pictures) -> None:
        self.recipe, self.pictures = recipe, pictures
        self.points = torch.from_numpy(to_coco(pictures.data.keypoints))  # [n, 17, 3]

    def __call__(self, step: int) -> tuple[Tensor, Tensor, Tensor]:
        """Pixels [n, 3, image, image], places in cells [n, 17, 2], visibility [n, 17]."""
        recipe = self.recipe
        generator = generator_of(recipe.seed, step)
        pixels, rows = self.pictures.batch(recipe.batch, recipe.seed, step)
        points = self.points[torch.from_numpy(rows)]
        rng = np.random.default_rng((recipe.seed, step, 2))
        by = tuple(int(v) for v in rng.integers(-recipe.move, recipe.move + 1, 2))
        pixels = moved(pixels, (by[0], by[1]))
        places = points[..., :2] + torch.tensor(by, dtype=torch.float32) / SIZE
        visible = points[..., 2] * ((places > 0) & (places < 1)).all(-1)
        pixels, visible = self._covered(pixels, places, visible, rng)
        pixels = degraded(pixels, generator)
        pixels = F.interpolate(pixels, size=recipe.image, mode="bilinear")
        return pixels, to_cells(places, recipe.cells, recipe.image), visible

    def _covered(
        self, pixels: Tensor, places: Tensor, visible: Tensor, rng: np.random.Generator
    ) -> tuple[Tensor, Tensor]:
        """Some pictures with a rectangle of one colour on them; what is under it is not visible."""
        pixels, visible = pixels.clone(), visible.clone()
        for i in np.flatnonzero(rng.random(len(pixels)) < self.recipe.covered):
            (w, h), (x, y) = rng.uniform(0.15, 0.5, 2), rng.uniform(-0.1, 0.9, 2)
            x0, y0 = max(0, round(x * SIZE)), max(0, round(y * SIZE))
            x1, y1 = round((x + w) * SIZE), round((y + h) * SIZE)
            color = torch.from_numpy(rng.uniform(-1, 1, (3, 1, 1)).astype(np.float32))
            pixels[i, :, y0:y1, x0:x1] = color
            px, py = places[i, :, 0] * SIZE, places[i, :, 1] * SIZE
            under = (px >= x0) & (px < x1) & (py >= y0) & (py < y1)
            visible[i] = visible[i] * ~under
        return pixels, visible


def train_keypoint_reader(
    out: Path,
    work: Path,
    recipe: KeypointRecipe | None = None,
    vae: Any = None,
    progress: Progress = SILENT,
) -> Path:
    """Train the reader and write its folder; continues from the work folder's checkpoint.

    `vae` is the base model's autoencoder for round trips, None for drawings alone. What
    is written is the running average.
    """
    recipe = recipe or KeypointRecipe()
    data = readings(work, recipe.seed, recipe.drawings, progress)
    pictures = Pictures(data, vae, recipe.round_trips)
    batches = KeypointBatches(recipe, pictures)
    network = new_network(recipe)
    average = copy.deepcopy(network).requires_grad_(False)

    def step_losses(step: int) -> dict[str, Tensor]:
        pixels, places, visible = batches(step)
        return losses(network(pixels).heatmaps.float(), places, visible, recipe)

    # The length may change while it is trained, and the autoencoder may come later.
    facts = {k: v for k, v in asdict(recipe).items() if k not in ("steps", "decay", "round_trips")}
    stage = Stage(
        name="keypoint reader",
        stem=work / f"keypoints-{fingerprint_of(data.key, facts)}",
        modules={"network": network},
        losses=step_losses,
        schedule=Schedule(recipe.steps, recipe.rate, warmup=100, decay=recipe.decay),
        averages={"network": average},
        ema=recipe.ema,
        weight_decay=0.05,
        precision="auto",
    )
    train(stage, progress)
    return save_keypoint_reader(average, recipe, out)


def save_keypoint_reader(network: Any, recipe: KeypointRecipe, out: Path) -> Path:
    """Write network (float16) and image processor as the Hub's folders are."""
    from transformers.models.vitpose.image_processing_pil_vitpose import VitPoseImageProcessorPil

    size = {"height": recipe.image, "width": recipe.image}
    processor = VitPoseImageProcessorPil(
        size=size, image_mean=[0.5, 0.5, 0.5], image_std=[0.5, 0.5, 0.5]
    )
    with replacing(out) as folder:
        copy.deepcopy(network).eval().half().save_pretrained(folder, safe_serialization=True)
        processor.save_pretrained(folder)
        forget_places(folder)
        (folder / MARK).write_text(json.dumps({"recipe": asdict(recipe)}, indent=1) + "\n", "utf-8")
    return out
