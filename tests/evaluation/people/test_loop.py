"""The whole loop by commands, with a simulated rater, on rows whose truth is known."""

from __future__ import annotations

import csv
import json
import math
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from actionbench.errors import UserError
from actionbench.runs.store import Store, read_image
from actionbench.suite.items import Item
from actionbench.suite.suite import get_suite
from evaluation.judges.human import HumanJudge, HumanSettings
from evaluation.measures.accuracy import Share, wilson
from evaluation.measures.comparison import holm
from evaluation.people.budget import expect
from evaluation.people.calibrated import Error, corrected_share, read_calibration
from evaluation.people.estimates import Figure
from evaluation.people.study import StudyOptions, begin_study
from tests.helpers.labelled import drawn_runs
from tests.helpers.verdicts import make_verdicts


def _item(action: str, subject: str) -> Item:
    suite = get_suite("puppets")
    return Item(suite.pick_actions([action])[0], suite.pick_subjects([subject])[0], 0)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("loop")
    drawn_runs(folder / "runs", ("drawn", "other-action", "adi"))
    return folder


def test_from_runs_to_a_corrected_board(
    drawn: Path, tmp_path: Path, typed: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The judge calls a tenth of `other-action` right; labels with 2% errors say it is not."""
    shutil.copytree(drawn / "runs", tmp_path / "runs")
    monkeypatch.chdir(tmp_path)
    done = typed("labels", "plan", "drawn-", "other-action-", "adi-", "--budget", "144")
    assert done.returncode == 0, done.stderr
    assert "planned 144 images of 3 rows" in done.stdout and "15 of them are for" in done.stdout
    assert "What labels buy" in done.stdout
    for number, rater in enumerate(("ann", "ben", "cleo")):
        done = typed("labels", "simulate", "--rater", rater, "--error", "0.02", "--seed", number)
        assert done.returncode == 0 and "they are not people's" in done.stdout
    done = typed("labels", "status")
    assert "144 of 144 images have answers" in done.stdout
    assert "ann (simulated)" in done.stdout and "Krippendorff's alpha" in done.stdout
    done = typed("labels", "card")
    card = Path("runs/labels.md").read_text()
    assert done.returncode == 0 and card.count("TO FILL IN") == 8
    assert "\\" not in card, "its own words hold nothing that Markdown reads as its own"
    assert "Simulated: a program answered" in card and "Otani" in card

    done = typed("report")
    assert done.returncode == 0, done.stderr
    page = Path("runs/report/index.html").read_text()
    assert page.count("People (human-v1), SIMULATED") == 1 and "Corrected: labels and" in page
    assert "SIMULATED" in done.stdout and "corrected" in done.stdout
    assert page.count("minus each other row, total accuracy by labels") == 1
    assert page.count("after Holm&#39;s correction for the number of these differences") == 1
    board = Path("runs/report/board.md").read_text()
    assert "### People (human-v1), SIMULATED" in board and "told apart" in board
    assert "after Holm's correction for the number of these differences" in board
    people = json.loads(Path("runs/report/board.json").read_text())["people"]
    pairs = people["differences"]
    assert [pair["p_holm"] for pair in pairs] == pytest.approx(
        holm([pair["p_value"] for pair in pairs]), abs=1e-5
    )
    assert len(pairs) == 3 and min(pair["p_value"] for pair in pairs) >= 0.0078
    rows = pd.DataFrame(people["rows"])
    by_row = rows.set_index(["method", "measure"])
    truth = pd.read_csv(drawn / "truth.csv")
    for method, known in (("drawn", 1.0), ("other-action", 0.0)):
        row = by_row.loc[(method, "action")]
        assert row["corrected_low"] <= known + 0.03 and row["corrected_high"] >= known - 0.03
        assert row["labels"] == 48 and row["simulated"]
        assert abs(row["people"] - known) < 0.1
    adi = truth[truth["image"].str.contains("/adi/")]["action"].mean()
    row = by_row.loc[("adi", "action")]
    assert row["corrected_low"] <= adi <= row["corrected_high"]
    assert abs(row["people"] - adi) < abs(row["judge"] - adi) + 0.05
    with Path("runs/report/tables/people.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 9

    # Every image has a label, so people can judge the rows as a judge of their own does.
    store = Store(tmp_path / "runs")
    human = HumanJudge(get_suite("puppets"))  # of runs/labels.sqlite
    rows = pd.DataFrame(store.load_row_dicts(store.find_run("drawn-")))
    pictures = [read_image(store.root / image) for image in rows["image"]]
    asked = [_item(action, subject) for action, subject in zip(rows["action"], rows["subject"])]
    verdicts = human.judge(pictures, asked)
    assert sum(v.action_correct and v.subject_correct for v in verdicts) >= 42
    assert human.suite.protocol_of("human") == "puppets-human-v1"

    done = typed("labels", "export")
    assert done.returncode == 0
    done = typed("labels", "import", "runs/labels.csv")
    assert "added 0 answers" in done.stdout
    done = typed("annotate", "--rater", "ann", "adi-", "--budget", "99")
    assert done.returncode == 2 and "was planned with 144 images" in done.stderr
    done = typed("labels", "plan", "adi-")
    assert done.returncode == 2 and "exists" in done.stderr
    done = typed("labels", "page", "--rater", "ann")
    assert done.returncode == 2 and "nothing is left" in done.stderr
    done = typed("labels", "page", "--rater", "\x1b[2J")
    assert done.returncode == 2 and "a rater's name" in done.stderr


def test_the_judge_human_needs_a_label_of_each_image(drawn: Path, tmp_path: Path) -> None:
    store = Store(drawn / "runs")
    run = store.find_run("adi-")
    labels = begin_study(store, [run], tmp_path / "l.sqlite", StudyOptions(40, gold=False))
    suite = get_suite("puppets")

    def judge() -> HumanJudge:
        return HumanJudge(suite, settings=HumanSettings(labels=str(labels.path)))

    item = labels.items("image")[0]
    empty = judge().fingerprint
    labels.answer("ann", item.id, action="yes", subject="no", sha=item.sha, seconds=1)
    one = judge()
    assert one.fingerprint != empty  # new labels make other verdicts
    asked = _item(item.action, item.subject)
    picture = read_image(store.root / str(item.image))
    (verdict,) = one.judge([picture], [asked])
    assert (verdict.action_correct, verdict.subject_correct) == (True, False)
    with pytest.raises(UserError, match=r"has no label of .*actionbench report.* corrects"):
        one.judge([picture.rotate(90)], [asked])


def test_calibration_corrects_where_nobody_labelled() -> None:
    """50 of 100 seen, by a judge that sees 90% of what is there and 10% of what is not: 50%."""
    right, false = Figure(0.9, 0.8, 0.96), Figure(0.1, 0.05, 0.2)
    error = Error("clip", "f", "s", right, false)
    share = wilson(50, 100)
    found = corrected_share(share, error)
    assert found.value == pytest.approx(0.5)
    assert found.width > share.high - share.low
    low = corrected_share(wilson(5, 100), error)
    assert low.value == 0 and low.low == 0 < low.high
    blind = Error("clip", "f", "s", Figure(0.5, 0.4, 0.6), Figure(0.45, 0.4, 0.5))
    assert corrected_share(share, blind).text() == "–"
    # Few actions: no interval of the error, or of the share, and so none from 0 to 100 either.
    few = Figure(0.9, math.nan, math.nan)
    assert corrected_share(share, replace(error, right=few)).text() == "50.0"
    assert corrected_share(Share(50, 100, math.nan, math.nan, "cannot be told"), error).text() == (
        "50.0"
    )


def test_a_calibration_is_read_and_shown(
    drawn: Path, tmp_path: Path, typed: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(drawn / "runs", tmp_path / "runs")
    monkeypatch.chdir(tmp_path)
    record = Store(tmp_path / "runs").read_record(Store(tmp_path / "runs").find_run("adi-"))
    folder = tmp_path / "calibration"
    folder.mkdir()
    facts = {
        "judge": "puppet", "judge_fingerprint": record.judge.fingerprint,
        "suite_fingerprint": record.suite_fingerprint,
        "right": {"share": 0.95, "low": 0.9, "high": 0.98},
        "false": {"share": 0.02, "low": 0.01, "high": 0.04},
    }  # fmt: skip
    (folder / "calibration.json").write_text(json.dumps(facts))
    done = typed("report", "--calibration", folder, "--html", "none")
    assert done.returncode == 0 and "calibrated" in done.stdout, done.stderr
    assert "Rogan and Gladen" in done.stdout
    with Path("runs/report/tables/people.csv").open() as file:
        listed = {row["method"]: row for row in csv.DictReader(file)}
    assert listed.keys() == {"drawn", "other-action", "adi"}
    in_json = json.loads(Path("runs/report/board.json").read_text())["people"]["rows"]
    judge = {row["method"]: row["judge"] for row in in_json}
    for row in in_json:
        own = listed[row["method"]]
        assert (row["measure"], row["labels"], row["people"]) == ("action", 0, None)
        assert (own["corrected"], own["units"]) == ("", "")
        assert float(own["calibrated"]) == row["calibrated"]
        assert row["calibrated_low"] <= row["calibrated"] <= row["calibrated_high"]
    (adi,) = [row["calibrated"] for row in in_json if row["method"] == "adi"]
    assert adi == pytest.approx((judge["adi"] - 0.02) / (0.95 - 0.02), abs=1e-5)
    facts["right"] = {"share": 0.95, "low": None, "high": None}  # fewer than six actions
    (folder / "calibration.json").write_text(json.dumps(facts))
    assert math.isnan(read_calibration(folder).right.low)
    done = typed("report", "--calibration", folder, "--html", "none")
    assert done.returncode == 0 and "calibrated" in done.stdout, done.stderr
    written = (tmp_path / "runs/report/board.json").read_text()
    assert "NaN" not in written
    assert all(row["calibrated_low"] is None for row in json.loads(written)["people"]["rows"])
    (folder / "calibration.json").write_text("{}")
    with pytest.raises(UserError, match="is no calibration"):
        read_calibration(folder)
    done = typed("report", "--calibration", tmp_path / "none", "--html", "none")
    assert done.returncode == 2 and "is missing" in done.stderr


def test_what_labels_buy_ends_at_the_floor() -> None:
    verdicts = make_verdicts(lambda a, s, i: ((a * 7 + s) % 5 < 2, True))
    found = [expect(verdicts, labels) for labels in (40, 100, 300, 368)]
    widths = [bought.corrected for bought in found]
    assert widths == sorted(widths, reverse=True)
    assert all(bought.corrected <= bought.people * 1.001 for bought in found)
    assert found[-1].these == pytest.approx(0, abs=1e-9)
    assert found[-1].corrected >= found[-1].floor > 0


def test_labels_of_a_file_that_is_named(drawn: Path, typed: Callable[..., Any]) -> None:
    done = typed("labels", "status", "--labels", drawn / "none.sqlite", "--runs", drawn / "runs")
    assert done.returncode == 2 and "labels plan" in done.stderr
    assert not (drawn / "none.sqlite").exists()
