"""The paths of the shipped files; no other module holds one."""

from __future__ import annotations

from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]
CHECKOUT = PACKAGE.parent
"""The repository's root if this is a checkout."""

DATA = PACKAGE / "data"
PAPER = DATA / "paper.json"
"""The paper's lists of actions and subjects, and the development actions."""
PHOTOS = DATA / "photos.yaml"
"""The suite of photographs. What it says about drawing and judging is the default of every suite
file."""
CANARY = DATA / "canary.png"

PUPPETS = DATA / "puppets"
DATASET = PUPPETS / "dataset"
WEIGHTS = PUPPETS / "weights"
BASE_MODEL = WEIGHTS / "puppet-diffusion"
CONTROLNET = "puppet-controlnet"
"""Name of the ControlNet's folder beside a base model."""
JUDGE = WEIGHTS / "puppet-judge"

SECOND = WEIGHTS / "second"
"""The second drawn world's base model and ControlNet; `WEIGHTS` itself when they are accepted."""
SECOND_MODEL = SECOND / "puppet-diffusion"
READERS = WEIGHTS / "puppet-readers"
"""The readers of keypoints and subjects that judge drawings."""
ENCODER = WEIGHTS / "puppet-encoder"
"""The network in whose features pictures are compared with drawings."""
FROZEN = PUPPETS / "frozen.json"
"""Fingerprints of the second world's models, once they are accepted."""
CLAIMS = CHECKOUT / "leaderboards" / "claims.yaml"
"""What the boards may claim; installed, it lies beside the package as well."""
