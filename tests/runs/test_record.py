"""Records of earlier versions stay readable: `golden/runs-b82ca29` holds a finished and a failed
run that b82ca29 made on the tiny model, with places of its machine cut out."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from actionbench.runs.record import FitCost, RunRecord, Unreadable
from actionbench.runs.store import Store
from leaderboards import build_board
from leaderboards.reference import find_reference

HISTORIC = Path(__file__).parents[1] / "golden" / "runs-b82ca29"


def test_a_finished_run_of_an_earlier_version_is_read_and_shown() -> None:
    store = Store(HISTORIC)
    record = store.read_record("textual-inversion-f2ba2800")
    assert record.state == "finished" and record.method == "textual-inversion"
    assert record.changed_settings == {"steps": 3} and record.n_items == 12
    assert [fit.seconds > 0 for fit in record.fits] == [True, True]
    assert (record.profile, record.prompts) == ("tuned", "own")
    assert record.model.name == "tiny-model" and record.judge.name == "brightness"
    assert len(store.read_verdicts(record)) == 12
    rows = {row.run_id: row for group in build_board(HISTORIC).groups for row in group.rows}
    assert rows["textual-inversion-f2ba2800"].label == "steps=3"


def test_a_failed_run_of_an_earlier_version_is_read_and_shown() -> None:
    record = Store(HISTORIC).read_record("faulty-4e2f13d7")
    assert record.failure is not None and record.failure.doing == "fitting"
    assert record.state.startswith("failed on gesture: ZeroDivisionError: a defect")
    (note,) = build_board(HISTORIC).notes
    assert "faulty-4e2f13d7" in note and "failed fitting 'gesture'" in note


def test_kept_records_come_back_as_they_were_written() -> None:
    """What is written again is what was read, but for parts that the first records lacked."""
    for file in find_reference("puppets-v1").glob("runs/*/run.json"):
        values = json.loads(file.read_text())
        again = RunRecord.from_json(values).to_json()
        assert {name: again[name] for name in values if name != "model"} == {
            name: value for name, value in values.items() if name != "model"
        }
        assert again["model"] == {"path": None, **values["model"]}
        assert all(fit.bytes for fit in RunRecord.from_json(values).fits)


@pytest.mark.parametrize(
    ("change", "part"),
    [
        ({"seed": "0"}, "seed"),
        ({"complete": 1}, "complete"),
        ({"n_items": True}, "n_items"),
        ({"subjects": "boy"}, "subjects"),
        ({"model": {"name": "x"}}, "model.fingerprint"),
        ({"failure": {"action": "sit"}}, "failure.doing"),
        ({"costs": {}}, "costs.salute"),
        ({"keys": {"salute": {"fit": 3}}}, "keys.salute.fit"),
    ],
)
def test_what_is_wrong_in_a_record_is_named(change: dict[str, object], part: str) -> None:
    file = HISTORIC / "runs" / "textual-inversion-f2ba2800" / "run.json"
    with pytest.raises(Unreadable, match=rf"^{part}$"):
        RunRecord.from_json({**json.loads(file.read_text()), **change})


def test_what_a_fit_measured_is_kept_with_its_cost() -> None:
    file = HISTORIC / "runs" / "textual-inversion-f2ba2800" / "run.json"
    values = json.loads(file.read_text())
    values["costs"]["salute"]["fit"]["measures"] = {"relative_norm": 1.5}
    record = RunRecord.from_json(values)
    assert [fit.measures for fit in record.fits] == [{"relative_norm": 1.5}, None]
    assert record.to_json()["costs"]["salute"] == values["costs"]["salute"]


def test_costs_leave_out_what_is_not_known() -> None:
    assert FitCost(1.5, 900, "cpu").to_json() == {"seconds": 1.5, "peak_mib": 900, "device": "cpu"}
