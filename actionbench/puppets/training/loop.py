"""The one training loop: rate, batch, step, average, log, checkpoint.

A stage hands over its modules and a function from the step's number to the losses. All that is
random in that function comes from the recipe's seed and the step's number, so that a training that
was killed goes on from its last checkpoint to the very weights it would have reached with
the same number of threads.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, distributed, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from actionbench.files.atomic import replacing
from actionbench.files.networks import load_state
from actionbench.progress import SILENT, Progress

T = TypeVar("T", list[str], np.ndarray, Tensor)
M = TypeVar("M")

LOG_EVERY = 50
"""Steps between two lines of the log."""
AGAIN = 100
"""Steps in which the rate rises again after a slim checkpoint, whose optimizer begins anew."""
CHECKPOINT_SECONDS = 120.0
"""Seconds between two checkpoints: what a killed training loses at most."""


@dataclass(frozen=True)
class Schedule:
    """The learning rate: a linear rise, a constant stretch, and half a cosine down to nothing.

    The constant stretch can be cut or prolonged while a training runs: only `steps` changes.
    """

    steps: int
    peak: float
    warmup: int = 100
    decay: int | None = None
    """Steps of the fall at the end; None: all that come after the rise."""

    def rate(self, step: int) -> float:
        rise = min(1.0, (step + 1) / max(1, self.warmup))
        decay = self.steps if self.decay is None else self.decay
        length = min(decay, self.steps - min(self.warmup, self.steps))
        done = step - (self.steps - length)
        if done <= 0 or length < 1:
            return self.peak * rise
        return self.peak * rise * 0.5 * (1 + math.cos(math.pi * done / length))


@dataclass(frozen=True)
class Stage:
    """What one training consists of."""

    name: str
    stem: Path
    """The checkpoint is `<stem>.safetensors`, the log `<stem>.log`."""
    modules: Mapping[str, nn.Module]
    """All that learns, by name."""
    losses: Callable[[int], Mapping[str, Tensor]]
    """From the step's number to the terms of the loss, which are added up. A term whose name
    begins with "_" is logged only."""
    schedule: Schedule
    averages: Mapping[str, nn.Module] = field(default_factory=dict)
    """Running averages of the modules of the same names."""
    ema: float = 0.999
    weight_decay: float = 0.01
    betas: tuple[float, float] = (0.9, 0.999)
    clip: float = 1.0
    """The gradient is scaled down to this norm."""
    precision: str = "float32"
    """Of the forward and backward pass: float32, bfloat16 (weights, averages and the optimizer stay
    float32), or auto, which is bfloat16 where the machine multiplies it faster."""


class Checkpoint:
    """Modules, averages, optimizer and step in one safetensors file, replaced atomically."""

    def __init__(
        self, path: Path, modules: Mapping[str, nn.Module], optimizer: torch.optim.Optimizer
    ) -> None:
        self.path, self.modules, self.optimizer = path, modules, optimizer

    def save(self, step: int, seconds: float) -> None:
        """Write everything under a temporary name and swap it in."""
        tensors = {"step": torch.tensor(step), "seconds": torch.tensor(seconds)}
        for name, module in self.modules.items():
            tensors |= {f"{name}.{k}": v for k, v in module.state_dict().items()}
        for index, state in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{index}.{k}": torch.as_tensor(v) for k, v in state.items()}
        plain = torch.contiguous_format
        packed = {k: v.detach().clone(memory_format=plain) for k, v in tensors.items()}
        with replacing(self.path) as path:
            save_file(packed, path)

    def load(self) -> tuple[int, float]:
        """The step to go on from and the seconds spent; both 0 without a checkpoint."""
        if not self.path.exists():
            return 0, 0.0
        tensors = load_file(self.path)
        for name, module in self.modules.items():
            state = part(tensors, name) or part(tensors, f"average_{name}")
            load_state(module, state, self.path)
        parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        states: dict[int, dict[str, Tensor]] = {}
        for key, value in part(tensors, "optimizer").items():
            index, _, name = key.partition(".")
            kept = parameters[int(index)]
            if value.shape == kept.shape:  # a fused step needs the memory layout of the parameter
                value = torch.empty_like(kept).copy_(value)
            states.setdefault(int(index), {})[name] = value
        if not states:  # a slim checkpoint: the optimizer begins anew
            return int(tensors["step"]), float(tensors["seconds"])
        whole = self.optimizer.state_dict()
        self.optimizer.load_state_dict({**whole, "state": states})
        return int(tensors["step"]), float(tensors["seconds"])


def slim(path: Path) -> dict[str, Tensor]:
    """What a training can go on from of a checkpoint, in about a tenth of its size.

    Float16; of a module that has a running average, the average alone; nothing of the optimizer. A
    training that goes on from it does not end with the same bits.
    """
    tensors = load_file(path)
    averaged = {
        k.split(".")[0].removeprefix("average_") for k in tensors if k.startswith("average_")
    }
    return {
        name: value.half() if value.is_floating_point() and value.dim() else value
        for name, value in tensors.items()
        if name.split(".")[0] not in {"optimizer", *averaged}
    }


def part(tensors: Mapping[str, Tensor], name: str) -> dict[str, Tensor]:
    """The tensors of one module of a checkpoint, under that module's own names."""
    return {k[len(name) + 1 :]: v for k, v in tensors.items() if k.startswith(f"{name}.")}


