"""How many workers there are, and of which kind."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable, Iterable
from typing import Any

from actionbench.device import GIB, memory, resolve_device
from actionbench.errors import UserError, one_line
from actionbench.runs.options import RunOptions
from actionbench.runs.workers.executor import Executor, InLine

PROCESS = 0.8 * GIB
"""What a worker holds besides its fit: Python, torch, diffusers, transformers and a judge of the
miniature's size (measured on the miniature, rounded up)."""

MANY = 4
"""So many cores for each worker are worth a sentence."""


def cores() -> int:
    """Return the CPU cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def open_executor(
    options: RunOptions,
    units: int,
    note: Callable[[str], None] = lambda text: None,
    needed: Callable[[], float] = lambda: 0.0,
    travels: Iterable[Any] = (),
) -> Executor:
    """Open the executor that options ask for.

    Args:
        options: their `workers` and `device`.
        units: how many units there are to do: more workers would be idle.
        note: receives a sentence if there are fewer workers than asked for, or many idle cores.
        needed: returns the bytes that a unit takes, besides the process itself; called only if
            there may be several workers on a CPU.
        travels: methods and judges that would be sent to workers.

    Raises:
        UserError: if workers are asked for and something cannot be sent to them.
    """
    asked = options.workers
    if units == 0:
        return InLine()
    if options.ray is None and min(units, asked or max(cores(), 2)) <= 1:
        _note_idle(1, options.device, note)
        return InLine()
    far = options.ray not in (None, "local")
    devices = [] if far else gpus(options.device)
    count = min(units, asked or (units if far else len(devices) or cores()))
    if (count > 1 or options.ray) and (reason := _cannot_travel(travels)):
        if asked or options.ray:
            raise UserError(f"{reason}: take --workers 1{' without --ray' if options.ray else ''}")
        note(f"{reason}: one process does all")
        count = 1
    if count > 1 and not (devices or far):
        each, (free, _) = PROCESS + needed(), memory("cpu")
        if each * count > free:
            count = max(1, int(free // each))
            note(
                f"{count} worker{'s' if count > 1 else ''}, because each takes about "
                f"{each / GIB:.1f} GiB and {free / GIB:.1f} GiB are free"
            )
    if options.ray is not None:
        from actionbench.runs.workers.on_ray import RayWorkers, start_ray

        ray, connected = start_ray(options.ray, cores=count)
        return RayWorkers(ray, count, options.device, disconnect=connected)
    _note_idle(count, options.device, note)
    if count <= 1:
        return InLine()
    from actionbench.runs.workers.local import LocalWorkers

    return LocalWorkers(count, devices)


def _note_idle(count: int, device: str, note: Callable[[str], None]) -> None:
    """Say how to use the cores of a CPU if few of them will work."""
    spare = cores() // count
    if spare >= MANY and "OMP_NUM_THREADS" not in os.environ and not gpus(device):
        note(
            f"{count} of {cores()} cores compute, one thread a worker, for results that are the "
            f"same bits everywhere; OMP_NUM_THREADS={spare} takes all, with other last bits"
        )


def gpus(device: str) -> list[str]:
    """Return a value of CUDA_VISIBLE_DEVICES for each GPU; none if the work is for the CPU."""
    if resolve_device(device) != "cuda":
        return []
    import torch

    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = visible.split(",") if visible else list(map(str, range(torch.cuda.device_count())))
    return names[: torch.cuda.device_count()]


def _cannot_travel(travels: Iterable[Any]) -> str:
    """Say what cannot be sent to a worker process, and why; nothing if all can."""
    for thing in travels:
        kind = type(thing)
        if kind.__module__ == "__main__":
            return f"'{thing.name}' is defined in __main__, which workers do not have"
        try:
            pickle.dumps(thing)
        except Exception as error:  # of any kind: pickling runs a plug-in's code
            return f"'{thing.name}' cannot be sent to workers ({one_line(error)})"
    return ""
