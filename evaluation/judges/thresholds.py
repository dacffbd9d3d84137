"""Draw the line between yes and no."""

from __future__ import annotations

import numpy as np


def balancing_threshold(positives: np.ndarray, negatives: np.ndarray) -> float:
    """The score from which on it is yes such that both errors together are least.

    That is, the share of positives [n] below it and the share of negatives [m] from it on (Youden
    1950, Index for Rating Diagnostic Tests). Of values that are equally good, the middle of the
    widest stretch; the lowest positive without negatives, above all negatives without positives.
    """
    values = np.unique(np.concatenate([positives, negatives]))
    cuts = np.concatenate(
        [values[:1], (values[1:] + values[:-1]) / 2, [np.nextafter(values[-1], np.inf)]]
    )
    widths = np.concatenate([[0], np.diff(values), [0]])
    missed = np.searchsorted(np.sort(positives), cuts) / max(1, len(positives))
    false = (len(negatives) - np.searchsorted(np.sort(negatives), cuts)) / max(1, len(negatives))
    errors = missed + false
    best = np.isclose(errors, errors.min())
    return float(cuts[best][widths[best].argmax()])
