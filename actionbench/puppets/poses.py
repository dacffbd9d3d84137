"""The poses that the generator of actions and the training build on, imported in one place."""

from __future__ import annotations

from actionbench.puppets.drawing.pose import _FREE_ARMS as FREE_ARMS
from actionbench.puppets.drawing.pose import _FREE_LEGS as FREE_LEGS
from actionbench.puppets.drawing.pose import (
    ACTIONS,
    EITHER_SIDE,
    KNOWN,
    Joints,
    Limb,
    Pose,
    jittered,
    mirrored,
    solve,
)

__all__ = [
    "ACTIONS",
    "EITHER_SIDE",
    "FREE_ARMS",
    "FREE_LEGS",
    "KNOWN",
    "Joints",
    "Limb",
    "Pose",
    "jittered",
    "mirrored",
    "solve",
]
