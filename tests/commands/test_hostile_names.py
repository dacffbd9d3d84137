"""Names that would steer rich, the terminal, Markdown or a spreadsheet, through every command that
prints data: the names come out as they are, and the board's files show no tags."""

from __future__ import annotations

import csv
import io
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import actionbench.commands.display
import actionbench.commands.judges.calibrate
import actionbench.commands.judges.list
import actionbench.commands.methods.list
import actionbench.commands.suites.list
import actionbench.registry
import actionbench.suite.suite
from actionbench.errors import UserError
from actionbench.judge import Judge, Verdict
from actionbench.printing import printable
from actionbench.runs.store import Store
from actionbench.suite.items import Action, Item, Subject
from actionbench.suite.suite import Suite
from tests.conftest import Done
from tests.helpers.photographs import make_folder, write_suite
from tests.helpers.small_cli import install_plugins
from tests.helpers.small_run import Brightness, Drift, small_suite
from tests.helpers.verdicts import first_actions, make_verdicts, save_run

NAME = "=[bold]b[-] [link=x]l \x1b[31m\u202e\n<b>*i*|熊猫"
"""A folder may be called so, and a plug-in's class, too."""
TAGS = "[/bold] [/x]"
"""A closing tag without its opening one, at which rich fails; no folder can have the slash."""

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="no disk takes such names")


@pytest.fixture
def hostile(tmp_path: Path) -> Suite:
    """The small suite with hostile names; its exemplars are by the actions' names."""
    suite = small_suite(tmp_path)
    return replace(suite, title=NAME + TAGS, model=NAME, subjects=(
        Subject(NAME, "human", "[b]"), *suite.subjects[1:]
    ))  # fmt: skip


