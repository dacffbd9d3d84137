"""Data is printed in one way: nothing in a name steers rich or the terminal, nothing is lost."""

from __future__ import annotations

import ast
import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from actionbench.printing import printable, ready, say, unprintable_sign

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize(
    ("data", "printed"),
    [
        ("[bold]a[/] [/x] [link=http://b]c :smile:", "[bold]a[/] [/x] [link=http://b]c :smile:"),
        ("\x1b[31mred\x1b]8;;http://a\x07", r"\x1b[31mred\x1b]8;;http://a\x07"),
        ("two\nlines\r\tend", r"two\nlines\r\tend"),
        ("a\u202etxt.exe\u2069\u2028b", r"a\u202etxt.exe\u2069\u2028b"),
        ("caf\udce9", r"caf\udce9"),
        ("熊猫 Zoë مرحبا", "熊猫 Zoë مرحبا"),
    ],
)
def test_data_steers_no_terminal(data: str, printed: str) -> None:
    assert printable(data) == printed


def test_marks_of_direction_are_text_but_control_signs_are_not() -> None:
    assert unprintable_sign("مرحبا\u200f") == ""
    assert unprintable_sign("a\x1bb") == "the control sign U+001B"


@pytest.mark.parametrize(
    ("encoding", "printed"),
    [
        ("utf-8", "a – b × 熊猫 é"), ("cp1252", "a – b × \\u718a\\u732b é"),
        ("ascii", "a - b x \\u718a\\u732b \\xe9"),
    ],
)  # fmt: skip
def test_what_an_encoding_lacks_is_replaced(
    encoding: str, printed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding, newline="\n")
    monkeypatch.setattr(sys, "stdout", stream)
    say("a – b × 熊猫 é")
    assert stream.buffer.getvalue().decode(encoding) == f"{printed}\n"  # type: ignore[attr-defined]
    assert ready(stream) is stream


def test_commands_print_by_no_other_way() -> None:
    """A `click.echo`, a `print` or a string in a rich table would print data as it is."""
    wrong = []
    for file in [ROOT / "cli.py", *(ROOT / "actionbench/commands").rglob("*.py")]:
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            called = ast.unparse(node.func) if isinstance(node, ast.Call) else ""
            if called in ("click.echo", "click.secho", "print", "Text"):
                wrong.append(f"{file.name}:{node.lineno}: {called}")  # type: ignore[attr-defined]
    assert not wrong


def test_a_name_that_is_not_utf8_is_refused_in_a_line() -> None:
    words = [sys.executable, "-m", "cli", "data", "check", b"/tmp/caf\xe9"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: '/tmp/caf\\udce9' is not UTF-8: rename it\n"


def test_a_command_into_a_pipe_without_unicode_ends_well() -> None:
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    words = [sys.executable, "-m", "cli", "suites", "list"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert "puppets-v1" in done.stdout and done.stdout.isascii()
