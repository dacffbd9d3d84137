"""Disks that fill, are read-only or lose permission in the middle, and sizes that nobody tried."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import actionbench.suite.suite
from actionbench.files.models import resolve_model
from actionbench.judge import Verdict
from actionbench.runs.options import RunOptions
from actionbench.runs.plan import plan_run
from actionbench.runs.store import Store
from actionbench.suite.items import Action, Subject
from benchmarks.campaign.inputs import form
from benchmarks.campaign.kills import compare
from benchmarks.campaign.plugin import Slow, Watched
from benchmarks.campaign.world import COMMANDS, World, at, leftovers, rng
from tests.helpers.photographs import cloud
from tests.helpers.small_run import small_suite

Act = Callable[[], dict[str, Any]]
NOBODY = 65534
SECONDS = 5
"""Of a core, that listing 10,000 actions and planning 100,000 images may each take."""


def disk_cases(world: World, count: int, seed: int) -> Iterator[tuple[str, Act]]:
    """Yield the cases of each command on a full, a read-only and a forbidden folder."""
    for number in range(count):
        name = COMMANDS[number % len(COMMANDS)]
        case = f"full-{number:04}"
        yield (
            case,
            lambda c=case, n=name: _guarded("a full disk", n, lambda: _full(world, seed, c, n)),
        )
    for name in COMMANDS:
        case = f"read-only-{name}"
        yield case, lambda c=case, n=name: _guarded("read-only", n, lambda: _read_only(world, c, n))
        for number in range(3):
            case = f"permission-{name}-{number}"
            yield (
                case,
                lambda c=case, n=name: _guarded(
                    "permission lost", n, lambda: _permission(world, seed, c, n)
                ),
            )


class _Impossible(Exception):
    """What cannot be done on this machine."""


def _guarded(group: str, name: str, act: Callable[[], list[str]]) -> dict[str, Any]:
    result: dict[str, Any] = {"kind": "disk", "group": group, "what": f"{group}, {name}"}
    try:
        return {**result, "problems": act()}
    except _Impossible as error:
        return {**result, "what": group, "problems": [], "skipped": str(error)}


class _Disk:
    """A small disk in memory, mounted at a case's folder."""

    def __init__(self, world: World, case: str, name: str, kib: int) -> None:
        self.case, self.world = case, world
        self.folder = world.folder(case, name)
        aside = self.folder.with_name(f"{case}-aside")
        shutil.rmtree(aside, ignore_errors=True)
        self.folder.rename(aside)
        self.folder.mkdir()
        self._run("mount", "-t", "tmpfs", "-o", "size=64m", "campaign", str(self.folder))
        shutil.copytree(aside, self.folder, dirs_exist_ok=True)
        shutil.rmtree(aside)
        self.used = _kib(self.folder)
        self.grow(kib)

    def grow(self, kib: int) -> None:
        """Give the disk some room beyond what it held in the beginning."""
        self.remount(f"size={self.used + kib}k")

    def remount(self, option: str) -> None:
        self._run("mount", "-o", f"remount,{option}", str(self.folder))

    def __enter__(self) -> _Disk:
        return self

    def __exit__(self, *_: object) -> None:
        # Lazily: somebody may be looking into it, and a busy disk is no reason to stop.
        subprocess.run(["umount", "-l", str(self.folder)], check=True)

    @staticmethod
    def _run(*words: str) -> None:
        try:
            done = subprocess.run(words, capture_output=True, text=True)
        except OSError as error:
            raise _Impossible(str(error)) from error
        if done.returncode:
            raise _Impossible(done.stderr.strip())


def _kib(folder: Path) -> int:
    """Return how much of a small disk is used."""
    facts = os.statvfs(folder)
    return (facts.f_blocks - facts.f_bfree) * facts.f_frsize // 1024


def _full(world: World, seed: int, case: str, name: str) -> list[str]:
    """Let a command fill the disk, give it more room by steps, and compare the end."""
    random = rng(seed, case)
    room, problems = random.randrange(0, 60, 4), list[str]()
    with _Disk(world, case, name, room) as disk:
        while True:
            done = world.call(disk.folder, world.words(name))
            problems += form(done)
            if done.status == 0 or problems:
                break
            if "disk is full" not in done.err and "No space left" not in done.err:
                problems.append(f"does not say that the disk is full: {done.err.strip()}")
            problems += [f"left behind: {left}" for left in leftovers(disk.folder)]
            room += random.randrange(4, 200, 4)
            if room > 60_000:
                problems.append(f"{room} KiB are not enough")
            disk.grow(room)
        problems += [] if problems else compare(world, name, disk.folder, done)
    if not problems:
        world.clear(case)
    return problems


