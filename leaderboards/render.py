"""How a board looks: in the terminal, in Markdown, as CSV and JSON."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import pandas as pd
from rich import box
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from actionbench.errors import UserError
from evaluation.measures.accuracy import MEASURES, Breakdown, Share, breakdown

if TYPE_CHECKING:
    from rich.console import Console

    from evaluation.measures.comparison import Comparison
    from evaluation.measures.order import Agreement
    from leaderboards.board import Board, BoardRow, Group
    from leaderboards.published import Published

_ACCURACIES = ("action", "subject", "total")
_FAILURES = ("neglect", "contamination")
_NONE = "–"
_WIDE = 99
"""Columns that a table takes; in a narrower terminal intervals go under their shares."""
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


# In the terminal


def print_board(board: Board, console: Console) -> None:
    narrow = console.width < _WIDE
    for group in board.groups:
        table = _table(group.heading, narrow)
        for row in group.rows:
            table.add_row(*_cells(row, narrow), style="dim" if row.partial else None)
        _show(console, table, group.notes)
        for more in (_failure_table(group), _against_table(group), _agreement_table(group)):
            if more is not None:
                _show(console, more, ())
    source = board.published
    table = _table(f"{source.title} · {source.protocol}", narrow, costs=False)
    for published in source.rows:
        shares = _shares(published.shares, narrow, _PUBLISHED_DIGITS)
        table.add_row("", Text(published.title), str(source.n), *shares)
    _show(console, table, source.notes)
    _note(console, MEANING)
    if board.groups:
        _note(console, FAILURES)
    for note in board.notes:
        _note(console, note)


def _table(title: str, narrow: bool, *, costs: bool = True) -> Table:
    table = Table(
        title=escape(title),
        title_justify="left",
        title_style="bold",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        pad_edge=False,
    )
    table.add_column("#", justify="right", min_width=2)
    table.add_column("Method", min_width=12 if narrow else 17, overflow="fold")
    table.add_column("n", justify="right", no_wrap=True)
    for name in _ACCURACIES:
        style = "bold" if name == "total" else ""
        table.add_column(name.capitalize(), justify="right", no_wrap=True, style=style)
    failures = ("Negl.", "Cont.") if narrow else ("Neglect", "Contam.")
    for name in (*failures, *(("Fit s", "MiB") if costs else ())):
        table.add_column(name, justify="right", no_wrap=True)
    return table


def _cells(row: BoardRow, narrow: bool) -> list[str | Text]:
    name = Text(row.title)
    for part in row.marks:
        name.append(f"\n  {part}", style="italic")
    if row.partial:
        name.append(f"\n  partial: {100 * row.done // row.planned}%", style="yellow")
    return [
        _NONE if row.rank is None else str(row.rank),
        name,
        str(row.done),
        *_shares(row.shares, narrow),
        _number(row.fit_seconds, 1),
        str(row.peak_mib if row.peak_cuda_mib is None else row.peak_cuda_mib),
    ]


def _small_table(title: str, columns: Sequence[str]) -> Table:
    table = Table(
        *columns,
        title=escape(title),
        title_justify="left",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        pad_edge=False,
    )
    for column in table.columns[1:]:
        column.justify = "right"
    return table


def _failure_table(group: Group) -> Table:
    table = _small_table("How they fail, % of all images", ("Method", *_FAILURE_COLUMNS))
    for row in group.rows:
        table.add_row(Text(row.name), *map(Text, _failure_cells(row)))
    return table


_FAILURE_COLUMNS = ("Neglect", "Contamination", "Exemplar-like", "Copied")


def _failure_cells(row: BoardRow) -> list[str]:
    found = row.failures
    shares = (found.neglect, found.contamination, found.exemplar_like, found.copied)
    return [_NONE if share is None else _cell(share) for share in shares]


def _against_table(group: Group) -> Table | None:
    if group.lead is None or not group.against:
        return None
    table = _small_table(_against_title(group.lead), ("", *_AGAINST_COLUMNS))
    for row, compared in group.against:
        table.add_row(Text(f"− {row.name}"), *map(Text, _comparison_cells(compared)))
    return table


_AGAINST_COLUMNS = ("points [95% interval]", "p", "told apart", "units")


def _against_title(lead: BoardRow) -> str:
    return f"{lead.name} against each other one, total accuracy, paired"


def _comparison_cells(c: Comparison) -> list[str]:
    return [
        f"{100 * c.difference:+.1f} [{100 * c.low:+.0f}, {100 * c.high:+.0f}]",
        c.p_text,
        "yes" if c.told_apart else "no",
        f"{c.units}, by {c.unit}",
    ]


def _agreement_table(group: Group) -> Table | None:
    if not group.agreements:
        return None
    table = _small_table(_agreement_title(group), _AGREEMENT_COLUMNS)
    for found in group.agreements:
        table.add_row(*map(Text, _agreement_cells(found)))
    return table


_AGREEMENT_COLUMNS = ("Accuracy", "Spearman's rho [95%]", "Kendall's tau-b [95%]")


def _agreement_title(group: Group) -> str:
    count = len(group.agreements[0].methods)
    return f"Order of {count} methods against the published table"


def _agreement_cells(found: Agreement) -> tuple[str, ...]:
    return found.measure.capitalize(), str(found.spearman), str(found.kendall)


def _shares(shares: Mapping[str, Share], narrow: bool, digits: int = 1) -> list[str | Text]:
    # As Text: rich would read the brackets of an interval as a style.
    cells = _share_cells(shares, digits)
    return [Text(cell.replace(" ", "\n") if narrow else cell) for cell in cells]


def _share_cells(shares: Mapping[str, Share], digits: int = 1) -> list[str]:
    return [
        *(_cell(shares[name], digits) for name in _ACCURACIES),
        *(shares[name].percent(digits) for name in _FAILURES),
    ]


def _cell(share: Share, digits: int = 1) -> str:
    """Share and interval in %: "51.1 [38–64]"."""
    return f"{share.percent(digits)} [{share.percent_interval}]" if share.n else _NONE


def _show(console: Console, table: Table, notes: Iterable[str]) -> None:
    console.print(table)
    for note in notes:
        _note(console, note)
    console.print()


def _note(console: Console, note: str) -> None:
    console.print(Padding(Text(note, style="dim"), (0, 0, 0, 1)))


def _number(value: float | None, digits: int = 0) -> str:
    return _NONE if value is None else f"{value:.{digits}f}"


# In files


def write_board(board: Board, out: Path) -> list[Path]:
    """Writes the board and its tables under `out`, and returns the files' paths."""
    rows = _flat(board)
    texts = {
        "board.md": _markdown(board),
        "board.csv": _csv(rows),
        "board.json": json.dumps(_json(board, rows), indent=1, allow_nan=False) + "\n",
        "tables/comparisons.csv": _csv(_comparisons(board)),
    }
    for by in get_args(Breakdown):
        tables = {id(row): breakdown(row.verdicts, by) for g in board.groups for row in g.rows}
        texts[f"tables/{by}.csv"] = _breakdown_csv(board, by, tables)
        texts[f"tables/{by}.md"] = _breakdown_markdown(board, by, tables)
    paths = []
    for name, text in texts.items():
        path = Path(out) / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, "utf-8")
        except OSError as error:
            raise UserError(f"{path} cannot be written: {error}") from error
        paths.append(path)
    return paths


