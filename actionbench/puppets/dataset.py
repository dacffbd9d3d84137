"""Packs the puppets as a Hugging Face dataset: Parquet files and a card."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from actionbench.errors import UserError
from actionbench.files.atomic import own_folder, replacing
from actionbench.progress import SILENT, Progress
from actionbench.puppets.backdrop import BACKDROPS
from actionbench.puppets.looks import random_person
from actionbench.puppets.pose import action_pose
from actionbench.puppets.scene import Scene, draw
from actionbench.suite import tables as dataset
from actionbench.suite.items import (
    Action,
    benchmark_lists,
    development_actions,
    paper_actions,
    paper_subjects,
)
from actionbench.suite.tables import card_configs, exemplar_row, subject_rows, write_tables

PIXELS = 512
EXEMPLARS = 10
SEED = 311_15841
"""Exemplars are drawn from this seed alone; no model is ever trained on them."""

DEV = "dev.parquet"
FILES = (dataset.EXEMPLARS, DEV, dataset.SUBJECTS)
_MEND = "`actionbench data build` draws it again"


def exemplar_scenes(action: Action, number: int, seed: int = SEED) -> list[Scene]:
    """Ten random people in ten different places, all doing the action.

    With another seed than the dataset's: ten that might have been exemplars and are none.
    """
    rng = np.random.default_rng((seed, number))
    places = rng.permutation(list(BACKDROPS))[:EXEMPLARS]
    scenes = []
    for place in places:
        who, look = random_person(rng)
        pose = action_pose(action.name, rng)
        where = BACKDROPS[str(place)][0]
        seed = int(rng.integers(2**63))
        scenes.append(Scene(who, action.description, where, look, pose, str(place), seed))
    return scenes


def _exemplar_rows(
    actions: tuple[Action, ...], first: int, progress: Progress
) -> list[dict[str, Any]]:
    rows = []
    for number, action in enumerate(actions, first):
        for index, scene in enumerate(exemplar_scenes(action, number)):
            image, keypoints = draw(scene, PIXELS, supersampling=3)
            rows.append(
                exemplar_row(
                    id=f"{action.name}-{index}",
                    image=image,
                    action=action.name,
                    description=action.description,
                    caption=scene.caption,
                    template=scene.template,
                    keypoints=keypoints,
                    optimize=True,
                )
            )
        progress.update(number - first + 1, len(actions), "drawing exemplars")
    return rows


def build_dataset(out: Path, progress: Progress = SILENT) -> str:
    """Draws the dataset into `out` and returns its fingerprint, that of pixels and texts.

    The folder is written beside its place and swapped in whole. Raises UserError where `out`
    holds anything else than an earlier dataset.
    """
    out = own_folder(out, dataset.SUBJECTS)
    eight, dev = paper_actions(), development_actions()
    tables = {
        dataset.EXEMPLARS: _exemplar_rows(eight, 0, progress),
        DEV: _exemplar_rows(dev, len(eight), progress),
        dataset.SUBJECTS: subject_rows(paper_subjects()),
    }
    with replacing(out) as folder:
        folder.mkdir()
        write_tables(folder, tables)
        (folder / dataset.CARD).write_text(_card(), "utf-8")
    return fingerprint(out)


def fingerprint(folder: Path) -> str:
    """`dataset.fingerprint` of a folder of puppets."""
    return dataset.fingerprint(folder, FILES, _MEND)


def check_dataset(folder: Path) -> str:
    """Compares a folder with a fresh drawing; returns the fingerprint that both have.

    Raises UserError where they differ.
    """
    found = fingerprint(folder)
    with tempfile.TemporaryDirectory() as temporary:
        drawn = build_dataset(Path(temporary) / "dataset")
    card = folder / dataset.CARD
    if found != drawn or not card.exists() or card.read_text("utf-8") != _card():
        raise UserError(
            f"{folder} is not what this version makes (drawings {found}, fresh ones {drawn}; "
            f"or the card differs): {_MEND}"
        )
    return found


def _card() -> str:
    lists = benchmark_lists()
    actions = "\n".join(f'- **{a.name}**: "{a.description}"' for a in paper_actions())
    dev = ", ".join(a.name for a in development_actions())
    return f"""---
license: cc0-1.0
pretty_name: ActionBench puppets
task_categories:
  - text-to-image
tags:
  - action-customization
  - personalization
  - drawn
size_categories:
  - n<1K
configs:
{card_configs(FILES)}
---
# ActionBench puppets

The benchmark of action customization (ADI, CVPR 2024, arXiv 2311.15841) in miniature: eight
actions with ten exemplars each and 23 subjects, drawn. Nobody is pictured and nobody's pictures
are used: the figures are made of polygons by this project's code (`actionbench/puppets/`), and
`actionbench data build` draws them again to the same pixels.

| configuration | rows | what |
|---|---|---|
| `exemplars` | {len(paper_actions()) * EXEMPLARS} | {EXEMPLARS} pictures of each action |
| `dev` | {len(development_actions()) * EXEMPLARS} | the same of {dev}: for tuning |
| `subjects` | {len(paper_subjects())} | the subjects that a learned action is drawn with |

```python
from datasets import load_dataset

exemplars = load_dataset("actionbench/data/puppets/dataset", "exemplars", split="train")
```

## Columns of `exemplars` and `dev`
- `image`: {PIXELS} x {PIXELS} RGB.
- `action`, `description`: the action's name, and the words that prompts describe it with.
- `caption`: who does what where, with the description in it.
- `template`: the caption with `{{}}` in place of the description, for a method's identifier.
- `keypoints`: 18 points in OpenPose's order, each x, y in [0, 1] and visibility.
- `skeleton`: the keypoints as OpenPose draws them.

## The eight actions
{actions}

Source of the actions: {lists["source"]["actions"]}

Source of the subjects: {lists["source"]["subjects"]}

## How it was drawn
A figure is a set of joint angles (the action, held a few degrees differently by everyone), a look
(hair, clothes and colours at random; none of the 23 subjects) and a backdrop (ten different ones
for an action). Left and right matter: a salute is the right hand's. Shapes are filled on a canvas
three times as large and reduced by a box filter.

## Named persons and characters
Some subjects have the names of real people and of characters, because the published list has
them and results are to be compared with it. For that research is all they are here. A figure
refers to its namesake by name only, with a few attributes that a cartoon would use (hair, clothes,
a mask, a colour); it is no portrait, no photograph of anybody was used, and nothing is said about
anybody. No person named here, nor the owner of any character, has endorsed or approved this.
None of the pictures in the tables shows them: `subjects` holds their names, and the models and
pictures that the code makes draw them. Who is named and does not want to be, or speaks for them,
may open an issue in the project's repository: the name and its figure are then removed.

## Licence
CC0 1.0 for the drawings and tables: do with them what you like. It gives no rights in the names
and characters, which belong to their bearers and owners.
"""
