"""The board of a runs folder: which runs stand under one heading, and in which order."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from actionbench.files.hashing import canonical_json
from actionbench.runs.kept import known_suite
from actionbench.runs.record import RunRecord
from actionbench.runs.store import Store
from actionbench.suite.drawn import EXEMPLAR_SEED, EXEMPLARS
from actionbench.suite.suite import Suite, get_suite
from evaluation.measures.accuracy import MIN_ACTIONS, Share, default_estimand, share
from evaluation.measures.comparison import Comparison, correct, rank_fits
from evaluation.measures.components import Components, split
from evaluation.measures.failures import (
    Failures,
    copy_threshold,
    exemplar_distances,
    failures,
    find_copies,
    people,
)
from evaluation.measures.fits import MEASURES, Fits, pool, tabulate
from evaluation.measures.order import MIN_METHODS, Agreement, agreement
from evaluation.measures.power import Power, measure_power
from leaderboards.published import Published, published
from leaderboards.submission.folder import Level, trust

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from rich.console import Console

    from leaderboards.claims import Judged
    from leaderboards.people import People


@dataclass(frozen=True)
class BoardRow:
    """One method: its run, or its runs that differ by their seeds alone."""

    run_id: str
    """Of the first of its runs; it names the row in comparisons."""
    method: str
    title: str
    label: str
    """Settings that differ from the method's own for this model, and what else is unusual about
    the runs (one seed that is not 0, number format): "beta=0.3, seed=1"; empty if nothing is."""
    done: int
    """Images judged."""
    planned: int
    fits: Fits = field(repr=False, compare=False)
    """Right images by fit: what every figure is made of."""
    shares: Mapping[str, Share]
    """By `accuracy.MEASURES`; of actions at large, or of these if they are few."""
    failures: Failures
    distances: NDArray[np.float64] | None = field(repr=False, compare=False)
    """Of each image to exemplars: see `failures.exemplar_distances`."""
    rank: int | None
    """None for a partial run, which has other items than its neighbours, and for a floor or
    ceiling."""
    fit_seconds: float | None
    """Mean of the actions' fits; None if nothing is fitted."""
    draw_seconds: float | None
    """An image."""
    peak_mib: int
    peak_cuda_mib: int | None
    fit_bytes: float | None
    """Stored an action, mean."""
    device: str
    reference: bool
    """Kept from an earlier measurement, not of the runs folder."""
    trust: Level | None
    """How far a submitted row was checked; None for a run of one's own."""
    records: tuple[RunRecord, ...] = field(repr=False)
    """One a run, in the order of their seeds."""
    suite: Suite | None = field(repr=False, compare=False)
    """None if it is gone: then its name stands for its title."""
    verdicts: pd.DataFrame = field(repr=False, compare=False)
    """Of all runs; see `evaluation.measures.fits.pool`."""

    @property
    def record(self) -> RunRecord:
        """The first run's: what all of them share."""
        return self.records[0]

    @property
    def ranked(self) -> bool:
        """False for a row that only bounds the board."""
        return self.record.ranked

    @property
    def run_ids(self) -> list[str]:
        """The runs' ids, as the runs folder has them."""
        return [record.id for record in self.records]

    @property
    def seeds(self) -> list[tuple[int, int]]:
        """Each run's seed, and the seed of its exemplars."""
        return [_seeds(record) for record in self.records]

    @property
    def these(self) -> Mapping[str, Share]:
        """The shares of these very actions, by measure, with the fits as the units."""
        return {name: share(self.fits, name, "these actions") for name in MEASURES}

    @property
    def components(self) -> Components:
        """Where the variance of total accuracy lies."""
        return split(self.fits, "total")

    @property
    def learned(self) -> bool:
        """Whether the method was fitted to exemplars."""
        return any(record.fits for record in self.records)

    @property
    def fit_measures(self) -> Mapping[str, float]:
        """What the method measured while it fitted, means over fits: see `method.MEASURES`."""
        found: dict[str, list[float]] = {}
        for record in self.records:
            for fit in record.fits:
                for name, value in (fit.measures or {}).items():
                    found.setdefault(name, []).append(value)
        return {name: sum(values) / len(values) for name, values in found.items()}

    @property
    def partial(self) -> bool:
        return self.done < self.planned

    @property
    def name(self) -> str:
        """Title and label, as tables name the row."""
        return f"{self.title} ({', '.join(self.marks)})" if self.marks else self.title

    @property
    def marks(self) -> tuple[str, ...]:
        """What distinguishes the row from others of its method."""
        settings = self.label.split(", ") if self.label else ()
        trust = (self.trust,) if self.trust else ()
        return (*(("reference",) if self.reference else ()), *trust, *settings)

    @property
    def share_done(self) -> str:
        done = f"partial: {100 * self.done // self.planned}% of {self.planned} images"
        failure = self.record.failure
        return f"{done}, failed on {failure.action}" if failure else done


