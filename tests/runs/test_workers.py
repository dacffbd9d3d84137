"""Workers: the same bits for any number of them, and what is lost if one dies."""

from __future__ import annotations

import hashlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import actionbench.runs.workers.choose
from actionbench.errors import MethodError, UserError
from actionbench.method import Customization
from actionbench.progress import Observer
from actionbench.runs.campaign import execute_each
from actionbench.runs.execute import Execution, execute
from actionbench.runs.judging import judge_run
from actionbench.runs.options import RunOptions
from actionbench.runs.plan import Plan
from actionbench.runs.store import Store
from actionbench.runs.workers.choose import open_executor
from actionbench.runs.workers.executor import InLine
from actionbench.runs.workers.local import LocalWorkers
from actionbench.runs.workers.schedule import Schedule
from actionbench.runs.workers.serve import serve
from actionbench.runs.workers.unit import RemoteDefect
from tests.helpers.small_run import (
    Brightness,
    Drift,
    DriftSettings,
    Faulty,
    Plain,
    small_plan,
    small_suite,
)

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def workers() -> Iterator[LocalWorkers]:
    """Two processes for all tests of this file."""
    with LocalWorkers(2) as workers:
        yield workers


@pytest.fixture(scope="module")
def alone(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run by this process alone."""
    folder = tmp_path_factory.mktemp("alone")
    execute(small_plan(tiny_model, folder))
    return folder


class Watch(Observer):
    def __init__(self) -> None:
        self.steps: list[tuple[str, str]] = []
        self.rows: list[str] = []
        self.notes: list[str] = []

    def step(self, action: str, stage: str, done: int, total: int, what: str = "") -> None:
        self.steps.append((action, stage))

    def row(self, row: Any) -> None:
        self.rows.append(row.action)

    def note(self, text: str) -> None:
        self.notes.append(text)


def run(plan: Plan, workers: Any, watch: Observer | None = None) -> Execution:
    job = Execution(plan)
    job.watch(watch or Watch())
    Schedule(workers).run(job)
    return job


def contents(folder: Path) -> dict[str, str]:
    """Hash fits, images and verdicts, by path; records hold times."""
    runs = folder / "runs"
    files = [*runs.rglob("*.safetensors"), *runs.rglob("*.png"), *runs.rglob("*.parquet")]
    return {
        f.relative_to(runs).as_posix(): hashlib.sha256(f.read_bytes()).hexdigest() for f in files
    }


def test_two_workers_give_the_same_bits_as_this_process(
    workers: LocalWorkers, alone: Path, tiny_model: Path, tmp_path: Path
) -> None:
    watch = Watch()
    result = run(small_plan(tiny_model, tmp_path), workers, watch).result()
    assert contents(tmp_path) == contents(alone)
    assert len({worker.process.pid for worker in workers.workers if worker.process}) == 2
    assert sorted(watch.rows) == ["gesture", "salute"] and not watch.notes
    assert {("salute", stage) for stage in ("fit", "generate", "judge")} <= set(watch.steps)
    assert [row.action for row in result.rows] == ["salute", "gesture"]
    record = result.record
    assert record.complete and record.device == "cpu" and record.peak_mib > 50
    for costs in record.costs.values():
        assert costs.fit is not None and costs.fit.peak_mib > 50
        assert costs.generate.images == costs.judge.images == 6
    assert (tmp_path / "runs" / "canary").is_dir(), "the launcher compares the canary's scores"


def test_a_finished_runs_images_are_judged_by_workers(
    alone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: LocalWorkers
) -> None:
    import shutil

    shutil.copytree(alone, tmp_path / "copy")
    store = Store(tmp_path / "copy" / "runs")
    (first,) = store.run_ids()
    monkeypatch.setattr(workers, "close", lambda: None)
    monkeypatch.setattr(actionbench.runs.judging, "open_executor", lambda *words, **more: workers)
    other = Brightness(small_suite(tmp_path / "copy"))
    other.rule = "2"  # type: ignore[misc]
    made = judge_run(store, first, other, options=RunOptions(device="cpu", workers=2))
    keys = ("image", "action_score", "total_correct")
    rows = [[row[key] for key in keys] for row in store.load_row_dicts(made)]
    assert rows == [[row[key] for key in keys] for row in store.load_row_dicts(first)]
    assert {row["judge_fingerprint"] for row in store.load_row_dicts(made)} == {"2"}


class Killer(Watch):
    """Kills the worker that is at an action's fit, as often as asked."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self.times = times

    def step(self, action: str, stage: str, done: int, total: int, what: str = "") -> None:
        super().step(action, stage, done, total, what)
        if (action, stage, done) == ("salute", "fit", 1) and self.times and what != "steps":
            self.times -= 1
            os.kill(int(what), signal.SIGKILL)


class Slow(Drift):
    """Drift that says its process, and is still fitting when that is killed."""

    name = "slow"

    def fit(self, backbone: Any, task: Any, *, seed: int, progress: Any) -> Customization:
        progress.update(1, 3, str(os.getpid()))
        time.sleep(0.5)
        return replace(super().fit(backbone, task, seed=seed, progress=progress), method=self.name)


def test_a_killed_workers_unit_is_done_once_more(
    workers: LocalWorkers, tiny_model: Path, tmp_path: Path
) -> None:
    execute(small_plan(tiny_model, tmp_path / "alone", Slow()))
    watch = Killer(times=1)
    assert run(small_plan(tiny_model, tmp_path / "killed", Slow()), workers, watch).result()
    (note,) = watch.notes
    assert "'salute' was killed by signal 9 (SIGKILL): it is tried once more" in note
    assert contents(tmp_path / "killed") == contents(tmp_path / "alone")


def test_a_unit_that_takes_two_workers_down_is_named_and_the_rest_is_kept(
    workers: LocalWorkers, tiny_model: Path, tmp_path: Path
) -> None:
    job = run(small_plan(tiny_model, tmp_path, Slow()), workers, Killer(times=2))
    with pytest.raises(UserError, match=r"'salute' took 2 workers down.*fewer with --workers"):
        job.result()
    again = small_plan(tiny_model, tmp_path, Slow())
    assert next(work.to_do for work in again.work()) == 1, "the other action's fit is kept"


def test_a_failure_in_a_worker_reads_as_in_this_process(
    workers: LocalWorkers, tiny_model: Path, tmp_path: Path
) -> None:
    failures, traces = [], []
    for name, executor in (("there", workers), ("here", InLine())):
        plan = small_plan(tiny_model, tmp_path / name, Faulty())
        with pytest.raises(MethodError) as failed:
            run(plan, executor).result()
        trace = plan.store.failure_path(plan.run_id)
        failures.append(str(failed.value).replace(str(trace), "TRACE"))
        traces.append(trace.read_text())
        assert plan.store.read_record(plan.run_id).failure is not None
    assert failures[0] == failures[1]
    assert failures[0].startswith("faulty failed fitting 'gesture': ZeroDivisionError: a defect")
    assert all('raise ZeroDivisionError("a defect' in trace for trace in traces)


class BrokenJudge(Brightness):
    """A judge with a defect that shows in a worker; workers keep a judge by its fingerprint."""

    rule = "defect"

    def judge(self, images: Any, items: Any) -> Any:
        raise ZeroDivisionError("a defect of the judge")


def test_a_judges_defect_in_a_worker_keeps_its_traceback(
    workers: LocalWorkers, tiny_model: Path, tmp_path: Path
) -> None:
    broken = BrokenJudge(small_suite(tmp_path))
    plan = small_plan(tiny_model, tmp_path, Plain(), judge=broken, actions=["salute"])
    with pytest.raises(RemoteDefect, match="ZeroDivisionError: a defect of the judge") as failed:
        run(plan, workers).result()
    assert "raise ZeroDivisionError" in failed.value.__notes__[0]
    assert [work.to_do for work in plan_again(plan).work()] == [0, 0, 6], "the images are kept"


def plan_again(plan: Plan) -> Plan:
    return small_plan(
        plan.source.path, plan.store.root.parent, Plain(), judge=plan.judge, actions=["salute"]
    )


def test_later_runs_begin_in_idle_workers_and_outcomes_keep_their_order(
    workers: LocalWorkers, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "close", lambda: None)
    monkeypatch.setattr(actionbench.runs.campaign, "open_executor", lambda *words, **more: workers)
    plans = [
        small_plan(tiny_model, tmp_path, Drift(DriftSettings(steps=n)), actions=["salute"])
        for n in (3, 4, 5)
    ]
    outcomes = list(execute_each(plans))
    assert [outcome.plan.run_id for outcome in outcomes] == [plan.run_id for plan in plans]
    assert all(outcome.result is not None for outcome in outcomes)


def test_workers_end_with_their_launcher(tiny_model: Path, tmp_path: Path) -> None:
    """kill -9 of the launcher: its workers end, and the same command goes on."""
    command = [sys.executable, "-m", "tests.runs.test_workers", str(tiny_model), str(tmp_path)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as launcher:
        assert launcher.stdout is not None
        pids = [int(pid) for pid in launcher.stdout.readline().split()]
        assert len(pids) == 2
        launcher.kill()
    ends = time.monotonic() + 60
    while any(Path(f"/proc/{pid}").exists() for pid in pids):
        assert time.monotonic() < ends, "a worker outlived its launcher"
        time.sleep(0.05)
    plan = small_plan(tiny_model, tmp_path, Sleepy())
    assert execute(plan).record.complete


@pytest.mark.skipif(sys.platform == "win32", reason="its sockets have no descriptors")
def test_a_worker_ends_without_a_word_if_its_result_was_not_read() -> None:
    """A launcher that is killed before it reads a result resets the connection."""
    ours, theirs = socket.socketpair()
    alive, lifeline = os.pipe()
    try:
        ours.send(b"a result that nobody reads")
        theirs.close()
        serve(ours.detach(), alive)
    finally:
        # The pipe stays open: its end would end this process.
        assert lifeline


class Sleepy(Drift):
    """Drift that would fit for ten minutes in a worker."""

    name = "sleepy"

    def fit(self, backbone: Any, task: Any, *, seed: int, progress: Any) -> Customization:
        progress.update(0, 3, "steps")
        if "pytest" not in sys.modules:
            time.sleep(600)
        return replace(super().fit(backbone, task, seed=seed, progress=progress), method=self.name)


# How many, and what may travel


def test_as_many_workers_as_there_are_units_memory_and_cores(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    notes: list[str] = []
    options = RunOptions(device="cpu")

    def count(units: int, asked: int | None = None, needed: float = 0.0) -> int:
        executor = open_executor(
            replace(options, workers=asked), units, notes.append, lambda: needed
        )
        return len(executor.workers) if isinstance(executor, LocalWorkers) else 1

    monkeypatch.setattr(actionbench.runs.workers.choose, "cores", lambda: 4)
    monkeypatch.setattr(actionbench.runs.workers.choose, "memory", lambda _: (8 * 2**30, 0))
    assert [count(1), count(3), count(9), count(9, asked=1), count(9, asked=6)] == [1, 3, 4, 1, 6]
    assert not notes
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("OMP_NUM_THREADS")
        assert count(1) == 1 and count(2) == 2
    (idle,) = notes
    assert idle.startswith("1 of 4 cores compute") and "OMP_NUM_THREADS=4 takes all" in idle
    notes.clear()
    assert count(9, needed=3 * 2**30) == 2 and count(9, needed=2**40) == 1
    assert notes[0] == "2 workers, because each takes about 3.8 GiB and 8.0 GiB are free"
    monkeypatch.setattr(actionbench.runs.workers.choose, "cores", lambda: 1)
    assert count(9) == 1 and count(9, asked=2) == 2


def test_a_method_that_cannot_be_sent_to_workers_is_named() -> None:
    class Local(Plain):
        name = "local"

    notes: list[str] = []
    asked = RunOptions(device="cpu", workers=2)
    with pytest.raises(
        UserError, match=r"'local' cannot be sent to workers \(.*: take --workers 1"
    ):
        open_executor(asked, 2, travels=[Local()])
    automatic = RunOptions(device="cpu")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(actionbench.runs.workers.choose, "cores", lambda: 2)
        assert isinstance(open_executor(automatic, 2, notes.append, travels=[Local()]), InLine)
    assert "one process does all" in notes[0]


def test_in_line_computes_with_a_workers_threads_and_gives_them_back(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []

    class Counting(Drift):
        def fit(self, *words: Any, **rest: Any) -> Customization:
            seen.append(torch.get_num_threads())
            return super().fit(*words, **rest)

    monkeypatch.setattr(actionbench.runs.workers.executor, "threads", lambda: 2)
    execute(small_plan(tiny_model, tmp_path, Counting(), actions=["salute"], subjects=["boy"]))
    assert seen == [2] and torch.get_num_threads() == 1


def test_what_another_fit_is_drawing_is_waited_for(tiny_model: Path, tmp_path: Path) -> None:
    class Sharing(Drift):
        def shared(self, task: Any, seed: int) -> tuple[str, ...]:
            return (f"pool of {task.action.name}",)

    job = Execution(small_plan(tiny_model, tmp_path, Sharing()))
    job.begin()
    unit = job.draw_unit({"pool of salute"})
    assert unit is not None and unit.action == "gesture"
    assert job.draw_unit({"pool of salute", "pool of gesture"}) is None
    unit = job.draw_unit({"pool of gesture"})
    assert unit is not None and unit.action == "salute"


def test_what_fits_share_is_drawn_once_for_all_runs(tiny_model: Path, tmp_path: Path) -> None:
    made: list[str] = []

    class Pooled(Drift):
        def shared(self, task: Any, seed: int) -> tuple[str, ...]:
            return (f"pool of {task.action.name}",)

        def fit(self, backbone: Any, task: Any, **rest: Any) -> Customization:
            (name,) = self.shared(task, 0)
            if name not in backbone.drawn:
                made.append(name)
                backbone.drawn[name] = torch.arange(3.0)
            assert torch.equal(backbone.drawn[name], torch.arange(3.0))
            return super().fit(backbone, task, **rest)

    for steps in (3, 4):  # two runs that load the base model anew
        execute(small_plan(tiny_model, tmp_path, Pooled(DriftSettings(steps=steps))))
    assert made == ["pool of salute", "pool of gesture"]
    execute(small_plan(tiny_model, tmp_path, Pooled(), dtype="bfloat16", actions=["salute"]))
    assert len(made) == 3, "another number format is another base model"
    files = sorted((tmp_path / "runs" / "drawn").iterdir())
    assert len(files) == 3
    for file in files:
        file.write_bytes(b"damaged")
    with pytest.raises(UserError, match=r"drawn/\w+\.safetensors is damaged.*delete it"):
        execute(small_plan(tiny_model, tmp_path, Pooled(DriftSettings(steps=5))))


def _main() -> None:
    """Begin a run of two workers, and print their process ids once both are fitting."""
    model, folder = sys.argv[1:]
    from tests.runs.test_workers import Sleepy as Importable

    class Both(Observer):
        def __init__(self) -> None:
            self.fitting: set[str] = set()

        def step(self, action: str, stage: str, done: int, total: int, what: str = "") -> None:
            self.fitting.add(action)
            if len(self.fitting) == 2:
                print(*(w.process.pid for w in workers.workers if w.process), flush=True)

    with LocalWorkers(2) as workers:
        run(small_plan(Path(model), Path(folder), Importable()), workers, Both())


if __name__ == "__main__":
    _main()
