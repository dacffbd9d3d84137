"""Registered claims: kept, failed or untold, and never left out."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from actionbench.errors import UserError
from actionbench.runs.store import Store
from leaderboards import build_board
from leaderboards.claims import (
    REGISTERED,
    Judged,
    add_claims,
    claims_table,
    judge_claims,
    read_claims,
)
from tests.conftest import Done
from tests.helpers.verdicts import Rule, first_actions, make_verdicts, save_run

BASE: dict[str, Any] = {
    "name": "better", "claim": "ADI is above P+.", "test": "difference", "measure": "total",
    "above": ["adi"], "below": ["p-plus"], "of": "actions at large", "unit": "action",
    "n": {"actions": 8, "seeds": 1}, "suite": "puppets", "profile": "tuned", "block": "own",
}  # fmt: skip
SHARE: dict[str, Any] = {
    **{part: value for part, value in BASE.items() if part != "below"},
    **{"name": "neglect", "test": "share", "measure": "neglect", "over": 0.8},
}


def write(folder: Path, *entries: Any) -> Path:
    path = folder / "claims.yaml"
    path.write_text(yaml.safe_dump(list(entries)), "utf-8")
    return path


def save(runs: Path, method: str, rule: Rule, seed: int = 0) -> None:
    run_id = save_run(runs, make_verdicts(rule, method=method), seed=seed)
    store = Store(runs)
    store.save_record(replace(store.read_record(run_id), changed_settings={}))


def judge(folder: Path, *entries: Any) -> list[Judged]:
    return judge_claims(read_claims(write(folder, *entries)), build_board(folder / "runs"))


def test_a_claim_is_kept_or_failed(tmp_path: Path) -> None:
    save(tmp_path / "runs", "adi", first_actions(range(8)))
    save(tmp_path / "runs", "p-plus", first_actions([]))
    (kept,) = judge(tmp_path, BASE)
    assert (kept.verdict, kept.p_value) == ("kept", pytest.approx(2 / 256))
    turned = {**BASE, "above": ["p-plus"], "below": ["adi"]}
    (failed,) = judge(tmp_path, turned)
    assert failed.verdict == "failed" and "p-plus − adi -100.0" in failed.why
    family = [{**BASE, "name": f"better {n}"} for n in range(7)]
    assert {one.verdict for one in judge(tmp_path, *family)} == {"failed"}, "7 times 2/256"


def test_all_parts_must_hold(tmp_path: Path) -> None:
    for method, right in (("adi", range(8)), ("p-plus", []), ("dreambooth", range(7))):
        save(tmp_path / "runs", method, first_actions(right))
    (one,) = judge(tmp_path, {**BASE, "below": ["p-plus", "dreambooth"]})
    assert one.verdict == "failed" and one.p_value == 1 and "adi − p-plus +100.0" in one.why


def test_shares_over_a_bound(tmp_path: Path) -> None:
    rare = lambda a, s, i: (s == 0 or (s == 1 and i == a % 2), True)  # noqa: E731
    save(tmp_path / "runs", "adi", rare)
    save(tmp_path / "runs", "p-plus", lambda a, s, i: (s < 4, True))
    kept, failed = judge(tmp_path, SHARE, {**SHARE, "name": "other", "above": ["p-plus"]})
    assert (kept.verdict, failed.verdict) == ("kept", "failed")
    assert "adi 93.5%" in kept.why and "p-plus 82.6%" in failed.why


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"suite": "puppets-48"}, "no complete run of adi on suite puppets-48"),
        ({"profile": "published"}, "no complete run of adi .* profile published"),
        ({"block": "caption"}, "no complete run of adi .* prompts caption"),
        ({"above": ["reversion"]}, "no complete run of reversion"),
        ({"n": {"actions": 48, "seeds": 1}}, "adi has 8 actions, 48 are registered"),
        ({"n": {"actions": 8, "seeds": 2}}, r"adi has seeds \[0\], and \[1\] are registered"),
        ({"of": "these actions", "unit": "fit"}, "one fit of an action"),
    ],
)
def test_what_was_not_measured_as_registered_cannot_be_told(
    tmp_path: Path, change: dict[str, Any], why: str
) -> None:
    save(tmp_path / "runs", "adi", first_actions(range(8)))
    save(tmp_path / "runs", "p-plus", first_actions([]))
    judged = judge(tmp_path, {**BASE, **change}, {**BASE, "name": "second"})
    assert [one.verdict for one in judged] == ["cannot be told", "kept"]
    assert re.search(why, judged[0].why), judged[0].why
    assert len(claims_table(judged).rows) == 2, "never left out"


def test_seeds_that_were_not_registered_are_not_looked_at(tmp_path: Path) -> None:
    save(tmp_path / "runs", "adi", first_actions(range(8)))
    save(tmp_path / "runs", "adi", first_actions([]), seed=1)
    save(tmp_path / "runs", "p-plus", first_actions([]))
    (one,) = judge(tmp_path, BASE)
    assert one.verdict == "kept" and "+100.0" in one.why


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"above": ["adii"]}, "claim better: unknown method 'adii': did you mean adi"),
        ({"measure": "totl"}, "unknown measure 'totl'"),
        ({"test": "guess"}, "unknown test 'guess'"),
        ({"profile": "mine"}, "unknown profile 'mine'"),
        ({"unit": "fit"}, "unknown unit 'fit'"),
        ({"n": 8}, "'n' must be"),
        ({"n": {"actions": 0, "seeds": 1}}, "'n.actions' must be"),
        ({"over": 0.8}, "unknown part 'over'"),
        ({"below": []}, "'below' must be a list"),
        ({"below": ["p-plus", "adi"]}, "adi cannot be above itself"),
    ],
)
def test_a_file_with_a_mistake(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        read_claims(write(tmp_path, {**BASE, **change}))


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="No such file"):
        read_claims(tmp_path / "none.yaml")
    (tmp_path / "claims.yaml").write_text("a: [", "utf-8")
    with pytest.raises(UserError, match="is no YAML"):
        read_claims(tmp_path / "claims.yaml")
    with pytest.raises(UserError, match="two claims are named better"):
        read_claims(write(tmp_path, BASE, BASE))
    missing = {part: value for part, value in BASE.items() if part != "n"}
    with pytest.raises(UserError, match="'n' is missing"):
        read_claims(write(tmp_path, missing))


def test_the_registered_claims_are_whole() -> None:
    claims = read_claims(REGISTERED)
    assert {(c.suite, c.profile, c.actions, c.seeds) for c in claims} == {
        ("puppets-48", "published", 48, 1)
    }
    assert [c.block for c in claims] == ["caption", "template", "own", "own"]
    judged = judge_claims(claims, build_board(Path("no-such-folder")))
    assert [one.verdict for one in judged] == ["cannot be told"] * 4


def test_registered_claims_about_a_boards_suites_stand_under_it(tmp_path: Path) -> None:
    for method, rule in (("adi", first_actions(range(8))), ("p-plus", first_actions([]))):
        run_id = save_run(tmp_path, make_verdicts(rule, method=method))
        store = Store(tmp_path)
        record = store.read_record(run_id)
        store.save_record(
            replace(record, suite="puppets-48", profile="published", prompts="caption")
        )
    board = add_claims(build_board(tmp_path))
    assert [one.claim.name for one in board.claims] == [c.name for c in read_claims(REGISTERED)]
    assert "puppets-48, published, prompts caption; difference of total" in str(
        claims_table(board.claims).rows[0]
    )


def test_the_command_prints_every_claim(tmp_path: Path, typed: Callable[..., Done]) -> None:
    runs = tmp_path / "runs"
    save(runs, "adi", first_actions(range(8)))
    save(runs, "p-plus", first_actions([]))
    file = write(tmp_path, BASE, {**BASE, "name": "later", "suite": "puppets-48"})
    done = typed("report", "--runs", runs, "--claims", file)
    assert done.returncode == 0 and "better" in done.stdout and "kept" in done.stdout
    assert "cannot be told" in done.stdout and "later" in done.stdout
    registered = typed("report", "--runs", runs, "--claims")
    assert registered.returncode == 0 and "neglect-over-80" in registered.stdout
    board = json.loads((runs / "report/board.json").read_text())
    assert [claim["verdict"] for claim in board["claims"]] == ["cannot be told"] * 4
    assert "neglect-over-80" in (runs / "report/board.md").read_text()
    unasked = typed("report", "--runs", runs, "--html", "none")
    assert "Registered claims" not in unasked.stdout, "none is about this suite"
    unknown = write(tmp_path, {**BASE, "above": ["adii"]})
    wrong = typed("report", "--runs", runs, "--claims", unknown)
    assert (wrong.returncode, wrong.stdout) == (2, "") and "did you mean adi" in wrong.stderr


def test_power_says_what_a_design_detects(tmp_path: Path, typed: Callable[..., Done]) -> None:
    runs = tmp_path / "runs"
    for seed in range(2):
        save(runs, "adi", lambda a, s, i, seed=seed: (s < 2 * a + seed, True), seed)
        save(runs, "p-plus", lambda a, s, i, seed=seed: (s < 9 - seed * a % 3, True), seed)
    done = typed("power", "--runs", runs, "--actions", "8,48", "--seeds", "1,4", "--gaps", "10")
    assert done.returncode == 0 and "4 fits each" in done.stdout
    assert "these actions" in done.stdout and "cannot be told" not in done.stdout
    save_run(tmp_path / "one", make_verdicts(first_actions([0])))
    alone = typed("power", "--runs", tmp_path / "one")
    assert alone.returncode == 2 and "two complete methods" in alone.stderr
    bad = typed("power", "--runs", runs, "--actions", "8,x")
    assert bad.returncode == 2 and "whole numbers from 1 on" in bad.stderr


def test_power_says_what_labels_buy_and_their_floor(
    tmp_path: Path, typed: Callable[..., Done]
) -> None:
    runs = tmp_path / "runs"
    save(runs, "adi", lambda a, s, i: (s < 2 * a, True))
    save(runs, "p-plus", lambda a, s, i: (s < 9, True))
    few, many = 80, 600
    done = typed("power", "--runs", runs, "--budget", f"{few},{many}")
    lines = [line for line in done.stdout.splitlines() if "labels of a row" in line]
    assert [re.findall(r"^(\d+) labels of a row \((\d+) in all\)", line) for line in lines] == [
        [("40", "80")],
        [("300", "600")],
    ]
    assert all("actions at large" in line and "8 actions are few" in line for line in lines)
    alone, corrected, floor, these = zip(
        *([float(x) for x in re.findall(r"±(\d+\.\d)", line)] for line in lines), strict=True
    )
    assert floor[0] == floor[1], "labels do not move it"
    for place in range(2):
        assert alone[place] >= corrected[place] >= floor[place]
    assert corrected[0] > corrected[1] and these[0] > these[1] < floor[1]
    default = typed("power", "--runs", runs)
    assert "150 labels of a row (300 in all)" in default.stdout
    short = typed("power", "--runs", runs, "--budget", "79")
    assert short.returncode == 2 and "--budget 80 or fewer runs" in short.stderr


def test_power_says_what_labels_buy_of_one_method(
    tmp_path: Path, typed: Callable[..., Done]
) -> None:
    """Its row alone is enough, and what takes two methods is said to be missing."""
    runs = tmp_path / "runs"
    save(runs, "adi", lambda a, s, i: (s < 2 * a, True))
    alone = typed("power", "--runs", runs, "--budget", "40,300")
    assert alone.returncode == 0, alone.stderr
    assert "two complete methods on two actions" in alone.stdout
    assert "Smallest detectable" not in alone.stdout
    lines = [line for line in alone.stdout.splitlines() if "labels of a row" in line]
    assert [line.split(":")[0] for line in lines] == [
        "40 labels of a row (40 in all)",
        "300 labels of a row (300 in all)",
    ]
    unasked = typed("power", "--runs", runs)
    assert unasked.returncode == 2 and "--budget says" in unasked.stderr
    save(runs, "p-plus", lambda a, s, i: (s < 9, True))
    both = typed("power", "--runs", runs, "--budget", "80")
    row = next(line for line in alone.stdout.splitlines() if line.strip().startswith("adi"))
    assert " ".join(row.split()) in " ".join(both.stdout.split()), "the same row, the same figures"
    none = typed("power", "--runs", tmp_path / "empty", "--budget", "80")
    assert none.returncode == 2 and none.stdout == ""
