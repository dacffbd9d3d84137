"""Judging stored images again: runs beside runs, boards apart, agreement, calibration, canary."""

from __future__ import annotations

import csv
import json
import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL.Image import Image

import actionbench.suite.suite
from actionbench.errors import UserError
from actionbench.judge import Judge, Verdict
from actionbench.runs.canary import canary_images, check_canary
from actionbench.runs.execute import execute
from actionbench.runs.judging import judge_run
from actionbench.runs.store import Store
from actionbench.suite.items import Item, paper_actions, paper_subjects
from actionbench.suite.suite import get_suite
from evaluation.judges.agreement import beyond, compare_judges
from evaluation.judges.calibration import calibrate, may_tune
from evaluation.judges.clip import ClipJudge, ClipSettings
from evaluation.judges.puppet import PuppetJudge
from tests.conftest import Done
from tests.helpers.small_run import Brightness, small_plan, small_suite
from tests.helpers.tiny_judges import tiny_clip


@pytest.fixture(scope="module")
def finished(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("judged")
    execute(small_plan(tiny_model, folder))
    tiny_clip(folder / "clip")
    return folder


@pytest.fixture
def copied(finished: Path, tmp_path: Path) -> Path:
    shutil.copytree(finished, tmp_path / "copy")
    return tmp_path / "copy"


def clip_judge(folder: Path) -> ClipJudge:
    return ClipJudge(small_suite(folder), settings=ClipSettings(model=str(folder / "clip")))


@pytest.fixture
def call(
    copied: Path, monkeypatch: pytest.MonkeyPatch, typed: Callable[..., Done]
) -> Callable[..., str]:
    suite = small_suite(copied)
    monkeypatch.setattr(actionbench.suite.suite, "suites", lambda: {suite.name: suite})

    def call(*words: str | Path) -> str:
        status, printed, error = typed(*words)
        assert not status, error
        return printed

    return call


def test_judge_then_report_then_agreement(copied: Path, call: Callable[..., str]) -> None:
    runs, model = copied / "runs", f"model={copied / 'clip'}"
    (first,) = Store(runs).run_ids()
    before = {p: p.stat().st_mtime_ns for p in runs.glob("images/*/*.png")}
    printed = call("judges", "run", first, "--judge", "clip", "--judge-set", model,
                   "--runs", runs, "--device", "cpu")  # fmt: skip
    made = re.search(r"by clip: run (\S+)", printed)
    assert made and set(Store(runs).run_ids()) == {first, made[1]}
    assert {p: p.stat().st_mtime_ns for p in runs.glob("images/*/*.png")} == before

    record = Store(runs).load_record(made[1])
    assert record is not None and record.protocol == "puppets-clip-v1"
    assert record.judged_from == first and record.judge.settings["action_margin"] == 0.1
    rows = Store(runs).load_row_dicts(made[1])
    assert {row["judge"] for row in rows} == {"clip"} and len(rows) == 12
    own = {row["image"]: row for row in Store(runs).load_row_dicts(first)}
    assert {row["image"] for row in rows} == own.keys()

    board = call("report", "--runs", runs)
    assert "puppets-v1: " in board and "puppets-clip-v1: " in board
    with (runs / "report" / "board.csv").open() as file:
        assert {row["protocol"] for row in csv.DictReader(file)} >= {
            "puppets-v1", "puppets-clip-v1",
        }  # fmt: skip

    assert "brightness 1" in call("judges", "agree", first, "--runs", runs)
    with (runs / "report" / "judges.csv").open() as file:
        measures = {row["measure"]: row for row in csv.DictReader(file)}
    assert list(measures) == ["action", "subject", "total"] and measures["action"]["n"] == "12"
    same = np.mean([row["action_correct"] == own[row["image"]]["action_correct"] for row in rows])
    assert float(measures["action"]["same"]) == pytest.approx(same, abs=1e-6)


def test_it_is_the_run_that_a_run_with_that_judge_would_be(copied: Path, tiny_model: Path) -> None:
    store = Store(copied / "runs")
    (first,) = store.run_ids()
    made = judge_run(store, first, clip_judge(copied))
    plan = small_plan(tiny_model, copied, judge=clip_judge(copied))
    assert plan.run_id == made and plan.finished
    table = execute(plan).rows
    assert sum(row.n for row in table) == 12
    assert judge_run(store, first, clip_judge(copied)) == made, "and it is not judged twice"
    with pytest.raises(UserError, match="judged by this clip judge already"):
        judge_run(store, made, clip_judge(copied))


def test_what_cannot_be_judged_again_is_refused(copied: Path) -> None:
    store = Store(copied / "runs")
    (first,) = store.run_ids()
    next((copied / "runs" / "images").glob("*/*.png")).unlink()
    with pytest.raises(UserError, match=r"1 images of run .* are gone \("):
        judge_run(store, first, clip_judge(copied))
    record = store.load_record(first)
    assert record is not None
    store.save_record(replace(record, suite_fingerprint="other"))
    with pytest.raises(UserError, match="another version of suite puppets"):
        judge_run(store, first, clip_judge(copied))
    store.save_record(replace(record, complete=False))
    with pytest.raises(UserError, match="is not finished"):
        judge_run(store, first, clip_judge(copied))


# Agreement


def test_agreement_beyond_chance_by_hand() -> None:
    first = np.array([1] * 25 + [0] * 25, dtype=bool)
    second = np.array([1] * 20 + [0] * 5 + [1] * 10 + [0] * 15, dtype=bool)
    kappa, ac1 = beyond(first, second)  # agreed 0.7, by chance 0.5; AC1's 2 * 0.55 * 0.45
    assert kappa == pytest.approx(0.4)
    assert ac1 == pytest.approx((0.7 - 0.495) / (1 - 0.495))
    kappa, ac1 = beyond(np.ones(5, dtype=bool), np.ones(5, dtype=bool))
    assert np.isnan(kappa) and ac1 == 1


def test_three_judges_are_compared_by_pairs_on_shared_images(
    copied: Path, tiny_model: Path
) -> None:
    store = Store(copied / "runs")
    (first,) = store.run_ids()
    other = Brightness(small_suite(copied))
    other.rule = "2"  # type: ignore[misc]
    judge_run(store, first, other)
    judge_run(store, first, clip_judge(copied))
    subjects = [subject.name for subject in paper_subjects()[:1]]
    execute(small_plan(tiny_model, copied, subjects=subjects))  # the same images once more
    rows = compare_judges(store)
    assert len(rows) == 3 * 3 and all(row.same.n == 12 for row in rows)
    twins = [row for row in rows if all("brightness" in judge for judge in row.judges)]
    assert all(row.same.value == 1 for row in twins)


# Canary


class Moody(Brightness):
    name = "moody"
    shift = 0.0

    def judge(self, images: Sequence[Image], items: Sequence[Item]) -> list[Verdict]:
        return [Verdict(True, True, "", "", 0.5 + self.shift, 0.5) for _ in images]


def test_a_judge_that_has_changed_under_its_fingerprint_is_stopped(tmp_path: Path) -> None:
    store, suite = Store(tmp_path / "runs"), small_suite(tmp_path)
    check_canary(store, Moody(suite))
    near, far = Moody(suite), Moody(suite)
    near.shift, far.shift = 5e-4, 5e-3  # type: ignore[misc]
    check_canary(store, near)
    with pytest.raises(UserError, match=r"action score of canary image 1 was 0\.5000 .* 0\.5050"):
        check_canary(store, far)
    (kept,) = (tmp_path / "runs" / "canary").iterdir()
    kept.unlink()
    check_canary(store, far)
    check_canary(Store(tmp_path / "others"), near)


def test_a_run_stops_before_it_judges_by_a_changed_model(copied: Path) -> None:
    """Weights altered in memory stand for a library that computes otherwise."""
    store = Store(copied / "runs")
    (first,) = store.run_ids()
    check_canary(store, clip_judge(copied))
    changed = clip_judge(copied)
    changed.reader.model.logit_scale.data += 1
    with pytest.raises(UserError, match=r"the clip judge .* has changed on cpu"):
        judge_run(store, first, changed)
    assert store.run_ids() == [first]
    judge_run(store, first, clip_judge(copied))


def test_the_canary_shows_what_the_puppet_judge_knows() -> None:
    suite = get_suite("puppets")
    items = [Item(a, s, 0) for a, s in zip(paper_actions(), paper_subjects(), strict=False)]
    verdicts = PuppetJudge(suite).judge(canary_images(), items)
    assert [v.action_seen for v in verdicts] == [a.name for a in suite.actions]
    assert [v.subject_seen for v in verdicts] == [s.name for s in suite.subjects[:8]]


class Spoiled(Brightness):
    """A judge whose scores become NaN after the canary."""

    rule = "spoiled"
    asked = 0

    def judge(self, images: Sequence[Image], items: Sequence[Item]) -> list[Verdict]:
        verdicts = super().judge(images, items)
        self.asked += 1
        return verdicts if self.asked == 1 else [replace(v, action_score=np.nan) for v in verdicts]


class Forgetful(Brightness):
    rule = "forgetful"

    def judge(self, images: Sequence[Image], items: Sequence[Item]) -> list[Verdict]:
        return super().judge(images, items)[1:]


@pytest.mark.parametrize(
    ("kind", "match"),
    [
        (Spoiled, r"the brightness judge's scores of \S+/0 are not finite numbers \(nan, "),
        (Forgetful, "gave 7 verdicts on 8 images"),
    ],
)
def test_a_judge_that_answers_nan_is_refused(
    copied: Path, kind: type[Brightness], match: str
) -> None:
    store = Store(copied / "runs")
    (run,) = store.run_ids()
    with pytest.raises(UserError, match=match):
        judge_run(store, run, kind(small_suite(copied)))
    assert store.run_ids() == [run], "no run with its verdicts is stored"


# Calibration


def test_calibration_of_the_shipped_judge(typed: Callable[..., Done], tmp_path: Path) -> None:
    status, printed, _ = typed(
        *("judges", "calibrate", "--suite", "puppets-dev", "--out", tmp_path, "--device", "cpu")
    )
    assert not status and "puppet on the exemplars of puppets-dev" in printed
    facts = json.loads((tmp_path / "calibration.json").read_text())
    assert facts["right"]["n"] == 40 and facts["right"]["share"] > 0.9
    assert facts["false"]["n"] == 120 and facts["false"]["share"] < 0.05
    with (tmp_path / "calibration.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["shown"] for row in rows] == ["point", "kick", "bow", "arms-crossed"]
    assert all(int(row[row["shown"]]) >= 8 for row in rows)


class Peeping(Judge):
    """A judge that knows each exemplar by heart: it is right unless it may not look."""

    name = "peeping"
    left_out: frozenset[str] = frozenset()
    fingerprint = "peeping"

    def without(self, exemplars: Any) -> Any:
        other = Peeping(self.suite)
        other.left_out = frozenset(exemplars)
        return other

    def judge(self, images: Sequence[Image], items: Sequence[Item]) -> list[Verdict]:
        known = {
            id(exemplar.image): action
            for action, task in self.suite.tasks.items()
            for exemplar in task.exemplars
            if exemplar.id not in self.left_out
        }
        right = [known.get(id(i)) == item.action.name for i, item in zip(images, items)]
        return [Verdict(yes, False, "", "", float(yes), 0.0) for yes in right]

    def suggest(self, scores: np.ndarray, truth: np.ndarray) -> dict[str, Any]:
        return {"shape": scores.shape, "truth": truth.tolist()}


def test_an_exemplar_is_left_out_and_the_eight_actions_tune_nothing() -> None:
    calibration = calibrate(Peeping(get_suite("puppets-dev")))
    assert calibration.right.value == 0 and calibration.false.value == 0
    assert {row.seen["none"] for row in calibration.actions} == {10}
    assert calibration.suggestion["shape"] == (40, 4)
    assert calibration.suggestion["truth"] == sorted([0, 1, 2, 3] * 10)
    assert may_tune(get_suite("puppets-dev")) and not may_tune(get_suite("puppets"))
    assert calibrate(Peeping(get_suite("puppets"))).suggestion == {}


def test_judges_and_their_settings_are_listed(call: Callable[..., str]) -> None:
    listed = call("judges", "list", "--settings")
    for name in ("clip", "vqa", "pose", "puppet"):
        assert re.search(rf"{name} +│", listed)
    assert "action_margin" in listed and "Qwen/Qwen2.5-VL-7B-Instruct" in listed
