"""Files are there whole or not at all, and nothing that is somebody else's is removed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from actionbench.errors import UserError
from actionbench.files.atomic import HOST, beside, once, replacing, write_text, written


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


def test_a_written_file_clears_what_a_kill_left(tmp_path: Path) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    (tmp_path / f".tmp-{HOST}-{gone.pid}-0a1b2c3d").write_text("half a page")
    write_text(tmp_path / "page", "words")
    assert [path.name for path in tmp_path.iterdir()] == ["page"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no disk that is always full here")
def test_a_full_disk_is_reported_with_the_place(tmp_path: Path) -> None:
    with (
        pytest.raises(OSError, match="No space left on device") as caught,
        replacing(tmp_path / "made") as _,
        Path("/dev/full").open("w") as file,
    ):
        file.write("words")
        file.flush()
    assert caught.value.filename == str(tmp_path / "made")


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    file = write_text(tmp_path / "new" / "a.txt", "old")
    with pytest.raises(ZeroDivisionError), written(file) as temporary:
        temporary.write_text("half")
        raise ZeroDivisionError
    assert file.read_text() == "old" and [path.name for path in file.parent.iterdir()] == ["a.txt"]
    with pytest.raises(UserError, match=r"a\.txt/b cannot be written: "):
        write_text(file / "b", "words")


@pytest.mark.parametrize("write", [beside, replacing, written, once])
@pytest.mark.parametrize(
    "error",
    [UnicodeEncodeError("utf-8", "\udce9", 0, 1, "no sign"), KeyboardInterrupt(), SystemExit()],
)
def test_whatever_is_raised_leaves_no_temporary_folder(
    tmp_path: Path, write: Any, error: BaseException
) -> None:
    with pytest.raises(type(error)), write(tmp_path / "out") as place:
        place.mkdir()
        (place / "deep").mkdir()
        (place / "deep/page").write_text("words")
        raise error
    assert not [*tmp_path.iterdir()]


def test_a_folder_that_cannot_be_replaced_stays(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/page").write_text("old")
    with pytest.raises(FileNotFoundError), replacing(tmp_path / "out"):
        pass  # nothing is there to take its place
    assert (tmp_path / "out/page").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_of_two_processes_the_faster_keeps_its_folder(tmp_path: Path) -> None:
    with once(tmp_path / "out") as place:
        place.mkdir()
        (tmp_path / "out").mkdir()
        (tmp_path / "out/page").write_text("the other's")
    assert (tmp_path / "out/page").read_text() == "the other's"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_text_that_is_no_text_is_refused_in_a_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"a\.md cannot be written: 'caf.*udce9' is not UTF-8"):
        write_text(tmp_path / "a.md", "caf\udce9")
    assert not [*tmp_path.iterdir()]
