"""The search for a method's settings: as many sample passes for every method, on other actions.

The first configuration is the method as it is. The others multiply its learning rate and its steps
by factors from a seeded Halton sequence (Halton 1960; scrambled, Owen 2017), even in the logarithm:
the same factors for every method, so that none is searched with more care. A method may declare
further settings with their ranges (`Method.tunable`).

- *Equal passes*: what is spent are samples that a fit takes through the UNet forward and backward
  (`Method.fit_work`). A method whose configurations are cheap tries more of them.
- *Several fits*: a configuration is fitted with several seeds, and a fit is the unit.
- *Ranges widen*: while the best lies at the end of a range, the next configurations lie beyond.
- *One standard error*: of the configurations within one standard error of the best, the cheapest is
  chosen (Breiman et al. 1984, Classification and Regression Trees, section 3.4.3).
- *Fresh seeds*: the chosen one and the first are measured again with other seeds, and what the
  search was worth is the difference of these, not of those that it chose by.

Every configuration is a few ordinary runs, so the same command goes on from where it stopped.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

from scipy.stats import qmc

from actionbench.errors import UserError
from actionbench.files.atomic import write_text
from actionbench.files.hashing import canonical_json
from actionbench.method import Method
from actionbench.runs.campaign import Setup
from actionbench.runs.plan import Plan
from actionbench.suite.items import paper_actions
from actionbench.suite.suite import Suite
from evaluation.experiments.measured import (
    Measured,
    comparison_json,
    finite,
    setup_json,
    shares_json,
)
from evaluation.measures.accuracy import Share, overall, spread
from evaluation.measures.comparison import Comparison, compare
from evaluation.measures.fits import pool, tabulate
from evaluation.tables import Table

FACTORS = {"learning_rate": (0.25, 4.0), "steps": (0.5, 2.0)}
"""What is varied of every method that has it: smallest and largest multiple of the first's, before
the ranges widen."""
PASSES = 60_000
"""Sample passes of a search, for each action."""
FITS = 3
"""Fewest fits of a configuration and action."""
BATCH = 5
"""Configurations between two looks at where the best lies."""
EDGE = 1 / 6
"""The part of a range, in the logarithm, that counts as its end."""
SUBJECTS_OF_EACH_CATEGORY = 3
SEED = 20_231_115
"""Of the sequence of factors."""
_DIGITS = 2
"""Significant digits of a value that is tried."""

Ranges = dict[str, tuple[float, float]]
Measure = Callable[[Sequence[Plan]], Iterable[Measured]]


@dataclass(frozen=True)
class Trial:
    """A configuration, measured with several seeds."""

    runs: tuple[Measured, ...]
    passes: int
    """Sample passes of one fit."""

    @property
    def plan(self) -> Plan:
        """Of the first seed."""
        return self.runs[0].plan

    @property
    def seeds(self) -> list[int]:
        return [run.plan.options.seed for run in self.runs]

    @property
    def failure(self) -> str:
        """Why a seed failed, if one did: a rate that is too high for one is too high."""
        return next((run.failure for run in self.runs if run.verdicts is None), "")

    @cached_property
    def verdicts(self) -> Any:
        """Of all seeds; None if one failed."""
        if self.failure:
            return None
        return pool(
            (run.plan.options.seed, 0, run.verdicts)
            for run in self.runs
            if run.verdicts is not None
        )

    @cached_property
    def shares(self) -> dict[str, Share]:
        """By `fits.MEASURES`; empty if a seed failed."""
        return {} if self.verdicts is None else overall(self.verdicts)

    @property
    def total(self) -> float:
        """Total accuracy; below every other if a seed failed."""
        return self.shares["total"].value if self.shares else -1.0

    @cached_property
    def error(self) -> float:
        """The standard error of total accuracy on these actions; 0 if it cannot be told."""
        found = (
            None
            if self.verdicts is None
            else spread(tabulate(self.verdicts), "total", "these actions")
        )
        return 0.0 if found is None else math.sqrt(float(found.variance))

    @property
    def fit_seconds(self) -> float | None:
        """Mean of the fits; None if nothing is fitted."""
        seconds = [s for run in self.runs if (s := run.fit_seconds) is not None]
        return sum(seconds) / len(seconds) if seconds else None


@dataclass(frozen=True)
class Tuning:
    """A finished search."""

    trials: tuple[Trial, ...]
    """The method as it is first. A configuration that fails, as a learning rate may be too high,
    is a result like another."""
    budget: int
    """Sample passes an action."""
    ranges: Mapping[str, tuple[float, float]]
    """As far as they were widened."""
    chosen: int | None
    """By the rule of one standard error; None if all failed."""
    confirmed: tuple[Trial, ...] = ()
    """The chosen trial and the first with fresh seeds; empty if the first was chosen."""

    @property
    def best(self) -> int | None:
        """The trial of highest total accuracy, of equal ones the first; None if all failed."""
        return _best(self.trials)

    @property
    def spent(self) -> int:
        """Sample passes an action of all that was tried."""
        return sum(trial.passes * len(trial.runs) for trial in self.trials)

    @property
    def at_end(self) -> list[str]:
        """The settings of which the best lies at the end of what was tried: the budget was too
        small to say that it lies inside."""
        if self.best is None:
            return []
        return [name for name, _ in _ends(self.trials[self.best], self.ranges)]

    @property
    def gain(self) -> Comparison | None:
        """The chosen trial minus the first, with seeds that neither was chosen by and fits as the
        units; None if it is the first, or one of the two failed."""
        if len(self.confirmed) != 2:
            return None
        chosen, first = self.confirmed
        failed = chosen.verdicts is None or first.verdicts is None
        return None if failed else compare(chosen.verdicts, first.verdicts, of="these actions")


def _best(trials: Sequence[Trial]) -> int | None:
    totals = [trial.total for trial in trials]
    best = totals.index(max(totals))
    return best if totals[best] >= 0 else None


def choose(trials: Sequence[Trial]) -> int | None:
    """Choose the cheapest trial within one standard error of the best, of equal ones the first."""
    best = _best(trials)
    if best is None:
        return None
    least = trials[best].total - trials[best].error
    good = [place for place, trial in enumerate(trials) if trial.total >= least - 1e-12]
    return min(good, key=lambda place: (trials[place].passes, place))


def _ends(trial: Trial, ranges: Mapping[str, tuple[float, float]]) -> list[tuple[str, int]]:
    """The settings that a trial has at an end of their range, with -1 for the low one, 1 for the
    high."""
    found = []
    for name, (low, high) in ranges.items():
        share = math.log(float(trial.plan.settings[name]) / low) / math.log(high / low)
        if share < EDGE or share > 1 - EDGE:
            found.append((name, -1 if share < EDGE else 1))
    return found


def first_ranges(setup: Setup, kind: type[Method[Any]]) -> Ranges:
    """Return the ranges before they widen; UserError for a method with nothing to vary."""
    present = setup.plan(kind).settings
    ranges = {
        name: (low * present[name], high * present[name])
        for name, (low, high) in FACTORS.items()
        if name in present
    } | dict(kind.tunable)
    if not ranges:
        raise UserError(f"{kind.name} has nothing to tune: neither {' nor '.join(FACTORS)}")
    return ranges


def sample_passes(plan: Plan) -> int:
    """Count the samples that one fit takes through the UNet forward and backward.

    Of a method that does not say (`Method.fit_work`), its steps times its batch size are counted.

    Raises:
        UserError: if it does not say and has no setting `steps`, or says that it takes none.
    """
    exemplars = max(len(action.task.exemplars) for action in plan.actions)
    # The numbers of samples do not depend on the model's layers.
    work = plan.method.fit_work(exemplars, 16)
    passes = _steps_times_batch(plan) if work is None else work.conditioned + work.trained
    if not passes:
        raise UserError(
            f"{plan.method.name} does not say what a fit takes, and searches are equal in that: "
            "give it fit_work or a setting steps (docs/your-own-method.md)"
        )
    return passes


def _steps_times_batch(plan: Plan) -> int:
    """The passes of a loop that takes one batch a step; 0 without a setting `steps`."""
    steps, batch = plan.settings.get("steps", 0), plan.settings.get("batch_size", 1)
    return steps * batch if isinstance(steps, int) and isinstance(batch, int) else 0


def passes_note(plan: Plan) -> str:
    """Say how passes are counted if the method does not say it itself; empty if it does."""
    if plan.method.fit_work(1, 16) is not None:
        return ""
    times = " x batch_size" if "batch_size" in plan.settings else ""
    return (
        f"{plan.method.name} does not say what a fit takes: steps{times} are counted as its "
        "sample passes. If a step takes others, give it fit_work (docs/your-own-method.md)."
    )


def configurations(setup: Setup, kind: type[Method[Any]], ranges: Ranges) -> Iterator[list[str]]:
    """Yield `key=value` words within ranges without end; the same for every method."""
    present = setup.plan(kind).settings
    sampler = qmc.Halton(len(ranges), rng=SEED)
    while True:
        (point,) = sampler.random(1)
        yield [
            f"{name}={_value(share, low, high, type(present[name]))}"
            for share, (name, (low, high)) in zip(point, ranges.items(), strict=True)
        ]


def _value(share: float, low: float, high: float, kind: type) -> str:
    """Write a round value at a share of the way from low to high in the logarithm."""
    value = low * (high / low) ** share
    if kind is int:
        place = max(0, math.floor(math.log10(value)) - _DIGITS + 1)
        return str(max(1, round(value / 10**place) * 10**place))
    return f"{value:.{_DIGITS}g}"


_TRIES = 200
"""Points of the sequence in a row that give nothing new or cost too much, after which there is
nothing left to try."""


@dataclass
class Search:
    """A search as it goes on: what was tried, what is left to spend, and how far ranges reach."""

    setup: Setup
    kind: type[Method[Any]]
    measure: Measure
    budget: int = PASSES
    fits: int = FITS
    trials: list[Trial] = field(default_factory=list)
    ranges: Ranges = field(init=False)

    def __post_init__(self) -> None:
        check_tuning_suite(self.setup.suite)
        self.ranges = first_ranges(self.setup, self.kind)
        self._tried: set[str] = set()

    @property
    def left(self) -> int:
        """Sample passes an action that are still to spend."""
        return self.budget - sum(trial.passes * len(trial.runs) for trial in self.trials)

    def plans(self, words: Sequence[str], first_seed: int = 0) -> list[Plan]:
        """Plan a configuration's runs, one a seed."""
        seeds = range(first_seed, first_seed + self.fits)
        return [self.setup.plan(self.kind, words, seed) for seed in seeds]

    def first_batch(self) -> list[list[str]]:
        """List the configurations that are tried before anything is known."""
        return [[], *self._next(self.ranges, self.left - self._cost([]), BATCH, {self._key([])})]

    def run(self) -> Tuning:
        """Try configurations until the budget is spent, and confirm the choice."""
        if self._cost([]) > self.left:
            raise UserError(
                f"--passes {self.budget}: one configuration of {self.kind.name} with {self.fits} "
                f"fits takes {self._cost([])}"
            )
        self._try(self.first_batch())
        while True:
            look, wider = self._beyond()
            batch = self._next(look, self.left, BATCH, self._tried)
            if batch:
                self.ranges = wider
            else:  # what lies beyond costs too much, or is nothing that the method takes
                batch = self._next(self.ranges, self.left, BATCH, self._tried)
            if not batch:
                break
            self._try(batch)
        chosen = choose(self.trials)
        confirmed: tuple[Trial, ...] = ()
        if chosen:
            words = [f"{n}={v}" for n, v in self._changed(self.trials[chosen]).items()]
            confirmed = tuple(self._measure([words, []], self.fits))
        return Tuning(tuple(self.trials), self.budget, dict(self.ranges), chosen, confirmed)

    def _beyond(self) -> tuple[Ranges, Ranges]:
        """Return where to look next, and how wide the ranges then are: beyond those at whose end
        the best lies, or inside all of them if it lies at none."""
        best = _best(self.trials)
        look, wider = dict(self.ranges), dict(self.ranges)
        for name, side in [] if best is None else _ends(self.trials[best], self.ranges):
            low, high = self.ranges[name]
            factor = (high / low) ** 0.5
            look[name] = (high, high * factor) if side > 0 else (low / factor, low)
            wider[name] = (low, high * factor) if side > 0 else (low / factor, high)
        return look, wider

    def _next(self, ranges: Ranges, left: int, most: int, tried: set[str]) -> list[list[str]]:
        """List the next configurations that are new and within the budget."""
        found: list[list[str]] = []
        seen, missed = set(tried), 0
        for words in configurations(self.setup, self.kind, ranges):
            if len(found) == most or missed == _TRIES:
                break
            cost, missed = self._affordable(words, seen, left), missed + 1
            if cost:
                found.append(words)
                seen.add(self._key(words))
                left, missed = left - cost, 0
        return found

    def _affordable(self, words: Sequence[str], seen: set[str], left: int) -> int:
        """A configuration's cost; 0 if it was tried, is none of the method, or is too much."""
        try:
            if self._key(words) in seen:
                return 0
            cost = self._cost(words)
        except UserError:  # beyond what the method takes
            return 0
        return cost if cost <= left else 0

    def _key(self, words: Sequence[str]) -> str:
        return canonical_json(self.setup.plan(self.kind, words).settings)

    def _cost(self, words: Sequence[str]) -> int:
        return sample_passes(self.setup.plan(self.kind, words)) * self.fits

    def _changed(self, trial: Trial) -> dict[str, Any]:
        return {name: trial.plan.settings[name] for name in self.ranges}

    def _try(self, batch: Sequence[Sequence[str]]) -> None:
        self.trials += self._measure(batch)
        self._tried |= {self._key(words) for words in batch}

    def _measure(self, batch: Sequence[Sequence[str]], first_seed: int = 0) -> Iterator[Trial]:
        """Measure configurations, all by the same workers, which go on from one to the next."""
        planned = [self.plans(words, first_seed) for words in batch]
        measured = iter(self.measure([plan for plans in planned for plan in plans]))
        for plans in planned:
            yield Trial(tuple(islice(measured, len(plans))), sample_passes(plans[0]))


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


