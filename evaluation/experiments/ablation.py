"""Ablations: one part of a method changed at a time, over several seeds, as a table and a plot.

A method declares its own (`Method.ablation`): groups of variants, each group for one question. What
several groups hold, above all the method as it is, is measured once.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from actionbench.errors import UserError, unknown
from actionbench.files.atomic import written
from actionbench.method import Method, Question, Variant
from actionbench.registry import get_method, method_names
from actionbench.runs.campaign import Setup
from actionbench.runs.plan import Plan
from actionbench.runs.store import Store
from evaluation.experiments.measured import (
    Measured,
    comparison_json,
    finite,
    setup_json,
    shares_json,
)
from evaluation.measures.accuracy import Share, overall
from evaluation.measures.comparison import Comparison, compare, correct, p_text
from evaluation.measures.fits import Fits, pool, tabulate
from evaluation.measures.power import Power, paired_variance
from evaluation.tables import Table, bullets, literal, write_texts

ACCURACIES = ("action", "subject", "total")


def find_questions(name: str, only: Sequence[str] | None) -> list[Question]:
    """List the groups of a method's ablation, all or the named ones.

    Raises UserError for an unknown method or group, and for a method that declares no ablation.
    """
    questions = {question.name: question for question in get_method(name).ablation()}
    if not questions:
        declared = [other for other in method_names() if _declares_ablation(other)]
        raise UserError(f"method '{name}' declares no ablation; declared by: {', '.join(declared)}")
    for group in only or ():
        if group not in questions:
            raise unknown("group of the ablation", group, questions)
    return [question for question in questions.values() if only is None or question.name in only]


def _declares_ablation(name: str) -> bool:
    try:
        return bool(get_method(name).ablation())
    except UserError:  # a plug-in that cannot be imported
        return False


@dataclass(frozen=True)
class PlannedVariant:
    question: Question
    variant: Variant
    plans: tuple[Plan, ...]
    """One a seed, from 0 on."""

    @property
    def is_own(self) -> bool:
        """Whether it is the method with its own settings for the model."""
        return not self.plans[0].changed_settings


def plan_ablation(
    setup: Setup,
    questions: Sequence[Question],
    seeds: int,
    find: Callable[[str], type[Method[Any]]] = get_method,
) -> list[PlannedVariant]:
    """Plan each variant's run with each seed; `find` gives a method's class by its name."""
    planned = []
    for question in questions:
        for variant in question.variants:
            kind = find(variant.method)
            plans = tuple(setup.plan(kind, variant.words, seed) for seed in range(seeds))
            planned.append(PlannedVariant(question, variant, plans))
    return planned


def distinct_plans(planned: Iterable[PlannedVariant]) -> list[Plan]:
    """Each run once, seed by seed, so that an interrupted ablation has whole seeds."""
    plans = {plan.run_id: plan for variant in planned for plan in variant.plans}
    return sorted(plans.values(), key=lambda plan: plan.options.seed)


@dataclass(frozen=True)
class Estimate:
    """What an ablation comes to."""

    runs: int
    runs_to_do: int
    fits: int
    images: int
    """To do, as `fits`."""
    seconds: float
    """Of what is to do, as far as it is known."""
    untimed: tuple[str, ...]
    """Methods of which the store has no run yet: their time is not in `seconds`."""


def estimate(plans: Sequence[Plan], store: Store) -> Estimate:
    """Work to do, and its time by the mean costs of each method's runs in the store.

    Whatever settings and device these had: a guess of the right size, not a promise.
    """
    spent: dict[str, list[tuple[float, float]]] = {}
    for run_id in store.run_ids():
        record = store.read_record(run_id)
        for cost in record.costs.values():
            if cost.generate.images and cost.judge.images:
                image = cost.generate.seconds / cost.generate.images
                image += cost.judge.seconds / cost.judge.images
                fit = cost.fit.seconds if cost.fit else 0.0
                spent.setdefault(record.method, []).append((fit, image))
    fits = images = 0
    seconds, untimed = 0.0, []
    for plan in plans:
        work = {work.what: work.to_do for work in plan.work()}
        fits += work["fits"]
        images += work["images"]
        known = spent.get(plan.method.name)
        if known:
            seconds += work["fits"] * sum(fit for fit, _ in known) / len(known)
            seconds += work["images"] * sum(image for _, image in known) / len(known)
        elif not plan.finished:
            untimed.append(plan.method.name)
    to_do = sum(not plan.finished for plan in plans)
    return Estimate(len(plans), to_do, fits, images, seconds, tuple(dict.fromkeys(untimed)))


@dataclass(frozen=True)
class MeasuredVariant:
    planned: PlannedVariant
    runs: tuple[Measured, ...]
    """One a seed that was measured."""
    failures: tuple[str, ...]
    """One line a seed that failed."""

    @property
    def label(self) -> str:
        return self.planned.variant.label + (" (own)" if self.planned.is_own else "")

    @cached_property
    def verdicts(self) -> pd.DataFrame:
        """Of all seeds (`evaluation.measures.fits.pool`)."""
        return pool(
            (run.plan.options.seed, 0, run.verdicts)
            for run in self.runs
            if run.verdicts is not None
        )

    @cached_property
    def fits(self) -> Fits | None:
        """Right images by action and seed; None if nothing was measured."""
        return tabulate(self.verdicts) if self.runs else None

    @cached_property
    def shares(self) -> dict[str, Share]:
        """Over all seeds; the few actions of an ablation are given, and their fits the units."""
        return overall(self.verdicts) if self.runs else {}


@dataclass(frozen=True)
class Ablation:
    variants: tuple[MeasuredVariant, ...]

    @property
    def questions(self) -> list[Question]:
        return list(dict.fromkeys(variant.planned.question for variant in self.variants))

    def of(self, question: Question) -> list[MeasuredVariant]:
        return [v for v in self.variants if v.planned.question == question]

    def _own(self, variant: MeasuredVariant) -> MeasuredVariant | None:
        """The variant's method as it is; None for that itself, and if either was not measured."""
        method = variant.planned.variant.method
        own = [v for v in self.variants if v.planned.is_own and v.planned.variant.method == method]
        measured = variant.runs and own and own[0].runs
        return own[0] if measured and not variant.planned.is_own else None

    def against_own(self, variant: MeasuredVariant) -> Comparison | None:
        """A variant minus its method as it is, total accuracy, with fits as the units; corrected by
        Holm over all of this ablation's.

        None for the method as it is, and if either was not measured or is not in this ablation.
        """
        return self._comparisons.get(id(variant))

    @cached_property
    def _comparisons(self) -> dict[int, Comparison]:
        pairs = [(v, own) for v in self.variants if (own := self._own(v)) is not None]
        found = [compare(v.verdicts, own.verdicts) for v, own in pairs]
        return {id(v): one for (v, _), one in zip(pairs, correct(found), strict=True)}

    @cached_property
    def power(self) -> Power | None:
        """What these comparisons can detect; None if there are none."""
        pairs, seeds, actions = [], [], 0
        for variant in self.variants:
            own = self._own(variant)
            if own is None or own.fits is None or variant.fits is None:
                continue
            variance = paired_variance(variant.fits, own.fits, "total")
            seeds += [int(fits.per_action.min()) for fits in (variant.fits, own.fits)]
            actions = len(own.fits.actions)
            pairs += [variance] if variance is not None else []
        if not pairs:
            return None
        return Power(tuple(pairs), actions, min(seeds), len(self._comparisons) + 1)

    @property
    def notes(self) -> list[str]:
        """Say what the figures are about, and what they can and cannot detect."""
        known = [one.of for one in self._comparisons.values()]
        about = known[0] if known else "these actions"
        lines = [
            f"Intervals and tests are about {about}. The unit is the fit, an action with a seed: "
            "images of one fit share its luck.",
            "p (Holm) is corrected for all comparisons of this ablation "
            f"({len(self._comparisons)}).",
        ]
        if self.power is not None:
            lines += self.power.lines
            lines.append(
                "A difference that is not told apart and smaller than this may be there all the "
                "same: it is no sign that a part does nothing."
            )
        return lines

    @property
    def failures(self) -> list[str]:
        return list(dict.fromkeys(f for variant in self.variants for f in variant.failures))


