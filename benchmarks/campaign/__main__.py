"""Run the campaign: kills, bad inputs, disks that fill, scale; print what was found.

    python -m benchmarks.campaign --work WORK                # all of it; hours on one core
    python -m benchmarks.campaign --work WORK --only kills --kills 40
    python -m benchmarks.campaign --work WORK --only none    # print the summary again

Each case's result is a line of WORK/results.jsonl. Given again, the same command goes on after the
last one; a case that failed keeps its folder in WORK/cases. Exit status 1 if any case failed.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

# Before torch is imported: a process with several threads cannot be forked safely.
os.environ.update(OMP_NUM_THREADS="1", TOKENIZERS_PARALLELISM="false", HF_HUB_OFFLINE="1")

from benchmarks.campaign import inputs, kills, limits
from benchmarks.campaign.results import Results, summary
from benchmarks.campaign.world import World

Case = tuple[str, Callable[[], dict[str, Any]]]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--work", type=Path, required=True, help="a folder of the campaign's own")
    parser.add_argument("--only", default="kills,inputs,disk,scale")
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--stages", default="", help="of kills: by default all, as fit,draw,any")
    parser.add_argument("--inputs", type=int, default=500)
    parser.add_argument("--disk", type=int, default=60, help="sizes of the disk to fill")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--retry", action="store_true", help="run again what failed, after a mend")
    parser.add_argument("--limit-seconds", type=float, default=float("inf"))
    options = parser.parse_args()
    # Another user must be able to look in, or all permission would be lost from the beginning.
    options.work.mkdir(parents=True, exist_ok=True)
    options.work = options.work.resolve()
    os.chdir(options.work)
    results = Results(options.work / "results.jsonl", options.seed)
    world = World(options.work)
    end = time.monotonic() + options.limit_seconds
    for case, run in _cases(world, options):
        if time.monotonic() > end:
            print("the time is over; the same command goes on")
            break
        known = results.by_case.get(case)
        if known and not (options.retry and known["problems"]):
            continue
        since = time.monotonic()
        result = run()
        results.add({"case": case, "seconds": round(time.monotonic() - since, 2), **result})
        if result["problems"]:
            print(f"FAILED {case} ({result['what']}): {result['problems'][0][:300]}", flush=True)
    print(summary([*results.by_case.values()]))
    sys.exit(any(r["problems"] for r in results.by_case.values()))


def _cases(world: World, options: argparse.Namespace) -> Iterator[Case]:
    """Yield every case in order, with what runs it."""
    only, seed = options.only.split(","), options.seed
    if "kills" in only:
        for case, *what in kills.cases(options.kills):
            if what[1] in (options.stages.split(",") if options.stages else kills.ALL_STAGES):
                yield case, lambda c=case, w=what: kills.run_case(world, seed, c, *w)
    if "inputs" in only:
        for case, kind in inputs.cases(options.inputs):
            yield case, lambda c=case, k=kind: inputs.run_case(world, seed, c, k)
    if "disk" in only:
        for case, act in limits.disk_cases(world, options.disk, seed):
            yield case, act
    if "scale" in only:
        for case, act in limits.scale_cases(world):
            yield case, act


if __name__ == "__main__":
    main()
