"""The labels file: plan, answers, raters at once, kills, full disks, CSV, and what is refused."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from actionbench.errors import Problems, UserError
from actionbench.runs.store import Store
from evaluation.people import labels as labels_module
from evaluation.people.gold import EVERY, TRAINING
from evaluation.people.labels import Labels
from evaluation.people.plan import allocate, choose_images
from evaluation.people.study import Study, StudyOptions, begin_study
from evaluation.people.verdicts import counted, majority, sessions
from tests.helpers.labelled import drawn_runs
from tests.helpers.verdicts import make_verdicts


@pytest.fixture(scope="module")
def planned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A runs folder with two rows and a study of all their images."""
    folder = tmp_path_factory.mktemp("labels")
    ids = drawn_runs(folder / "runs", ("adi", "drawn"))
    begin_study(Store(folder / "runs"), ids, folder / "runs" / "labels.sqlite", StudyOptions(90))
    return folder


@pytest.fixture
def study(planned: Path, tmp_path: Path) -> Study:
    shutil.copytree(planned / "runs", tmp_path / "runs")
    return Study(Labels(tmp_path / "runs" / "labels.sqlite"), Store(tmp_path / "runs"))


def say(study: Study, rater: str, item: int, action: str = "yes", subject: str = "yes") -> None:
    sha = study.labels.item(item).sha
    study.labels.answer(rater, item, action=action, subject=subject, sha=sha, seconds=4.2)


def test_rows_share_the_budget_and_strata_have_known_probabilities() -> None:
    rng = np.random.default_rng(0)
    right = rng.random((8, 23, 2)) < 0.3
    verdicts = {
        name: make_verdicts(lambda a, s, i: (bool(right[a, s, i]), s != 5), method=name)
        for name in ("one", "two", "three")
    }
    chosen = choose_images(verdicts, 301)
    rows = pd.DataFrame([vars(choice) for choice in chosen])
    assert sorted(rows.groupby("run").size()) == [100, 100, 101]
    assert (rows["raters"] == 3).sum() == 31  # a tenth, and never less
    assert not rows.duplicated(["run", "position"]).any()
    for run, own in rows.groupby("run"):
        # The weights of a stratum's labels stand for all its images, those of a row for the row.
        assert (1 / own["probability"]).sum() == pytest.approx(368)
        cells = {cell.removeprefix(f"{run}: ") for cell in own["stratum"]}
        assert cells == {"both", "action", "subject", "neither"}
        assert own.groupby("stratum").size().min() >= 4
        actions = verdicts[str(run)]["action"].iloc[own["position"]]
        assert actions.value_counts().min() >= 8  # of 46 images a fit, at 100 of 368
    assert chosen == choose_images(verdicts, 301)
    assert chosen != choose_images(verdicts, 301, seed=1)
    # The order is of all rows together.
    assert rows["run"][:30].nunique() == 3


def test_each_image_of_a_stratum_is_as_likely() -> None:
    right = np.random.default_rng(1).random((8, 6, 1)) < 0.4
    verdicts = {"one": make_verdicts(lambda a, s, i: (bool(right[a, s, i]), True), subjects=6,
                                     images_per_pair=1)}  # fmt: skip
    taken = np.zeros(48)
    for seed in range(150):
        for choice in choose_images(verdicts, 40, seed=seed):
            taken[choice.position] += 1
    expected = {c.stratum: c.probability for c in choose_images(verdicts, 40)}
    yes = right.reshape(-1)
    for cell, own in (("one: both", yes), ("one: subject", ~yes)):
        assert taken[own] / 150 == pytest.approx(expected[cell], abs=0.13)


@pytest.mark.parametrize(
    ("sizes", "count", "expected"),
    [
        ([100, 100], 50, [25, 25]),
        ([360, 8], 40, [36, 4]),
        ([366, 2], 40, [38, 2]),
        ([10, 10, 10], 30, [10, 10, 10]),
        ([300, 60, 5, 3], 100, [78, 15, 4, 3]),
    ],
)
def test_strata_get_their_share_and_a_few_at_least(
    sizes: list[int], count: int, expected: list[int]
) -> None:
    given = allocate(np.array(sizes), count)
    assert given.sum() == count and (given <= sizes).all()
    assert list(given) == pytest.approx(expected, abs=1)


