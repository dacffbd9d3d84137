"""Compare a whole command before and after, and with workers, side by side on this machine.

    python benchmarks/workers.py [--rev REV] [--rounds 3] [--ray] [-- words of actionbench]

The command is by default `run --method adi` on two actions. Compared are `--rev` (unpacked into a
temporary folder; left out without one), this checkout with one worker, with two, and with two Ray
workers. Each round does all of them one after another, so that a change of the machine's load falls
on all alike; printed are medians, and the medians of each round's ratios. Run it on a machine that
does nothing else.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
COMMAND = ("run", "--method", "adi", "--actions", "sit,pray")
TARGETS = {
    "one worker / before": 1.0,
    "two workers / before": 2.2,
    "two workers / one": 1.8,
    "two Ray workers / one": 1.7,
}
"""How many times as fast at least."""


def unpack(rev: str, folder: Path) -> Path:
    """Write a commit's files into a folder."""
    folder.mkdir()
    archive = subprocess.run(
        ["git", "-C", str(ROOT), "archive", rev], check=True, stdout=subprocess.PIPE
    ).stdout
    subprocess.run(["tar", "-x", "-C", str(folder)], input=archive, check=True)
    return folder


def seconds(checkout: Path, words: list[str]) -> float:
    """Time a command of a checkout on an empty runs folder."""
    with tempfile.TemporaryDirectory() as runs:
        command = [sys.executable, "-m", "cli", *words, "--runs", str(Path(runs) / "runs")]
        environment = {**os.environ, "PYTHONPATH": str(checkout)}
        began = time.monotonic()
        subprocess.run(
            command, cwd=checkout, env=environment, check=True, stdout=subprocess.DEVNULL
        )
        return time.monotonic() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rev", help="the commit to compare with")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--ray", action="store_true", help="also two Ray workers")
    parser.add_argument("words", nargs="*", default=list(COMMAND))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        ways: dict[str, tuple[Path, list[str]]] = {}
        if options.rev:
            ways["before"] = unpack(options.rev, Path(folder) / "before"), []
        ways["one worker"] = ROOT, ["--workers", "1"]
        ways["two workers"] = ROOT, ["--workers", "2"]
        if options.ray:
            ways["two Ray workers"] = ROOT, ["--workers", "2", "--ray", "local"]
        times: dict[str, list[float]] = {name: [] for name in ways}
        for number in range(options.rounds):
            for name, (checkout, more) in ways.items():
                times[name].append(seconds(checkout, [*options.words, *more]))
                print(f"round {number + 1}: {name:16} {times[name][-1]:8.1f} s", flush=True)
    load = os.getloadavg()[0]
    print(f"\n{platform.machine()}, {os.cpu_count()} cores, load {load:.1f}, {options.words}")
    for name, taken in times.items():
        print(f"{name:24} {statistics.median(taken):8.1f} s")
    for name, target in TARGETS.items():
        quick, slow = name.split(" / ")
        slow = {"one": "one worker"}.get(slow, slow)
        if quick in times and slow in times:
            ratios = [b / a for a, b in zip(times[quick], times[slow], strict=True)]
            ratio = statistics.median(ratios)
            verdict = "ok" if ratio >= target else "MISSED"
            print(f"{name:24} {ratio:8.2f} times as fast (target {target:g}): {verdict}")


if __name__ == "__main__":
    main()
