"""The published table, from its one home `leaderboards/published.json`."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from itertools import combinations
from typing import Any

from scipy.stats import fisher_exact

from evaluation.measures.accuracy import Share, wilson
from evaluation.measures.comparison import ALPHA


@dataclass(frozen=True)
class PublishedRow:
    method: str
    title: str
    shares: dict[str, Share]


@dataclass(frozen=True)
class Published:
    protocol: str
    title: str
    source: str
    model: str
    judge: str
    n: int
    design: str
    rows: tuple[PublishedRow, ...]
    """By total accuracy, best first."""

    def ties(self, measure: str) -> frozenset[frozenset[str]]:
        """List the pairs of methods whose counts are no further apart than chance puts them, even
        if images were independent (Fisher's exact test at 5%): they have no order."""
        return frozenset(
            frozenset((a.method, b.method))
            for a, b in combinations(self.rows, 2)
            if _p_value(a.shares[measure].count, b.shares[measure].count, self.n) >= ALPHA
        )

    @property
    def ranks(self) -> dict[str, int]:
        """Rank the rows by total accuracy; a new rank begins only where no row above ties with
        any below."""
        ties = self.ties("total")
        names = [row.method for row in self.rows]
        ranks: dict[str, int] = {}
        for place, name in enumerate(names):
            tied = any(frozenset((a, b)) in ties for a in names[:place] for b in names[place:])
            ranks[name] = ranks[names[place - 1]] if place and tied else place + 1
        return ranks

    @property
    def notes(self) -> list[str]:
        return [
            f"Source: {self.source}.",
            f"{self.model}, judged by {self.judge}, {self.design}. Counts are the percentages of "
            f"{self.n}; neglect and contamination follow from them. Intervals take images as "
            "independent (Wilson), for counts by action are not published: they are too narrow.",
            "Rows of one rank are ties: some row of the rank is not told from the next even if "
            "images were independent (Fisher's exact test, p >= 0.05). Rows of different ranks may "
            "be ties as well, for images of one fit are not independent.",
        ]


@lru_cache
def published() -> Published:
    text = resources.files("leaderboards").joinpath("published.json").read_text("utf-8")
    facts = json.loads(text)
    rows = sorted(facts.pop("rows"), key=lambda row: -row["total"])
    return Published(**facts, rows=tuple(_row(row, facts["n"]) for row in rows))


@lru_cache
def _p_value(first: int, second: int, n: int) -> float:
    return float(fisher_exact([[first, n - first], [second, n - second]]).pvalue)


def _row(row: dict[str, Any], n: int) -> PublishedRow:
    counts = {name: round(row[name] * n / 100) for name in ("action", "subject", "total")}
    counts["neglect"] = counts["subject"] - counts["total"]
    counts["contamination"] = counts["action"] - counts["total"]
    shares = {name: wilson(count, n) for name, count in counts.items()}
    return PublishedRow(row["method"], row["title"], shares)
