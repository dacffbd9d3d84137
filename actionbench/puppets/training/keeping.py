"""Keeping a training that is under way where its machine's end does not end it, and going on.

Checkpoints lie in an ignored folder and are large. What is kept of them fits into the repository:
the finished parts in half precision, as they are shipped, and the averages of the part in work.
Corpora and latents are made again.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from safetensors.torch import load_file, save_file

from actionbench.errors import UserError
from actionbench.files.atomic import own_folder, replacing
from actionbench.puppets.training.autoencoder import autoencoder_folder, decoder_stem
from actionbench.puppets.training.diffusion import diffusion_stem
from actionbench.puppets.training.loop import slim
from actionbench.puppets.training.stages import MARK, Training
from actionbench.puppets.training.text import clip_folder


def keep(training: Training, out: Path) -> Path:
    """Write the finished parts and the last checkpoint of the diffusion model to `out`.

    Raises:
        UserError: if nothing is finished yet, or `out` holds other files.
    """
    out, work, recipe = own_folder(out, MARK), training.work, training.recipe
    parts = [f(recipe, training.corpus, work) for f in (autoencoder_folder, clip_folder)]
    missing = [folder.name for folder in parts if not folder.exists()]
    if missing:
        raise UserError(f"{work} lacks {' and '.join(missing)}: train that first (--until clip)")
    decoder = decoder_stem(recipe, training.autoencoder, work).with_suffix(".model")
    parts += [decoder] if decoder.exists() else []
    stem = diffusion_stem(recipe, training.corpus, training.text, training.autoencoder, work)
    checkpoint = stem.with_suffix(".safetensors")
    step = 0
    with replacing(out) as folder:
        folder.mkdir()
        for part in parts:
            shutil.copytree(part, folder / part.name)
        if checkpoint.exists():
            tensors = slim(checkpoint)
            step = int(tensors["step"])
            save_file(tensors, folder / checkpoint.name)
            shutil.copy(stem.with_suffix(".log"), folder)
        facts = {"recipe_hash": recipe.hash, "diffusion_step": step}
        (folder / MARK).write_text(json.dumps(facts, indent=2) + "\n", "utf-8")
    return out


def restore(kept: Path, work: Path) -> list[str]:
    """Copy to the work folder what it lacks of a kept training. Returns what was copied.

    A checkpoint of the work folder that is further stays.

    Raises:
        UserError: if `kept` is no folder that `keep` wrote.
    """
    if not (kept / MARK).is_file():
        raise UserError(
            f"{kept} holds no kept training: `python -m actionbench.puppets.training keep` writes "
            "one"
        )
    work.mkdir(parents=True, exist_ok=True)
    copied = []
    for source in sorted(kept.iterdir()):
        place = work / source.name
        if source.name == MARK or not _further(source, place):
            continue
        with replacing(place) as path:
            (shutil.copytree if source.is_dir() else shutil.copy)(source, path)
        copied.append(source.name)
    return copied


def _further(source: Path, place: Path) -> bool:
    if not place.exists():
        return True
    if source.suffix != ".safetensors":
        return False
    return int(load_file(source)["step"]) > int(load_file(place)["step"])
