"""Pictures that the readers of keypoints and subjects learn from: drawings, and degraded ones.

A reader is to read what a model drew, not what the drawing program did. So a training picture is
blurred, drawn coarser, made noisy, recoloured, saved as JPEG, moved, partly covered, or sent
through the model's own autoencoder. No exemplar and no picture by a method is among them.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from actionbench.files.atomic import replacing
from actionbench.files.hashing import make_key
from actionbench.progress import SILENT, Progress
from actionbench.puppets.drawing.pose import Hand, Mouth
from actionbench.puppets.poses import FREE_ARMS, FREE_LEGS, Limb, Pose, jittered
from actionbench.puppets.training import corpus as corpora
from actionbench.puppets.training import world
from actionbench.puppets.training.corpus import Corpus, corpus
from actionbench.puppets.training.recipe import Recipe
from actionbench.puppets.training.weights import weights_key

SAMPLER = "reading"
NAMES, OTHERS = 0.5, 0.25
"""Pictures of one of the 23, and of another named character or animal; the rest show people
without a name."""
FOUR_LEGGED = 0.5
"""Of the animals' pictures."""
KINDS = {"wild": 0.30, "free": 0.12, "known": 0.13, "exact": 0.30, "loose": 0.15}
"""Of the pictures of upright bodies: the share of each kind of pose. Actions fold bodies (a bow, a
crab, a hand at a foot) as few other poses do: with an eighth of them those were misread."""

Rng = np.random.Generator


# --- what is drawn --------------------------------------------------------------------------------


def reading_scene(rng: Rng, recipe: Recipe) -> world.Sampled:
    """One labelled picture for the readers: anybody in any pose."""
    who = world.somebody(rng, replace(recipe, names=NAMES, others=OTHERS))
    if who.animal and rng.random() < FOUR_LEGGED:
        return world._on_four_legs(rng, who)
    kind = world._kind(rng, KINDS)
    if kind == "wild":
        return world._scene(rng, who, kind, "", wild_pose(rng), world.OTHER)
    return world._scene(rng, who, kind, *world._posed(rng, kind))


def wild_pose(rng: Rng) -> Pose:
    """A body whose limbs point anywhere: fresh actions lie among these, whatever their seed."""
    hands: tuple[Hand, ...] = ("fist", "fist", "open", "finger", "flat")
    mouths: tuple[Mouth, ...] = ("smile", "flat", "open")
    right_leg, left_leg = _legs(rng)
    pose = Pose(
        right_arm=_mirrored(_arm(rng)),
        left_arm=_arm(rng),
        right_leg=right_leg,
        left_leg=left_leg,
        lean=float(rng.normal(0, 12)),
        turn=_turn(rng),
        roll=float(rng.normal(0, 30)) if rng.random() < 0.06 else 0.0,
        right_hand=hands[rng.integers(5)],
        left_hand=hands[rng.integers(5)],
        mouth=mouths[rng.integers(3)],
    )
    return jittered(pose, rng)


def _turn(rng: Rng) -> float:
    return 0.0 if rng.random() < 0.65 else float(rng.uniform(-0.9, 0.9))


def _arm(rng: Rng) -> Limb:
    """A left arm, in one of the free poses' states or anyhow."""
    if rng.random() < 0.5:
        upper, lower = list(FREE_ARMS.values())[rng.integers(len(FREE_ARMS))]
        return Limb(upper + rng.uniform(-15, 15), lower + rng.uniform(-15, 15))
    return Limb(rng.uniform(-20, 185), rng.uniform(-80, 250), 1.0, rng.uniform(0.85, 1.1))


def _legs(rng: Rng) -> tuple[Limb, Limb]:
    if rng.random() < 0.6:
        right, left = list(FREE_LEGS.values())[rng.integers(len(FREE_LEGS))]
        return (
            Limb(-right[0] + rng.uniform(-8, 8), -right[1] + rng.uniform(-8, 8)),
            Limb(left[0] + rng.uniform(-8, 8), left[1] + rng.uniform(-8, 8)),
        )
    upper = rng.uniform(-15, 92, 2)
    lower = upper + rng.uniform(-100, 15, 2)
    return Limb(-upper[0], -lower[0]), Limb(upper[1], lower[1])


def _mirrored(limb: Limb) -> Limb:
    return limb._replace(upper=-limb.upper, lower=-limb.lower)


corpora.SAMPLERS[SAMPLER] = reading_scene


def readings(work: Path, seed: int, count: int, progress: Progress = SILENT) -> Corpus:
    """`count` drawings of a seed, made where `work` does not hold them yet."""
    return corpus(work, SAMPLER, replace(Recipe(), seed=seed), count, progress=progress)


# --- how it is degraded ---------------------------------------------------------------------------


def degraded(pixels: Tensor, generator: torch.Generator) -> Tensor:
    """Blur, coarsen, recolour and disturb parts of a batch: float [n, 3, h, w] in [-1, 1]."""
    pixels = _blurred(pixels, generator)
    pixels = _coarser(pixels, generator)
    pixels = _as_jpeg(pixels, generator)
    some = _chance(0.4, len(pixels), generator)
    level = 0.12 * torch.rand(len(pixels), 1, 1, 1, generator=generator) * some
    pixels = pixels + level * torch.randn(pixels.shape, generator=generator)
    gain = 1 + 0.08 * torch.randn(len(pixels), 3, 1, 1, generator=generator)
    shift = 0.05 * torch.randn(len(pixels), 3, 1, 1, generator=generator)
    return (pixels * gain + shift).clamp(-1, 1)


