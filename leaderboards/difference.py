"""The difference of two runs: which items' verdicts flipped, and what it comes to."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from actionbench.errors import UserError
from actionbench.judge import PAIR
from actionbench.printing import shown
from actionbench.runs.store import Store
from evaluation.measures.accuracy import outcomes
from evaluation.measures.comparison import Comparison, compare
from evaluation.tables import Table, write_texts
from leaderboards.board import Group, group_of

if TYPE_CHECKING:
    from rich.console import Console

    from leaderboards.board import BoardRow

MEASURES = ("action", "subject", "total")
SHOWN = 20
"""Flipped items that a terminal shows."""


@dataclass(frozen=True)
class Difference:
    """Two runs on the items that both have, the first minus the second."""

    group: Group
    items: pd.DataFrame
    """An item a row, those whose total verdict flipped first, then those whose verdict changed
    otherwise: `judge.PAIR`, `first` and `second` (verdicts in words) and `flipped`."""
    comparisons: dict[str, Comparison]
    """By measure."""

    @property
    def rows(self) -> tuple[BoardRow, BoardRow]:
        first, second = self.group.rows
        return first, second

    @property
    def summary(self) -> str:
        """What it comes to, in one sentence or two."""
        total = self.comparisons["total"]
        first, second = (row.name for row in self.rows)
        flipped = int(self.items["flipped"].sum())
        apart = "told apart" if total.told_apart else "not told apart"
        return (
            f"{flipped} of {total.n} shared items flipped. {first} minus {second}, total accuracy: "
            f"{total.points} points, p {total.p_text}, {apart} ({total.units} units, by "
            f"{total.unit})."
        )

    def measures(self) -> Table:
        """Count, for each measure, on how many items which of the two is right."""
        first, second = (row.name for row in self.rows)
        rows = []
        for measure in MEASURES:
            one, two = (self.items[f"{side}_{measure}"] for side in ("first", "second"))
            counts = (one & two, one & ~two, ~one & two, ~one & ~two)
            compared = self.comparisons[measure]
            rows.append(
                (measure, *(int(c.sum()) for c in counts), compared.points, compared.p_text)
            )
        columns = ("right", "both", f"only {first}", f"only {second}", "neither",
                   "points [95% interval]", "p")  # fmt: skip
        return Table("Items on which each is right", columns, rows)

    def actions(self) -> Table:
        """Count flips of total accuracy by action."""
        first, second = (row.name for row in self.rows)
        rows = []
        for action, part in self.items.groupby("action", sort=False):
            one, two = part["first_total"], part["second_total"]
            rows.append((action, len(part), int((one & ~two).sum()), int((~one & two).sum()),
                         f"{100 * (one.mean() - two.mean()):+.1f}"))  # fmt: skip
        columns = ("action", "items", f"only {first}", f"only {second}", "points")
        return Table("Total accuracy by action", columns, rows)

    def flips(self, most: int | None = None) -> Table:
        """List the items whose total verdict flipped."""
        first, second = (row.name for row in self.rows)
        flipped = self.items[self.items["flipped"]].iloc[:most]
        columns = ("action", "subject", "index", "first", "second")
        rows = list(flipped[list(columns)].itertuples(index=False, name=None))
        count = int(self.items["flipped"].sum())
        shown = f", the first {len(rows)} of {count}" if len(rows) < count else f", {count}"
        return Table(
            f"Items that flipped{shown}",
            ("action", "subject", "#", first, second),
            rows,
            left=("subject", first, second),
        )

    def print(self, console: Console) -> None:
        """Print summary and tables."""
        console.print(shown(self.summary))
        for note in self.group.notes:
            console.print(shown(note, "dim"))
        for table in (self.measures(), self.actions(), self.flips(SHOWN)):
            console.print(table.rich())

    def write(self, out: Path) -> list[Path]:
        """Write diff.md, diff.csv (every shared item, flipped ones first) and diff.tex.

        Raises:
            UserError: if a file cannot be written.
        """
        tables = (self.measures(), self.actions(), self.flips())
        title = f"# {self.rows[0].name} against {self.rows[1].name}"
        notes = "\n".join(f"- {note}" for note in self.group.notes)
        parts = [title, self.summary, notes]
        parts += [part for table in tables for part in (f"## {table.title}", table.markdown())]
        items = Table("", [*map(str, self.items)], self.items.to_numpy().tolist())
        return write_texts(
            out,
            {
                "diff.md": "\n\n".join(filter(None, parts)) + "\n",
                "diff.csv": items.csv(),
                "diff.tex": "\n".join(table.latex() for table in tables[:2]),
            },
        )


def find_difference(store: Store, first: str, second: str) -> Difference:
    """Compare two runs of a store by their ids.

    Raises:
        UserError: for damaged files, for one run twice, and for runs without an item in common.
    """
    if first == second:
        raise UserError(f"{first} is compared with itself: name two runs")
    group = group_of(store, [first, second])
    one, two = (row.verdicts for row in group.rows)
    items = one[PAIR].merge(two[PAIR], on=PAIR)
    if items.empty:
        raise UserError(f"{first} and {second} have no item in common: their actions and subjects "
                        "differ")  # fmt: skip
    for side, verdicts in (("first", one), ("second", two)):
        table = outcomes(verdicts)
        words = pd.Series("neither right", index=table.index)
        for name, word in (("total", "right"), ("neglect", "neglect"),
                           ("contamination", "contamination")):  # fmt: skip
            words[table[name]] = word
        more = {f"{side}_{measure}": table[measure] for measure in MEASURES}
        items = items.merge(verdicts[PAIR].assign(**{side: words}, **more), on=PAIR)
    items["flipped"] = items["first_total"] != items["second_total"]
    changed = items["first"] != items["second"]
    order = (~items["flipped"]).astype(int) + (~changed).astype(int)
    items = items.iloc[order.argsort(kind="stable")].reset_index(drop=True)
    comparisons = {measure: compare(one, two, measure) for measure in MEASURES}
    return Difference(group, items, comparisons)
