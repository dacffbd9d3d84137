"""Accuracy where nobody has labelled: a judge's share, corrected by its measured error.

The error is that on the suite's exemplars (`actionbench judges calibrate`): how often it sees an
action that is there (s), and one that is not (f). The estimate is that of Rogan and Gladen (1978),
(p - f) / (s - f), and its variance adds those of s and f (Lang and Reiczigel 2014). It holds as
far as the judge errs on generated images as it does on exemplars, which labels alone can tell.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from actionbench.errors import UserError
from evaluation.measures.accuracy import Share
from evaluation.people.estimates import NORMAL, UNKNOWN, Figure

LEAST = 0.1
"""A judge whose s is not this much above its f says too little to correct it."""


@dataclass(frozen=True)
class Error:
    """A judge's measured error: shares with their 95% intervals."""

    judge: str
    fingerprint: str
    suite_fingerprint: str
    right: Figure
    false: Figure


def read_calibration(folder: Path) -> Error:
    """Read what `actionbench judges calibrate` wrote.

    Raises:
        UserError: if there is no calibration, or it is damaged.
    """
    path = folder / "calibration.json"
    try:
        facts = json.loads(path.read_text("utf-8"))
        return Error(
            judge=str(facts["judge"]),
            fingerprint=str(facts["judge_fingerprint"]),
            suite_fingerprint=str(facts["suite_fingerprint"]),
            right=_figure(facts["right"]),
            false=_figure(facts["false"]),
        )
    except FileNotFoundError as error:
        raise UserError(f"{path} is missing: `actionbench judges calibrate` writes it") from error
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{path} is no calibration ({error!r}): `actionbench judges calibrate` writes it again"
        ) from error


def _figure(share: Any) -> Figure:
    # Fewer actions than say anything at large leave a share without an interval, which is null.
    values = (share[name] for name in ("share", "low", "high"))
    return Figure(*(math.nan if value is None else float(value) for value in values))


def corrected_share(share: Share, error: Error) -> Figure:
    """Correct a judge's share of right actions by its error; NaN if the judge tells too little.

    Without an interval of the share, or of the error, the correction has none either.
    """
    apart = error.right.value - error.false.value
    if not share.n or apart < LEAST:
        return UNKNOWN
    value = min(1.0, max(0.0, (share.value - error.false.value) / apart))
    parts = (
        _variance(share.low, share.high),
        (1 - value) ** 2 * _variance(error.false.low, error.false.high),
        value**2 * _variance(error.right.low, error.right.high),
    )
    half = NORMAL * math.sqrt(sum(parts)) / apart
    if math.isnan(half):
        return Figure(value, math.nan, math.nan)
    return Figure(value, max(0.0, value - half), min(1.0, value + half))


def _variance(low: float, high: float) -> float:
    return ((high - low) / (2 * NORMAL)) ** 2
