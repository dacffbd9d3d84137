"""The search for a method's settings: the same small budget for every method, on other actions.

The first configuration is what the profile has. The others multiply its learning rate and its
steps by factors from a seeded Halton sequence (Halton 1960; scrambled, Owen 2017), even in the
logarithm: the same factors for every method, so that none is searched with more care. Its
points fill the range however many are taken, and a larger budget only adds to them: with the run
store, nothing that was measured is measured again. A method may declare further settings with
their ranges (`Method.tunable`); the budget stays the same.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scipy.stats import qmc

from actionbench.errors import UserError
from actionbench.files.atomic import write_text
from actionbench.files.hashing import canonical_json
from actionbench.method import Method
from actionbench.runs.campaign import Setup
from actionbench.runs.plan import Plan
from actionbench.settings import build_settings
from actionbench.suite.items import paper_actions
from actionbench.suite.suite import Suite
from evaluation.experiments.measured import (
    Measured,
    comparison_json,
    setup_json,
    shares_json,
)
from evaluation.measures.comparison import Comparison, compare
from evaluation.tables import Table

FACTORS = {"learning_rate": (0.25, 4.0), "steps": (0.5, 2.0)}
"""What is varied of every method that has it: smallest and largest multiple of the first's."""
SUBJECTS_OF_EACH_CATEGORY = 3
SEED = 20_231_115
"""Of the sequence of factors."""
_DIGITS = 2
"""Significant digits of a value that is tried."""


@dataclass(frozen=True)
class Tuning:
    """A finished search."""

    trials: tuple[Measured, ...]
    """The present preset first. A configuration that fails, as a learning rate may be too high,
    is a result like another."""
    chosen: int | None
    """The trial of highest total accuracy, of equal ones the first; None if all failed."""

    @property
    def gain(self) -> Comparison | None:
        """The chosen trial minus the preset on the same items; None if it is the preset, or
        that failed. Being the best of several, it is somewhat flattered."""
        preset = self.trials[0].verdicts
        best = self.trials[self.chosen].verdicts if self.chosen else None
        return None if best is None or preset is None else compare(best, preset)


def choose(trials: Iterable[Measured]) -> Tuning:
    trials = tuple(trials)
    counts = [t.shares["total"].count if t.shares else -1 for t in trials]
    best = counts.index(max(counts))
    return Tuning(trials, best if counts[best] >= 0 else None)


def configurations(method: Method[Any], budget: int) -> list[list[str]]:
    """List `budget` configurations as `key=value` words, the first one empty: the method as it is.

    Fewer if a method's settings have no more different values than that. Raises UserError for
    a method with nothing to vary.
    """
    present = dataclasses.asdict(method.settings)
    ranges = {
        name: (low * present[name], high * present[name])
        for name, (low, high) in FACTORS.items()
        if name in present
    } | dict(method.tunable)
    if not ranges:
        raise UserError(f"{method.name} has nothing to tune: neither {' nor '.join(FACTORS)}")
    points = qmc.Halton(len(ranges), rng=SEED).random(64 * budget)
    tried: dict[str, list[str]] = {canonical_json(present): []}
    for point in points:
        if len(tried) == budget:
            break
        words = [
            f"{name}={_value(share, low, high, type(present[name]))}"
            for share, (name, (low, high)) in zip(point, ranges.items(), strict=True)
        ]
        settings = build_settings(method.Settings, present, words)
        tried.setdefault(canonical_json(dataclasses.asdict(settings)), words)
    return list(tried.values())


def _value(share: float, low: float, high: float, kind: type) -> str:
    """Write a round value at a share of the way from low to high in the logarithm."""
    value = low * (high / low) ** share
    if kind is int:
        place = max(0, math.floor(math.log10(value)) - _DIGITS + 1)
        return str(max(1, round(value / 10**place) * 10**place))
    return f"{value:.{_DIGITS}g}"


def check_tuning_suite(suite: Suite) -> None:
    """Raise UserError for a suite with any of the eight actions: they are for measuring only."""
    eight = {action.name for action in paper_actions()}
    if eight & {action.name for action in suite.actions}:
        raise UserError(
            f"suite {suite.name} holds the benchmark's actions, which nothing may be tuned on: "
            "take --suite puppets-dev, or one of your own with other actions"
        )


def default_subjects(suite: Suite) -> list[str]:
    """Choose a fixed few subjects of each category, evenly spread over it."""
    groups: dict[str, list[str]] = {}
    for subject in suite.subjects:
        groups.setdefault(subject.category, []).append(subject.name)
    few = SUBJECTS_OF_EACH_CATEGORY
    return [
        name
        for group in groups.values()
        for name in dict.fromkeys(group[place * len(group) // few] for place in range(few))
    ]


def plan_tuning(setup: Setup, kind: type[Method[Any]], budget: int) -> list[Plan]:
    """Plan the runs of a search in order; UserError as `configurations`, `check_tuning_suite`."""
    check_tuning_suite(setup.suite)
    words = configurations(setup.method(kind), budget)
    return [setup.plan(kind, one) for one in words]


def tuning_json(tuning: Tuning) -> dict[str, Any]:
    """List all that was tried and what was chosen, with what it was measured on."""
    first = tuning.trials[0]
    return {
        "method": first.plan.method.name,
        "seed": first.plan.options.seed,
        "budget": len(tuning.trials),
        "factors": FACTORS,
        "tunable": dict(first.plan.method.tunable),
        "sequence": f"scrambled Halton, seed {SEED}",
        **setup_json(first),
        "tried": [
            {
                "changed": trial.plan.changed_settings,
                "settings": trial.plan.settings,
                "run": trial.plan.run_id,
                "failure": trial.failure or None,
                "fit_seconds_per_action": trial.fit_seconds,
                "shares": shares_json(trial.shares),
            }
            for trial in tuning.trials
        ],
        "chosen": tuning.chosen,
        "chosen_minus_preset": comparison_json(tuning.gain),
    }


def changes(plan: Plan) -> str:
    """Name the settings that a configuration changes: "steps=40 learning_rate=0.01"."""
    changed = (f"{name}={value}" for name, value in plan.changed_settings.items())
    return " ".join(changed) or "present preset"


def table(tuning: Tuning) -> Table:
    """Tabulate the configurations in order; what made one fail stands under it."""
    rows: list[tuple[str, ...]] = []
    for number, trial in enumerate(tuning.trials):
        mark = "chosen" if number == tuning.chosen else ""
        rows.append((mark, changes(trial.plan), *_measures(trial)))
        if trial.failure:
            rows.append(("", trial.failure, *[""] * (len(_COLUMNS) - 2)))
    return Table("", _COLUMNS, rows, left=("settings",))


_COLUMNS = ("", "settings", "action %", "subject %", "total %", "n", "fit s")


def _measures(trial: Measured) -> tuple[str, ...]:
    if not trial.shares:
        return ("failed", "", "", "", "")
    percents = (trial.shares[name].percent() for name in ("action", "subject", "total"))
    seconds = "" if trial.fit_seconds is None else f"{trial.fit_seconds:.1f}"
    return (*percents, str(trial.shares["total"].n), seconds)


def write_tuning(tuning: Tuning, out: Path) -> Path:
    """Write `tuning_json`; raise UserError if the file cannot be written."""
    return write_text(out, json.dumps(tuning_json(tuning), indent=1, allow_nan=False) + "\n")