@dataclass(frozen=True)
class Group:
    """Runs that may be compared: one protocol, data, model, judge, and list of items."""

    heading: str
    notes: tuple[str, ...]
    rows: tuple[BoardRow, ...]
    """By total accuracy, best first; partial runs last."""
    comparisons: Mapping[tuple[str, str], Comparison]
    """Total accuracy of every two complete rows, by their ids, corrected as one family."""
    power: Power | None
    """What a paired comparison of two of the rows can detect; None with fewer than two rows."""
    agreements: tuple[Agreement, ...]
    """With the published table, by action, subject and total accuracy; empty if too few methods
    are in both."""
    lead_method: str
    """The name of the method whose row is set against each other one."""
    people: People | None = None
    """What people's labels say of the rows; None if there are none."""

    @property
    def lead(self) -> BoardRow | None:
        """The lead method's row with its own settings, the newest; the best row if it has none."""
        complete = [row for row in self.rows if not row.partial and row.ranked]
        own = [row for row in complete if row.method == self.lead_method and not row.label]
        own.sort(key=lambda row: row.reference)
        return next(iter(own + complete), None)

    @property
    def against(self) -> list[tuple[BoardRow, Comparison]]:
        """The lead minus each other complete row, on total accuracy: a family by itself."""
        lead = self.lead
        if lead is None:
            return []
        both_ways = {
            **self.comparisons,
            **{(b, a): compared.reversed for (a, b), compared in self.comparisons.items()},
        }
        pairs = ((row, (lead.run_id, row.run_id)) for row in self.rows)
        found = [(row, both_ways[pair]) for row, pair in pairs if pair in both_ways]
        corrected = correct([compared for _, compared in found])
        return [(row, compared) for (row, _), compared in zip(found, corrected, strict=True)]

    @property
    def facts(self) -> RunRecord:
        """The record of any of its runs, to read what all of them share."""
        return self.rows[0].record


@dataclass(frozen=True)
class Board:
    groups: tuple[Group, ...]
    published: Published
    notes: tuple[str, ...] = ()
    claims: tuple[Judged, ...] = ()
    """What became of claims that were registered about it: see `leaderboards.claims`."""

    def print(self, console: Console) -> None:
        """Rich tables, within 100 columns."""
        from leaderboards.render import print_board

        print_board(self, console)

    def write(self, out: Path) -> list[Path]:
        """Write board.md, board.tex, board.csv, board.json and tables/*; UserError if it cannot."""
        from leaderboards.render import write_board

        return write_board(self, out)


