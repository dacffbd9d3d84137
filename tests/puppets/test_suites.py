"""Drawn suites: by name, in folders of their own, with other exemplars; the seed of the test."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from actionbench.errors import UserError
from actionbench.files.models import resolve_model
from actionbench.puppets import suites
from actionbench.puppets.actions import fresh_actions
from actionbench.puppets.drawing.holding import packed, unpacked, ways
from actionbench.puppets.drawing.pose import ACTIONS
from actionbench.registry import get_method, make_judge, method_names, system_names
from actionbench.runs.doctor import check_suite
from actionbench.runs.execute import execute
from actionbench.runs.kept import find_suite, shown_suite
from actionbench.runs.options import RunOptions
from actionbench.runs.plan import plan_run
from actionbench.runs.store import Store, read_image
from actionbench.runs.workers import session
from actionbench.suite import drawn
from actionbench.suite.drawn import DRAWN_FILE, Drawn, check_world, redrawn
from actionbench.suite.items import SLOT
from actionbench.suite.shipped import BASE_MODEL
from actionbench.suite.suite import Suite, get_suite
from evaluation.judges.puppet import PuppetJudge
from leaderboards.board import build_board
from methods.drawn import Drawn as DrawnMethod
from methods.drawn import OtherAction
from tests.helpers.small_run import Brightness, Drift


@pytest.fixture(autouse=True, scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A cache folder of this module's own: suites are drawn into it once."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("cache")
        patch.setenv("XDG_CACHE_HOME", str(folder))
        yield folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two fresh actions with three exemplars each, drawn."""
    folder = tmp_path_factory.mktemp("drawn") / "two"
    suites.build(suites.built_suite(2, 5).with_exemplars(0, 3), folder)
    return folder


@pytest.fixture
def suite(folder: Path) -> Suite:
    return get_suite(str(folder))


# --- what they are --------------------------------------------------------------------------------


def test_suites_by_name_are_defined_before_they_are_drawn(cache: Path) -> None:
    dev, eight = get_suite(suites.DEV), get_suite(suites.EIGHT)
    assert (len(dev.actions), len(eight.actions), len(dev.subjects)) == (12, 8, 23)
    assert (dev.judge, dev.protocol, eight.protocol) == ("pose", "puppets-dev-v2", "puppets-v2")
    assert not dev.exemplar_file.exists() and dev.exemplar_file.is_relative_to(cache)
    assert dev.drawn and len(dev.drawn.actions[1].poses) == 2, "kicks with either foot"
    with pytest.raises(UserError, match=r"did you mean puppets-v2.*valid: .*puppets-48"):
        get_suite("puppets-v3")


def test_an_installation_of_an_earlier_version_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn.world.cache_clear()
    monkeypatch.setattr(drawn, "entry_points", lambda **_: [])
    with pytest.raises(UserError, match="install it again"):
        get_suite("no-such-suite")


def test_poses_survive_json() -> None:
    for pose in [*ways("bow"), *ACTIONS["squat"], fresh_actions(1, 3)[0].pose]:
        assert unpacked(json.loads(json.dumps(packed(pose)))) == pose
    assert len(ways("kick")) == 2 * len(ACTIONS["kick"]) and len(ways("salute")) == 1


def test_a_suite_of_fresh_actions_is_drawn_the_same_again(suite: Suite, folder: Path) -> None:
    assert suite.name == "fresh-2-5" and suite.protocol == "fresh-2-5-v2"
    assert [a.name for a in suite.actions] == ["a000", "a001"]
    assert suite.actions == tuple(fresh.action for fresh in fresh_actions(2, 5))
    assert suites.check(folder) == suite.drawn.fingerprint != ""  # type: ignore[union-attr]
    task = suite.tasks["a001"]
    assert len(task.exemplars) == 3 and task.exemplars[0].image.size == (512, 512)
    for exemplar in task.exemplars:
        assert exemplar.keypoints is not None and exemplar.keypoints.shape == (18, 3)
        assert exemplar.template.count(SLOT) == 1
        assert exemplar.caption == exemplar.template.replace(SLOT, task.action.description)
    assert task.poses == (packed(fresh_actions(2, 5)[1].pose),)
    assert get_suite(str(folder / DRAWN_FILE)).fingerprint == suite.fingerprint


def test_its_fingerprint_is_the_same_on_every_machine(suite: Suite) -> None:
    """A drawing that changes changes it, and with it what was measured of the judge."""
    assert suite.drawn and suite.drawn.fingerprint == FINGERPRINT


FINGERPRINT = "705eaa436b8cedc4"


