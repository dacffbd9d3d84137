"""The corpora: endless scenes drawn from seeds, in chunks, resumable.

A corpus keeps each picture's facts instead of a caption, for a picture is captioned anew each time
it is seen. How often each kind of picture is seen is set by the recipe when training draws its
batches (`shares`), so that twins of another mixture train on the same drawings.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from actionbench.files.atomic import replacing
from actionbench.progress import SILENT, Progress
from actionbench.puppets.training import world
from actionbench.puppets.training.captions import Facts, Manner, caption, contrary
from actionbench.puppets.training.recipe import Recipe, digest

SIZE = 64
"""Pixels of the pictures that the miniature models see and draw."""
CHUNK = 1000


class Drawn(NamedTuple):
    images: np.ndarray
    """uint8 [n, SIZE, SIZE, 3]"""
    keypoints: np.ndarray
    """float32 [n, 18, 3]: x, y in picture widths and visibility"""
    rows: list[dict[str, Any]]
    """Facts and labels."""


@dataclass(frozen=True)
class Corpus:
    folder: Path
    keypoints: np.ndarray
    """float32 [n, 18, 3]: x, y in picture widths and visibility"""
    rows: list[dict[str, Any]]
    key: str
    """Hash of what was drawn, for all that is made of it."""

    def __len__(self) -> int:
        return len(self.rows)

    @cached_property
    def images(self) -> np.ndarray:
        """uint8 [n, SIZE, SIZE, 3], read when they are first asked for."""
        images = np.empty((len(self), SIZE, SIZE, 3), np.uint8)
        for start in range(0, len(self), CHUNK):
            with np.load(self.folder / f"{start // CHUNK:04d}.npz") as chunk:
                images[start : start + CHUNK] = chunk["images"][: len(self) - start]
        return images

    def facts(self, index: int) -> Facts:
        row = self.rows[index]
        return Facts(row["name"], tuple(row["looks"]), row["does"], row["where"])

    @cached_property
    def named(self) -> list[int]:
        """The pictures of somebody with a name."""
        return [index for index, row in enumerate(self.rows) if row["name"]]

    def captions(
        self,
        pick: Sequence[int] | np.ndarray,
        rng: np.random.Generator,
        recipe: Recipe,
        borrowed: float = 0.0,
    ) -> list[str]:
        """A fresh caption for each picture of a batch.

        borrowed: of the captions that describe limb by limb what somebody without a name does,
        those that name somebody all the same.
        """
        manner = Manner(recipe.tell_pose, recipe.tell_where, recipe.tell_style)
        pose_told = replace(manner, pose=1.0)
        texts = []
        for index in map(int, pick):
            facts, row = self.facts(index), self.rows[index]
            if borrowed and not row["name"] and row["kind"] in LIMBWISE and rng.random() < borrowed:
                name = self.rows[self.named[int(rng.integers(len(self.named)))]]["name"]
                texts.append(caption(replace(facts, name=name, looks=()), rng, pose_told))
            else:
                texts.append(caption(facts, rng, manner))
        return texts

    def contrary(
        self, pick: Sequence[int] | np.ndarray, seed: Sequence[int], recipe: Recipe
    ) -> tuple[list[str], list[str], np.ndarray]:
        """Captions of a batch that tell the pose where one is told, the same with another pose, and
        whether they differ, bool [n]."""
        manner = Manner(1.0, recipe.tell_where, recipe.tell_style)
        own, other = [], []
        for place, index in enumerate(map(int, pick)):
            facts, rng = self.facts(index), np.random.default_rng((*seed, place))
            another = self.rows[int(rng.integers(len(self)))]
            upright = not (self.rows[index]["four_legged"] or another["four_legged"])
            does = another["does"] if upright else ""
            state = rng.bit_generator.state
            own.append(caption(facts, rng, manner))
            changed = contrary(facts.does, does, rng) if facts.does and does else facts.does
            rng.bit_generator.state = state
            other.append(caption(replace(facts, does=changed), rng, manner))
        return own, other, np.array([a != b for a, b in zip(own, other, strict=True)])


def to_pixels(images: np.ndarray, device: str) -> Tensor:
    """uint8 [n, h, w, 3] to float [n, 3, h, w] in [-1, 1]."""
    return torch.from_numpy(images).to(device).permute(0, 3, 1, 2).float().div(127.5).sub(1)


# --- which pictures are seen how often ----------------------------------------------------------


def shares(rows: Sequence[dict[str, Any]], recipe: Recipe, limbwise: float = 1.0) -> np.ndarray:
    """How often each picture is drawn in training, [n], 1 in all.

    Pictures are counted by group (named, other, person), legs and kind of pose. A group takes its
    share; within a group, animals keep the share that they have in the corpus, four-legged ones
    the recipe's part of it, and kinds of poses their shares.
    """
    strata = [(row["group"], row["animal"], row["four_legged"], row["kind"]) for row in rows]
    counts: dict[tuple[str, bool, bool, str], int] = {}
    for stratum in strata:
        counts[stratum] = counts.get(stratum, 0) + 1
    wanted = {s: _wanted(s, counts, recipe, limbwise) for s in counts}
    weights = np.array([wanted[s] / counts[s] for s in strata])
    result: np.ndarray = weights / weights.sum()
    return result


def _wanted(
    stratum: tuple[str, bool, bool, str],
    counts: dict[tuple[str, bool, bool, str], int],
    recipe: Recipe,
    limbwise: float,
) -> float:
    group, animal, four_legged, kind = stratum
    share = {
        "named": recipe.names,
        "other": recipe.others,
        "person": 1 - recipe.names - recipe.others,
    }[group]
    whole = sum(n for (g, *_), n in counts.items() if g == group)
    share *= sum(n for (g, a, *_), n in counts.items() if (g, a) == (group, animal)) / whole
    if animal:
        share *= recipe.four_legged if four_legged else 1 - recipe.four_legged
    if four_legged:
        return share
    return share * kind_shares(recipe, 1.0 if group == "person" else limbwise)[kind]


LIMBWISE = ("free", "exact", "loose")
"""Kinds of poses that captions describe limb by limb, actions among them."""


def kind_shares(recipe: Recipe, limbwise: float = 1.0) -> dict[str, float]:
    """Of the pictures of upright bodies: the share of each kind of pose, 1 in all.

    limbwise: how often kinds of `LIMBWISE` are seen, beside their shares by the recipe.
    """
    described = recipe.described_share
    kinds = {
        "known": recipe.known_share,
        "free": recipe.free_share,
        "exact": described * recipe.exact_share,
        "loose": described * (1 - recipe.exact_share),
        "silent": 1 - recipe.known_share - recipe.free_share - described,
    }
    kinds = {kind: share * (limbwise if kind in LIMBWISE else 1) for kind, share in kinds.items()}
    whole = sum(kinds.values())
    return {kind: share / whole for kind, share in kinds.items()}


class Picker:
    """Draws the pictures of a batch by their shares."""

    def __init__(self, weights: np.ndarray) -> None:
        self.cumulative = np.cumsum(weights / weights.sum())

    def __call__(self, size: int, seed: int, step: int) -> np.ndarray:
        """Indices [size]; they depend on seed and step alone."""
        at = np.random.default_rng((seed, step)).random(size)
        rows: np.ndarray = np.searchsorted(self.cumulative, at).clip(max=len(self.cumulative) - 1)
        return rows


# --- drawing ------------------------------------------------------------------------------------

Sampler = Callable[[np.random.Generator, Recipe], world.Sampled]

SAMPLERS: dict[str, Sampler] = {
    "pretraining": world.pretraining_scene,
    "judging": world.judging_scene,
    "posing": world.posing_scene,
}


def draw_many(sampler: str, recipe: Recipe, seed: tuple[int, ...], count: int) -> Drawn:
    """Draw `count` scenes of a sampler from a seed."""
    rng = np.random.default_rng(seed)
    images = np.empty((count, SIZE, SIZE, 3), np.uint8)
    keypoints = np.empty((count, 18, 3), np.float32)
    rows = []
    for i in range(count):
        item = SAMPLERS[sampler](rng, recipe)
        picture, keypoints[i] = world.draw(item.scene, SIZE)
        images[i] = np.asarray(picture)
        rows.append(item.row)
    return Drawn(images, keypoints, rows)


def _draw_chunk(job: tuple[str, Recipe, int, str, int]) -> int:
    sampler, recipe, index, folder, count = job
    drawn = draw_many(sampler, recipe, (recipe.seed, index), count)
    stem = Path(folder) / f"{index:04d}"
    with replacing(stem.with_suffix(".json")) as path:
        path.write_text(json.dumps(drawn.rows), "utf-8")
    with replacing(stem.with_suffix(".npz")) as path, path.open("wb") as file:
        np.savez(file, images=drawn.images, keypoints=drawn.keypoints)
    return index


def corpus(
    work: Path,
    sampler: str,
    recipe: Recipe,
    count: int,
    workers: int = 1,
    progress: Progress = SILENT,
) -> Corpus:
    """`count` drawings, made where `work` does not hold them yet.

    They are kept by a hash of the first few, so that a changed drawing makes a new corpus.
    """
    first = draw_many(sampler, recipe, (recipe.seed, 0), 8)
    seen = hashlib.sha256(first.images.tobytes()).hexdigest()
    size = min(CHUNK, count)
    key = digest(sampler, recipe.seed, size, seen, first.rows)[:8]
    folder = work / f"{sampler}-{key}"
    folder.mkdir(parents=True, exist_ok=True)
    chunks = -(-count // size)
    jobs = [
        (sampler, recipe, i, str(folder), size)
        for i in range(chunks)
        if not (folder / f"{i:04d}.npz").exists()
    ]
    _draw_all(jobs, workers, chunks, sampler, progress)
    keypoints, rows = [], []
    for i in range(chunks):
        with np.load(folder / f"{i:04d}.npz") as chunk:
            keypoints.append(chunk["keypoints"])
        rows += json.loads((folder / f"{i:04d}.json").read_text("utf-8"))
    points = np.concatenate(keypoints)[:count]
    return Corpus(folder, points, rows[:count], digest(key, count)[:8])


def _draw_all(
    jobs: Sequence[tuple[str, Recipe, int, str, int]],
    workers: int,
    chunks: int,
    sampler: str,
    progress: Progress,
) -> None:
    what = f"drawing the {sampler} corpus"
    if workers == 1 or len(jobs) < 2:
        for n, job in enumerate(jobs, 1):
            _draw_chunk(job)
            progress.update(chunks - len(jobs) + n, chunks, what)
        return
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        for n, _ in enumerate(pool.imap_unordered(_draw_chunk, jobs), 1):
            progress.update(chunks - len(jobs) + n, chunks, what)
