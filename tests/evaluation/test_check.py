"""The acceptance's table: what is asked, what is kept, and what is frozen by it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from actionbench.errors import UserError
from actionbench.puppets import suites
from evaluation.judges import check
from evaluation.judges.acceptance import Row

SUBJECT = Row(check.SUBJECT, "descriptions alone", 800, 0.85, 0.82, 0.87, 0.80, 0.90)


def test_a_row_says_what_is_asked_and_what_became_of_it() -> None:
    cells = dict(zip(check.COLUMNS, check.cells(SUBJECT)))
    assert cells == {
        "gate": check.SUBJECT, "what": "descriptions alone", "n": "800", "asked": "80% to 90%",
        "measured": "85.0%", "95% interval": "82.0 to 87.0", "first world": "99.6%", "": "kept",
    }  # fmt: skip
    lost = replace(SUBJECT, share=0.95)
    assert check.cells(lost)[-1] == "failed"
    assert check.asked(replace(SUBJECT, at_most=None)) == "at least 80%"
    ratio = Row("a", "", 5, 0.4321, 0.4321, 0.4321, at_most=0.5, percent=False)
    assert check.cells(ratio)[3:5] == ("at most 0.5", "0.432")
    assert check.cells(replace(ratio, n=0))[4:] == ("nothing", "", "", "failed")
    assert check.cells(replace(ratio, at_most=None))[-1] == ""


class Accepted(check.Check):
    """A check whose models are fingerprints alone."""

    painter = SimpleNamespace()  # type: ignore[assignment]
    controlnet = SimpleNamespace(fingerprint="c")  # type: ignore[assignment]

    def fingerprints(self) -> dict[str, str]:
        return {"puppet-diffusion": "d", "puppet-controlnet": "c"}


@pytest.fixture
def frozen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    file = tmp_path / "frozen.json"
    for module in (check, suites):
        monkeypatch.setattr(module, "FROZEN", file)
        monkeypatch.setattr(module, "CLAIMS", tmp_path / "claims.yaml")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    def build(drawn: Any, out: Path, progress: Any) -> str:
        out.mkdir(parents=True, exist_ok=True)
        return f"drawing of {drawn.name}"

    monkeypatch.setattr(suites, "build", build)
    monkeypatch.setattr(suites, "fingerprint", lambda folder: folder.name.rpartition("-")[0])
    return file


def test_accepted_models_are_frozen_and_with_them_the_suites(frozen: Path, tmp_path: Path) -> None:
    made = Accepted(check.Choices(tmp_path / "out"))
    assert made.freeze([SUBJECT]) == frozen
    facts = json.loads(frozen.read_text())
    assert facts["models"] == made.fingerprints()
    assert set(facts["suites"]) == {"puppets-v2", "puppets-v2-dev"}
    (tmp_path / "claims.yaml").write_text("claims: []")
    made.freeze([SUBJECT])
    facts = json.loads(frozen.read_text())
    assert set(facts["suites"]) == {"puppets-v2", "puppets-v2-dev", "puppets-48"}


@pytest.mark.parametrize(("share", "frozen_too"), [(0.92, True), (0.76, True), (0.94, False)])
def test_the_closest_base_model_is_shipped_within_wider_limits(
    frozen: Path, tmp_path: Path, share: float, frozen_too: bool
) -> None:
    made = Accepted(check.Choices(tmp_path / "out"))
    if frozen_too:
        assert made.freeze([replace(SUBJECT, share=share)]).exists()
        return
    with pytest.raises(UserError, match=rf"not accepted \({check.SUBJECT}\)"):
        made.freeze([replace(SUBJECT, share=share)])
    assert not frozen.exists()


@pytest.mark.parametrize("fewer", [{"n": 799}, {"pictures": 4999}])
def test_few_pictures_freeze_nothing(frozen: Path, tmp_path: Path, fewer: dict[str, int]) -> None:
    with pytest.raises(UserError, match="at least 800 pictures a row and 5,000"):
        Accepted(check.Choices(tmp_path / "out", **fewer)).freeze([SUBJECT])
    with pytest.raises(UserError, match="no base model with a ControlNet"):
        check.Check(check.Choices(tmp_path / "out")).freeze([SUBJECT])


def test_the_command_tells_what_it_cannot_load(typed: Callable[..., Any], tmp_path: Path) -> None:
    done = typed("puppets", "check", "--readers", tmp_path, "--out", tmp_path / "out")
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert "holds no reader of subjects" in done.stderr
