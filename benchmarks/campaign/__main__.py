"""Run the campaign: kills, bad inputs, disks that fill, scale; print what was found.

    python -m benchmarks.campaign --work WORK                # all of it; hours on one core
    python -m benchmarks.campaign --work WORK --only kills --kills 40
    python -m benchmarks.campaign --work WORK --only none    # print the summary again

Each case's result is a line of WORK/results.jsonl. Given again, the same command goes on after the
last one; a case that failed keeps its folder in WORK/cases. Exit status 1 if any case failed.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks.campaign import inputs, kills, limits
from benchmarks.campaign.world import World

Case = tuple[str, Callable[[], dict[str, Any]]]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--work", type=Path, required=True, help="a folder of the campaign's own")
    parser.add_argument("--only", default="kills,inputs,disk,scale")
    parser.add_argument("--kills", type=int, default=200)
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


class Results:
    """The results by case: a line of JSON each, so that a killed campaign goes on."""

    def __init__(self, file: Path, seed: int) -> None:
        self.file, self.seed = file, seed
        self.by_case: dict[str, dict[str, Any]] = {}
        for line in file.read_text().split("\n") if file.exists() else ():
            # The last line of a killed campaign may be cut; its case is run again.
            if line.endswith("}"):
                result = json.loads(line)
                if result["seed"] == seed:
                    self.by_case[result["case"]] = result

    def add(self, result: dict[str, Any]) -> None:
        result["seed"] = self.seed
        self.by_case[result["case"]] = result
        with self.file.open("a") as file:
            file.write("\n" * (file.tell() > 0) + json.dumps(result))


def summary(results: list[dict[str, Any]]) -> str:
    """Return the campaign's summary as Markdown."""
    lines = ["", "| Cases | Number | Struck | Failed | Not done here |", "|---|--:|--:|--:|--:|"]
    groups: dict[str, list[dict[str, Any]]] = {}
    for result in results:
        groups.setdefault(_group(result), []).append(result)
    for group, members in sorted(groups.items()):
        struck = sum(r.get("killed", True) for r in members)
        failed = sum(bool(r["problems"]) for r in members)
        skipped = sum(bool(r.get("skipped")) for r in members)
        lines.append(f"| {group} | {len(members)} | {struck} | {failed} | {skipped} |")
    endings = Counter(f"{r['status']}" for r in results if r["kind"] == "input")
    if endings:
        said = ", ".join(f"{number} with {status}" for status, number in sorted(endings.items()))
        lines += ["", f"Bad inputs ended with status: {said}."]
    measured = [f"{r['what']}: {r['measured']}" for r in results if "measured" in r]
    lines += ["", *measured] if measured else []
    skipped_for = {
        f"not done here: {r['what']}: {r['skipped']}" for r in results if r.get("skipped")
    }
    lines += ["", *sorted(skipped_for)] if skipped_for else []
    failures = [r for r in results if r["problems"]]
    total = sum(r["seconds"] for r in results)
    lines += ["", f"{len(results)} cases in {total:.0f} s, {len(failures)} failed."]
    lines += [f"FAILED {r['case']} ({r['what']}): {r['problems'][0][:300]}" for r in failures]
    return "\n".join(lines)


def _group(result: dict[str, Any]) -> str:
    if result["kind"] == "kill":
        return f"kill -9 in {result['command']}, {result['stage']}"
    return f"{result['kind']}: {result.get('group', result['what'])}"


if __name__ == "__main__":
    main()
