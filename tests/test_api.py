"""The public face: what a notebook does is what the command does."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from PIL import Image

import actionbench as ab
import actionbench.suite.suite
from actionbench.runs.options import RunOptions
from tests.conftest import Done
from tests.helpers.small_cli import install_plugins
from tests.helpers.small_run import small_suite

SMALL = {"images_per_pair": 1, "device": "cpu"}


@pytest.fixture
def small(tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Replace the puppets by the small suite, and register its methods and judge as plug-ins."""
    install_plugins(tmp_path / "plugins")
    monkeypatch.syspath_prepend(tmp_path / "plugins")
    suite = small_suite(tmp_path)
    monkeypatch.setattr(actionbench.suite.suite, "suites", lambda: {suite.name: suite})
    monkeypatch.chdir(tmp_path)
    return tiny_model


def test_importing_the_package_costs_nothing() -> None:
    code = "import actionbench, sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    unwanted = {"torch", "pandas", "numpy", "PIL", "click", "actionbench.api"}
    assert not unwanted & set(done.stdout.split())


def test_everything_public_is_there_and_documented() -> None:
    for name in ab.__all__:
        assert name in dir(ab) and inspect.getdoc(getattr(ab, name)), name
    with pytest.raises(AttributeError, match="no attribute 'runs_away'"):
        ab.runs_away  # noqa: B018


def test_a_run_gives_verdicts_accuracies_images_and_a_picture(small: Path) -> None:
    result = ab.run(
        "drift", actions=["salute"], settings={"steps": 2}, model=str(small), progress=False,
        **SMALL,
    )  # fmt: skip
    assert isinstance(result.verdicts, pd.DataFrame) and len(result.verdicts) == 3
    assert set(result.accuracies) >= {"action", "subject", "total"}
    share = result.accuracies["action"]
    assert share.count == result.verdicts["action_correct"].sum() and share.n == 3
    assert result.record.settings["steps"] == 2 and result.record.state == "finished"
    assert sorted(result.images) == [("salute", name, 0) for name in ("boy", "girl", "man")]
    assert result.images["salute", "girl", 0].size == (32, 32)
    assert isinstance(result.show(), Image.Image) and (result.folder / "grid.png").exists()
    assert "Drift (drift-" in str(result) and "action " in str(result)


def test_the_command_finds_what_a_notebook_made(small: Path, typed: type[Done]) -> None:
    """Same options, defaults, store and keys."""
    result = ab.run("plain", model=str(small), progress=False, **SMALL)
    status, out, err = typed(
        *("run", "--method", "plain", "--model", small, "--device", "cpu"),
        *("--images-per-pair", 1, "--dry-run"),
    )
    assert not status, err
    assert out.startswith(f"{result.run_id}: ") and "images        0 to do,     6 present" in out


def test_the_board_is_the_commands_board(small: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ab.run("plain", model=str(small), progress=False, **SMALL)
    board = ab.report("runs")
    assert [row.method for group in board.groups for row in group.rows] == ["plain"]
    printed = capsys.readouterr().out
    assert "Plain" in printed and "wrote runs/report/board.md" in printed
    assert Path("runs/report/board.md").exists()


def test_several_methods_give_a_list_and_a_failure_is_raised_after_the_rest(small: Path) -> None:
    results = ab.run(["plain", "drift"], model=str(small), progress=False, **SMALL)
    assert [result.record.method for result in results] == ["plain", "drift"]
    with pytest.raises(ab.MethodError, match="faulty failed fitting 'gesture'"):
        ab.run(["faulty", "plain"], model=str(small), progress=False, seed=1, **SMALL)
    states = {path.parent.name.split("-")[0] for path in Path("runs/runs").glob("*/run.json")}
    assert states == {"plain", "drift", "faulty"}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"method": "drfit"}, "unknown method 'drfit': did you mean drift"),
        ({"method": "plain", "suit": "puppets"}, "unknown option 'suit': did you mean suite"),
        ({"method": "plain", "device": "gpu"}, "device 'gpu': choose one of auto, cpu, cuda"),
        ({"method": "plain", "images_per_pair": 0}, "images_per_pair must be 1 or more"),
        ({"method": "drift", "settings": {"steps": 0}}, "setting steps must lie between 1 and"),
        ({"method": ["drift", "plain"], "settings": {"steps": 2}}, "settings are for one method"),
        ({"method": "plain", "actions": ["salut"]}, "unknown action 'salut'"),
    ],
)
def test_mistakes_are_reported_before_anything_starts(
    small: Path, words: dict[str, object], message: str
) -> None:
    with pytest.raises(ab.UserError, match=message):
        ab.run(**{"model": str(small), "progress": False, **words})  # type: ignore[call-overload]
    assert not Path("runs").exists()


def test_the_documented_example_works_as_it_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """On the shipped model and dataset, from another folder."""
    page = (Path(__file__).parents[1] / "docs" / "api.md").read_text("utf-8")
    (example, *_) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(example, names)
    printed = capsys.readouterr().out
    assert "Stable Diffusion (stable-diffusion-" in printed and "wrote runs/report" in printed
    assert len(names["result"].verdicts) == 2 and (tmp_path / "runs/report/board.md").exists()


def test_help_names_every_option_with_its_default() -> None:
    signature = inspect.signature(ab.run)
    for name in RunOptions.__dataclass_fields__:
        assert signature.parameters[name].default == getattr(RunOptions(), name)


def test_options_take_lists_and_names_alike() -> None:
    assert RunOptions(actions=["sit"], subjects="panda").subjects == ("panda",)  # type: ignore[arg-type]
    assert RunOptions(runs="there").runs == Path("there")  # type: ignore[arg-type]
    resources = RunOptions(offload=True).resources
    assert resources.offload and not resources.compile
