"""The board of a runs folder: which runs stand under one heading, and in which order."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from actionbench.files.hashing import canonical_json
from actionbench.runs.kept import known_suite
from actionbench.runs.record import RunRecord
from actionbench.runs.store import Store
from actionbench.suite.drawn import EXEMPLAR_SEED, EXEMPLARS
from actionbench.suite.suite import Suite, get_suite
from evaluation.measures.accuracy import MIN_ACTIONS, Share, overall
from evaluation.measures.comparison import Comparison, rank_verdicts
from evaluation.measures.failures import Failures, copied_images, failures
from evaluation.measures.order import MIN_METHODS, Agreement, agreement
from leaderboards.published import Published, published
from leaderboards.submission.folder import Level, trust

if TYPE_CHECKING:
    from rich.console import Console

    from leaderboards.people import People


@dataclass(frozen=True)
class BoardRow:
    """One run."""

    run_id: str
    method: str
    title: str
    label: str
    """Settings that differ from the method's own for this model, and what else is unusual about
    the run (seed, number format): "beta=0.3, seed=1"; empty if nothing is."""
    done: int
    """Images judged."""
    planned: int
    shares: Mapping[str, Share]
    """By `accuracy.MEASURES`."""
    failures: Failures
    rank: int | None
    """None for a partial run, which has other items than its neighbours."""
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
    record: RunRecord = field(repr=False)
    suite: Suite | None = field(repr=False, compare=False)
    """None if it is gone: then its name stands for its title."""
    verdicts: pd.DataFrame = field(repr=False, compare=False)

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
    """Total accuracy of every two complete runs, by their ids."""
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
        complete = [row for row in self.rows if not row.partial]
        own = [row for row in complete if row.method == self.lead_method and not row.label]
        own.sort(key=lambda row: row.reference)
        return next(iter(own + complete), None)

    @property
    def against(self) -> list[tuple[BoardRow, Comparison]]:
        """The lead minus each other complete row, on total accuracy."""
        lead = self.lead
        if lead is None:
            return []
        both_ways = {
            **self.comparisons,
            **{(b, a): compared.reversed for (a, b), compared in self.comparisons.items()},
        }
        pairs = ((row, (lead.run_id, row.run_id)) for row in self.rows)
        return [(row, both_ways[pair]) for row, pair in pairs if pair in both_ways]

    @property
    def facts(self) -> RunRecord:
        """The record of any of its runs, to read what all of them share."""
        return self.rows[0].record


@dataclass(frozen=True)
class Board:
    groups: tuple[Group, ...]
    published: Published
    notes: tuple[str, ...] = ()

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

    Of runs that are the same but for their making (same group, method, settings, seed), the
    latest complete one stands for all, or the latest partial one if none is complete.

    Raises UserError for a damaged file, naming it, and for an unknown suite.
    """
    stores = (Store(runs), *([Store(reference)] if reference else ()))
    if suite is not None:
        suite = _suite_name(suite, stores)
    grouped: dict[str, list[BoardRow]] = {}
    notes = []
    for store in stores:
        records, older = _latest(store, suite)
        for record in records:
            row = _row(store, record, reference=store.root == reference)
            failure = record.failure
            if failure:
                reason = f"failed {failure.doing} '{failure.action}': {failure.reason}"
                notes.append(f"{row.name} ({row.run_id}) {reason}")
            if row.done:
                grouped.setdefault(canonical_json(_group_key(record)), []).append(row)
            elif not failure:
                notes.append(f"{row.name} ({row.run_id}) has no finished action yet.")
        if older:
            notes.append(f"Left out: {older} older or partial runs of rows that are shown.")
        if not records:
            notes.append(f"No runs in {store.root} yet: `actionbench run --method NAME` makes one.")
    groups = _order(list(grouped.values()), lead or published().rows[0].method)
    return Board(groups, published(), tuple(notes))


def _suite_name(given: str, stores: Sequence[Store]) -> str:
    """The name that runs have it under; a suite of one's own may be gone while its runs are not."""
    named = {store.read_record(run_id).suite for store in stores for run_id in store.run_ids()}
    return given if given in named else get_suite(given).name


def _latest(store: Store, suite: str | None) -> tuple[list[RunRecord], int]:
    """The records that stand for a row each, and how many others there are of the suite."""
    records = [store.read_record(run_id) for run_id in store.run_ids()]
    records = [r for r in records if suite in (None, r.suite)]
    kept: dict[str, RunRecord] = {}
    for record in sorted(records, key=lambda r: (r.complete, r.finished or r.started)):
        kept[
            canonical_json([_group_key(record), *(getattr(record, part) for part in _SAME_ROW)])
        ] = record
    return list(kept.values()), len(records) - len(kept)


_SAME_ROW = ("method", "settings", "seed", "exemplar_seed", "exemplars", "dtype")


def _group_key(record: RunRecord) -> list[Any]:
    """What must agree for two runs to stand under one heading."""
    return [
        *(record.protocol, record.suite_fingerprint),
        *(record.judge.fingerprint, record.model.fingerprint),
        *(record.actions, record.subjects, record.images_per_pair),
    ]


