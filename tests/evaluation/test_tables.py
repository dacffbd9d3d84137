"""One table in four formats, each escaping what it would read as its own."""

from __future__ import annotations

import csv
import io
import shutil
import subprocess
from pathlib import Path

import pytest
from rich.console import Console

from actionbench.errors import UserError
from actionbench.files.atomic import write_text
from evaluation.tables import Table, bullets

AWKWARD = Table(
    "50% of a_b",
    ("name", "kind", "share [95%]"),
    [
        ("[red]a|b[/red]", "x & y", "54.9 [46–63]"),
        ("two\nlines", None, "<0.001"),
        ("[1]", 'a, "b"', 0.5),
        ("{\\~^#$}", True, 3),
    ],
    left=("kind",),
)


def test_the_terminal_shows_brackets_as_they_are() -> None:
    console = Console(file=io.StringIO(), width=100)
    console.print(AWKWARD.rich())
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "[red]a|b[/red]" in text and "54.9 [46–63]" in text and "share [95%]" in text
    assert text.splitlines()[0].strip() == "50% of a_b"
    justified = [column.justify for column in AWKWARD.rich().columns]
    assert justified == ["left", "left", "right"]


def test_markdown_keeps_its_columns() -> None:
    lines = AWKWARD.markdown().splitlines()
    assert lines[:3] == [
        "| name | kind | share [95%] |",
        "| --- | --- | ---: |",
        "| [red]a\\|b[/red] | x & y | 54.9 [46–63] |",
    ]
    assert lines[3] == "| two lines | – | <0.001 |"
    assert {line.replace("\\|", "").count("|") for line in lines} == {4}


def test_markdown_shows_names_as_they_are() -> None:
    for name, written in (
        ("<script>alert(1)</script> x < 3", "&lt;script>alert(1)&lt;/script> x < 3"),
        ("*bold* _it_ `code` snake_case", "\\*bold\\* \\_it\\_ \\`code\\` snake_case"),
        ("![a](http://b) [a][b] 26.9 [22–32]", "![a\\](http://b) [a\\][b] 26.9 [22–32]"),
        ("a\\|b", "a\\\\\\|b"),
        ("&lt; R&D", "&amp;lt; R&D"),
        ("red \x1b[31m\u202e", "red \\\\x1b[31m\\\\u202e"),
    ):
        assert Table("", ["n"], [(name,)]).markdown().splitlines()[2] == f"| {written} |"
    assert bullets(["> <b>x</b>"]) == "- &gt; &lt;b>x&lt;/b>"


def test_a_spreadsheet_computes_no_name() -> None:
    names = ("=1+1", "+cmd|' /C calc'!A0", "-2+3", "@SUM(A1)", "\t=1", "-3.5", "+2", "−1 [–2, 3]")
    rows = list(csv.reader(io.StringIO(Table("", ["=n"], [(name,) for name in names]).csv())))
    assert [row[0] for row in rows[:6]] == [f"'{name}" for name in ("=n", *names[:5])]
    assert [row[0] for row in rows[6:]] == list(names[5:])
    numbers = Table("", ["n"], [(-3.5,), (None,)]).csv()
    assert numbers == 'n\n-3.5\n""\n'


def test_csv_reads_back_as_it_was() -> None:
    rows = list(csv.reader(io.StringIO(AWKWARD.csv())))
    assert rows[0] == list(AWKWARD.columns)
    assert rows[1:] == [["" if cell is None else str(cell) for cell in r] for r in AWKWARD.rows]


def test_latex_is_written_as_worked_out_by_hand() -> None:
    assert AWKWARD.latex() == (
        "\\begin{table}\n\\centering\n\\caption{50\\% of a\\_b}\n\\begin{tabular}{llr}\n"
        "\\toprule\nname & kind & share [95\\%] \\\\\n\\midrule\n"
        "{}[red]a\\textbar{}b[/red] & x \\& y & 54.9 [46--63] \\\\\n"
        "two lines & -- & \\textless{}0.001 \\\\\n"
        '{}[1] & a, "b" & 0.5 \\\\\n'
        "\\{\\textbackslash{}\\textasciitilde{}\\textasciicircum{}\\#\\$\\} & True & 3 \\\\\n"
        "\\bottomrule\n\\end{tabular}\n\\end{table}\n"
    )


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no LaTeX here")
def test_latex_compiles(tmp_path: Path) -> None:
    document = "\\documentclass{article}\\usepackage[T1]{fontenc}\\usepackage{booktabs}"
    document += f"\\begin{{document}}\n{AWKWARD.latex()}\\end{{document}}\n"
    (tmp_path / "t.tex").write_text(document, "utf-8")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "t.tex"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)


def test_records_may_lack_columns() -> None:
    table = Table.of("", [{"a": 1, "b": None}, {"c": 0.25}])
    assert table.csv() == "a,b,c\n1,,\n,,0.25\n"
    assert table.markdown().splitlines()[2:] == ["| 1 | – | – |", "| – | – | 0.25 |"]
    assert Table.of("", []).csv() == "\n"


def test_a_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"file/x\.md cannot be written"):
        write_text(tmp_path / "file" / "x.md", "")
    assert write_text(tmp_path / "a" / "b.md", "text").read_text() == "text"
