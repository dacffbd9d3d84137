"""A board's block of people's figures: beside the model judge's rows, never instead of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Any

import pandas as pd

from evaluation.measures.accuracy import cluster_names, outcomes
from evaluation.measures.comparison import p_text
from evaluation.people.calibrated import Error, corrected_share
from evaluation.people.estimates import (
    UNKNOWN,
    Difference,
    Figure,
    RowFigures,
    Tally,
    correct_differences,
    difference,
    row_figures,
)
from evaluation.people.plan import MIN_LABELS
from evaluation.people.questions import PROTOCOL
from evaluation.people.reliability import krippendorff_alpha
from evaluation.people.verdicts import by_rater, counted, majority, sessions
from evaluation.tables import Table

if TYPE_CHECKING:
    from evaluation.people.labels import Labels
    from leaderboards.board import Board, BoardRow, Group

MEASURES = ("action", "subject", "total")
DIFFERENCES = (
    "Told apart: p < 0.05 by Student's t of the corrected difference, p no less than that of as "
    "many signs, after Holm's correction for the number of these differences. An interval is about "
    "one difference alone, and may leave zero out where the two rows are not told apart. All other "
    "pairs, corrected as one family: board.json."
)


@dataclass(frozen=True)
class PeopleRow:
    """One row of the group: what people and judge say of it."""

    row: BoardRow
    figures: Mapping[str, RowFigures]
    """By measure; of too few labels they are NaN."""
    calibrated: Figure | None
    """Action accuracy corrected by the judge's error alone; None without its calibration, and for
    a row that people labelled."""


@dataclass(frozen=True)
class People:
    """What people's labels say of a group's rows."""

    rows: tuple[PeopleRow, ...]
    differences: Mapping[tuple[str, str], Difference]
    """Of total accuracy, of every two labelled rows of the same fits, by their ids; corrected as
    one family."""
    notes: tuple[str, ...]
    simulated: bool

    @property
    def title(self) -> str:
        simulated = ", SIMULATED: nobody's labels" if self.simulated else ""
        return f"People ({PROTOCOL}){simulated}; accuracies, %"

    def against(self, lead: BoardRow, others: Iterable[BoardRow]) -> list[tuple[str, Difference]]:
        """List the lead minus each other row that has labels: a family by itself, as the board's
        comparisons with the lead are."""
        both_ways = {
            **self.differences,
            **{(b, a): found.reversed for (a, b), found in self.differences.items()},
        }
        pairs = ((row.name, (lead.run_id, row.run_id)) for row in others)
        found = [(name, both_ways[pair]) for name, pair in pairs if pair in both_ways]
        family = correct_differences([one for _, one in found])
        return [(name, one) for (name, _), one in zip(found, family, strict=True)]


def add_people(board: Board, labels: Labels | None, error: Error | None = None) -> Board:
    """Add to each group of a board what people's labels say, and what a calibration does.

    Args:
        labels: the answers, which belong to rows by their images.
        error: of the judge, for rows that nobody has labelled.
    """
    answers = None if labels is None else labels.frame()
    groups = tuple(
        dataclasses.replace(group, people=_people(group, answers, error)) for group in board.groups
    )
    return dataclasses.replace(board, groups=groups)


def _people(group: Group, answers: pd.DataFrame | None, error: Error | None) -> People | None:
    record = group.facts
    if error is not None and (
        error.fingerprint != record.judge.fingerprint
        or error.suite_fingerprint != record.suite_fingerprint
    ):
        error = None
    kept = None if answers is None else counted(answers)
    found = None if kept is None else majority(kept).set_index("image")
    rows = []
    for row in group.rows:
        figures = {} if found is None or row.partial else _figures(row, found)
        labelled = any(f.labels >= MIN_LABELS for f in figures.values())
        alone = None if error is None or labelled else corrected_share(row.shares["action"], error)
        rows.append(PeopleRow(row, figures, alone))
    any_labels = any(f.labels for row in rows for f in row.figures.values())
    if not any_labels and error is None:
        return None
    simulated = False
    notes = []
    if any_labels and answers is not None and kept is not None:
        simulated = bool(answers["simulated"].any())
        notes = _notes(answers, kept)
    if error is not None:
        notes.append(
            f"Calibrated: action accuracy corrected by the {error.judge} judge's error on the "
            "exemplars (Rogan and Gladen 1978), where nobody has labelled; it holds if the judge "
            "errs on these images as it does on exemplars."
        )
    return People(tuple(rows), _differences(rows), tuple(notes), simulated)


def _figures(row: BoardRow, found: pd.DataFrame) -> dict[str, RowFigures]:
    verdicts = row.verdicts.reset_index(drop=True)
    judge = outcomes(verdicts)
    fits, _ = cluster_names(verdicts)
    places = [n for n, image in enumerate(verdicts["image"]) if image in found.index]
    own = found.loc[verdicts["image"].iloc[places]]
    action = own["action_correct"].to_numpy(dtype=bool)
    subject = own["subject_correct"].to_numpy(dtype=bool)
    right = {"action": action, "subject": subject, "total": action & subject}
    weights = 1 / own["probability"].to_numpy(dtype=float)
    return {
        measure: row_figures(
            Tally.of(
                judge[measure].to_numpy(dtype=bool),
                fits.to_numpy(dtype=object),
                pd.Index(places).to_numpy(dtype=int),
                right[measure],
                weights,
            )
        )
        for measure in MEASURES
    }


def _differences(rows: list[PeopleRow]) -> dict[tuple[str, str], Difference]:
    pairs = {}
    for first, second in combinations([row for row in rows if row.figures], 2):
        a, b = first.figures["total"].tally, second.figures["total"].tally
        found = difference(a, b) if a.units == b.units else None
        if found is not None:
            pairs[first.row.run_id, second.row.run_id] = found
    family = correct_differences(list(pairs.values()))
    return dict(zip(pairs, family, strict=True))


def _notes(answers: pd.DataFrame, kept: pd.DataFrame) -> list[str]:
    people = sessions(answers)
    out = [session for session in people if session.excluded]
    alphas = {q: krippendorff_alpha(by_rater(kept, q)) for q in ("action", "subject")}
    notes = [
        "Judge: the model judge's share, as above. People: the labels alone. Corrected: labels and "
        "judge together (prediction-powered, PPI++). Brackets: 95% intervals for actions at large, "
        "the fits being the units; they are wider by rule than those above.",
        f"{kept['item'].nunique()} images labelled in {len(kept)} answers by "
        f"{kept['rater'].nunique()} raters; rows with fewer than {MIN_LABELS} get no figure. "
        f"Krippendorff's alpha: action {alphas['action']}, subject {alphas['subject']}.",
    ]
    if out:
        who = "; ".join(f"{s.rater}'s session {s.id} ({s.reason})" for s in out)
        notes.append(f"Excluded by gold: {who}.")
    return notes


# Tables


def people_table(people: People) -> Table:
    """Tabulate judge, people and corrected of each row, for the terminal and Markdown."""
    return Table(
        people.title,
        ("Method", "n", "", "Action", "Subject", "Total"),
        [line for row in people.rows for line in _lines(row)],
        left=("",),
    )


def _lines(row: PeopleRow) -> list[tuple[object, ...]]:
    shares = row.row.shares
    judge = [shares[measure].text() for measure in MEASURES]
    lines: list[tuple[object, ...]] = [(row.row.name, row.row.done, "judge", *judge)]
    if row.figures:
        labels = max(figure.labels for figure in row.figures.values())
        for kind in ("people", "corrected"):
            cells = [getattr(row.figures[measure], kind).text() for measure in MEASURES]
            lines.append(("", labels if kind == "people" else "", kind, *cells))
    if row.calibrated is not None:
        lines.append(("", "", "calibrated", row.calibrated.text(), None, None))
    return lines


def differences_table(group: Group) -> Table | None:
    """Tabulate the lead's corrected differences of total accuracy from the other rows."""
    people, lead = group.people, group.lead
    if people is None or lead is None:
        return None
    lines = [
        (
            f"− {name}",
            *(_points(figure) for figure in (found.people, found.corrected)),
            p_text(found.p_holm),
            "yes" if found.told_apart else "no",
        )
        for name, found in people.against(lead, group.rows)
    ]
    if not lines:
        return None
    columns = ("", "people, points [95%]", "corrected, points [95%]", "p (Holm)", "told apart")
    title = f"{lead.name} minus each other row, total accuracy by labels, paired by fit"
    return Table(title, columns, lines)


