"""Plan, fit, draw, judge: what is stored, what is not done again, and what a kill costs."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from actionbench.device import PLAIN, resolve_device
from actionbench.errors import MethodError, UserError
from actionbench.files.atomic import HOST
from actionbench.judge import VERDICT_COLUMNS, Verdict
from actionbench.method import Customization
from actionbench.progress import Observer
from actionbench.runs.execute import ActionRow, execute
from actionbench.runs.options import RunOptions
from actionbench.runs.plan import Plan, fit_seed, plan_run
from actionbench.runs.provenance import reset_peak_memory
from actionbench.runs.record import Failure
from actionbench.runs.store import Store
from actionbench.suite.items import Action, Subject
from tests.helpers.small_run import Brightness, Drift, DriftSettings, Plain, small_plan, small_suite

ROOT = Path(__file__).resolve().parents[2]


class Watch(Observer):
    def __init__(self) -> None:
        self.steps: list[tuple[str, str, int, int]] = []
        self.rows: list[ActionRow] = []

    def step(self, action: str, stage: str, done: int, total: int, what: str = "") -> None:
        self.steps.append((action, stage, done, total))

    def row(self, row: ActionRow) -> None:
        self.rows.append(row)

    def stages(self) -> set[str]:
        return {stage for _, stage, _, _ in self.steps}


@pytest.fixture(scope="module")
def finished(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make an undisturbed run; tests copy its folder before they change it."""
    folder = tmp_path_factory.mktemp("finished")
    execute(small_plan(tiny_model, folder))
    return folder


@pytest.fixture
def copied(finished: Path, tmp_path: Path) -> Path:
    shutil.copytree(finished, tmp_path / "copy")
    return tmp_path / "copy"


def to_do(plan: Plan) -> list[tuple[int, int]]:
    return [(work.total, work.to_do) for work in plan.work()]


def table(folder: Path) -> list[dict[str, Any]]:
    store = Store(folder / "runs")
    (run_id,) = store.run_ids()
    return store.load_row_dicts(run_id)


def pixels(folder: Path) -> dict[str, np.ndarray[Any, Any]]:
    return {
        path.relative_to(folder).as_posix(): np.asarray(Image.open(path))
        for path in sorted(folder.rglob("*.png"))
    }


def test_a_run_fits_draws_and_judges_each_action_before_the_next(
    tiny_model: Path, tmp_path: Path
) -> None:
    watch = Watch()
    plan = small_plan(tiny_model, tmp_path, images_per_pair=1)
    assert to_do(plan) == [(2, 2), (6, 6), (6, 6)]
    assert not (tmp_path / "runs").exists(), "planning writes nothing"
    result = execute(plan, watch)

    order = list(dict.fromkeys((action, stage) for action, stage, _, _ in watch.steps))
    stages = ("fit", "generate", "judge")
    assert order == [(a, s) for a in ("salute", "gesture") for s in stages]
    assert ("salute", "generate", 3, 3) in watch.steps
    assert [row.action for row in watch.rows] == ["salute", "gesture"]
    assert watch.rows == list(result.rows)

    rows = Store(tmp_path / "runs").load_row_dicts(result.run_id)
    assert [tuple(row) for row in rows] == [tuple(VERDICT_COLUMNS)] * 6
    assert sum(row["total_correct"] for row in rows) == sum(r.total_correct for r in result.rows)
    for row in rows:
        assert row["total_correct"] == (row["action_correct"] and row["subject_correct"])
        with Image.open(tmp_path / "runs" / row["image"]) as image:
            assert image.info["actionbench:item"].startswith(row["action"] + "/")


def test_the_record_says_what_made_the_run(finished: Path) -> None:
    store = Store(finished / "runs")
    (run_id,) = store.run_ids()
    record = store.load_record(run_id)
    assert record is not None
    assert record.complete and record.finished >= record.started
    assert record.settings == {"steps": 3, "lr": 0.1}
    assert record.device == "cpu" and record.dtype == "float32"
    assert set(record.versions) >= {"actionbench", "torch", "diffusers", "transformers"}
    assert record.peak_mib > 50
    for action in ("salute", "gesture"):
        costs = record.costs[action]
        assert costs.fit is not None and costs.fit.seconds > 0 and costs.fit.peak_mib > 50
        assert costs.generate.images == costs.judge.images == 6


