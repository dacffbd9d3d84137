"""The docs' pages agree with the code and with each other; `make docs` builds the site of them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

import actionbench
from benchmarks import recount
from docs.floors import FILE, ROOMS, draw
from tests.test_import_rule import FLOORS

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"


def _pages(nav: Any) -> set[str]:
    """The pages of a navigation by their file."""
    if isinstance(nav, str):
        return {nav}
    entries = nav.values() if isinstance(nav, dict) else nav
    return {page for entry in entries for page in _pages(entry)}


def test_the_floors_are_drawn_as_the_import_rule_has_them() -> None:
    """If this fails: `python -m docs.floors`, and the page's table."""
    assert FILE.read_text("utf-8") == draw()
    page = (DOCS / "where-things-live.md").read_text("utf-8")
    described = re.findall(r"^\| `([a-z_.]+)` \|", page, re.MULTILINE)
    rooms = [room for floor in reversed(FLOORS) for room in ROOMS if room in floor]
    assert described == rooms
    assert set(ROOMS) == set(rooms)


def test_the_python_page_has_every_public_name() -> None:
    page = (DOCS / "api.md").read_text("utf-8")
    described = re.findall(r"^::: actionbench\.(\w+)$", page, re.MULTILINE)
    assert sorted(described) == sorted(actionbench.__all__)


def test_every_page_is_in_the_navigation() -> None:
    site = yaml.safe_load((ROOT / "mkdocs.yml").read_text("utf-8"))
    pages = {page for page in _pages(site["nav"]) if not page.startswith("repository/")}
    assert pages - {"index.md"} == {page.name for page in DOCS.glob("*.md")}


def test_the_tests_that_the_table_of_faults_names_exist() -> None:
    named = set(re.findall(r"`(test_\w+)`", (ROOT / "docs" / "reliability.md").read_text("utf-8")))
    texts = [file.read_text("utf-8") for file in (ROOT / "tests").rglob("test_*.py")]
    existing = {name for text in texts for name in re.findall(r"^def (test_\w+)", text, re.M)}
    assert named and named <= existing, sorted(named - existing)


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("| \n").split("|")]


def test_the_readmes_board_is_the_kept_one() -> None:
    """If this fails, the kept board was made again: take its rows."""
    readme = (ROOT / "README.md").read_text("utf-8").split("## The board of the eight")[1]
    shown = [_cells(line)[:7] for line in readme.splitlines() if re.match(r"\| \d+ \|", line)]
    kept = (ROOT / "leaderboards/puppets-v1/board.md").read_text("utf-8").splitlines()
    rows = [_cells(line) for line in kept if re.match(r"\| \d+ \| .*-[0-9a-f]{8} \|$", line)]
    assert shown == [[*row[:2], *row[4:9]] for row in rows] and len(shown) == 8


def test_the_recount_of_the_ablation_is_what_the_command_prints(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["recount.py"])
    recount.main()
    printed = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    page = (DOCS / "statistics.md").read_text("utf-8")
    block = "variant minus own" + page.split("```\nvariant minus own")[1].split("```")[0]
    assert [line.rstrip() for line in block.splitlines()] == printed
