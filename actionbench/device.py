"""The device a run uses: which one, what saves its memory or time, and when memory runs out."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from actionbench.errors import UserError

BATCH_SIZE = 32
"""Images drawn at once if nothing else is asked for."""


@dataclass(frozen=True)
class Resources:
    """Changes what a run takes, and its results by rounding alone, as another device does.

    So it is in a run's record and in no key: a run that ran out of memory goes on with more of it
    saved, from the same stored fits and images. The dtype, which rounds far more coarsely, is
    in the keys.
    """

    gradient_checkpointing: bool = False
    """Keep the activations at the borders of blocks alone and compute the rest again in the
    backward pass: less memory, for a second forward pass."""
    vae_slicing: bool = False
    """Encode and decode one image at a time. Tiles within an image, the other thing that
    diffusers offers, would change the image and are not needed at 768 px."""
    offload: bool = False
    """The text encoder waits in main memory while the UNet works without it."""
    compile: bool = False
    """Compile the UNet's transformer blocks: a wait at the beginning, for quicker steps."""


PLAIN = Resources()
"""Nothing saved and nothing compiled."""


def resolve_device(device: str) -> str:
    """`cuda` or `cpu`; `auto` is the first of them that is there."""
    import torch

    there = torch.cuda.is_available()
    if device == "auto":
        return "cuda" if there else "cpu"
    if device == "cuda" and not there:
        raise UserError("device cuda: this PyTorch sees no CUDA device; use --device cpu")
    return device


def out_of_memory(error: BaseException) -> bool:
    """Whether it tells of too little memory: of a GPU, or, by the allocator's words, of a CPU."""
    import torch

    if isinstance(error, RuntimeError):
        on_cpu = "DefaultCPUAllocator" in str(error) or "not enough memory" in str(error)
        return on_cpu or isinstance(error, torch.OutOfMemoryError)
    return isinstance(error, MemoryError)


def memory(device: str) -> tuple[int, int]:
    """Return the bytes that are free, and those in all."""
    if device == "cuda":
        import torch

        free, total = torch.cuda.mem_get_info()
        return int(free), int(total)
    page = os.sysconf("SC_PAGE_SIZE")
    free = page * os.sysconf("SC_AVPHYS_PAGES")
    status = Path("/proc/meminfo")
    if status.exists():  # what is only cached can be had as well
        found = re.search(r"MemAvailable:\s+(\d+) kB", status.read_text())
        free = int(found[1]) * 1024 if found else free
    return free, page * os.sysconf("SC_PHYS_PAGES")
