"""The published table, from its one home `leaderboards/published.json`."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from typing import Any

from evaluation.measures.accuracy import Share, wilson


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

    @property
    def notes(self) -> list[str]:
        return [
            f"Source: {self.source}.",
            f"{self.model}, judged by {self.judge}, {self.design}. Counts are the percentages of "
            f"{self.n}; neglect and contamination follow from them. Intervals take images as "
            "independent (Wilson), for counts by action are not published: they are too narrow, "
            "and no ranks are given.",
        ]


@lru_cache
def published() -> Published:
    text = resources.files("leaderboards").joinpath("published.json").read_text("utf-8")
    facts = json.loads(text)
    rows = sorted(facts.pop("rows"), key=lambda row: -row["total"])
    return Published(**facts, rows=tuple(_row(row, facts["n"]) for row in rows))


def _row(row: dict[str, Any], n: int) -> PublishedRow:
    counts = {name: round(row[name] * n / 100) for name in ("action", "subject", "total")}
    counts["neglect"] = counts["subject"] - counts["total"]
    counts["contamination"] = counts["action"] - counts["total"]
    shares = {name: wilson(count, n) for name, count in counts.items()}
    return PublishedRow(row["method"], row["title"], shares)
