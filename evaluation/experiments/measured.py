"""Several runs measured for one table: what a search over settings and an ablation stand on."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import pandas as pd

from actionbench.errors import UserError
from actionbench.runs.campaign import View, execute_each, unwatched
from actionbench.runs.plan import Plan
from actionbench.runs.record import RunRecord
from evaluation.measures.accuracy import Share, overall
from evaluation.measures.comparison import Comparison


@dataclass(frozen=True)
class Measured:
    """A run that was executed, or that failed."""

    plan: Plan
    verdicts: pd.DataFrame | None = field(repr=False, compare=False)
    """None if it failed."""
    failure: str = ""

    @cached_property
    def shares(self) -> dict[str, Share]:
        """By `fits.MEASURES`; empty if the run failed."""
        return {} if self.verdicts is None else overall(self.verdicts)

    @cached_property
    def record(self) -> RunRecord | None:
        """None if the run failed before it began."""
        return self.plan.store.load_record(self.plan.run_id)

    @property
    def fit_seconds(self) -> float | None:
        """Mean of the actions' fits; None if nothing is fitted."""
        seconds = [fit.seconds for fit in self.record.fits] if self.record else []
        return sum(seconds) / len(seconds) if seconds else None


def measure_each(plans: Iterable[Plan], view: View = unwatched) -> Iterator[Measured]:
    """Execute plans in turn; what is stored is only read.

    Raises:
        UserError: if a run fails and its method is not to blame, as on a full disk: a table must
            not count that as a result.
        RuntimeError: for a defect that is not the method's, with its traceback.
    """
    for outcome in execute_each(plans, view):
        plan = outcome.plan
        if outcome.result is None and not outcome.of_method:
            raise RuntimeError(outcome.trace) if outcome.trace else UserError(outcome.failure)
        if outcome.result is None:
            yield Measured(plan, None, outcome.failure)
        else:
            store, result = plan.store, outcome.result
            yield Measured(plan, store.checked(result.record, store.as_frame(result.verdicts)))


def setup_json(measured: Measured) -> dict[str, Any]:
    """List what all runs of a table share: data, model, judge, items, device, versions."""
    plan, record = measured.plan, measured.record
    return {
        "suite": plan.suite.name,
        "suite_fingerprint": plan.suite.fingerprint,
        "protocol": plan.protocol,
        "model": {"name": plan.source.name, "fingerprint": plan.source.fingerprint},
        "preset": plan.source.preset,
        "judge": {"name": plan.judge.name, "fingerprint": plan.judge.fingerprint},
        "actions": [action.action.name for action in plan.actions],
        "subjects": [subject.name for subject in plan.subjects],
        "images_per_pair": plan.options.images_per_pair,
        "dtype": plan.options.dtype,
        "device": record and record.device,
        "versions": record and record.versions,
        "git": record and record.git,
    }


def finite(value: float | None) -> float | None:
    """Round a number for JSON, which knows no NaN: None for what cannot be told."""
    return None if value is None or math.isnan(value) else round(value, 6)


def shares_json(shares: Mapping[str, Share]) -> dict[str, Any]:
    """List count, share and interval of each measure; shares are in [0, 1]."""
    return {
        name: {
            "count": share.count,
            "n": share.n,
            "share": finite(share.value),
            "low": finite(share.low),
            "high": finite(share.high),
            "of": share.interval,
        }
        for name, share in shares.items()
    }


def comparison_json(comparison: Comparison | None) -> dict[str, Any] | None:
    if comparison is None:
        return None
    numbers = ("difference", "low", "high", "p_value", "corrected")
    return {
        **{name: finite(getattr(comparison, name)) for name in numbers},
        "told_apart": comparison.told_apart,
        "units": comparison.units,
        "unit": comparison.unit,
        "of": comparison.of,
    }
