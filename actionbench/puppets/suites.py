"""The drawn suites: the eight, the development actions, and fresh ones, drawn on first use.

Nothing of them is shipped. A suite's exemplars lie in the user's cache folder, under a name that
depends on all that they are made of, or in a folder that `actionbench data build` made.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from actionbench.errors import UserError
from actionbench.files.atomic import own_folder, replacing
from actionbench.files.hashing import cache_folder, canonical_json, make_key
from actionbench.progress import SILENT, Progress
from actionbench.puppets.actions import GENERATOR, PRACTICE, fresh_actions
from actionbench.puppets.drawing.backdrop import BACKDROPS
from actionbench.puppets.drawing.holding import held, packed, ways
from actionbench.puppets.drawing.looks import random_person
from actionbench.puppets.drawing.pose import DEVELOPMENT
from actionbench.puppets.drawing.scene import Scene
from actionbench.puppets.drawing.scene import draw as draw_scene
from actionbench.suite import tables as dataset
from actionbench.suite.drawn import (
    DRAWN_FILE,
    EXEMPLAR_SEED,
    EXEMPLARS,
    MOST_EXEMPLARS,
    NOT_ACCEPTED,
    Drawn,
    DrawnAction,
    rebuild,
)
from actionbench.suite.items import Action, Sampling, paper_actions, paper_subjects
from actionbench.suite.shipped import CLAIMS, FROZEN, SECOND_MODEL
from actionbench.suite.suite import Suite
from actionbench.suite.tables import card_configs, exemplar_row, subject_rows, write_tables

EIGHT, DEV, FRESH = "puppets-v2", "puppets-v2-dev", "puppets-"
"""Names of the suites: the paper's eight actions, development actions, fresh ones with their number
behind. When the second world is accepted, the first two become `puppets` and `puppets-dev`."""
USUAL = 48
"""Actions of the fresh suite that boards are made of."""
PIXELS = 512
SAMPLING = Sampling(steps=16, guidance_scale=3.0)
FILES = (dataset.EXEMPLARS, dataset.SUBJECTS)


def names() -> Sequence[str]:
    """Return the names of the suites that are drawn on first use."""
    return (EIGHT, DEV, f"{FRESH}{USUAL}")


def find(name: str) -> Suite | None:
    """Return the suite of a name; None if the drawn world has none of that name.

    Raises:
        UserError: for fresh actions before their seed can be computed, and for too many of them.
    """
    if name == EIGHT:
        return suite_of(_named(EIGHT, "Puppets: the eight actions", paper_actions()))
    if name == DEV:
        title = "Puppets: development actions, for tuning"
        return suite_of(_named(DEV, title, development_actions()))
    if fresh := re.fullmatch(rf"{FRESH}(0|[1-9][0-9]*)", name):
        return suite_of(fresh_suite(name, int(fresh[1]), test_seed()))
    return None


def development_actions() -> tuple[Action, ...]:
    """Return the second world's development actions, which all tuning is done on."""
    return tuple(Action(name, words) for name, words in DEVELOPMENT.items())


def _named(name: str, title: str, actions: Sequence[Action]) -> Drawn:
    return Drawn(
        name,
        title,
        tuple(
            DrawnAction(a.name, a.description, tuple(map(packed, ways(a.name)))) for a in actions
        ),
    )


def fresh_suite(name: str, count: int, seed: int) -> Drawn:
    """Return a suite of the first `count` actions of a seed.

    Raises:
        UserError: for a number of actions that a seed does not give.
    """
    actions = tuple(
        DrawnAction(fresh.name, fresh.description, (packed(fresh.pose),))
        for fresh in fresh_actions(count, seed)
    )
    return Drawn(name, f"Puppets: {count:,} fresh actions", actions, seed, GENERATOR)


def built_suite(count: int, seed: int) -> Drawn:
    """Return a suite of fresh actions of a seed that somebody chose, under a name that says so.

    Raises:
        UserError: for a seed that is the judge's, or a number of actions that a seed does not give.
    """
    if seed < 0:
        raise UserError(f"--seed {seed}: give a number from 0 on")
    if seed in PRACTICE:
        raise UserError(
            f"--seed {seed}: the judge is practised on the seeds {PRACTICE.start} to "
            f"{PRACTICE.stop - 1}: take another one"
        )
    return fresh_suite(f"fresh-{count}-{seed}", count, seed)


