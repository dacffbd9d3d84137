"""Pictures of puppets: the suite's, the eight actions by a few subjects, and the judges' canary."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from actionbench.puppets.backdrop import BACKDROPS
from actionbench.puppets.looks import SUBJECTS
from actionbench.puppets.pose import action_pose
from actionbench.puppets.scene import Scene, draw
from actionbench.runs.canary import SIDE
from actionbench.suite.items import paper_actions, paper_subjects

SHOWN = ("girl", "Barack Obama", "Batman", "lion", "panda")
CELL, GAP, HEADER, MARGIN = 150, 6, 28, 118


def write_picture(out: Path) -> Path:
    """A PNG with one column an action and one row a subject."""
    actions = paper_actions()
    rng = np.random.default_rng(8)
    places = list(BACKDROPS)
    width = MARGIN + len(actions) * (CELL + GAP)
    height = HEADER + len(SHOWN) * (CELL + GAP)
    canvas = Image.new("RGB", (width, height), "white")
    pen = ImageDraw.Draw(canvas)
    font = ImageFont.load_default(15)
    for column, action in enumerate(actions):
        x = MARGIN + column * (CELL + GAP)
        pen.text((x + CELL / 2, HEADER / 2), action.name, "black", font, "mm")
        for row, subject in enumerate(SHOWN):
            place = places[int(rng.integers(len(places)))]
            pose = action_pose(action.name, rng)
            seed = int(rng.integers(2**31))
            scene = Scene(subject, action.description, "", SUBJECTS[subject], pose, place, seed)
            y = HEADER + row * (CELL + GAP)
            canvas.paste(draw(scene, CELL)[0], (x, y))
    for row, subject in enumerate(SHOWN):
        middle = HEADER + row * (CELL + GAP) + CELL / 2
        pen.text((MARGIN - 10, middle), subject, "black", font, "rm")
    out.parent.mkdir(parents=True, exist_ok=True)
    canvas.save(out, optimize=True)
    return out


def draw_canary() -> Image.Image:
    """How `actionbench/data/canary.png` was drawn: each of the eight actions by one of the first
    eight subjects, side by side."""
    rng = np.random.default_rng(4)
    places = list(BACKDROPS)
    pairs = list(zip(paper_actions(), paper_subjects(), strict=False))
    sheet = Image.new("RGB", (SIDE * len(pairs), SIDE))
    for number, (action, subject) in enumerate(pairs):
        place = places[int(rng.integers(len(places)))]
        pose = action_pose(action.name, rng)
        seed = int(rng.integers(2**31))
        look = SUBJECTS[subject.name]
        scene = Scene(subject.name, action.description, "", look, pose, place, seed)
        sheet.paste(draw(scene, SIDE)[0], (SIDE * number, 0))
    return sheet
