"""Simulate a whole benchmark on 1 to 64 GPUs: how long it takes, and how busy they are.

    python benchmarks/schedule.py [--tflops 300 --share 0.4 | --measured sd21.json]

Eight methods, 48 actions, 3 seeds on Stable Diffusion 2.1-base. The schedule is the one that runs
have (`actionbench.runs.workers.schedule`), with an executor whose clock is simulated. How long a
unit takes follows from the operations that its networks do, counted, and a speed: `--tflops` times
`--share`, or the steps and images a second that `benchmarks/sd21.py` measured (its --out). Ideal is
the sum of all fits, drawings and judgements over the number of GPUs: nothing is loaded and nobody
waits.
"""

from __future__ import annotations

import argparse
import heapq
import json
import tempfile
from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from sd21 import PRESET, configs

from actionbench.diffusion.cost import Networks
from actionbench.files.models import ModelSource, ModelTraits
from actionbench.method import Method, Work
from actionbench.plugins.tiny import tiny_task
from actionbench.progress import Observer
from actionbench.registry import get_method, method_names
from actionbench.runs.options import DEFAULTS
from actionbench.runs.profiles import configure
from actionbench.runs.workers.executor import Executor
from actionbench.runs.workers.schedule import Job, Schedule
from actionbench.runs.workers.unit import Done, DrawUnit, JudgeUnit, Result, Shared, Started, Unit
from actionbench.suite.items import Action, Item, Sampling, paper_subjects

GPUS = (1, 2, 4, 8, 16, 32, 64)
LAYERS, EXEMPLARS = 16, 10
SAMPLING = Sampling(50, 7.5)
IMAGES = 46
"""Of an action: 23 subjects, two each."""
LOAD_SECONDS, JUDGE_LOAD_SECONDS, JUDGE_SECONDS = 15.0, 60.0, 30.0
"""Of the base model; of a judge of seven billion parameters; of its verdicts on an action. Assumed,
and small beside a fit."""


@dataclass(frozen=True)
class Times:
    """The seconds of one method's units."""

    fit: float
    shared: float
    """What all its fits share and the first one draws."""
    draw: float


class SimulatedRun(Job):
    """A run of some actions whose units take what `Times` says."""

    def __init__(self, method: Method[Any], actions: int, seed: int) -> None:
        self.observer = Observer()
        self.method, self.seed = method, seed
        task = tiny_task()
        self.tasks = {
            str(n): replace(task, action=Action(str(n), "acts"), fingerprint=str(n))
            for n in range(actions)
        }
        self.to_draw, self.to_judge = list(self.tasks), []
        self.undrawn, self.judged = actions, 0

    def begin(self) -> None:
        pass

    @property
    def finished(self) -> bool:
        return self.judged == len(self.tasks)

    @property
    def drawing(self) -> bool:
        return self.undrawn > 0

    def draw_unit(self, under_way: Collection[str]) -> DrawUnit | None:
        for name in self.to_draw:
            task = self.tasks[name]
            known = {n: torch.empty(0) for n in self.method.shared(task, self.seed) if n in DRAWN}
            if set(self.method.shared(task, self.seed)) & set(under_way) - set(known):
                continue
            self.to_draw.remove(name)
            return DrawUnit(
                method=self.method,
                source=SOURCE,
                options=DEFAULTS,
                sampling=SAMPLING,
                task=task,
                items=(),
                missing=frozenset(),
                seed=self.seed,
                fitted=None,
                batch_size=1,
                total=IMAGES,
                drawn=known,
            )
        return None

    def judge_unit(self) -> JudgeUnit | None:
        if not self.to_judge:
            return None
        item = Item(self.tasks[self.to_judge.pop(0)].action, paper_subjects()[0], 0)
        return JudgeUnit(None, "simulated", "simulated", "puppets", DEFAULTS, (item,), ())

    def take(self, unit: Unit, result: Result) -> None:
        if isinstance(result, Shared):
            DRAWN.add(result.name)
        if isinstance(result, Done):
            if isinstance(unit, DrawUnit):
                self.undrawn -= 1
                self.to_judge.append(unit.action)
            else:
                self.judged += 1

    def give_back(self, unit: Unit) -> None:
        raise AssertionError("nothing is lost in a simulation")


