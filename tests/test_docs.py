"""The docs' pages agree with the code and with each other; `make docs` builds the site of them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

import actionbench
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
