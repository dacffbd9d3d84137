"""The reader of subjects: a small convolutional network that names one of the 23, or none.

None is whoever the suite does not know: the other characters and animals of the drawn world, and
all people without a name. Bodies are on two legs or on four, in any pose.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

from actionbench.errors import UserError
from actionbench.files.atomic import replacing
from actionbench.files.networks import check_finite, judge_advice, load_state
from actionbench.progress import SILENT, Progress
from actionbench.puppets.training.corpus import SIZE, to_pixels
from actionbench.puppets.training.loop import Schedule, Stage, generator_of, train
from actionbench.puppets.training.reading import (
    Pictures,
    degraded,
    fingerprint_of,
    moved,
    readings,
)
from actionbench.suite.items import NONE, paper_subjects

if TYPE_CHECKING:
    from PIL.Image import Image

CONFIG, WEIGHTS = "config.json", "model.safetensors"
BATCH = 128


@dataclass(frozen=True)
class SubjectRecipe:
    """How the reader is made; lengths are steps of a batch."""

    seed: int = 11
    """The same as the keypoint reader's: both learn from the same drawings."""
    drawings: int = 40_000
    round_trips: int = 12_000
    """Drawings that are also seen after the autoencoder's round trip."""
    widths: tuple[int, ...] = (24, 48, 96, 144)
    hidden: int = 96
    steps: int = 2100
    batch: int = 64
    rate: float = 2e-3
    smoothing: float = 0.03
    move: int = 3
    """Pixels by which a picture is moved, at most."""

    def scaled(self, factor: float) -> SubjectRecipe:
        """The same recipe with every length multiplied."""
        names = ("drawings", "round_trips", "steps")
        return replace(self, **{n: max(2, round(getattr(self, n) * factor)) for n in names})


def _convolution(inner: int, outer: int, stride: int) -> list[nn.Module]:
    return [
        nn.Conv2d(inner, outer, 3, stride, 1, bias=False),
        nn.BatchNorm2d(outer),
        nn.ReLU(inplace=True),
    ]


class _Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(*_convolution(width, width, 1), *_convolution(width, width, 1))

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = x + self.body(x)
        return result


def build_network(subjects: int, widths: Sequence[int], hidden: int) -> nn.Module:
    """Maps float [n, 3, 64, 64] in [-1, 1] to logits [n, subjects]."""
    layers = _convolution(3, widths[0], 2)
    for inner, outer in pairwise(widths):
        layers += [*_convolution(inner, outer, 2), _Residual(outer)]
    cells = (SIZE // 2 ** len(widths)) ** 2
    layers += [nn.Flatten(), nn.Linear(widths[-1] * cells, hidden), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers, nn.Linear(hidden, subjects))


@dataclass
class SubjectReader:
    """The network with its labels, the last of which is `none`."""

    network: nn.Module
    subjects: list[str]
    device: str = "cpu"

    @classmethod
    def load(cls, folder: Path, device: str = "cpu") -> SubjectReader:
        """Read a folder that the training wrote. UserError for one that is none."""
        try:
            facts = json.loads((folder / CONFIG).read_text("utf-8"))
            network = build_network(len(facts["subjects"]), facts["widths"], facts["hidden"])
            tensors = load_file(folder / WEIGHTS)
        except (OSError, KeyError, ValueError, RuntimeError) as error:
            raise UserError(
                f"{folder} holds no reader of subjects ({error}): train one, or name another"
            ) from error
        load_state(network, tensors, folder / WEIGHTS)
        return cls(network.eval().to(device), facts["subjects"], device)

    def read(self, images: Sequence[Image]) -> np.ndarray:
        """Probabilities of the subjects, [n, len(subjects)]."""
        from PIL.Image import Resampling

        pixels = [
            np.asarray(image.convert("RGB").resize((SIZE, SIZE), Resampling.BOX))
            for image in images
        ]
        return self.read_pixels(np.stack(pixels))

    def read_pixels(self, pixels: np.ndarray) -> np.ndarray:
        """The same of uint8 [n, 64, 64, 3]."""
        found = []
        with torch.inference_mode():
            for start in range(0, len(pixels), BATCH):
                logits = self.network(to_pixels(pixels[start : start + BATCH], self.device))
                check_finite(logits, "answers of the reader of subjects", judge_advice("float32"))
                found.append(logits.softmax(1).cpu().numpy())
        return np.concatenate(found)


def train_subject_reader(
    out: Path,
    work: Path,
    recipe: SubjectRecipe | None = None,
    vae: Any = None,
    progress: Progress = SILENT,
) -> Path:
    """Train the reader and write its folder; continues from the work folder's checkpoint.

    `vae` is the base model's autoencoder for round trips, None for drawings alone.
    """
    recipe = recipe or SubjectRecipe()
    data = readings(work, recipe.seed, recipe.drawings, progress)
    pictures = Pictures(data, vae, recipe.round_trips)
    subjects = [*(s.name for s in paper_subjects()), NONE]
    labels = torch.tensor([subjects.index(row["subject"]) for row in data.rows])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        network = build_network(len(subjects), recipe.widths, recipe.hidden)

    def losses(step: int) -> dict[str, Tensor]:
        generator = generator_of(recipe.seed + 1, step)
        pixels, rows = pictures.batch(recipe.batch, recipe.seed + 1, step)
        x, y = torch.randint(-recipe.move, recipe.move + 1, (2,), generator=generator).tolist()
        pixels = degraded(moved(pixels, (x, y)), generator)
        flip = torch.rand(len(pixels), 1, 1, 1, generator=generator) < 0.5
        pixels = torch.where(flip, pixels.flip(3), pixels)
        logits, truth = network(pixels), labels[torch.from_numpy(rows)]
        loss = F.cross_entropy(logits, truth, label_smoothing=recipe.smoothing)
        right = (logits.detach().argmax(1) == truth).float().mean()
        return {"subject": loss, "_right": right}

    # The length may change while it is trained, and the autoencoder may come later.
    facts = {k: v for k, v in asdict(recipe).items() if k not in ("steps", "round_trips")}
    stage = Stage(
        name="subject reader",
        stem=work / f"subjects-{fingerprint_of(data.key, facts)}",
        modules={"network": network.train()},
        losses=losses,
        schedule=Schedule(recipe.steps, recipe.rate),
        weight_decay=0.02,
        precision="auto",
    )
    train(stage, progress)
    return save_subject_reader(network, subjects, recipe, out)


def save_subject_reader(
    network: nn.Module, subjects: Sequence[str], recipe: SubjectRecipe, out: Path
) -> Path:
    """Write the weights (float16) and what the network is built by."""
    state = {
        name: (value.half() if value.is_floating_point() else value).cpu().contiguous()
        for name, value in network.state_dict().items()
    }
    facts = {
        "subjects": list(subjects),
        "widths": list(recipe.widths),
        "hidden": recipe.hidden,
        "recipe": asdict(recipe),
    }
    with replacing(out) as folder:
        folder.mkdir()
        save_file(state, folder / WEIGHTS)
        (folder / CONFIG).write_text(json.dumps(facts, indent=1) + "\n", "utf-8")
    return out