def test_fewer_actions_and_exemplars_are_the_beginning_of_more() -> None:
    few, many = suites.built_suite(2, 5), suites.built_suite(3, 5).with_exemplars(0, 20)
    assert few.actions == many.actions[:2]
    scenes = suites.exemplar_scenes(many, many.actions[1])
    assert len(scenes) == 20 and suites.exemplar_scenes(few, few.actions[1]) == scenes[:10]
    assert len({scene.backdrop for scene in scenes[:10]}) == 10
    other = suites.exemplar_scenes(many.with_exemplars(1, 20), many.actions[1])
    assert not set(scenes) & set(other)
    assert not set(suites.exemplar_scenes(many, many.actions[0])) & set(scenes)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--actions", "0", "--seed", "1"], "at least one action, not 0"),
        (["--actions", "1001", "--seed", "1"], "at most 1,000 actions"),
        (["--actions", "2", "--seed", "1000"], "the judge is practised on the seeds 1000 to 1999"),
        (["--actions", "2", "--seed", "-1"], "give a number from 0 on"),
        (["--actions", "2"], "need both: --actions N --seed S"),
    ],
)
def test_what_cannot_be_built_is_refused_in_one_line(
    typed: Callable[..., Any], tmp_path: Path, words: list[str], message: str
) -> None:
    done = typed("data", "build", *words, "--out", tmp_path / "out")
    assert done.returncode == 2 and message in done.stderr and done.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_the_commands_build_check_and_list(typed: Callable[..., Any], tmp_path: Path) -> None:
    out = tmp_path / "one"
    done = typed("data", "build", "--actions", "1", "--seed", "7", "--out", out)
    assert done.returncode == 0 and f"run --suite {out}" in done.stdout
    assert typed("data", "check", out).stdout.startswith(f"{out} is in order")
    facts = json.loads((out / DRAWN_FILE).read_text())
    facts["actions"][0]["poses"][0]["lean"] += 20
    (out / DRAWN_FILE).write_text(json.dumps(facts))
    assert "is not what this version draws ('a000' differs)" in typed("data", "check", out).stderr
    (out / DRAWN_FILE).write_text(json.dumps({**facts, "format": 9}))
    assert "is of another format" in typed("data", "check", out).stderr
    (out / DRAWN_FILE).write_text("{}")
    assert "is damaged" in typed("data", "check", out).stderr
    listed = typed("suites", "list").stdout
    assert "puppets-v2-dev" in listed and "not accepted yet" in listed


# --- the seed of the test -------------------------------------------------------------------------


def test_the_test_suites_seed_is_computed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    frozen, claims = tmp_path / "frozen.json", tmp_path / "claims.yaml"
    monkeypatch.setattr(suites, "FROZEN", frozen)
    monkeypatch.setattr(suites, "CLAIMS", claims)
    with pytest.raises(UserError, match="base model of the second world is not accepted yet"):
        get_suite("puppets-48")
    frozen.write_text(json.dumps({"models": {"base": "0123", "pose": "4567"}}))
    with pytest.raises(UserError, match=r"claims\.yaml is missing"):
        get_suite("puppets-48")
    claims.write_text(yaml.safe_dump({"claims": []}))
    small = get_suite("puppets-4")
    seed = small.drawn.seed if small.drawn else None
    assert seed == suites.test_seed() >= 2000
    assert small.actions == tuple(a.action for a in fresh_actions(4, seed))
    assert get_suite("puppets-5").actions[:4] == small.actions
    with pytest.raises(UserError, match="at least one"):
        get_suite("puppets-0")
    with pytest.raises(UserError, match="at most 1,000"):
        get_suite("puppets-1001")
    seeds = {seed}
    claims.write_text("claims: [one]")
    seeds.add(suites.test_seed())
    frozen.write_text(json.dumps({"models": {"base": "0124", "pose": "4567"}}))
    seeds.add(suites.test_seed())
    monkeypatch.setattr(suites, "GENERATOR", 2)
    assert len({*seeds, suites.test_seed()}) == 4


def test_a_frozen_suite_that_is_drawn_otherwise_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(suites, "FROZEN", tmp_path / "frozen.json")
    suite = suites.suite_of(replace(suites.built_suite(1, 8), name="one").with_exemplars(0, 10))
    (tmp_path / "frozen.json").write_text(json.dumps({"suites": {"one": "another"}}))
    with pytest.raises(UserError, match="one is drawn otherwise here"):
        _ = suite.tasks
    made = Drawn.read(suite.exemplar_file.parent / DRAWN_FILE).fingerprint
    (tmp_path / "frozen.json").write_text(json.dumps({"suites": {"one": made}}))
    suites.draw(suite)
    assert len(suite.tasks["a000"].exemplars) == 10


# --- other exemplars ------------------------------------------------------------------------------


def plan(suite: Suite, runs: Path, model: Path, method: Any = None, **options: Any) -> Any:
    return plan_run(
        suite=suite,
        method=method or Drift(),
        source=resolve_model(str(model)),
        judge=Brightness(suite),
        options=RunOptions(
            runs=runs, device="cpu", subjects=("panda",), images_per_pair=1, **options
        ),
    )


def test_other_exemplars_are_part_of_the_fits_key(
    suite: Suite, tmp_path: Path, tiny_model: Path
) -> None:
    plans = [
        plan(suite, tmp_path, tiny_model, actions=("a000",), **options)
        for options in ({}, {"exemplar_seed": 1}, {"exemplars": 1}, {"exemplars": 2})
    ]
    actions = [p.actions[0] for p in plans]
    assert [len(a.task.exemplars) for a in actions] == [3, 10, 1, 2]
    assert len({a.fit_key for a in actions}) == len({p.run_id for p in plans}) == 4
    assert len({p.suite.fingerprint for p in plans}) == 1, "what is measured is the same"
    assert actions[2].task.exemplars[0].id == actions[0].task.exemplars[0].id
    first, redone = actions[0].task.exemplars[0], actions[1].task.exemplars[0]
    assert first.image.tobytes() != redone.image.tobytes()


