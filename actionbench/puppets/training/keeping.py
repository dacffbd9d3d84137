"""Keeping a training that is under way where its machine's end does not end it, and going on.

Checkpoints lie in an ignored folder and are large. What is kept of them fits into the repository:
the finished parts in half precision, as they are shipped, and of the parts in work the averages, or
else the weights. Corpora and latents are made again.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict
from pathlib import Path

from safetensors.torch import load_file, save_file

from actionbench.errors import UserError
from actionbench.files.atomic import own_folder, replacing
from actionbench.puppets.training.autoencoder import autoencoder_folder, decoder_stem
from actionbench.puppets.training.diffusion import diffusion_stem
from actionbench.puppets.training.loop import slim
from actionbench.puppets.training.recipe import Recipe
from actionbench.puppets.training.stages import MARK, Training
from actionbench.puppets.training.text import clip_folder
from actionbench.puppets.training.weights import forget_places

FREE = {
    *("precision", "diffusion_steps", "diffusion_decay"),
    *("late_steps", "late_names", "late_four_legged", "late_limbwise", "late_exact"),
    "late_borrowed",
}
"""Fields of the recipe that may change while a training is under way."""
LATER = ("controlnet", "keypoints", "subjects")
"""How the names of checkpoints begin that need the diffusion model, or nothing of it."""


def keep(training: Training, out: Path) -> Path:
    """Write to `out` the finished parts and the last checkpoints of the text encoder, the diffusion
    model, the ControlNet and the readers.

    Raises:
        UserError: if nothing is finished yet, or `out` holds other files.
    """
    out, work, recipe = own_folder(out, MARK), training.work, training.recipe
    parts = [f(recipe, training.corpus, work) for f in (autoencoder_folder, clip_folder)]
    under_way = parts[-1].with_suffix(".safetensors")
    missing = [folder.name for folder in parts if not folder.exists()]
    if missing == [parts[-1].name] and under_way.exists():
        parts[-1] = under_way.with_suffix(".tokenizer")
        checkpoint, checkpoints = None, [under_way]
    elif missing:
        raise UserError(f"{work} lacks {' and '.join(missing)}: train that first (--until clip)")
    else:
        stem = diffusion_stem(recipe, training.corpus, training.text, training.autoencoder, work)
        checkpoint = stem.with_suffix(".safetensors")
        checkpoints = [checkpoint] if checkpoint.exists() else []
    decoder = decoder_stem(recipe, training.autoencoder, work).with_suffix(".model")
    parts += [decoder] if decoder.exists() else []
    parts += _newest(work, "controlnet-*.model")
    for name in LATER:
        checkpoints += _newest(work, f"{name}-*.safetensors")
    finished = {part.stem for part in parts if part.suffix == ".model"}
    checkpoints = [file for file in checkpoints if file.stem not in finished]
    step = 0
    with replacing(out) as folder:
        folder.mkdir()
        for part in parts:
            shutil.copytree(part, folder / part.name)
        forget_places(folder)
        for file in checkpoints:
            tensors = slim(file)
            save_file(tensors, folder / file.name)
            shutil.copy(file.with_suffix(".log"), folder)
            if file == checkpoint:
                step = int(tensors["step"])
        facts = {"diffusion_step": step, "recipe": asdict(recipe)}
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


def changes(kept: Path, recipe: Recipe) -> str:
    """Tell what of `recipe` is not as in a kept training; "" if all is."""
    theirs = json.loads((kept / MARK).read_text("utf-8"))["recipe"]
    ours = json.loads(json.dumps(asdict(recipe)))
    names = {name for name in {*theirs, *ours} if theirs.get(name) != ours.get(name)} - FREE
    if not names:
        return ""
    return f"{kept} was made with another {', '.join(sorted(names))}: such parts begin anew"


def _newest(work: Path, pattern: str) -> list[Path]:
    """Return the file that was written last, if there is any."""
    return sorted(work.glob(pattern), key=lambda path: path.stat().st_mtime)[-1:]


def _further(source: Path, place: Path) -> bool:
    if not place.exists():
        return True
    if source.suffix != ".safetensors":
        return False
    return int(load_file(source)["step"]) > int(load_file(place)["step"])
