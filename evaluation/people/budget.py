"""What labels buy: how wide people's and the corrected interval will be, and the floor.

Nobody has labelled anything yet, so the judge's verdicts stand in for people's where the spread
between fits is needed, and the judge is taken to be wrong in a given share of each verdict.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

import numpy as np

from evaluation.measures.accuracy import Estimand, cluster_names, outcomes
from evaluation.measures.intervals import t_quantile
from evaluation.people.estimates import Estimates, Tally, estimate
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
    """What labels of a row buy, in shares of total accuracy: half-widths of 95% intervals."""

    row: str
    labels: int
    units: int
    unit: str
    people: float
    """Of the labels alone."""
    corrected: float
    """Of labels and judge together."""
    floor: float
    """If every image were labelled: fits are few."""
    these: float
    """The corrected figure of these very images, of which all fits are known: it has no floor."""

    @property
    def of(self) -> Estimand:
        """What the intervals are about, `these` apart."""
        return "actions at large" if self.unit == "action" else "these actions"


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
    units = len(set(fits))
    quantile = t_quantile(units - 1)

    def simulate(count: int) -> Estimates:
        rng = np.random.default_rng(seed)
        tallies = []
        for _ in range(SIMULATIONS):
            labelled = rng.choice(len(judge), count, replace=False)
            right = judge[labelled] ^ (rng.random(count) < wrong)
            tallies.append(Tally.of(judge, fits, labelled, right, np.ones(count)))
        columns = ("images", "labels", "weights", "squares", "right")
        return estimate(Tally(**{c: np.stack([getattr(t, c) for t in tallies]) for c in columns}))

    def half(variance: np.ndarray) -> float:
        return quantile * float(np.median(np.sqrt(variance)))

    found = simulate(labels)
    return Bought(
        row=row,
        labels=labels,
        units=units,
        unit=unit,
        people=half(found.people_variance),
        corrected=half(found.corrected_variance),
        floor=half(simulate(len(judge)).people_variance),
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


def summary(rows: Sequence[Bought]) -> str:
    """Say what as many labels of each row buy: of what, from which interval to which, and the floor
    that none can pass; medians over the rows."""

    def points(name: str) -> str:
        return f"±{100 * median(getattr(row, name) for row in rows):.1f}"

    first = rows[0]
    many = f"{first.units} {first.unit if first.units == 1 else first.unit + 's'}"
    return (
        f"{first.labels} labels of a row ({sum(row.labels for row in rows)} in all): people's "
        f"total accuracy, {first.of}, from {points('people')} points by labels alone to "
        f"{points('corrected')} with the judge. The floor is {points('floor')}, every image "
        f"labelled: {many} are few, and labels do not make them more. About these very images: "
        f"{points('these')}."
    )
