"""Methods and judges by name, plug-ins included."""

from __future__ import annotations

import importlib
import sys
import tomllib
from pathlib import Path

import pytest

from actionbench.errors import UserError
from actionbench.registry import get_judge, get_method, judge_names, method_names
from tests.helpers.small_cli import install_plugins
from tests.helpers.small_run import Brightness, Drift, Plain


@pytest.fixture
def plugins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    install_plugins(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.invalidate_caches()
    return tmp_path


def test_built_ins_are_registered_as_pyproject_says() -> None:
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())
    declared = project["project"]["entry-points"]
    assert set(method_names()) == set(declared["actionbench.methods"])
    assert set(judge_names()) == set(declared["actionbench.judges"])


def test_every_built_in_loads_under_its_own_name() -> None:
    for name in method_names():
        method = get_method(name)
        assert method.name == name
        assert method.title and method.reference
        for preset in (*method.presets.values(), *method.tuned.values(), method.quick):
            method.Settings(**preset)
    for name in judge_names():
        assert get_judge(name).name == name


def test_plugins_stand_beside_the_built_ins(plugins: Path) -> None:
    assert get_method("drift") is Drift
    assert get_judge("brightness") is Brightness
    assert "adi" in method_names()


def test_a_plugin_that_fails_breaks_only_itself(plugins: Path) -> None:
    with pytest.raises(UserError, match=r"method 'broken' \(tests.no_such_module:Method\) cannot"):
        get_method("broken")
    with pytest.raises(UserError, match=r"'no-method' .* is not a subclass of Method"):
        get_method("no-method")
    assert get_method("drift") is Drift


def test_unknown_names_answer_with_the_nearest() -> None:
    with pytest.raises(UserError, match=r"unknown method 'p-puls': did you mean p-plus\?"):
        get_method("p-puls")
    with pytest.raises(UserError, match="unknown judge 'pupet': did you mean puppet"):
        get_judge("pupet")


def test_two_packages_with_one_name_are_reported(plugins: Path) -> None:
    other = plugins / "other-1.dist-info"
    other.mkdir()
    (other / "METADATA").write_text("Metadata-Version: 2.1\nName: other\nVersion: 1\n")
    (other / "entry_points.txt").write_text("[actionbench.methods]\ndrift = tests.other:Other\n")
    with pytest.raises(UserError, match="two installed packages register method 'drift'"):
        get_method("drift")
    assert get_method("plain") is Plain, "the others are not affected"
    assert "drift" in method_names()


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("raise SystemExit('no licence')", "cannot be imported: SystemExit: no licence"),
        ("import nothing_such", "cannot be imported: ModuleNotFoundError: No module named 'noth"),
        ("class Odd: pass", "is not a subclass of Method"),
        ("class Odd(Method): name = 'odd'", "does not define fit, generate"),
        ("class Odd(Drift): pass", "has the name 'drift': its entry point must have the"),
        ("class Odd(Bare): name = 'odd'", "has no title"),
        ("class Odd(Drift): name = 'odd'; Settings = dict", "has Settings that are not a data"),
        ("class Odd(Drift): name = 'odd'; Settings = Loose", "has a setting 'steps' that is not"),
    ],
)
def test_a_class_that_cannot_be_used_is_refused_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, message: str
) -> None:
    head = (
        "from dataclasses import dataclass\n"
        "from actionbench.method import Method\n"
        "from tests.helpers.small_run import Drift\n"
        "class Bare(Method):\n    fit = generate = lambda self: None\n"
        "@dataclass(frozen=True)\nclass Loose:\n    steps: int = 3\n"
    )
    (tmp_path / "odd_plugin.py").write_text(f"{head}{source}\n")
    metadata = tmp_path / "odd-1.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: odd\nVersion: 1\n")
    (metadata / "entry_points.txt").write_text("[actionbench.methods]\nodd = odd_plugin:Odd\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(UserError) as error:
        get_method("odd")
    sys.modules.pop("odd_plugin", None)
    assert f"method 'odd' (odd_plugin:Odd) {message}" in str(error.value)
