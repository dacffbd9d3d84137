"""Tables and bars print data as it is: rich would take what stands in brackets for its own."""

from __future__ import annotations

import pytest
from rich.text import Text

from actionbench.commands.display import JobProgress, print_table, table

DATA = "[bold]x[/] [/y] runs[1] :smile:"


def test_a_table_loses_no_text(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(table((DATA, "n"), [(DATA, Text(DATA, "red"))], f"title {DATA}", right=("n",)))
    printed = capsys.readouterr().out
    assert printed.count(DATA) == 4 and f"title {DATA}" in printed


def test_a_bar_names_a_file_with_brackets() -> None:
    with JobProgress() as progress:
        progress.bars.update(progress.task, description=DATA)
        (task,) = progress.bars.tasks
        column = progress.bars.columns[0]
        assert not isinstance(column, str) and str(column.render(task)) == DATA
