"""Who holds a drawn action, and how: poses as JSON values, and a picture of somebody in one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from actionbench.puppets.drawing.backdrop import BACKDROPS
from actionbench.puppets.drawing.looks import Look
from actionbench.puppets.drawing.pose import (
    ACTIONS,
    EITHER_SIDE,
    Limb,
    Pose,
    jittered,
    mirrored,
)
from actionbench.puppets.drawing.scene import Scene

Packed = Mapping[str, Any]
"""A pose as JSON values."""


def packed(pose: Pose) -> dict[str, Any]:
    """Return a pose as JSON values, from which `unpacked` makes the same pose."""
    return {name: list(v) if isinstance(v, tuple) else v for name, v in asdict(pose).items()}


def unpacked(values: Packed) -> Pose:
    """Return the pose of JSON values."""
    parts: dict[str, Any] = {
        name: Limb(*value) if isinstance(value, list) else value for name, value in values.items()
    }
    return Pose(**parts)


def ways(name: str) -> tuple[Pose, ...]:
    """Return all poses of an action that has a name, those of the other side included, if either
    will do."""
    poses = ACTIONS[name]
    return (*poses, *map(mirrored, poses)) if name in EITHER_SIDE else poses


def held(poses: Sequence[Packed], rng: np.random.Generator) -> Pose:
    """Draw one holding of an action: any of its poses, a few degrees more or less everywhere."""
    return jittered(unpacked(poses[int(rng.integers(len(poses)))]), rng)


def anywhere(look: Look, pose: Pose, rng: np.random.Generator) -> Scene:
    """Put somebody in front of any backdrop; the scene has no words."""
    places = list(BACKDROPS)
    place = places[int(rng.integers(len(places)))]
    return Scene("", "", "", look, pose, place, int(rng.integers(2**63)))
