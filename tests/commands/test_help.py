"""The table of commands: each entry leads to its command, and no help waits for heavy imports."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import click
import pytest

from actionbench.commands.lazy import Table
from cli import COMMANDS

ROOT = Path(__file__).resolve().parents[2]
HEAVY = ("torch", "pandas", "diffusers", "transformers", "matplotlib", "datasets")


def entries(table: Table, *words: str) -> Iterator[tuple[tuple[str, ...], str | Table, str]]:
    """All commands and groups: their words, place and help."""
    for name, (place, text) in table.items():
        yield (*words, name), place, text
        if not isinstance(place, str):
            yield from entries(place, *words, name)


ALL = list(entries(COMMANDS))
LEAVES = [(words, place) for words, place, _ in ALL if isinstance(place, str)]
GROUPS = [(), *(words for words, place, _ in ALL if not isinstance(place, str))]

# Groups first: they must load no command, and a command stays loaded.
SESSION = """
import contextlib, io, json, sys
from cli import cli

heavy, helps = json.loads(sys.argv[1])
seen = set()
for words in helps:
    with contextlib.redirect_stdout(io.StringIO()) as text:
        assert not cli.main([*words, "--help"], standalone_mode=False)
    loaded = set(sys.modules) - seen
    seen |= loaded
    commands = [m for m in loaded if m.startswith("actionbench.commands.")]
    report = {"heavy": sorted(set(heavy) & loaded), "commands": sorted(commands)}
    print(json.dumps({**report, "help": text.getvalue()}))
"""


@pytest.fixture(scope="module")
def helps() -> dict[tuple[str, ...], dict[str, str]]:
    """Return what each help prints, and what it was the first to import, all in one process."""
    words = [*GROUPS, *(words for words, _ in LEAVES)]
    arguments = [sys.executable, "-c", SESSION, json.dumps([HEAVY, words])]
    done = subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return dict(zip(words, map(json.loads, done.stdout.splitlines()), strict=True))


@pytest.mark.parametrize("words", [words for words, _ in LEAVES], ids=" ".join)
def test_a_commands_help_imports_nothing_heavy(
    helps: dict[tuple[str, ...], dict[str, str]], words: tuple[str, ...]
) -> None:
    assert not helps[words]["heavy"]
    assert helps[words]["help"].startswith(f"Usage: -c {' '.join(words)} ")


@pytest.mark.parametrize("words", GROUPS, ids=lambda words: " ".join(words) or "root")
def test_a_groups_help_loads_no_command(
    helps: dict[tuple[str, ...], dict[str, str]], words: tuple[str, ...]
) -> None:
    assert not helps[words]["heavy"]
    assert set(helps[words]["commands"]) <= {"actionbench.commands.lazy"}
    listed = helps[words]["help"].split("Commands:\n")[1].split("\n")
    names = [line.split()[0] for line in listed if line]
    assert names == [entry[-1] for entry, _, _ in ALL if entry[:-1] == words]


@pytest.mark.parametrize(("words", "place"), LEAVES, ids=[" ".join(words) for words, _ in LEAVES])
def test_each_place_holds_its_command(words: tuple[str, ...], place: str) -> None:
    """The folders mirror the words, so that a command is where its name says."""
    module, _, name = place.partition(":")
    own = [word.replace("-", "_") for word in words]
    assert module.removesuffix("_") == ".".join(["actionbench.commands", *own])
    command = getattr(import_module(module), name)
    assert isinstance(command, click.Command) and command.name == words[-1]
    assert command.help and command.help.split("\n\n")[0].endswith(".")


def test_the_short_helps_are_sentences_that_fit_in_a_line() -> None:
    for words, _, text in ALL:
        assert text.endswith(".") and len(text) <= 64, words


def test_no_command_is_left_out_of_the_table() -> None:
    files = (ROOT / "actionbench" / "commands").rglob("*.py")
    defining = {file for file in files if "@click.command(" in file.read_text("utf-8")}
    assert len(defining) == len(LEAVES)
