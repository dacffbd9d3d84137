from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from actionbench.errors import UserError
from actionbench.suite.suite import get_suite
from evaluation.pictures import (
    EMPTY,
    RIGHT,
    ROW,
    STEP,
    WRONG,
    confusion_matrix_png,
    write_comparison,
    write_grid,
)
from tests.helpers.verdicts import first_actions, make_verdicts, save_run


def store_run(
    runs: Path, method: str = "adi", *, actions: int = 2, planned: int | None = None, **made: int
) -> str:
    """A run of few subjects with real PNGs: the first action is right, each image one colour."""
    verdicts = make_verdicts(first_actions([0]), method=method, actions=actions, **made)
    data = get_suite("puppets").fingerprint
    run_id = save_run(runs, verdicts, title=method, planned_actions=planned, suite_fingerprint=data)
    for place, path in enumerate(verdicts["image"]):
        (runs / path).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (64, 64), (place, 90, 200)).save(runs / path)
    return run_id


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def count(array: np.ndarray, colour: tuple[int, int, int]) -> int:
    return int((array == np.array(colour, dtype=np.uint8)).all(axis=-1).sum())


def test_grid_marks_right_and_wrong(tmp_path: Path) -> None:
    run_id = store_run(tmp_path, subjects=3)
    out = write_grid(tmp_path, run_id, tmp_path / "deep" / "grid.png")
    array = pixels(out)
    # Three right cells in the first row, three wrong ones in the second; legend and words aside.
    frame = 136**2 - 128**2
    assert 3 * frame <= count(array, RIGHT) < 3.2 * frame
    assert 3 * frame <= count(array, WRONG) < 3.6 * frame
    assert array.shape[0] == 118 + 2 * ROW + 44
    # Every first image of a prompt is shown once, none of the second ones.
    first = [count(array, (place, 90, 200)) for place in range(0, 12, 2)]
    assert first == [128**2] * 6
    assert sum(count(array, (place, 90, 200)) for place in range(1, 12, 2)) == 0


def test_grid_of_chosen_subjects_and_another_index(tmp_path: Path) -> None:
    run_id = store_run(tmp_path, subjects=8)
    whole = pixels(write_grid(tmp_path, run_id, tmp_path / "a.png"))
    some = pixels(
        write_grid(tmp_path, run_id, tmp_path / "b.png", subjects=["Girl", "boy"], index=1)
    )
    assert whole.shape[1] - 6 * STEP <= max(some.shape[1], 900)
    assert count(some, (1, 90, 200)) == 128**2 and count(some, (0, 90, 200)) == 0
    with pytest.raises(UserError, match="did you mean girl"):
        write_grid(tmp_path, run_id, tmp_path / "c.png", subjects=["gril"])


def shown(path: Path, images: int) -> list[int]:
    """Which of a run's images (the first of each prompt) a picture shows."""
    array = pixels(path)
    return [place for place in range(0, images, 2) if count(array, (place, 90, 200)) == 128**2]


def test_grid_shows_a_few_of_each_group_unless_told_otherwise(tmp_path: Path) -> None:
    run_id = store_run(tmp_path, subjects=23, actions=1)
    few = shown(write_grid(tmp_path, run_id, tmp_path / "a.png"), 46)
    # Two images a subject; five humans, then seven celebrities, then eleven animals.
    groups = [
        sum(low <= place < high for place in few) for low, high in ((0, 10), (10, 24), (24, 46))
    ]
    assert groups == [3, 3, 2]
    whole = write_grid(tmp_path, run_id, tmp_path / "b.png", subjects=["all"])
    assert shown(whole, 46) == list(range(0, 46, 2))
    humans = write_grid(tmp_path, run_id, tmp_path / "c.png", subjects=["human", "dog"])
    assert shown(humans, 46) == [0, 2, 4, 6, 8, 24]


def test_grid_of_chosen_actions(tmp_path: Path) -> None:
    run_id = store_run(tmp_path, subjects=2)
    path = write_grid(tmp_path, run_id, tmp_path / "a.png", actions=["gesture"])
    assert shown(path, 8) == [4, 6]
    with pytest.raises(UserError, match=r"unknown action of this run 'sit': .*valid: gesture, sal"):
        write_grid(tmp_path, run_id, tmp_path / "b.png", actions=["sit"])