def test_a_budget_that_leaves_a_row_too_few_says_what_is_needed() -> None:
    rows = {f"r{n}": make_verdicts(lambda *_: (True, True)) for n in range(8)}
    with pytest.raises(UserError, match=r"300 images over 8 rows are 37 each.*--budget 320"):
        choose_images(rows, 300)
    with pytest.raises(UserError, match="39 images over 1 row are 39 each"):
        choose_images({"r0": rows["r0"]}, 39)
    short = {"few": make_verdicts(lambda *_: (True, True), subjects=4, images_per_pair=1)}
    with pytest.raises(UserError, match="run few has 32 images"):
        choose_images(short, 40)


def test_training_comes_first_and_gold_is_mixed_in(study: Study) -> None:
    kinds = []
    for _ in range(TRAINING + 3 * EVERY):
        item = study.next_item("ann")
        assert item is not None
        kinds.append(item.kind)
        say(study, "ann", item.id)
    assert kinds[:TRAINING] == ["training"] * TRAINING
    rest = kinds[TRAINING:]
    assert "training" not in rest and rest.count("gold") == 3
    truths = [item.action_truth for item in study.labels.items("gold")]
    assert truths.count(False) in (len(truths) // 2, -(-len(truths) // 2))


def test_images_go_to_as_many_raters_as_planned(study: Study) -> None:
    for rater in ("ann", "ben", "cleo"):
        for item in study.packet(rater, None):
            if item.kind == "image":
                say(study, rater, item.id)
    images = study.labels.items("image")
    given = pd.Series([label.item for label in study.labels.labels()]).value_counts()
    assert {item.id: int(given[item.id]) for item in images} == {i.id: i.raters for i in images}
    assert sum(item.raters == 3 for item in images) == 9
    assert study.packet("dora", None)[TRAINING:] == []


def test_two_raters_at_once_get_different_images(study: Study) -> None:
    singles = {item.id for item in study.labels.items("image") if item.raters == 1}

    def work(rater: str) -> list[int]:
        seen = []
        for _ in range(30):
            (item,) = study.labels.claim(rater)
            say(study, rater, item.id)
            seen.append(item.id)
        return seen

    with ThreadPoolExecutor(2) as pool:
        ann, ben = pool.map(work, ("ann", "ben"))
    assert not set(ann) & set(ben) & singles
    assert len(study.labels.labels()) == 60


def test_an_answer_is_kept_once_and_changed_only_by_undo(study: Study) -> None:
    say(study, "ann", 5)
    say(study, "ann", 5)  # sent again, after a reply that was lost
    assert len(study.labels.labels()) == 1
    with pytest.raises(UserError, match="ann has answered item 5 already"):
        say(study, "ann", 5, "no")
    undone = study.labels.undo("ann")
    assert undone is not None and undone.item == 5
    assert study.labels.undo("ann") is None
    say(study, "ann", 5, "no")
    assert [label.action for label in study.labels.labels()] == ["no"]
    with sqlite3.connect(study.labels.path) as base:  # nothing is deleted
        assert base.execute("SELECT count(*) FROM labels").fetchone() == (2,)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"number": 9999}, "no item 9999"),
        ({"sha": "other"}, "another picture"),
        ({"action": "maybe"}, "'maybe' is no answer"),
        ({"questions": "0"}, "questions 0"),
    ],
)
def test_what_is_no_answer_is_refused(
    study: Study, change: dict[str, object], message: str
) -> None:
    values = {"number": 5, "sha": study.labels.item(5).sha, "action": "yes", **change}
    with pytest.raises(UserError, match=message):
        study.labels.answer("ann", subject="no", seconds=1.0, **values)  # type: ignore[arg-type]
    assert study.labels.labels() == []


WRITER = """
import sys
from pathlib import Path
from evaluation.people.labels import Labels
labels = Labels(Path(sys.argv[1]))
for item in labels.items("image"):
    labels.answer("ann", item.id, action="yes", subject="no", sha=item.sha, seconds=1)
    print(item.id, flush=True)
"""


