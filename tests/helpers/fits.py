"""Made-up counts by fit, for the statistics: thousands of them cost nothing."""

from __future__ import annotations

import numpy as np

from evaluation.measures.fits import MEASURES, Fits

IMAGES = 46
"""Of a fit."""


def make_fits(right: np.ndarray, draws: int = 1, first_seed: int = 0) -> Fits:
    """Of right images [actions, draws * seeds], of `IMAGES` each."""
    actions, fits = right.shape
    seeds = fits // draws
    counts = {measure: right.reshape(-1) for measure in MEASURES}
    return Fits(
        tuple(f"a{n:03}" for n in range(actions)),
        np.repeat(np.arange(actions), fits),
        np.tile(np.repeat(np.arange(draws), seeds), actions),
        np.tile(np.arange(seeds) + first_seed, actions * draws),
        np.full(actions * fits, IMAGES),
        counts,
    )
