"""A small whole run: a suite, a method and a judge that take a second on the tiny pipeline.

As a script, it is the command that the kill tests kill:
`python -m tests.helpers.small_run MODEL FOLDER [STAGE COUNT]`; at the COUNT-th step of STAGE it
says "here" and waits to be killed.
"""

from __future__ import annotations

import hashlib
import io
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from PIL import Image

from actionbench.diffusion.backbone import Backbone
from actionbench.files.models import resolve_model
from actionbench.judge import Judge, Verdict
from actionbench.method import Customization, Method, Work
from actionbench.progress import Observer, Progress
from actionbench.runs.execute import execute
from actionbench.runs.options import RunOptions
from actionbench.runs.plan import Plan, plan_run
from actionbench.settings import setting
from actionbench.suite.items import ActionTask, Item, Sampling, paper_actions, paper_subjects
from actionbench.suite.suite import Suite

ACTIONS = paper_actions()[:2]
SUBJECTS = paper_subjects()[:3]


def small_suite(folder: Path) -> Suite:
    """Make a suite of two actions with two exemplars each, three subjects, two sampling steps."""
    file = folder / "exemplars.parquet"
    if not file.exists():
        folder.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.Table.from_pylist([*_exemplars()]), file)
    return Suite(
        name="puppets",
        protocol="puppets-v1",
        title="small",
        actions=ACTIONS,
        subjects=SUBJECTS,
        exemplar_file=file,
        model="none",
        judge="brightness",
        sampling=Sampling(steps=2, guidance_scale=2.0),
    )


def _exemplars() -> Iterator[dict[str, Any]]:
    for action in ACTIONS:
        for number in range(2):
            buffer = io.BytesIO()
            Image.new("RGB", (32, 32), (60 * number, 90, 200)).save(buffer, "PNG")
            yield {
                "id": f"{action.name}-{number}",
                "action": action.name,
                "image": {"bytes": buffer.getvalue(), "path": None},
                "caption": f"a person {action.description}",
                "template": "a person {}",
                "keypoints": [[0.5, 0.5, 1.0]] * 18,
            }


@dataclass(frozen=True)
class DriftSettings:
    steps: int = setting(3, "Optimizer steps.", low=1)
    lr: float = setting(0.1, "Learning rate.", low=0)


class Drift(Method[DriftSettings]):
    """A method that pulls a word's embedding towards seeded noise, in real optimizer steps."""

    name = "drift"
    title = "Drift"
    reference = "these tests"
    Settings = DriftSettings

    def fit_work(self, exemplars: int, layers: int) -> Work:
        return Work(conditioned=self.settings.steps)

    def fit(
        self, backbone: Backbone, task: ActionTask, *, seed: int, progress: Progress
    ) -> Customization:
        vector = backbone.word_embedding("person").clone().requires_grad_()
        goal = torch.randn(vector.shape, generator=torch.Generator().manual_seed(seed))
        optimizer = torch.optim.SGD([vector], lr=self.settings.lr)
        for step in range(self.settings.steps):
            optimizer.zero_grad()
            ((vector - goal) ** 2).sum().backward()
            optimizer.step()
            progress.update(step + 1, self.settings.steps, "steps")
        tensors = {"vector": vector.detach()[None, None]}
        return Customization(self.name, task.action.name, backbone.fingerprint, tensors)

    def generate(
        self, backbone: Backbone, customization: Customization, items: Sequence[Item]
    ) -> Iterator[Image.Image]:
        prompts = [item.slot_prompt for item in items]
        seeds = [item.seed for item in items]
        return backbone.generate(prompts, seeds, customization.tensors["vector"])


class Faulty(Drift):
    """A method with a defect that shows at the second action."""

    name = "faulty"
    title = "Faulty"

    def fit(self, backbone: Backbone, task: ActionTask, **rest: Any) -> Customization:
        if task.action.name == "gesture":
            raise ZeroDivisionError("a defect\nof the plug-in")
        return replace(super().fit(backbone, task, **rest), method=self.name)


class Plain(Method[Any]):
    """A method that learns nothing and draws the described prompt."""

    name = "plain"
    title = "Plain"
    reference = "these tests"
    needs_fit = False

    def fit(self, backbone: Any, task: Any, *, seed: int, progress: Any) -> Customization:
        raise AssertionError("a method that learns nothing is not fitted")

    def generate(
        self, backbone: Backbone, customization: Customization, items: Sequence[Item]
    ) -> Iterator[Image.Image]:
        return backbone.generate([i.described_prompt for i in items], [i.seed for i in items])


class Unseeded(Plain):
    """A method that draws every item from the same noise."""

    name = "unseeded"
    title = "Unseeded"

    def generate(
        self, backbone: Backbone, customization: Customization, items: Sequence[Item]
    ) -> Iterator[Image.Image]:
        return backbone.generate([i.described_prompt for i in items], [0] * len(items))


class Brightness(Judge):
    """A judge that answers from the image's pixels, so that the table depends on what was drawn."""

    name = "brightness"
    rule = "1"

    @property
    def fingerprint(self) -> str:
        return self.rule

    def judge(self, images: Sequence[Image.Image], items: Sequence[Item]) -> list[Verdict]:
        verdicts = []
        for image in images:
            digest = hashlib.sha256(image.tobytes()).digest()
            action, subject = digest[0] % 2 == 0, digest[1] % 2 == 0
            verdicts.append(Verdict(action, subject, "", "", digest[0] / 255, digest[1] / 255))
        return verdicts


def small_plan(model: Path, folder: Path, method: Method[Any] | None = None, **more: Any) -> Plan:
    """Plan a small run; `more` are options, or the judge."""
    suite = small_suite(folder)
    return plan_run(
        suite=suite,
        method=method or Drift(),
        source=resolve_model(str(model)),
        judge=more.pop("judge", None) or Brightness(suite),
        options=RunOptions(runs=folder / "runs", device="cpu", **more),
    )


class StopAt(Observer):
    def __init__(self, stage: str, count: int) -> None:
        self.stage, self.left = stage, count

    def step(self, action: str, stage: str, done: int, total: int, what: str = "") -> None:
        self.left -= stage == self.stage
        if self.left == 0:
            print("here", flush=True)
            time.sleep(600)


def main() -> None:
    model, folder, *stop = sys.argv[1:]
    observer = StopAt(stop[0], int(stop[1])) if stop else None
    torch.set_num_threads(1)
    result = execute(small_plan(Path(model), Path(folder)), observer)
    print(result.run_id)


if __name__ == "__main__":
    main()
