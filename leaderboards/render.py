"""How a board looks: in the terminal, in Markdown, as CSV and JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import pandas as pd
from rich.padding import Padding
from rich.text import Text

from actionbench.printing import shown
from evaluation.measures.accuracy import Breakdown, Share, breakdown
from evaluation.measures.comparison import p_text
from evaluation.measures.fits import MEASURES
from evaluation.tables import NONE, Table, bullets, literal, write_texts
from leaderboards.claims import claims_table, flat_claims
from leaderboards.people import (
    DIFFERENCES,
    differences_table,
    flat_differences,
    flat_people,
    people_table,
)

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table as RichTable

    from evaluation.measures.comparison import Comparison
    from evaluation.measures.order import Agreement
    from leaderboards.board import Board, BoardRow, Group
    from leaderboards.published import Published

_ACCURACIES = ("action", "subject", "total")
_FAILURES = ("neglect", "contamination")
_WIDE = 99
"""Columns that a table takes; in a narrower terminal intervals go under their shares."""
_FITS = 5
"""Columns of the number of fits, which is shown where some row has more than one."""
_PUBLISHED_DIGITS = 2
"""As the paper prints them."""

MEANING = (
    "Total: action and subject right on the same image. Neglect: subject right, action wrong. "
    "Contamination: action right, subject wrong. All in % of all images."
)

FAILURES = (
    "Exemplar-like: the part of contamination in which the judge sees none of the subjects that "
    "it knows, for the subject has turned into a person like those of the exemplars."
)

CLAIMS = (
    "Kept: every part of the claim holds, and p, the largest of its parts' and corrected by Holm "
    "over the claims of its suite and profile, is below 5%. Failed: measured as registered, and "
    "not kept."
)


# In the terminal


def print_board(board: Board, console: Console) -> None:
    """Print every group's tables with their notes, then the published table."""
    narrow = console.width < _WIDE
    for group in board.groups:
        several = any(row.fits.per_action.max(initial=0) > 1 for row in group.rows)
        tight = narrow or (several and console.width < _WIDE + _FITS)
        table = _table(group.heading, tight, fits=several)
        for row in group.rows:
            cells = _cells(row, tight, fits=several)
            table.add_row(*cells, style="dim" if row.partial else None)
        _show(console, table, group.notes)
        for more in (
            *(_failure_table(group), _variance_table(group), _measures_table(group)),
            *(_against_table(group), _agreement_table(group)),
        ):
            if more is not None:
                _show(console, more.rich(), ())
        if group.people is not None:
            _show(console, people_table(group.people).rich(), group.people.notes)
            if (apart := differences_table(group)) is not None:
                _show(console, apart.rich(), (DIFFERENCES,))
    if board.claims:
        _show(console, claims_table(board.claims).rich(), (CLAIMS,))
    source = board.published
    table = _table(f"{source.title} · {source.protocol}", narrow, costs=False)
    for published in source.rows:
        shares = _shares(published.shares, narrow, _PUBLISHED_DIGITS)
        rank = str(source.ranks[published.method])
        table.add_row(rank, shown(published.title), str(source.n), *shares)
    _show(console, table, source.notes)
    _note(console, MEANING)
    if board.groups:
        _note(console, FAILURES)
        _note(console, VARIANCE)
    for note in board.notes:
        _note(console, note)


def _table(title: str, narrow: bool, *, costs: bool = True, fits: bool = False) -> RichTable:
    """The board's own table, to which rows are added with styles of their own."""
    names = (*(name.capitalize() for name in _ACCURACIES), "Negl.", "Cont.")
    counts = ("Fits", "n") if fits else ("n",)
    columns = ("#", "Method", *counts, *names, *(("Fit s", "MiB") if costs else ()))
    table = Table(title, columns, (), left=("Method",)).rich()
    number, method, *others = table.columns
    number.justify, number.min_width = "right", 2
    method.min_width, method.overflow = 12 if narrow else 17, "fold"
    for column in others:
        column.no_wrap = True
    others[len(counts) + _ACCURACIES.index("total")].style = "bold"
    return table


def _cells(row: BoardRow, narrow: bool, *, fits: bool) -> list[str | Text]:
    name = shown(row.title)
    for part in row.marks:
        name.append("\n  ").append(shown(part, "italic"))
    if row.partial:
        name.append(f"\n  partial: {100 * row.done // row.planned}%", style="yellow")
    return [
        NONE if row.rank is None else str(row.rank),
        name,
        *([fits_text(row)] if fits else []),
        str(row.done),
        *_shares(row.shares, narrow),
        _number(row.fit_seconds, 1),
        str(row.peak_mib if row.peak_cuda_mib is None else row.peak_cuda_mib),
    ]