# --- the seed of the test suite -------------------------------------------------------------------


def test_seed() -> int:
    """Compute the seed of the test suites, so that nobody can choose it.

    It is taken from the fingerprints of the frozen models, the claims, which are written before
    anything is measured, and the generator's version.

    Raises:
        UserError: before the models are frozen or the claims written.
    """
    if not FROZEN.exists():
        raise UserError(
            f"{NOT_ACCEPTED}: the seed of the test actions is computed from its fingerprint, which "
            f"`actionbench puppets check --freeze` writes to {FROZEN}"
        )
    if not CLAIMS.exists():
        raise UserError(
            f"{CLAIMS} is missing: the seed of the test actions is computed from the claims, which "
            "are written before anything is measured"
        )
    models = json.loads(FROZEN.read_text("utf-8"))["models"]
    claims = hashlib.sha256(CLAIMS.read_bytes()).hexdigest()
    return seed_of(models, claims, GENERATOR)


def seed_of(models: Any, claims: str, generator: int) -> int:
    """Return the first 63 bits of the SHA-256 of three facts, the first beyond `PRACTICE`."""
    text = canonical_json([models, claims, generator])
    seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
    return max(seed, PRACTICE.stop)


# --- the suite of what is drawn -------------------------------------------------------------------


def suite_of(drawn: Drawn, folder: Path | None = None) -> Suite:
    """Return the suite of a drawing, in a folder of its own or in the user's cache folder."""
    place = folder or cache_folder() / "suites" / f"{drawn.name}-{_key(drawn)}"
    version = drawn.name if drawn.name == EIGHT else f"{drawn.name.replace('-v2', '')}-v2"
    return Suite(
        name=drawn.name,
        protocol=version,
        title=drawn.title,
        actions=tuple(Action(a.name, a.description) for a in drawn.actions),
        subjects=paper_subjects(),
        exemplar_file=place / dataset.EXEMPLARS,
        model=str(SECOND_MODEL),
        judge="pose",
        sampling=SAMPLING,
        file=folder and folder / DRAWN_FILE,
        drawn=drawn,
    )


def _key(drawn: Drawn) -> str:
    """Hash all that the pictures are made of, the drawing's code by a few small pictures."""
    first = drawn.actions[0]
    sample = [draw_scene(scene, 64)[0].tobytes() for scene in exemplar_scenes(drawn, first)[:3]]
    facts = {**asdict(drawn), "fingerprint": ""}
    return make_key(facts, hashlib.sha256(b"".join(sample)).hexdigest())[:8]


def exemplar_scenes(drawn: Drawn, action: DrawnAction) -> list[Scene]:
    """Return random people in as many places, all doing an action: its exemplars.

    They depend on the action, its suite's seed and the exemplars' seed alone: fewer are the
    beginning of more.
    """
    source = f"{drawn.seed}|{action.name}|{drawn.exemplar_seed}"
    digest = hashlib.blake2b(source.encode(), digest_size=16).digest()
    rng = np.random.default_rng(int.from_bytes(digest, "big"))
    places = [str(p) for _ in range(2) for p in rng.permutation(list(BACKDROPS))]
    scenes = []
    for place in places[:MOST_EXEMPLARS]:
        who = random_person(rng)
        pose = held(action.poses, rng)
        where = BACKDROPS[place][0]
        seed = int(rng.integers(2**63))
        scenes.append(Scene(who.words, action.description, where, who.look, pose, place, seed))
    return scenes[: drawn.exemplars]


def draw(suite: Suite, progress: Progress = SILENT) -> None:
    """Draw a suite's exemplars into its place.

    Raises:
        UserError: if a suite that was frozen comes out otherwise here.
    """
    assert suite.drawn is not None, f"{suite.name} is not drawn"
    made = build(suite.drawn, suite.exemplar_file.parent, progress)
    expected = _frozen_suites().get(suite.name)
    own = (suite.drawn.exemplar_seed, suite.drawn.exemplars) == (EXEMPLAR_SEED, EXEMPLARS)
    if own and expected not in (None, made):
        raise UserError(
            f"{suite.name} is drawn otherwise here (fingerprint {made}, it was measured as "
            f"{expected}): install the versions of constraints.txt"
        )


