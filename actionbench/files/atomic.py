"""Files and folders that are made anew and swapped in whole."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from actionbench.errors import UserError


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary place beside `path`; what stands there when the block ends takes its place.

    A killed process leaves the old one as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".tmp-{path.name}")
    _remove(temporary)
    yield temporary
    if path.is_dir():
        _remove(path)
    temporary.replace(path)


def own_folder(out: Path, mark: str) -> Path:
    """`out`, made absolute, if it is new, empty, or an earlier one of ours (it holds `mark`).

    Raises UserError otherwise, for the folder would be replaced with all that is in it.
    """
    out = out.resolve()
    if out.exists() and not out.is_dir():
        raise UserError(f"{out} is a file: name a folder")
    if out.is_dir() and any(out.iterdir()) and not (out / mark).exists():
        raise UserError(f"{out} holds other files and would be replaced: name a new folder")
    return out


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
