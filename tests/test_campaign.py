"""The quick half of the campaign (benchmarks/campaign): a seeded slice of each kind of case.

In a process of its own, because its cases are forks, which a process with threads cannot make.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.campaign.inputs import form
from benchmarks.campaign.world import Done

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.skipif(sys.platform == "win32", reason="its cases are forks")
def test_a_slice_of_the_campaign_finds_nothing_and_goes_on(tmp_path: Path) -> None:
    def campaign(*words: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.campaign", "--work", str(tmp_path), *words],
            capture_output=True, text=True, cwd=ROOT,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    first = campaign("--only", "kills,inputs", "--kills", "1", "--inputs", "3")
    assert "4 cases in" in first and ", 0 failed" in first
    # The last line is cut, as by a kill: that case alone is run again.
    results = tmp_path / "results.jsonl"
    whole = results.read_text()
    results.write_text(whole[:-20])
    again = campaign("--only", "kills,inputs", "--kills", "1", "--inputs", "3")
    assert "4 cases in" in again
    assert results.read_text().startswith(whole[:-20]) and len(results.read_text()) > len(whole)


def test_the_form_of_messages_is_judged() -> None:
    def ended(status: int | None, err: str) -> list[str]:
        return form(Done(status, "", err, 0.0))

    assert not ended(0, "") and not ended(2, "error: runs/run.json is damaged: delete it\n")
    assert not ended(2, "error: photos/captions.csv: 2 problems\n  line 2: a\n  line 3: b\n")
    assert ended(None, "") and ended(-11, "") and ended(70, "Traceback ...")
    assert ended(2, "") and ended(2, "error: something is wrong somewhere\n")
    assert ended(2, "error: 'a' is unknown: name another\nand more\n")
    assert ended(1, "failed: slow: KeyError: 'x'\n")
