"""What a run's record says about its making: versions, machine, git state, memory. No torch."""

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

from actionbench.suite.shipped import CHECKOUT

_PACKAGES = ("actionbench", "torch", "diffusers", "transformers", "numpy")


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that matter."""
    return {"python": platform.python_version(), **{name: version(name) for name in _PACKAGES}}


def git_state(folder: Path = CHECKOUT) -> dict[str, Any] | None:
    """Return the commit of this project's checkout, and whether it was changed; None without one.

    It is never that of the current folder, which is somebody else's project.
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
    """Return the platform and the number of CPU cores."""
    return {
        "platform": platform.platform(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None,
    }


def now() -> str:
    """Return the time in UTC, ISO 8601, in seconds."""
    return datetime.now(UTC).isoformat(timespec="seconds")


_LINUX_RESET = Path("/proc/self/clear_refs")
_LINUX_STATUS = Path("/proc/self/status")


def reset_peak_memory() -> bool:
    """Let `peak_memory_mib` count from now on; return False if the system cannot do that."""
    try:
        _LINUX_RESET.write_text("5")  # man 5 proc: "reset the peak resident set size"
    except OSError:
        return False
    return True


def peak_memory_mib() -> int:
    """Return the most memory that this process held since the last reset, in MiB (resident set).

    Outside Linux, and if a reset is not possible, it is the most since the process began.
    """
    if _LINUX_STATUS.exists():
        for line in _LINUX_STATUS.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) // 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(peak // (1024 * 1024 if sys.platform == "darwin" else 1024))