def test_comparison_of_many_actions_goes_on_below(tmp_path: Path) -> None:
    run_id = store_run(tmp_path, actions=8, subjects=3)
    path = write_comparison(tmp_path, [run_id], tmp_path / "a.png")
    assert shown(path, 48) == list(range(0, 48, 2))
    height, width, _ = pixels(path).shape
    assert width < 13 * STEP + 300 and height > 4 * ROW


def test_grid_of_a_partial_run_leaves_cells_empty(tmp_path: Path) -> None:
    run_id = store_run(tmp_path, subjects=3, actions=1, planned=3)
    array = pixels(write_grid(tmp_path, run_id, tmp_path / "grid.png"))
    assert array.shape[0] == 118 + 3 * ROW + 44
    assert count(array, EMPTY) > 6 * 0.9 * 128**2


def test_grid_repeats(tmp_path: Path) -> None:
    run_id = store_run(tmp_path, subjects=2)
    first = write_grid(tmp_path, run_id, tmp_path / "a.png").read_bytes()
    assert first == write_grid(tmp_path, run_id, tmp_path / "b.png").read_bytes()


def test_damaged_and_missing_images_are_named(tmp_path: Path) -> None:
    run_id = store_run(tmp_path, subjects=2)
    image = next(path for path in sorted((tmp_path / "images").rglob("*0.png")))
    image.write_bytes(image.read_bytes()[:40])
    with pytest.raises(UserError, match="damaged") as raised:
        write_grid(tmp_path, run_id, tmp_path / "grid.png")
    assert image.name in str(raised.value)
    image.unlink()
    with pytest.raises(UserError, match="missing"):
        write_grid(tmp_path, run_id, tmp_path / "grid.png")
    with pytest.raises(UserError, match="no run"):
        write_grid(tmp_path, "nothing", tmp_path / "grid.png")


def test_comparison_has_a_row_a_run(tmp_path: Path) -> None:
    ids = [store_run(tmp_path, method, subjects=3) for method in ("adi", "p-plus")]
    one, two = (
        pixels(
            write_comparison(
                tmp_path,
                ids[:number],
                tmp_path / "compared.png",
                actions=["salute", "gesture"],
                subjects=["boy", "girl"],
                labels=["A label of several words", "B"][:number],
            )
        )
        for number in (1, 2)
    )
    assert two.shape[0] - one.shape[0] == ROW
    frame = 136**2 - 128**2
    assert count(one, RIGHT) >= 2 * frame and count(two, RIGHT) >= 4 * frame


def test_confusion_matrix(tmp_path: Path) -> None:
    labels = ["sit", "squat", "none"]
    true = ["sit"] * 10 + ["squat"] * 10
    out = confusion_matrix_png(true, true, labels, tmp_path / "right.png", "All right")
    wrong = confusion_matrix_png(true, true[::-1], labels, tmp_path / "wrong.png", "All wrong")
    # The darkest blue fills two cells: on the diagonal, or off it.
    rows, columns = np.nonzero((pixels(out) == (8, 48, 107)).all(axis=-1))
    assert np.corrcoef(rows, columns)[0, 1] > 0.6
    rows, columns = np.nonzero((pixels(wrong) == (8, 48, 107)).all(axis=-1))
    assert np.corrcoef(rows, columns)[0, 1] < -0.6
    with pytest.raises(ValueError, match="stroll"):
        confusion_matrix_png(["stroll"], ["sit"], labels, tmp_path / "x.png", "")


def test_confusion_matrix_leaves_pyplot_alone(tmp_path: Path) -> None:
    import sys

    confusion_matrix_png(["a"], ["a"], ["a", "b"], tmp_path / "x.png", "One")
    pyplot = sys.modules.get("matplotlib.pyplot")
    assert pyplot is None or not pyplot.get_fignums()


def test_a_picture_that_cannot_be_written(tmp_path: Path) -> None:
    run_id = store_run(tmp_path, subjects=1)
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        write_grid(tmp_path, run_id, tmp_path / "file" / "grid.png")
    with pytest.raises(UserError, match="cannot be written"):
        confusion_matrix_png(["a"], ["a"], ["a"], tmp_path / "file" / "x.png", "One")