def test_a_finished_run_is_only_read(finished: Path, tiny_model: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in (finished / "runs").rglob("*")}
    watch = Watch()
    result = execute(small_plan(tiny_model, finished), watch)
    assert not watch.steps and watch.rows == list(result.rows)
    assert sum(row.seconds for row in result.rows) > 0, "what it took is still reported"
    assert {path: path.stat().st_mtime_ns for path in (finished / "runs").rglob("*")} == before


def leave_behind(folder: Path) -> list[Path]:
    """Make what a process that was killed at a write leaves in a runs folder."""
    gone = subprocess.Popen(["true"])
    gone.wait()
    name = f".tmp-{HOST}-{gone.pid}-0"
    images = next((folder / "runs/images").iterdir())
    left = [place / name for place in (folder / "runs", folder / "runs/fits", images)]
    for path in left:
        path.write_text("half")
    return left


def test_a_finished_run_clears_what_a_killed_process_left(copied: Path, tiny_model: Path) -> None:
    left = leave_behind(copied)
    execute(small_plan(tiny_model, copied))
    assert not any(path.exists() for path in left)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_finished_run_is_read_from_a_folder_that_cannot_be_written(
    copied: Path, tiny_model: Path
) -> None:
    leave_behind(copied)
    for folder in (copied / "runs", *(copied / "runs").rglob("*/")):
        folder.chmod(0o500)
    assert execute(small_plan(tiny_model, copied)).record.complete
    for folder in (copied / "runs", *(copied / "runs").rglob("*/")):
        folder.chmod(0o700)  # so that it can be removed


def test_more_subjects_or_images_reuse_what_is_there(copied: Path, tiny_model: Path) -> None:
    assert to_do(small_plan(tiny_model, copied, subjects=["boy"])) == [(2, 0), (4, 0), (4, 0)]
    assert to_do(small_plan(tiny_model, copied, images_per_pair=3)) == [(2, 0), (18, 6), (18, 6)]
    watch = Watch()
    result = execute(small_plan(tiny_model, copied, images_per_pair=3), watch)
    assert watch.stages() == {"generate", "judge"}
    assert sum(row.n for row in result.rows) == 18


def test_another_judge_judges_the_same_images(copied: Path, tiny_model: Path) -> None:
    stricter = Brightness(small_suite(copied))
    stricter.rule = "2"  # type: ignore[misc]
    plan = small_plan(tiny_model, copied, judge=stricter)
    assert to_do(plan) == [(2, 0), (12, 0), (12, 12)]
    watch = Watch()
    result = execute(plan, watch)
    assert watch.stages() == {"judge"}
    assert result.record.protocol == "puppets-v1"

    class Other(Brightness):
        name = "other"

    other = small_plan(tiny_model, copied, judge=Other(small_suite(copied)))
    assert other.protocol == "puppets-other-v1", "another judge is another protocol"


def test_the_batch_size_changes_speed_and_no_key(
    finished: Path, tiny_model: Path, tmp_path: Path
) -> None:
    assert small_plan(tiny_model, finished, batch_size=1).finished
    seen: list[int] = []

    class Watched(Plain):
        def generate(self, backbone: Any, customization: Any, items: Any) -> Any:
            seen.append(backbone.batch_size)
            return super().generate(backbone, customization, items)

    execute(small_plan(tiny_model, tmp_path, Watched(), actions=["salute"], batch_size=5))
    assert seen == [5]


def test_too_little_memory_is_reported(tiny_model: Path, tmp_path: Path) -> None:
    class Full(Drift):
        def fit(self, *words: Any, **rest: Any) -> Any:
            raise torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate")

    class TooLarge(Plain):
        def generate(self, backbone: Any, customization: Any, items: Any) -> Any:
            torch.empty(2**50)  # the CPU's allocator refuses
            return []

    with pytest.raises(UserError, match=r"lower --batch-size \(now 5\) or take --dtype bfloat16"):
        execute(small_plan(tiny_model, tmp_path, Full(), batch_size=5))
    saving = {"gradient_checkpointing": True, "vae_slicing": True}
    with pytest.raises(UserError, match=r"not enough memory: take --dtype bfloat16 or take --off"):
        execute(small_plan(tiny_model, tmp_path, TooLarge(), batch_size=5, **saving))