def test_runs_with_other_exemplars_stand_on_one_board(
    suite: Suite, tmp_path: Path, tiny_model: Path
) -> None:
    for options in ({}, {"exemplars": 1}):
        result = execute(plan(suite, tmp_path, tiny_model, actions=("a000",), **options))
    record = Store(tmp_path).read_record(result.run_id)
    assert record.exemplars == 1 and "exemplars" in record.to_json()
    assert len(shown_suite(Store(tmp_path), record).tasks["a000"].exemplars) == 1
    assert len(find_suite(record).tasks["a000"].exemplars) == 3
    (group,) = build_board(tmp_path).groups
    assert {row.label for row in group.rows} == {"", "exemplars=1"}


@pytest.mark.parametrize("options", [{"exemplar_seed": 1}, {"exemplars": 5}])
def test_exemplars_that_are_not_drawn_cannot_be_redrawn(
    tmp_path: Path, tiny_model: Path, options: dict[str, int]
) -> None:
    with pytest.raises(UserError, match="'puppets' are not drawn from a seed"):
        plan(get_suite("puppets"), tmp_path, tiny_model, **options)
    tasks, finding = check_suite(get_suite("puppets"), RunOptions(**options))
    assert tasks is None and "are not drawn from a seed" in finding.message


@pytest.mark.parametrize(("seed", "count"), [(0, 0), (0, 21), (-1, 10)])
def test_numbers_of_exemplars_have_limits(suite: Suite, seed: int, count: int) -> None:
    with pytest.raises(UserError, match="--exemplar"):
        redrawn(suite, seed, count)


# --- floor and ceiling ----------------------------------------------------------------------------


def test_floor_and_ceiling_need_no_model(
    suite: Suite, tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise AssertionError("a base model is loaded")

    monkeypatch.setattr(session, "load_backbone", refuse)
    with pytest.raises(AssertionError, match="a base model is loaded"):
        execute(plan(suite, tmp_path, tiny_model, actions=("a000",)))
    pixels = {}
    for method in (DrawnMethod(), OtherAction()):
        made = plan(suite, tmp_path, tiny_model, method, actions=("a000",))
        result = execute(made)
        (item,) = made.actions[0].items
        image = read_image(made.store.image_path(made.actions[0].image_key, item))
        assert image.size == (64, 64) and result.record.complete
        assert not made.method.needs_backbone
        pixels[method.name] = image.tobytes()
    assert pixels["drawn"] != pixels["other-action"]


def test_the_ceiling_holds_the_action_and_the_floor_another(suite: Suite) -> None:
    task = suite.tasks["a000"]
    fitted = DrawnMethod().fit(None, task, seed=0, progress=None)  # type: ignore[arg-type]
    assert DrawnMethod().poses(fitted, np.random.default_rng(0)) == [dict(task.poses[0])]
    salute = replace(fitted, action="salute")
    others = [
        OtherAction().poses(salute, np.random.default_rng(seed))[0]["right_arm"]
        for seed in range(200)
    ]
    named = {name: packed(ways(name)[0])["right_arm"] for name in ACTIONS}
    assert named["salute"] not in others
    assert sum(named[name] in others for name in ACTIONS) == len(ACTIONS) - 1


def test_a_suite_that_is_not_drawn_has_neither() -> None:
    task = get_suite("puppets").tasks["sit"]
    for method in (DrawnMethod(), OtherAction()):
        with pytest.raises(UserError, match=f"'{method.name}' draws what a suite was drawn from"):
            method.fit(None, task, seed=0, progress=None)  # type: ignore[arg-type]


def test_they_are_registered_but_no_systems() -> None:
    assert {"drawn", "other-action"} == {*method_names()} - {*system_names()}
    assert not get_method("drawn").ranked


# --- the first world beside the second ------------------------------------------------------------


def test_models_and_judges_of_the_first_world_are_refused(suite: Suite, tiny_model: Path) -> None:
    with pytest.raises(UserError, match="is the first world's base model"):
        check_world(suite, resolve_model(str(BASE_MODEL)))
    check_world(suite, resolve_model(str(tiny_model)))
    check_world(get_suite("puppets"), resolve_model(str(BASE_MODEL)))
    with pytest.raises(UserError, match="take --judge pose"):
        _ = PuppetJudge(suite).fingerprint
    judge = make_judge("pose", suite)
    assert judge.settings.measure == "directions" and judge.settings.action_threshold == 0.95
    assert make_judge("pose", get_suite("puppets")).settings.action_threshold is None


def test_a_second_suite_is_not_run_before_its_model_is_there(typed: Callable[..., Any]) -> None:
    done = typed("run", "--suite", suites.DEV, "--method", "drawn", "--judge", "puppet")
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert "base model of the second world is not accepted yet" in done.stderr
