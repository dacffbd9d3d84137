"""The puppet judge: a small network that reads pose and subject from a drawn or generated image.

It is trained on fresh drawings and degraded ones (blur, noise, an autoencoder's round trip with
disturbed latents), never on an exemplar and never on what a method generated.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from actionbench.errors import UserError
from actionbench.files.networks import check_finite, judge_advice, load_state
from actionbench.judge import Judge, Verdict
from actionbench.suite.items import NONE, Item
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
        if self.suite.drawn is not None:
            raise UserError(
                f"the puppet judge knows the first world's drawings, and '{self.suite.name}' is a "
                "suite of the second: take --judge pose"
            )
        digest = hashlib.sha256(f"puppet-judge rules {RULES}".encode())
        for file in ("config.json", "model.safetensors"):
            path = JUDGE / file
            if not path.exists():
                raise UserError(f"{path} is missing: install the package again")
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
                "take --judge pose, which judges by exemplars"
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