def tuning_json(tuning: Tuning) -> dict[str, Any]:
    """List all that was tried and what was chosen, with what it was measured on."""
    first = tuning.trials[0].runs[0]
    return {
        "method": first.plan.method.name,
        "passes": tuning.budget,
        "passes_spent": tuning.spent,
        "passes_note": passes_note(first.plan) or None,
        "fits": len(tuning.trials[0].runs),
        "factors": FACTORS,
        "ranges": dict(tuning.ranges),
        "best_at_the_end_of": tuning.at_end,
        "tunable": dict(first.plan.method.tunable),
        "sequence": f"scrambled Halton, seed {SEED}",
        **setup_json(first),
        "tried": [_trial_json(trial) for trial in tuning.trials],
        "best": tuning.best,
        "chosen": tuning.chosen,
        "confirmed": [_trial_json(trial) for trial in tuning.confirmed],
        "chosen_minus_first": comparison_json(tuning.gain),
    }


def _trial_json(trial: Trial) -> dict[str, Any]:
    return {
        "changed": trial.plan.changed_settings,
        "settings": trial.plan.settings,
        "seeds": trial.seeds,
        "runs": [run.plan.run_id for run in trial.runs],
        "passes_per_fit": trial.passes,
        "failure": trial.failure or None,
        "fit_seconds_per_action": trial.fit_seconds,
        "standard_error": finite(trial.error),
        "shares": shares_json(trial.shares),
    }


