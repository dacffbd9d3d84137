"""Kill commands with -9, give the same command again, and compare with one that nobody killed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from benchmarks.campaign.world import (
    COMMANDS,
    Done,
    World,
    at,
    die,
    digest,
    leftovers,
    rng,
    table,
)  # fmt: skip

STAGES = {
    "run": ("fit", "draw", "judge", "write", "workers"),
    "judge": ("judge", "write"),
    "report": ("write", "any"),
    "import": ("write", "any"),
    "tune": ("fit", "draw", "judge", "write", "workers"),
}
ALL_STAGES = {stage for stages in STAGES.values() for stage in stages}
PAIRS = [(name, stage) for name in COMMANDS for stage in STAGES[name]]


def cases(count: int) -> Iterator[tuple[str, str, str, int]]:
    """Yield id, command, stage and number of processes of each case."""
    for number in range(count):
        name, stage = PAIRS[number % len(PAIRS)]
        processes = 1 + number // len(PAIRS) % 2
        yield f"kill-{number:04}", name, stage, processes


def run_case(
    world: World, seed: int, case: str, name: str, stage: str, processes: int
) -> dict[str, object]:
    """Kill one command once, finish it, and return what was found."""
    random = rng(seed, case)
    folder = world.folder(case, name)
    words = world.words(name, workers=2 if stage == "workers" else 1)
    before, delay = None, None
    if stage == "any":
        delay = random.uniform(0.01, 1.0)
    else:
        # While workers are busy, it is the process that they report to, which writes.
        where = "write" if stage == "workers" else stage
        # Early steps oftener: the first write of a folder is where most can go wrong.
        before = at(where, 1 + int(world.steps(name, where) * random.random() ** 1.5), die)
    victim = world.start(folder, words, before)
    others = [world.start(folder, words) for _ in range(processes - 1)]
    killed = victim.ended(delay)
    problems = [_problem("the other process", other.ended()) for other in others]
    if killed.status not in (0, -9) or "Traceback" in killed.err:
        problems.append(_problem("the killed process", killed))
    again = world.call(folder, words)
    problems.append(_problem("the same command again", again))
    problems.extend(compare(world, name, folder, again))
    found = [problem for problem in problems if problem]
    if not found:
        world.clear(case)
    return {
        "kind": "kill",
        "what": f"{name}, {stage}, {processes} process{'es' if processes > 1 else ''}",
        "stage": stage,
        "command": name,
        "killed": killed.status == -9,
        "problems": found,
    }


def compare(world: World, name: str, folder: Path, done: Done) -> list[str]:
    """Compare what a command left and printed with what it leaves undisturbed."""
    files, printed = world.facts(name)
    found = digest(folder)
    problems = [f"left behind: {name}" for name in leftovers(folder)]
    for path in sorted({*files, *found}):
        if files.get(path) != found.get(path) and ".tmp-" not in path:
            how = "missing" if path not in found else "extra" if path not in files else "different"
            problems.append(f"{how}: {path}")
    if table(done.out) != printed:
        problems.append(f"another table: {table(done.out)!r}, not {printed!r}")
    return problems[:5]


def _problem(who: str, done: Done) -> str:
    if done.status == 0 and "Traceback" not in done.err:
        return ""
    return f"{who} ended with {done.status}: {done.err.strip()[-600:]}"
