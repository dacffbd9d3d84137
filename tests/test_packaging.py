"""The package as a stranger gets it: built, installed, and used outside of the clone."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("actionbench", "evaluation", "leaderboards", "methods")
SOURCES = (*PACKAGES, "cli.py", "pyproject.toml", "README.md", "LICENSE", "MANIFEST.in")
BUILD = "import sys; from setuptools import build_meta; print(build_meta.build_{}(sys.argv[1]))"
PUPPETS = "actionbench/data/puppets"
DATA = {
    "actionbench/py.typed",
    "actionbench/data/paper.json",
    "actionbench/data/canary.png",
    "actionbench/data/photos.yaml",
    f"{PUPPETS}/dataset/README.md",
    f"{PUPPETS}/dataset/exemplars.parquet",
    f"{PUPPETS}/dataset/dev.parquet",
    f"{PUPPETS}/dataset/subjects.parquet",
    f"{PUPPETS}/weights/puppet-diffusion/model_index.json",
    f"{PUPPETS}/weights/puppet-diffusion/unet/diffusion_pytorch_model.safetensors",
    f"{PUPPETS}/weights/puppet-controlnet/diffusion_pytorch_model.safetensors",
    f"{PUPPETS}/weights/puppet-judge/model.safetensors",
    f"{PUPPETS}/weights/puppet-encoder/model.safetensors",
    "evaluation/page/base.html",
    "evaluation/page/style.css",
    "leaderboards/page/report.html",
    "leaderboards/page/report.js",
    "leaderboards/submission/schema.json",
    "leaderboards/published.json",
    "leaderboards/puppets-v1/reference.json",
    "leaderboards/puppets-v1/board.md",
}
"""Some of each kind of file that is no module."""
LARGE = 2**20

Command = Callable[..., str]


def _call(words: list[str | Path], folder: Path) -> str:
    """Run a process that sees neither the clone nor an editable install of it."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    environment.pop("PYTHONPATH", None)
    done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True)
    assert not done.returncode, f"{words}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder that is removed at the end: builds are large."""
    folder = tmp_path_factory.mktemp("packaging")
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def wheel(scratch: Path) -> Path:
    """The wheel, built from the source archive as an upload is."""
    clone, built = scratch / "clone", scratch / "dist"
    for folder in (clone, built):
        folder.mkdir()
    for name in SOURCES:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, clone / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, clone / name)
    _call([sys.executable, "-c", BUILD.format("sdist"), built], clone)
    (archive,) = built.glob("*.tar.gz")
    with tarfile.open(archive) as tar:
        tar.extractall(scratch, filter="data")
    unpacked = scratch / archive.name.removesuffix(".tar.gz")
    _call([sys.executable, "-c", BUILD.format("wheel"), built], unpacked)
    (wheel,) = built.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def installed(wheel: Path, scratch: Path) -> Command:
    """Call a program of a fresh environment that has the wheel, from an empty folder.

    The libraries come from this environment's folder by a line of a .pth file. A folder that is
    named that way has its own .pth files ignored, so an editable install of the clone is not seen.
    """
    environment, elsewhere = scratch / "environment", scratch / "elsewhere"
    elsewhere.mkdir()
    _call([sys.executable, "-m", "venv", "--without-pip", environment], scratch)
    python = environment / "bin" / "python"
    own = Path(_call([python, "-c", "import sysconfig as s; print(s.get_path('purelib'))"], scratch)
               .strip())  # fmt: skip
    libraries = {sysconfig.get_path(name) for name in ("purelib", "platlib")}
    (own / "libraries.pth").write_text("".join(f"{folder}\n" for folder in sorted(libraries)))
    pip = [sys.executable, "-m", "pip", "--python", python, "--disable-pip-version-check"]
    _call([*pip, "install", "--quiet", "--no-deps", "--no-index", wheel], scratch)

    def call(program: str, *words: str | Path) -> str:
        return _call([environment / "bin" / program, *words], elsewhere)

    return call


def test_the_wheel_has_every_module_and_the_data_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        sizes = {entry.filename: entry.file_size for entry in archive.infolist()}
    modules = {str(f.relative_to(ROOT)) for name in PACKAGES for f in (ROOT / name).rglob("*.py")}
    assert {name for name in sizes if name.endswith(".py")} == modules | {"cli.py"}
    assert sizes.keys() >= DATA
    top = {name.split("/")[0] for name in sizes}
    assert {name for name in top if not name.endswith(".dist-info")} == {*PACKAGES, "cli.py"}
    assert any(name.endswith("licenses/LICENSE") for name in sizes)
    large = {name for name, size in sizes.items() if size > LARGE}
    assert {name for name in large if not name.startswith(f"{PUPPETS}/")} == set()
    shipped = {str(f.relative_to(ROOT)) for f in (ROOT / PUPPETS).rglob("*") if f.is_file()}
    assert shipped <= sizes.keys()


def test_it_is_the_wheel_that_is_used(installed: Command, scratch: Path) -> None:
    code = "import actionbench, cli, evaluation, leaderboards, methods as m; print(m.__path__[0])"
    assert installed("python", "-c", code).startswith(str(scratch))
    assert "version" in installed("actionbench", "--version")
    assert "adi" in installed("actionbench", "methods", "list")


def test_a_method_runs_and_is_reported(installed: Command, scratch: Path, tiny_model: Path) -> None:
    few = ["--actions", "sit", "--subjects", "panda", "--images-per-pair", "1"]
    model = ["--model", tiny_model, "--set", "steps=1"]
    installed("actionbench", "run", "--method", "textual-inversion", *few, *model)
    (verdicts,) = (scratch / "elsewhere" / "runs" / "runs").glob("*/verdicts.parquet")
    assert len(pd.read_parquet(verdicts)) == 1
    assert "Textual Inversion" in installed("actionbench", "report")
