"""The search for settings: equal for all, resumable, and never on the eight actions."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from actionbench.errors import UserError
from actionbench.files.models import ModelTraits
from actionbench.method import Customization
from actionbench.registry import get_method
from actionbench.runs.profiles import configure
from actionbench.settings import recorded_settings, setting
from actionbench.suite.items import ActionTask, development_actions
from actionbench.suite.suite import Suite, get_suite
from evaluation.experiments.measured import measure_each
from evaluation.experiments.tuning import (
    FACTORS,
    choose,
    configurations,
    default_subjects,
    plan_tuning,
    write_tuning,
)
from evaluation.measures.comparison import compare
from tests.helpers.small_run import Drift, DriftSettings, Plain, small_suite
from tests.runs.test_campaign import small_setup


@dataclass(frozen=True)
class PacedSettings:
    steps: int = setting(300, "", low=1)
    learning_rate: float = setting(1e-2, "", low=0)
    words: str = setting("person", "")


class Paced(Drift):
    """Drift under the settings that most methods have; too high a rate is a failure."""

    name = "paced"
    Settings = PacedSettings  # type: ignore[assignment]

    def fit(self, backbone: Any, task: ActionTask, **rest: Any) -> Customization:
        s: Any = self.settings
        if s.learning_rate > 1e-2:
            raise UserError("the training loss is no finite number")
        drift = Drift(DriftSettings(steps=min(s.steps, 3), lr=s.learning_rate))
        return replace(drift.fit(backbone, task, **rest), method=self.name)


def dev_suite(folder: Path) -> Suite:
    """The small suite with two development actions in place of its own."""
    suite, actions = small_suite(folder), development_actions()[:2]
    rows = pq.read_table(suite.exemplar_file).to_pylist()
    names = {old.name: new.name for old, new in zip(suite.actions, actions)}
    file = folder / "dev.parquet"
    pq.write_table(pa.Table.from_pylist([{**r, "action": names[r["action"]]} for r in rows]), file)
    return replace(suite, name="small-dev", actions=actions, exemplar_file=file)


def values(words: list[str]) -> dict[str, float]:
    return {name: float(value) for name, _, value in (word.partition("=") for word in words)}


def test_every_method_is_searched_alike() -> None:
    found = configurations(Paced(), 12)
    assert found[0] == [] and len({tuple(words) for words in found}) == 12
    assert configurations(Paced(), 5) == found[:5], "a larger budget only adds"
    for words in found[1:]:
        tried = values(words)
        assert tried.keys() == FACTORS.keys()
        assert 0.25 * 0.99 <= tried["learning_rate"] / 1e-2 <= 4 * 1.01
        assert 0.5 * 0.99 <= tried["steps"] / 300 <= 2 * 1.01

    larger = Paced(PacedSettings(steps=3000, learning_rate=1.0))  # type: ignore[arg-type]
    for one, other in zip(found[1:], configurations(larger, 12)[1:], strict=True):
        first, second = values(one), values(other)
        assert second["learning_rate"] / first["learning_rate"] == pytest.approx(100, rel=0.06)
        assert second["steps"] / first["steps"] == pytest.approx(10, rel=0.06)


def test_other_settings_are_varied_only_where_the_method_declares_them() -> None:
    class Declaring(Drift):
        tunable: ClassVar[dict[str, tuple[float, float]]] = {"lr": (0.01, 0.1)}

    for words in configurations(Declaring(), 4)[1:]:
        tried = values(words)
        assert tried.keys() == {"steps", "lr"} and 0.01 <= tried["lr"] <= 0.1
    # Three steps, halved to doubled, are no more than 2, 3, 4, 5 and 6.
    assert len(configurations(Drift(), 30)) == 5
    with pytest.raises(UserError, match="plain has nothing to tune"):
        configurations(Plain(), 3)


def test_a_few_subjects_of_each_category() -> None:
    chosen = default_subjects(get_suite("puppets-dev"))
    categories = {s.name: s.category for s in get_suite("puppets-dev").subjects}
    assert len(chosen) == 9 and chosen == default_subjects(get_suite("puppets-dev"))
    assert [categories[name] for name in chosen] == [
        c for c in ("human", "celebrity", "animal") for _ in range(3)
    ]


def test_the_eight_are_never_tuned_on(tiny_model: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"puppets holds the benchmark's .* --suite puppets-dev"):
        plan_tuning(small_setup(tiny_model, tmp_path), Paced, 3)
    one_of_them = replace(
        get_suite("puppets"), name="mine", actions=get_suite("puppets").actions[7:]
    )
    with pytest.raises(UserError, match="suite mine holds"):
        plan_tuning(small_setup(tiny_model, tmp_path, suite=one_of_them), Paced, 3)
    assert not (tmp_path / "runs").exists()


def test_a_search_is_measured_once_and_written(tiny_model: Path, tmp_path: Path) -> None:
    setup = small_setup(tiny_model, tmp_path, suite=dev_suite(tmp_path))

    def search(budget: int) -> tuple[Any, list[int]]:
        plans = plan_tuning(setup, Paced, budget)
        to_do = [work.to_do for plan in plans for work in plan.work() if work.what == "fits"]
        return choose(measure_each(plans)), to_do

    first, to_do = search(2)
    assert to_do == [2, 2]
    tuning, to_do = search(5)
    rates = [trial.plan.settings["learning_rate"] for trial in tuning.trials]
    assert to_do[:2] == [0 if rate <= 1e-2 else 2 for rate in rates[:2]], "done is not done again"
    assert [bool(trial.failure) for trial in tuning.trials] == [rate > 1e-2 for rate in rates]
    assert any(trial.failure for trial in tuning.trials) and not tuning.trials[0].failure
    assert first.trials[0].shares == tuning.trials[0].shares

    totals = [
        -1 if trial.verdicts is None else int(trial.verdicts["total_correct"].sum())
        for trial in tuning.trials
    ]
    assert tuning.chosen == totals.index(max(totals))
    written = json.loads(write_tuning(tuning, tmp_path / "out" / "paced.json").read_text())
    assert written["method"] == "paced" and written["suite"] == "small-dev"
    assert written["budget"] == 5 and written["chosen"] == tuning.chosen
    assert [t["shares"].get("total", {"count": -1})["count"] for t in written["tried"]] == totals
    assert written["tried"][0]["changed"] == {} and written["tried"][0]["settings"]["steps"] == 300
    assert written["tried"][1]["changed"].keys() == FACTORS.keys()
    assert str(tmp_path) not in json.dumps(written), "names no place of this machine"


def test_of_equal_ones_the_first_and_the_preset_before_all(
    tiny_model: Path, tmp_path: Path
) -> None:
    from evaluation.experiments.measured import Measured
    from tests.helpers.verdicts import first_actions, make_verdicts

    plan = small_setup(tiny_model, tmp_path).plan(Drift)
    made: Callable[[int], Measured] = lambda n: Measured(  # noqa: E731
        plan, make_verdicts(first_actions(range(n)))
    )
    failed = Measured(plan, None, "it failed")
    assert choose([made(2), made(5), made(5)]).chosen == 1
    level = choose([made(2), made(2)])
    assert level.chosen == 0 and level.gain is None
    assert choose([failed, failed]).chosen is None
    better = choose([made(1), failed, made(7)])
    assert better.gain == compare(
        make_verdicts(first_actions(range(7))), make_verdicts(first_actions([0]))
    )
    assert choose([failed, made(1)]).gain is None


KEPT = sorted((Path(__file__).parents[2] / "leaderboards" / "tuning").glob("*.json"))


@pytest.mark.parametrize("file", KEPT, ids=lambda file: file.stem)
def test_tuned_settings_are_what_the_kept_search_chose(file: Path) -> None:
    kept = json.loads(file.read_text("utf-8"))
    kind = get_method(kept["method"])
    own = configure(kind, ModelTraits(kept["preset"]), "tuned").settings
    assert (
        json.loads(json.dumps(recorded_settings(own))) == kept["tried"][kept["chosen"]]["settings"]
    )
    assert kept["suite"] == "puppets-dev" and len(KEPT) == 6
