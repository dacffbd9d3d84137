"""Files are there whole or not at all, and nothing that is somebody else's is removed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from actionbench.errors import UserError
from actionbench.files.atomic import HOST, replacing, write_text, written


def test_replacing_clears_what_a_kill_left_and_nothing_of_the_users(tmp_path: Path) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    dead, alive = (tmp_path / f".tmp-{HOST}-{pid}-0a1b2c3d" for pid in (gone.pid, os.getpid()))
    notes, draft = tmp_path / ".tmp-notes", tmp_path / ".tmp-0-draft"
    for path in (dead, notes):
        path.mkdir()
        (path / "page").write_text("words")
    for path in (alive, draft):
        path.write_text("words")
    for path in (notes, draft):
        os.utime(path, (0, 0))  # of 1970: older than any process
    with replacing(tmp_path / "out") as place:
        place.mkdir()
    assert not dead.exists() and alive.exists()
    assert (notes / "page").read_text() == draft.read_text() == "words"
    assert (tmp_path / "out").is_dir()


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    file = write_text(tmp_path / "new" / "a.txt", "old")
    with pytest.raises(ZeroDivisionError), written(file) as temporary:
        temporary.write_text("half")
        raise ZeroDivisionError
    assert file.read_text() == "old" and [path.name for path in file.parent.iterdir()] == ["a.txt"]
    with pytest.raises(UserError, match=r"a\.txt/b cannot be written: "):
        write_text(file / "b", "words")
