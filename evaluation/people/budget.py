"""What labels buy: how wide people's and the corrected interval will be, and the floor.

Nobody has labelled anything yet, so the judge's verdicts stand in for people's where the spread
between fits is needed, and the judge is taken to be wrong in a given share of each verdict.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from evaluation.measures.accuracy import cluster_names, outcomes
from evaluation.measures.intervals import t_quantile
from evaluation.people.estimates import Tally, estimate
from evaluation.tables import Table

if TYPE_CHECKING:
    import pandas as pd

    from actionbench.runs.store import Store
    from evaluation.people.labels import LabelItem

WRONG = 0.15
"""The share of a judge's verdicts, of each kind, that people are taken to overrule."""
SIMULATIONS = 200


@dataclass(frozen=True)
class Bought:
    """What labels of a row buy, in points of total accuracy: half-widths of 95% intervals."""

    row: str
    labels: int
    units: int
    unit: str
    people: float
    corrected: float
    floor: float
    """If every image were labelled: fits are few."""
    these: float
    """The corrected figure of these very images, of which all fits are known: it has no floor."""


def expect(
    verdicts: pd.DataFrame,
    labels: int,
    *,
    row: str = "",
    wrong: float = WRONG,
    measure: str = "total",
    seed: int = 0,
) -> Bought:
    """Expect what `labels` labels of a row's images buy, from simulated labels.

    Args:
        wrong: how often people overrule the judge.
    """
    judge = outcomes(verdicts)[measure].to_numpy(dtype=bool)
    names, unit = cluster_names(verdicts)
    fits = names.to_numpy(dtype=object)
    labels = min(labels, len(judge))
    rng = np.random.default_rng(seed)
    tallies = []
    for _ in range(SIMULATIONS):
        labelled = rng.choice(len(judge), labels, replace=False)
        right = judge[labelled] ^ (rng.random(labels) < wrong)
        tallies.append(Tally.of(judge, fits, labelled, right, np.ones(labels)))
    columns = ("images", "labels", "weights", "squares", "right")
    together = Tally(**{c: np.stack([getattr(t, c) for t in tallies]) for c in columns})
    found = estimate(together)
    quantile = t_quantile(together.units - 1)

    def half(variance: np.ndarray) -> float:
        return quantile * float(np.median(np.sqrt(variance)))

    return Bought(
        row=row,
        labels=labels,
        units=together.units,
        unit=unit,
        people=half(found.people_variance),
        corrected=half(found.corrected_variance),
        floor=half(found.floor),
        these=1.96 * float(np.median(np.sqrt(found.labelling[1]))),
    )


def bought(store: Store, run_id: str, items: Sequence[LabelItem]) -> Bought:
    """Expect what a study's plan buys for one of its rows."""
    record = store.read_record(run_id)
    labels = sum(item.run == run_id for item in items)
    return expect(store.read_verdicts(record), labels, row=f"{record.title} ({run_id})")


def table(rows: Sequence[Bought]) -> Table:
    """Tabulate what is bought: a row a row of the board, in points of total accuracy."""
    return Table(
        f"What labels buy, ± points of total accuracy, if people overrule {WRONG:.0%} of verdicts",
        ("row", "labels", "people alone", "corrected", "all labelled", "these images", "units"),
        [
            (
                *(b.row, b.labels),
                *(f"{100 * value:.1f}" for value in (b.people, b.corrected, b.floor, b.these)),
                f"{b.units}, by {b.unit}",
            )
            for b in rows
        ],
    )