def _frozen_suites() -> dict[str, str]:
    if not FROZEN.exists():
        return {}
    suites: dict[str, str] = json.loads(FROZEN.read_text("utf-8")).get("suites", {})
    return suites


def build(drawn: Drawn, out: Path, progress: Progress = SILENT) -> str:
    """Draw a suite into a folder, and return its fingerprint, that of pixels and texts.

    The folder is written beside its place and swapped in whole.

    Raises:
        UserError: if `out` holds anything else than an earlier drawing.
    """
    out = own_folder(out, DRAWN_FILE)
    rows = []
    for number, action in enumerate(drawn.actions, 1):
        for index, scene in enumerate(exemplar_scenes(drawn, action)):
            image, keypoints = draw_scene(scene, PIXELS, supersampling=3)
            rows.append(
                exemplar_row(
                    id=f"{action.name}-{index}",
                    image=image,
                    action=action.name,
                    description=action.description,
                    caption=scene.caption,
                    template=scene.template,
                    keypoints=keypoints,
                )
            )
        progress.update(number, len(drawn.actions), f"drawing {drawn.name}")
    with replacing(out) as folder:
        folder.mkdir()
        tables = {dataset.EXEMPLARS: rows, dataset.SUBJECTS: subject_rows(paper_subjects())}
        write_tables(folder, tables)
        made = fingerprint(folder)
        replace(drawn, fingerprint=made).write(folder / DRAWN_FILE)
        (folder / dataset.CARD).write_text(_card(drawn), "utf-8")
    return made


def fingerprint(folder: Path) -> str:
    """Return the hash of a drawn folder's pixels and texts."""
    return dataset.fingerprint(folder, FILES, rebuild(folder))


def check(folder: Path, progress: Progress = SILENT) -> str:
    """Compare a drawn folder with its own record and with a fresh drawing of its first action.

    Raises:
        UserError: if they differ.
    """
    drawn, made = Drawn.read(folder / DRAWN_FILE), fingerprint(folder)
    if made != drawn.fingerprint:
        raise UserError(
            f"{folder} was changed since it was drawn (its fingerprint is {made}, it was "
            f"{drawn.fingerprint}): {rebuild(folder)}"
        )
    exemplars = dataset.read_exemplars(folder / dataset.EXEMPLARS, rebuild(folder))
    for number, action in enumerate(drawn.actions, 1):
        fresh = [draw_scene(scene, PIXELS, 3)[0] for scene in exemplar_scenes(drawn, action)]
        kept = [exemplar.image for exemplar in exemplars.get(action.name, ())]
        if [image.tobytes() for image in fresh] != [image.tobytes() for image in kept]:
            raise UserError(
                f"{folder} is not what this version draws ('{action.name}' differs): "
                f"{rebuild(folder)}"
            )
        progress.update(number, len(drawn.actions), "drawing again")
    return made


def _card(drawn: Drawn) -> str:
    first = ", ".join(f'{a.name} ("{a.description}")' for a in drawn.actions[:3])
    source = (
        "Actions have names of their own."
        if drawn.seed is None
        else f"Actions of seed {drawn.seed}, version {drawn.generator} of the generator."
    )
    return f"""---
license: cc0-1.0
pretty_name: {json.dumps(drawn.title)}
task_categories:
  - text-to-image
tags:
  - action-customization
  - drawn
configs:
{card_configs(FILES)}
---
# {drawn.title}

{len(drawn.actions)} drawn actions with {drawn.exemplars} exemplars each (exemplar seed
{drawn.exemplar_seed}), for the benchmark of action customization, in ActionBench's format. {source}
The first: {first}. Nobody is pictured; the figures are made by this project's code
(`actionbench/puppets/drawing/`). `{DRAWN_FILE}` holds the actions' poses, and
`actionbench run --suite FOLDER --method adi` measures a method on it.
"""
