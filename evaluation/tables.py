"""Tables of results for the terminal, Markdown, CSV and LaTeX, and the files they fill."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Self

from actionbench.files.atomic import write_text
from actionbench.printing import printable, shown

if TYPE_CHECKING:
    import rich.table

NONE = "–"
"""What a reader sees in place of None; a CSV has nothing there."""


@dataclass(frozen=True)
class Table:
    """Rows under named columns. A cell is what it says: each format escapes what it reads as its
    own, so that a label with `[`, `|` or `%` comes out as it is.

    Example:
        Table("Totals", ("method", "total"), [("P+", "26.9 [22–32]")]).markdown()
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[object]]
    left: Sequence[str] = ()
    """Columns set to the left, besides the first; numbers are set to the right."""

    @classmethod
    def of(cls, title: str, records: Sequence[Mapping[str, object]]) -> Self:
        """Make a table of records by column name; a record that lacks a column has None there."""
        columns = tuple(dict.fromkeys(name for record in records for name in record))
        return cls(title, columns, [[record.get(name) for name in columns] for record in records])

    def rich(self) -> rich.table.Table:
        """Build it for a terminal, with the title above."""
        from rich import box, table

        built = table.Table(
            title=shown(self.title) if self.title else None,
            title_justify="left",
            title_style="bold",
            box=box.SIMPLE_HEAD,
            padding=(0, 1, 0, 0),
            pad_edge=False,
        )
        for name, left in zip(self.columns, self._are_left()):
            built.add_column(shown(name), justify="left" if left else "right")
        for row in self.rows:
            built.add_row(*(shown(_shown(cell)) for cell in row))
        return built

    def markdown(self) -> str:
        """Write it with pipes, without the title, which is the heading above it."""
        rule = ["---" if left else "---:" for left in self._are_left()]
        lines = [self.columns, rule, *self.rows]
        return "\n".join(f"| {' | '.join(map(_markdown, line))} |" for line in lines)

    def csv(self) -> str:
        """Write it for programs: a line of column names, None as nothing, values as they are.

        Words that a spreadsheet would compute (`=1+1`) get an apostrophe before them.
        """
        text = io.StringIO()
        lines = ([*map(_csv, line)] for line in (self.columns, *self.rows))
        csv.writer(text, lineterminator="\n").writerows(lines)
        return text.getvalue()

    def latex(self) -> str:
        """Write it as a `table` with the title as caption; needs the package booktabs."""
        head, *body = (
            " & ".join(map(_latex, line)) + r" \\" for line in (self.columns, *self.rows)
        )
        # A line that begins with a bracket or star would be read as an option of the \\ before it.
        body = [f"{{}}{line}" if line.startswith(("[", "*")) else line for line in body]
        return "\n".join(
            [
                r"\begin{table}",
                r"\centering",
                *([rf"\caption{{{_latex(self.title)}}}"] if self.title else []),
                rf"\begin{{tabular}}{{{''.join('rl'[left] for left in self._are_left())}}}",
                r"\toprule",
                head,
                r"\midrule",
                *body,
                r"\bottomrule",
                r"\end{tabular}",
                r"\end{table}",
                "",
            ]
        )

    def _are_left(self) -> list[bool]:
        return [place == 0 or name in self.left for place, name in enumerate(self.columns)]


def _shown(cell: object) -> str:
    return NONE if cell is None else str(cell)


def _csv(cell: object) -> object:
    if not isinstance(cell, str) or not cell.startswith(("=", "+", "-", "@", "\t", "\r")):
        return cell
    try:
        float(cell)
    except ValueError:
        return f"'{cell}"
    return cell


def _markdown(cell: object) -> str:
    return literal(_shown(cell)).replace("|", "\\|")


def literal(text: str) -> str:
    """Return data for Markdown, in one line that shows it as it is: neither HTML nor emphasis, nor
    the link to which a name in brackets could grow."""
    plain = printable(" ".join(text.split()))
    return _HTML.sub(lambda sign: escape(sign[0]), _MARKUP.sub(r"\\\g<0>", plain))


_MARKUP = re.compile(r"[\\`*~]|\](?=[(\[:])|(?<![^\W_])_|_(?![^\W_])")
"""What Markdown reads as its own; an underscore only at the rim of a word."""
_HTML = re.compile(r"<(?=[A-Za-z/!?])|&(?=#?\w+;)|^>")
"""Beginnings of tags and of named signs, which `p < 0.05` is not; a quotation."""


_LATEX = str.maketrans(
    {
        **{special: f"\\{special}" for special in "&%$#_{}"},
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "<": r"\textless{}",
        ">": r"\textgreater{}",
        "|": r"\textbar{}",
        "–": "--",
        "−": "$-$",
        "β": r"$\beta$",
    }
)


def _latex(cell: object) -> str:
    return printable(" ".join(_shown(cell).split())).translate(_LATEX)


def write_texts(out: Path, texts: Mapping[str, str]) -> list[Path]:
    """Write several files by their names under `out`, and return their paths."""
    return [write_text(out / name, text) for name, text in texts.items()]


def bullets(lines: Iterable[str]) -> str:
    """Write data as a Markdown list."""
    return "\n".join(f"- {literal(line)}" for line in lines)
