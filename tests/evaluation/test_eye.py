"""Labels by eye: the sheet, the form, and its reading."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from actionbench.errors import UserError
from actionbench.suite.items import paper_subjects
from evaluation.judges import eye
from evaluation.judges.acceptance import development, pairs_of

PAIRS = pairs_of(development(), paper_subjects(), 60)
IMAGES = np.random.default_rng(0).integers(0, 255, (60, 16, 16, 3), dtype=np.uint8)


def fill(file: Path, action: str = "yes", subject: str = "no", rows: int = 60) -> None:
    with file.open(newline="") as handle:
        table = list(csv.reader(handle))
    for row in table[1 : rows + 1]:
        row[4:] = [action, subject]
    with file.open("w", newline="") as handle:
        csv.writer(handle).writerows(table)


def test_pictures_are_picked_by_chance_once(tmp_path: Path) -> None:
    assert len(eye.chosen(800)) == 200 and len(set(eye.chosen(800))) == 200
    assert np.array_equal(eye.chosen(800), eye.chosen(800))
    assert eye.chosen(30).tolist() == list(range(30))


def test_sheets_show_every_picture_and_no_verdict(tmp_path: Path) -> None:
    pages = eye.write_sheets(IMAGES, PAIRS, tmp_path / "labels")
    assert [page.name for page in pages] == ["page-1.png", "page-2.png"]
    sizes = [Image.open(page).size for page in pages]
    assert sizes[0][0] == sizes[1][0] and sizes[0][1] == 5 * sizes[1][1]


def test_a_form_is_filled_and_read(tmp_path: Path) -> None:
    file = eye.write_form(IMAGES, PAIRS, tmp_path / "labels.csv")
    assert eye.read_form(file) is None
    fill(file, " Yes ")
    labels = eye.read_form(file)
    assert labels is not None and labels[0].all() and not labels[1].any() and len(labels[0]) == 60
    filled = file.read_text()
    eye.write_form(IMAGES, PAIRS, file)
    assert file.read_text() == filled, "what was filled in stays"


def test_labels_of_other_pictures_are_not_overwritten(tmp_path: Path) -> None:
    file = eye.write_form(IMAGES, PAIRS, tmp_path / "labels.csv")
    eye.write_form(IMAGES[::-1], PAIRS, file)
    fill(file)
    with pytest.raises(UserError, match="holds labels of other pictures"):
        eye.write_form(IMAGES, PAIRS, file)


@pytest.mark.parametrize(
    ("given", "rows", "message"),
    [("maybe", 60, "line 2: shows_action 'maybe' is neither"), ("no", 40, "40 labels are missing")],
)
def test_a_form_that_is_not_right_is_refused(
    tmp_path: Path, given: str, rows: int, message: str
) -> None:
    file = eye.write_form(IMAGES, PAIRS, tmp_path / "labels.csv")
    fill(file, given, rows=rows)
    with pytest.raises(UserError, match=message):
        eye.read_form(file)
    file.write_text("a,b\n1,2\n")
    with pytest.raises(UserError, match="has other columns"):
        eye.read_form(file)
