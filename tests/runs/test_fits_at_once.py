"""Runs that fit actions in lockstep: which ones, what is kept, and what happens if one fails."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch

from actionbench.diffusion.backbone import Backbone
from actionbench.diffusion.token_learning import DrawBatch, Fit, TokenMethod, TokenSettings
from actionbench.errors import MethodError, UserError
from actionbench.method import Customization, FitRequest
from actionbench.runs import lockstep
from actionbench.runs.execute import execute
from actionbench.runs.options import RunOptions
from actionbench.runs.plan import Plan
from actionbench.runs.workers.executor import InLine
from actionbench.runs.workers.local import LocalWorkers
from tests.helpers.small_run import Drift, small_plan
from tests.runs.test_workers import Watch, contents, run

SETTINGS = TokenSettings(steps=3, batch_size=2, learning_rate=1e-2)


class Noting(TokenMethod[TokenSettings]):
    """Textual Inversion that notes which actions were fitted together."""

    name, title, reference = "learned", "Noting", "these tests"
    Settings = TokenSettings
    together: ClassVar[list[tuple[str, ...]]] = []

    def fit_many(
        self, backbone: Backbone, requests: Sequence[FitRequest]
    ) -> Iterator[Customization | Exception]:
        self.together.append(tuple(request.task.action.name for request in requests))
        return super().fit_many(backbone, requests)


def plan(model: Path, folder: Path, kind: type[Noting] = Noting, **options: Any) -> Plan:
    return small_plan(model, folder, kind(SETTINGS), subjects=["boy"], images_per_pair=1, **options)


def vectors(plan: Plan, action: str) -> torch.Tensor:
    (key,) = [a.fit_key for a in plan.actions if a.action.name == action]
    fitted = plan.store.load_fit(
        key, method=plan.method.name, action=action, model=plan.source.fingerprint, version=1
    )
    return fitted.tensors["vectors"]


@pytest.fixture(scope="module")
def workers() -> Iterator[LocalWorkers]:
    with LocalWorkers(1) as workers:
        yield workers


@pytest.fixture
def together(tiny_model: Path, tmp_path: Path) -> Plan:
    """A finished run that fitted its two actions in lockstep."""
    made = plan(tiny_model, tmp_path / "together", fits_at_once=8)
    Noting.together.clear()
    record = execute(made).record
    assert Noting.together == [("salute", "gesture")]
    assert record.complete and record.resources["fits_at_once"] == 2
    return made


def test_actions_are_fitted_together_and_drawn_one_by_one(
    together: Plan, tiny_model: Path, tmp_path: Path
) -> None:
    watch = Watch()
    single = plan(tiny_model, tmp_path / "single")
    result = run(single, InLine(), watch).result()
    assert result.record.resources["fits_at_once"] == 1
    assert result.run_id == together.run_id, "it is in no key"
    costs = together.store.read_record(together.run_id).costs
    for name in ("salute", "gesture"):
        assert (vectors(together, name) - vectors(single, name)).abs().max() < 1e-3
        fit = costs[name].fit
        assert fit is not None and fit.at_once == 2 and fit.seconds > 0 and fit.measures
        assert costs[name].generate.images == costs[name].judge.images == 1
        alone = result.record.costs[name].fit
        assert alone is not None and alone.at_once is None
    assert (vectors(together, "salute") - vectors(together, "gesture")).abs().max() > 1e-3


def test_each_action_shows_its_own_fit(tiny_model: Path, tmp_path: Path) -> None:
    watch = Watch()
    run(plan(tiny_model, tmp_path, fits_at_once=2), InLine(), watch)
    assert {("salute", "fit"), ("gesture", "fit")} <= set(watch.steps)
    assert {action for action, _ in watch.steps} == {"salute", "gesture"} and not watch.notes


def test_workers_fit_the_same_groups(
    workers: LocalWorkers, together: Plan, tiny_model: Path, tmp_path: Path
) -> None:
    run(plan(tiny_model, tmp_path / "workers", fits_at_once=2), workers).result()
    assert contents(tmp_path / "workers") == contents(tmp_path / "together")


def test_after_a_kill_the_group_is_the_same(
    together: Plan, tiny_model: Path, tmp_path: Path
) -> None:
    """Killed between the two fits of a group: the second is made in the same company again."""
    before = contents(tmp_path / "together")
    store, (first, second) = together.store, together.actions
    kept = next((store.root / "fits" / first.fit_key).rglob("*.safetensors"))
    stored = kept.stat().st_mtime_ns
    shutil.rmtree(store.root / "fits" / second.fit_key)
    store.image_path(second.image_key, second.items[0]).unlink()
    Noting.together.clear()
    watch = Watch()
    again = plan(tiny_model, tmp_path / "together", fits_at_once=2)
    run(again, InLine(), watch).result()
    assert Noting.together == [("salute", "gesture")]
    assert contents(tmp_path / "together") == before
    assert kept.stat().st_mtime_ns == stored, "what is there is not written again"
    assert ("salute", "fit") not in watch.steps


class Broken(Noting):
    name = "broken"

    def batches(self, fit: Fit) -> DrawBatch:
        if fit.task.action.name == "salute":
            raise ZeroDivisionError("a defect")
        return super().batches(fit)


@pytest.mark.parametrize("here", [True, False])
def test_one_that_fails_is_named_and_the_others_are_kept(
    workers: LocalWorkers, tiny_model: Path, tmp_path: Path, here: bool
) -> None:
    made = plan(tiny_model, tmp_path, Broken, fits_at_once=2)
    with pytest.raises(MethodError, match="broken failed fitting 'salute': ZeroDiv"):
        run(made, InLine() if here else workers).result()
    assert plan(tiny_model, tmp_path, Broken).work()[0].to_do == 1
    record = made.store.read_record(made.run_id)
    assert record.failure is not None and record.failure.action == "salute"
    assert "raise ZeroDivisionError" in made.store.failure_path(made.run_id).read_text()


class Greedy(Noting):
    name = "greedy"

    def fit_many(
        self, backbone: Backbone, requests: Sequence[FitRequest]
    ) -> Iterator[Customization | Exception]:
        outcomes = super().fit_many(backbone, requests)
        if len(requests) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return outcomes


def test_a_group_that_memory_does_not_hold_is_halved(tiny_model: Path, tmp_path: Path) -> None:
    watch = Watch()
    Noting.together.clear()
    run(plan(tiny_model, tmp_path / "a", Greedy, fits_at_once=2), InLine(), watch).result()
    assert watch.notes == ["there is no memory for 2 fits at once: 1 at once"]
    assert Noting.together == [("salute", "gesture"), ("salute",), ("gesture",)]
    single = plan(tiny_model, tmp_path / "b", Greedy)
    execute(single)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


class Short(Noting):
    name = "short"

    def fit_many(self, *words: Any) -> Iterator[Customization | Exception]:
        yield next(super().fit_many(*words))


def test_a_fit_that_is_left_out_is_reported(tiny_model: Path, tmp_path: Path) -> None:
    with pytest.raises(MethodError, match="1 results of 2 fits: fix its fit_many"):
        run(plan(tiny_model, tmp_path, Short, fits_at_once=2), InLine()).result()


def test_how_many_are_fitted_at_once(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def chosen(method: Any = None, earlier: Any = None, **options: Any) -> int:
        made = small_plan(tiny_model, tmp_path, method or Noting(SETTINGS), **options)
        return lockstep.fits_at_once(made, earlier)

    assert chosen() == 1 and chosen(fits_at_once=2) == chosen(fits_at_once=9) == 2
    assert chosen(Drift(), fits_at_once=2) == 1, "it has no lockstep"
    with pytest.raises(UserError, match="fits_at_once must be 1 or more, not 0"):
        RunOptions(fits_at_once=0)
    record = execute(plan(tiny_model, tmp_path, actions=["salute"])).record
    assert record.device == "cpu"
    monkeypatch.setattr(lockstep, "resolve_device", lambda device: "cuda")
    monkeypatch.setattr(lockstep, "gpus", lambda device: ["0"])
    monkeypatch.setattr(lockstep, "bytes_of_fits", lambda plan, at_once: 10.0 * at_once)
    monkeypatch.setattr(lockstep, "_smallest_gpu", lambda: 30)
    assert chosen() == 2 and chosen(workers=2) == 1, "no worker is left without any"
    assert chosen(ray="host:1") == 1, "the cluster's GPUs are not known here"
    monkeypatch.setattr(lockstep, "_smallest_gpu", lambda: 20)
    assert chosen() == 1, "memory holds one"
    assert chosen(earlier=record) == 1
    going_on = replace(record, device="cuda", resources={"fits_at_once": 2})
    assert chosen(earlier=going_on) == 2, "an unfinished run keeps its groups"
    assert chosen(earlier=going_on, fits_at_once=1) == 1


def test_groups_are_the_plans(tiny_model: Path, tmp_path: Path) -> None:
    made = plan(tiny_model, tmp_path)
    assert lockstep.groups(made, 1) == [["salute"], ["gesture"]]
    assert lockstep.groups(made, 2) == lockstep.groups(made, 3) == [["salute", "gesture"]]