def fits_text(row: BoardRow) -> str:
    """Write the fits of an action: "3", or "1–3" if actions differ."""
    low, high = int(row.fits.per_action.min()), int(row.fits.per_action.max())
    return str(low) if low == high else f"{low}–{high}"


def _variance_table(group: Group) -> Table:
    """Where the variance of total accuracy lies, and the shares of these very actions."""
    rows, drawn = [], any(row.components.exemplars is not None for row in group.rows)
    for row in group.rows:
        parts = row.components
        # What cannot be told apart stands under the outer of the two, marked.
        action = _points(parts.action, parts.confounded == "action and fit")
        exemplars = (_points(parts.exemplars),) if drawn else ()
        fit = _points(parts.fit, parts.confounded == "exemplars and fit")
        these = row.these["total"]
        told = these.text() if these.told else NONE
        rows.append((row.name, fits_text(row), told, action, *exemplars, fit, _points(parts.image)))
    columns = ("between actions", *(("between exemplars",) if drawn else ()), "between fits")
    return Table(
        "Where the variance of total accuracy lies, standard deviations in points",
        ("Method", "Fits", "these actions", *columns, "between images"),
        rows,
    )


VARIANCE = (
    "These actions: total accuracy with an interval for these very actions, whose fits are the "
    "units; it takes two fits of each. *: what lies between fits is in it, for each action (or "
    "each draw of exemplars) has one fit."
)


def _points(variance: float | None, mixed: bool = False) -> str:
    if variance is None:
        return NONE
    return f"{100 * math.sqrt(variance):.1f}{'*' if mixed else ''}"


_FIT_MEASURES = {
    "relative_norm": "identifier's norm / vocabulary's median",
    "channels_kept": "channels kept by the mask, %",
    "basis_words": "words of the basis known",
}


def _measures_table(group: Group) -> Table | None:
    """What methods measured while they fitted, means over fits."""
    rows = [(row.name, row.fit_measures) for row in group.rows if row.fit_measures]
    if not rows:
        return None
    names = list(dict.fromkeys(name for _, measures in rows for name in measures))
    columns = ("Method", *(_FIT_MEASURES.get(name, name) for name in names))
    return Table(
        "What the fits measured",
        columns,
        [(row, *(_fit_measure(name, found.get(name)) for name in names)) for row, found in rows],
    )


def _fit_measure(name: str, value: float | None) -> str:
    if value is None:
        return NONE
    return f"{100 * value:.1f}" if name == "channels_kept" else f"{value:.3g}"


def _failure_table(group: Group) -> Table:
    rows = [(row.name, *_failure_cells(row)) for row in group.rows]
    return Table("How they fail, % of all images", ("Method", *_FAILURE_COLUMNS), rows)


_FAILURE_COLUMNS = ("Neglect", "Contamination", "Exemplar-like", "Copied")


def _failure_cells(row: BoardRow) -> list[str]:
    failures = row.failures
    shares = (*(row.shares[name] for name in _FAILURES), failures.exemplar_like, failures.copied)
    return [NONE if share is None else share.text() for share in shares]


def _against_table(group: Group, *, whole: bool = False) -> Table | None:
    """The lead against each other row; `whole` names both of a pair in each row."""
    if group.lead is None or not group.against:
        return None
    title = f"{group.lead.name} against each other one, total accuracy, paired"
    first, minus = ("Difference of total", f"{group.lead.name} −") if whole else ("", "−")
    rows = [(f"{minus} {row.name}", *_comparison_cells(c)) for row, c in group.against]
    return Table(title, (first, *_AGAINST_COLUMNS), rows)


_AGAINST_COLUMNS = ("points [95% interval]", "p", "p (Holm)", "told apart", "units")


def _comparison_cells(c: Comparison) -> list[str]:
    return [
        c.points,
        c.p_text,
        p_text(c.corrected),
        "cannot be told" if math.isnan(c.p_value) else "yes" if c.told_apart else "no",
        f"{c.units}, by {c.unit}",
    ]


def _agreement_table(group: Group) -> Table | None:
    if not group.agreements:
        return None
    count = len(group.agreements[0].methods)
    return Table(
        f"Order of {count} methods against the published table",
        ("Accuracy", "Spearman's rho [95%]", "Kendall's tau-b [95%]"),
        [(a.measure.capitalize(), a.spearman, a.kendall) for a in group.agreements],
    )