def _read_only(world: World, case: str, name: str) -> list[str]:
    with _Disk(world, case, name, 30_000) as disk:
        disk.remount("ro")
        done = world.call(disk.folder, world.words(name))
        problems = form(done)
        if done.status == 0:
            problems.append("status 0 on a read-only disk")
        disk.remount("rw")
        done = world.call(disk.folder, world.words(name))
        problems += form(done) + compare(world, name, disk.folder, done)
    if not problems:
        world.clear(case)
    return problems


def _permission(world: World, seed: int, case: str, name: str) -> list[str]:
    """Become a user without permission at some write, then give the command again as oneself."""
    if sys.platform == "win32" or os.geteuid() != 0:
        raise _Impossible("only root can become another user")
    random = rng(seed, case)
    folder = world.folder(case, name)

    def become() -> None:
        os.setegid(NOBODY)
        os.seteuid(NOBODY)

    done = world.call(folder, world.words(name), at("write", random.randrange(1, 12), become))
    # What a user without permission left cannot be removed by him: the next command does it.
    problems = form(done)
    done = world.call(folder, world.words(name))
    problems += form(done) + compare(world, name, folder, done)
    if not problems:
        world.clear(case)
    return problems


def scale_cases(world: World) -> Iterator[tuple[str, Act]]:
    """Yield what is big: the list of 10,000 actions, and the plan of 100,000 stored images."""
    yield (
        "scale-list",
        lambda: _timed(world, "10,000 actions listed", _list(world), ["suites", "list"]),
    )
    yield "scale-plan", lambda: _plan(world)


def _timed(world: World, what: str, before: Callable[[], None], words: list[str]) -> dict[str, Any]:
    folder = world.folder("scale", "none")
    done = world.call(folder, words, before)
    problems = form(done) if done.status else []
    if done.status:
        problems.append(f"status {done.status}: {done.err.strip()[-600:]}")
    # A fork that prints its own times says how long the work itself took. What other programs
    # of the machine take is not its fault: it is judged by what it takes of a core.
    own = [float(word) for word in done.out.split()[-2:]] if not words and done.out else None
    seconds, cpu = own or (done.seconds, done.cpu)
    if cpu > SECONDS:
        problems.append(f"{cpu:.1f} s of a core, not {SECONDS}")
    measured = f"{cpu:.1f} s of a core, {seconds:.1f} s by the clock"
    return {"kind": "scale", "what": what, "measured": measured, "problems": problems}


def _list(world: World) -> Callable[[], None]:
    def before() -> None:
        many = tuple(Action(f"action-{n}", f"does {n}") for n in range(10_000))
        big = replace(small_suite(world.base), name="big", actions=many)
        actionbench.suite.suite.suites = lambda: {"big": big}  # type: ignore[assignment]

    return before


def _plan(world: World) -> dict[str, Any]:
    """Plan a run of two actions, 50 subjects and 1,000 images of each, all drawn and judged."""
    folder = world.folder("scale-store", "none")

    def prepare() -> Any:
        few = small_suite(world.base)
        many = tuple(Subject(f"subject-{n}", "human", f"person {n}") for n in range(50))
        suite = replace(few, subjects=many)
        return lambda: plan_run(
            suite=suite,
            method=Slow(),
            source=resolve_model(str(world.base / "model")),
            judge=Watched(suite),
            options=RunOptions(runs=folder / "runs", device="cpu", images_per_pair=1000),
        )

    def fill() -> None:
        Store(folder / "runs").prepare()
        store = Store(folder / "runs")
        for action in prepare()().actions:
            # A file for each action, under many names: file systems allow 65,000 names or so.
            drawn = folder / f"{action.action.name}.png"
            cloud(0, 8, 8).save(drawn)
            for item in action.items:
                path = store.image_path(action.image_key, item)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.hardlink_to(drawn)
            verdict = Verdict(True, False, "", "", 0.5, 0.5)
            store.save_verdicts(action.verdict_key, {i.name: verdict for i in action.items})
        sys.exit(0)

    def plan() -> None:
        make = prepare()
        since, before = time.monotonic(), time.process_time()
        planned = make()
        times = time.monotonic() - since, time.process_time() - before
        work = [(tally.total, tally.to_do) for tally in planned.work()[1:]]
        print("planned", work, *times)
        sys.exit(0 if work == [(100_000, 0)] * 2 else 1)

    filled = world.call(folder, [], fill)
    if filled.status:
        return {"kind": "scale", "what": "store", "problems": [filled.err[-800:]]}
    result = _timed(world, "100,000 stored images planned", plan, [])
    world.clear("scale")
    return result
