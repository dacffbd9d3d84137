"""The door for a ninth method: the example package, and the skeleton of one's own."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from types import ModuleType

import pytest
import torch

from actionbench.diffusion.backbone import Backbone
from actionbench.errors import UserError
from actionbench.plugins.conformance import check_method
from actionbench.plugins.template import write_skeleton
from actionbench.plugins.tiny import tiny_task
from actionbench.progress import SILENT
from actionbench.registry import method_names
from tests.helpers.small_cli import install_plugins

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "examples" / "plugin"

SESSION = """
import sys
import tests.helpers.small_cli

folder, model = sys.argv[1:]
for words in (
    "methods list",
    "methods check direction",
    "methods check and-mask",
    f"run --method direction --set steps=2 --subjects boy --model {model} --runs {folder}/runs",
    f"run --method and-mask --set steps=2 --subjects boy --model {model} --runs {folder}/runs",
    f"ablate direction --suite puppets --seeds 2 --model {model} --runs {folder}/runs --dry-run",
    f"report --runs {folder}/runs",
):
    print("$", words, flush=True)
    sys.argv = ["actionbench", folder, *words.split()]
    try:
        tests.helpers.small_cli.main()
    except SystemExit as end:
        print("status", end.code or 0, flush=True)
"""


def load(file: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(file.stem, file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[file.stem] = module  # dataclasses look their annotations up there
    try:
        spec.loader.exec_module(module)
    finally:
        del sys.modules[file.stem]
    return module


def test_the_examples_are_installed_checked_and_run(tiny_model: Path, tmp_path: Path) -> None:
    """By pip, into a folder of its own, and in one process for all commands: imports dominate."""
    source, target = tmp_path / "source", tmp_path / "installed"
    shutil.copytree(EXAMPLE, source)
    offline = ["--quiet", "--no-index", "--no-deps", "--no-build-isolation"]
    pip = [sys.executable, "-m", "pip", "install", *offline, "--target", target, source]
    subprocess.run(pip, check=True, capture_output=True, text=True)
    install_plugins(tmp_path / "plugins")
    environment = {**os.environ, "PYTHONPATH": f"{target}:{ROOT}", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", SESSION, str(tmp_path), str(tiny_model)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.stdout.count("status 0") == 7, done.stdout + done.stderr
    _, listed, *rest, ablation, board = done.stdout.split("$ ")
    assert "│ Direction" in listed and "│ AND-mask" in listed and "│ P+" in listed
    for checked in rest[:2]:
        assert checked.count("passed") > 30 and "FAILED" not in checked
    for name, ran in zip(("direction", "and-mask"), rest[2:], strict=True):
        assert f"run {name}-" in ran and "n    4" in ran
    assert "relative_norm=0.5" in ablation and "8 runs, 8 to do" in ablation
    assert "Direction" in board and "AND-mask" in board


def test_the_tokens_norm_stays_and_its_direction_moves(tiny: Backbone) -> None:
    example = load(EXAMPLE / "direction.py")
    method = example.Direction(example.Settings(steps=3, learning_rate=0.1, relative_norm=2.0))
    fitted = method.fit(tiny, tiny_task(), seed=0, progress=SILENT).tensors["vectors"]
    table = tiny.pipeline.text_encoder.get_input_embeddings().weight
    norm = 2 * float(table.norm(dim=-1).median())
    assert fitted.shape == (1, 1, tiny.width)
    assert float(fitted.norm()) == pytest.approx(norm)
    start = method.start(tiny, 1)
    assert float(start.norm()) == pytest.approx(norm)
    assert float(torch.cosine_similarity(fitted, start, dim=-1)) < 0.9999


def test_only_channels_that_the_samples_agree_on_move() -> None:
    """Three samples, L = N = 1, four channels: all up, two of three up, all down, one is zero."""
    example = load(EXAMPLE / "and_mask.py")
    gradients = torch.tensor([[3.0, 3.0, -1.0, 1.0], [1.0, 3.0, -1.0, 1.0], [2.0, -3.0, -4.0, 0.0]])
    gradients = gradients[:, None, None]
    strict = example.AndMask(example.Settings(agreement=1.0))
    update, moving = strict.rule(gradients)
    assert moving.flatten().tolist() == [True, False, True, False]
    assert update.flatten().tolist() == [2.0, 0.0, -2.0, 0.0]
    # |sum of signs| is 3, 1, 3, 2 of 3.
    _, moving = example.AndMask(example.Settings(agreement=0.5)).rule(gradients)
    assert moving.flatten().tolist() == [True, False, True, True]
    _, moving = example.AndMask(example.Settings(agreement=0.0)).rule(gradients)
    assert moving.all()


def test_the_guide_shows_the_examples_as_they_are() -> None:
    """Each line of Python in the guide's third chapter is a line of an example."""
    guide = (ROOT / "docs" / "your-own-method.md").read_text("utf-8")
    blocks = re.findall(r"```python\n(.*?)```", guide.split("## 3.")[1].split("## 4.")[0], re.S)
    shown = [line.strip() for block in blocks for line in block.splitlines() if line]
    examples = [file.read_text("utf-8").splitlines() for file in EXAMPLE.glob("*.py")]
    assert len(blocks) == 3
    assert not set(shown) - {line.strip() for lines in examples for line in lines}


def test_the_skeleton_keeps_every_promise_as_it_is(tmp_path: Path) -> None:
    folder = tmp_path / "new"
    files = write_skeleton("my-method2", folder, method_names())
    assert {path.name for path in files} == {
        "pyproject.toml",
        "actionbench_my_method2.py",
        "test_actionbench_my_method2.py",
        "README.md",
    }
    assert not [path for path in files if "$" in path.read_text()]
    project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    entry = project["entry-points"]["actionbench.methods"]
    assert entry == {"my-method2": "actionbench_my_method2:MyMethod2"}
    method = load(folder / "actionbench_my_method2.py").MyMethod2
    assert (method.name, method.title) == ("my-method2", "My method2")
    assert [result for result in check_method(method) if not result.passed] == []


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("adi", "the name 'adi' is taken"),
        ("all", "the name 'all' is taken"),
        ("My-Method", "'My-Method' is no name for a method"),
        ("my_method", "is no name"),
        ("2d", "is no name"),
        ("a--b", "is no name"),
        ("../up", "is no name"),
        ("", "is no name"),
        ("settings", "the class Settings would hide another"),
        ("token-method", "the class TokenMethod would hide another"),
    ],
)
def test_a_name_that_cannot_be_is_refused(tmp_path: Path, name: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        write_skeleton(name, tmp_path / "new", method_names())
    assert not (tmp_path / "new").exists()


def test_an_existing_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "own.txt").write_text("mine")
    with pytest.raises(UserError, match="exists already: name another with --out"):
        write_skeleton("mine", tmp_path, [])
    assert [path.name for path in tmp_path.iterdir()] == ["own.txt"]
