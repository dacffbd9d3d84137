"""Do two judges say the same of the same images? Agreement, beyond what chance gives."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from actionbench.files.atomic import write_text
from actionbench.files.hashing import canonical_json
from actionbench.runs.record import RunRecord
from evaluation.measures.accuracy import Share, clustered, outcomes
from evaluation.tables import NONE, Table

if TYPE_CHECKING:
    from actionbench.runs.store import Store

MEASURES = ("action", "subject", "total")


@dataclass(frozen=True)
class JudgeAgreement:
    """Two judges on the images that both have judged."""

    suite: str
    judges: tuple[str, str]
    """Names with the beginning of the fingerprint: "clip 1a2b3c4d"."""
    measure: str
    same: Share
    """Images of which they say the same; the interval is clustered by action."""
    shares: tuple[float, float]
    """Of images that each judge finds right."""
    kappa: float
    """Cohen's kappa (1960): agreement beyond that of two judges with these shares who answer at
    random, 1 at most. NaN if both give all images the same answer."""
    ac1: float
    """Gwet's AC1 (2008): as kappa, with a chance that stays small if nearly all images are
    right or nearly all wrong; kappa then falls although the judges agree."""


def compare_judges(store: Store, run_ids: Sequence[str] | None = None) -> list[JudgeAgreement]:
    """Compare every two judges of the same images, over all methods of a suite together.

    Of the runs named, with those that judged the same images; of all runs if it is None. Runs
    that are not finished are left out.
    """
    records = [store.read_record(run_id) for run_id in store.run_ids()]
    records = [record for record in records if record.complete]
    if run_ids is not None:
        wanted = [_images(record) for record in records if record.id in run_ids]
        records = [record for record in records if _images(record) in wanted]
    by_suite: dict[tuple[str, str], dict[str, list[pd.DataFrame]]] = {}
    for record in records:
        suite = by_suite.setdefault((record.suite, record.suite_fingerprint), {})
        judge = f"{record.judge.name} {record.judge.fingerprint[:8]}"
        suite.setdefault(judge, []).append(store.read_verdicts(record))
    pairs = []
    for (suite_name, _), judges in by_suite.items():
        # An image may stand in several runs of a judge, of all subjects and of a few.
        verdicts = {
            judge: pd.concat(frames).drop_duplicates("image") for judge, frames in judges.items()
        }
        for pair in combinations(sorted(verdicts), 2):
            pairs += _compare(suite_name, pair, verdicts[pair[0]], verdicts[pair[1]])
    return pairs


def _images(record: RunRecord) -> str:
    return canonical_json(sorted(keys.images for keys in record.keys.values()))


def _compare(
    suite: str, pair: tuple[str, str], first: pd.DataFrame, second: pd.DataFrame
) -> list[JudgeAgreement]:
    shared = first.merge(second[["image"]], on="image")
    other = second.set_index("image").loc[shared["image"]].reset_index()
    if shared.empty:
        return []
    one, two = outcomes(shared), outcomes(other)
    pairs = []
    for measure in MEASURES:
        a, b = one[measure].to_numpy(dtype=bool), two[measure].to_numpy(dtype=bool)
        same = clustered(a == b, shared["action"].to_numpy(dtype=object))
        pairs.append(
            JudgeAgreement(suite, pair, measure, same, (a.mean(), b.mean()), *beyond(a, b))
        )
    return pairs


def beyond(first: np.ndarray, second: np.ndarray) -> tuple[float, float]:
    """Cohen's kappa and Gwet's AC1 of two judges' answers, Booleans [n]."""
    p, q, agreed = float(first.mean()), float(second.mean()), float((first == second).mean())
    middle = (p + q) / 2
    by_chance = (p * q + (1 - p) * (1 - q), 2 * middle * (1 - middle))
    kappa, ac1 = ((agreed - c) / (1 - c) if c < 1 else math.nan for c in by_chance)
    return kappa, ac1


def table(pairs: Sequence[JudgeAgreement]) -> Table:
    """Tabulate the agreement: a row a pair of judges and measure, shares in %."""
    rows = [
        (
            *(pair.suite, " / ".join(pair.judges), pair.measure, pair.same.n, pair.same.text()),
            " / ".join(f"{100 * share:.1f}" for share in pair.shares),
            *(NONE if math.isnan(v) else f"{v:.2f}" for v in (pair.kappa, pair.ac1)),
        )
        for pair in pairs
    ]
    columns = ("suite", "judges", "measure", "n", "same, % [95%]", "right, %", "kappa", "AC1")
    return Table("Judges of the same images", columns, rows, left=("judges", "measure"))


def write_agreement(pairs: Sequence[JudgeAgreement], path: Path) -> Path:
    """Write a CSV with a row a pair of judges and measure; shares in [0, 1]."""
    columns = (
        *("suite", "first", "second", "measure", "n", "same", "low", "high"),
        *("first_right", "second_right", "kappa", "ac1"),
    )
    rows = []
    for pair in pairs:
        same = pair.same
        numbers = (same.value, same.low, same.high, *pair.shares, pair.kappa, pair.ac1)
        row = (pair.suite, *pair.judges, pair.measure, same.n, *(f"{v:.6f}" for v in numbers))
        rows.append(row)
    return write_text(path, Table("", columns, rows).csv())
