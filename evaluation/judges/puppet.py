"""The puppet judge: a small network that reads pose and subject from a drawn or generated image.

It is trained on fresh drawings and degraded ones (blur, noise, an autoencoder's round trip with
disturbed latents), never on an exemplar and never on what a method generated.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from actionbench.errors import UserError
from actionbench.files.networks import check_finite, judge_advice, load_state, load_weights
from actionbench.judge import Judge, Verdict
from actionbench.progress import SILENT, Progress
from actionbench.suite.items import NONE, Item, paper_subjects
from actionbench.suite.shipped import JUDGE

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor, nn

RULES = 1
"""Version of how the network's answers become verdicts; part of the fingerprint."""
BATCH = 128


class PuppetJudge(Judge):
    """Nine ways for the action (eight and none), 24 for the subject (23 and none).

    The network tells more poses apart than a suite has actions (the known poses, the other
    suite's actions, `other`): whatever is not one of the suite's is `none`.
    """

    name: ClassVar[str] = "puppet"

    @cached_property
    def fingerprint(self) -> str:
        digest = hashlib.sha256(f"puppet-judge rules {RULES}".encode())
        for file in ("config.json", "model.safetensors"):
            path = JUDGE / file
            if not path.exists():
                raise UserError(f"{path} is missing: `actionbench puppets train-judge` makes it")
            digest.update(path.read_bytes())
        return digest.hexdigest()[:16]

    @cached_property
    def reader(self) -> Reader:
        reader = Reader.load(JUDGE, self.device)
        strange = {a.name for a in self.suite.actions} - {*reader.poses}
        strange |= {s.name for s in self.suite.subjects} - {*reader.subjects}
        if strange:
            raise UserError(
                f"the puppet judge does not know {', '.join(sorted(strange))}: "
                "`actionbench puppets train-judge` trains one that does"
            )
        return reader

    def judge(self, images: Sequence[Image], items: Sequence[Item]) -> list[Verdict]:
        reader = self.reader
        poses, subjects = reader.read(images)
        actions = {a.name for a in self.suite.actions}
        verdicts = []
        for pose, subject, item in zip(poses, subjects, items, strict=True):
            seen = reader.poses[int(pose.argmax())]
            seen = seen if seen in actions else NONE
            who = reader.subjects[int(subject.argmax())]
            verdicts.append(
                Verdict.naming(
                    *(item, seen, who),
                    float(pose[reader.poses.index(item.action.name)]),
                    float(subject[reader.subjects.index(item.subject.name)]),
                )
            )
        return verdicts


