"""The acceptance table, on tiny readers and a tiny pipeline of the real classes."""

from __future__ import annotations

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
    development,
    difference,
    exemplars,
    near_pose,
    pairs_of,
    row,
    subject_rows,
    text_rows,
    threshold_of,
    trial,
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
    assert row("a", "", []).passed is None
    assert row("a", "", [], at_most=0.5).passed is False, "nothing was measured"
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
    pose = fresh_actions(1, acceptance.PRACTICE.start)[0].pose
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
    fresh = fresh_actions(3, acceptance.PRACTICE.start)
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


def test_what_a_painter_drew_is_kept_and_not_drawn_again(
    tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(acceptance, "CHUNK", 2)
    few = Sampling(steps=1, guidance_scale=1.0)
    prompts = [f"a panda waves {n}" for n in range(5)]
    first = Painter(tiny, sampling=few, keep=tmp_path)(prompts, 7, "some")
    files = sorted(tmp_path.glob("some-*.npy"))
    assert len(files) == 3
    files[1].unlink()  # as if it was killed there
    drawn: list[str] = []
    generate = tiny.generate

    def noting(prompts: list[str], *rest: object, **more: object) -> object:
        drawn.extend(prompts)
        return generate(prompts, *rest, **more)

    monkeypatch.setattr(tiny, "generate", noting)
    again = Painter(tiny, sampling=few, keep=tmp_path)(prompts, 7, "some")
    assert np.array_equal(first, again) and drawn == prompts[2:4]
    Painter(tiny, sampling=few, keep=tmp_path)(prompts[:1], 8, "some")
    assert drawn[2:] == prompts[:1], "another seed is another picture"


def test_ceiling_and_floor_are_drawn(judge: DrawingJudge) -> None:
    rows = {r.name: r for r in acceptance.bounds(judge, 3)}
    assert set(rows) == {
        f"{method}, {kind}, development"
        for method in ("drawn", "other-action")
        for kind in ("action", "subject")
    }
    assert all(r.n == 3 and r.passed is None for r in rows.values())


def test_readers_that_are_none_are_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no reader of subjects"):
        DrawingJudge.load(subjects=str(tmp_path))