def _shares(shares: Mapping[str, Share], narrow: bool, digits: int = 1) -> list[str | Text]:
    # As Text: rich would read the brackets of an interval as a style. The new lines are ours.
    cells = _share_cells(shares, digits)
    return [Text(cell.replace(" ", "\n") if narrow else cell) for cell in cells]


def _share_cells(shares: Mapping[str, Share], digits: int = 1) -> list[str]:
    return [
        *(shares[name].text(digits) for name in _ACCURACIES),
        *(shares[name].percent(digits) for name in _FAILURES),
    ]


def _show(console: Console, table: RichTable, notes: Iterable[str]) -> None:
    console.print(table)
    for note in notes:
        _note(console, note)
    console.print()


def _note(console: Console, note: str) -> None:
    console.print(Padding(shown(note, "dim"), (0, 0, 0, 1)))


def _number(value: float | None, digits: int = 0) -> str:
    return NONE if value is None else f"{value:.{digits}f}"


# In files


def write_board(board: Board, out: Path) -> list[Path]:
    """Write the board and its tables under `out`, and return the files' paths."""
    rows = _flat(board)
    texts = {
        "board.md": _markdown(board),
        "board.tex": _latex(board),
        "board.csv": Table.of("", rows).csv(),
        "board.json": json.dumps(_json(board, rows), indent=1, allow_nan=False) + "\n",
        "tables/comparisons.csv": Table.of("", _comparisons(board)).csv(),
    }
    if people := flat_people(board):
        texts["tables/people.csv"] = Table.of("", people).csv()
    for by in get_args(Breakdown):
        tables = {id(row): breakdown(row.verdicts, by) for g in board.groups for row in g.rows}
        texts[f"tables/{by}.csv"] = _breakdown_csv(board, by, tables)
        texts[f"tables/{by}.md"] = _breakdown_markdown(board, by, tables)
    return write_texts(Path(out), texts)


def _flat(board: Board) -> list[dict[str, Any]]:
    """List a flat dictionary a row of the board, measured ones first; shares are in [0, 1]."""
    rows = []
    for group in board.groups:
        for row in group.rows:
            record = row.record
            rows.append(
                {
                    "section": "measured",
                    "heading": group.heading,
                    "protocol": record.protocol,
                    "suite": record.suite,
                    "rank": row.rank,
                    "method": row.method,
                    "title": row.title,
                    "label": row.label,
                    "run_id": row.run_id,
                    "runs": " ".join(row.run_ids),
                    "seeds": " ".join(str(seed) for seed, _ in row.seeds),
                    "exemplar_seeds": " ".join(str(drawn) for _, drawn in row.seeds),
                    "profile": record.profile,
                    "prompts": record.prompts,
                    "fits_per_action": int(row.fits.per_action.min()),
                    "status": "partial" if row.partial else "complete",
                    "reference": row.reference,
                    "trust": row.trust,
                    "planned": row.planned,
                    **_flat_shares(row.shares),
                    **_flat_these(row),
                    **_flat_failure("exemplar_like", row.failures.exemplar_like),
                    **_flat_failure("copied", row.failures.copied),
                    "fit_seconds_per_action": row.fit_seconds,
                    "draw_seconds_per_image": row.draw_seconds,
                    "peak_mib": row.peak_mib,
                    "peak_cuda_mib": row.peak_cuda_mib,
                    "bytes_per_action": row.fit_bytes,
                    "device": row.device,
                    "model": record.model.name,
                    "model_fingerprint": record.model.fingerprint,
                    "judge": record.judge.name,
                    "judge_fingerprint": record.judge.fingerprint,
                }
            )
    source = board.published
    for published in source.rows:
        rows.append(
            {
                "section": "published",
                "heading": source.title,
                "protocol": source.protocol,
                "rank": source.ranks[published.method],
                "method": published.method,
                "title": published.title,
                "status": "published",
                "planned": source.n,
                **_flat_shares(published.shares),
                "model": source.model,
                "judge": source.judge,
            }
        )
    return rows


def _flat_shares(shares: Mapping[str, Share]) -> dict[str, Any]:
    columns: dict[str, Any] = {
        "n": shares["total"].n,
        "interval": shares["total"].interval,
    }
    for name in MEASURES:
        share = shares[name]
        columns |= {
            f"{name}_count": share.count,
            name: _finite(share.value),
            f"{name}_low": _finite(share.low),
            f"{name}_high": _finite(share.high),
        }
    return columns


