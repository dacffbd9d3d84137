"""Time the main job from outside, as a user waits for it: a whole run, and the same run again.

    python benchmarks/whole_run.py [--method adi] [-- more words for `actionbench run`]

It prints the seconds to the first action's row, to the end, and of the same command again, and the
peak memory of the process (resource.getrusage of the children).
"""

from __future__ import annotations

import argparse
import platform
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

BUDGET = {"first row, s": 75.0, "whole run, s": 480.0, "peak memory, GiB": 4.0, "again, s": 5.0}


def timed(command: list[str]) -> tuple[float, float]:
    """Return the seconds to the first printed row and to the end.

    Raises:
        CalledProcessError: if the command fails.
    """
    start = time.monotonic()
    first = 0.0
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            first = first or time.monotonic() - start
            print(f"  {line}", end="", flush=True)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    return first, time.monotonic() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--method", default="adi")
    parser.add_argument("--profile", default="tuned", help="the budgets are for `tuned`")
    parser.add_argument("more", nargs="*", help="more words for `actionbench run`")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "cli", "run", "--method", options.method]
        command += ["--profile", options.profile]
        command += ["--runs", str(Path(folder) / "runs"), *options.more]
        first, whole = timed(command)
        _, again = timed(command)
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
    print(f"{platform.machine()}, {platform.system()}, Python {platform.python_version()}")
    for (what, budget), value in zip(BUDGET.items(), (first, whole, peak, again), strict=True):
        print(f"{what:20} {value:8.2f}   budget {budget:g}   {'ok' if value <= budget else 'OVER'}")


if __name__ == "__main__":
    main()