def build_board(
    runs: Path,
    suite: str | None = None,
    reference: Path | None = None,
    lead: str | None = None,
) -> Board:
    """Build the board of every run of a store, or of those of one suite: as runs name it, or as
    `get_suite` finds it.

    A `reference` is the folder of a kept measurement (`leaderboards.reference`); its rows are
    marked, and stand and compare with the runs that were measured just as they were.

    `lead` is the name of the method that is set against each other one: by default the one that
    leads the published table, ADI.

    Complete runs of one method that differ by their seeds alone are one row. Of runs that are the
    same but for their making (seeds, too), the latest complete one stands for all; a method without
    a complete run is shown by its latest partial one.

    Raises UserError for a damaged file, naming it, and for an unknown suite.
    """
    stores = (Store(runs), *([Store(reference)] if reference else ()))
    if suite is not None:
        suite = _suite_name(suite, stores)
    grouped: dict[str, list[BoardRow]] = {}
    notes = []
    for store in stores:
        groups, older = _latest(store, suite)
        for records in groups:
            row = _row(store, records, reference=store.root == reference)
            failure = row.record.failure
            if failure:
                reason = f"failed {failure.doing} '{failure.action}': {failure.reason}"
                notes.append(f"{row.name} ({row.run_id}) {reason}")
            if row.done:
                grouped.setdefault(canonical_json(_group_key(row.record)), []).append(row)
            elif not failure:
                notes.append(f"{row.name} ({row.run_id}) has no finished action yet.")
        if older:
            notes.append(f"Left out: {older} older or partial runs of rows that are shown.")
        if not groups:
            notes.append(f"No runs in {store.root} yet: `actionbench run --method NAME` makes one.")
    boards = _order(list(grouped.values()), lead or published().rows[0].method)
    return Board(boards, published(), tuple(notes))


def _suite_name(given: str, stores: Sequence[Store]) -> str:
    """The name that runs have it under; a suite of one's own may be gone while its runs are not."""
    named = {store.read_record(run_id).suite for store in stores for run_id in store.run_ids()}
    return given if given in named else get_suite(given).name


def _latest(store: Store, suite: str | None) -> tuple[list[list[RunRecord]], int]:
    """The records that stand for a row each, and how many others there are of the suite."""
    records = [store.read_record(run_id) for run_id in store.run_ids()]
    records = [r for r in records if suite in (None, r.suite)]
    rows: dict[str, dict[tuple[int, int], RunRecord]] = {}
    for record in sorted(records, key=lambda r: (r.complete, r.finished or r.started)):
        row = canonical_json([_group_key(record), *(getattr(record, part) for part in _SAME_ROW)])
        rows.setdefault(row, {})[_seeds(record)] = record
    kept = []
    for by_seed in rows.values():
        complete = [record for _, record in sorted(by_seed.items()) if record.complete]
        kept.append(complete or list(by_seed.values())[-1:])
    return kept, len(records) - sum(map(len, kept))


_SAME_ROW = ("method", "settings", "exemplars", "dtype")


def _seeds(record: RunRecord) -> tuple[int, int]:
    """What distinguishes the runs of one row."""
    return record.seed, record.exemplar_seed


def _group_key(record: RunRecord) -> list[Any]:
    """What must agree for two runs to stand under one heading."""
    return [
        *(record.protocol, record.suite_fingerprint, record.profile, record.prompts),
        *(record.judge.fingerprint, record.model.fingerprint),
        *(record.actions, record.subjects, record.images_per_pair),
    ]


def _row(store: Store, records: Sequence[RunRecord], *, reference: bool) -> BoardRow:
    frames = [store.read_verdicts(record) for record in records]
    verdicts = pool((*_seeds(record), rows) for record, rows in zip(records, frames, strict=True))
    fits = tabulate(verdicts)
    costs = [cost for record in records for cost in record.costs.values()]
    spent = [fit for record in records for fit in record.fits]
    drawn = sum(cost.generate.images for cost in costs)
    cuda = [fit.peak_cuda_mib for fit in spent if fit.peak_cuda_mib is not None]
    first = records[0]
    planned = sum(record.n_items for record in records)
    distances = None
    if len(verdicts) == planned:
        parts = [exemplar_distances(store, r, rows) for r, rows in zip(records, frames)]
        known = [part for part in parts if part is not None]
        distances = np.concatenate(known) if len(known) == len(parts) else None
    of = default_estimand(fits)
    return BoardRow(
        # A run may stand beside its own repetition, and still has to be named.
        run_id=f"reference/{first.id}" if reference else first.id,
        method=first.method,
        title=first.title,
        label=_label(records),
        done=len(verdicts),
        planned=planned,
        fits=fits,
        shares={name: share(fits, name, of) for name in MEASURES},
        failures=failures(verdicts, None),
        distances=distances,
        rank=None,
        fit_seconds=_mean([fit.seconds for fit in spent]),
        draw_seconds=sum(cost.generate.seconds for cost in costs) / drawn if drawn else None,
        peak_mib=max(record.peak_mib for record in records),
        peak_cuda_mib=max(cuda) if cuda else None,
        fit_bytes=_mean([size for r in records for size in fit_bytes(store, r).values()]),
        device=first.device or "unknown",
        reference=reference,
        trust=trust(store, first.id),
        records=tuple(records),
        suite=known_suite(store, first),
        verdicts=verdicts,
    )


