"""The command as people meet it: a process, its output, its exit status."""

from __future__ import annotations

import json
import os
import pty
import re
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import click
import pytest

import actionbench.registry
import actionbench.suite.suite
import cli
from actionbench.method import Question, Variant
from actionbench.runs.store import Store, read_image
from evaluation.pictures import ROW
from tests.conftest import Done
from tests.evaluation.test_tuning import dev_suite
from tests.helpers.small_cli import install_plugins
from tests.helpers.small_run import Drift, small_suite

ROOT = Path(__file__).resolve().parents[2]
HEAVY = ("torch", "diffusers", "transformers", "pandas", "matplotlib", "datasets")
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cli")
    install_plugins(folder / "plugins")
    return folder


def command(folder: Path, *words: str | Path) -> list[str]:
    return [sys.executable, "-m", "tests.helpers.small_cli", str(folder), *map(str, words)]


@pytest.fixture
def call(
    folder: Path, monkeypatch: pytest.MonkeyPatch, typed: Callable[..., Done]
) -> Callable[..., Done]:
    """Run a command on the small suite, with the small methods and judge."""
    suite = small_suite(folder)
    monkeypatch.setattr(actionbench.suite.suite, "suites", lambda: {suite.name: suite})
    monkeypatch.syspath_prepend(str(folder / "plugins"))

    return typed


@pytest.fixture
def refused(call: Callable[..., Done]) -> Callable[..., str]:
    def refused(*words: str | Path) -> str:
        """Return the one line that reports a mistake."""
        done = call(*words)
        assert done.returncode == 2, done.stderr
        assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1, done.stderr
        return done.stderr

    return refused


def test_help_answers_at_once() -> None:
    """Measured in processor time, which does not depend on what else the machine does."""
    words = [sys.executable, "-c", "from cli import main; main()", "--help"]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert "run" in done.stdout and "report" in done.stdout
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 0.5


@pytest.mark.parametrize(
    "modules",
    [
        "cli",
        "actionbench.suite.items, actionbench.settings, actionbench.method, actionbench.judge, "
        "actionbench.registry, actionbench.files.models, actionbench.runs.store, "
        "actionbench.suite.suite, actionbench.progress, actionbench.errors, "
        "actionbench.runs.execute, actionbench.commands.display, actionbench.commands.live, "
        "actionbench.commands.prepare",
    ],
    ids=["cli", "actionbench"],
)
def test_nothing_heavy_is_imported_before_it_is_needed(modules: str) -> None:
    light = (*HEAVY, "rich", "pyarrow", "numpy") if modules == "cli" else HEAVY
    script = f"import sys, {modules}; print([m for m in {light} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout == "[]\n", done.stdout + done.stderr


def test_a_run_from_plan_to_table_and_again(
    call: Callable[..., Done], folder: Path, tiny_model: Path
) -> None:
    runs = folder / "runs"
    words = ("run", "--method", "drift", "--model", tiny_model, "--runs", runs)
    dry = call(*words, "--dry-run")
    assert re.search(r"fits +2 to do, +0 present\n +images +12 to do", dry.stdout), dry.stderr
    assert not runs.exists()

    done = call(*words)
    assert done.returncode == 0, done.stderr
    assert done.stderr == "", "quiet if there is no terminal"
    lines = done.stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["salute", "gesture", "total", "run", "next:"]
    assert "n    6" in lines[0] and "n   12" in lines[2]
    run_id = lines[3].split()[1].rstrip(",")
    assert lines[4].endswith(f"actionbench show {run_id} --runs {runs}")

    started = time.monotonic()
    again = call(*words)
    assert again.stdout == done.stdout, "the same table, times included"
    assert time.monotonic() - started < 10

    dry = call(*words, "--dry-run")
    assert re.search(r"verdicts +0 to do, +12 present", dry.stdout)
    listed = call("runs", "list", "--runs", runs).stdout
    assert run_id in listed and "finished" in listed and "12 of 12" in listed

    board = call("report", "--runs", runs)
    assert board.returncode == 0 and "Drift" in board.stdout, board.stderr
    assert (runs / "report" / "board.md").exists()
    shown = call("show", run_id[:7], "--runs", runs)
    assert shown.stdout == f"wrote {runs / 'runs' / run_id / 'grid.png'}\n", shown.stderr
    assert read_image(runs / "runs" / run_id / "grid.png").width > 300


