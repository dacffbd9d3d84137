"""What a step costs in time and operations, and what share of the machine's speed that is.

Seconds of two machines cannot be compared; shares of each machine's own speed in a matrix product
can. On a CPU time is that of this process alone, so that other work on the machine counts little.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from actionbench.diffusion.backbone import Backbone
from actionbench.diffusion.cost import Networks
from actionbench.method import FitRequest, Method
from actionbench.progress import SILENT
from actionbench.runs.doctor import matmul_speed
from actionbench.suite.items import ActionTask

EXEMPLARS = 10


@lru_cache
def speed(device: str, dtype: torch.dtype = torch.float32) -> float:
    """Measure the operations a second of `clock` in a matrix product, once in this process."""
    return matmul_speed(device, dtype, clock=lambda: clock(device))


@lru_cache
def networks(folder: Path) -> Networks:
    """Return a model's networks without content."""
    return Networks(folder)


def step_flops(method: Method[Any], folder: Path, layers: int) -> float:
    """Count a step's operations, without what comes before the first one."""
    work = method.fit_work(EXEMPLARS, layers)
    assert work is not None, f"{method.name} does not say what a fit costs"
    # Of a method that learns tokens, only the pool before it trains the UNet.
    learning = replace(work, drawn=0, drawn_once=0, trained=0 if work.batch else work.trained)
    flops: float = networks(folder).flops(learning, exemplars=0) / method.settings.steps
    return flops


def clock(device: str) -> float:
    """Return the seconds since some moment: on a CPU those that this process computed."""
    if device != "cuda":
        return time.process_time()
    torch.cuda.synchronize()
    return time.perf_counter()


def step_seconds(work: Callable[[int], Any], steps: int, device: str) -> float:
    """Time a step of `work`, which takes so many: the difference of 2 N and N steps."""
    taken = []
    for count in (steps, 2 * steps):
        began = clock(device)
        work(count)
        taken.append(clock(device) - began)
    return (taken[1] - taken[0]) / steps


def fit_together(
    method: Method[Any], backbone: Backbone, tasks: Sequence[ActionTask], fits: int
) -> None:
    """Make fits in lockstep, of the tasks in turns."""
    wanted = [FitRequest(tasks[n % len(tasks)], n, SILENT) for n in range(fits)]
    for outcome in method.fit_many(backbone, wanted):
        if isinstance(outcome, Exception):
            raise outcome


def share(flops: float, seconds: float, device: str, dtype: torch.dtype = torch.float32) -> str:
    """Write operations over time as a share of the machine's speed: "46% of 61 GFLOP/s"."""
    peak = speed(device, dtype)
    return f"{flops / seconds / peak:.0%} of {peak / 1e9:,.0f} GFLOP/s"
