"""The photographs' whole way on small real models: from a folder of pictures to boards."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from actionbench.plugins.tiny import tiny_pipeline
from actionbench.runs.store import Store
from tests.conftest import Done
from tests.helpers.photographs import SUITE, make_folder, write_suite
from tests.helpers.tiny_judges import tiny_clip, tiny_detector, tiny_qwen, tiny_vitpose


def test_from_photographs_over_sd2s_structure_to_three_judges_boards(
    typed: Callable[..., Done], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A v-predicting pipeline of SD 2's structure, ADI and Textual Inversion, three judges."""
    monkeypatch.chdir(tmp_path)
    make_folder(tmp_path / "source")
    write_suite(tmp_path, SUITE.replace("judge: brightness", "judge: clip"))
    tiny_pipeline(tmp_path / "sd2", "v_prediction", sd2=True)
    clip, qwen = tiny_clip(tmp_path / "clip"), tiny_qwen(tmp_path / "qwen")
    detector, vitpose = tiny_detector(tmp_path / "detr"), tiny_vitpose(tmp_path / "vitpose")

    importing = ("data", "import", "source", "--suite", "two-actions.yaml", "--count", "2",
                 "--out", "mine")  # fmt: skip
    status, _, told = typed(*importing, "--detector", detector)
    assert status == 2 and "are for --keypoints" in told
    status, _, told = typed(*importing)
    assert status == 0, told

    made = ("--suite", "mine", "--model", "sd2", "--images-per-pair", "1")
    by_clip = ("--judge-set", f"model={clip}")
    adi = ("--set", "steps=2", "--set", "pool_steps=1", "--set", "pool_sampling_steps=1")
    status, _, told = typed("run", "--method", "adi", *made, *by_clip, *adi)
    assert status == 0, told
    status, _, told = typed("run", "--method", "textual-inversion", *made, *by_clip,
                           "--set", "steps=2")  # fmt: skip
    assert status == 0, told
    store = Store(tmp_path / "runs")
    runs = store.run_ids()
    assert len(runs) == 2

    asked = (f"model={qwen}", "dtype=float32", "exemplars=1", "image_size=56")
    seen = (f"model={clip}", f"detector={detector}", f"pose_model={vitpose}", "min_score=0")
    for judge, words in (("vqa", asked), ("pose", (*seen, "min_visible=0"))):
        given = [part for word in words for part in ("--judge-set", word)]
        status, _, told = typed("judges", "run", *runs, "--judge", judge, *given)
        assert status == 0, told

    rows = pd.concat(
        pd.read_parquet(store.run_folder(run_id) / "verdicts.parquet") for run_id in store.run_ids()
    )
    protocols = [f"two-actions-{judge}-v1" for judge in ("clip", "pose", "vqa")]
    assert rows.groupby(["method", "protocol"]).size().to_dict() == {
        (method, protocol): 6 for method in ("adi", "textual-inversion") for protocol in protocols
    }
    # The same images under all judges; the pose judge's subjects are the clip judge's.
    assert rows["image"].nunique() == 12 and (rows.groupby("image").size() == 3).all()
    subjects = rows.pivot(index="image", columns="judge", values="subject_correct")
    assert (subjects["pose"] == subjects["clip"]).all()

    status, out, told = typed("report", "--out", "board")
    assert status == 0 and all(protocol in out for protocol in protocols), told
    board = pd.read_csv(tmp_path / "board" / "board.csv")
    measured = board[board["section"] == "measured"]
    assert measured.groupby("protocol").size().to_dict() == dict.fromkeys(protocols, 2)
    status, out, _ = typed("judges", "agree")
    assert status == 0 and "clip" in out and "vqa" in out
