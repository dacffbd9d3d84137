"""Look at ADI's pool: do its images show another action, and still the anchor's own look?

    python -m benchmarks.adi_pool --suite puppets-v2-dev --actions point,kick --sheet pool.png

Of the images that ADI's action mask learns from, which are meant to show each exemplar's person and
scene in other actions (`methods.adi_pool`), it counts those in which the judge

- no longer sees the action that is learned;
- sees the other action that was asked for (drawn poses with a name, by their drawings);
- and those that lie nearest to their own anchor among the action's exemplars, in the small L*a*b*
  pictures that copying is measured by: clothes and place are kept. Chance is one in ten.

The sheet has a row for each exemplar of the first actions: the anchor, then its pool.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from actionbench.diffusion.backbone import Backbone
from actionbench.diffusion.exemplars import Exemplars
from actionbench.files.models import model_traits, resolve_model
from actionbench.progress import SILENT
from actionbench.puppets.poses import KNOWN
from actionbench.puppets.training.look import write_rows
from actionbench.runs.profiles import configure
from actionbench.suite.items import ActionTask
from actionbench.suite.suite import get_suite
from evaluation.judges.acceptance import FOLDERS, DrawingJudge, named_exemplars
from evaluation.measures.accuracy import wilson
from evaluation.measures.failures import nearest_distance, signature
from methods.adi import ADI
from methods.adi_pool import action_different_pool, other_actions

SHOWN = 3
"""Actions on the sheet."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--suite", default="puppets-v2-dev")
    parser.add_argument("--model", help="a pipeline; the suite's own without it")
    parser.add_argument("--readers", type=Path, help="the judge's; the shipped ones without it")
    parser.add_argument("--actions", help="of the suite, separated by commas; all without it")
    parser.add_argument("--profile", default="published")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("--sheet", type=Path, default=Path("pool.png"))
    given = parser.parse_args()

    suite = get_suite(given.suite)
    suite.make(SILENT)
    source = resolve_model(given.model or suite.model)
    backbone = Backbone.load(source)
    backbone.sampling = suite.sampling
    method = configure(
        ADI, model_traits(source.preset, source.path), given.profile, words=given.set
    )
    assert isinstance(method, ADI)
    folders = {name: given.readers / folder for name, folder in FOLDERS.items() if given.readers}
    judge = DrawingJudge.load(**{name: str(folder) for name, folder in folders.items()})
    names = given.actions.split(",") if given.actions else list(suite.tasks)
    print(f"{suite.name} {suite.fingerprint}, {source.name} {source.fingerprint}")
    print("| action | images | another action | the asked one | nearest to their anchor |")
    print("|---|---:|---:|---:|---:|")
    rows: list[list[Image.Image]] = []
    every: list[np.ndarray] = []
    for name in names:
        task = suite.tasks[name]
        images, seen = look(backbone, task, method, judge, given.seed)
        every.append(seen)
        print_row(name, seen)
        if len(every) <= SHOWN:
            rows += images
    print_row("all", np.concatenate(every))
    write_rows([np.stack([np.asarray(image) for image in row]) for row in rows], given.sheet, 2)
    print(f"wrote {given.sheet}")


def look(
    backbone: Backbone, task: ActionTask, method: ADI, judge: DrawingJudge, seed: int
) -> tuple[list[list[Image.Image]], np.ndarray]:
    """Draw an action's pool: each anchor with its images, and what the judge sees, [n, 3]."""
    anchors = Exemplars(backbone, task, SILENT)
    settings = method.settings
    pool = action_different_pool(backbone, task, anchors, settings, seed=seed, progress=SILENT)
    size = (backbone.image_size, backbone.image_size)
    rows = [
        [exemplar.image.convert("RGB").resize(size), *backbone.decode(latents)]
        for exemplar, latents in zip(task.exemplars, pool, strict=True)
    ]
    others = other_actions(task.action, settings.pool_actions) * settings.pool_images
    drawn = [image for row in rows for image in row[1:]]
    asked = others * len(rows)
    own = np.repeat(np.arange(len(rows)), len(others))
    return rows, np.stack(
        [*poses_seen(judge, task, drawn, asked), nearest(rows, drawn) == own], axis=1
    )


def poses_seen(
    judge: DrawingJudge, task: ActionTask, drawn: Sequence[Image.Image], asked: Sequence[str]
) -> tuple[np.ndarray, np.ndarray]:
    """Whether each image no longer shows the action, and whether it shows the asked one."""
    rng = np.random.default_rng(0)
    by_words = {known.words: name for name, known in KNOWN.items()}
    words = list(dict.fromkeys(asked))
    if unknown := [phrase for phrase in words if phrase not in by_words]:
        raise SystemExit(f"{', '.join(unknown)}: no drawn pose has that name, so nothing tells it")
    exemplars = np.stack([e.keypoints for e in task.exemplars if e.keypoints is not None])
    reference = judge.reference(
        [exemplars, *(named_exemplars(by_words[phrase], rng) for phrase in words)]
    )
    scores = reference.scores(judge.keypoints.find(list(drawn)))
    columns = np.array([1 + words.index(phrase) for phrase in asked])
    return (
        scores[:, 0] < judge.threshold,
        scores[np.arange(len(scores)), columns] >= judge.threshold,
    )


def nearest(rows: Sequence[Sequence[Image.Image]], drawn: Sequence[Image.Image]) -> np.ndarray:
    """The number of the anchor that each drawn image is nearest to."""
    images = np.stack([signature(image) for image in drawn])
    to_each = [nearest_distance(images, signature(row[0])[None]) for row in rows]
    closest: np.ndarray = np.argmin(to_each, axis=0)
    return closest


def print_row(name: str, seen: np.ndarray) -> None:
    shares = (wilson(int(column.sum()), len(column)) for column in seen.T)
    cells = (f"{100 * s.value:.1f}% [{100 * s.low:.0f}–{100 * s.high:.0f}]" for s in shares)
    print(f"| {name} | {len(seen)} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
