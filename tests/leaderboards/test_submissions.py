"""Submissions: written, verified, and refused for each way in which one can be wrong."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fastjsonschema
import pandas as pd
import pytest
from PIL import Image

import actionbench.suite.suite
from actionbench.errors import UserError
from actionbench.runs.execute import execute
from actionbench.runs.store import Store, read_image
from leaderboards import build_board
from leaderboards.submission.folder import MARK, file_sha256, pixels_sha256, schema, submit, trust
from leaderboards.submission.verify import Verification, verify
from tests.conftest import Done
from tests.helpers.small_cli import install_plugins
from tests.helpers.small_run import Plain, small_plan, small_suite

HISTORIC = Path(__file__).parents[1] / "golden" / "submission-1"
"""A submission of format 1, as `submit` wrote it when there was no other."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("submissions")
    install_plugins(folder / "plugins")
    return folder


@pytest.fixture(scope="module")
def runs(folder: Path, tiny_model: Path) -> list[str]:
    """Two small runs of real fits and images."""
    return [
        execute(small_plan(tiny_model, folder)).run_id,
        execute(small_plan(tiny_model, folder, Plain())).run_id,
    ]


@pytest.fixture(autouse=True)
def small_world(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the small suite, methods and judge be those of this machine."""
    suite = small_suite(folder)
    monkeypatch.setattr(actionbench.suite.suite, "suites", lambda: {suite.name: suite})
    monkeypatch.syspath_prepend(str(folder / "plugins"))


@pytest.fixture
def submission(folder: Path, runs: list[str], tmp_path: Path) -> Path:
    return submit(Store(folder / "runs"), runs, tmp_path / "submission")


def failed(found: Verification) -> str:
    """The failure that ended a verification."""
    assert not found.passed and not found.levels
    *passed, last = found.checks
    assert all(check.passed for check in passed) and not last.passed
    assert "\n" not in last.detail
    return f"{last.name}: {last.detail}"


def rewrite(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    facts = json.loads((folder / MARK).read_text())
    change(facts)
    (folder / MARK).write_text(json.dumps(facts))


def edit_verdicts(
    folder: Path, run_id: str, change: Callable[[pd.DataFrame], pd.DataFrame], *, sign: bool = True
) -> None:
    """Change a row's verdicts; `sign`: and the hash and counts that go with them."""
    store = Store(folder)
    frame = change(store.load_rows(run_id))
    store.save_rows(run_id, frame.to_dict("records"))

    def fit(facts: dict[str, Any]) -> None:
        (row,) = (row for row in facts["rows"] if row["run"] == run_id)
        path = store.run_folder(run_id) / "verdicts.parquet"
        row["verdicts_sha256"] = file_sha256(path)
        row["n"] = len(frame)
        for name in ("action", "subject", "total"):
            row["right"][name] = int(frame[f"{name}_correct"].sum())

    if sign:
        rewrite(folder, fit)


def test_a_submission_is_verified_and_its_level_stands_on_the_board(
    submission: Path, runs: list[str], typed: Callable[..., Done], tiny_model: Path
) -> None:
    found = verify(submission, sample=8)
    assert found.passed, found.checks
    names = [check.name for check in found.checks]
    assert names == ["schema", "files", "counts", "item seeds", "accuracies", "fingerprints",
                     "images", "judged again"]  # fmt: skip
    assert set(found.levels.values()) == {"re-judged"} and set(found.levels) == set(runs)
    assert {row.trust for g in build_board(submission).groups for row in g.rows} == {
        "self-reported"
    }, "nothing is written yet"
    done = typed("verify", submission, "--redo", "1", "--model", tiny_model, "--write",
                 "--seed", "7", "--device", "cpu")  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "all 6 images are equal to the bit" in " ".join(done.stdout.split())
    board = build_board(submission)
    assert {row.trust for group in board.groups for row in group.rows} == {"re-run"}
    assert "Drift (re-run)" in {row.name for group in board.groups for row in group.rows}
    # Beside other runs it is a reference, and new verdicts void what was verified.
    other = build_board(submission.parent / "none", reference=submission)
    assert "Drift (reference, re-run)" in {row.name for g in other.groups for row in g.rows}
    edit_verdicts(submission, runs[0], lambda frame: frame.assign(action_score=0.5))
    assert trust(Store(submission), runs[0]) == "self-reported"


def test_what_is_submitted_follows_the_schema_and_names_no_place(
    submission: Path, folder: Path, runs: list[str], typed: Callable[..., Done], tmp_path: Path
) -> None:
    facts = json.loads((submission / MARK).read_text())
    fastjsonschema.compile(schema())(facts)
    for path in submission.rglob("*"):
        if path.suffix in (".json", ".md"):
            assert str(folder) not in path.read_text("utf-8"), path
    rows = {row["run"]: row for row in facts["rows"]}
    verdicts = Store(folder / "runs").load_rows(runs[0])
    assert rows[runs[0]]["n"] == len(verdicts) == 12
    assert rows[runs[0]]["right"]["action"] == int(verdicts["action_correct"].sum())
    assert facts["canary"] and facts["canary"][0]["judge"] == "brightness"
    card = (submission / "README.md").read_text()
    assert "| Drift | 12 |" in card and "actionbench verify" in card
    done = typed("submit", "drift", "--out", tmp_path / "out", "--runs", folder / "runs")
    assert done.returncode == 0 and "actionbench verify" in done.stdout, done.stderr


def test_rows_of_hashes_stay_self_reported(folder: Path, runs: list[str], tmp_path: Path) -> None:
    light = submit(Store(folder / "runs"), runs, tmp_path / "light", images=False)
    assert not (light / "images").exists() or not any((light / "images").iterdir())
    found = verify(light)
    assert found.passed and set(found.levels.values()) == {"self-reported"}
    assert "rows of hashes stay self-reported" in failed(verify(light, redo=1))


def test_only_finished_runs_of_one_measurement_are_submitted(
    folder: Path, runs: list[str], tiny_model: Path, tmp_path: Path
) -> None:
    store = Store(folder / "runs")
    copy = tmp_path / "runs"
    shutil.copytree(store.root, copy)
    mine = Store(copy)
    record = mine.read_record(runs[0])
    mine.save_record(dataclasses.replace(record, complete=False))
    with pytest.raises(UserError, match="submit finished runs"):
        submit(mine, runs, tmp_path / "out")
    other = dataclasses.replace(record.model, fingerprint="another")
    mine.save_record(dataclasses.replace(record, model=other))
    with pytest.raises(UserError, match="has another model"):
        submit(mine, runs, tmp_path / "out")
    mine.save_record(record)
    (copy / mine.load_rows(runs[0])["image"][3]).unlink()
    with pytest.raises(UserError, match="is missing"):
        submit(mine, runs, tmp_path / "out")
    assert not (tmp_path / "out").exists(), "nothing is written half"
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("")
    with pytest.raises(UserError, match="holds other files"):
        submit(store, runs, tmp_path / "mine")
    with pytest.raises(UserError, match=r"no submission \(submission.json is missing\)"):
        verify(tmp_path / "mine")


def test_edited_verdicts_are_found(submission: Path, runs: list[str]) -> None:
    def flip(frame: pd.DataFrame) -> pd.DataFrame:
        return frame.assign(action_correct=True, total_correct=frame["subject_correct"])

    edit_verdicts(submission, runs[0], flip, sign=False)
    assert "is not the file that was submitted" in failed(verify(submission))
    edit_verdicts(submission, runs[0], flip)
    # Consistent in itself, it falls where the images are judged again.
    message = failed(verify(submission, sample=12))
    assert message.startswith("judged again:")
    assert "was submitted with action_correct True" in message
    rewrite(submission, lambda facts: facts["rows"][0]["right"].update(total=12))
    assert "says 12 images with the total right" in failed(verify(submission))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: f.assign(seed=f["seed"] + 1), "has the seed"),
        (lambda f: f.iloc[:-1], "though run.json says complete"),
        (lambda f: f.assign(total_correct=~f["total_correct"]), "total_correct is not"),
        (lambda f: f.assign(method="other"), "the column method is not drift"),
        (lambda f: f.assign(image=f["image"].iloc[::-1].to_list()), "in the place of"),
        (lambda f: f.assign(image="../secret.png"), "images outside of the runs folder"),
    ],
    ids=["seeds", "half a run", "totals", "method", "swapped names", "path"],
)
def test_changed_columns_are_named(
    submission: Path, runs: list[str], change: Callable[[pd.DataFrame], pd.DataFrame], message: str
) -> None:
    edit_verdicts(submission, runs[0], change)
    assert message in failed(verify(submission))