@dataclass
class Reader:
    """The network with its labels."""

    network: nn.Module
    poses: list[str]
    subjects: list[str]
    device: str

    @classmethod
    def load(cls, folder: Path, device: str) -> Reader:
        from safetensors.torch import load_file

        labels = json.loads((folder / "config.json").read_text("utf-8"))
        network = build_network(len(labels["poses"]), len(labels["subjects"]))
        file = folder / "model.safetensors"
        load_state(network, load_file(file), file)
        return cls(network.eval().to(device), labels["poses"], labels["subjects"], device)

    def read(self, images: Sequence[Image]) -> tuple[np.ndarray, np.ndarray]:
        """Probabilities of poses [n, len(poses)] and subjects [n, len(subjects)]."""
        from PIL.Image import Resampling

        from actionbench.puppets.corpus import SIZE

        pixels = np.stack(
            [
                np.asarray(image.convert("RGB").resize((SIZE, SIZE), Resampling.BOX))
                for image in images
            ]
        )
        return self.read_pixels(pixels)

    def read_pixels(self, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The same of uint8 [n, 64, 64, 3]."""
        import torch

        probabilities = []
        with torch.inference_mode():
            for start in range(0, len(pixels), BATCH):
                batch = torch.from_numpy(pixels[start : start + BATCH]).to(self.device)
                batch = batch.permute(0, 3, 1, 2).float().div(127.5).sub(1)
                pose, subject = self.network(batch)
                check_finite(
                    torch.cat([pose, subject], 1), "answers of the puppet judge", judge_advice("")
                )
                both = (pose.softmax(1).cpu().numpy(), subject.softmax(1).cpu().numpy())
                probabilities.append(both)
        poses, subjects = zip(*probabilities, strict=True)
        return np.concatenate(poses), np.concatenate(subjects)


def build_network(poses: int, subjects: int) -> nn.Module:
    """Maps float [n, 3, 64, 64] in [-1, 1] to logits of poses and of subjects."""
    from torch import nn

    def convolution(inner: int, outer: int, stride: int) -> list[nn.Module]:
        return [
            nn.Conv2d(inner, outer, 3, stride, 1, bias=False),
            nn.BatchNorm2d(outer),
            nn.ReLU(inplace=True),
        ]

    class Residual(nn.Module):
        def __init__(self, width: int) -> None:
            super().__init__()
            self.body = nn.Sequential(*convolution(width, width, 1), *convolution(width, width, 1))

        def forward(self, x: Tensor) -> Tensor:
            return x + self.body(x)

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            layers: list[nn.Module] = convolution(3, 24, 2)
            for inner, outer in ((24, 48), (48, 96), (96, 192)):
                layers += [*convolution(inner, outer, 2), Residual(outer)]
            self.body = nn.Sequential(*layers, nn.Flatten(), nn.Dropout(0.2))
            self.mix = nn.Sequential(nn.Linear(192 * 16, 256), nn.ReLU(inplace=True))
            self.pose, self.subject = nn.Linear(256, poses), nn.Linear(256, subjects)

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            x = self.mix(self.body(x))
            return self.pose(x), self.subject(x)

    return Network()


# --- training ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class JudgeRecipe:
    drawings: int = 60_000
    round_trips: int = 16_000
    steps: int = 1500
    batch: int = 96
    rate: float = 2e-3
    weight_decay: float = 0.02
    checkpoint_steps: int = 250
    seed: int = 2


def _degraded(pixels: Tensor, rng: Any) -> Tensor:
    """Blurs, adds noise, changes brightness, each to a part of the batch: [n, 3, h, w]."""
    import torch
    from torch.nn import functional as F

    n = len(pixels)
    blurred = F.avg_pool2d(F.pad(pixels, (1, 1, 1, 1), mode="replicate"), 3, 1)
    mix = torch.rand(n, 1, 1, 1, generator=rng) * (torch.rand(n, 1, 1, 1, generator=rng) < 0.4)
    pixels = pixels + (blurred - pixels) * mix
    level = 0.12 * torch.rand(n, 1, 1, 1, generator=rng)
    level = level * (torch.rand(n, 1, 1, 1, generator=rng) < 0.4)
    pixels = pixels + level * torch.randn(pixels.shape, generator=rng)
    gain = 1 + 0.08 * torch.randn(n, 3, 1, 1, generator=rng)
    shift = torch.randint(-2, 3, (2,), generator=rng).tolist()
    return torch.roll(pixels * gain, shift, (2, 3)).clamp(-1, 1)


def round_trip(vae: Any, pixels: np.ndarray, noise: float, seed: int) -> np.ndarray:
    """uint8 images through the autoencoder, their latents disturbed by up to `noise`."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    rows = []
    with torch.inference_mode():
        for start in range(0, len(pixels), 128):
            batch = torch.from_numpy(pixels[start : start + 128]).permute(0, 3, 1, 2)
            scaled = batch.to(vae.device).float().div(127.5).sub(1)
            latents = vae.encode(scaled).latent_dist.mean
            level = noise * torch.rand(len(latents), 1, 1, 1, generator=generator)
            disturbance = level * torch.randn(latents.shape, generator=generator)
            out = vae.decode(latents + disturbance.to(vae.device)).sample
            out = out.add(1).mul(127.5).round().clamp(0, 255).byte().permute(0, 2, 3, 1)
            rows.append(out.cpu().numpy())
    return np.concatenate(rows)


def train_judge(
    out: Path,
    work: Path,
    model: Path,
    device: str = "cpu",
    recipe: JudgeRecipe | None = None,
    progress: Progress = SILENT,
) -> Path:
    """Trains the judge; `model` is the pipeline (or work) folder whose autoencoder, in `vae`, is
    used for the round trips. Continues from the work folder's checkpoint."""
    import torch
    from diffusers import AutoencoderKL
    from safetensors.torch import save_file
    from torch.nn import functional as F

    from actionbench.files.atomic import own_folder, replacing
    from actionbench.files.hashing import make_key
    from actionbench.puppets.corpus import corpus, pose_labels
    from actionbench.puppets.pretrain import Checkpoint, Log, rate_at

    recipe, out = recipe or JudgeRecipe(), own_folder(out, "config.json")
    torch.manual_seed(recipe.seed)
    work.mkdir(parents=True, exist_ok=True)
    vae = load_weights(AutoencoderKL, model / "vae", torch_dtype=torch.float32).eval().to(device)
    data = corpus(work, "judging", recipe.seed, recipe.drawings, 2, progress)
    weights = hashlib.sha256()
    for tensor in vae.state_dict().values():
        weights.update(tensor.cpu().numpy().tobytes())
    key = make_key(data.key, weights.hexdigest(), asdict(recipe))[:8]
    trips_file = work / f"judge-round-trips-{key}.npy"
    if not trips_file.exists():
        made = round_trip(vae, data.images[: recipe.round_trips], 0.25, recipe.seed)
        with replacing(trips_file) as path, path.open("wb") as file:
            np.save(file, made)
    trips = np.load(trips_file)
    images = np.concatenate([data.images, trips])
    rows = data.rows + data.rows[: len(trips)]
    poses, subjects = pose_labels(), [*(s.name for s in paper_subjects()), NONE]
    pose_ids = torch.tensor([poses.index(row["pose"]) for row in rows])
    subject_ids = torch.tensor([subjects.index(row["subject"]) for row in rows])
    # A third of every batch has been through the autoencoder, as all generated images have.
    share = np.full(len(rows), (2 / 3) / len(data.images))
    share[len(data.images) :] = (1 / 3) / len(trips)
    cumulative = np.cumsum(share)
    network = build_network(len(poses), len(subjects)).to(device)
    optimizer = torch.optim.AdamW(
        network.parameters(), lr=recipe.rate, weight_decay=recipe.weight_decay
    )
    checkpoint = Checkpoint(work / f"judge-{key}.safetensors", {"network": network}, optimizer)
    log = Log(work / f"judge-{key}.log")
    for step in range(checkpoint.load(), recipe.steps):
        for group in optimizer.param_groups:
            group["lr"] = rate_at(step, recipe.steps, recipe.rate)
        rng = np.random.default_rng((recipe.seed, step))
        generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
        pick = np.searchsorted(cumulative, rng.random(recipe.batch)).clip(max=len(rows) - 1)
        pixels = torch.from_numpy(images[pick]).permute(0, 3, 1, 2).float().div(127.5).sub(1)
        torch.manual_seed(1000 * recipe.seed + step)  # dropout's, so that a resumed run is the same
        pose, subject = network(_degraded(pixels, generator).to(device))
        loss = F.cross_entropy(pose, pose_ids[pick].to(device), label_smoothing=0.03)
        loss = loss + F.cross_entropy(subject, subject_ids[pick].to(device), label_smoothing=0.03)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        progress.update(step + 1, recipe.steps, "judge")
        if (step + 1) % 50 == 0:
            right = (pose.argmax(1).cpu() == pose_ids[pick]).float().mean()
            log.write(step=step + 1, loss=round(float(loss.detach()), 4), pose=float(right))
        if (step + 1) % recipe.checkpoint_steps == 0:
            checkpoint.save(step + 1)
    state = {
        k: (v.half() if v.is_floating_point() else v).contiguous().cpu()
        for k, v in network.state_dict().items()
    }
    if any(not math.isfinite(float(v.float().abs().max())) for v in state.values() if v.numel()):
        raise RuntimeError("the judge's weights do not fit half precision")
    config = {"poses": poses, "subjects": subjects, "recipe": asdict(recipe)}
    with replacing(out) as folder:
        folder.mkdir()
        save_file(state, folder / "model.safetensors")
        (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n", "utf-8")
    return out