def changes(plan: Plan) -> str:
    """Name the settings that a configuration changes: "steps=40 learning_rate=0.01"."""
    changed = (f"{name}={value}" for name, value in plan.changed_settings.items())
    return " ".join(changed) or "as it is"


def table(tuning: Tuning) -> Table:
    """Tabulate the configurations in order; what made one fail stands under it."""
    rows: list[tuple[str, ...]] = []
    for number, trial in enumerate(tuning.trials):
        marks = (("best", tuning.best), ("chosen", tuning.chosen))
        mark = ", ".join(name for name, place in marks if place == number)
        rows.append((mark, changes(trial.plan), *_measures(trial)))
        if trial.failure:
            rows.append(("", trial.failure, *[""] * (len(_COLUMNS) - 2)))
    for trial in tuning.confirmed:
        rows.append(("fresh seeds", changes(trial.plan), *_measures(trial)))
    return Table("", _COLUMNS, rows, left=("settings",))


_COLUMNS = ("", "settings", "action %", "subject %", "total %", "± s.e.", "fits", "passes", "fit s")


def _measures(trial: Trial) -> tuple[str, ...]:
    spent = (str(len(trial.runs)), str(trial.passes))
    if not trial.shares:
        return ("failed", "", "", "", *spent, "")
    percents = (trial.shares[name].percent() for name in ("action", "subject", "total"))
    seconds = "" if trial.fit_seconds is None else f"{trial.fit_seconds:.1f}"
    return (*percents, f"{100 * trial.error:.1f}", *spent, seconds)


def notes(tuning: Tuning) -> list[str]:
    """Say what the search was worth, and whether the best lies inside what was tried."""
    lines = [f"{tuning.spent} of {tuning.budget} sample passes an action were spent."]
    if note := passes_note(tuning.trials[0].plan):
        lines.append(note)
    if tuning.at_end:
        lines.append(
            f"The best lies at the end of what was tried of {', '.join(tuning.at_end)}: "
            "more --passes look further."
        )
    gain = tuning.gain
    if tuning.chosen is None:
        lines.append("Every configuration failed: nothing is chosen.")
    elif tuning.chosen == 0:
        lines.append("The method as it is is within one standard error of the best: it stays.")
    elif gain is None:
        lines.append("What the choice is worth cannot be told: a fit with a fresh seed failed.")
    else:
        lines.append(
            f"Chosen minus the method as it is, with fresh seeds: {gain.points} points of total "
            f"accuracy, p {gain.p_text} ({gain.units}, by {gain.unit})."
        )
    return lines


def write_tuning(tuning: Tuning, out: Path) -> Path:
    """Write `tuning_json`; raise UserError if the file cannot be written."""
    return write_text(out, json.dumps(tuning_json(tuning), indent=1, allow_nan=False) + "\n")
