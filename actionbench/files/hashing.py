"""Keys of JSON values, and hashes of weight files."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from actionbench.errors import UserError
from actionbench.files.atomic import write_text
from actionbench.progress import SILENT, Progress

_CHUNK = 1 << 24
_REMEMBERED_FROM = 1 << 28
"""Hashes of files of this many bytes or more are kept on disk; others only in this process."""

_known: dict[str, str] = {}


def canonical_json(value: Any) -> str:
    """Return the text that keys and fingerprints are hashed from: sorted, no spaces, no NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def make_key(*inputs: Any) -> str:
    """Return a key of 16 hexadecimal digits for any JSON values."""
    return hashlib.sha256(canonical_json(inputs).encode()).hexdigest()[:16]


def sha256_of(path: Path, progress: Progress = SILENT) -> str:
    """Return a file's sha256 in hexadecimal; `progress` counts in MiB.

    Hashes are remembered in `hashes.json` in the user's cache folder, so that not every command
    reads 5 GB again. A file counts as unchanged if its path, size, inode and time of change are.
    """
    path = path.resolve()
    stat = path.stat()
    key = f"{path}|{stat.st_size}|{stat.st_ino}|{stat.st_mtime_ns}"
    large = stat.st_size >= _REMEMBERED_FROM
    if key not in _known and large:
        _known.update(_load())
    if key not in _known:
        _known[key] = _read(path, stat.st_size, progress)
        if large:
            _save({**_load(), key: _known[key]})
    return _known[key]


def _read(path: Path, size: int, progress: Progress) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
            progress.update(file.tell() >> 20, size >> 20, f"checking {path.parent.name}")
    return digest.hexdigest()


def cache_folder() -> Path:
    """Return this project's place in the user's cache folder; it need not exist."""
    folder = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(folder).expanduser() / "actionbench"


def _memory() -> Path:
    return cache_folder() / "hashes.json"


def _load() -> dict[str, str]:
    try:
        return dict(json.loads(_memory().read_text("utf-8")))
    except (OSError, ValueError):
        return {}  # nothing is remembered yet, or it cannot be read: the files are hashed again


def _save(hashes: dict[str, str]) -> None:
    try:
        write_text(_memory(), json.dumps(hashes, indent=1))
    except UserError:
        return  # a home folder that cannot be written only costs the next command time
