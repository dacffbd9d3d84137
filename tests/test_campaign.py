"""The quick half of the campaign (benchmarks/campaign): a seeded slice of each kind of case.

In a process of its own, because its cases are forks, which a process with threads cannot make.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.campaign.inputs import form
from benchmarks.campaign.results import Results
from benchmarks.campaign.world import Done

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.skipif(sys.platform == "win32", reason="its cases are forks")
def test_a_slice_of_the_campaign_finds_nothing(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.campaign", "--work", str(tmp_path),
         "--only", "kills,inputs", "--kills", "1", "--inputs", "3"],
        capture_output=True, text=True, cwd=ROOT,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "4 cases in" in done.stdout and ", 0 failed" in done.stdout


def test_a_killed_campaign_goes_on_after_its_last_whole_result(tmp_path: Path) -> None:
    file = tmp_path / "results.jsonl"
    for case in ("one", "two"):
        Results(file, 0).add({"case": case, "problems": []})
    file.write_text(file.read_text()[:-5])
    assert [*Results(file, 0).by_case] == ["one"]
    Results(file, 0).add({"case": "two", "problems": []})
    assert [*Results(file, 0).by_case] == ["one", "two"]
    assert not Results(file, 1).by_case


def test_the_form_of_messages_is_judged() -> None:
    def ended(status: int | None, err: str) -> list[str]:
        return form(Done(status, "", err, 0.0))

    assert not ended(0, "") and not ended(2, "error: runs/run.json is damaged: delete it\n")
    assert not ended(2, "error: photos/captions.csv: 2 problems\n  line 2: a\n  line 3: b\n")
    assert ended(None, "") and ended(-11, "") and ended(70, "Traceback ...")
    assert ended(2, "") and ended(2, "error: something is wrong somewhere\n")
    assert ended(2, "error: 'a' is unknown: name another\nand more\n")
    assert ended(1, "failed: slow: KeyError: 'x'\n")
