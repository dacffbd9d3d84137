from __future__ import annotations

import csv
import io
import json
import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from actionbench.errors import UserError
from actionbench.files.hashing import make_key
from actionbench.runs.execute import execute
from actionbench.runs.record import Failure
from actionbench.runs.store import Store
from evaluation.measures.failures import GRID, VERSION
from evaluation.measures.fits import MEASURES
from evaluation.pictures import write_grid
from leaderboards import Board, build_board
from leaderboards.published import published
from tests.helpers.small_run import small_plan
from tests.helpers.verdicts import first_actions, make_verdicts, save_run


def printed(board: Board, width: int = 100) -> str:
    text = io.StringIO()
    board.print(Console(file=text, width=width))
    return text.getvalue()


def ids(board: Board) -> list[list[str]]:
    return [[row.run_id for row in group.rows] for group in board.groups]


def test_published_figures_are_whole_numbers_of_368() -> None:
    source = json.loads((Path(__file__).parents[2] / "leaderboards/published.json").read_text())
    assert source["n"] == 368 and len(source["rows"]) == 8
    for row in source["rows"]:
        for name in ("action", "subject", "total"):
            count = round(row[name] * 368 / 100)
            assert f"{100 * count / 368:.2f}" == f"{row[name]:.2f}"


def test_published_failures_follow_from_the_counts() -> None:
    adi = published().rows[0]
    counts = {name: adi.shares[name].count for name in MEASURES}
    assert adi.method == "adi"
    assert counts == {
        "action": 222,
        "subject": 316,
        "total": 188,
        "neglect": 128,
        "contamination": 34,
    }
    assert all(share.count >= 0 for row in published().rows for share in row.shares.values())


def test_rows_numbers_and_shared_ranks(tmp_path: Path) -> None:
    save_run(tmp_path, make_verdicts(first_actions(range(7)), method="adi"), title="ADI")
    save_run(tmp_path, make_verdicts(first_actions([0]), method="p-plus"), title="P+")
    save_run(tmp_path, make_verdicts(first_actions([0, 1]), method="textual-inversion"))
    (group,) = build_board(tmp_path).groups
    assert [(row.method, row.rank) for row in group.rows] == [
        ("adi", 1),
        ("textual-inversion", 1),
        ("p-plus", 1),
    ]  # 5 and 6 actions won of 8: p = 2/32 and 2/64, three times that in a family of three.
    p_values = sorted(found.p_value for found in group.comparisons.values())
    assert p_values == pytest.approx([2 / 64, 2 / 32, 1])
    assert not any(found.told_apart for found in group.comparisons.values())
    best = group.rows[0]
    assert (best.shares["total"].count, best.shares["neglect"].count) == (7 * 46, 46)
    assert best.fit_seconds == 30.5 and best.peak_mib == 1234
    assert best.draw_seconds == pytest.approx(0.2)


def test_rows_that_differ_have_their_own_ranks(tmp_path: Path) -> None:
    save_run(tmp_path, make_verdicts(first_actions([]), method="p-plus"))
    save_run(tmp_path, make_verdicts(first_actions([]), method="textual-inversion"))
    save_run(tmp_path, make_verdicts(first_actions(range(8)), method="adi"))
    (group,) = build_board(tmp_path).groups
    assert [(row.method, row.rank) for row in group.rows] == [
        ("adi", 1),
        ("p-plus", 2),
        ("textual-inversion", 2),
    ]


