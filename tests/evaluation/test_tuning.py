"""The search for settings: equal for all, resumable, and never on the eight actions."""

from __future__ import annotations

import json
import math
import resource
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from actionbench.errors import UserError
from actionbench.files.models import ModelTraits
from actionbench.method import Customization
from actionbench.registry import get_method
from actionbench.runs.campaign import Setup
from actionbench.runs.plan import Plan
from actionbench.runs.profiles import configure
from actionbench.settings import recorded_settings, setting
from actionbench.suite.items import ActionTask, development_actions
from actionbench.suite.suite import Suite, get_suite
from evaluation.experiments.measured import Measured, measure_each
from evaluation.experiments.tuning import (
    FACTORS,
    Search,
    Trial,
    choose,
    configurations,
    default_subjects,
    first_ranges,
    notes,
    sample_passes,
    table,
    write_tuning,
)
from tests.helpers.small_run import Drift, DriftSettings, Plain, small_suite
from tests.helpers.verdicts import make_verdicts
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


@dataclass(frozen=True)
class LargerSettings(PacedSettings):
    steps: int = setting(3000, "", low=1)
    learning_rate: float = setting(1.0, "", low=0)


def dev_suite(folder: Path) -> Suite:
    """The small suite with two development actions in place of its own."""
    suite, actions = small_suite(folder), development_actions()[:2]
    rows = pq.read_table(suite.exemplar_file).to_pylist()
    names = {old.name: new.name for old, new in zip(suite.actions, actions)}
    file = folder / "dev.parquet"
    pq.write_table(pa.Table.from_pylist([{**r, "action": names[r["action"]]} for r in rows]), file)
    return replace(suite, name="small-dev", actions=actions, exemplar_file=file)


class Larger(Paced):
    name = "larger"
    Settings = LargerSettings  # type: ignore[assignment]


@pytest.fixture
def setup(tiny_model: Path, tmp_path: Path) -> Setup:
    return small_setup(tiny_model, tmp_path, suite=dev_suite(tmp_path))


def values(words: Sequence[str]) -> dict[str, float]:
    return {name: float(value) for name, _, value in (word.partition("=") for word in words)}


def first_words(setup: Setup, kind: Any, count: int) -> list[dict[str, float]]:
    ranges = first_ranges(setup, kind)
    return [values(words) for words in islice(configurations(setup, kind, ranges), count)]


def test_every_method_is_searched_alike(setup: Setup) -> None:
    found = first_words(setup, Paced, 12)
    for tried in found:
        assert tried.keys() == FACTORS.keys()
        assert 0.25 * 0.99 <= tried["learning_rate"] / 1e-2 <= 4 * 1.01
        assert 0.5 * 0.99 <= tried["steps"] / 300 <= 2 * 1.01
    for first, second in zip(found, first_words(setup, Larger, 12), strict=True):
        assert second["learning_rate"] / first["learning_rate"] == pytest.approx(100, rel=0.06)
        assert second["steps"] / first["steps"] == pytest.approx(10, rel=0.06)


def test_other_settings_are_varied_only_where_the_method_declares_them(setup: Setup) -> None:
    class Declaring(Drift):
        tunable: ClassVar[dict[str, tuple[float, float]]] = {"lr": (0.01, 0.1)}

    for tried in first_words(setup, Declaring, 4):
        assert tried.keys() == {"steps", "lr"} and 0.01 <= tried["lr"] <= 0.1
    with pytest.raises(UserError, match="plain has nothing to tune"):
        first_ranges(setup, Plain)


class Silent(Paced):
    """A plug-in that does not say what its fits take."""

    def fit_work(self, exemplars: int, layers: int) -> None:  # type: ignore[override]
        return None


@dataclass(frozen=True)
class BatchSettings(PacedSettings):
    batch_size: int = setting(4, "", low=1)


@dataclass(frozen=True)
class RateSettings:
    learning_rate: float = setting(1e-2, "", low=0)


def test_a_plug_in_that_does_not_say_its_work_is_searched_by_steps_and_batch(setup: Setup) -> None:
    class Batched(Silent):
        Settings = BatchSettings  # type: ignore[assignment]

    class Stepless(Silent):
        Settings = RateSettings  # type: ignore[assignment]

    assert sample_passes(setup.plan(Silent)) == 300
    assert sample_passes(setup.plan(Batched, ["steps=20"])) == 80
    with pytest.raises(UserError, match=r"paced does not say .* fit_work or a setting steps"):
        sample_passes(setup.plan(Stepless))
    tuning = search(setup, Batched, Landscape(best_rate=1e-2))
    assert tuning.spent == sum(
        trial.plan.settings["steps"] * 4 * len(trial.runs) for trial in tuning.trials
    )
    assert "steps x batch_size are counted" in " ".join(notes(tuning))
    said = search(setup, Paced, Landscape(best_rate=1e-2))
    assert "counted" not in " ".join(notes(said))


class Landscape:
    """Verdicts by a rule in place of fits: as many subjects right as a setting deserves."""

    def __init__(self, best_rate: float, spread: int = 1) -> None:
        self.best_rate, self.spread, self.seeds = best_rate, spread, set[int]()

    def __call__(self, plans: Sequence[Plan]) -> list[Measured]:
        return [Measured(plan, self.verdicts(plan)) for plan in plans]

    def verdicts(self, plan: Plan) -> Any:
        seed = plan.options.seed
        self.seeds.add(seed)
        away = abs(math.log(plan.settings["learning_rate"] / self.best_rate))
        right = max(0.0, 20 - 3 * away) + self.spread * (seed % 3 - 1)
        return make_verdicts(lambda a, s, i: (s < right, True), actions=2, images_per_pair=1)


