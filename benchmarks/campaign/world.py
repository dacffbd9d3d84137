"""What every case begins with, and how one is run: a fork of a process that has imported all."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import random
import re
import shutil
import signal
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import diffusers  # noqa: F401
import matplotlib  # noqa: F401
import pandas  # noqa: F401
import pyarrow.parquet as pq
import torch
import transformers  # noqa: F401

import actionbench.suite.suite
import cli
from actionbench.files.atomic import written
from actionbench.plugins.tiny import tiny_pipeline
from benchmarks.campaign import plugin
from tests.evaluation.test_tuning import dev_suite
from tests.helpers.photographs import make_folder, write_suite
from tests.helpers.small_run import small_suite

TIMEOUT = 300
"""Seconds after which a command counts as hanging; workers take many to begin on a busy machine."""
IMPORT = (
    "data", "import", "source", "--suite", "two-actions.yaml", "--count", "2", "--out", "made",
)  # fmt: skip


class Done(NamedTuple):
    """How a command ended; `status` is negative for a signal, and None for a hang."""

    status: int | None
    out: str
    err: str
    seconds: float
    cpu: float = 0.0
    """Seconds of a core."""


@dataclass
class Started:
    """A command that runs."""

    pid: int
    out: Path
    err: Path
    since: float

    def ended(self, kill_after: float | None = None) -> Done:
        """Wait for its end; kill it after some seconds if that is asked for, or if it hangs."""
        limit = self.since + (TIMEOUT if kill_after is None else kill_after)
        code: int | None = None
        while True:
            pid, raw, used = os.wait4(self.pid, os.WNOHANG)
            if pid:
                code = os.waitstatus_to_exitcode(raw)
                break
            if time.monotonic() > limit:
                os.kill(self.pid, signal.SIGKILL)
                _, _, used = os.wait4(self.pid, 0)
                code = None if kill_after is None else -signal.SIGKILL
                break
            time.sleep(0.005)
        return Done(
            code,
            self.out.read_text("utf-8", "replace"),
            self.err.read_text("utf-8", "replace"),
            time.monotonic() - self.since,
            used.ru_utime + used.ru_stime,
        )


class World:
    """A folder with a model, photographs, plug-ins, and the finished work that cases compare with.

    base/model, base/source, base/two-actions.yaml; base/<command>/ is what a command left that
    nobody disturbed; cases/<id>/ are the folders of cases.
    """

    def __init__(self, work: Path) -> None:
        self.base, self.cases = work / "base", work / "cases"
        torch.set_num_threads(1)
        if not (self.base / "whole").exists():
            shutil.rmtree(self.base, ignore_errors=True)
            self.base.mkdir(parents=True)
            metadata = self.base / "plugins/actionbench_campaign-1.dist-info"
            metadata.mkdir(parents=True)
            (metadata / "METADATA").write_text(plugin.METADATA)
            (metadata / "entry_points.txt").write_text(plugin.ENTRY_POINTS)
            make_folder(self.base / "source")
            write_suite(self.base)
        sys.path.insert(0, str(self.base / "plugins"))
        small = small_suite(self.base)
        dev = dev_suite(self.base)
        self.suites = {suite.name: suite for suite in (small, dev)}
        actionbench.suite.suite.suites = lambda: self.suites  # type: ignore[assignment]
        if not (self.base / "whole").exists():
            self._make()

    def _make(self) -> None:
        """Make the model, in a fork: this process computes nothing."""
        self.call(self.base, [], before=lambda: _leave(tiny_pipeline(self.base / "model")))
        (self.base / "whole").touch()

    def finish(self, name: str) -> None:
        """Run a command undisturbed, the first time that a case compares with it or uses it."""
        place = self.base / name / "facts.json"
        if place.exists():
            return
        folder = self.folder(f"base-{name}", name)
        steps = self.base / f"{name}-steps"
        steps.write_text("")
        done = self.call(folder, self.words(name), counting(steps))
        if done.status:
            raise SystemExit(f"the undisturbed {name} ended with {done}")
        if name == "run":
            shutil.rmtree(self.base / "runs", ignore_errors=True)
            shutil.copytree(folder / "runs", self.base / "runs")
            run_id = next((folder / "runs/runs").iterdir()).name
            (self.base / "run-id").write_text(run_id)
        place.parent.mkdir(exist_ok=True)
        reached = Counter(filter(None, steps.read_text().split("\n")))
        facts = json.dumps(
            {"files": digest(folder), "out": table(done.out), "steps": reached}, indent=1
        )
        with written(place) as temporary:  # a campaign that is killed here makes it anew
            temporary.write_text(facts)
        shutil.rmtree(folder)

    @property
    def run_id(self) -> str:
        """The id of the undisturbed run."""
        self.finish("run")
        return (self.base / "run-id").read_text()

    def facts(self, name: str) -> tuple[dict[str, str], str]:
        """Return the files and the table that a command leaves undisturbed."""
        facts = self._facts(name)
        return facts["files"], facts["out"]

    def steps(self, name: str, stage: str) -> int:
        """Return how many steps of a stage a command comes to if nobody disturbs it."""
        steps: int = self._facts(name)["steps"][stage]
        return steps

    def _facts(self, name: str) -> Any:
        self.finish(name)
        return json.loads((self.base / name / "facts.json").read_text())

    def words(self, name: str, model: str | Path = "", workers: int = 1) -> list[str]:
        """Return the words of one of `COMMANDS`."""
        model = model or self.base / "model"
        # One worker is this process itself, which the campaign can strike in the midst of a step.
        runs = ["--runs", "runs", "--workers", str(workers)]
        run = ["--model", str(model), *runs, "--device", "cpu"]
        steps = ["--set", "steps=40"]
        if name == "run":
            return ["run", "--method", "slow", *run, *steps]
        if name == "judge":
            return ["judges", "run", self.run_id, "--judge", "dimness", *runs]
        if name == "report":
            return ["report", "--runs", "runs"]
        if name == "tune":
            return ["tune", "slow", "--suite", "small-dev", "--passes", "36",
                    "--subjects", "boy", *run]  # fmt: skip
        return [*IMPORT]

    def folder(self, case: str, name: str) -> Path:
        """Make a case's folder, with what its command needs."""
        folder = self.cases / case
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        if name in ("judge", "report", "store"):
            self.finish("run")
            shutil.copytree(self.base / "runs", folder / "runs")
        if name in ("import", "captions", "pictures", "yaml"):
            shutil.copytree(self.base / "source", folder / "source")
            shutil.copy(self.base / "two-actions.yaml", folder)
        return folder

    def start(
        self, folder: Path, words: list[str], before: Callable[[], None] | None = None
    ) -> Started:
        """Run a command in a fork, in `folder`; `before` runs there first."""
        # Beside the folder: what a command prints is none of its files.
        self.cases.mkdir(parents=True, exist_ok=True)
        number = f"{time.monotonic_ns():x}"
        out, err = (self.cases / f"{folder.name}-{number}.{end}" for end in ("out", "err"))
        for path in (out, err):
            path.touch()  # a kill may come before the fork opens them
        since = time.monotonic()
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if pid == 0:
            self._child(folder, words, out, err, before)
        return Started(pid, out, err, since)

    def call(
        self, folder: Path, words: list[str], before: Callable[[], None] | None = None
    ) -> Done:
        """Run a command in a fork and wait for its end."""
        return self.start(folder, words, before).ended()

    def _child(
        self,
        folder: Path,
        words: list[str],
        out: Path,
        err: Path,
        before: Callable[[], None] | None,
    ) -> None:
        code = 70
        try:
            for number, path in ((1, out), (2, err)):
                os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644), number)
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            sys.stdout = os.fdopen(1, "w", encoding="utf-8", closefd=False)
            sys.stderr = os.fdopen(2, "w", encoding="utf-8", closefd=False)
            os.chdir(folder)
            sys.argv = ["actionbench", *words]
            if before:
                before()
            cli.main()
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
        except BaseException:
            traceback.print_exc()
        finally:
            with contextlib.suppress(OSError, ValueError):
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(code)

    def clear(self, case: str) -> None:
        """Remove a case's folder and what its commands printed."""
        for path in self.cases.glob(f"{case}*"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()


COMMANDS = ("run", "judge", "report", "import", "tune")


def _leave(_: Path) -> None:
    sys.exit(0)


def die() -> None:
    """Kill this process as `kill -9` does."""
    os.kill(os.getpid(), signal.SIGKILL)


def at(stage: str, count: int, act: Callable[[], None]) -> Callable[[], None]:
    """Return what a case does first, so that `act` runs at the count-th step of a stage."""

    def before() -> None:
        left = count

        def step(reached: str) -> None:
            nonlocal left
            left -= reached == stage
            if left == 0:
                left = -1
                act()

        _watch(step)

    return before


def counting(file: Path) -> Callable[[], None]:
    """Return what a case does first, so that every step of a stage becomes a line of a file."""

    def before() -> None:
        lines = os.open(file, os.O_WRONLY | os.O_APPEND)
        _watch(lambda stage: os.write(lines, f"{stage}\n".encode()))

    return before


def _watch(step: Callable[[str], object]) -> None:
    """Have `step` called with each stage's name at each of its steps, in this process.

    The stages are the plug-in's "fit", "draw" and "judge", and "write": a file opened for writing,
    or a rename, in the current folder or below it.
    """
    plugin.reached = step
    here = str(Path.cwd())

    def hook(event: str, words: tuple[object, ...]) -> None:
        if event == "open":
            writes = isinstance(words[2], int) and words[2] & (os.O_WRONLY | os.O_RDWR)
        else:
            writes = event in ("os.rename", "os.mkdir", "os.remove", "os.rmdir")
        if writes and not isinstance(words[0], int):
            path = Path.cwd() / os.fsdecode(words[0])  # type: ignore[arg-type]
            if path.is_relative_to(here):
                step("write")

    sys.addaudithook(hook)


def digest(folder: Path) -> dict[str, str]:
    """Return what must be the same after a disturbed command, by file.

    Of records that is all but times, memory and costs. Pages hold those in other words: of them
    only the names count.
    """
    found = {}
    for path in sorted(folder.rglob("*")):
        if not path.is_file():
            continue
        name = path.relative_to(folder).as_posix()
        if path.suffix in (".png", ".safetensors", ".csv", ".yaml"):
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
        elif path.suffix == ".parquet":
            rows = sorted(map(repr, pq.read_table(path).to_pylist()))
            found[name] = hashlib.sha256("\n".join(rows).encode()).hexdigest()
        elif path.suffix == ".json" and ".tmp-" not in name:
            value = _lasting(json.loads(path.read_text("utf-8")))
            found[name] = hashlib.sha256(json.dumps(value).encode()).hexdigest()
        else:
            found[name] = ""
    return found


MEASURED = {
    "command", "cost", "costs", "fit_seconds_per_action", "finished", "git", "made", "peak_mib",
    "started",
}  # fmt: skip
"""Keys of records under which there is when a command ran, by what code, and what it took."""


def _lasting(value: Any) -> Any:
    """Leave out of a record what may differ from time to time."""
    if isinstance(value, dict):
        return {key: _lasting(node) for key, node in value.items() if key not in MEASURED}
    return [_lasting(node) for node in value] if isinstance(value, list) else value


def table(out: str) -> str:
    """Return the lines of what a command printed that hold results: figures, not times.

    Sorted, because actions are printed as they are finished, and each line names its own.
    """
    lines = (re.sub(r" +[\d.]+ (s|min|h)\b", "", line).rstrip() for line in out.splitlines())
    return "\n".join(sorted(line for line in lines if "%" in line or line.startswith("run ")))


def leftovers(folder: Path) -> list[str]:
    """Return the temporary files below a folder."""
    return sorted(str(p.relative_to(folder)) for p in folder.rglob(".tmp-*"))


def rng(seed: int, case: str) -> random.Random:
    """Return a case's own random numbers."""
    return random.Random(f"{seed}/{case}")