def _chance(share: float, n: int, generator: torch.Generator) -> Tensor:
    """Ones for about `share` of a batch, else zeros: [n, 1, 1, 1]."""
    return (torch.rand(n, 1, 1, 1, generator=generator) < share).float()


def _blurred(pixels: Tensor, generator: torch.Generator) -> Tensor:
    once = F.avg_pool2d(F.pad(pixels, (1, 1, 1, 1), mode="replicate"), 3, 1)
    twice = F.avg_pool2d(F.pad(once, (1, 1, 1, 1), mode="replicate"), 3, 1)
    n = len(pixels)
    mix = torch.rand(n, 1, 1, 1, generator=generator) * _chance(0.4, n, generator)
    blur = once + (twice - once) * _chance(0.4, n, generator)
    return pixels + (blur - pixels) * mix


def _coarser(pixels: Tensor, generator: torch.Generator) -> Tensor:
    """A fifth of the batch, drawn with fewer pixels and enlarged again."""
    size = pixels.shape[-1]
    small = int(torch.randint(size // 2, size - 4, (1,), generator=generator))
    part = _chance(0.2, len(pixels), generator)
    less = F.interpolate(pixels, size=small, mode="bilinear", antialias=True)
    more = F.interpolate(less, size=size, mode="bilinear")
    return pixels + (more - pixels) * part


def _as_jpeg(pixels: Tensor, generator: torch.Generator) -> Tensor:
    """A tenth of the batch, saved as JPEG and read again."""
    pixels = pixels.clone()
    part = _chance(0.1, len(pixels), generator).flatten().nonzero().flatten().tolist()
    quality = torch.randint(30, 90, (len(pixels),), generator=generator).tolist()
    for i in part:
        array = pixels[i].clamp(-1, 1).add(1).mul(127.5).round().byte().permute(1, 2, 0).numpy()
        file = io.BytesIO()
        Image.fromarray(array).save(file, "JPEG", quality=quality[i])
        read = torch.from_numpy(np.array(Image.open(file)))
        pixels[i] = read.permute(2, 0, 1).float().div(127.5).sub(1)
    return pixels


def moved(pixels: Tensor, by: tuple[int, int]) -> Tensor:
    """The pictures moved right and down by whole pixels; the edge is repeated."""
    x, y = by
    h, w = pixels.shape[-2:]
    wide = F.pad(pixels, (max(x, 0), max(-x, 0), max(y, 0), max(-y, 0)), mode="replicate")
    return wide[..., max(-y, 0) : max(-y, 0) + h, max(-x, 0) : max(-x, 0) + w]


# --- the autoencoder's round trip -----------------------------------------------------------------


@torch.inference_mode()  # type: ignore[untyped-decorator]
def round_trip(vae: Any, pixels: np.ndarray, noise: float = 0.0, seed: int = 0) -> np.ndarray:
    """uint8 images [n, h, w, 3] through the autoencoder, their latents disturbed by up to `noise`
    times the latents' standard deviation."""
    generator = torch.Generator().manual_seed(seed)
    rows: list[Tensor] = []
    for start in range(0, len(pixels), 64):
        batch = torch.from_numpy(pixels[start : start + 64]).permute(0, 3, 1, 2)
        latents = vae.encode(batch.to(vae.device).float().div(127.5).sub(1)).latent_dist.mean
        level = noise * latents.std().cpu() * torch.rand(len(latents), 1, 1, 1, generator=generator)
        off = level * torch.randn(latents.shape, generator=generator)
        out = vae.decode(latents + off.to(vae.device)).sample
        rows.append(out.add(1).mul(127.5).round().clamp(0, 255).byte().permute(0, 2, 3, 1).cpu())
    result: np.ndarray = torch.cat(rows).numpy()
    return result


class Pictures:
    """A reader's training pictures: drawings, and some of them after the round trip.

    With an autoencoder, a third of every batch has been through it, as all that a model draws has.
    """

    TRIPS = 1 / 3
    NOISE = 0.25

    def __init__(self, data: Corpus, vae: Any = None, trips: int = 0) -> None:
        self.data, self.key = data, data.key
        self.trips: np.ndarray | None = None
        if vae is not None and trips:
            code = weights_key(vae)
            self.key = make_key(data.key, code, trips, self.NOISE)[:8]
            file = data.folder / f"round-trips-{self.key}.npy"
            self.trips = _kept(file, lambda: round_trip(vae, data.images[:trips], self.NOISE))

    def batch(self, size: int, seed: int, step: int) -> tuple[Tensor, np.ndarray]:
        """Pixels float [size, 3, 64, 64] in [-1, 1] of a step, and their rows in the corpus."""
        rng = np.random.default_rng((seed, step))
        rows = rng.integers(0, len(self.data), size)
        images = self.data.images
        if self.trips is None:
            return corpora.to_pixels(images[rows], "cpu"), rows
        travelled = int(size * self.TRIPS)
        rows[:travelled] = rng.integers(0, len(self.trips), travelled)
        picked = np.concatenate([self.trips[rows[:travelled]], images[rows[travelled:]]])
        return corpora.to_pixels(picked, "cpu"), rows


def _kept(file: Path, make: Callable[[], np.ndarray]) -> np.ndarray:
    """An array from its file, made and kept there where it is missing."""
    if not file.exists():
        made = make()
        with replacing(file) as path, path.open("wb") as handle:
            np.save(handle, made)
    result: np.ndarray = np.load(file)
    return result


def fingerprint_of(*values: Any) -> str:
    """Short hash that names a reader's checkpoint by what it is made of."""
    return hashlib.sha256(repr(values).encode()).hexdigest()[:8]