def test_a_kill_loses_no_answer_that_was_acknowledged(study: Study) -> None:
    root = str(Path(__file__).resolve().parents[3])
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(study.labels.path)],
        stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": root},
    )  # fmt: skip
    assert process.stdout is not None
    said = [process.stdout.readline() for _ in range(7)]
    process.send_signal(signal.SIGKILL)
    said += process.stdout.readlines()
    process.wait()
    kept = [label.item for label in study.labels.labels()]
    # The last one may have been saved without a word.
    assert kept[: len(said)] == [int(line) for line in said]
    assert len(kept) <= len(said) + 1
    say(study, "ben", 5)


def test_a_full_disk_is_reported_and_costs_nothing_else(
    study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    say(study, "ann", 5)
    connect = sqlite3.connect

    def full(*arguments: object, **options: object) -> sqlite3.Connection:
        base = connect(*arguments, **options)  # type: ignore[call-overload]
        pages = base.execute("PRAGMA page_count").fetchone()[0]
        base.execute(f"PRAGMA max_page_count = {pages}")
        return base  # type: ignore[no-any-return]

    monkeypatch.setattr(labels_module.sqlite3, "connect", full)
    with pytest.raises(UserError, match=r"the disk is full: free some space and answer again"):
        for item in study.labels.items("image"):
            study.labels.answer("ben", item.id, action="no", subject="no", sha=item.sha,
                                seconds=1, comment="c" * 2000)  # fmt: skip
    monkeypatch.undo()
    kept = study.labels.labels()
    assert kept[0].item == 5 and {label.rater for label in kept} == {"ann", "ben"}
    open_ = next(i for i in study.labels.items("image") if i.id not in {k.item for k in kept})
    say(study, "ben", open_.id)
    assert len(study.labels.labels()) == len(kept) + 1


def test_export_and_import_give_the_same_labels(
    study: Study, planned: Path, tmp_path: Path
) -> None:
    for item in study.labels.items("image")[:5]:
        study.labels.answer("Änn, \"A\"", item.id, action="yes", subject="unsure", sha=item.sha,
                            seconds=2, comment="=1+1\nsecond line, \"quoted\"")  # fmt: skip
    text = study.labels.export()
    shutil.copy(planned / "runs" / "labels.sqlite", tmp_path / "other.sqlite")
    other = Labels(tmp_path / "other.sqlite")
    assert other.import_csv(text, "x.csv") == (5, 0)
    assert other.import_csv("\ufeff" + text.replace("\n", "\r\n"), "x.csv")[0] == 0
    mine, theirs = study.labels.labels(), other.labels()
    assert [vars(a) for a in mine] == [vars(b) for b in theirs]


def test_an_import_is_all_or_nothing(study: Study) -> None:
    say(study, "ann", 5)
    lines = study.labels.export().splitlines()
    good = lines[1].replace("ann", "ben")
    sha = study.labels.item(5).sha
    bad = [
        lines[1].replace("5,", "9999,", 1),
        lines[1].replace(sha, "f" * 32),
        lines[1].replace("yes,yes", "no,yes"),
        lines[1].replace("yes,yes", "perhaps,yes"),
        "5," + sha,
    ]
    with pytest.raises(Problems) as problems:
        study.labels.import_csv("\n".join([lines[0], good, *bad]), "mail.csv")
    assert [line.split(":")[0] for line in problems.value.lines] == [
        f"line {number}" for number in range(3, 8)
    ]
    for part in ("not of this study", "another picture", "otherwise before", "no answer"):
        assert part in str(problems.value)
    assert len(study.labels.labels()) == 1
    with pytest.raises(UserError, match="is no export of labels"):
        study.labels.import_csv("a,b\n1,2\n", "x.csv")
    assert study.labels.import_csv("\n".join([lines[0], good, lines[1]]), "x.csv") == (1, 1)


def test_other_files_are_refused(study: Study, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no labels at .*labels plan"):
        Labels(tmp_path / "none.sqlite")
    (tmp_path / "text.sqlite").write_text("no database at all, but long enough to be one" * 50)
    with pytest.raises(UserError, match="is no labels file, or damaged"):
        Labels(tmp_path / "text.sqlite")
    with sqlite3.connect(tmp_path / "foreign.sqlite") as base:
        base.execute("CREATE TABLE other (x)")
    with pytest.raises(UserError, match="is no labels file"):
        Labels(tmp_path / "foreign.sqlite")
    with sqlite3.connect(study.labels.path) as base:
        base.execute("UPDATE meta SET value = '9' WHERE key = 'format'")
    with pytest.raises(UserError, match="is of format 9, this version reads 1"):
        Labels(study.labels.path)


def test_an_image_that_has_changed_is_not_asked_about(study: Study) -> None:
    first = study.labels.items("image")[0]
    path = study.store.root / str(first.image)
    Image.new("RGB", (32, 32), "red").save(path)
    ((number, problem),) = study.damaged()
    assert number == first.id and "has changed since the study began" in problem
    asked = study.packet("ann", None, passed={number})
    assert first.id not in {item.id for item in asked}


def test_a_study_is_of_one_suite_and_of_different_images(study: Study, tmp_path: Path) -> None:
    runs = [str(run) for run in study.labels.meta()["runs"]]
    with pytest.raises(UserError, match="exists: go on with it"):
        begin_study(study.store, runs, study.labels.path)
    with pytest.raises(UserError, match="are of the same images"):
        begin_study(study.store, [runs[0], _again(study, runs[0])], tmp_path / "l.sqlite")


def _again(study: Study, run: str) -> str:
    """The same images as another run, as `judges run` makes them."""
    record = study.store.read_record(run)
    rows = study.store.load_row_dicts(run)
    record.id = "again-00000001"
    study.store.save_rows(record.id, rows)
    study.store.save_record(record)
    return record.id


def test_the_majority_and_the_split(study: Study) -> None:
    first, second, third = [i.id for i in study.labels.items("image") if i.raters == 3][:3]
    for rater, answers in {"a": "yyn", "b": "ynu", "c": "nyu"}.items():
        for item, answer in zip((first, second, third), answers, strict=True):
            say(study, rater, item, {"y": "yes", "n": "no", "u": "unsure"}[answer])
    found = majority(counted(study.labels.frame())).set_index("item")
    assert list(found.loc[[first, second, third], "action_correct"]) == [True, True, False]
    assert list(found.loc[[first, second, third], "action_split"]) == [True, True, True]
    assert list(found.loc[[first, second, third], "action_unsure"]) == [False, False, True]
    assert found["subject_correct"].all() and not found["subject_split"].any()
    # One yes and one no are no majority.
    for _ in range(3):
        study.labels.undo("c")
    found = majority(counted(study.labels.frame())).set_index("item")
    assert list(found.loc[[first, second], "action_correct"]) == [True, False]


def test_a_rater_who_answers_all_yes_is_excluded_by_gold(
    study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    for item in study.labels.items("gold")[:8]:
        say(study, "yea", item.id)
        truth = (item.action_truth, item.subject_truth)
        say(study, "ann", item.id, *("yes" if t else "no" for t in truth))
    image = study.labels.items("image")[0]
    say(study, "yea", image.id)
    say(study, "ann", image.id, "no")
    judged = {session.rater: session for session in sessions(study.labels.frame())}
    assert judged["yea"].excluded and judged["yea"].reason == "8 of 16 gold answers wrong"
    assert judged["yea"].yes == 1
    assert not judged["ann"].excluded and judged["ann"].checked
    found = majority(counted(study.labels.frame()))
    assert len(found) == 1 and not found["action_correct"].iloc[0]
    # The image that only the excluded rater answered is open again, once ann lets it go.
    study.labels.undo("ann")
    assert image.id not in {item.id for item in study.labels.claim("ben", count=999)}
    monkeypatch.setattr(labels_module.time, "time", lambda: 4e9)
    out = [judged["yea"].id]
    open_ = {item.id for item in study.labels.claim("ben", excluded=out, count=999)}
    assert image.id in open_