def fit_bytes(store: Store, record: RunRecord) -> dict[str, int]:
    """Bytes stored of each action's fit; a kept record holds what its store no longer has."""
    sizes = {}
    for action, cost in record.costs.items():
        key = record.keys[action].fit
        if store.has_fit(key):
            sizes[action] = int(store.fit_record(key)["bytes"])
        elif cost.fit and cost.fit.bytes is not None:
            sizes[action] = cost.fit.bytes
    return sizes


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


def _label(records: Sequence[RunRecord]) -> str:
    record = records[0]
    parts = [f"{name}={_show(value)}" for name, value in _changed_settings(record).items()]
    if len(records) == 1 and record.seed != 0:
        parts.append(f"seed={record.seed}")
    if len(records) == 1 and record.exemplar_seed != EXEMPLAR_SEED:
        parts.append(f"exemplar_seed={record.exemplar_seed}")
    if record.exemplars != EXEMPLARS:
        parts.append(f"exemplars={record.exemplars}")
    if record.dtype != "float32":
        parts.append(record.dtype)
    return ", ".join(parts)


def _changed_settings(record: RunRecord) -> dict[str, Any]:
    """The run's settings that were not the method's own for the run's model, as it was run.

    The run noted them, because a board of stored runs must not need what made them. All settings if
    it did not.
    """
    return record.settings if record.changed_settings is None else record.changed_settings


