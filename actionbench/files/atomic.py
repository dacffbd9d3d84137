"""Files and folders that appear whole or not at all: written beside their place, then renamed.

Temporary names say which process of which machine writes them. That distinguishes what a killed
process left behind from what another process is still writing.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shutil
import socket
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from actionbench.errors import UserError

TEMPORARY = ".tmp-"
"""What every temporary name begins with."""
_OURS = re.compile(rf"{re.escape(TEMPORARY)}[0-9a-f]{{8}}-\d+-[0-9a-f]+")
_STALE_SECONDS = 24 * 3600
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
_FIXES = dict.fromkeys(_FULL, "free some space, or name another place") | {
    errno.EACCES: "change its permissions, or name another place",
    errno.EPERM: "change its permissions, or name another place",
}
HOST = hashlib.sha256(socket.gethostname().encode()).hexdigest()[:8]


@contextmanager
def beside(path: Path) -> Iterator[Path]:
    """Yield a temporary name beside `path`, which the caller writes and renames.

    The temporary file is removed if the block raises.
    """
    temporary = path.parent / f"{TEMPORARY}{HOST}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        yield temporary
    except BaseException as error:
        remove(temporary)
        # A full disk is reported by writes to an open file, which do not know its name.
        if isinstance(error, OSError) and error.errno in _FULL and error.filename is None:
            error.filename = str(path)
        raise


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary place beside `path`; what is there when the block ends replaces `path`.

    A killed process leaves the old `path` as it was; the next process removes what it left behind.
    """
    if path.parent.exists():
        remove_leftovers(path.parent)
    with beside(path) as temporary:
        yield temporary
        if path.is_dir():
            # A folder cannot be renamed onto another. Moved aside, the old one comes back if the
            # new one cannot take its place.
            with beside(path) as old:
                path.replace(old)
                try:
                    temporary.replace(path)
                except BaseException:
                    old.replace(path)
                    raise
                remove(old)
        else:
            temporary.replace(path)


@contextmanager
def once(path: Path) -> Iterator[Path]:
    """Yield a temporary place for a folder whose name decides its contents; it becomes `path`
    unless another process was faster, whose folder is as good."""
    with beside(path) as temporary:
        yield temporary
        try:
            temporary.rename(path)
        except OSError:
            if not path.is_dir():
                raise
            remove(temporary)


@contextmanager
def written(path: Path) -> Iterator[Path]:
    """Yield a temporary name to write a file under, which then takes its place, whole or not at
    all; its folder is made.

    Raises:
        UserError: if it cannot be written.
    """
    try:
        if path.parent.is_dir():
            remove_leftovers(path.parent)
        with beside(path) as temporary:
            yield temporary
            temporary.replace(path)
    except OSError as error:
        fix = _FIXES.get(error.errno or 0, "name another place")
        raise UserError(f"{path} cannot be written: {error.strerror or error}; {fix}") from error


def write_text(path: Path, text: str) -> Path:
    """Write a text file in UTF-8, as `written`."""
    with written(path) as temporary:
        try:
            temporary.write_text(text, "utf-8")
        except UnicodeEncodeError as error:  # half of a sign, from a name that is not UTF-8
            what = ascii(text[max(0, error.start - 20) : error.end])
            raise UserError(f"{path} cannot be written: {what} is not UTF-8: rename it") from error
    return path


def remove_leftovers(folder: Path, *patterns: str) -> None:
    """Remove the temporary files of ended processes from a folder.

    Args:
        patterns: where to look below the folder; by default directly in it.
    """
    for pattern in patterns or (f"{TEMPORARY}*",):
        for path in folder.glob(pattern):
            # The folder may be the user's: only names that this module makes are leftovers.
            if _OURS.fullmatch(path.name) and not _in_use(path):
                remove(path)


def remove(path: Path) -> None:
    """Remove a file or a folder, if it is there."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def own_folder(out: Path, mark: str) -> Path:
    """Return `out` as an absolute path if it is new, empty, or our own (it holds `mark`).

    Raises:
        UserError: otherwise, because the folder would be replaced with everything in it.
    """
    out = out.resolve()
    if out.exists() and not out.is_dir():
        raise UserError(f"{out} is a file: name a folder")
    if out.is_dir() and any(out.iterdir()) and not (out / mark).exists():
        raise UserError(f"{out} holds other files and would be replaced: name a new folder")
    return out


def _in_use(path: Path) -> bool:
    """Check whether a temporary name may belong to a process that is still writing it."""
    host, _, process = path.name.removeprefix(TEMPORARY).partition("-")
    if host == HOST:
        try:
            os.kill(int(process.split("-")[0]), 0)
        except (ProcessLookupError, ValueError):
            return False
        except PermissionError:
            return True
        return True
    try:
        return time.time() - path.stat().st_mtime < _STALE_SECONDS
    except FileNotFoundError:  # another process removed it just now
        return True