def search(setup: Setup, kind: Any, landscape: Landscape, passes: int = 20_000) -> Any:
    return Search(setup, kind, landscape, passes).run()


def test_ranges_widen_until_the_best_lies_inside(setup: Setup) -> None:
    tuning = search(setup, Paced, Landscape(best_rate=1.0))
    best = tuning.trials[tuning.best].plan.settings["learning_rate"]
    assert 0.3 < best < 3 and "learning_rate" not in tuning.at_end
    low, high = tuning.ranges["learning_rate"]
    assert low == pytest.approx(0.0025) and high > 1
    short = search(setup, Paced, Landscape(best_rate=1.0), passes=6_000)
    assert "learning_rate" in short.at_end and "more --passes" in " ".join(notes(short))


def test_passes_are_equal_not_configurations(setup: Setup) -> None:
    few, many = (search(setup, kind, Landscape(1e-2)) for kind in (Larger, Paced))
    assert len(few.trials) < len(many.trials)
    for tuning in (few, many):
        assert tuning.spent <= tuning.budget == 20_000
        assert {len(trial.runs) for trial in tuning.trials} == {3}
    with pytest.raises(UserError, match="one configuration of larger with 3 fits takes 9000"):
        search(setup, Larger, Landscape(1e-2), passes=8_000)


def trial(setup: Setup, steps: int, *right: int) -> Trial:
    plan = setup.plan(Paced, [f"steps={steps}"])
    runs = [
        Measured(
            replace(plan, options=replace(plan.options, seed=seed)),
            make_verdicts(lambda a, s, i, n=n: (s < n, True), actions=2, images_per_pair=1),
        )
        for seed, n in enumerate(right)
    ]
    return Trial(tuple(runs), steps)


def test_the_cheapest_within_one_standard_error_is_chosen(setup: Setup) -> None:
    # Of 23 subjects 14, 16 and 18 in both actions: 16 / 23, standard error 2 / 23 / sqrt(6).
    best = trial(setup, 600, 14, 16, 18)
    assert best.error == pytest.approx(2 / 23 / math.sqrt(6))
    near, far = trial(setup, 200, 15, 15, 16), trial(setup, 100, 15, 15, 15)
    assert choose([best, near, far]) == 1
    assert choose([best, far]) == 0
    failed = Trial((Measured(best.plan, None, "it failed"),), 10)
    assert choose([failed, far, far]) == 1 and choose([failed]) is None


def test_the_choice_is_confirmed_with_fresh_seeds(setup: Setup) -> None:
    landscape = Landscape(best_rate=0.03)
    tuning = search(setup, Paced, landscape)
    assert tuning.chosen and [t.seeds for t in tuning.confirmed] == [[3, 4, 5]] * 2
    assert landscape.seeds == set(range(6))
    gain = tuning.gain
    assert gain.of == "these actions" and (gain.units, gain.unit) == (6, "pair of fits")
    assert gain.difference > 0 and "with fresh seeds" in " ".join(notes(tuning))
    stays = search(setup, Paced, Landscape(best_rate=1e-2, spread=4))
    assert stays.gain is None or stays.chosen


def test_a_few_subjects_of_each_category() -> None:
    chosen = default_subjects(get_suite("puppets-dev"))
    categories = {s.name: s.category for s in get_suite("puppets-dev").subjects}
    assert len(chosen) == 9 and chosen == default_subjects(get_suite("puppets-dev"))
    assert [categories[name] for name in chosen] == [
        c for c in ("human", "celebrity", "animal") for _ in range(3)
    ]


def test_the_eight_are_never_tuned_on(tiny_model: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"puppets holds the benchmark's .* --suite puppets-dev"):
        Search(small_setup(tiny_model, tmp_path), Paced, measure_each)
    one_of_them = replace(
        get_suite("puppets"), name="mine", actions=get_suite("puppets").actions[7:]
    )
    with pytest.raises(UserError, match="suite mine holds"):
        Search(small_setup(tiny_model, tmp_path, suite=one_of_them), Paced, measure_each)
    assert not (tmp_path / "runs").exists()


def test_a_real_search_is_measured_once_and_written(setup: Setup, tmp_path: Path) -> None:
    budget = 3 * 2 * 330
    first = Search(setup, Paced, measure_each, budget).run()
    again = Search(setup, Paced, measure_each, budget)
    words = again.first_batch()
    rates = [plan.settings["learning_rate"] for plan in (again.plans(w)[0] for w in words)]
    fits = [work.to_do for w in words for p in again.plans(w) for work in p.work()[:1]]
    assert fits == [0 if rate <= 1e-2 else 2 for rate in rates for _ in range(3)]
    tuning = again.run()
    assert [bool(t.failure) for t in tuning.trials] == [rate > 1e-2 for rate in rates]
    assert [t.total for t in first.trials] == [t.total for t in tuning.trials]

    written = json.loads(write_tuning(tuning, tmp_path / "out" / "paced.json").read_text())
    assert written["method"] == "paced" and written["suite"] == "small-dev"
    assert written["passes"] == budget and written["chosen"] == tuning.chosen
    assert written["tried"][0]["changed"] == {} and written["tried"][0]["seeds"] == [0, 1, 2]
    assert written["tried"][1]["changed"].keys() == FACTORS.keys()
    assert str(tmp_path) not in json.dumps(written), "names no place of this machine"
    assert len(table(tuning).rows) >= len(tuning.trials)


def test_a_full_disk_is_no_result_of_a_configuration(setup: Setup) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(UserError, match="may not grow so large here; free some space"):
            Search(setup, Paced, measure_each, 3 * 2 * 330).run()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


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