def test_several_methods_are_all_planned_before_one_begins(
    call: Callable[..., Done],
    refused: Callable[..., str],
    tiny_model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    words = ("--model", tiny_model, "--runs", tmp_path / "runs", "--actions", "salute")
    error = refused("run", "--method", "plain,drfit", *words)
    assert "unknown method 'drfit'" in error
    error = refused("run", "--method", "plain,drift", "--set", "steps=5", *words)
    assert "--set is for one method" in error
    assert not (tmp_path / "runs").exists()
    done = call("run", "--method", "plain,drift,plain", "--images-per-pair", "1", *words)
    assert re.findall(r"^run (\w+)-", done.stdout, re.M) == ["plain", "drift"], "each once"

    monkeypatch.chdir(tmp_path)
    compared = call("show", "plain", "drift", "--runs", tmp_path / "runs")
    assert compared.stdout == "wrote comparison.png\n", compared.stderr
    chosen = ("--actions", "salute", "--subjects", "boy", "--out", tmp_path / "one.png")
    assert call("show", "plain", "drift", "--runs", tmp_path / "runs", *chosen).returncode == 0
    for name in ("comparison.png", "one.png"):
        assert read_image(tmp_path / name).height > 3 * ROW, "exemplars and two runs"


def test_of_all_methods_those_that_fail_are_reported_at_the_end(
    call: Callable[..., Done], tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ["broken", "drift", "faulty", "plain"]
    monkeypatch.setattr(actionbench.registry, "method_names", lambda: names)
    words = ("--model", tiny_model, "--runs", tmp_path / "runs", "--subjects", "boy")
    done = call("run", "--method", "all", *words)
    assert done.returncode == 1
    assert re.findall(r"^run (\w+)-", done.stdout, re.M) == ["drift", "plain"]
    *_, first, second = done.stderr.splitlines()
    assert first.startswith("failed: broken: method 'broken' (tests.no_such_module")
    reason = "faulty failed fitting 'gesture': ZeroDivisionError: a defect (traceback in "
    assert second.startswith(f"failed: {reason}")
    assert done.stderr.startswith(reason), "also when it happens"
    trace = Path(second.split("(traceback in ")[1].split(")")[0])
    assert 'raise ZeroDivisionError("a defect' in trace.read_text()
    listed = call("runs", "list", "--runs", tmp_path / "runs").stdout
    assert re.search(r"faulty-\w+ .* failed on gesture: Zero", listed)
    assert "--set is for one method" in call("run", "--method", "all", "--set", "a=1").stderr

    again = call("run", "--method", "drift,plain", *words)
    assert again.returncode == 0 and again.stdout.count("stored in") == 2
    monkeypatch.undo()  # the registered claims name real methods
    kept = tmp_path / "kept"
    report = ("report", "--runs", tmp_path / "runs")
    without = call(*report, "--samples", "0.1")
    assert without.returncode == 2 and "name its folder with --keep" in without.stderr
    assert not (tmp_path / "runs" / "report").exists(), "nothing is written first"
    assert call(*report, "--keep", kept).stdout.endswith(f"kept in {kept}\n")
    (kept.parent / "new").mkdir()
    shown = call("report", "--runs", tmp_path / "new", "--reference", kept)
    assert shown.stdout.count("reference") >= 2, shown.stderr


def test_one_failed_method_ends_alike_alone_and_among_several(
    call: Callable[..., Done], refused: Callable[..., str], tiny_model: Path, tmp_path: Path
) -> None:
    runs = tmp_path / "runs"
    words = ("--model", tiny_model, "--runs", runs, "--subjects", "boy", "--images-per-pair", "1")
    alone = call("run", "--method", "faulty", *words)
    several = call("run", "--method", "faulty,plain", *words)
    assert alone.returncode == several.returncode == 1
    (line,) = alone.stderr.splitlines()
    assert line.startswith("failed: faulty failed fitting 'gesture': ZeroDivisionError")
    assert several.stderr.splitlines()[-1] == line
    assert "stored in" not in alone.stdout and several.stdout.count("stored in") == 1
    # What nobody can run is refused before anything starts, alone and among several.
    for methods in ("broken", "plain,broken"):
        assert "cannot be imported" in refused("run", "--method", methods, *words)


def test_tuning_and_ablation_from_the_command_line(
    call: Callable[..., Done],
    refused: Callable[..., str],
    folder: Path,
    tiny_model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    words = ("--model", tiny_model, "--runs", tmp_path / "runs", "--subjects", "boy")
    error = refused("tune", "drift", "--suite", "puppets", *words)
    assert "nothing may be tuned on" in error
    assert "unknown suite 'puppets-dev'" in refused("tune", "drift", *words)
    dev = dev_suite(folder)
    monkeypatch.setattr(actionbench.suite.suite, "suites", lambda: {dev.name: dev})
    tune = ("tune", "drift", "--suite", dev.name, "--passes", "18", *words)
    assert "steps=" in call(*tune, "--dry-run").stdout and not (tmp_path / "runs").exists()
    done = call(*tune)
    assert done.returncode == 0 and "chosen" in done.stdout, done.stderr
    tuned = json.loads((tmp_path / "runs/tuning/drift.json").read_text())
    assert len(tuned["tried"]) == 2 and tuned["subjects"] == ["boy"]
    assert tuned["passes_spent"] <= 18 and tuned["fits"] == 3

    variants = (Variant("own", "drift"), Variant("fast", "drift", ("lr=0.4",)))
    monkeypatch.setattr(Drift, "ablation", lambda: [Question("steps", "Steps", variants)])
    ablate = ("ablate", "drift", "--suite", dev.name, "--seeds", "2", *words)
    dry = call(*ablate, "--dry-run").stdout
    assert "4 runs, 2 to do: 4 fits, 8 images" in dry, "the search has measured two"
    done = call(*ablate, "--images-per-pair", "1", "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out/ablation.png").exists() and "fast" in done.stdout
    assert "'p-plus' declares no ablation" in refused("ablate", "p-plus")
    assert "unknown group of the ablation 'x'" in refused("ablate", "adi", "--only", "x")


def test_a_terminal_sees_bars_and_the_table(
    call: Callable[..., Done], tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    control, terminal = pty.openpty()
    seen: list[bytes] = []
    reader = threading.Thread(target=read_all, args=(control, seen))
    reader.start()
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    with os.fdopen(terminal, "w") as stream:
        monkeypatch.setattr(sys, "stdout", stream)
        monkeypatch.setattr(sys, "stderr", stream)
        call("run", "--method", "drift", "--model", tiny_model, "--runs", tmp_path / "runs")
    reader.join()
    text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", b"".join(seen).decode())
    assert "all actions" in text and "gesture · " in text
    assert "action %" in text and text.count("│ total") == 1
    assert "next: actionbench report" in text


def read_all(control: int, seen: list[bytes]) -> None:
    while True:
        try:
            seen.append(os.read(control, 65536))
        except OSError:  # Linux's way to say that the other end is closed
            os.close(control)
            return


def test_ctrl_c_keeps_what_is_finished(
    call: Callable[..., Done], folder: Path, tiny_model: Path, tmp_path: Path
) -> None:
    words = ("run", "--method", "drift", "--model", tiny_model, "--runs", tmp_path / "runs")
    process = subprocess.Popen(
        command(folder, *words, "--set", "steps=1000000000"),
        cwd=ROOT,
        env=ENVIRONMENT,
        stderr=subprocess.PIPE,
        text=True,
        # A shell starts background jobs with SIGINT ignored, which children inherit.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    while not list((tmp_path / "runs").glob("runs/*/run.json")):
        time.sleep(0.05)
        assert process.poll() is None
    time.sleep(1.0)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=30)
    assert process.returncode == 130
    assert error.strip() == "interrupted; the same command goes on from here"
    assert "not finished" in call("runs", "list", "--runs", tmp_path / "runs").stdout


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--method", "drfit"], "unknown method 'drfit': did you mean drift"),
        (["--method", "drift", "--suite", "pupets"], "unknown suite 'pupets': did you mean pup"),
        (["--method", "drift", "--actions", "salut"], "unknown action 'salut'"),
        (["--method", "drift", "--subjects", "boyy"], "unknown subject 'boyy': did you mean boy"),
        (["--method", "drift", "--actions", ","], "is empty"),
        (["--method", "drift", "--set", "stesp=3"], "unknown setting 'stesp': did you mean steps"),
        (["--method", "drift", "--set", "steps=0"], "steps must lie between 1 and inf, not 0"),
        (["--method", "drift", "--set", "lr=inf"], "setting lr"),
        (["--method", "drift", "--set", "steps=x"], "setting steps takes int, not 'x'"),
        (["--method", "drift", "--judge", "nobody"], "unknown judge 'nobody'"),
        (["--method", "drift", "--images-per-pair", "0"], "0 is not in the range"),
        (["--method", "drift", "--dtype", "int8"], "'int8' is not one of"),
        (["--method", "broken"], "method 'broken' (tests.no_such_module:Method) cannot be"),
        (["--method", "no-method"], "is not a subclass of Method"),
        ([], "Missing option '--method'"),
    ],
)
def test_each_mistake_is_reported_in_one_line(
    refused: Callable[..., str], tiny_model: Path, tmp_path: Path, words: list[str], message: str
) -> None:
    error = refused("run", *words, "--model", tiny_model, "--runs", tmp_path / "runs")
    assert message in error
    assert not (tmp_path / "runs").exists()


def test_folders_that_are_not_a_model_or_a_store(
    refused: Callable[..., str], tiny_model: Path, tmp_path: Path
) -> None:
    (tmp_path / "thing").write_text("")
    runs = tmp_path / "runs"
    run = ("run", "--method", "drift")
    error = refused(*run, "--model", tmp_path, "--runs", runs)
    assert "not a diffusers pipeline folder: model_index.json is missing" in error
    error = refused(*run, "--model", tiny_model, "--runs", tmp_path)
    assert "not empty and not a runs folder" in error
    error = refused(*run, "--model", tiny_model, "--runs", tmp_path / "thing" / "runs")
    assert "cannot be used: a part of the path is a file" in error
    assert "no runs in" in refused("report", "--runs", runs)
    assert "no run 'adi' in" in refused("show", "adi", "--runs", runs)


def test_a_record_without_its_parts_is_reported(
    refused: Callable[..., str], tmp_path: Path
) -> None:
    store = Store(tmp_path / "runs")
    store.prepare()
    folder = store.run_folder("drift-1")
    folder.mkdir(parents=True)
    (folder / "run.json").write_text('{"format": 1, "id": "drift-1"}')
    for words in (("runs", "list"), ("report",), ("show", "drift")):
        error = refused(*words, "--runs", store.root)
        assert f"{store.run_folder('drift-1') / 'run.json'} is damaged" in error


def test_what_the_system_refuses_is_reported_in_one_line(
    refused: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "missing" / "file"

    @click.command()
    def touch() -> None:
        file.touch()

    monkeypatch.setitem(cli.cli.commands, "touch", touch)
    assert refused("touch") == f"error: {file}: No such file or directory\n"


def test_check_method_says_which_promise_is_broken(
    call: Callable[..., Done], refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import actionbench.plugins.conformance as conformance

    few = {name: conformance.CHECKS[name] for name in ("item seeds", "no items")}
    monkeypatch.setattr(conformance, "CHECKS", few)
    done = call("methods", "check", "unseeded")
    assert done.returncode == 1 and done.stderr == ""
    assert re.search(r"item seeds +│ FAILED +│ FAILED +│ FAILED", done.stdout)
    assert re.search(r"no items +│ passed +│ passed +│ passed", done.stdout)
    assert done.stdout.splitlines()[-1] == (
        "FAILED item seeds (epsilon, v-prediction, 16 layers): "
        "items with one prompt and different seeds gave the same image"
    )
    assert call("methods", "check", "plain").returncode == 0
    assert "unknown method 'plian': did you mean plain" in refused("methods", "check", "plian")


def test_new_method_writes_a_package_and_refuses_what_is_there(
    call: Callable[..., Done], refused: Callable[..., str], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    done = call("methods", "new", "mine")
    assert done.returncode == 0, done.stderr
    assert "wrote actionbench-mine/actionbench_mine.py\n" in done.stdout
    assert done.stdout.endswith(
        "pip install -e actionbench-mine / actionbench methods check mine\n"
    )
    assert "actionbench-mine exists already" in refused("methods", "new", "mine")
    assert "the name 'drift' is taken" in refused("methods", "new", "drift", "--out", "other")
    assert [path.name for path in tmp_path.iterdir()] == ["actionbench-mine"]


def test_lists_name_a_broken_plugin_and_go_on(call: Callable[..., Done]) -> None:
    listed = call("methods", "list", "--settings").stdout
    assert re.search(r"broken +│ failed +│ method 'broken' \(tests.no_such_module", listed)
    assert re.search(r"drift +│ Drift +│ these tests", listed)
    assert re.search(r"lr +│ float +│ 0.1 +│ +│ Learning rate", listed)
    assert "brightness" in call("judges", "list").stdout
    assert "puppets-v1" in call("suites", "list").stdout
