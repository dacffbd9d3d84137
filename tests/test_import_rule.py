"""A file imports only from floors below its own; docs/where-things-live.md draws them."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FLOORS = (
    {
        *("actionbench.errors", "actionbench.printing", "actionbench.progress"),
        *("actionbench.settings", "actionbench.device"),
    },
    {"actionbench.files"},
    {"actionbench.suite"},
    {"actionbench.method", "actionbench.judge", "actionbench.registry"},
    {"actionbench.diffusion", "actionbench.photos", "actionbench.puppets.drawing"},
    {"actionbench.runs", "methods"},
    {"actionbench.puppets", "actionbench.plugins"},
    {"evaluation"},
    {"leaderboards"},
    {"actionbench.commands"},
    {"cli", "actionbench"},
)
"""From the ground up. Rooms of one floor do not import each other, files of one room may; what
stands on the ground and the contracts (method, judge, registry) are one room each."""
ONE_ROOM = (FLOORS[0], FLOORS[3])
PLUGINS = ("methods", "evaluation.judges")
"""Where methods and judges live: they never import what executes them."""
EXECUTION = ("actionbench.runs.plan", "actionbench.runs.execute", "actionbench.runs.campaign")
PACKAGES = {"actionbench", "methods", "evaluation", "leaderboards", "cli"}


def _modules() -> dict[str, ast.Module]:
    files = [
        ROOT / "cli.py",
        *(f for package in sorted(PACKAGES - {"cli"}) for f in (ROOT / package).rglob("*.py")),
    ]
    return {
        ".".join(f.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): ast.parse(
            f.read_text("utf-8")
        )
        for f in files
    }


MODULES = _modules()


def _room(module: str) -> tuple[int, str]:
    """Return the floor's number and the room's name."""
    rooms = [(n, room) for n, rooms in enumerate(FLOORS) for room in rooms]
    exact = [pair for pair in rooms if pair[1] == module]
    within = [pair for pair in rooms if module.startswith(f"{pair[1]}.")]
    within.sort(key=lambda pair: len(pair[1]))
    return exact[0] if exact else within[-1]


def _imports(module: str) -> Iterator[str]:
    """Yield what a module imports from this project when it runs, also inside its functions."""
    tree = MODULES[module]
    annotations = {
        id(node)
        for branch in ast.walk(tree)
        if isinstance(branch, ast.If) and ast.unparse(branch.test) == "TYPE_CHECKING"
        for node in ast.walk(branch)
    }
    for node in ast.walk(tree):
        if id(node) in annotations:
            continue
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{module} imports relatively: name the module whole"
            whole = str(node.module)
            inner = [f"{whole}.{alias.name}" for alias in node.names]
            names = [name if name in MODULES else whole for name in inner]
        else:
            continue
        yield from (name for name in names if name.split(".")[0] in PACKAGES)


def _one_room(first: str, second: str) -> bool:
    return first == second or any({first, second} <= rooms for rooms in ONE_ROOM)


@pytest.mark.parametrize("module", sorted(MODULES))
def test_a_file_imports_only_from_floors_below_its_own(module: str) -> None:
    floor, room = _room(module)
    for imported in _imports(module):
        below, other = _room(imported)
        assert below < floor or _one_room(room, other), (
            f"{module} ({room}, floor {floor}) imports {imported} ({other}, floor {below})"
        )


def test_methods_and_judges_do_not_import_what_executes_them() -> None:
    for module in MODULES:
        if module.startswith(tuple(f"{room}." for room in PLUGINS)):
            assert not set(_imports(module)) & set(EXECUTION), module


def test_no_circle() -> None:
    """Leaves are taken away until none is left; what remains are circles."""
    left = {module: {i for i in _imports(module) if i != module} for module in MODULES}
    while leaves := {module for module, imports in left.items() if not imports & left.keys()}:
        left = {module: imports for module, imports in left.items() if module not in leaves}
    assert not left