def _flat_these(row: BoardRow) -> dict[str, Any]:
    """The interval of total accuracy for these actions, and the variance's parts."""
    these, parts = row.these["total"], row.components
    found = {"action": parts.action, "exemplars": parts.exemplars, "fit": parts.fit}
    return {
        "total_these_low": _finite(these.low),
        "total_these_high": _finite(these.high),
        **{
            f"sd_{name}": None if value is None else _finite(math.sqrt(value))
            for name, value in (found | {"image": parts.image}).items()
        },
        "sd_confounded": parts.confounded or None,
        **{name: _finite(value) for name, value in row.fit_measures.items()},
    }


def _flat_failure(name: str, share: Share | None) -> dict[str, Any]:
    if share is None:
        return {f"{name}_count": None, name: None, f"{name}_low": None, f"{name}_high": None}
    values = {name: share.value, f"{name}_low": share.low, f"{name}_high": share.high}
    return {f"{name}_count": share.count, **{key: _finite(v) for key, v in values.items()}}


def _finite(value: float) -> float | None:
    """JSON knows no NaN and no infinity."""
    return round(value, 6) if math.isfinite(value) else None


def _comparisons(board: Board) -> list[dict[str, Any]]:
    return [
        {
            "heading": group.heading,
            "first": first,
            "second": second,
            "measure": "total",
            "n": compared.n,
            "units": compared.units,
            "unit": compared.unit,
            "of": compared.of,
            "difference": _finite(compared.difference),
            "low": _finite(compared.low),
            "high": _finite(compared.high),
            "p_value": _finite(compared.p_value),
            "p_holm": None if compared.corrected is None else _finite(compared.corrected),
            "told_apart": compared.told_apart,
        }
        for group in board.groups
        for (first, second), compared in group.comparisons.items()
    ]


