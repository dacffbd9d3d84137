"""What is read cannot run code, and nobody is asked for what a command did not name."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from actionbench.plugins.tiny import tiny_pipeline
from tests.conftest import Done
from tests.helpers.photographs import make_folder, write_suite

ROOT = Path(__file__).resolve().parents[1]
SOURCES = [
    ROOT / "cli.py",
    *(f for p in ("actionbench", "evaluation", "leaderboards", "methods")
      for f in sorted((ROOT / p).rglob("*.py"))),
]  # fmt: skip
MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
"""What reads objects by running what a file says."""
WORKERS = ROOT / "actionbench/runs/workers"
CALLS = {
    "torch.load", "pd.read_pickle", "pandas.read_pickle", "yaml.load",
    "yaml.unsafe_load", "yaml.full_load", "eval", "exec", "os.system",
    "shutil.unpack_archive", "tarfile.open", "zipfile.ZipFile",
}  # fmt: skip
"""Calls that can do the same, or write where an archive says."""
WORDS = {"trust_remote_code", "allow_pickle"}
"""Arguments by which a library is allowed to; none may be given as true."""


def found_in(source: str) -> list[str]:
    """Return the loads that could run code."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [n.name for n in node.names if n.name.split(".")[0] in MODULES]
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in MODULES:
            found.append(str(node.module))
        elif isinstance(node, ast.Call):
            if (name := ast.unparse(node.func)) in CALLS:
                found.append(name)
            for word in node.keywords:
                if word.arg in WORDS and ast.unparse(word.value) != "False":
                    found.append(str(word.arg))
                if word.arg == "use_safetensors" and ast.unparse(word.value) != "True":
                    found.append("use_safetensors")
    return found


def test_no_load_can_run_code() -> None:
    assert len(SOURCES) > 100
    found = {f: names for f in SOURCES if (names := found_in(f.read_text("utf-8")))}
    # A command and its own workers send each other objects, through a pipe that no other process
    # has or through Ray; nothing of that is read from a file or from an address.
    assert {f for f in found if f.parent != WORKERS} == set()
    assert {name for names in found.values() for name in names} == {"pickle"}
    for file in found:
        text = file.read_text("utf-8")
        assert "pickle.load(" not in text and "Listener" not in text and "Client(" not in text
    assert found_in("import pickle\ntorch.load(f)\nload(a, trust_remote_code=True)") == [
        "pickle", "torch.load", "trust_remote_code",
    ]  # fmt: skip


def test_a_model_with_pickled_weights_only_is_refused(
    tmp_path: Path, typed: Callable[..., Done], tiny_model: Path
) -> None:
    model = tiny_pipeline(tmp_path / "model")
    weights = next((model / "unet").glob("*.safetensors"))
    weights.rename(weights.with_suffix(".bin"))
    done = typed("run", "--method", "adi", "--model", model, "--runs", tmp_path / "runs",
                 "--dry-run")  # fmt: skip
    assert done.returncode == 2 and "safetensors" in done.stderr, done.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="links need a privilege there")
def test_links_among_photographs_lead_no_write_outside(
    tmp_path: Path, typed: Callable[..., Done], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    source, outside = make_folder(tmp_path / "source"), tmp_path / "outside"
    suite = write_suite(tmp_path)
    outside.mkdir()
    (source / "wave/1.jpg").rename(outside / "1.jpg")
    (source / "wave/1.jpg").symlink_to(outside / "1.jpg")
    before = {path: path.stat().st_mtime_ns for path in [*outside.iterdir(), *source.rglob("*")]}
    words = ("data", "import", source, "--suite", suite, "--count", "2", "--out", "made")
    typed(*words)
    # The dataset's place may be a link as well: what it leads to is not replaced.
    (outside / "kept").mkdir()
    (outside / "kept/mine.txt").write_text("mine")
    (tmp_path / "linked").symlink_to(outside / "kept")
    done = typed(*words[:-1], "linked")
    assert done.returncode == 2 and "holds other files" in done.stderr, done.stderr
    assert [path.name for path in (outside / "kept").iterdir()] == ["mine.txt"]
    assert all(path.stat().st_mtime_ns == at for path, at in before.items())


PROGRAM = """\
import socket, sys
def hook(event, words):
    if event in ("socket.connect", "socket.getaddrinfo"):
        raise AssertionError(f"asked the network: {words}")
sys.addaudithook(hook)
import cli
for words in (["suites", "list"], ["runs", "list"], ["report"], ["methods", "new", "mine"],
              ["run", "--method", "plain", "--model", "here", "--dry-run"]):
    sys.argv = ["actionbench", *words]
    try:
        cli.main()
    except SystemExit:
        pass
assert "side_effect" not in sys.modules
"""


def test_plugins_run_and_the_network_is_asked_only_when_named(tmp_path: Path) -> None:
    package = tmp_path / "actionbench_side-1.dist-info"
    package.mkdir()
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: actionbench-side\nVersion: 1\n")
    (package / "entry_points.txt").write_text(
        "[actionbench.methods]\nside = side_effect:Side\n"
        "[actionbench.judges]\nside = side_effect:Side\n"
    )
    (tmp_path / "side_effect.py").write_text("open('ran', 'w').close()\n")
    environment = {
        **os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(tmp_path)]),
        "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "0",
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, cwd=tmp_path,
        env=environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr and not (tmp_path / "ran").exists()
