"""Ablations: what is run, what is shared, and the numbers behind table and plot."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from PIL import Image

from actionbench.errors import UserError
from actionbench.method import Question, Variant, varied
from actionbench.runs.store import Store
from evaluation.experiments.ablation import (
    Ablation,
    collect,
    distinct_plans,
    estimate,
    find_questions,
    plan_ablation,
    table,
    write_ablation,
)
from evaluation.experiments.measured import measure_each
from evaluation.measures.comparison import compare
from methods.adi import ADI
from tests.helpers.small_run import Drift, Faulty, Plain
from tests.runs.test_campaign import small_setup

STEPS = Question(
    "steps", "Steps", tuple(Variant(f"{n} steps", "drift", (f"steps={n}",)) for n in (2, 3))
)
RATES = Question(
    "rates",
    "Rates",
    (Variant("drift", "drift"), Variant("fast", "drift", ("lr=0.4",)), Variant("faulty", "faulty")),
)
FIND = {"drift": Drift, "faulty": Faulty}.__getitem__


@pytest.fixture(scope="module")
def small(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Ablation]:
    folder = tmp_path_factory.mktemp("ablation")
    planned = plan_ablation(small_setup(tiny_model, folder), [STEPS, RATES], 2, FIND)
    return folder, collect(planned, measure_each(distinct_plans(planned)))


def test_adis_parts_are_asked_for_and_its_own_settings_are_run_once(
    tiny_model: Path, tmp_path: Path
) -> None:
    planned = plan_ablation(small_setup(tiny_model, tmp_path), ADI.ablation(), seeds=3)
    own = [(p.question.name, p.variant.label) for p in planned if p.is_own]
    assert own == [
        ("tokens", "layer-wise"),
        ("merge", "intersection"),
        ("beta", "0.6"),
        ("masked", "zero-gradient"),
        ("noise", "both shared"),
        ("prompts", "Textual Inversion, template"),
        ("prompts", "P+, template"),
        ("prompts", "ADI, caption"),
    ]
    sizes = {q.name: len(q.variants) for q in ADI.ablation()}
    assert sizes == {"tokens": 2, "merge": 5, "beta": 5, "masked": 2, "noise": 4, "prompts": 6}
    plans = distinct_plans(planned)
    # ADI itself, and 1 + 4 + 4 + 1 + 3 + 1 changes to it; two rows for each of the other methods.
    assert len(plans) == 3 * (15 + 4)
    assert [plan.options.seed for plan in plans] == sorted(plan.options.seed for plan in plans)
    betas = {p.plans[0].settings["beta"] for p in planned if p.question.name == "beta"}
    assert betas == {0.2, 0.4, 0.6, 0.8, 0.9}


def test_unknown_names_are_reported() -> None:
    assert [q.name for q in find_questions("adi", ["beta", "tokens"])] == ["tokens", "beta"]
    with pytest.raises(UserError, match="unknown group of the ablation 'bta': did you mean beta"):
        find_questions("adi", ["bta"])
    with pytest.raises(UserError, match=r"'p-plus' declares no ablation; declared by: adi"):
        find_questions("p-plus", None)
    with pytest.raises(UserError, match="unknown method 'adii': did you mean adi"):
        find_questions("adii", None)
    assert varied("adi", "beta", "0", "1") == (
        Variant("0", "adi", ("beta=0",)),
        Variant("1", "adi", ("beta=1",)),
    )


def test_seeds_are_pooled_and_paired(small: tuple[Path, Ablation]) -> None:
    _, ablation = small
    two, three, own, fast, faulty = ablation.variants
    assert [v.planned.is_own for v in ablation.variants] == [False, True, True, False, True]
    for one, other in zip(own.runs, three.runs, strict=True):
        assert one is other, "run once"
    for variant in (two, three, fast):
        assert variant.shares["total"].n == 12
        counts = [run.shares["total"].count for run in variant.runs]
        assert len(counts) == 2 and variant.shares["total"].count == sum(counts)
    found = ablation.against_own(two)
    assert found is not None and (found.n, found.units) == (6, 4)
    difference = two.shares["total"].value - three.shares["total"].value
    assert found.difference == pytest.approx(difference)
    again = compare(two.verdicts, three.verdicts)
    assert (found.difference, found.p_value) == (again.difference, again.p_value)
    # The other comparison, of `fast`, is of the same family.
    assert found.corrected == min(1, 2 * found.p_value) or found.corrected >= found.p_value
    assert ablation.against_own(three) is None
    assert not faulty.runs and len(faulty.failures) == 2 and not faulty.shares


def test_the_same_command_reads_what_is_there(
    small: tuple[Path, Ablation], tiny_model: Path
) -> None:
    folder, ablation = small
    setup = small_setup(tiny_model, folder)
    plans = distinct_plans(plan_ablation(setup, [STEPS, RATES], 2, FIND))
    assert [p.run_id for p in plans if not p.finished] == [
        p.run_id for p in plans if p.method.name == "faulty"
    ]
    again = plan_ablation(setup, [STEPS], 2, FIND)
    read = collect(again, measure_each(distinct_plans(again)))
    assert [v.shares for v in read.variants] == [v.shares for v in ablation.variants[:2]]


def test_estimate_by_the_costs_of_stored_runs(
    small: tuple[Path, Ablation], tiny_model: Path
) -> None:
    folder, _ = small
    setup = small_setup(tiny_model, folder)
    store = Store(folder / "runs")
    for run_id in store.run_ids():  # of two seconds a fit, half a second an image
        record = store.read_record(run_id)
        for cost in record.costs.values():
            if cost.fit:
                cost.fit.seconds = 2.0
            cost.generate.seconds = 0.4 * cost.generate.images
            cost.judge.seconds = 0.1 * cost.judge.images
        store.save_record(record)
    plans = distinct_plans(plan_ablation(setup, [STEPS], 4, FIND))
    found = estimate([*plans, setup.plan(Plain)], store)
    assert (found.runs, found.runs_to_do, found.fits) == (9, 5, 8)
    assert found.images == 4 * 6 + 6 and found.untimed == ("plain",)
    assert found.seconds == pytest.approx(8 * 2 + 24 * 0.5)


def test_files_say_what_was_measured(small: tuple[Path, Ablation], tmp_path: Path) -> None:
    _, ablation = small
    paths = write_ablation(ablation, tmp_path / "out")
    assert [path.suffix for path in paths] == [".md", ".csv", ".json", ".png"]
    with paths[1].open() as file:
        rows = list(csv.DictReader(file))
    assert [row["variant"] for row in rows] == ["2 steps", "3 steps", "drift", "fast", "faulty"]
    two = ablation.variants[0]
    assert int(rows[0]["total_count"]) == two.shares["total"].count
    assert float(rows[0]["action"]) == pytest.approx(two.shares["action"].value, abs=1e-6)
    assert rows[1]["minus_own"] == "" and rows[4]["failed_seeds"] == "2"
    written = json.loads(paths[2].read_text())
    assert written["variants"][3]["settings"] == {"steps": 3, "lr": 0.4}
    assert [seed["seed"] for seed in written["variants"][0]["seeds"]] == [0, 1]
    fits = written["variants"][0]["fits"]
    assert [(fit["action"], fit["seed"]) for fit in fits] == [
        ("gesture", 0), ("gesture", 1), ("salute", 0), ("salute", 1),
    ]  # fmt: skip
    assert sum(fit["total_count"] for fit in fits) == two.shares["total"].count
    # With four fits no p-value is below 2/16.
    untold = (
        "Smallest detectable difference, these actions: cannot be told with 2 actions x 2 fits."
    )
    assert untold in written["notes"]
    assert "it is no sign that a part does nothing" in paths[0].read_text()
    markdown = paths[0].read_text()
    assert "## Steps" in markdown and "| 3 steps (own) | 2 |" in markdown
    assert "ZeroDivisionError" in markdown and "| faulty (own) | 0 | failed |" in markdown
    lines = [line for line in markdown.splitlines() if line.startswith("|")]
    assert {line.count("|") for line in lines} == {9}
    assert list(table(ablation, RATES).rows[2][2:5]) == ["failed"] * 3
    with Image.open(paths[3]) as image:
        assert image.width == 1200 and image.height > 300
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        write_ablation(ablation, tmp_path / "file")