class SimulatedGpus(Executor):
    """Workers whose units take the time that they would."""

    both = False

    def __init__(self, count: int, times: dict[str, Times]) -> None:
        self.times = times
        self.idle: list[type | None] = [None] * count
        self.clock = self.worked = 0.0
        self.events: list[tuple[float, int, Unit, Result]] = []
        self.number = 0

    @property
    def free(self) -> bool:
        return bool(self.idle)

    def now(self) -> float:
        return self.clock

    def start(self, unit: Unit) -> None:
        kind = type(unit)
        self.idle.sort(key=lambda held: (held is kind, held is None))
        held = self.idle.pop()
        first = {DrawUnit: LOAD_SECONDS, JudgeUnit: JUDGE_LOAD_SECONDS}[kind]
        at = self.clock + (0.0 if held is kind else first)
        begin = at
        self._push(at, unit, Started("cuda", at - self.clock))
        if isinstance(unit, DrawUnit):
            times = self.times[unit.method.name]
            missing = set(unit.method.shared(unit.task, unit.seed)) - set(unit.drawn)
            if missing:
                at += times.shared
            for name in missing:
                self._push(at, unit, Shared(name, torch.empty(0)))
            at += times.fit + times.draw
        else:
            at += JUDGE_SECONDS
        self.worked += at - begin
        self._push(at, unit, Done(0.0, 0, 1))

    def _push(self, at: float, unit: Unit, result: Result) -> None:
        self.number += 1
        heapq.heappush(self.events, (at, self.number, unit, result))

    def wait(self) -> tuple[Unit, Result]:
        self.clock, _, unit, result = heapq.heappop(self.events)
        if isinstance(result, Done):
            self.idle.append(type(unit))
        return unit, result

    def abandon(self, unit: Unit) -> None:
        raise AssertionError("nothing fails in a simulation")

    def close(self) -> None:
        pass


DRAWN: set[str] = set()
"""What the simulated store holds of what fits share."""
SOURCE = ModelSource(Path(), PRESET, PRESET, PRESET)


def counted_times(methods: list[Method[Any]], speed: float) -> dict[str, Times]:
    """Divide the networks' counted operations by a speed."""
    with tempfile.TemporaryDirectory() as folder:
        for part, config in configs(512, False).items():
            (Path(folder) / part).mkdir()
            (Path(folder) / part / "config.json").write_text(json.dumps(config))
        networks = Networks(Path(folder))
        image = 2 * SAMPLING.steps * networks.forward.flops + networks.decoded.flops
        times = {}
        for method in methods:
            work = (method.needs_fit and method.fit_work(EXEMPLARS, LAYERS)) or Work()
            fit = networks.flops(work, EXEMPLARS) if method.needs_fit else 0.0
            once = work.drawn_once * networks.forward.flops if work.drawn_once else 0.0
            times[method.name] = Times(fit / speed, once / speed, IMAGES * image / speed)
    return times


def measured_times(methods: list[Method[Any]], file: Path) -> dict[str, Times]:
    """Read what `benchmarks/sd21.py` measured."""
    rows = {row["method"]: row for row in json.loads(file.read_text())["rows"]}
    return {
        m.name: Times(
            rows[m.name].get("fit_s", 0.0),
            rows[m.name].get("shared_s", 0.0),
            IMAGES / rows[m.name]["images_per_s"],
        )
        for m in methods
    }


def simulate(
    gpus: int,
    methods: list[Method[Any]],
    times: dict[str, Times],
    actions: int,
    seeds: int,
) -> tuple[float, float]:
    """Return the hours to the end, and the ideal."""
    DRAWN.clear()
    executor = SimulatedGpus(gpus, times)
    schedule = Schedule(executor)
    jobs: list[Job] = [
        SimulatedRun(method, actions, seed) for seed in range(seeds) for method in methods
    ]
    while jobs:
        job, *jobs = jobs
        schedule.run(job, jobs)
        if job.failure:
            raise job.failure
    return executor.clock / 3600, executor.worked / gpus / 3600


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tflops", type=float, default=300.0, help="of a matrix product")
    parser.add_argument("--share", type=float, default=0.4, help="of it that a step reaches")
    parser.add_argument("--measured", type=Path, help="what benchmarks/sd21.py wrote")
    parser.add_argument("--actions", type=int, default=48)
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    methods = [
        configure(kind, ModelTraits(PRESET))
        for kind in map(get_method, method_names())
        if kind.needs_backbone
    ]
    if options.measured:
        times = measured_times(methods, options.measured)
    else:
        times = counted_times(methods, options.tflops * 1e12 * options.share)
    print("| method | fit, min | drawn once, min | images, min |\n|---|---:|---:|---:|")
    for name, t in times.items():
        print(f"| {name} | {t.fit / 60:.1f} | {t.shared / 60:.1f} | {t.draw / 60:.1f} |")
    what = f"{len(methods)} methods x {options.actions} actions x {options.seeds} seeds"
    print(f"\n{what}\n\n| GPUs | hours | ideal | share of ideal |\n|---:|---:|---:|---:|")
    for gpus in GPUS:
        hours, ideal = simulate(gpus, methods, times, options.actions, options.seeds)
        print(f"| {gpus} | {hours:.1f} | {ideal:.1f} | {ideal / hours:.0%} |")


if __name__ == "__main__":
    main()
