"""What 100, 300 and 1,000 labels of a row buy, on the rows of a kept measurement.

python benchmarks/people_budget.py [NAME_OR_DIR]
"""

from __future__ import annotations

import sys

from actionbench.runs.store import Store
from evaluation.people.budget import expect, table
from leaderboards.reference import find_reference

LABELS = (40, 100, 300, 1000)


def main() -> None:
    store = Store(find_reference(sys.argv[1] if len(sys.argv) > 1 else "puppets-v1"))
    rows = []
    for run_id in store.run_ids():
        record = store.read_record(run_id)
        verdicts = store.read_verdicts(record)
        for labels in LABELS:
            rows.append(expect(verdicts, labels, row=record.title))
    print(table(rows).markdown())


if __name__ == "__main__":
    main()