def test_images_that_are_not_the_submitted_ones(submission: Path, runs: list[str]) -> None:
    names = Store(submission).load_rows(runs[0])["image"].to_list()
    first, second = (submission / name for name in names[:2])
    kept = first.read_bytes()
    first.write_bytes(second.read_bytes())
    assert f"{first} is not the image that was submitted" in failed(verify(submission))
    first.write_bytes(kept[:100])
    assert f"{first} is damaged" in failed(verify(submission))
    first.unlink()
    assert f"{first} is missing" in failed(verify(submission))
    Image.new("1", (5000, 5000)).save(first)
    assert first.stat().st_size < 2**20, "a small file with endless pixels"
    assert "larger than any image here" in failed(verify(submission))
    first.unlink()
    first.symlink_to("/etc/hostname")
    assert "is a link" in failed(verify(submission))
    first.unlink()
    first.write_bytes(kept)
    (submission / "images" / "more.png").write_bytes(kept)
    assert "images/more.png belongs to no row" in failed(verify(submission))
    (submission / "images" / "more.png").unlink()
    assert verify(submission).passed


def test_images_swapped_with_their_hashes_fall_when_judged_again(
    submission: Path, runs: list[str]
) -> None:
    frame = Store(submission).load_rows(runs[0])
    right, wrong = (
        frame[frame["action_correct"] == value]["image"].iloc[0] for value in (True, False)
    )
    first, second = submission / right, submission / wrong
    one, two = first.read_bytes(), second.read_bytes()
    first.write_bytes(two)
    second.write_bytes(one)

    def sign(facts: dict[str, Any]) -> None:
        for row in facts["rows"]:
            if row["run"] == runs[0]:
                for path in (right, wrong):
                    row["images"]["sha256"][path] = pixels_sha256(read_image(submission / path))

    rewrite(submission, sign)
    assert failed(verify(submission, sample=12)).startswith("judged again:")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: f.update(format=2), "of format 2, of a newer version"),
        (lambda f: f.update(format=0), "of format 0, of an older version"),
        (lambda f: f.pop("judge"), "must contain"),
        (lambda f: f["rows"][0].update(run="../../etc"), "rows[0].run must match pattern"),
        (lambda f: f["rows"][0]["images"]["sha256"].update({"images/../x.png": "0" * 64}),
         "must be named by propertyName definition"),
        (lambda f: f["rows"].append(f["rows"][0]), "names a run twice"),
        (lambda f: f["rows"].pop(), "is not in submission.json"),
        (lambda f: f["judge"].update(fingerprint="other"), "has the judge"),
        (lambda f: f["rows"][0].update(seed=5), "with seed 5"),
    ],
)  # fmt: skip
def test_claims_that_do_not_hold(
    submission: Path, change: Callable[[dict[str, Any]], None], message: str
) -> None:
    rewrite(submission, change)
    assert message in failed(verify(submission))