class Log:
    """JSON lines with the seconds that the stage has run in all."""

    def __init__(self, path: Path, seconds: float = 0.0) -> None:
        self.path, self.start = path, time.monotonic() - seconds

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.start

    def write(self, **facts: Any) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a") as file:
            file.write(json.dumps({"seconds": round(self.seconds, 1), **facts}) + "\n")


def rows_of(count: int, size: int, seed: int, step: int) -> np.ndarray:
    """The batch of a step: indices drawn by the seed and the step alone."""
    return np.random.default_rng((seed, step)).integers(0, count, size)


def company() -> tuple[int, int]:
    """This process's number, and how many train together (by `torchrun`); 0 and 1 alone."""
    if distributed.is_initialized():
        return distributed.get_rank(), distributed.get_world_size()
    return 0, 1


def own(rows: T) -> T:
    """This process's part of a batch's rows: every n-th, so that parts differ by one at most."""
    rank, size = company()
    return rows[rank::size]


def first_alone(make: Callable[[], M]) -> M:
    """Have the first process make what is kept in a file; the others then find it there."""
    rank, size = company()
    if size == 1:
        return make()
    made = make() if rank == 0 else None
    distributed.barrier()
    return make() if made is None else made


def share_gradients(parameters: Sequence[nn.Parameter]) -> None:
    """Replace each gradient by its mean over the processes that train together."""
    _, size = company()
    if size == 1:
        return
    gradients = [p.grad for p in parameters if p.grad is not None]
    flat = torch.cat([g.flatten() for g in gradients])
    distributed.all_reduce(flat)
    flat /= size
    parts = flat.split([g.numel() for g in gradients])
    torch._foreach_copy_(gradients, [f.view_as(g) for f, g in zip(parts, gradients, strict=True)])


def generator_of(seed: int, step: int) -> torch.Generator:
    """The step's own source of noise."""
    return torch.Generator().manual_seed(
        int(np.random.default_rng((seed, step, 1)).integers(2**62))
    )


def arithmetic(precision: str, device: torch.device) -> AbstractContextManager[Any]:
    """What the losses are computed under: nothing special, or autocast to bfloat16.

    Attention then runs as plain matrix products: the fused kernel's backward pass in bfloat16 took
    six times as long as in float32 on the processor that it was tried on.
    """
    if precision == "auto":
        if device.type == "cpu":
            fast = bool(torch.cpu._is_avx512_bf16_supported())
        else:
            fast = device.type == "cuda" and torch.cuda.is_bf16_supported()
        precision = "bfloat16" if fast else "float32"
    if precision == "float32":
        return nullcontext()
    if precision != "bfloat16":
        raise ValueError(f"a precision is auto, float32 or bfloat16, not {precision}")
    context = ExitStack()
    context.enter_context(torch.autocast(device.type, torch.bfloat16))
    if device.type == "cpu":
        context.enter_context(sdpa_kernel(SDPBackend.MATH))
    return context


def train(stage: Stage, progress: Progress = SILENT) -> int:
    """Run a stage from its checkpoint to its last step. Returns the steps that this call did."""
    trained = [p for m in stage.modules.values() for p in m.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(
        trained, lr=0.0, weight_decay=stage.weight_decay, betas=stage.betas, fused=True
    )
    averages = {f"average_{name}": module for name, module in stage.averages.items()}
    kept = {**stage.modules, **averages}
    checkpoint = Checkpoint(stage.stem.with_suffix(".safetensors"), kept, optimizer)
    first, seconds = checkpoint.load()
    log = Log(stage.stem.with_suffix(".log"), seconds)
    fresh = first if first and not optimizer.state else -AGAIN
    steps, saved, device = stage.schedule.steps, time.monotonic(), trained[0].device
    terms: list[dict[str, Tensor]] = []
    for step in range(first, steps):
        rate = stage.schedule.rate(step) * min(1.0, (step - fresh + 1) / AGAIN)
        for group in optimizer.param_groups:
            group["lr"] = rate
        with arithmetic(stage.precision, device):
            losses = dict(stage.losses(step))
        optimizer.zero_grad(set_to_none=True)
        torch.stack([v for k, v in losses.items() if not k.startswith("_")]).sum().backward()
        share_gradients(trained)
        norm = nn.utils.clip_grad_norm_(trained, stage.clip)
        optimizer.step()
        follow(stage, step)
        terms.append({k: v.detach() for k, v in losses.items()} | {"_norm": norm.detach()})
        progress.update(step + 1, steps, stage.name)
        if company()[0] != 0:  # the first process writes
            continue
        if (step + 1) % LOG_EVERY == 0 or step + 1 == steps:
            log.write(step=step + 1, rate=rate, **means(terms))
            terms.clear()
        if step + 1 == steps or time.monotonic() - saved > CHECKPOINT_SECONDS:
            checkpoint.save(step + 1, log.seconds)
            saved = time.monotonic()
    return max(0, steps - first)


@torch.no_grad()  # type: ignore[untyped-decorator]
def follow(stage: Stage, step: int) -> None:
    """Move the averages towards the modules; faster at the beginning."""
    keep = min(stage.ema, (step + 1) / (step + 10))
    for name, average in stage.averages.items():
        current = list(stage.modules[name].parameters())
        torch._foreach_lerp_(list(average.parameters()), current, 1 - keep)


def means(terms: Sequence[Mapping[str, Tensor]]) -> dict[str, float]:
    """Each term's mean over the steps since the last line."""
    names = dict.fromkeys(name for row in terms for name in row)
    return {
        name.removeprefix("_"): round(
            float(torch.stack([row[name].float() for row in terms if name in row]).mean()), 5
        )
        for name in names
    }
