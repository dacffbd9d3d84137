"""The acceptance table, on tiny readers and a tiny pipeline of the real classes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from actionbench.errors import UserError
from actionbench.puppets.actions import APART, bone_angles, distance, fresh_actions
from actionbench.puppets.poses import solve
from actionbench.suite.items import Sampling, paper_subjects
from evaluation.judges import acceptance
from evaluation.judges.acceptance import (
    Answers,
    DrawingJudge,
    Painter,
    Scores,
    action_rows,
    balanced,
    base_rows,
    development,
    difference,
    exemplars,
    main,
    near_pose,
    pairs_of,
    row,
    subject_rows,
    text_rows,
    threshold_of,
    trial,
    write,
)
from tests.evaluation.test_pose_judge import tiny_subjects
from tests.helpers.tiny_judges import tiny_vitpose


@pytest.fixture(scope="module")
def readers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("readers")
    tiny_vitpose(folder / "keypoints")
    tiny_subjects(folder / "subjects")
    return folder


@pytest.fixture(scope="module")
def judge(readers: Path) -> DrawingJudge:
    return DrawingJudge.load(
        pose_model=str(readers / "keypoints"),
        subjects=str(readers / "subjects"),
        min_visible=0.0,
        action_threshold=0.5,
    )


def test_a_row_passes_within_its_limits() -> None:
    right = [True] * 9 + [False]
    assert row("a", "", right).passed is None
    assert row("a", "", right, at_least=0.9).passed is True
    assert row("a", "", right, at_least=0.8, at_most=0.85).passed is False
    assert row("a", "", [], at_least=0.5).n == 0
    error = balanced("a", "", np.array([True, False]), np.array([False] * 8), 0.3)
    assert (error.share, error.n, error.passed) == (0.25, 10, True)
    assert error.low < 0.25 < error.high


def test_two_shares_on_the_same_noise_are_compared_in_pairs() -> None:
    one = np.array([True] * 50 + [False] * 50)
    two = one.copy()
    two[:2] = False
    found = difference("a", one, two, 0.05)
    assert found.share == pytest.approx(0.02) and found.low == 0 and found.high < 0.06
    assert found.passed and found.what == "50.0% bare, 48.0% framed"


def test_a_near_pose_is_another_action_by_the_generators_measure() -> None:
    rng = np.random.default_rng(0)
    pose = fresh_actions(1, acceptance.PRACTICE)[0].pose
    angles = [
        bone_angles(solve(p, 0.8, 1.0, 0.5, 0.92))
        for p in (pose, *(near_pose(pose, rng) for _ in range(40)))
    ]
    off = distance(angles[0], np.stack(angles[1:]))
    assert (off >= APART - 0.1).all() and (off <= 1.4 * APART + 0.1).all()


def test_the_threshold_balances_misses_with_near_poses_and_others() -> None:
    scores = Scores(
        own=np.array([0.95, 0.97, 0.99]),
        near=np.array([0.7, 0.85]),
        confused=np.full((3, 2), 0.2),
        other=np.full((3, 3), 0.1),
        pixels=1.0,
        found=1.0,
    )
    assert threshold_of([scores]) == pytest.approx(0.9)


def test_the_judges_rows_by_exact_keypoints(judge: DrawingJudge, monkeypatch) -> None:
    """With the true keypoints no action is missed and none is taken for another."""
    rng = np.random.default_rng(0)
    fresh = fresh_actions(3, acceptance.PRACTICE)
    held = [a.drawn(rng) for a in fresh for _ in range(4)]
    references = list(exemplars(held, rng).reshape(3, 4, 18, 3))
    made = trial(references, lambda n: fresh[n].drawn(rng), 3, 2, rng)
    rows = action_rows(judge, made)
    assert {r.name.split(", ")[-1] for r in rows} == {"plain", "degraded"}
    assert [r.passed for r in rows if r.at_most] in ([True], [False])
    monkeypatch.setattr(
        DrawingJudge,
        "bodies",
        lambda _, images: list(made.points) if images is made.own[0] else [None] * len(images),
    )
    monkeypatch.setattr(acceptance, "manners", lambda vae: {"plain": lambda images: images})
    judge.threshold = 0.93
    exact = {r.name: r for r in action_rows(judge, made)}
    assert exact["judge, action, plain"].share == 0 and exact["judge, action, plain"].passed
    assert exact["judge, keypoints visible, plain"].what == "mean error 0.00 of 64 pixels"


def test_the_subjects_rows_are_by_group(judge: DrawingJudge) -> None:
    rows = subject_rows(judge, 12)
    whole, *groups = [r for r in rows if ", plain" in r.name and "legs" not in r.name]
    assert whole.n == sum(r.n for r in groups) == 12 and whole.at_least == 0.97


def test_pairs_are_whole_rounds_first() -> None:
    pairs = pairs_of(development(), paper_subjects(), 300)
    assert len(pairs) == 300 and len(set(pairs[:276])) == 276


def test_lost_subjects_are_told_apart_from_blurs() -> None:
    pairs = pairs_of(development(), paper_subjects(), 10)
    names = [subject.name for _, subject in pairs]
    seen = ["none", "none", *names[2:]]
    answers = Answers(
        pairs, np.ones(10, bool), seen, np.array([0.9] + [0.3] * 9), np.array([True] * 10)
    )
    rows = {r.name: r for r in text_rows("x", answers, {"subject": (0.7, 0.9)})}
    assert rows["text alone, subject, x"].share == 0.8 and rows["text alone, subject, x"].passed
    lost = rows["text alone, lost subjects seen as somebody, x"]
    assert (lost.n, lost.share, lost.passed) == (2, 0.5, False)
    assert rows["text alone, lost subjects' keypoints, x"].share == 1


def test_the_base_models_rows_and_their_sheets(judge: DrawingJudge, tiny, tmp_path: Path) -> None:
    painter = Painter(tiny, sampling=Sampling(steps=1, guidance_scale=1.0))
    rows = base_rows(judge, painter, n=4)
    assert {r.name for r in rows} >= {
        "text alone, action, development", "text alone, subject, the eight, animals",
        '"a photo of" against bare, subject', "base, subject", "base, pose",
        "base, free pose, people", "base, free pose, animals",
    }  # fmt: skip
    sheets = {name: np.repeat(images, 6, axis=0) for name, images in painter.sheets.items()}
    file = write(rows, tmp_path / "out", sheets, model="tiny")
    facts = json.loads(file.read_text())
    assert facts["model"] == "tiny" and len(facts["gates"]) == len(rows)
    assert {p.stem for p in file.parent.glob("*.png")} == {
        "text-alone", "a-photo-of", "the-eight-by-text-alone", "known-poses",
        "free-poses-people", "free-poses-animals",
    }  # fmt: skip


def test_the_command_tells_what_it_cannot_load(tmp_path: Path, capsys) -> None:
    words = ["--readers", str(tmp_path), "--out", str(tmp_path / "out")]
    assert main(words) == 2
    assert "holds no reader of subjects" in capsys.readouterr().err
    with pytest.raises(UserError):
        DrawingJudge.load(subjects=str(tmp_path))