def test_files_that_are_missing_or_no_json(
    submission: Path, runs: list[str], typed: Callable[..., Done]
) -> None:
    text = (submission / MARK).read_text()
    for content in ("", "[" * 100_000, "[]", "null"):
        (submission / MARK).write_text(content)
        assert failed(verify(submission)).startswith("schema: ")
    (submission / MARK).write_text(text)
    record = submission / "runs" / runs[1] / "run.json"
    record.rename(record.with_suffix(".away"))
    done = typed("verify", submission)
    assert done.returncode == 1 and f"{record} is missing" in done.stderr
    record.with_suffix(".away").rename(record)
    record.write_text(record.read_text().replace('"seed": 0', '"seed": 1'))
    assert "run.json is not the file that was submitted" in failed(verify(submission))

    def sign(facts: dict[str, Any]) -> None:
        for row in facts["rows"]:
            if row["run"] == runs[1]:
                row |= {"record_sha256": file_sha256(record), "seed": 1}

    rewrite(submission, sign)
    assert "it must be" in failed(verify(submission)), "seeds follow from the run's"


def test_fits_that_come_out_otherwise_are_refused(
    submission: Path, runs: list[str], tiny_model: Path
) -> None:
    """The images of a row are changed with all that goes with them but the judge's answers."""
    plain = next(run_id for run_id in runs if run_id.startswith("plain"))
    store = Store(submission)
    frame = store.load_rows(plain)
    for file in frame["image"]:
        image = read_image(submission / file)
        image.putpixel((0, 0), (1, 2, 3))
        image.save(submission / file)

    def sign(facts: dict[str, Any]) -> None:
        for row in facts["rows"]:
            for file in row["images"]["sha256"]:
                row["images"]["sha256"][file] = pixels_sha256(read_image(submission / file))

    rewrite(submission, sign)
    # Not judged again, so that only making them again can find it; the verdicts still agree.
    again: dict[str, Any] = {"sample": 0, "redo": 2, "model": str(tiny_model), "device": "cpu"}
    found = verify(submission, **again)
    assert found.passed and "0 of 12 images are equal" in found.checks[-1].detail

    def flip(frame: pd.DataFrame) -> pd.DataFrame:
        other = ~frame["action_correct"]
        return frame.assign(action_correct=other, total_correct=other & frame["subject_correct"])

    edit_verdicts(submission, plain, flip)
    message = failed(verify(submission, **again))
    assert "at least 90% must agree" in message


def test_another_model_suite_or_judge_is_named(
    submission: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from actionbench.plugins.tiny import tiny_pipeline
    from tests.helpers import small_run

    other = tiny_pipeline(tmp_path / "other", seed=5)
    message = failed(verify(submission, redo=1, model=str(other), device="cpu"))
    assert "do not follow from its settings, model and data here" in message
    monkeypatch.setattr(small_run.Brightness, "rule", "2")
    assert "brightness judge is another one here (2)" in failed(verify(submission))


def test_historic_submissions_are_still_read() -> None:
    found = verify(HISTORIC, sample=12)
    assert found.passed, found.checks
    assert set(found.levels.values()) == {"re-judged"}


def test_the_documented_schema_is_the_shipped_one() -> None:
    page = (Path(__file__).parents[2] / "docs" / "submissions.md").read_text("utf-8")
    for name in schema()["properties"]:
        assert f"`{name}`" in page
    for name in schema()["properties"]["rows"]["items"]["properties"]:
        assert f"`{name}`" in page