def _show(value: Any) -> str:
    if isinstance(value, list | tuple):
        return "/".join(_show(part) for part in value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def _order(groups: list[list[BoardRow]], lead: str) -> tuple[Group, ...]:
    """Sort groups by protocol, then by most images, by most runs, and the latest first."""

    def weight(rows: list[BoardRow]) -> tuple[Any, ...]:
        latest = max(row.record.finished or row.record.started for row in rows)
        return rows[0].planned, len(rows), latest

    groups.sort(key=weight, reverse=True)
    groups.sort(key=lambda rows: str(rows[0].record.protocol))
    made: list[Group] = []
    for rows in groups:
        protocol = rows[0].record.protocol
        first = next((g for g in made if g.facts.protocol == protocol), None)
        group = _group(rows, first.facts if first else None, lead)
        # Two lists of as many actions read alike; the notes under them tell which they are.
        alike = sum(g.heading.startswith(group.heading) for g in made)
        if alike:
            group = dataclasses.replace(group, heading=f"{group.heading} [{alike + 1}]")
        made.append(group)
    return tuple(made)


def _group(rows: list[BoardRow], first: RunRecord | None, lead: str) -> Group:
    """`first` is the record that the protocol's first group shares; None for that group itself."""
    complete = {row.run_id: row.fits for row in rows if not row.partial and row.ranked}
    ranks, comparisons = rank_fits(complete)
    rows = _with_copies([dataclasses.replace(row, rank=ranks.get(row.run_id)) for row in rows])
    rows.sort(key=lambda row: (row.partial, -row.shares["total"].value, row.name))
    record = rows[0].record
    power = measure_power(list(complete.values()))
    return Group(
        heading=f"{record.protocol}: {_heading(rows[0], first)} · {block_words(record)}",
        notes=tuple(_notes(rows, comparisons, power)),
        rows=tuple(rows),
        comparisons=comparisons,
        power=power,
        agreements=_agreements(rows),
        lead_method=lead,
    )


def group_of(store: Store, run_ids: Sequence[str]) -> Group:
    """Put named runs into one group in their order, with notes on what makes them incomparable.

    Raises:
        UserError: for a damaged file.
    """
    rows = [_row(store, [store.read_record(run_id)], reference=False) for run_id in run_ids]
    titles = [row.name for row in rows]
    if len(set(titles)) < len(titles):
        rows = [dataclasses.replace(row, label=", ".join(filter(None, [row.label, row.run_id])))
                for row in rows]  # fmt: skip
    notes = []
    for what, values in (
        ("protocol", [r.record.protocol for r in rows]),
        ("judge", [f"{r.record.judge.name} {r.record.judge.fingerprint[:8]}" for r in rows]),
        ("model", [f"{r.record.model.name} {r.record.model.fingerprint[:8]}" for r in rows]),
        ("data", [r.record.suite_fingerprint[:8] for r in rows]),
        ("profile", [r.record.profile for r in rows]),
        ("block of prompts", [r.record.prompts for r in rows]),
        ("seed", [str(r.record.seed) for r in rows]),
    ):
        if len(set(values)) > 1:
            notes.append(f"Not the same {what}: {' and '.join(values)}. Differences are also "
                         "due to that.")  # fmt: skip
    notes += [f"{row.name} is {row.share_done}." for row in rows if row.partial]
    return Group(
        heading=f"{rows[0].record.protocol}: {' against '.join(row.name for row in rows)}",
        notes=tuple(notes),
        rows=tuple(rows),
        comparisons={},
        power=None,
        agreements=(),
        lead_method=rows[0].method,
    )


def _with_copies(rows: list[BoardRow]) -> list[BoardRow]:
    """Count copies in each row, by the threshold of the rows that learned nothing."""
    unlearned = [
        row.distances[people(row.verdicts)]
        for row in rows
        if row.distances is not None and row.ranked and not row.learned
    ]
    threshold = copy_threshold(unlearned)
    if threshold is None:
        return rows
    return [
        row
        if row.distances is None
        else dataclasses.replace(
            row, failures=failures(row.verdicts, find_copies(row.distances, threshold))
        )
        for row in rows
    ]


def _heading(row: BoardRow, first: RunRecord | None) -> str:
    record, known = row.record, row.suite
    parts = []
    for kind, every in (
        ("actions", known and known.actions),
        ("subjects", known and known.subjects),
    ):
        names: list[str] = getattr(record, kind)
        others: list[str] = getattr(first, kind) if first else names
        whole = len(every) if every else len(others)
        if len(names) != whole:
            parts.append(f"{len(names)} of {whole} {kind}")
        elif set(names) != set(others):
            parts.append(f"other {kind}")
    if first:
        for kind, own, other in (
            ("model", record.model, first.model),
            ("judge", record.judge, first.judge),
        ):
            if own.fingerprint != other.fingerprint:
                parts.append(f"{kind} {own.name} {own.fingerprint[:8]}")
        if record.suite_fingerprint != first.suite_fingerprint:
            parts.append(f"data {record.suite_fingerprint[:8]}")
        if record.images_per_pair != first.images_per_pair:
            parts.append(f"{record.images_per_pair} images a pair")
    title = known.title if known else record.suite
    if not parts:
        return title
    return f"{title} ({', '.join(parts)}; not comparable with other tables)"


PROFILES = {
    "published": "as published",
    "tuned": "tuned",
    "quick": "quick, no measurement",
}
BLOCKS = {
    "own": "method and prompts together",
    "caption": "all under captions",
    "template": "all under templates",
}


def block_words(record: RunRecord) -> str:
    """Name a record's profile and prompt block, as headings do."""
    profile = PROFILES.get(record.profile, record.profile)
    return f"{profile} · {BLOCKS.get(record.prompts, record.prompts)}"


def _notes(
    rows: Sequence[BoardRow],
    comparisons: Mapping[tuple[str, str], Comparison],
    power: Power | None,
) -> list[str]:
    record = rows[0].record
    model, judge = record.model, record.judge
    notes = [
        f"Model {model.name} ({model.fingerprint[:8]}), judged by the {judge.name} judge "
        f"({judge.fingerprint[:8]}); {len(record.actions)} actions x "
        f"{len(record.subjects)} subjects x {record.images_per_pair} images a fit."
    ]
    suite = rows[0].suite
    for kind, every in (
        ("Actions", suite and suite.actions),
        ("Subjects", suite and suite.subjects),
    ):
        names: list[str] = getattr(record, kind.lower())
        if every and len(names) < len(every):
            notes.append(f"{kind} measured here: {', '.join(names)}.")
    about = {row.shares["total"].interval for row in rows}
    for interval in ESTIMANDS:
        if interval in about:
            notes.append(ESTIMANDS[interval])
    if comparisons:
        notes.append(
            "A new rank begins only where tests of total accuracy, paired by action, tell every "
            "row above from every row below (p < 0.05 after Holm's correction over the borders): "
            "rows of one rank may differ."
        )
    if power is not None:
        notes += power.lines
    known = {row.method for row in published().rows}
    if others := sorted({row.title for row in rows if row.ranked and row.method not in known}):
        notes.append(f"Not in the published table: {', '.join(others)}.")
    if any(row.partial for row in rows):
        notes.append("Partial runs have only some of the images and take no rank.")
    devices = sorted({row.device for row in rows})
    if len(devices) > 1:
        notes.append(f"Fit times are from different devices: {', '.join(devices)}.")
    if len({tuple(row.seeds) for row in rows}) > 1:
        notes.append(
            "Rows have different seeds: every action counts once in a comparison, as the mean of "
            "the method's own fits, and pairs share prompts, not noise."
        )
    if any(row.reference for row in rows):
        notes.append("Rows marked reference are kept from an earlier measurement.")
    if any(row.trust for row in rows):
        notes.append(TRUST)
    if any(row.failures.copied for row in rows):
        notes.append(COPYING)
    return notes


ESTIMANDS = {
    "actions at large": (
        "Brackets: 95% intervals for actions at large, of which these are a sample; an action is "
        "one unit, however many images and fits it has."
    ),
    "these actions": (
        "Brackets: 95% intervals for these actions alone, whose fits are the units; of actions at "
        f"large nothing is said with fewer than {MIN_ACTIONS}."
    ),
    "cannot be told": (
        f"No brackets: intervals cannot be told with fewer than {MIN_ACTIONS} finished actions and "
        "one fit of some; more seeds (--seed) tell those of these actions."
    ),
}

TRUST = (
    "Submitted rows: self-reported, the submitter's word, whole in itself; re-judged, a random "
    "sample of its images has the same verdicts; re-run, fits made again come out the same."
)

COPYING = (
    "Copied, of people's images: nearer to an exemplar of its action than 99% of the people's "
    "images of methods that saw no exemplar, and than to any exemplar of other actions; a method "
    "that copies nothing has 1%."
)


def _agreements(rows: Sequence[BoardRow]) -> tuple[Agreement, ...]:
    """With the published order, over complete runs with the methods' own settings."""
    own = sorted(
        (row for row in rows if not row.partial and row.ranked and not row.label),
        key=lambda row: row.reference,
        reverse=True,
    )
    verdicts = {row.method: row.verdicts for row in own}  # a new run stands before a kept one
    theirs = {row.method: row.shares for row in published().rows}
    if len(verdicts.keys() & theirs.keys()) < MIN_METHODS:
        return ()
    return tuple(
        agreement(
            verdicts,
            {name: shares[m].value for name, shares in theirs.items()},
            m,
            ties=published().ties(m),
        )
        for m in ("action", "subject", "total")
    )
