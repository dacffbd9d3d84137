"""Every exit status that `cli.main` documents: 0 done, 1 a part failed, 2 a mistake, 130 Ctrl-C."""

from __future__ import annotations

import errno
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import click
import pytest

import cli
from actionbench.errors import Problems, UserError
from tests.conftest import Done

ROOT = Path(__file__).resolve().parents[2]
FULL = OSError(errno.ENOSPC, "No space left on device", "out.csv")
PROBLEMS = Problems("suite.yaml", ["no actions", "no\nsubjects"])


@pytest.fixture
def ending(monkeypatch: pytest.MonkeyPatch, typed: Callable[..., Done]) -> Callable[..., Done]:
    """Run a command that ends with an error, or without one."""

    def ending(error: BaseException | None) -> Done:
        @click.command()
        def end() -> None:
            if error is not None:
                raise error

        monkeypatch.setitem(cli.cli.commands, "end", end)
        return typed("end")

    return ending


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (None, 0, ""),
        (click.exceptions.Exit(1), 1, ""),
        (UserError("no runs\n in x"), 2, "error: no runs in x\n"),
        (PROBLEMS, 2, "error: suite.yaml: 2 problems\n  no actions\n  no subjects\n"),
        (
            click.UsageError("no such thing"),
            2,
            "error: no such thing: see `actionbench end --help`\n",
        ),
        (FULL, 2, "error: out.csv: No space left on device\n"),
        (OSError("lost"), 2, "error: lost\n"),
        (OSError(), 2, "error: OSError\n"),
        (KeyboardInterrupt(), 130, "interrupted; the same command goes on from here\n"),
        (click.Abort(), 130, "interrupted; the same command goes on from here\n"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else str(value)[:9],
)
def test_the_status_of_each_ending(
    ending: Callable[..., Done], error: BaseException | None, status: int, message: str
) -> None:
    done = ending(error)
    # click ends the line with `^C` in it, before it raises.
    assert (done.returncode, done.stdout, done.stderr.lstrip()) == (status, "", message)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["reprot"], "unknown command 'reprot': did you mean report"),
        (["methods", "lst"], "unknown command 'lst': did you mean list? valid: check, list, new"),
        (["methods", "list", "more"], "argument (more): see `actionbench methods list --help`"),
        (["--hepl"], "No such option '--hepl'"),
        (["runs", "list", "--runz", "x"], "No such option '--runz'"),
    ],
)
def test_a_wrong_word_is_a_mistake(
    typed: Callable[..., Done], words: list[str], message: str
) -> None:
    done = typed(*words)
    assert done.returncode == 2 and message in done.stderr
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1


@pytest.mark.parametrize("words", [[], ["methods"], ["data"]], ids=["root", "methods", "data"])
def test_a_group_alone_shows_its_help(typed: Callable[..., Done], words: list[str]) -> None:
    done = typed(*words)
    assert done.returncode == 2 and "Commands:" in done.stderr


def test_a_defect_keeps_its_traceback(ending: Callable[..., Done]) -> None:
    with pytest.raises(ZeroDivisionError):
        ending(ZeroDivisionError())


def test_a_reader_that_has_gone_gets_no_message() -> None:
    """As `| head` leaves: Python ignores SIGPIPE and gets an error instead."""
    session = "import cli, sys; sys.stdin.read(); cli.main()"
    process = subprocess.Popen(
        [sys.executable, "-c", session, "suites", "list"],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGPIPE, signal.SIG_IGN),
    )
    assert process.stdin and process.stdout and process.stderr
    process.stdout.close()
    process.stdin.close()
    assert process.wait(timeout=60) == 1
    assert process.stderr.read() == b""
    process.stderr.close()
