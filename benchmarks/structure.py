"""Count what makes the code easy or hard to find one's way in, before and after.

    python benchmarks/structure.py                         # the working tree
    python benchmarks/structure.py --rev b82ca29           # that revision beside the working tree
    python benchmarks/structure.py --rev b82ca29 --rev HEAD

Prints a Markdown table. Counted is what is installed: `cli.py` and the packages `actionbench`,
`evaluation`, `leaderboards` and `methods`; no tests, no benchmarks.
"""

from __future__ import annotations

import argparse
import ast
import io
import subprocess
import tarfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("actionbench", "evaluation", "leaderboards", "methods")
COMMAND = "cli.py"
RECORD = "actionbench/runs/record.py"
"""The record's own module may read it by key."""
LONG = 400


@dataclass(frozen=True)
class Place:
    """A file and a line in it."""

    file: str
    line: int


@dataclass(frozen=True)
class Structure:
    long_files: tuple[str, ...]
    folders: Counter[str]
    """Modules in each folder, `__init__.py` left out."""
    inner_imports: tuple[Place, ...]
    record_reads: tuple[Place, ...]
    command_lines: int

    def rows(self) -> dict[str, str]:
        """Each count as it is printed, by its heading."""
        folder, modules = self.folders.most_common(1)[0]
        reading = len({place.file for place in self.record_reads})
        files = "1 file" if reading == 1 else f"{reading} files"
        in_command = sum(place.file == COMMAND for place in self.inner_imports)
        return {
            f"files over {LONG} lines": str(len(self.long_files)),
            "modules in all": str(self.folders.total()),
            "modules in the largest folder": f"{modules} (`{folder}`)",
            "folders": str(len(self.folders)),
            "imports inside function bodies": str(len(self.inner_imports)),
            f"of these in `{COMMAND}`": str(in_command),
            "reads of a run record by string key": f"{len(self.record_reads)} in {files}",
            f"lines of `{COMMAND}`": str(self.command_lines),
        }


def measure(sources: dict[str, str]) -> Structure:
    """Count in sources by their path."""
    trees = {file: ast.parse(text) for file, text in sources.items()}
    modules = [PurePosixPath(file) for file in sources]
    return Structure(
        long_files=tuple(f for f, text in sources.items() if len(text.splitlines()) > LONG),
        folders=Counter(str(m.parent) for m in modules if m.name != "__init__.py"),
        inner_imports=tuple(Place(f, line) for f, tree in trees.items() for line in _inner(tree)),
        record_reads=tuple(
            Place(file, line)
            for file, tree in trees.items()
            if file != RECORD
            for line in _record_reads(tree)
        ),
        command_lines=len(sources[COMMAND].splitlines()),
    )


def _inner(tree: ast.Module) -> Iterator[int]:
    """Lines of the import statements in functions, each counted once."""
    functions = (n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef))
    imports = {
        node.lineno
        for function in functions
        for node in ast.walk(function)
        if isinstance(node, ast.Import | ast.ImportFrom)
    }
    yield from sorted(imports)


def _record_reads(tree: ast.Module) -> Iterator[int]:
    """Lines of `record["key"]` and `record.get("key")`, also of something's `.record`."""
    for node in ast.walk(tree):
        match node:
            case ast.Subscript(value=held, slice=ast.Constant(value=str()), ctx=ast.Load()):
                pass
            case ast.Call(
                func=ast.Attribute(value=held, attr="get"), args=[ast.Constant(value=str()), *_]
            ):
                pass
            case _:
                continue
        if _is_record(held):
            yield node.lineno


def _is_record(node: ast.expr) -> bool:
    match node:
        case ast.Name(id="record") | ast.Attribute(attr="record"):
            return True
    return False


def working_tree() -> dict[str, str]:
    """Read the sources as they lie in the folder."""
    files = [ROOT / COMMAND, *(f for name in PACKAGES for f in (ROOT / name).rglob("*.py"))]
    return {f.relative_to(ROOT).as_posix(): f.read_text("utf-8") for f in sorted(files)}


def revision(name: str) -> dict[str, str]:
    """Read the sources of a git revision."""
    archive = subprocess.run(
        ["git", "archive", "--format=tar", name, COMMAND, *PACKAGES],
        cwd=ROOT,
        check=True,
        capture_output=True,
    ).stdout
    sources = {}
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        for member in tar.getmembers():
            if member.name.endswith(".py") and (file := tar.extractfile(member)):
                sources[member.name] = file.read().decode()
    return sources


def markdown(columns: dict[str, Structure]) -> str:
    """A table with a column for each heading of `columns`."""
    counts = {heading: structure.rows() for heading, structure in columns.items()}
    names = next(iter(counts.values()))
    lines = [f"| | {' | '.join(counts)} |", f"|---|{'---:|' * len(counts)}"]
    for name in names:
        lines.append(f"| {name} | {' | '.join(column[name] for column in counts.values())} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--rev", action="append", default=[], help="a git revision; repeatable")
    parser.add_argument("--places", action="store_true", help="list what the last column counts")
    words = parser.parse_args()
    columns = {f"`{name}`": measure(revision(name)) for name in words.rev}
    if len(words.rev) < 2:
        columns["working tree"] = measure(working_tree())
    print(markdown(columns))
    if words.places:
        *_, last = columns.values()
        for heading, places in {
            "inner import": last.inner_imports,
            "record read": last.record_reads,
        }.items():
            for place in places:
                print(f"{place.file}:{place.line}: {heading}")
        for file in last.long_files:
            print(f"{file}: over {LONG} lines")


if __name__ == "__main__":
    main()
