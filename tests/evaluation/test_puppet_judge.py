"""The first world's judge and base model, as they are shipped."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from actionbench.diffusion.backbone import Backbone
from actionbench.files.models import resolve_model
from actionbench.puppets.corpus import draw_many
from actionbench.suite.items import NONE, Item, paper_actions, paper_subjects
from actionbench.suite.shipped import JUDGE
from actionbench.suite.suite import get_suite
from evaluation.judges.puppet import PuppetJudge, Reader

SUITE = get_suite("puppets")


@pytest.fixture(scope="module")
def drawings() -> tuple[np.ndarray, list[dict[str, str]]]:
    images, _, rows = draw_many("judging", (123_456,), 300)
    return images, rows


def test_the_judge_reads_fresh_drawings(drawings) -> None:
    images, rows = drawings
    reader = Reader.load(JUDGE, "cpu")
    poses, subjects = reader.read_pixels(images)
    named = [i for i, row in enumerate(rows) if row["pose"] in {a.name for a in SUITE.actions}]
    right = [reader.poses[poses[i].argmax()] == rows[i]["pose"] for i in named]
    assert np.mean(right) > 0.93
    who = [reader.subjects[s.argmax()] == row["subject"] for s, row in zip(subjects, rows)]
    assert np.mean(who) > 0.93


def test_verdicts_do_not_depend_on_the_batch_nor_on_the_size(drawings) -> None:
    pictures = [Image.fromarray(pixels) for pixels in drawings[0][:7]]
    items = [Item(paper_actions()[i], paper_subjects()[i], 0) for i in range(7)]
    judge = PuppetJudge(SUITE)
    together = judge.judge(pictures, items)
    alone = [judge.judge([p], [i])[0] for p, i in zip(pictures, items)]
    large = judge.judge([p.resize((512, 512), Image.Resampling.NEAREST) for p in pictures], items)
    for a, b, c in zip(together, alone, large):
        assert (a.action_seen, a.subject_seen) == (b.action_seen, b.subject_seen)
        assert math.isclose(a.action_score, b.action_score, abs_tol=1e-4)
        assert math.isclose(a.subject_score, c.subject_score, abs_tol=1e-4)


def test_what_is_not_of_the_suite_is_none(drawings) -> None:
    images, rows = drawings
    kicks = [Image.fromarray(images[i]) for i, r in enumerate(rows) if r["pose"] == "kick"]
    item = Item(paper_actions()[0], paper_subjects()[0], 0)
    seen = [v.action_seen for v in PuppetJudge(SUITE).judge(kicks, [item] * len(kicks))]
    assert seen.count(NONE) >= 0.9 * len(seen) > 0
    kick = get_suite("puppets-dev").actions[1]
    other = PuppetJudge(get_suite("puppets-dev"))
    again = other.judge(kicks, [Item(kick, paper_subjects()[0], 0)] * len(kicks))
    assert np.mean([v.action_correct for v in again]) > 0.9


def test_the_shipped_base_model_draws_known_subjects_in_known_poses() -> None:
    backbone = Backbone.load(resolve_model(SUITE.model))
    backbone.sampling = SUITE.sampling
    assert len(backbone.layers) == 16
    assert backbone.preset == "puppet-diffusion"
    subjects = paper_subjects()
    images = backbone.generate([f"{s.phrase} waves" for s in subjects], list(range(len(subjects))))
    reader = Reader.load(JUDGE, "cpu")
    poses, who = reader.read(list(images))
    right = [reader.subjects[w.argmax()] == s.name for w, s in zip(who, subjects)]
    assert np.mean(right) >= 0.9
    assert np.mean([reader.poses[p.argmax()] == "wave" for p in poses]) >= 0.75


def test_the_shipped_weights_are_safetensors_of_half_precision_and_small() -> None:
    root = Path(SUITE.model).parent
    files = [p for p in root.rglob("*") if p.is_file()]
    assert sum(p.stat().st_size for p in files) < 40e6
    weights = [p for p in files if p.stat().st_size > 300_000 and p.suffix != ".png"]
    assert weights and all(p.suffix == ".safetensors" for p in weights)
