"""What a run's record says of its making: versions, machine, git state, memory. Torch-free."""

from __future__ import annotations

import os
import platform
import resource
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

_PACKAGES = ("actionbench", "torch", "diffusers", "transformers", "numpy")


def versions() -> dict[str, str]:
    return {"python": platform.python_version(), **{name: version(name) for name in _PACKAGES}}


_CHECKOUT = Path(__file__).resolve().parents[1]


def git_state(folder: Path = _CHECKOUT) -> dict[str, Any] | None:
    """Commit of this project's own checkout, and whether it was changed; None where it is none.

    Never that of the current folder, which is somebody else's project.
    """
    if not (folder / ".git").exists():
        return None
    try:
        commit = _git(folder, "rev-parse", "HEAD")
        dirty = bool(_git(folder, "status", "--porcelain", "--untracked-files=no"))
    except (OSError, subprocess.CalledProcessError):
        return None  # git is not installed, or the checkout has no commit yet
    return {"commit": commit, "dirty": dirty}


def _git(folder: Path, *words: str) -> str:
    command = ["git", "-C", str(folder), *words]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def machine() -> dict[str, Any]:
    return {
        "platform": platform.platform(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None,
    }


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def peak_memory_mib() -> int:
    """The most memory that this process has held so far, in MiB (resident set)."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(peak // (1024 * 1024 if sys.platform == "darwin" else 1024))
