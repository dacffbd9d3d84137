"""What a step costs in floating-point operations, and what share of the machine's speed that is.

Seconds of two machines cannot be compared; shares of each machine's own speed in a matrix product
can.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from actionbench.diffusion.cost import Networks
from actionbench.method import Method
from actionbench.runs.doctor import matmul_speed

EXEMPLARS = 10


@lru_cache
def speed(device: str, dtype: torch.dtype = torch.float32) -> float:
    """Measure the operations a second in a matrix product, once in this process."""
    return matmul_speed(device, dtype)


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


def share(flops: float, seconds: float, device: str, dtype: torch.dtype = torch.float32) -> str:
    """Write operations over time as a share of the machine's speed: "46% of 61 GFLOP/s"."""
    peak = speed(device, dtype)
    return f"{flops / seconds / peak:.0%} of {peak / 1e9:,.0f} GFLOP/s"