def _json(board: Board, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return {
        "groups": [
            {
                "heading": group.heading,
                "notes": list(group.notes),
                "lead": group.lead and group.lead.run_id,
                "agreement_with_published": [_json_agreement(a) for a in group.agreements],
            }
            for group in board.groups
        ],
        "rows": rows,
        "comparisons": _comparisons(board),
        "claims": flat_claims(board.claims),
        "people": {"rows": flat_people(board), "differences": flat_differences(board)},
        "published": {
            "protocol": board.published.protocol,
            "source": board.published.source,
            "notes": board.published.notes,
        },
        "notes": list(board.notes),
    }


def _json_agreement(agreement: Agreement) -> dict[str, Any]:
    correlations = {"spearman_rho": agreement.spearman, "kendall_tau_b": agreement.kendall}
    return {
        "measure": agreement.measure,
        "methods": list(agreement.methods),
        **{
            name: {key: _finite(value) for key, value in vars(correlation).items()}
            for name, correlation in correlations.items()
        },
    }


# In Markdown

_COLUMNS = (
    *("#", "Method", "Fits", "n", "Action", "Subject", "Total", "Neglect", "Contamination"),
    *("Fit, s an action", "Peak, MiB", "Stored, KiB an action", "Run"),
)


def _markdown(board: Board) -> str:
    parts = ["# Board", MEANING]
    for group in board.groups:
        parts += [
            f"## {literal(group.heading)}",
            Table("", _COLUMNS, [*map(_markdown_row, group.rows)], left=("Method",)).markdown(),
            bullets(group.notes),
            "### How they fail, % of all images",
            FAILURES,
            _failure_table(group).markdown(),
            *_markdown_table(_variance_table(group), VARIANCE),
            *_markdown_table(_measures_table(group)),
            *_markdown_comparisons(group),
            *_markdown_agreements(group),
            *_markdown_people(group),
        ]
    if board.claims:
        parts += ["## Registered claims", CLAIMS, claims_table(board.claims).markdown()]
    source = board.published
    heading = f"## {literal(source.title)} · {literal(source.protocol)}"
    parts += [heading, _published_table(source).markdown(), bullets(source.notes)]
    if board.notes:
        parts += ["## Notes", bullets(board.notes)]
    return "\n\n".join(parts) + "\n"


def _markdown_people(group: Group) -> list[str]:
    if group.people is None:
        return []
    apart = differences_table(group)
    return [
        f"### {group.people.title}",
        people_table(group.people).markdown(),
        bullets(group.people.notes),
        *([f"{apart.title}:", apart.markdown(), DIFFERENCES] if apart is not None else []),
    ]


def _latex(board: Board) -> str:
    """Write the boards' accuracies and costs, how rows fail, and the published table."""
    parts = ["% Needs \\usepackage{booktabs}."]
    for group in board.groups:
        rows = [_markdown_row(row)[:-1] for row in group.rows]
        parts.append(Table(group.heading, _COLUMNS[:-1], rows, left=("Method",)).latex())
        parts.append(_failure_table(group).latex())
    if board.claims:
        parts.append(claims_table(board.claims).latex())
    parts.append(_published_table(board.published).latex())
    return "\n".join(parts)


def _markdown_row(row: BoardRow) -> list[str]:
    name = f"{row.name}, {row.share_done}" if row.partial else row.name
    cuda = row.peak_cuda_mib
    return [
        NONE if row.rank is None else str(row.rank),
        name,
        fits_text(row),
        str(row.done),
        *_share_cells(row.shares),
        _number(row.fit_seconds, 1),
        f"{row.peak_mib}" if cuda is None else f"{cuda} (GPU)",
        _number(None if row.fit_bytes is None else row.fit_bytes / 1024, 1),
        " ".join([row.run_id, *row.run_ids[1:]]),
    ]


def _published_table(source: Published) -> Table:
    rows = [
        [
            *(source.ranks[row.method], row.title, str(source.n)),
            *_share_cells(row.shares, _PUBLISHED_DIGITS),
        ]
        for row in source.rows
    ]
    return Table(source.title, (*_COLUMNS[:2], *_COLUMNS[3:9]), rows, left=("Method",))


def _markdown_comparisons(group: Group) -> list[str]:
    """The lead against each; every other pair is in tables/comparisons.csv."""
    table = _against_table(group, whole=True)
    if table is None:
        return []
    return [
        f"### {literal(table.title)}",
        table.markdown(),
        "p (Holm): corrected for the number of these comparisons. All other pairs, corrected as "
        "one family: tables/comparisons.csv.",
    ]


def _markdown_table(table: Table | None, note: str = "") -> list[str]:
    if table is None:
        return []
    return [f"### {table.title}", *([note] if note else []), table.markdown()]


def _markdown_agreements(group: Group) -> list[str]:
    table = _agreement_table(group)
    if table is None:
        return []
    return [
        f"### {literal(table.title)}",
        table.markdown(),
        "Intervals: bootstrap over actions, the same draw for all methods; the published table is "
        "taken as it stands, its ties without order. Methods: "
        f"{literal(', '.join(group.agreements[0].methods))}.",
    ]


def _breakdown_csv(board: Board, by: Breakdown, tables: Mapping[int, pd.DataFrame]) -> str:
    rows: list[dict[str, object]] = [
        {
            "heading": group.heading,
            "method": row.method,
            "label": row.label,
            "run_id": row.run_id,
            **{str(name): _six_places(value) for name, value in values.items()},
        }
        for group in board.groups
        for row in group.rows
        for values in tables[id(row)].to_dict("records")
    ]
    if not rows:
        return Table("", ("heading", "method", "label", "run_id", by), ()).csv()
    return Table.of("", rows).csv()


def _six_places(value: object) -> object:
    return f"{value:.6f}" if isinstance(value, float) else value


def _breakdown_markdown(board: Board, by: Breakdown, tables: Mapping[int, pd.DataFrame]) -> str:
    parts = [f"# By {by}", "Images right of images judged, and the share in % [95% interval]."]
    for group in board.groups:
        parts.append(f"## {literal(group.heading)}")
        names = [row.name + (", partial" if row.partial else "") for row in group.rows]
        for measure in _ACCURACIES:
            cells: dict[str, list[str]] = {}
            for place, row in enumerate(group.rows):
                for values in tables[id(row)].query("measure == @measure").to_dict("records"):
                    line = cells.setdefault(str(values[by]), [NONE] * len(names))
                    share = Share(
                        values["count"],
                        values["n"],
                        values["low"],
                        values["high"],
                        values["interval"],
                    )
                    line[place] = f"{share.count}/{share.n} · {share.text()}"
            parts.append(f"### {measure.capitalize()} accuracy")
            rows = [(key, *line) for key, line in cells.items()]
            parts.append(Table("", (by.capitalize(), *names), rows).markdown())
    return "\n\n".join(parts) + "\n"
