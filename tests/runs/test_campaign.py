"""Several runs one after another: what is loaded once, and what a failure costs the others."""

from __future__ import annotations

import gc
import re
import weakref
from pathlib import Path
from typing import Any, ClassVar

import pytest

import actionbench.runs.workers.session
from actionbench.errors import UserError
from actionbench.files.models import resolve_model
from actionbench.plugins.tiny_xl import tiny_xl_pipeline
from actionbench.runs.campaign import Setup, execute_each
from actionbench.runs.options import RunOptions
from actionbench.runs.workers.session import load_backbone
from leaderboards import build_board
from methods.stable_diffusion import StableDiffusion
from tests.helpers.small_run import Brightness, Drift, Faulty, Plain, small_suite


def small_setup(model: Path, folder: Path, **more: Any) -> Setup:
    suite = more.pop("suite", None) or small_suite(folder)
    options = RunOptions(runs=folder / "runs", device="cpu", images_per_pair=1, **more)
    return Setup(options, suite, resolve_model(str(model)), Brightness(suite))


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Record the backbones that campaigns load."""
    loaded: list[Any] = []

    def load(*words: Any) -> Any:
        loaded.append(load_backbone(*words))
        return loaded[-1]

    monkeypatch.setattr(actionbench.runs.workers.session, "load_backbone", load)
    return loaded


def test_a_model_of_a_kind_that_a_method_does_not_serve_is_refused_before_any_work(
    tmp_path: Path,
) -> None:
    class OnlyOne(Plain):
        unserved: ClassVar[dict[str, str]] = {"unet-two": "it edits the one token table"}

    setup = small_setup(tiny_xl_pipeline(tmp_path / "xl"), tmp_path)
    said = (
        r"^plain cannot be run on xl \(UNet, two encoders\): it edits the one token table; "
        r"it serves UNet, one encoder$"
    )
    with pytest.raises(UserError, match=said):
        setup.plan(OnlyOne)
    with pytest.raises(UserError, match="does not claim that kind"):
        setup.plan(Plain)
    assert setup.plan(StableDiffusion).method.name == "stable-diffusion"


def test_a_failure_is_its_own_and_the_backbone_is_shared(
    tiny_model: Path, tmp_path: Path, loads: list[Any]
) -> None:
    setup = small_setup(tiny_model, tmp_path)
    diverging = setup.plan(Drift, ["lr=1e30", "steps=40"])
    plans = [setup.plan(Plain), setup.plan(Drift), setup.plan(Faulty), diverging]
    plans.append(setup.plan(Drift, seed=1))
    outcomes = list(execute_each(plans))
    assert [outcome.result is not None for outcome in outcomes] == [True, True, False, False, True]
    faulty, diverged = outcomes[2:4]
    assert re.match(r"faulty failed fitting '\w+': ZeroDivisionError: a defect", faulty.failure)
    assert "diverged" in diverged.failure
    assert len(loads) == 3, "once, and anew after each failure"

    (group,) = build_board(setup.options.runs).groups
    done = {row.title: (row.done, row.partial) for row in group.rows if not row.label}
    # The two seeds of Drift are one row.
    assert done == {"Plain": (6, False), "Drift": (12, False), "Faulty": (3, True)}
    notes = build_board(setup.options.runs).notes
    assert any("Faulty" in n and "failed fitting" in n and "a defect" in n for n in notes)
    assert any("lr=1e+30" in n and "diverged" in n for n in notes)


def test_finished_runs_load_nothing_and_a_fixed_one_goes_on(
    tiny_model: Path, tmp_path: Path, loads: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    setup = small_setup(tiny_model, tmp_path, subjects=["boy"])
    kinds = (Plain, Faulty)
    first = list(execute_each([setup.plan(kind) for kind in kinds]))
    assert first[1].result is None and len(loads) == 1
    monkeypatch.setattr(Faulty, "fit", Mended.fit)
    plans = [setup.plan(kind) for kind in kinds]
    assert [work.to_do for work in plans[1].work()] == [1, 1, 1], "what was finished is kept"
    again = list(execute_each(plans))
    assert len(loads) == 2 and again[1].result is not None
    assert again[0].result is not None and again[0].result.rows == first[0].result.rows  # type: ignore[union-attr]
    assert again[1].result.record.failure is None
    list(execute_each([setup.plan(kind) for kind in kinds]))
    assert len(loads) == 2


def test_a_failed_runs_backbone_is_gone_before_the_next_is_loaded(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also while the caller still holds the failed run's outcome: two may not fit into memory."""
    alive_at_load: list[int] = []
    made: list[weakref.ref[Any]] = []

    def load(*words: Any) -> Any:
        gc.collect()
        alive_at_load.append(sum(ref() is not None for ref in made))
        backbone = load_backbone(*words)
        made.append(weakref.ref(backbone))
        return backbone

    monkeypatch.setattr(actionbench.runs.workers.session, "load_backbone", load)
    setup = small_setup(tiny_model, tmp_path)
    outcomes = list(execute_each([setup.plan(Faulty), setup.plan(Plain)]))
    assert outcomes[0].failure and outcomes[1].result is not None
    assert alive_at_load == [0, 0]


class Mended(Drift):
    name = "faulty"

    def fit(self, backbone: Any, task: Any, **rest: Any) -> Any:
        from dataclasses import replace

        return replace(Drift.fit(self, backbone, task, **rest), method="faulty")


def test_an_interruption_stops_the_campaign(tiny_model: Path, tmp_path: Path) -> None:
    class Interrupted(Plain):
        def generate(self, *words: Any) -> Any:
            raise KeyboardInterrupt

    setup = small_setup(tiny_model, tmp_path)
    with pytest.raises(KeyboardInterrupt):
        list(execute_each([setup.plan(Interrupted), setup.plan(Plain)]))
