"""Which actions a run fits together (`Method.fit_many`), and what a fit takes of memory."""

from __future__ import annotations

from dataclasses import replace

from actionbench.device import resolve_device
from actionbench.method import Work
from actionbench.runs.plan import Plan
from actionbench.runs.record import RunRecord
from actionbench.runs.workers.choose import gpus

ROOM = 1.5
"""How much more a fit takes than can be counted: the kernels' working memory, fragmentation."""
SMALL, GUESS = 256 * 2**20, 8
"""Of a model with fewer bytes of weights, so many times them are taken for a fit: counting would
take seconds of a run of a minute."""
MOST = 8
"""Fits at once that are chosen by themselves: more are not measured yet."""
SHARE = 0.9
"""Of a GPU's memory, that its workers may fill."""


def fits_at_once(plan: Plan, earlier: RunRecord | None) -> int:
    """Say how many actions of a run are fitted together.

    As many as the options say; else as many as an unfinished part of the run had on the same
    device, so that it goes on with the same groups; else on a GPU as many as its memory holds and
    as leave no worker without any.

    Args:
        plan: the run.
        earlier: its record so far.
    """
    options, actions = plan.options, len(plan.actions)
    if not plan.method.lockstep:
        return 1
    if options.fits_at_once is not None:
        return min(options.fits_at_once, actions)
    device = resolve_device(options.device)
    before = earlier.resources.get("fits_at_once") if earlier else None
    if earlier and earlier.device == device and isinstance(before, int) and before > 0:
        return before
    names = gpus(options.device) if options.ray in (None, "local") else []
    if not names:
        return 1
    workers = options.workers or len(names)
    most = min(MOST, -(-actions // workers))
    room = SHARE * _smallest_gpu() / -(-workers // len(names))
    return max((n for n in range(2, most + 1) if bytes_of_fits(plan, n) <= room), default=1)


def groups(plan: Plan, at_once: int) -> list[list[str]]:
    """Divide a run's actions, in their order and whatever is done already, by their names."""
    names = [action.action.name for action in plan.actions]
    return [names[start : start + at_once] for start in range(0, len(names), at_once)]


def bytes_of_fits(plan: Plan, at_once: int) -> float:
    """Estimate what the fits of a plan take that are made together, the base model included."""
    size = sum(file.stat().st_size for file in plan.source.path.rglob("*.safetensors"))
    if size < SMALL:
        return GUESS * size * at_once
    from actionbench.diffusion.backbone import DTYPES
    from actionbench.diffusion.cost import Networks

    networks = Networks(
        plan.source.path, gradient_checkpointing=plan.options.gradient_checkpointing
    )
    exemplars = max(len(action.task.exemplars) for action in plan.actions)
    work = plan.method.fit_work(exemplars, networks.layers) or Work()
    work = replace(work, batch=at_once * work.batch, rows=at_once * work.rows)
    return ROOM * networks.fit_bytes(work, DTYPES[plan.options.dtype])


def _smallest_gpu() -> int:
    """Return the bytes of the smallest visible GPU, free or not: groups may not depend on what
    else runs."""
    import torch

    cuda = torch.cuda
    return min(int(cuda.get_device_properties(n).total_memory) for n in range(cuda.device_count()))