def test_out_of_memory_while_drawing_halves_the_batches(tiny_model: Path, tmp_path: Path) -> None:
    class Greedy(Plain):
        def generate(self, backbone: Any, customization: Any, items: Any) -> Any:
            for number, image in enumerate(super().generate(backbone, customization, items)):
                if backbone.batch_size > 2 and number == 1:
                    raise torch.OutOfMemoryError("CUDA out of memory.")
                yield image

    plan = small_plan(tiny_model, tmp_path / "a", Greedy(), batch_size=8, actions=["salute"])
    result = execute(plan)
    assert result.record.resources == {
        **{"batch_size": 2, "gradient_checkpointing": False, "vae_slicing": False},
        **{"offload": False, "compile": False, "fits_at_once": 1},
    }
    assert result.record.costs["salute"].generate.images == 6
    other = small_plan(tiny_model, tmp_path / "b", Plain(), actions=["salute"])
    execute(other)
    for item in plan.actions[0].items:
        drawn, expected = (p.store.load_image(p.actions[0].image_key, item) for p in (plan, other))
        assert np.array_equal(np.asarray(drawn), np.asarray(expected))


def test_resources_are_recorded_and_part_of_no_key(finished: Path, tiny_model: Path) -> None:
    plan = small_plan(tiny_model, finished, **dict.fromkeys(vars(PLAIN), True))
    assert plan.finished and plan.run_id == small_plan(tiny_model, finished).run_id


def test_moved_keypoints_are_other_exemplars(tmp_path: Path) -> None:
    suite = small_suite(tmp_path)
    before = {name: task.fingerprint for name, task in suite.tasks.items()}
    rows = pq.read_table(suite.exemplar_file).to_pylist()
    rows[0]["keypoints"][0][0] += 0.25
    pq.write_table(pa.Table.from_pylist(rows), suite.exemplar_file)
    tasks = small_suite(tmp_path).tasks
    assert tasks["salute"].fingerprint != before["salute"]
    assert tasks["gesture"].fingerprint == before["gesture"]


def test_two_runs_at_once_keep_each_others_verdicts(tiny_model: Path, tmp_path: Path) -> None:
    """One runs wholly while the other has read the shared file and not yet written it."""
    mine, other = (
        small_plan(tiny_model, tmp_path, actions=["salute"], subjects=[name])
        for name in ("boy", "girl")
    )

    class Meanwhile(Observer):
        def step(self, action: str, stage: str, done: int, total: int, what: str = "") -> None:
            if (stage, done) == ("judge", 0):
                assert execute(other).rows[0].n == 2

    assert execute(mine, Meanwhile()).rows[0].n == 2
    assert small_plan(tiny_model, tmp_path, actions=["salute"], subjects=["boy", "girl"]).finished


def test_of_two_processes_the_slower_leaves_the_others_finished_run_whole(
    tiny_model: Path, tmp_path: Path
) -> None:
    slow, fast = (small_plan(tiny_model, tmp_path) for _ in range(2))
    seen = []

    class Meanwhile(Observer):
        def row(self, row: ActionRow) -> None:
            if row.action == "salute" and not seen:
                execute(fast)
            record = fast.store.read_record(fast.run_id)
            seen.append(len(fast.store.read_verdicts(record)))

    result = execute(slow, Meanwhile())
    assert seen == [12, 12]
    frame = slow.store.as_frame(result.verdicts)
    assert frame.equals(slow.store.checked(result.record, slow.store.load_rows(slow.run_id)))


def test_a_finished_run_with_too_few_rows_is_made_whole(copied: Path, tiny_model: Path) -> None:
    plan, rows = small_plan(tiny_model, copied), table(copied)
    plan.store.save_rows(plan.run_id, rows[:6])
    assert len(execute(small_plan(tiny_model, copied)).rows) == 2
    assert table(copied) == rows