@pytest.fixture
def call(
    tmp_path: Path, hostile: Suite, monkeypatch: pytest.MonkeyPatch, typed: Callable[..., Done]
) -> Callable[..., Done]:
    """Run a command in an empty folder, on a terminal wide enough to break no line."""
    install_plugins(tmp_path / "plugins")
    monkeypatch.syspath_prepend(str(tmp_path / "plugins"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(actionbench.commands.display, "_PLAIN_WIDTH", 2000)
    monkeypatch.setattr(actionbench.suite.suite, "suites", lambda: {hostile.name: hostile})
    return typed


def check(done: Done, *names: str, status: int = 0) -> None:
    printed = done.stdout + done.stderr
    assert done.returncode == status and "Traceback" not in printed, printed
    assert not {"\x1b", "\u202e", "\r"} & {*printed}
    for name in names:
        # A message is one line: it has blanks for the new lines of what it quotes.
        assert printable(name) in printed or printable(" ".join(name.split())) in printed, printed


@pytest.fixture
def runs(tmp_path: Path, hostile: Suite) -> Path:
    """A runs folder with a run of two judges, whose every name is hostile."""
    folder = tmp_path / "runs"
    for judge, right in (("one" + NAME, [0]), ("two" + NAME, [0, 1])):
        verdicts = make_verdicts(first_actions(right), actions=2, subjects=3)
        verdicts["judge"] = judge
        verdicts["subject"] = verdicts["subject"].replace("boy", NAME)
        verdicts["image"] = [f"images/i/{n}.png" for n in range(len(verdicts))]
        for file in verdicts["image"]:
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (8, 8)).save(folder / file)
        store = Store(folder) if (folder / "actionbench-runs.json").exists() else None
        if store is None:
            shutil.move(folder / "images", tmp_path / "images")
        run_id = save_run(
            folder, verdicts, run_id=f"adi-{judge[:3]}-[bold]", title=NAME + TAGS,
            suite_fingerprint=hostile.fingerprint,
        )  # fmt: skip
        if store is None:
            shutil.move(tmp_path / "images", folder / "images")
        store = Store(folder)
        record = store.read_record(run_id)
        record.model.name, record.judge.name = NAME, judge
        record.changed_settings = {"pool": NAME + TAGS}
        store.save_record(record)
    return folder


def test_stored_runs(call: Callable[..., Done], runs: Path) -> None:
    check(call("runs", "list"), NAME, "adi-one-[bold]")
    check(call("report"), NAME + TAGS)
    board = (runs / "report/board.md").read_text("utf-8")
    assert "<b>" not in board and "\x1b" not in board and "\\*i\\*\\|熊猫" in board
    with (runs / "report/board.csv").open(newline="", encoding="utf-8") as file:
        cells = [cell for row in csv.reader(file) for cell in row]
    assert f"'{NAME}{TAGS}" in cells and not any(cell.startswith("=") for cell in cells)
    check(call("judges", "agree"), "one" + NAME)
    check(call("show", "adi-one"), "adi-one-[bold]")
    check(call("show", "adi-one", "--subjects", f"{NAME}{TAGS}".replace("\n", " ")), TAGS, status=2)


def test_suites_methods_and_judges(
    call: Callable[..., Done], monkeypatch: pytest.MonkeyPatch
) -> None:
    check(call("suites", "list"), NAME + TAGS)

    class Hostile(Drift):
        name, title, reference = NAME, NAME + TAGS, TAGS

    class HostileJudge(Brightness):
        name = NAME

    HostileJudge.__doc__ = NAME.replace("\n", " ") + TAGS

    def broken(name: str) -> Any:
        raise UserError(f"{NAME}{TAGS} cannot be imported")

    for kind, place, own in (
        ("methods", actionbench.commands.methods.list, Hostile),
        ("judges", actionbench.commands.judges.list, HostileJudge),
    ):
        monkeypatch.setattr(place, f"{kind[:-1]}_names", lambda: [NAME])
        monkeypatch.setattr(place, f"get_{kind[:-1]}", lambda _, own=own: own)
        # The settings of methods are those of a model, and the suite's own is not there.
        more = ("--settings",) if kind == "judges" else ()
        check(call(kind, "list", *more), NAME, TAGS)
        monkeypatch.setattr(place, f"get_{kind[:-1]}", broken)
        check(call(kind, "list"), NAME + TAGS)
    check(call("methods", "new", "own", "--out", NAME), NAME)


def test_plans_on_a_model_of_that_name(
    call: Callable[..., Done], tmp_path: Path, tiny_model: Path
) -> None:
    shutil.copytree(tiny_model, tmp_path / NAME)
    words = ("--model", NAME, "--runs", "runs" + NAME)
    check(call("run", "--method", "drift", *words, "--dry-run"), NAME)
    check(call("doctor", "--method", "drift", *words), NAME)
    check(call("prefetch", "--method", "drift", "--model", NAME), NAME)
    check(call("run", "--method", NAME, *words), status=2)
    check(call("run", "--method", "drift", *words, "--actions", "salute", "--images-per-pair", "1"),
          NAME)  # fmt: skip


class Careless(Judge):
    """Answers with the names that it is asked about."""

    name = "brightness"
    fingerprint = "1"

    def judge(self, images: Sequence[Image.Image], items: Sequence[Item]) -> list[Verdict]:
        return [Verdict.naming(item, item.action.name, NAME, 1.0, 1.0) for item in items]


def test_calibration(
    call: Callable[..., Done], monkeypatch: pytest.MonkeyPatch, hostile: Suite
) -> None:
    place = actionbench.commands.judges.calibrate
    tasks = {
        NAME + action.name: replace(task, action=Action(NAME + action.name, NAME))
        for action, task in zip(hostile.actions, hostile.tasks.values(), strict=True)
    }
    suite = replace(hostile, actions=tuple(task.action for task in tasks.values()))
    suite.__dict__["tasks"] = tasks
    monkeypatch.setattr(place, "get_suite", lambda _: suite)
    monkeypatch.setattr(place, "make_judge", lambda *_: Careless(suite))
    check(call("judges", "calibrate", "--out", NAME), NAME)


def test_datasets(call: Callable[..., Done], tmp_path: Path) -> None:
    source = make_folder(tmp_path / ("photos" + NAME))
    harmless = "[bold] [link=x] <b> *i* |.jpg"
    (source / "wave/0.jpg").rename(source / "wave" / harmless)
    suite = write_suite(tmp_path)
    words = (source, "--suite", suite, "--count", "2")
    check(call("data", "import", *words, "--out", "out" + NAME), harmless, "out" + NAME)
    check(call("data", "check", "out" + NAME), "out" + NAME)
    check(call("data", "pull", "out" + NAME, "--out", "copy" + NAME), "copy" + NAME)
    shutil.copy(source / "wave/1.jpg", source / f"wave/{NAME}.jpg")
    check(call("data", "import", *words, "--out", "more"), NAME, status=2)


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_an_output_without_unicode(
    call: Callable[..., Done], runs: Path, encoding: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    monkeypatch.setattr(sys, "stdout", stream)
    check(call("report"))
    stream.flush()
    printed = stream.buffer.getvalue().decode(encoding)  # type: ignore[attr-defined]
    assert "\\u718a\\u732b" in printed and (runs / "report/board.md").exists()


def test_a_report_that_cannot_be_written_names_the_option(
    call: Callable[..., Done], runs: Path
) -> None:
    (runs / "report").write_text("a file in the folder's place")
    done = call("report")
    check(done, status=2)
    assert done.stderr.count("\n") == 1 and "name another folder with --out" in done.stderr
    check(call("report", "--out", "elsewhere"))
