"""A run as a Hugging Face dataset."""

from __future__ import annotations

import dataclasses
import io
import json
from collections.abc import Callable
from pathlib import Path

import datasets
import pytest
from PIL import Image

from actionbench.errors import UserError
from actionbench.runs.export import IMAGES, MARK, check_export, export_run, is_export
from actionbench.runs.store import Store, read_image
from tests.conftest import Done
from tests.helpers.drawn_board import draw_board


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    runs = tmp_path_factory.mktemp("export") / "runs"
    return draw_board(runs, methods=["adi"], actions=["sit", "pray"], subjects=["boy", "Batman"])


def test_load_dataset_reads_images_verdicts_prompts_and_seeds(
    store: Store, tmp_path: Path, typed: Callable[..., Done], monkeypatch: pytest.MonkeyPatch
) -> None:
    done = typed("data", "export", "adi", "--runs", store.root, "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    loaded = datasets.load_dataset(str(tmp_path / "out"), split="test")
    (run_id,) = store.run_ids()
    rows = store.load_row_dicts(run_id)
    assert len(loaded) == len(rows) == 8
    for row, stored in zip(loaded, rows):
        file = store.root / stored.pop("image")
        assert row["image"].convert("RGB").tobytes() == read_image(file).tobytes()
        assert {name: row[name] for name in stored} == stored
        assert row["run"] == run_id
    assert (
        loaded[0]["prompt"] == "A boy has hands together in prayer"
        and loaded[-1]["prompt"] == "Batman sits"
    )
    card = (tmp_path / "out" / "README.md").read_text("utf-8")
    assert "ADI drew for" in card and str(tmp_path) not in card
    assert is_export(tmp_path / "out") and check_export(tmp_path / "out")


def test_what_is_not_whole_is_refused_and_leaves_nothing(store: Store, tmp_path: Path) -> None:
    (run_id,) = store.run_ids()
    out = export_run(store, run_id, tmp_path / "out")
    before = (out / IMAGES).read_bytes()
    file = store.root / store.load_rows(run_id)["image"][2]
    kept = file.read_bytes()
    file.write_bytes(kept[:80])
    with pytest.raises(UserError, match="damaged"):
        export_run(store, run_id, out)
    assert (out / IMAGES).read_bytes() == before
    file.write_bytes(kept)
    record = store.read_record(run_id)
    store.save_record(dataclasses.replace(record, complete=False))
    with pytest.raises(UserError, match="export finished runs"):
        export_run(store, run_id, tmp_path / "half")
    store.save_record(record)
    assert not (tmp_path / "half").exists()


def test_an_export_that_was_changed_is_not_pushed(
    store: Store, tmp_path: Path, typed: Callable[..., Done]
) -> None:
    (run_id,) = store.run_ids()
    out = export_run(store, run_id, tmp_path / "out")
    table = datasets.Dataset.from_parquet(str(out / IMAGES), cache_dir=str(tmp_path / "cache"))
    table = table.cast_column("image", datasets.Image(decode=False))
    buffer = io.BytesIO()
    Image.new("RGB", (64, 64)).save(buffer, "PNG")
    painted = {"bytes": buffer.getvalue(), "path": "x.png"}
    table.map(lambda row: row | {"image": painted}).to_parquet(out / IMAGES)
    done = typed("data", "push", out, "me/run")
    assert done.returncode == 2 and "was changed since it was made" in done.stderr
    (out / MARK).write_text(json.dumps({"format": 9, "fingerprint": ""}))
    with pytest.raises(UserError, match="of format 9"):
        check_export(out)