def _row(store: Store, record: RunRecord, *, reference: bool) -> BoardRow:
    verdicts = store.read_verdicts(record)
    costs = record.costs.values()
    drawn = sum(cost.generate.images for cost in costs)
    cuda = [fit.peak_cuda_mib for fit in record.fits if fit.peak_cuda_mib is not None]
    complete = len(verdicts) == record.n_items
    return BoardRow(
        # A run may stand beside its own repetition, and still has to be named.
        run_id=f"reference/{record.id}" if reference else record.id,
        method=record.method,
        title=record.title,
        label=_label(record),
        done=len(verdicts),
        planned=record.n_items,
        shares=overall(verdicts),
        failures=failures(verdicts, copied_images(store, record, verdicts) if complete else None),
        rank=None,
        fit_seconds=_mean([fit.seconds for fit in record.fits]),
        draw_seconds=sum(cost.generate.seconds for cost in costs) / drawn if drawn else None,
        peak_mib=record.peak_mib,
        peak_cuda_mib=max(cuda) if cuda else None,
        fit_bytes=_mean(list(fit_bytes(store, record).values())),
        device=record.device or "unknown",
        reference=reference,
        trust=trust(store, record.id),
        record=record,
        suite=known_suite(store, record),
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


def _label(record: RunRecord) -> str:
    parts = [f"{name}={_show(value)}" for name, value in _changed_settings(record).items()]
    if record.seed != 0:
        parts.append(f"seed={record.seed}")
    if record.exemplar_seed != EXEMPLAR_SEED:
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
    complete = {row.run_id: row.verdicts for row in rows if not row.partial}
    ranks, comparisons = rank_verdicts(complete)
    rows = [dataclasses.replace(row, rank=ranks.get(row.run_id)) for row in rows]
    rows.sort(key=lambda row: (row.partial, -row.shares["total"].value, row.name))
    record = rows[0].record
    return Group(
        heading=f"{record.protocol}: {_heading(rows[0], first)}",
        notes=tuple(_notes(rows, comparisons)),
        rows=tuple(rows),
        comparisons=comparisons,
        agreements=_agreements(rows),
        lead_method=lead,
    )


def group_of(store: Store, run_ids: Sequence[str]) -> Group:
    """Put named runs into one group in their order, with notes on what makes them incomparable.

    Raises:
        UserError: for a damaged file.
    """
    rows = [_row(store, store.read_record(run_id), reference=False) for run_id in run_ids]
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
        agreements=(),
        lead_method=rows[0].method,
    )


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


def _notes(
    rows: Sequence[BoardRow], comparisons: Mapping[tuple[str, str], Comparison]
) -> list[str]:
    record = rows[0].record
    model, judge = record.model, record.judge
    notes = [
        f"Model {model.name} ({model.fingerprint[:8]}), judged by the {judge.name} judge "
        f"({judge.fingerprint[:8]}); {len(record.actions)} actions x "
        f"{len(record.subjects)} subjects x {record.images_per_pair} images."
    ]
    suite = rows[0].suite
    for kind, every in (
        ("Actions", suite and suite.actions),
        ("Subjects", suite and suite.subjects),
    ):
        names: list[str] = getattr(record, kind.lower())
        if every and len(names) < len(every):
            notes.append(f"{kind} measured here: {', '.join(names)}.")
    notes.append("Brackets: 95% intervals, clustered by action.")
    if any(row.shares["total"].interval != "by action" for row in rows):
        notes.append(
            f"With fewer than {MIN_ACTIONS} finished actions, intervals and ranks hold for these "
            "actions only (clustered by action and subject)."
        )
    if comparisons:
        notes.append(
            "A new rank begins only where paired tests of total accuracy tell every row above from "
            "every row below (p < 0.05): rows of one rank may differ."
        )
    if any(row.partial for row in rows):
        notes.append("Partial runs have only some of the images and take no rank.")
    devices = sorted({row.device for row in rows})
    if len(devices) > 1:
        notes.append(f"Fit times are from different devices: {', '.join(devices)}.")
    if len({row.record.seed for row in rows}) > 1:
        notes.append("Runs of different seeds are paired on the prompts, not on the noise.")
    if any(row.reference for row in rows):
        notes.append("Rows marked reference are kept from an earlier measurement.")
    if any(row.trust for row in rows):
        notes.append(TRUST)
    if any(row.failures.copied for row in rows):
        notes.append(COPYING)
    return notes


TRUST = (
    "Submitted rows: self-reported, the submitter's word, whole in itself; re-judged, a random "
    "sample of its images has the same verdicts; re-run, fits made again come out the same."
)

COPYING = (
    "Copied: nearer to an exemplar of its action than 99% of fresh drawings of other people doing "
    "it, and than to any exemplar of other actions; 1% is what honest drawings have."
)


def _agreements(rows: Sequence[BoardRow]) -> tuple[Agreement, ...]:
    """With the published order, over complete runs with the methods' own settings."""
    own = sorted(
        (row for row in rows if not row.partial and not row.label),
        key=lambda row: row.reference,
        reverse=True,
    )
    verdicts = {row.method: row.verdicts for row in own}  # a new run stands before a kept one
    theirs = {row.method: row.shares for row in published().rows}
    if len(verdicts.keys() & theirs.keys()) < MIN_METHODS:
        return ()
    return tuple(
        agreement(verdicts, {name: shares[m].value for name, shares in theirs.items()}, m)
        for m in ("action", "subject", "total")
    )