def test_protocols_models_judges_and_subsets_are_never_mixed(tmp_path: Path) -> None:
    full = make_verdicts(first_actions([0]))
    save_run(tmp_path, full, run_id="adi-whole")
    save_run(tmp_path, full.assign(protocol="puppets-clip-v1"), run_id="adi-protocol")
    save_run(
        tmp_path, make_verdicts(first_actions([0]), judge_fingerprint="j2"), run_id="adi-judge"
    )
    save_run(tmp_path, full, model="m2", run_id="adi-model")
    save_run(tmp_path, full, suite_fingerprint="s2", run_id="adi-data")
    save_run(tmp_path, make_verdicts(first_actions([0]), actions=2), run_id="adi-actions")
    save_run(tmp_path, make_verdicts(first_actions([0]), subjects=3), run_id="adi-subjects")
    save_run(tmp_path, make_verdicts(first_actions([0]), images_per_pair=1), run_id="adi-images")
    board = build_board(tmp_path)
    kinds = ("actions", "data", "images", "judge", "model", "protocol", "subjects", "whole")
    assert sorted(ids(board)) == [[f"adi-{kind}"] for kind in kinds]
    headings = {group.rows[0].run_id: group.heading for group in board.groups}
    assert len(set(headings.values())) == 8
    assert "2 of 8 actions" in headings["adi-actions"]
    assert "3 of 23 subjects" in headings["adi-subjects"]
    judges = [run for run, heading in headings.items() if "judge puppet" in heading]
    assert len(judges) == 1 and "model tiny" in "".join(headings.values())
    assert sum("not comparable" in heading for heading in headings.values()) == 6
    assert "salute, gesture" in printed(board)


def test_partial_run_is_marked_and_takes_no_rank(tmp_path: Path) -> None:
    save_run(tmp_path, make_verdicts(first_actions([0]), method="p-plus"), title="P+")
    part = make_verdicts(first_actions([0, 1]), method="adi", actions=2)
    save_run(tmp_path, part, title="ADI", planned_actions=8)
    board = build_board(tmp_path)
    (group,) = board.groups
    assert [(row.title, row.rank, row.done, row.planned) for row in group.rows] == [
        ("P+", 1, 368, 368),
        ("ADI", None, 92, 368),
    ]
    assert not group.comparisons
    assert "partial: 25%" in printed(board)
    board.write(tmp_path / "out")
    assert "ADI, partial: 25% of 368 images" in (tmp_path / "out" / "board.md").read_text()


def test_a_run_without_a_finished_action_is_told(tmp_path: Path) -> None:
    part = make_verdicts(first_actions([0]), actions=1)
    run_id = save_run(tmp_path, part, planned_actions=8)
    Store(tmp_path).save_rows(run_id, [])
    board = build_board(tmp_path)
    assert not board.groups and "no finished action" in board.notes[0]


def test_latest_complete_run_of_a_row_is_kept(tmp_path: Path) -> None:
    verdicts = make_verdicts(first_actions([0]))
    save_run(tmp_path, verdicts, run_id="adi-old", finished="2026-01-01T00:00:00+00:00")
    save_run(tmp_path, verdicts, run_id="adi-new", finished="2026-03-01T00:00:00+00:00")
    save_run(
        tmp_path, make_verdicts(first_actions([0]), actions=1), run_id="adi-part", planned_actions=8
    )
    save_run(tmp_path, verdicts, run_id="adi-seed", seed=1, finished="2026-02-01T00:00:00+00:00")
    board = build_board(tmp_path)
    (group,) = board.groups
    (row,) = group.rows
    assert row.run_ids == ["adi-new", "adi-seed"] and row.seeds == [(0, 0), (1, 0)]
    assert row.label == "" and row.done == row.planned == 2 * 368
    assert "Left out: 2" in board.notes[0]


def test_one_other_seed_is_named(tmp_path: Path) -> None:
    save_run(tmp_path, make_verdicts(first_actions([0])), seed=3)
    ((row,),) = (group.rows for group in build_board(tmp_path).groups)
    assert row.label == "seed=3"


def test_seeds_are_rows_of_one_method(tmp_path: Path) -> None:
    lucky = lambda n: lambda a, s, i: (s < n + 2 * a, True)  # noqa: E731
    for seed, n in enumerate((3, 9, 6)):
        save_run(tmp_path, make_verdicts(lucky(n)), title="ADI", seed=seed)
    for seed, n in enumerate((1, 4)):
        save_run(tmp_path, make_verdicts(lucky(n), method="p-plus"), title="P+", seed=seed)
    board = build_board(tmp_path)
    (group,) = board.groups
    assert [(row.title, len(row.fits), row.done) for row in group.rows] == [
        ("ADI", 24, 3 * 368),
        ("P+", 16, 2 * 368),
    ]
    parts = group.rows[0].components
    assert parts.fit is not None and parts.action is not None and not parts.confounded
    these, large = group.rows[0].these["total"], group.rows[0].shares["total"]
    assert (these.interval, large.interval) == ("these actions", "actions at large")
    assert these.high - these.low < large.high - large.low
    text = printed(board, 120)
    assert "Rows have different seeds" in text and "Fits" in text
    assert "these actions: " in text and "Smallest difference of total accuracy" in text
    board.write(tmp_path / "out")
    first, second = json.loads((tmp_path / "out/board.json").read_text())["rows"][:2]
    assert (first["seeds"], second["seeds"]) == ("0 1 2", "0 1") and first["sd_fit"] > 0
    assert first["fits_per_action"] == 3 and first["total_these_low"] > first["total_low"]