def collect(planned: Sequence[PlannedVariant], measured: Iterable[Measured]) -> Ablation:
    """The runs of `distinct_plans`, measured, under the variants that they belong to."""
    by_id = {run.plan.run_id: run for run in measured}
    variants = []
    for one in planned:
        runs = [by_id[plan.run_id] for plan in one.plans]
        failed = [f"{run.plan.run_id}: {run.failure}" for run in runs if run.verdicts is None]
        good = tuple(run for run in runs if run.verdicts is not None)
        variants.append(MeasuredVariant(one, good, tuple(failed)))
    return Ablation(tuple(variants))


# What is written


def write_ablation(ablation: Ablation, out: Path) -> list[Path]:
    """Write ablation.md, .csv, .json and .png under `out`, and return their paths.

    Raises UserError if one cannot be written.
    """
    texts = {
        "ablation.md": _markdown(ablation),
        "ablation.csv": Table.of("", _rows(ablation)).csv(),
        "ablation.json": _json(ablation),
    }
    paths = write_texts(out, texts)
    return [*paths, plot_ablation(ablation, out / "ablation.png")]


def _rows(ablation: Ablation) -> list[dict[str, object]]:
    rows = []
    for variant in ablation.variants:
        planned, compared = variant.planned, ablation.against_own(variant)
        row: dict[str, object] = {
            "group": planned.question.name,
            "variant": planned.variant.label,
            "method": planned.variant.method,
            "own_settings": planned.is_own,
            "seeds": len(variant.runs),
            "fits": 0 if variant.fits is None else len(variant.fits),
            "failed_seeds": len(variant.failures),
        }
        for name in ACCURACIES:
            share = variant.shares.get(name)
            row |= {
                f"{name}_count": share and share.count,
                name: share and round(share.value, 6),
                f"{name}_low": share and finite(share.low),
                f"{name}_high": share and finite(share.high),
            }
        row["n"] = variant.shares["total"].n if variant.shares else 0
        row["minus_own"] = compared and round(compared.difference, 6)
        row["minus_own_low"] = compared and finite(compared.low)
        row["minus_own_high"] = compared and finite(compared.high)
        row["p_value"] = compared and finite(compared.p_value)
        row["p_holm"] = compared and finite(compared.corrected)
        row["told_apart"] = compared and compared.told_apart
        rows.append(row)
    return rows


