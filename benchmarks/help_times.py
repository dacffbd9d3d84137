"""Measure how long a user waits for a command's help, and for the lists: medians of processes.

    python benchmarks/help_times.py [--runs 9]

Targets: root's help under 0.3 s, a command's under 0.5 s.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

CLI = Path(__file__).resolve().parents[1] / "cli.py"
COMMANDS = ("--help", "run --help", "methods list", "runs list")
TARGETS = {"--help": 0.3, "run --help": 0.5}


def seconds(words: str, folder: str) -> float:
    """Run a command in its own process, in an empty folder, and return the seconds it took."""
    began = time.perf_counter()
    arguments = [sys.executable, str(CLI), *words.split()]
    subprocess.run(arguments, cwd=folder, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--runs", type=int, default=9, help="Processes per command.")
    count = parser.parse_args().runs
    with tempfile.TemporaryDirectory() as folder:
        for words in COMMANDS:
            seconds(words, folder)  # bytecode and the disk's cache
            times = [seconds(words, folder) for _ in range(count)]
            target = f"  (target {TARGETS[words]} s)" if words in TARGETS else ""
            print(
                f"{words:<14} {statistics.median(times):5.2f} s, "
                f"{min(times):.2f} to {max(times):.2f}{target}",
                flush=True,
            )


if __name__ == "__main__":
    main()