def test_redrawn_exemplars_are_rows_of_one_method(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for drawn, n in enumerate((3, 12, 20)):
        for seed in range(2):
            rule = lambda a, s, i, n=n, seed=seed: (s < n + seed, True)  # noqa: E731
            run_id = save_run(tmp_path, make_verdicts(rule), seed=seed)
            store.save_record(replace(store.read_record(run_id), exemplar_seed=drawn))
    ((row,),) = (group.rows for group in build_board(tmp_path).groups)
    parts = row.components
    assert parts.exemplars is not None and parts.fit is not None
    assert parts.exemplars > 10 * parts.fit and row.fits.draws == 3
    assert "between exemplars" in printed(build_board(tmp_path))


@pytest.mark.parametrize(("part", "other"), [("profile", "published"), ("prompts", "caption")])
def test_profiles_and_prompt_blocks_are_never_mixed(tmp_path: Path, part: str, other: str) -> None:
    store = Store(tmp_path)
    for value in (None, other):
        run_id = save_run(tmp_path, make_verdicts(first_actions([0])))
        if value:
            store.save_record(replace(store.read_record(run_id), **{part: value}))
    headings = [group.heading for group in build_board(tmp_path).groups]
    assert len(headings) == 2 and len(set(headings)) == 2
    assert sum("method and prompts together" in heading for heading in headings) >= 1


def test_a_floor_or_ceiling_takes_no_rank(tmp_path: Path) -> None:
    save_run(tmp_path, make_verdicts(first_actions([0])))
    run_id = save_run(tmp_path, make_verdicts(first_actions(range(8)), method="drawn"))
    store = Store(tmp_path)
    store.save_record(replace(store.read_record(run_id), ranked=False))
    (group,) = build_board(tmp_path).groups
    assert [(row.method, row.rank) for row in group.rows] == [("drawn", None), ("adi", 1)]
    assert group.lead is group.rows[1] and not group.comparisons


def test_all_right_and_one_fit_are_no_fine_numbers(tmp_path: Path) -> None:
    save_run(tmp_path, make_verdicts(first_actions(range(8)), actions=3))
    save_run(tmp_path, make_verdicts(first_actions([]), actions=3, method="p-plus"))
    board = build_board(tmp_path)
    (group,) = board.groups
    assert {row.rank for row in group.rows} == {1}
    text = " ".join(printed(board).split())
    assert "No brackets: intervals cannot be told" in text and "cannot be told with 3" in text
    assert "100.0 [" not in text.split("Published")[0]
    board.write(tmp_path / "out")
    compared = json.loads((tmp_path / "out/board.json").read_text())["comparisons"][0]
    assert compared["p_value"] is None and compared["low"] is None


def test_what_fits_measured_is_shown(tmp_path: Path) -> None:
    run_id = save_run(tmp_path, make_verdicts(first_actions([0])))
    store = Store(tmp_path)
    record = store.read_record(run_id)
    for cost, kept in zip(record.costs.values(), (0.2, 0.4) * 4, strict=True):
        assert cost.fit is not None
        cost.fit.measures = {"channels_kept": kept, "relative_norm": 1.5}
    store.save_record(record)
    text = printed(build_board(tmp_path))
    assert "What the fits measured" in text and "30.0" in text and "1.5" in text


def test_published_ties_have_no_order() -> None:
    ties, ranks = published().ties("total"), published().ranks
    assert frozenset(("dreambooth", "reversion")) in ties
    assert frozenset(("p-plus", "controlnet")) in ties and not any("adi" in pair for pair in ties)
    assert [ranks[row.method] for row in published().rows] == [1, 2, 2, 2, 5, 6, 6, 6]


def test_settings_of_an_unknown_method_are_all_shown(tmp_path: Path) -> None:
    verdicts = make_verdicts(first_actions([0]), method="ninth")
    save_run(tmp_path, verdicts, settings={"rate": 0.005, "words": ["a", "b"]})
    (group,) = build_board(tmp_path).groups
    assert group.rows[0].label == "rate=0.005, words=a/b"


def test_published_rows_stand_apart(tmp_path: Path) -> None:
    save_run(tmp_path, make_verdicts(first_actions([0])), title="ADI")
    board = build_board(tmp_path)
    text = printed(board)
    assert text.index("puppets-v1") < text.index("Published (people judged, SD 2.1)")
    assert "51.09 [46–56]" in text
    assert max(len(line) for line in text.splitlines()) <= 100
    narrow = printed(board, 80)
    assert max(len(line) for line in narrow.splitlines()) <= 80 and "…" not in narrow
    assert "[46–56]" in narrow and "1234" in narrow
    board.write(tmp_path / "out")
    with (tmp_path / "out" / "board.csv").open() as file:
        rows = list(csv.DictReader(file))
    sections = {(row["section"], row["protocol"]) for row in rows}
    assert sections == {("measured", "puppets-v1"), ("published", "paper-human")}


def test_files_agree_with_the_verdicts(tmp_path: Path) -> None:
    save_run(tmp_path, make_verdicts(first_actions([0, 5])), title="ADI")
    save_run(tmp_path, make_verdicts(first_actions([0]), method="p-plus"), title="P+ | odd")
    paths = build_board(tmp_path).write(tmp_path / "out")
    assert {p.relative_to(tmp_path / "out").as_posix() for p in paths} == {
        *("board.md", "board.tex", "board.csv", "board.json", "tables/comparisons.csv"),
        *(
            f"tables/{by}.{kind}"
            for by in ("action", "subject", "category")
            for kind in ("csv", "md")
        ),
    }
    board = json.loads((tmp_path / "out/board.json").read_text())
    measured = [row for row in board["rows"] if row["section"] == "measured"]
    assert [(row["total_count"], row["n"]) for row in measured] == [(92, 368), (46, 368)]
    assert board["comparisons"][0]["difference"] == pytest.approx(46 / 368, abs=1e-6)
    for by in ("action", "subject", "category"):
        table = pd.read_csv(tmp_path / f"out/tables/{by}.csv").query("measure == 'total'")
        sums = table.groupby("method")["count"].sum()
        assert sums.to_dict() == {"adi": 92, "p-plus": 46}
    markdown = (tmp_path / "out/board.md").read_text()
    assert "P+ \\| odd" in markdown and "25.0 [" in markdown
    assert "46/46 · 100.0 |" in (tmp_path / "out/tables/action.md").read_text()


def test_the_board_repeats(tmp_path: Path) -> None:
    for method in ("adi", "p-plus"):
        rule = lambda a, s, i, m=method: ((a * s + i + len(m)) % 3 == 0, s % 5 != 0)  # noqa: E731
        save_run(tmp_path, make_verdicts(rule, method=method, actions=3))
    first, second = (build_board(tmp_path).write(tmp_path / name) for name in ("a", "b"))
    assert [p.read_text() for p in first] == [p.read_text() for p in second]


def test_agreement_with_the_published_order(tmp_path: Path) -> None:
    order = ("textual-inversion", "p-plus", "stable-diffusion", "adi")
    for place, method in enumerate(order):
        if place == 2:
            assert not any(group.agreements for group in build_board(tmp_path).groups), "too few"
        save_run(tmp_path, make_verdicts(first_actions(range(place * 2)), method=method))
    board = build_board(tmp_path)
    found = {agreement.measure: agreement for agreement in board.groups[0].agreements}
    # Stable Diffusion and P+ are a tie of the published table: 5 / sqrt(6 * 5) of its pairs.
    assert found["total"].kendall.value == pytest.approx(5 / math.sqrt(6 * 5))
    assert found["action"].kendall.value == pytest.approx(5 / math.sqrt(6 * 5))
    assert set(found["total"].methods) == set(order)
    assert "Order of 4 methods" in printed(board) and "subject  " in printed(board).lower()
    board.write(tmp_path / "out")
    (written,) = json.loads((tmp_path / "out/board.json").read_text())["groups"]
    assert written["agreement_with_published"][1] == {
        "measure": "subject",
        "methods": list(found["subject"].methods),
        # All are always right here: equal values have no order.
        "spearman_rho": {"value": None, "low": None, "high": None},
        "kendall_tau_b": {"value": None, "low": None, "high": None},
    }
    assert "Kendall's tau-b" in (tmp_path / "out/board.md").read_text()


def test_adi_is_set_against_each_other_row(tmp_path: Path) -> None:
    save_run(tmp_path, make_verdicts(first_actions(range(8)), method="p-plus"), title="P+")
    save_run(tmp_path, make_verdicts(first_actions([0]), method="dreambooth"))
    (group,) = build_board(tmp_path).groups
    assert group.lead is group.rows[0], "the best where there is no ADI"
    other = make_verdicts(first_actions(range(7)), method="adi")
    save_run(tmp_path, other, title="ADI", settings={"beta": 0.3})
    save_run(tmp_path, make_verdicts(first_actions(range(4)), method="adi"), title="ADI")
    board = build_board(tmp_path)
    (group,) = board.groups
    assert group.lead is not None and (group.lead.method, group.lead.label) == ("adi", "")
    (other,) = build_board(tmp_path, lead="p-plus").groups
    assert other.lead is not None and other.lead.method == "p-plus"
    assert other.rows == group.rows
    points = {row.name: round(8 * found.difference) for row, found in group.against}
    assert points == {"P+": -4, "ADI (beta=0.3)": -3, "dreambooth": 3}
    (better,) = [found for row, found in group.against if row.title == "P+"]
    assert better.low <= better.difference <= better.high and better.p_value == 2 / 2**4
    assert "ADI against each other one" in printed(board)
    board.write(tmp_path / "out")
    assert "| ADI − P+ | -50.0 [" in (tmp_path / "out/board.md").read_text()
    assert max(len(line) for line in printed(board, 80).splitlines()) <= 80


def test_a_failure_is_told_with_its_reason(tmp_path: Path) -> None:
    part = make_verdicts(first_actions([0]), actions=1)
    run_id = save_run(tmp_path, part, planned_actions=8)
    store = Store(tmp_path)
    failure = Failure("sit", "fitting", "it diverged")
    store.save_record(replace(store.read_record(run_id), failure=failure))
    assert f"adi ({run_id}) failed fitting 'sit': it diverged" in build_board(tmp_path).notes


def test_an_empty_store_and_a_suite_filter(tmp_path: Path) -> None:
    board = build_board(tmp_path / "none")
    assert not board.groups and "No runs" in board.notes[0]
    assert "Published" in printed(board)
    assert len(board.write(tmp_path / "out")) == 11
    runs = tmp_path / "runs"
    save_run(runs, make_verdicts(first_actions([0])))
    assert build_board(runs, "puppets").groups and not build_board(runs, "puppets-dev").groups
    with pytest.raises(UserError, match="did you mean puppets"):
        build_board(runs, "pupets")


@pytest.mark.parametrize("name", ["run.json", "verdicts.parquet"])
@pytest.mark.parametrize("content", [b"", b"not what it was", None])
def test_damaged_files_are_named(tmp_path: Path, name: str, content: bytes | None) -> None:
    path = tmp_path / "runs" / save_run(tmp_path, make_verdicts(first_actions([0]))) / name
    if content is None and name == "run.json":
        path.write_text('{"id": "adi"}')
    elif content is None:
        path.write_bytes(path.read_bytes()[:-20])
    else:
        path.write_bytes(content)
    with pytest.raises(UserError, match="damaged") as raised:
        build_board(tmp_path)
    assert str(path) in str(raised.value) and "\n" not in str(raised.value)


def test_verdicts_that_are_not_the_runs_own(tmp_path: Path) -> None:
    verdicts = make_verdicts(first_actions([0]))
    store = Store(tmp_path)
    run_id = save_run(tmp_path, verdicts)
    wrong = {
        "another judge": verdicts.assign(judge_fingerprint="other"),
        "an image twice": pd.concat([verdicts.iloc[1:], verdicts.iloc[1:2]]),
        "367 images of 368": verdicts.iloc[1:],
        "empty values": verdicts.astype({"action_correct": object}).assign(action_correct=None),
        "does not list": verdicts.assign(action=verdicts["action"].replace("sit", "stroll")),
    }
    for problem, rows in wrong.items():
        store.save_rows(run_id, rows.to_dict("records"))
        with pytest.raises(UserError, match=problem):
            build_board(tmp_path)


def test_a_board_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        build_board(tmp_path / "none").write(tmp_path / "file")


def test_settings_that_the_run_changed_are_the_label(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for changed in ({}, {"beta": 0.25, "steps": 7}):
        settings = {"beta": 0.6, "steps": 300, **changed}
        run_id = save_run(tmp_path, make_verdicts(first_actions([0])), settings=settings)
        store.save_record(replace(store.read_record(run_id), changed_settings=changed))
    (group,) = build_board(tmp_path).groups
    assert sorted(row.label for row in group.rows) == ["", "beta=0.25, steps=7"]


def test_a_board_needs_no_torch(tmp_path: Path) -> None:
    save_run(tmp_path, make_verdicts(first_actions([0])), settings={"beta": 0.6})
    code = (
        "import sys; from pathlib import Path; from leaderboards import build_board; "
        "build_board(Path(sys.argv[1])).write(Path(sys.argv[1], 'out')); "
        "print('torch' in sys.modules)"
    )
    words = [sys.executable, "-c", code, str(tmp_path)]
    root = Path(__file__).parents[2]
    assert subprocess.run(words, cwd=root, capture_output=True, text=True).stdout == "False\n"


def test_a_real_run_becomes_a_row_and_a_picture(tiny_model: Path, tmp_path: Path) -> None:
    plan = small_plan(tiny_model, tmp_path)
    result = execute(plan)
    board = build_board(tmp_path / "runs")
    (group,) = board.groups
    (row,) = group.rows
    assert group.heading == "puppets-v1: small · as published · method and prompts together", (
        "the suite that was measured, which is kept"
    )
    assert (row.run_id, row.done, row.partial, row.rank) == (result.run_id, 12, False, 1)
    assert row.shares["total"].count == sum(line.total_correct for line in result.rows)
    assert row.fit_seconds is not None and row.fit_bytes is not None and row.fit_bytes > 0
    assert write_grid(tmp_path / "runs", result.run_id, tmp_path / "grid.png").stat().st_size > 0


def test_copies_are_counted_by_what_saw_no_exemplar(tmp_path: Path) -> None:
    store = Store(tmp_path)
    rng = np.random.default_rng(0)
    for method, near in (("adi", 100), ("stable-diffusion", 0)):
        run_id = save_run(tmp_path, make_verdicts(first_actions([0]), method=method))
        record = store.read_record(run_id)
        if method == "stable-diffusion":
            for cost in record.costs.values():
                cost.fit = None
        store.save_record(record)
        own = rng.uniform(10, 20, 368)
        own[:near] = 1.0
        key = make_key(VERSION, GRID, {n: vars(k) for n, k in record.keys.items()}, record.finished)
        distances = np.stack([own, np.full(368, 30.0)], axis=1)
        store.save_copying(run_id, {"key": key, "distances": distances.tolist()})
    (group,) = build_board(tmp_path).groups
    copied = {row.method: row.failures.copied for row in group.rows}
    own = copied["stable-diffusion"]
    people = own.n
    assert own.count == math.ceil(0.01 * people) and copied["adi"].count > 50
    assert any(note.startswith("Copied, of people's images") for note in group.notes)


def test_rows_that_the_published_table_lacks_are_named_and_take_no_figure_of_it(
    tmp_path: Path,
) -> None:
    for method, title in (("adi", "ADI"), ("dti", "DTI"), ("lora", "DreamBooth-LoRA")):
        save_run(tmp_path, make_verdicts(first_actions(range(3)), method=method), title=title)
    board = build_board(tmp_path)
    (group,) = board.groups
    assert "Not in the published table: DTI, DreamBooth-LoRA." in group.notes
    assert not {"dti", "lora"} & {row.method for row in board.published.rows}