def _json(ablation: Ablation) -> str:
    facts = {
        **next((setup_json(run) for v in ablation.variants for run in v.runs), {}),
        "notes": ablation.notes,
        "variants": [
            {
                "group": variant.planned.question.name,
                "variant": variant.planned.variant.label,
                "method": variant.planned.variant.method,
                "own_settings": variant.planned.is_own,
                "settings": variant.planned.plans[0].settings,
                "shares": shares_json(variant.shares),
                "minus_own": comparison_json(ablation.against_own(variant)),
                "fits": _fits_json(variant.fits),
                "seeds": [
                    {
                        "seed": run.plan.options.seed,
                        "run": run.plan.run_id,
                        "fit_seconds_per_action": run.fit_seconds,
                        "shares": shares_json(run.shares),
                    }
                    for run in variant.runs
                ],
                "failures": list(variant.failures),
            }
            for variant in ablation.variants
        ],
    }
    return json.dumps(facts, indent=1, allow_nan=False) + "\n"


def _fits_json(fits: Fits | None) -> list[dict[str, Any]]:
    """List what each fit has right, so that every figure can be made again."""
    if fits is None:
        return []
    return [
        {
            "action": fits.actions[fits.action[place]],
            "seed": int(fits.seed[place]),
            "n": int(fits.sizes[place]),
            **{f"{name}_count": int(counts[place]) for name, counts in fits.counts.items()},
        }
        for place in range(len(fits))
    ]


