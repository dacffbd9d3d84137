"""The encoder in whose features pictures are compared with drawings: it has seen drawings only.

It is trained on drawings of both worlds, half of each, to tell who does what, and on nothing that a
model drew. It was fixed before the second world's base model was trained to its end, and is used
for Fréchet distances alone: neither a loss nor a judge looks through it.

    python -m actionbench.puppets.training.encoder --work DIR --out DIR
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from actionbench.errors import UserError
from actionbench.progress import SILENT, Progress
from actionbench.puppets import corpus as first_world
from actionbench.puppets.training.corpus import draw_many, to_pixels
from actionbench.puppets.training.loop import Schedule, Stage, rows_of, train
from actionbench.puppets.training.reading import fingerprint_of
from actionbench.puppets.training.recipe import Recipe
from actionbench.puppets.training.subject_reader import (
    SubjectReader,
    SubjectRecipe,
    build_network,
    save_subject_reader,
)

BATCH = 128


@dataclass(frozen=True)
class EncoderRecipe:
    """How the encoder is made; lengths are steps of a batch."""

    seed: int = 17
    """No picture of a corpus, of the readers' or of the acceptance is drawn from it."""
    drawings: int = 8000
    """Of each world."""
    widths: tuple[int, ...] = (12, 24, 48, 64)
    features: int = 64
    steps: int = 1200
    batch: int = 64
    rate: float = 2e-3

    def scaled(self, factor: float) -> EncoderRecipe:
        """The same recipe with every length multiplied."""
        names = ("drawings", "steps")
        return replace(self, **{n: max(2, round(getattr(self, n) * factor)) for n in names})


def train_encoder(
    out: Path, work: Path, recipe: EncoderRecipe | None = None, progress: Progress = SILENT
) -> Path:
    """Train the encoder and write its folder; continues from the work folder's checkpoint."""
    recipe = recipe or EncoderRecipe()
    progress.update(0, recipe.steps, "drawing for the encoder")
    one = first_world.draw_many("pretraining", (recipe.seed,), recipe.drawings)
    two = draw_many("pretraining", Recipe(), (recipe.seed,), recipe.drawings)
    images = np.concatenate([one.images, two.images])
    rows = [*one.rows, *two.rows]
    heads = [sorted({row[name] for row in rows}) for name in ("subject", "pose")]
    labels = torch.tensor(
        [
            [heads[0].index(row["subject"]), heads[1].index(row["pose"])]
            for row in rows
        ]
    )  # fmt: skip
    names = [f"subject {n}" for n in heads[0]] + [f"pose {n}" for n in heads[1]]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        network = build_network(len(names), recipe.widths, recipe.features)

    def losses(step: int) -> dict[str, Tensor]:
        pick = rows_of(len(images), recipe.batch, recipe.seed, step)
        logits = network(to_pixels(images[pick], "cpu"))
        truth = labels[torch.from_numpy(pick)]
        who, what = logits.split([len(heads[0]), len(heads[1])], dim=1)
        right = (who.detach().argmax(1) == truth[:, 0]).float().mean()
        return {
            "subject": F.cross_entropy(who, truth[:, 0], label_smoothing=0.03),
            "pose": F.cross_entropy(what, truth[:, 1], label_smoothing=0.03),
            "_right": right,
        }

    facts = {k: v for k, v in asdict(recipe).items() if k != "steps"}
    stage = Stage(
        name="encoder",
        stem=work / f"encoder-{fingerprint_of(facts, names)}",
        modules={"network": network.train()},
        losses=losses,
        schedule=Schedule(recipe.steps, recipe.rate),
        weight_decay=0.02,
    )
    train(stage, progress)
    shape = SubjectRecipe(widths=recipe.widths, hidden=recipe.features)
    return save_subject_reader(network, names, shape, out)


class Encoder:
    """The trained network without its last layer."""

    def __init__(self, network: nn.Module, device: str = "cpu") -> None:
        self.network, self.device = network, device

    @classmethod
    def load(cls, folder: Path, device: str = "cpu") -> Encoder:
        """Read a folder that the training wrote. UserError for one that is none."""
        try:
            reader = SubjectReader.load(folder, device)
        except UserError as error:
            raise UserError(
                f"{folder} holds no encoder of drawings: `python -m "
                "actionbench.puppets.training.encoder` trains one"
            ) from error
        return cls(reader.network[:-1], device)

    def features(self, pixels: np.ndarray) -> np.ndarray:
        """Features [n, features] of uint8 [n, 64, 64, 3]."""
        found = []
        with torch.inference_mode():
            for start in range(0, len(pixels), BATCH):
                batch = to_pixels(pixels[start : start + BATCH], self.device)
                found.append(self.network(batch).double().cpu().numpy())
        return np.concatenate(found)


def main(arguments: Sequence[str] | None = None) -> int:
    """Read the command line and train. Returns the exit status."""
    from actionbench.puppets.training.__main__ import Lines

    parser = argparse.ArgumentParser(prog="python -m actionbench.puppets.training.encoder")
    parser.add_argument("--work", type=Path, required=True, help="checkpoint and log")
    parser.add_argument("--out", type=Path, required=True, help="where the encoder is written")
    options = parser.parse_args(arguments)
    train_encoder(options.out, options.work, progress=Lines())
    return 0


if __name__ == "__main__":
    sys.exit(main())
