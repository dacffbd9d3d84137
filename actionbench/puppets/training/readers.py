"""`python -m actionbench.puppets.training.readers --work DIR --out DIR [--vae DIR]`: train the
readers of keypoints and subjects that judge drawings, or go on training them.

`--vae` is the base model's autoencoder, through which a third of the pictures is then sent. It may
be given later than the first steps: the training goes on from where it stands.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import torch

from actionbench.errors import UserError, one_line
from actionbench.files.networks import load_weights
from actionbench.progress import SILENT, Progress
from actionbench.puppets.training.keypoint_reader import KeypointRecipe, train_keypoint_reader
from actionbench.puppets.training.subject_reader import SubjectRecipe, train_subject_reader

KEYPOINTS, SUBJECTS = "keypoints", "subjects"
"""Folders of the result."""
READERS = (KEYPOINTS, SUBJECTS)


def train_readers(
    out: Path,
    work: Path,
    vae: Any = None,
    only: str | None = None,
    factor: float = 1.0,
    progress: Progress = SILENT,
) -> Path:
    """Train both readers, or `only` one, for `factor` times their usual lengths."""
    if only in (None, KEYPOINTS):
        recipe = KeypointRecipe().scaled(factor)
        train_keypoint_reader(out / KEYPOINTS, work, recipe, vae, progress)
    if only in (None, SUBJECTS):
        train_subject_reader(out / SUBJECTS, work, SubjectRecipe().scaled(factor), vae, progress)
    return out


def load_autoencoder(folder: Path | None) -> Any:
    """An autoencoder in the diffusers format, or None. UserError for a folder without one."""
    if folder is None:
        return None
    from diffusers import AutoencoderKL

    if not (folder / "config.json").is_file():
        raise UserError(f"{folder} holds no autoencoder: a pipeline's is its folder vae")
    return load_weights(AutoencoderKL, folder, torch_dtype=torch.float32).eval()


def main(arguments: list[str] | None = None) -> int:
    """Read the command line and train. Returns the exit status."""
    from actionbench.puppets.training.__main__ import Lines

    parser = argparse.ArgumentParser(prog="python -m actionbench.puppets.training.readers")
    parser.add_argument("--work", type=Path, required=True, help="drawings, checkpoints and logs")
    parser.add_argument("--out", type=Path, required=True, help="where the readers are written")
    parser.add_argument("--vae", type=Path, help="the base model's autoencoder")
    parser.add_argument("--only", choices=READERS)
    parser.add_argument("--factor", type=float, default=1.0, help="of the usual lengths")
    options = parser.parse_args(arguments)
    try:
        vae = load_autoencoder(options.vae)
        train_readers(
            options.out, options.work, vae, options.only, options.factor, progress=Lines()
        )
    except UserError as error:
        print(one_line(error), file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