def table(ablation: Ablation, question: Question) -> Table:
    """Tabulate a group: accuracies over all seeds, each seed's total, minus the method as it is."""
    rows = []
    for variant in ablation.of(question):
        shares = [variant.shares[name].text() for name in ACCURACIES if variant.shares]
        by_seed = " / ".join(run.shares["total"].percent() for run in variant.runs)
        compared = ablation.against_own(variant)
        minus = (compared.points, p_text(compared.corrected)) if compared else ("", "")
        shown = shares or ["failed"] * len(ACCURACIES)
        rows.append((variant.label, len(variant.runs), *shown, by_seed, *minus))
    names = ("Variant", "Seeds", *(name.capitalize() for name in ACCURACIES))
    columns = (*names, "Total by seed", "Minus own", "p (Holm)")
    return Table(question.title, columns, rows)


def _markdown(ablation: Ablation) -> str:
    parts = [
        "# Ablation",
        "Percentages over all seeds with 95% intervals. *own*: the method with its own settings; "
        "*minus own*: the difference of total accuracy from it, in points, paired by action and "
        "seed.",
        bullets(ablation.notes),
    ]
    for question in ablation.questions:
        parts += [f"## {literal(question.title)}", table(ablation, question).markdown()]
    if ablation.failures:
        parts += ["## Failed", bullets(ablation.failures)]
    return "\n\n".join(parts) + "\n"


_COLOURS = {"action": "#E69F00", "subject": "#56B4E9", "total": "#000000"}
"""Okabe and Ito's, distinct for people with every kind of colour blindness."""
_MARKERS = {"action": "s", "subject": "^", "total": "o"}


def plot_ablation(ablation: Ablation, out: Path) -> Path:
    """A panel a group: each variant's three accuracies with intervals; seeds as small dots."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    questions = ablation.questions
    rows = [[v for v in ablation.of(q) if v.shares] for q in questions]
    heights = [1.0 + len(variants) for variants in rows]
    figure = Figure(figsize=(8.0, 1.1 + 0.36 * sum(heights)), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(
        len(questions), 1, sharex=True, squeeze=False, gridspec_kw={"height_ratios": heights}
    )[:, 0]
    for axes, question, variants in zip(panels, questions, rows, strict=True):
        for place, name in enumerate(ACCURACIES):
            shares = [variant.shares[name] for variant in variants]
            levels = [row + 0.24 * (place - 1) for row in range(len(variants))]
            values = [100 * share.value for share in shares]
            # A share without an interval is a point.
            below = [max(0.0, 100 * (s.value - s.low)) if s.told else 0.0 for s in shares]
            above = [max(0.0, 100 * (s.high - s.value)) if s.told else 0.0 for s in shares]
            axes.errorbar(
                values, levels, xerr=(below, above), label=name, color=_COLOURS[name],
                fmt=_MARKERS[name], markersize=5, elinewidth=1.2, capsize=0, zorder=3,
            )  # fmt: skip
            for level, variant in zip(levels, variants):
                seeds = [100 * run.shares[name].value for run in variant.runs]
                axes.plot(
                    seeds, [level] * len(seeds), ".", color=_COLOURS[name], alpha=0.45,
                    markersize=4, zorder=2,
                )  # fmt: skip
        axes.set_yticks(range(len(variants)), [variant.label for variant in variants])
        axes.set_ylim(len(variants) - 0.4, -0.6)
        axes.set_xlim(-1, 101)
        axes.set_title(question.title, loc="left", fontsize=10)
        axes.grid(axis="x", color="0.9", zorder=0)
        axes.tick_params(axis="y", length=0)
        axes.spines[["top", "right", "left"]].set_visible(False)
    panels[-1].set_xlabel("accuracy, % of images, with 95% interval; small dots: single seeds")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper right", ncols=3, frameon=False)
    with written(out) as temporary:
        figure.savefig(temporary, format="png")
    return out
