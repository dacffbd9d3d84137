"""Tables of results for the terminal, Markdown, CSV and LaTeX, and the files they fill."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

from actionbench.files.atomic import write_text
from actionbench.printing import shown

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
        """Write it for programs: a line of column names, values as they are, None as nothing."""
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows([self.columns, *self.rows])
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


def _markdown(cell: object) -> str:
    return " ".join(_shown(cell).splitlines()).replace("|", "\\|")


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
        "\n": " ",
    }
)


def _latex(cell: object) -> str:
    return _shown(cell).translate(_LATEX)


def write_texts(out: Path, texts: Mapping[str, str]) -> list[Path]:
    """Write several files by their names under `out`, and return their paths."""
    return [write_text(out / name, text) for name, text in texts.items()]


def bullets(lines: Iterable[str]) -> str:
    """Write a Markdown list."""
    return "\n".join(f"- {line}" for line in lines)
