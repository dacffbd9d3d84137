"""The difference of two runs: in numbers, in the terminal, and as a page."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from actionbench.errors import UserError
from actionbench.runs.store import Store
from leaderboards.difference import find_difference
from leaderboards.page.report import write_difference
from tests.conftest import Done
from tests.helpers.browser import Visit, open_browser
from tests.helpers.verdicts import first_actions, make_verdicts, save_run


def two_runs(runs: Path) -> tuple[str, str]:
    """The first is right on two actions and the second on another; both always on the subject."""
    return (
        save_run(runs, make_verdicts(first_actions([0, 1]), method="adi"), title="ADI"),
        save_run(runs, make_verdicts(first_actions([1, 2, 3]), method="p-plus"), title="P+"),
    )


def test_flipped_items_come_first_and_are_counted(tmp_path: Path) -> None:
    difference = find_difference(Store(tmp_path), *two_runs(tmp_path))
    items = difference.items
    assert len(items) == 368 and int(items["flipped"].sum()) == 3 * 46
    assert items["flipped"].tolist() == sorted(items["flipped"], reverse=True)
    assert set(items["action"][: 3 * 46]) == {"salute", "cheer", "pray"}
    rows = {row[0]: row[1:] for row in difference.measures().rows}
    assert rows["total"][:4] == rows["action"][:4] == (46, 46, 92, 184)
    assert rows["subject"][:4] == (368, 0, 0, 0)
    assert difference.comparisons["action"].difference == pytest.approx(-46 / 368)
    assert difference.actions().rows[0][:4] == ("salute", 46, 46, 0)
    assert not difference.group.notes


def test_what_is_not_comparable_is_named(tmp_path: Path) -> None:
    verdicts = make_verdicts(first_actions([0]), method="adi")
    first = save_run(tmp_path, verdicts, title="ADI")
    other = verdicts.assign(judge="clip", judge_fingerprint="c", protocol="puppets-clip-v1")
    second = save_run(tmp_path, other, title="ADI", model="model-2")
    difference = find_difference(Store(tmp_path), first, second)
    assert [note.split(":")[0] for note in difference.group.notes] == [
        "Not the same protocol",
        "Not the same judge",
        "Not the same model",
    ]
    assert len({row.name for row in difference.rows}) == 2, "told apart by their ids"
    with pytest.raises(UserError, match="compared with itself"):
        find_difference(Store(tmp_path), first, first)
    others = verdicts.assign(subject="another " + verdicts["subject"])
    apart = save_run(tmp_path, others, run_id="adi-others")
    with pytest.raises(UserError, match="no item in common"):
        find_difference(Store(tmp_path), first, apart)


def test_the_command_prints_flips_and_writes_a_page(
    tmp_path: Path, typed: Callable[..., Done]
) -> None:
    two_runs(tmp_path)
    done = typed("diff", "adi", "p-plus", "--runs", tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("138 of 368 shared items flipped. ADI minus P+, total accuracy: ")
    assert "Items that flipped, the first 20 of 138" in done.stdout
    page = Path(re.findall(r"wrote (\S+index.html)", done.stdout)[0])
    with (page.parent / "diff.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 368 and rows[0]["flipped"] == "True" and rows[-1]["flipped"] == "False"
    assert "\\toprule" in (page.parent / "diff.tex").read_text()
    markdown = (page.parent / "diff.md").read_text()
    assert "| total | 46 | 46 | 92 | 184 |" in markdown
    refused = typed("diff", "adi", "nobody", "--runs", tmp_path)
    assert refused.returncode == 2 and "no run 'nobody'" in refused.stderr


def test_the_page_shows_flipped_items_first(tmp_path: Path) -> None:
    store = Store(tmp_path)
    page = write_difference(find_difference(store, *two_runs(tmp_path)), tmp_path, tmp_path / "out")
    with open_browser() as browser:
        seen = Visit(browser, page)
        actions = seen.page.locator("#g0-gallery tr.action b").all_inner_texts()
        assert actions[0] == "salute" and not seen.complaints and not seen.outside
        first = seen.page.locator("#g0-gallery tr[data-item]").first.inner_text()
        assert "right" in first and "neglect" in first
        seen.page.goto(f"{seen.address}#g0-gallery?verdict=differ")
        assert "138 items of 368" in seen.page.inner_text("#g0-gallery .count")
        title = seen.page.inner_text("#g0-heat caption")
        assert title == "total of ADI minus P+, points"