def _flat(board: Board) -> list[dict[str, Any]]:
    """One flat dictionary a row of the board, measured ones first; shares are in [0, 1]."""
    found = []
    for group in board.groups:
        for row in group.rows:
            record = row.record
            found.append(
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
                    "seed": record.seed,
                    "status": "partial" if row.partial else "complete",
                    "reference": row.reference,
                    "planned": row.planned,
                    **_flat_shares(row.shares),
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
        found.append(
            {
                "section": "published",
                "heading": source.title,
                "protocol": source.protocol,
                "method": published.method,
                "title": published.title,
                "status": "published",
                "planned": source.n,
                **_flat_shares(published.shares),
                "model": source.model,
                "judge": source.judge,
            }
        )
    return found


def _flat_shares(shares: Mapping[str, Share]) -> dict[str, Any]:
    found: dict[str, Any] = {
        "n": shares["total"].n,
        "interval": shares["total"].interval,
    }
    for name in MEASURES:
        share = shares[name]
        found |= {
            f"{name}_count": share.count,
            name: _finite(share.value),
            f"{name}_low": _finite(share.low),
            f"{name}_high": _finite(share.high),
        }
    return found


def _flat_failure(name: str, share: Share | None) -> dict[str, Any]:
    if share is None:
        return {f"{name}_count": None, name: None, f"{name}_low": None, f"{name}_high": None}
    values = {name: share.value, f"{name}_low": share.low, f"{name}_high": share.high}
    return {f"{name}_count": share.count, **{key: _finite(v) for key, v in values.items()}}


def _finite(value: float) -> float | None:
    """JSON knows no NaN and no infinity."""
    return round(value, 6) if math.isfinite(value) else None


def _csv(rows: Sequence[Mapping[str, Any]]) -> str:
    text = io.StringIO()
    columns = list(dict.fromkeys(name for row in rows for name in row))
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _comparisons(board: Board) -> list[dict[str, Any]]:
    return [
        {
            "heading": group.heading,
            "first": first,
            "second": second,
            "measure": "total",
            "n": found.n,
            "units": found.units,
            "unit": found.unit,
            "difference": _finite(found.difference),
            "low": _finite(found.low),
            "high": _finite(found.high),
            "p_value": _finite(found.p_value),
            "told_apart": found.told_apart,
        }
        for group in board.groups
        for (first, second), found in group.comparisons.items()
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
        "published": {
            "protocol": board.published.protocol,
            "source": board.published.source,
            "notes": board.published.notes,
        },
        "notes": list(board.notes),
    }


def _json_agreement(found: Agreement) -> dict[str, Any]:
    correlations = {"spearman_rho": found.spearman, "kendall_tau_b": found.kendall}
    return {
        "measure": found.measure,
        "methods": list(found.methods),
        "resampled": found.unit,
        **{
            name: {key: _finite(value) for key, value in vars(correlation).items()}
            for name, correlation in correlations.items()
        },
    }


# In Markdown

_COLUMNS = (
    *("#", "Method", "n", "Action", "Subject", "Total", "Neglect", "Contamination"),
    *("Fit, s an action", "Peak, MiB", "Stored, KiB an action", "Run"),
)


def _markdown(board: Board) -> str:
    parts = ["# Board", MEANING]
    for group in board.groups:
        parts += [
            f"## {group.heading}",
            _pipe(_COLUMNS, [_markdown_row(row) for row in group.rows]),
            _list(group.notes),
            "### How they fail, % of all images",
            FAILURES,
            _pipe(
                ("Method", *_FAILURE_COLUMNS),
                [[row.name, *_failure_cells(row)] for row in group.rows],
            ),
            *_markdown_comparisons(group),
            *_markdown_agreements(group),
        ]
    source = board.published
    parts += [f"## {source.title} · {source.protocol}", _markdown_published(source)]
    parts += [_list(source.notes)]
    if board.notes:
        parts += ["## Notes", _list(board.notes)]
    return "\n\n".join(parts) + "\n"


def _markdown_row(row: BoardRow) -> list[str]:
    name = f"{row.name}, *{row.share_done}*" if row.partial else row.name
    cuda = row.peak_cuda_mib
    return [
        _NONE if row.rank is None else str(row.rank),
        name,
        str(row.done),
        *_share_cells(row.shares),
        _number(row.fit_seconds, 1),
        f"{row.peak_mib}" if cuda is None else f"{cuda} (GPU)",
        _number(None if row.fit_bytes is None else row.fit_bytes / 1024, 1),
        row.run_id,
    ]


def _markdown_published(source: Published) -> str:
    rows = [
        [row.title, str(source.n), *_share_cells(row.shares, _PUBLISHED_DIGITS)]
        for row in source.rows
    ]
    return _pipe(_COLUMNS[1:8], rows)


def _markdown_comparisons(group: Group) -> list[str]:
    """The lead against each; every other pair is in tables/comparisons.csv."""
    if group.lead is None or not group.against:
        return []
    rows = [
        [f"{group.lead.name} − {row.name}", *_comparison_cells(compared)]
        for row, compared in group.against
    ]
    return [
        f"### {_against_title(group.lead)}",
        _pipe(("Difference of total", *_AGAINST_COLUMNS), rows),
        "All other pairs: tables/comparisons.csv.",
    ]


def _markdown_agreements(group: Group) -> list[str]:
    if not group.agreements:
        return []
    rows = [_agreement_cells(found) for found in group.agreements]
    return [
        f"### {_agreement_title(group)}",
        _pipe(_AGREEMENT_COLUMNS, rows),
        f"Intervals: bootstrap over {_PLURAL[group.agreements[0].unit]}, the same draw for all "
        "methods; the published table is taken as it stands. Methods: "
        f"{', '.join(group.agreements[0].methods)}.",
    ]


_PLURAL = {"action": "actions", "action and subject": "pairs of action and subject"}


def _breakdown_csv(board: Board, by: Breakdown, tables: Mapping[int, pd.DataFrame]) -> str:
    frames = [
        tables[id(row)].assign(
            heading=group.heading, method=row.method, label=row.label, run_id=row.run_id
        )
        for group in board.groups
        for row in group.rows
    ]
    first = ["heading", "method", "label", "run_id"]
    if not frames:
        return ",".join([*first, by]) + "\n"
    frame = pd.concat(frames)
    ordered = frame[[*first, *(c for c in frame.columns if c not in first)]]
    return str(ordered.to_csv(index=False, float_format="%.6f", lineterminator="\n"))


def _breakdown_markdown(board: Board, by: Breakdown, tables: Mapping[int, pd.DataFrame]) -> str:
    parts = [f"# By {by}", "Images right of images judged, and the share in % [95% interval]."]
    for group in board.groups:
        parts.append(f"## {group.heading}")
        names = [row.name + (", partial" if row.partial else "") for row in group.rows]
        for measure in _ACCURACIES:
            cells: dict[str, list[str]] = {}
            for place, row in enumerate(group.rows):
                for values in tables[id(row)].query("measure == @measure").to_dict("records"):
                    line = cells.setdefault(str(values[by]), [_NONE] * len(names))
                    share = Share(
                        values["count"],
                        values["n"],
                        values["low"],
                        values["high"],
                        values["interval"],
                    )
                    line[place] = f"{share.count}/{share.n} · {_cell(share)}"
            parts.append(f"### {measure.capitalize()} accuracy")
            parts.append(
                _pipe((by.capitalize(), *names), [[key, *line] for key, line in cells.items()])
            )
    return "\n\n".join(parts) + "\n"


def _pipe(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table, its first text column to the left, the others to the right."""

    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"

    rule = ["---" if name in (columns[0], "Method") else "---:" for name in columns]
    return "\n".join([line(columns), line(rule), *(line(row) for row in rows)])


def _list(notes: Iterable[str]) -> str:
    return "\n".join(f"- {note}" for note in notes)