def _points(figure: Figure) -> str:
    low, high = 100 * figure.low, 100 * figure.high
    return f"{100 * figure.value:+.1f} [{low:+.0f}, {high:+.0f}]"


def flat_people(board: Board) -> list[dict[str, Any]]:
    """List a flat dictionary a row and measure; shares are in [0, 1].

    Of rows that people labelled all measures, of those that a calibration corrects the action.
    """
    return [
        {
            "heading": group.heading,
            "protocol": PROTOCOL,
            "simulated": group.people is not None and group.people.simulated,
            "method": row.row.method,
            "label": row.row.label,
            "run_id": row.row.run_id,
            "measure": measure,
            **_figure_columns(row, measure),
        }
        for group in board.groups
        for row in (group.people.rows if group.people else ())
        for measure in (row.figures or (() if row.calibrated is None else ("action",)))
    ]


def _figure_columns(row: PeopleRow, measure: str) -> dict[str, float | None]:
    share, found = row.row.shares[measure], row.figures.get(measure)
    calibrated = row.calibrated if measure == "action" else None
    return {
        "labels": found.labels if found else 0,
        "units": found.units if found else None,
        "power": _six(found.power) if found else None,
        **_columns("judge", Figure(share.value, share.low, share.high)),
        **_columns("people", found.people if found else UNKNOWN),
        **_columns("corrected", found.corrected if found else UNKNOWN),
        **_columns("calibrated", calibrated or UNKNOWN),
    }


def _columns(name: str, figure: Figure) -> dict[str, float | None]:
    return {
        name: _six(figure.value),
        f"{name}_low": _six(figure.low),
        f"{name}_high": _six(figure.high),
    }


def _six(value: float) -> float | None:
    """JSON knows no NaN."""
    return None if value != value else round(value, 6)


def flat_differences(board: Board) -> list[dict[str, Any]]:
    """List a flat dictionary a pair of labelled rows."""
    return [
        {
            "heading": group.heading,
            "first": first,
            "second": second,
            "measure": "total",
            **_columns("people", found.people),
            **_columns("corrected", found.corrected),
            "p_value": _six(found.p_value),
            "p_holm": None if found.p_holm is None else _six(found.p_holm),
            "told_apart": found.told_apart,
        }
        for group in board.groups
        if group.people
        for (first, second), found in group.people.differences.items()
    ]