def test_a_kill_between_record_and_rows_leaves_no_complete_run_with_too_few(
    copied: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sorted(copied.rglob("*.png"))[0].unlink()
    plan = small_plan(tiny_model, copied)
    calls: list[str] = []

    def killed_at_the_second(name: str) -> Any:
        save = getattr(plan.store, name)

        def saved(*words: Any) -> None:
            calls.append(name)
            if len(calls) == 2:
                raise KeyboardInterrupt
            save(*words)

        return saved

    for name in ("save_record", "save_rows"):
        monkeypatch.setattr(plan.store, name, killed_at_the_second(name))
    with pytest.raises(KeyboardInterrupt):
        execute(plan)
    record = plan.store.load_record(plan.run_id)
    assert record is not None and not record.complete


def test_each_fit_has_a_peak_of_its_own(tiny_model: Path, tmp_path: Path) -> None:
    if not reset_peak_memory():
        pytest.skip("this system cannot reset a process's peak")

    class Hungry(Drift):
        def fit(self, backbone: Any, task: Any, **rest: Any) -> Customization:
            if task.action.name == "salute":
                np.ones(40_000_000).sum()  # 305 MiB, gone again at once
            return super().fit(backbone, task, **rest)

    result = execute(small_plan(tiny_model, tmp_path, Hungry(), subjects=["boy"]))
    first, second = (result.record.costs[name].fit for name in ("salute", "gesture"))
    assert first.peak_mib > second.peak_mib + 200
    assert result.record.peak_mib >= first.peak_mib
    light = execute(small_plan(tiny_model, tmp_path, Plain(), subjects=["boy"]))
    assert light.record.peak_mib < first.peak_mib - 100


def test_the_record_names_the_settings_that_are_not_the_methods_own(
    tiny_model: Path, tmp_path: Path
) -> None:
    class Tuned(Drift):
        presets: ClassVar[dict[str, dict[str, Any]]] = {"mine": {"steps": 4}}

    plan = small_plan(tiny_model, tmp_path, Tuned(DriftSettings(steps=4)))
    assert plan.changed_settings == {"steps": 4}
    assert replace(plan, source=replace(plan.source, preset="mine")).changed_settings == {}
    result = execute(small_plan(tiny_model, tmp_path, Drift(DriftSettings(lr=0.5))))
    assert result.record.changed_settings == {"lr": 0.5}


@pytest.mark.parametrize(
    "change",
    [{"seed": 1}, {"dtype": "bfloat16"}, {"method": Drift(DriftSettings(steps=4))}],
    ids=["seed", "dtype", "settings"],
)
def test_what_changes_a_fit_changes_its_key(
    finished: Path, tiny_model: Path, change: dict[str, Any]
) -> None:
    assert to_do(small_plan(tiny_model, finished, **change)) == [(2, 2), (12, 12), (12, 12)]


def test_a_corrected_phrase_or_description_draws_again(finished: Path, tiny_model: Path) -> None:
    plan = small_plan(tiny_model, finished)

    def planned(**change: Any) -> list[tuple[int, int]]:
        changed = replace(plan.suite, **change)
        return to_do(
            plan_run(
                suite=changed, method=plan.method, source=plan.source,
                judge=Brightness(changed), options=RunOptions(runs=finished / "runs"),
            )
        )  # fmt: skip

    assert planned() == [(2, 0), (12, 0), (12, 0)]
    subjects = (Subject("boy", "human", "A young boy"), *plan.suite.subjects[1:])
    assert planned(subjects=subjects) == [(2, 0), (12, 12), (12, 12)]
    actions = (Action("salute", "gives a salute"), plan.suite.actions[1])
    assert planned(actions=actions) == [(2, 1), (12, 6), (12, 6)]


def test_methods_that_learn_nothing_are_not_fitted(tiny_model: Path, tmp_path: Path) -> None:
    plan = small_plan(tiny_model, tmp_path, Plain(), actions=["salute"], images_per_pair=1)
    assert to_do(plan) == [(0, 0), (3, 3), (3, 3)]
    result = execute(plan)
    assert result.rows[0].n == 3
    assert result.record.costs["salute"].fit is None
    assert not (tmp_path / "runs" / "fits").exists()


def test_a_lost_image_is_drawn_again_the_same_and_judged_again(
    copied: Path, tiny_model: Path
) -> None:
    before = pixels(copied)
    lost = copied / sorted(before)[0]
    lost.unlink()
    plan = small_plan(tiny_model, copied)
    assert to_do(plan) == [(2, 0), (12, 1), (12, 1)]
    rows = table(copied)
    execute(plan)
    after = pixels(copied)
    assert after.keys() == before.keys()
    assert all((after[name] == before[name]).all() for name in before)
    assert table(copied) == rows


class Coupled(Plain):
    """A method whose images show their batch: where in it they are, and its length.

    Rounding does the same to any method's, but in few images.
    """

    name = "coupled"

    def generate(self, backbone: Any, customization: Any, items: Any) -> Any:
        for start in range(0, len(items), backbone.batch_size):
            batch = items[start : start + backbone.batch_size]
            for place, item in enumerate(batch):
                colour = (place * 40, len(batch) * 40, item.index * 40)
                yield Image.new("RGB", (8, 8), colour)


class Crowd(Brightness):
    """A judge whose scores show how many images it is given at once."""

    name = "crowd"

    def judge(self, images: Any, items: Any) -> list[Verdict]:
        return [
            replace(verdict, action_score=place / 100, subject_score=len(images) / 100)
            for place, verdict in enumerate(super().judge(images, items))
        ]


@pytest.mark.parametrize("lost", [(0,), (1, 4), (5,), (0, 1, 2, 3)])
def test_images_and_verdicts_do_not_depend_on_what_is_there_already(
    tiny_model: Path, tmp_path: Path, lost: tuple[int, ...]
) -> None:
    def plan() -> Plan:
        crowd = Crowd(small_suite(tmp_path))
        return small_plan(tiny_model, tmp_path, Coupled(), batch_size=4, judge=crowd)

    execute(plan())
    images = sorted(tmp_path.rglob("*.png"))
    before = {path: path.read_bytes() for path in images}, table(tmp_path)
    kept = [path for number, path in enumerate(images[:6]) if number not in lost]
    written = {path: path.stat().st_mtime_ns for path in kept}
    for number in lost:
        images[number].unlink()
    execute(plan())
    assert ({path: path.read_bytes() for path in images}, table(tmp_path)) == before
    assert {path: path.stat().st_mtime_ns for path in kept} == written


def test_a_lost_table_is_written_again(copied: Path, tiny_model: Path) -> None:
    rows = table(copied)
    (file,) = (copied / "runs" / "runs").glob("*/verdicts.parquet")
    file.unlink()
    execute(small_plan(tiny_model, copied))
    assert table(copied) == rows


def test_a_truncated_image_is_named_before_anything_is_done(copied: Path, tiny_model: Path) -> None:
    broken = sorted(copied.rglob("*.png"))[3]
    broken.write_bytes(broken.read_bytes()[:-20])
    with pytest.raises(UserError, match=f"{broken.name} is damaged.*delete it and run the same"):
        small_plan(tiny_model, copied)


def test_an_image_with_damage_inside_is_named_when_it_is_judged(
    copied: Path, tiny_model: Path
) -> None:
    broken = sorted(copied.rglob("*.png"))[3]
    content = bytearray(broken.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 40] = bytes(40)
    broken.write_bytes(content)
    shutil.rmtree(copied / "runs" / "verdicts")
    with pytest.raises(UserError, match=f"{broken.name} is damaged"):
        execute(small_plan(tiny_model, copied))
    broken.unlink()
    execute(small_plan(tiny_model, copied))
    assert len(table(copied)) == 12


def test_a_damaged_fit_is_named(copied: Path, tiny_model: Path) -> None:
    for file in (copied / "runs" / "fits").glob("*/customization.safetensors"):
        file.write_bytes(file.read_bytes()[:-3] + b"abc")
    assert small_plan(tiny_model, copied).finished, "the images are all there"
    shutil.rmtree(copied / "runs" / "images")
    with pytest.raises(UserError, match=r"safetensors is damaged.*delete it"):
        execute(small_plan(tiny_model, copied))


def test_a_fit_that_diverges_is_reported_and_not_stored(tiny_model: Path, tmp_path: Path) -> None:
    plan = small_plan(tiny_model, tmp_path, Drift(DriftSettings(steps=40, lr=1e30)))
    with pytest.raises(
        UserError, match=r"drift failed fitting 'salute': .* diverged .*lower its lear"
    ):
        execute(plan)
    assert not list((tmp_path / "runs").glob("fits/*"))


def test_a_method_that_misnames_its_fit_is_reported(tiny_model: Path, tmp_path: Path) -> None:
    class Liar(Drift):
        name = "liar"

        def fit(self, backbone: Any, task: Any, **rest: Any) -> Customization:
            return replace(super().fit(backbone, task, **rest), action="sit")

    with pytest.raises(UserError, match="says it is of"):
        execute(small_plan(tiny_model, tmp_path, Liar()))


class Fragile(Drift):
    """A method that fails at one action in one stage, until it is fixed."""

    name = "fragile"

    def __init__(self, stage: str = "", error: Exception | None = None) -> None:
        super().__init__()
        self.stage = stage
        self.error = error or ZeroDivisionError("by zero\nand more")

    def fit(self, backbone: Any, task: Any, **rest: Any) -> Customization:
        if self.stage == "fit" and task.action.name == "gesture":
            raise self.error
        return super().fit(backbone, task, **rest)

    def generate(self, backbone: Any, customization: Any, items: Any) -> Any:
        for number, image in enumerate(super().generate(backbone, customization, items)):
            if self.stage == "draw" and items[0].action.name == "gesture" and number == 2:
                raise self.error
            yield image


@pytest.mark.parametrize(
    ("stage", "doing", "left"),
    [("fit", "fitting", (1, 6, 6)), ("draw", "drawing", (0, 4, 6))],
)
def test_a_method_that_raises_is_reported_and_its_finished_work_kept(
    tiny_model: Path, tmp_path: Path, stage: str, doing: str, left: tuple[int, ...]
) -> None:
    plan = small_plan(tiny_model, tmp_path, Fragile(stage))
    with pytest.raises(MethodError) as failed:
        execute(plan)
    trace = plan.store.failure_path(plan.run_id)
    reason = f"ZeroDivisionError: by zero (traceback in {trace})"
    assert str(failed.value) == f"fragile failed {doing} 'gesture': {reason}"
    assert "raise self.error" in trace.read_text()
    record = plan.store.load_record(plan.run_id)
    assert record is not None and not record.complete
    assert record.failure == Failure("gesture", doing, reason)
    assert {row["action"] for row in table(tmp_path)} == {"salute"}

    again = small_plan(tiny_model, tmp_path, Fragile())
    assert tuple(work.to_do for work in again.work()) == left
    result = execute(again)
    assert result.record.complete and result.record.failure is None
    assert not trace.exists() and len(table(tmp_path)) == 12


def test_a_methods_own_message_is_reported_without_a_traceback(
    tiny_model: Path, tmp_path: Path
) -> None:
    plan = small_plan(tiny_model, tmp_path, Fragile("fit", UserError("lower the rate")))
    with pytest.raises(MethodError, match=r"^fragile failed fitting 'gesture': lower the rate$"):
        execute(plan)
    assert not plan.store.failure_path(plan.run_id).exists()


@pytest.mark.parametrize(
    ("drawn", "message"),
    [
        (lambda images: images[:-1], "drew 5 images for 6 items"),
        (lambda images: images * 2, "drew 7 images or more for 6 items"),
        (lambda images: [np.asarray(i) for i in images], "drew a ndarray, not an image"),
    ],
    ids=["too few", "too many", "arrays"],
)
def test_a_method_that_draws_something_else_is_reported(
    tiny_model: Path, tmp_path: Path, drawn: Any, message: str
) -> None:
    class Odd(Plain):
        def generate(self, backbone: Any, customization: Any, items: Any) -> Any:
            return drawn([Image.new("RGB", (8, 8))] * len(items))

    with pytest.raises(MethodError, match=f"plain failed drawing 'salute': {message}"):
        execute(small_plan(tiny_model, tmp_path, Odd()))


@pytest.mark.parametrize(
    ("fitted", "message"),
    [({"a": 1}, "returned a dict, not a Customization"), (None, "facts are no JSON")],
    ids=["a dict", "odd facts"],
)
def test_a_fit_that_returns_something_else_is_reported(
    tiny_model: Path, tmp_path: Path, fitted: Any, message: str
) -> None:
    class Odd(Drift):
        def fit(self, backbone: Any, task: Any, **rest: Any) -> Any:
            return fitted or replace(super().fit(backbone, task, **rest), facts={"words": {"a"}})

    with pytest.raises(MethodError, match=message):
        execute(small_plan(tiny_model, tmp_path, Odd()))
    assert not list((tmp_path / "runs").glob("fits/*"))


def test_a_fit_of_another_version_is_refused(copied: Path, tiny_model: Path) -> None:
    """Its key holds the version already; here a fit was put in by hand."""
    file = next((copied / "runs" / "fits").glob("*/customization.json"))
    record = json.loads(file.read_text())
    assert record["version"] == 1
    file.write_text(json.dumps({**record, "version": 2}))
    shutil.rmtree(copied / "runs" / "images")
    with pytest.raises(UserError, match="holds a fit of version 2, not 1: delete it"):
        execute(small_plan(tiny_model, copied, actions=[record["action"]]))


def test_unknown_names_and_empty_choices(tiny_model: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="unknown action 'salut': did you mean salute"):
        small_plan(tiny_model, tmp_path, actions=["salut"])
    with pytest.raises(UserError, match="unknown subject 'panda'"):
        small_plan(tiny_model, tmp_path, subjects=["panda"])
    with pytest.raises(UserError, match="nothing to draw"):
        small_plan(tiny_model, tmp_path, actions=[])


def test_fit_seeds_differ_by_action_and_seed() -> None:
    seeds = {fit_seed(seed, action) for seed in (0, 1) for action in ("sit", "squat")}
    assert len(seeds) == 4
    torch.manual_seed(max(seeds))


def test_cuda_is_refused_if_there_is_none() -> None:
    if torch.cuda.is_available():
        assert resolve_device("auto") == "cuda"
    else:
        assert resolve_device("auto") == "cpu"
        with pytest.raises(UserError, match="use --device cpu"):
            resolve_device("cuda")


def start(tiny_model: Path, folder: Path, *stop: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.helpers.small_run", str(tiny_model), str(folder), *stop]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)


def test_killed_in_fit_draw_and_judge_the_same_command_ends_with_the_same_table(
    tiny_model: Path, finished: Path, tmp_path: Path
) -> None:
    """kill -9 in each stage in turn, on one store; nothing that was finished is done again."""
    stops = [("fit", "2"), ("generate", "4"), ("judge", "1")]
    left = [(2, 12, 12), (1, 9, 12), (1, 6, 12)]
    for (stage, count), expected in zip(stops, left, strict=True):
        process = start(tiny_model, tmp_path, stage, count)
        assert process.stdout is not None
        assert process.stdout.readline() == "here\n", f"it never came to {stage} {count}"
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        process.stdout.close()
        plan = small_plan(tiny_model, tmp_path)
        assert tuple(work.to_do for work in plan.work()) == expected, (stage, count)
        record = plan.store.load_record(plan.run_id)
        assert record is not None and not record.complete

    watch = Watch()
    result = execute(small_plan(tiny_model, tmp_path), watch)
    assert result.record.complete
    for costs in result.record.costs.values():
        assert costs.fit is not None and costs.fit.seconds > 0, (
            "paid by a run that was killed before it was noted"
        )
    assert result.record.costs["salute"].generate.images == 6, (
        "those of the killed batch that are there already are drawn beside the others again"
    )
    assert ("salute", "fit", 3, 3) not in watch.steps
    assert ("gesture", "fit", 3, 3) in watch.steps
    assert table(tmp_path) == table(finished)
    assert not list(tmp_path.rglob(".tmp-*"))
    assert json.loads((result.folder / "run.json").read_text())["id"] == result.run_id
