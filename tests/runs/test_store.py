"""The run store: files are whole or not there at all, and every problem is a clear line."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from actionbench.errors import UserError
from actionbench.files.atomic import HOST
from actionbench.files.hashing import make_key
from actionbench.judge import VERDICT_COLUMNS, Verdict
from actionbench.method import Customization
from actionbench.runs.record import FitCost
from actionbench.runs.store import VERSION_FILE, Store
from actionbench.suite.items import Item, paper_actions, paper_subjects

ITEM = Item(paper_actions()[0], paper_subjects()[4], 1)
FITTED = Customization(
    "drift", "salute", "f00d", {"vector": torch.arange(6.0).reshape(2, 3).t()}, {"words": ["a"]}
)
WHAT = {"method": "drift", "action": "salute", "model": "f00d"}
VERDICT = Verdict(True, False, "salute", "none", 0.75, 0.125)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path / "runs")
    store.prepare()
    return store


def refused(match: str, root: Path) -> None:
    with pytest.raises(UserError, match=match) as error:
        Store(root).prepare()
    assert "\n" not in str(error.value)


def test_a_new_folder_becomes_a_store_when_it_is_prepared(tmp_path: Path) -> None:
    store = Store(tmp_path / "a" / "runs")
    assert store.run_ids() == []
    assert not store.root.exists()
    store.prepare()
    assert json.loads((store.root / VERSION_FILE).read_text()) == {"format": 1}
    Store(store.root).prepare()


def test_a_folder_that_is_not_a_store_is_refused(tmp_path: Path, store: Store) -> None:
    (tmp_path / "file").write_text("")
    refused("is a file, not a runs folder", tmp_path / "file")
    refused("a part of the path is a file", tmp_path / "file" / "runs")
    refused("not empty and not a runs folder", tmp_path)
    (store.root / VERSION_FILE).write_text('{"format": 2}')
    refused("runs of format 2, this version reads 1", store.root)
    (store.root / VERSION_FILE).write_text("nonsense")
    refused("is damaged", store.root)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission_is_refused(store: Store) -> None:
    store.root.chmod(0o500)
    refused("no permission", store.root)


def test_a_full_disk_is_reported_and_no_half_written_file_is_left(store: Store) -> None:
    """A limit on the size of files replaces the full disk: the same error, another number."""
    big = Customization("drift", "salute", "f00d", {"vector": torch.zeros(5000)})
    rows = {("boy", n): Verdict(True, True, str(n) * 99, "", 0, 0) for n in range(99)}
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    messages = []
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, limits[1]))
    try:
        for save in (
            lambda: store.save_image("k", ITEM, Image.effect_noise((64, 64), 90)),
            lambda: store.save_fit("k", big, FitCost(0.0)),
            lambda: store.save_verdicts("k", rows),
        ):
            with pytest.raises(UserError, match="cannot be") as error:
                save()
            messages.append(str(error.value))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "the same command goes on" in messages[0]
    assert not any("\n" in message for message in messages)
    left = [path for path in store.root.rglob("*") if path.is_file()]
    assert left == [store.root / VERSION_FILE]


def test_leftovers_of_the_killed_are_ignored_and_cleared(store: Store) -> None:
    write_record(store, "adi-1", {"format": 1})
    gone = subprocess.Popen(["true"])
    gone.wait()
    dead, alive = (f".tmp-{HOST}-{pid}-0" for pid in (gone.pid, os.getpid()))
    for name in (dead, alive):
        (store.root / "runs" / name).mkdir(parents=True)
        (store.root / "runs" / name / "run.json").write_text("{")
        (store.root / "runs" / "adi-1" / name).write_text("")
    assert store.run_ids() == ["adi-1"]
    store.prepare()
    left = sorted(path.name for path in store.root.rglob(".tmp-*"))
    assert left == [alive, alive], "another process may still be at work on its own"


def test_a_customization_comes_back_as_it_was(store: Store) -> None:
    assert not store.has_fit("k")
    store.save_fit("k", FITTED, FitCost(1.5))
    assert store.has_fit("k")
    again = store.load_fit("k", **WHAT)
    assert torch.equal(again.tensors["vector"], FITTED.tensors["vector"])
    assert again.facts == {"words": ["a"]}
    assert store.fit_cost("k") == FitCost(1.5)
    assert store.fit_record("k")["bytes"] > 24
    store.save_fit("k", FITTED, FitCost(9.0))
    assert store.fit_cost("k") == FitCost(1.5), "what is there is kept"


def test_of_several_that_store_one_fit_none_fails(store: Store) -> None:
    def save(key: str, together: threading.Barrier) -> None:
        together.wait()
        store.save_fit(key, FITTED, FitCost(1.5))

    with ThreadPoolExecutor(4) as pool:
        for number in range(50):  # which of them is in between check and renaming is chance
            together = threading.Barrier(4)
            done = [pool.submit(save, f"k{number}", together) for _ in range(4)]
            assert not any(one.exception() for one in done)
            assert store.load_fit(f"k{number}", **WHAT).facts == {"words": ["a"]}
    assert not [*store.root.rglob(".tmp-*")]


def test_a_fit_of_something_else_or_damaged_is_refused(store: Store) -> None:
    store.save_fit("k", FITTED, FitCost(0.0))
    for name, other in {**dict.fromkeys(WHAT, "other"), "version": 2}.items():
        with pytest.raises(UserError, match=rf"holds a fit of {name} .*delete it and run the same"):
            store.load_fit("k", **{**WHAT, name: other})
    folder = store.fit_folder("k")
    weights = folder / "customization.safetensors"
    content = weights.read_bytes()
    for damaged in (content[:-4], content[:-4] + b"abcd", b""):
        weights.write_bytes(damaged)
        with pytest.raises(UserError, match=r"customization.safetensors is damaged or missing"):
            store.load_fit("k", **WHAT)
    weights.unlink()
    with pytest.raises(UserError, match="damaged or missing"):
        store.load_fit("k", **WHAT)
    (folder / "customization.json").write_text('{"format": 1}')
    with pytest.raises(UserError, match=r"customization.json is damaged \('facts' is missing"):
        store.fit_record("k")
    (folder / "customization.json").write_text('{"format": 1')
    with pytest.raises(UserError, match=rf"customization.json is damaged .*the folder {folder}"):
        store.load_fit("k", **WHAT)


def test_an_image_carries_its_name_and_comes_back(store: Store) -> None:
    image = Image.new("RGB", (8, 8), (1, 2, 3))
    assert store.missing_images("k", [ITEM]) == (ITEM,)
    store.save_image("k", ITEM, image)
    assert store.missing_images("k", [ITEM]) == ()
    path = store.image_path("k", ITEM)
    assert path.relative_to(store.root).as_posix() == "images/k/old-man-1.png"
    assert store.load_image("k", ITEM).tobytes() == image.tobytes()
    with Image.open(path) as stored:
        assert stored.info == {"actionbench:item": "salute/old-man/1", "actionbench:key": "k"}


@pytest.mark.parametrize("size", [0, 5, 40, -60])
def test_a_truncated_image_is_refused(store: Store, size: int) -> None:
    store.save_image("k", ITEM, Image.effect_noise((8, 8), 90))
    path = store.image_path("k", ITEM)
    path.write_bytes(path.read_bytes()[:size])
    for read in (lambda key, item: store.missing_images(key, [item]), store.load_image):
        with pytest.raises(UserError, match=r"old-man-1.png is damaged .*: delete it and run"):
            read("k", ITEM)


def test_verdicts_and_rows_come_back(store: Store) -> None:
    assert store.load_verdicts("k") == {}
    store.save_verdicts("k", {("boy", 0): VERDICT, ("old man", 1): VERDICT})
    assert store.load_verdicts("k") == {("boy", 0): VERDICT, ("old man", 1): VERDICT}

    row = dict.fromkeys(VERDICT_COLUMNS, "x") | {
        "index": 1, "seed": 2**62, "action_score": 0.5, "subject_score": 1.0,
        "action_correct": True, "subject_correct": False, "total_correct": False,
    }  # fmt: skip
    store.save_rows("adi-1", [row])
    frame = store.load_rows("adi-1")
    assert tuple(frame.columns) == tuple(VERDICT_COLUMNS)
    assert frame.loc[0].to_dict() == row
    store.save_rows("adi-1", [])
    assert tuple(store.load_rows("adi-1").columns) == tuple(VERDICT_COLUMNS)


def test_damaged_tables_and_records_are_named(store: Store) -> None:
    store.save_verdicts("k", {("boy", 0): VERDICT})
    path = store.verdict_path("k")
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(UserError, match=r"k.parquet is damaged .*: delete it and run"):
        store.load_verdicts("k")
    store.save_rows("adi-1", [])
    (store.run_folder("adi-1") / "verdicts.parquet").write_bytes(
        path.parent.joinpath("k.parquet").read_bytes()
    )
    with pytest.raises(UserError, match=r"verdicts.parquet is damaged"):
        store.load_row_dicts("adi-1")
    assert store.load_record("adi-1") is None
    for content in ("[]", "{", '{"format": 9}'):
        (store.run_folder("adi-1") / "run.json").write_text(content)
        with pytest.raises(UserError, match=r"run.json is damaged"):
            store.load_record("adi-1")


def write_record(store: Store, run_id: str, values: dict[str, Any]) -> None:
    """Write a record as another version may have written it."""
    folder = store.run_folder(run_id)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "run.json").write_text(json.dumps(values))


def run_record() -> dict[str, Any]:
    nothing = {"seconds": 0.0, "images": 0}
    return {
        **dict.fromkeys(("method", "title", "suite", "suite_fingerprint", "protocol"), "x"),
        **dict.fromkeys(("started", "dtype"), "x"),
        **{part: {"name": "x", "fingerprint": "f"} for part in ("model", "judge")},
        **dict.fromkeys(("seed", "images_per_pair", "n_items", "peak_mib"), 1),
        "format": 1,
        "id": "adi-1",
        "complete": False,
        "settings": {},
        "actions": ["sit"],
        "subjects": ["boy"],
        "keys": {"sit": {"fit": "k", "images": "i", "verdicts": "v"}},
        "costs": {"sit": {"fit": None, "generate": nothing, "judge": nothing}},
    }


def test_a_record_that_lacks_a_part_is_named(store: Store) -> None:
    write_record(store, "adi-1", run_record())
    record = store.read_record("adi-1")
    values = record.to_json()
    assert {name: values[name] for name in ("keys", "costs", "settings", "subjects")} == {
        name: run_record()[name] for name in ("keys", "costs", "settings", "subjects")
    }
    assert record.state == "not finished" and record.to_json()["device"] is None
    changes: list[dict[str, Any]] = [{name: None} for name in run_record() if name != "format"]
    changes += [{"costs": {}}, {"costs": {"sit": {"fit": None}}}, {"keys": {"sit": {}}}]
    changes += [{"model": {"name": "x"}}, {"id": "adi-2"}]
    for change in changes:
        write_record(store, "adi-1", {**run_record(), **change})
        with pytest.raises(UserError, match=r"adi-1/run.json is damaged .*: delete it and run"):
            store.load_record("adi-1")


def test_verdicts_are_added_to_those_of_others(store: Store) -> None:
    store.add_verdicts("k", {("boy", 0): VERDICT})
    store.add_verdicts("k", {("lion", 0): VERDICT})
    assert store.load_verdicts("k") == {("boy", 0): VERDICT, ("lion", 0): VERDICT}


def test_a_run_is_named_by_the_beginning_of_its_id(store: Store) -> None:
    with pytest.raises(UserError, match=r"no run 'adi' in .*: there are none yet"):
        store.find_run("adi")
    for run_id in ("adi-12ab", "adi-12cd", "p-plus-34ef"):
        write_record(store, run_id, {"format": 1})
    assert store.find_run("p") == "p-plus-34ef"
    assert store.find_run("adi-12ab") == "adi-12ab"
    with pytest.raises(UserError, match=r"several runs in .*: there are adi-12ab, adi-12cd"):
        store.find_run("adi")


def test_keys_depend_on_every_input_and_on_order() -> None:
    assert make_key("a", {"x": 1, "y": 2}) == make_key("a", {"y": 2, "x": 1})
    assert len({make_key("a", "b"), make_key("b", "a"), make_key("ab"), make_key(["a", "b"])}) == 4
