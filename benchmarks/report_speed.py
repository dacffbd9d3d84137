"""Time `actionbench report` on a large board: 8 methods x 32 actions x 2 seeds x 46 images.

    python benchmarks/report_speed.py

Verdicts are made up and stored as runs, and the board is built, printed and written in a process of
its own. Targets: 10 s and 1 GiB. On a machine that does much else meanwhile, processor time says
more than the clock.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

METHODS, ACTIONS, SEEDS = 8, 32, 2
TARGET_SECONDS, TARGET_MIB = 10.0, 1024


def make_runs(runs: Path) -> None:
    """Store made-up runs."""
    from actionbench.runs.record import RunRecord
    from actionbench.runs.store import Store
    from actionbench.suite.items import Item, paper_actions, paper_subjects

    actions = [replace(paper_actions()[0], name=f"action {n}") for n in range(ACTIONS)]
    subjects = paper_subjects()
    rng = np.random.default_rng(0)
    store = Store(runs)
    store.prepare()
    names = [action.name for action in actions]
    for method in range(METHODS):
        for seed in range(SEEDS):
            run_id = f"method-{method}-{seed:08x}"
            rows = []
            for action in actions:
                chance = rng.beta(2, 2)
                for subject in subjects:
                    for index in range(2):
                        item = Item(action, subject, index, seed)
                        right, kept = bool(rng.random() < chance), bool(rng.random() < 0.8)
                        rows.append(
                            {
                                **{"method": f"method-{method}", "suite": "large"},
                                **{"protocol": "large-v1", "action": action.name},
                                **{"subject": subject.name, "category": subject.category},
                                **{"index": index, "seed": item.seed, "image": f"{item.id}.png"},
                                **{"action_correct": right, "subject_correct": kept},
                                **{"total_correct": right and kept, "action_seen": "none"},
                                **{"subject_seen": "none", "action_score": 0.5},
                                **{"subject_score": 0.5, "judge": "j", "judge_fingerprint": "1"},
                            }
                        )
            cost = {"seconds": 1.0, "images": 46}
            record = {
                **{"id": run_id, "complete": True, "method": f"method-{method}"},
                **{"title": f"Method {method}", "settings": {}, "changed_settings": {}},
                **{"suite": "large", "suite_fingerprint": "s", "protocol": "large-v1"},
                **{"model": {"name": "m", "fingerprint": "m"}},
                **{"judge": {"name": "j", "fingerprint": "1"}},
                **{"actions": names, "subjects": [subject.name for subject in subjects]},
                **{"images_per_pair": 2, "n_items": len(rows), "seed": seed, "dtype": "float32"},
                **{"peak_mib": 1, "started": "2026-01-01T00:00:00+00:00"},
                "keys": {name: {"fit": "f", "images": "i", "verdicts": "v"} for name in names},
                "costs": {
                    name: {"fit": {"seconds": 1.0}, "generate": cost, "judge": cost}
                    for name in names
                },
                "finished": "2026-01-02T00:00:00+00:00",
            }
            store.save_rows(run_id, rows)
            store.save_record(RunRecord.from_json(record))


def processor_seconds() -> float:
    """Add up what finished processes of this one have worked."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> None:
    """Print seconds and memory against their targets."""
    cli = Path(__file__).resolve().parents[1] / "cli.py"
    with tempfile.TemporaryDirectory() as folder:
        make_runs(Path(folder))
        spent, worked = [], []
        for more in (["--html", "none"], []):
            began, before = time.perf_counter(), processor_seconds()
            words = [sys.executable, str(cli), "report", "--runs", folder, *more]
            subprocess.run(words, check=True, stdout=subprocess.DEVNULL)
            spent.append(time.perf_counter() - began)
            worked.append(processor_seconds() - before)
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        board = json.loads((Path(folder) / "report" / "board.json").read_text("utf-8"))
        n = sum(row["n"] for row in board["rows"] if row["section"] == "measured")
    mib = used.ru_maxrss / 1024
    print(f"{n} verdicts, {len(board['comparisons'])} comparisons of total accuracy")
    print(f"{spent[0]:.1f} s without the page, {spent[1]:.1f} s with it, "
          f"target {TARGET_SECONDS:.0f} s")  # fmt: skip
    print(f"{worked[0]:.1f} s and {worked[1]:.1f} s of processor time")
    print(f"{mib:.0f} MiB at most, target {TARGET_MIB}")


if __name__ == "__main__":
    main()
