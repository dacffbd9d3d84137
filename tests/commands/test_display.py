"""Tables and bars print data as it is: rich would take what stands in brackets for its own."""

from __future__ import annotations

from pathlib import Path

import pytest
from rich.text import Text

from actionbench.commands.display import JobProgress, print_table, table
from actionbench.commands.live import RunView
from tests.helpers.small_run import small_plan

DATA = "[bold]x[/] [/y] runs[1] :smile:"


def test_a_table_loses_no_text(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(table((DATA, "n"), [(DATA, Text(DATA, "red"))], f"title {DATA}", right=("n",)))
    printed = capsys.readouterr().out
    assert printed.count(DATA) == 4 and f"title {DATA}" in printed


def test_a_note_is_shown_once_and_as_it_is(
    tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with RunView(small_plan(tiny_model, tmp_path, profile="quick")) as view:
        for _ in range(2):  # as each action's fit does
            view.note(f"{DATA} {'and more ' * 30}")
        assert view.title.endswith("Drift on puppets · quick")
    printed = capsys.readouterr().err
    assert printed.count("note: ") == printed.count(DATA) == 1 and printed.count("\n") == 1


def test_a_bar_names_a_file_with_brackets() -> None:
    with JobProgress() as progress:
        progress.bars.update(progress.task, description=DATA)
        (task,) = progress.bars.tasks
        column = progress.bars.columns[0]
        assert not isinstance(column, str) and str(column.render(task)) == DATA
