"""Contact sheets: the cast and the poses, to look at."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from actionbench.puppets.drawing.backdrop import BACKDROPS
from actionbench.puppets.drawing.looks import (
    ANIMALS,
    OTHERS,
    SUBJECTS,
    Look,
    random_person,
    varied,
)
from actionbench.puppets.drawing.pose import (
    ACTIONS,
    KNOWN,
    Pose,
    action_pose,
    free_pose,
    known_pose,
)
from actionbench.puppets.drawing.quadruped import STANCES, Stance, four_legged
from actionbench.puppets.drawing.scene import Scene, draw

_GAP, _LABEL = 6, 16


def _scene(look: Look, pose: Pose | Stance, rng: np.random.Generator, place: str = "") -> Scene:
    places = list(BACKDROPS)
    place = place or places[rng.integers(len(places))]
    return Scene("", "", "", look, pose, place, int(rng.integers(2**31)))


def write_sheet(
    path: Path, cells: Sequence[tuple[str, Scene]], size: int, zoom: int, columns: int
) -> Path:
    """Write the scenes side by side, each under its label; an empty label takes no room."""
    label = _LABEL if any(name for name, _ in cells) else 0
    side = size * zoom
    rows = -(-len(cells) // columns)
    sheet = Image.new(
        "RGB", (columns * (side + _GAP) + _GAP, rows * (side + label + _GAP) + _GAP), "white"
    )
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(13)
    for i, (name, scene) in enumerate(cells):
        x, y = _GAP + i % columns * (side + _GAP), _GAP + i // columns * (side + label + _GAP)
        picture = draw(scene, size)[0].resize((side, side), Image.Resampling.NEAREST)
        sheet.paste(picture, (x, y + label))
        pen.text((x + side / 2, y + label / 2), name, "black", font, "mm")
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(path, optimize=True)
    return path


def write_cast_sheet(
    path: Path, size: int = 64, labelled: bool = True, zoom: int = 2, seed: int = 0
) -> Path:
    """Write everybody: people upright, animals upright and on four legs, and a few unnamed."""
    rng = np.random.default_rng(seed)
    cast = {**SUBJECTS, **{name: other.look for name, other in OTHERS.items()}}
    cells = []
    for name, look in cast.items():
        if look.beast is not None:
            cells.append((name, _scene(look, four_legged("all-fours", rng), rng)))
        cells.append((name, _scene(varied(look, rng), known_pose("stand", rng), rng)))
    cells += [("(somebody)", _scene(random_person(rng).look, Pose(), rng)) for _ in range(16)]
    return write_sheet(path, [(n if labelled else "", s) for n, s in cells], size, zoom, 13)


def write_animal_sheet(
    path: Path, size: int = 64, labelled: bool = True, zoom: int = 4, seed: int = 0
) -> list[str]:
    """Write the benchmark's animals on four legs in shuffled order, and give their names; an
    unlabelled sheet numbers them from 1."""
    rng = np.random.default_rng(seed)
    names = [str(name) for name in rng.permutation(list(ANIMALS))]
    stances = ("all-fours", "walking")
    cells = [
        (
            name if labelled else str(i + 1),
            _scene(ANIMALS[name], four_legged(stances[i % 2], rng), rng),
        )
        for i, name in enumerate(names)
    ]
    write_sheet(path, cells, size, zoom, 4)
    return names


def write_pose_sheet(path: Path, size: int = 64, zoom: int = 2, seed: int = 0) -> Path:
    """Write all actions, everyday poses and stances, and a few free poses."""
    rng = np.random.default_rng(seed)
    cells = [(name, _scene(random_person(rng).look, action_pose(name, rng), rng))
             for name in ACTIONS]  # fmt: skip
    cells += [(name, _scene(random_person(rng).look, known_pose(name, rng), rng))
              for name in KNOWN]  # fmt: skip
    animals = list(ANIMALS.values())
    cells += [(name, _scene(animals[rng.integers(11)], four_legged(name, rng), rng))
              for name in STANCES]  # fmt: skip
    cells += [("(free)", _scene(random_person(rng).look, free_pose(rng)[1], rng)) for _ in range(8)]
    return write_sheet(path, cells, size, zoom, 10)
