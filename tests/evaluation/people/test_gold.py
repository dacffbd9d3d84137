"""Pictures with known answers: drawn for drawn suites, exemplars for photographs."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from actionbench.errors import UserError
from actionbench.puppets.drawing.holding import packed, ways
from actionbench.suite.items import ActionTask
from actionbench.suite.suite import Suite, get_suite
from evaluation.people.gold import gold_pictures
from evaluation.people.labels import pixels_hash
from tests.helpers.small_run import small_suite


def _drawn() -> Suite:
    """A suite with the poses of drawn ones, without the exemplars that these draw on first use."""
    suite = dataclasses.replace(get_suite("puppets"), exemplar_file=Path("none.parquet"))
    suite.__dict__["tasks"] = {
        action.name: ActionTask(action, (), "", poses=tuple(map(packed, ways(action.name))))
        for action in suite.actions
    }
    return suite


@pytest.mark.parametrize("name", ["puppets", "drawn"])
def test_drawings_are_right_and_wrong_by_halves(name: str) -> None:
    suite = get_suite("puppets") if name == "puppets" else _drawn()
    gold = gold_pictures(suite, 8, 32, seed=0)
    truths = [(one.action_truth, one.subject_truth) for one in gold]
    assert truths == 2 * [(True, True), (False, True), (True, False), (False, False)]
    assert {one.picture.size for one in gold} == {(32, 32)}
    hashes = [pixels_hash(one.picture) for one in gold]
    assert hashes == [pixels_hash(one.picture) for one in gold_pictures(suite, 8, 32, seed=0)]
    assert len(set(hashes)) == 8


def test_photographs_are_asked_about_their_own_and_another_action(tmp_path: Path) -> None:
    suite = small_suite(tmp_path)
    gold = gold_pictures(suite, 4, 32, seed=0)
    assert [one.action_truth for one in gold] == [True, False, True, False]
    assert {one.subject_truth for one in gold} == {None}  # it has no animals
    for one in gold:
        own = {pixels_hash(e.image) for e in suite.tasks[one.action.name].exemplars}
        if one.action_truth:
            assert pixels_hash(one.picture) in own
    with pytest.raises(UserError, match="has one action"):
        gold_pictures(dataclasses.replace(suite, actions=suite.actions[:1]), 4, 32, seed=0)
