"""Where the shipped files lie: the only home of their paths."""

from __future__ import annotations

from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]
CHECKOUT = PACKAGE.parent
"""The repository's root, where this is a checkout."""

DATA = PACKAGE / "data"
PAPER = DATA / "paper.json"
"""The paper's lists of actions and subjects, and the development actions."""
PHOTOS = DATA / "photos.yaml"
"""The suite of photographs; what it says of drawing and judging is every file's default."""
CANARY = DATA / "canary.png"

PUPPETS = DATA / "puppets"
DATASET = PUPPETS / "dataset"
WEIGHTS = PUPPETS / "weights"
BASE_MODEL = WEIGHTS / "puppet-diffusion"
CONTROLNET = "puppet-controlnet"
"""Folder of the ControlNet that lies beside a base model."""
JUDGE = WEIGHTS / "puppet-judge"
