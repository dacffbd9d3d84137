"""The device a run uses: which one, what saves its memory or time, and when memory runs out."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from actionbench.errors import UserError

GIB = 2**30
BATCH_SIZE = 32
"""Images drawn at once by default."""


@dataclass(frozen=True)
class Resources:
    """What saves a run memory or time, and changes its results only by rounding.

    Another device changes them as much. So these options are in a run's record and in no key: a
    run that ran out of memory can go on with more of them on, from the same stored fits and
    images. The dtype, which rounds far more coarsely, is in the keys.
    """

    gradient_checkpointing: bool = False
    """Keep only the activations at the borders of blocks and compute the rest again in the
    backward pass: less memory, at the price of a second forward pass."""
    vae_slicing: bool = False
    """Encode and decode one image at a time. Tiles within an image, the other thing that
    diffusers offers, would change the image and are not needed at 768 px."""
    offload: bool = False
    """Keep the text encoder in main memory while the UNet works without it."""
    compile: bool = False
    """Compile the UNet's transformer blocks: a wait at the beginning, then quicker steps."""


PLAIN = Resources()
"""Nothing saved and nothing compiled."""


def resolve_device(device: str) -> str:
    """Return `cuda` or `cpu`; `auto` becomes `cuda` if PyTorch sees one, and else `cpu`.

    Raises:
        UserError: for `cuda` if PyTorch sees none.
    """
    import torch

    available = torch.cuda.is_available()
    if device == "auto":
        return "cuda" if available else "cpu"
    if device == "cuda" and not available:
        raise UserError("device cuda: this PyTorch sees no CUDA device; use --device cpu")
    return device


def out_of_memory(error: BaseException) -> bool:
    """Check whether an error means too little memory, of a GPU or of a CPU.

    PyTorch has no class for the latter, so that the allocator's message is searched.
    """
    import torch

    if isinstance(error, RuntimeError):
        on_cpu = "DefaultCPUAllocator" in str(error) or "not enough memory" in str(error)
        return on_cpu or isinstance(error, torch.OutOfMemoryError)
    return isinstance(error, MemoryError)


def memory(device: str) -> tuple[int, int]:
    """Return the bytes that are free, and the bytes in total."""
    if device == "cuda":
        import torch

        free, total = torch.cuda.mem_get_info()
        return int(free), int(total)
    page = os.sysconf("SC_PAGE_SIZE")
    free = page * os.sysconf("SC_AVPHYS_PAGES")
    status = Path("/proc/meminfo")
    if status.exists():  # memory that only holds a cache is available as well
        match = re.search(r"MemAvailable:\s+(\d+) kB", status.read_text())
        free = int(match[1]) * 1024 if match else free
    return free, page * os.sysconf("SC_PHYS_PAGES")
