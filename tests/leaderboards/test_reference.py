"""A kept measurement: what it holds, how it is read back, what is refused."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from actionbench.errors import UserError
from actionbench.runs.store import Store, read_image
from evaluation.measures.failures import find_copies
from leaderboards import build_board
from leaderboards.page.report import write_report
from leaderboards.reference import find_reference, keep_reference
from leaderboards.samples import ATLAS, read_samples
from tests.evaluation.test_diagnostics import save_copies
from tests.helpers.drawn_board import draw_board
from tests.helpers.verdicts import first_actions, make_verdicts, save_run


def save_methods(runs: Path, **right: int) -> None:
    for method, count in right.items():
        save_run(runs, make_verdicts(first_actions(range(count)), method=method), title=method)


def keep(runs: Path, out: Path) -> Path:
    return keep_reference(build_board(runs), runs, out)


def test_what_is_kept_reads_back_as_it_was(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    save_methods(runs, adi=5, dreambooth=0)
    save_run(runs, make_verdicts(first_actions([0]), actions=2), planned_actions=8, seed=3)
    store = Store(runs)
    for run_id in store.run_ids():
        record = store.read_record(run_id)
        record.model.path = "/somewhere/private/model"
        record.command = ["actionbench", "run", "--method", "all", "--runs", "/private/my runs"]
        record.command += ["--judge-set", "model=/private/judge", "--out=/private/out"]
        record.suite_file = "/private/suite.yaml"
        record.judge.settings = {"model": "/private/judge"}
        store.save_record(record)
    kept = keep(runs, tmp_path / "puppets-v1")
    there = {path.relative_to(kept).as_posix() for path in kept.rglob("*") if path.is_file()}
    assert {"reference.json", "board.md", "board.json"} <= there
    (facts,) = json.loads((kept / "reference.json").read_text())["measurements"]
    assert facts["commands"] == [
        "actionbench run --method all --runs my runs --judge-set model=judge --out=out"
    ]
    assert len(facts["runs"]) == 2, "a partial run is no measurement"
    texts = [path.read_text() for path in kept.rglob("*.*") if path.suffix in (".json", ".md")]
    assert not any("private" in text for text in texts)

    before, after = build_board(runs).groups[0], build_board(kept).groups[0]
    for old, new in zip(before.rows, after.rows, strict=False):
        assert (old.run_id, old.shares, old.rank) == (new.run_id, new.shares, new.rank)
    assert before.comparisons == after.comparisons


def test_kept_rows_stand_beside_new_ones_marked(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    save_methods(old, adi=5, dreambooth=0)
    save_run(old, make_verdicts(first_actions(range(2)), method="p-plus"), title="P+")
    kept = keep(old, tmp_path / "kept")
    save_run(new, make_verdicts(first_actions(range(8)), method="ninth"), title="Ninth")
    save_run(new, make_verdicts(first_actions(range(6)), method="adi"), title="ADI")
    board = build_board(new, reference=kept)
    (group,) = board.groups
    assert [row.name for row in group.rows] == [
        "Ninth", "ADI", "adi (reference)", "P+ (reference)", "dreambooth (reference)",
    ]  # fmt: skip
    assert group.lead is group.rows[1], "the new ADI, not the kept one"
    assert {row.name for row, _ in group.against} == {row.name for row in group.rows} - {"ADI"}
    assert set(group.agreements[0].methods) == {"adi", "p-plus", "dreambooth"}
    assert any("reference are kept" in note for note in group.notes)
    text = io.StringIO()
    board.print(Console(file=text, width=100))
    assert text.getvalue().count("reference") >= 3
    board.write(tmp_path / "out")
    rows = json.loads((tmp_path / "out/board.json").read_text())["rows"]
    assert [row["reference"] for row in rows[:5]] == [False, False, True, True, True]
    # Its own repetition does not hide it, and another model's runs stay apart from it.
    assert len(build_board(old, reference=kept).groups[0].rows) == 6
    save_run(new, make_verdicts(first_actions([0])), model="model-2")
    assert len(build_board(new, reference=kept).groups) == 2
    assert len(build_board(tmp_path / "none", reference=kept).groups[0].rows) == 3


def test_copies_and_sizes_are_kept_without_images_and_fits(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    run_id, _ = save_copies(runs, honest=3)
    record = Store(runs).read_record(run_id)
    fit = Store(runs).fit_folder("f")
    fit.mkdir(parents=True)
    (fit / "customization.json").write_text('{"facts": {}, "cost": {}, "bytes": 4096}')
    kept = keep(runs, tmp_path / "kept")
    (row,) = build_board(kept).groups[0].rows
    assert row.distances is not None and find_copies(row.distances, 5.0).sum() == 5
    assert row.failures.copied is None, "no method without exemplars to compare with"
    assert row.fit_bytes == 4096
    assert {path.name for path in kept.iterdir()} >= {"runs", "reference.json"}
    assert not (kept / "images").exists() and not (kept / "fits").exists()
    assert record.costs["point"].fit.bytes is None, "the run's own record stays"


def test_a_reference_is_one_measurement_and_replaces_only_its_like(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    with pytest.raises(UserError, match="none is complete"):
        keep(runs, tmp_path / "kept")
    save_methods(runs, adi=5)
    keep(runs, tmp_path / "kept")
    save_methods(runs, dreambooth=1)
    kept = keep(runs, tmp_path / "kept")
    assert len(Store(kept).run_ids()) == 2
    for other in (runs, tmp_path):
        with pytest.raises(UserError, match="holds other files and would be replaced"):
            keep(runs, other)
    assert len(Store(runs).run_ids()) == 2
    save_run(runs, make_verdicts(first_actions([0]), subjects=3))
    with pytest.raises(UserError, match=r"has 2 .*3 of 23 subjects"):
        keep(runs, tmp_path / "kept")


def test_finding_a_reference(tmp_path: Path) -> None:
    save_methods(tmp_path / "runs", adi=5)
    kept = keep(tmp_path / "runs", tmp_path / "kept")
    assert find_reference(str(kept)) == kept
    with pytest.raises(
        UserError, match=r"is no kept measurement \(reference.json or submission.json is missing\)"
    ):
        find_reference(str(tmp_path / "runs"))
    with pytest.raises(UserError, match="unknown reference 'puppets-v99'"):
        find_reference("puppets-v99")


def test_the_kept_board_is_what_its_verdicts_give(tmp_path: Path) -> None:
    """If this fails, statistics have changed: keep it upon itself (docs/board.md), and then see
    whether README and docs still say what it says."""
    kept = find_reference("puppets-v1")
    for path in build_board(kept).write(tmp_path):
        name = path.relative_to(tmp_path)
        assert path.read_text("utf-8") == (kept / name).read_text("utf-8"), name


def test_a_reference_kept_upon_itself_keeps_its_verdicts(tmp_path: Path) -> None:
    save_methods(tmp_path / "runs", adi=5, dreambooth=0)
    kept = keep(tmp_path / "runs", tmp_path / "kept")
    before = {path.relative_to(kept): path.read_bytes() for path in kept.rglob("*.*")}
    (kept / "board.md").write_text("of older statistics", "utf-8")
    keep(kept, kept)
    assert {path.relative_to(kept): path.read_bytes() for path in kept.rglob("*.*")} == before


def test_a_sample_of_the_images_is_kept_and_stands_on_the_page(tmp_path: Path) -> None:
    methods = {"adi", "p-plus"}
    store = draw_board(tmp_path / "runs", methods=methods, actions=["pray", "sit"])
    adi, p_plus = store.run_ids()
    first = store.load_row_dicts(adi)[0]
    (store.root / first["image"]).unlink()
    kept = keep_reference(build_board(store.root), store.root, tmp_path / "kept", room=60_000)
    atlases = [Store(kept).run_folder(run) / ATLAS for run in (adi, p_plus)]
    assert 30_000 < sum(path.stat().st_size for path in atlases) <= 60_000
    tiles = read_samples(kept, [adi])
    shown = {row["image"]: row for row in store.load_row_dicts(adi) if row["image"] in tiles}
    assert first["image"] not in tiles and 10 < len(tiles) == len(shown) < len(store.load_rows(adi))
    actions = [row["action"] for row in shown.values()]
    assert abs(actions.count("pray") - actions.count("sit")) <= 1
    own, other = (
        {(row["action"], row["subject"], row["index"]) for row in store.load_row_dicts(run)
         if row["image"] in read_samples(kept, [run])}
        for run in (adi, p_plus)
    )  # fmt: skip
    assert own == other, "methods are seen on the same items"
    for file, tile in tiles.items():
        image = np.asarray(read_image(store.root / file), float)
        assert np.abs(np.asarray(tile, float) - image).mean() < 8, file

    page = write_report(build_board(kept), kept, tmp_path / "page").read_text("utf-8")
    assert f"a sample of {len(tiles)} of 92 images is kept" in page
    (data,) = re.findall(r'<script[^>]*id="data"[^>]*>(.*?)</script>', page, re.S)
    (group,) = json.loads(data)["groups"]
    (images, _) = (run["images"] for run in group["runs"])
    by_action: dict[int, list[bool]] = {}
    for item, image in zip(group["items"], images, strict=True):
        by_action.setdefault(item[0], []).append(image is None)
    assert all(missing == sorted(missing) for missing in by_action.values()), "what is there first"
    assert page.count("UklGR") >= 2 * len(tiles), "every tile is in the page, as WebP"

    before = [path.read_bytes() for path in atlases]
    keep(kept, kept)
    assert [path.read_bytes() for path in atlases] == before
    index = atlases[0].with_name("atlas.json")
    whole = index.read_text()
    index.write_text(whole[:40])
    with pytest.raises(UserError, match=r"atlas.json is damaged .*delete it"):
        read_samples(kept, [adi])
    index.write_text(whole)
    keep_reference(build_board(kept), kept, kept, room=0)
    assert not any(path.exists() for path in atlases)


def test_a_reference_may_hold_several_suites_and_profiles_of_one_model(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    save_methods(runs, adi=5, dreambooth=0)
    save_run(runs, make_verdicts(first_actions([0])), suite_fingerprint="suite-2")
    kept = keep(runs, tmp_path / "kept")
    assert len(build_board(kept).groups) == 2
    facts = json.loads((kept / "reference.json").read_text())
    assert [len(one["runs"]) for one in facts["measurements"]] == [2, 1]
    save_run(runs, make_verdicts(first_actions([1])), model="model-2")
    with pytest.raises(UserError, match="one model's complete runs"):
        keep(runs, tmp_path / "kept")
