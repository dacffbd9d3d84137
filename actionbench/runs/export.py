"""Export of a run as a Hugging Face dataset: its images, verdicts, prompts and seeds.

images.parquet   one row an image, with its PNG
README.md        the card; `datasets.load_dataset(FOLDER)` reads it
run.json         the run's record, without places of the machine that made it
export.json      what the folder is, with its fingerprint: `actionbench data push` checks it
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from actionbench.errors import UserError
from actionbench.files.atomic import own_folder, replacing
from actionbench.judge import VERDICT_COLUMNS
from actionbench.progress import SILENT, Progress
from actionbench.runs.kept import same_suite
from actionbench.runs.portable import portable
from actionbench.runs.record import RunRecord
from actionbench.runs.store import Store, read_image
from actionbench.suite import tables
from actionbench.suite.items import Item

MARK, IMAGES, RECORD = "export.json", "images.parquet", "run.json"
FILES = (IMAGES, tables.CARD, RECORD, MARK)
"""All files of an exported run."""
FORMAT = 1
_FIX = "export it again with `actionbench data export RUN`"
_KEPT = tuple(name for name in VERDICT_COLUMNS if name != "image")
"""The columns of verdicts that come along as they are."""
_CHUNK = 256
"""Rows that are in memory at once."""


def export_run(store: Store, run_id: str, out: Path, progress: Progress = SILENT) -> Path:
    """Write a finished run as a dataset into `out`, which is new, empty or an earlier export.

    Raises:
        UserError: for a run that is not finished, a missing or damaged image, and if `out` holds
            anything else; `out` is then unchanged.
    """
    record = store.read_record(run_id)
    if not record.complete:
        raise UserError(f"run {run_id} is {record.state}: export finished runs")
    store.read_verdicts(record)  # checks them
    verdicts = store.load_row_dicts(run_id)
    prompts = _prompts(store, record)
    out = own_folder(out, MARK)
    with replacing(out) as folder:
        folder.mkdir()
        _write_images(store, record, verdicts, prompts, folder / IMAGES, progress)
        (folder / tables.CARD).write_text(_card(record, len(verdicts)), "utf-8")
        (folder / RECORD).write_text(json.dumps(portable(record).to_json(), indent=1), "utf-8")
        facts = {
            "format": FORMAT,
            "run": run_id,
            "fingerprint": tables.fingerprint(folder, [IMAGES], _FIX),
        }
        (folder / MARK).write_text(json.dumps(facts, indent=1) + "\n", "utf-8")
    return out


def is_export(folder: Path) -> bool:
    """Check whether a folder holds an exported run."""
    return (folder / MARK).exists()


def check_export(folder: Path) -> str:
    """Check that an exported run is whole and unchanged, and return its fingerprint.

    Raises:
        UserError: if it is not.
    """
    path = folder / MARK
    try:
        facts = json.loads(path.read_text("utf-8"))
        version, fingerprint = facts["format"], facts["fingerprint"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} is missing or damaged ({error}): {_FIX}") from error
    if version != FORMAT:
        raise UserError(f"{path} is of format {version}, this version reads {FORMAT}: {_FIX}")
    for name in FILES:
        if not (folder / name).is_file():
            raise UserError(f"{folder / name} is missing: {_FIX}")
    found = tables.fingerprint(folder, [IMAGES], _FIX)
    if found != fingerprint:
        raise UserError(f"{folder} was changed since it was made (its fingerprint is {found}, it "
                        f"was {fingerprint}): {_FIX}")  # fmt: skip
    return found


def _prompts(store: Store, record: RunRecord) -> dict[tuple[str, str, int], str]:
    """Write the items' prompts in plain words; nothing if the suite is gone or another by now."""
    suite = same_suite(store, record)
    if suite is None:
        return {}
    return {
        (action.name, subject.name, index): Item(
            action, subject, index, record.seed, suite.prompt
        ).described_prompt
        for action in suite.pick_actions(record.actions)
        for subject in suite.pick_subjects(record.subjects)
        for index in range(record.images_per_pair)
    }


def _write_images(
    store: Store,
    record: RunRecord,
    verdicts: list[dict[str, Any]],
    prompts: Mapping[tuple[str, str, int], str],
    path: Path,
    progress: Progress,
) -> None:
    import datasets
    import pyarrow as pa
    import pyarrow.parquet as pq

    kinds = {str: "string", int: "int64", bool: "bool", float: "float64"}
    features = datasets.Features(
        {
            "image": datasets.Image(),
            "run": datasets.Value("string"),
            "prompt": datasets.Value("string"),
            **{name: datasets.Value(kinds[VERDICT_COLUMNS[name]]) for name in _KEPT},
        }
    )
    schema = features.arrow_schema
    with pq.ParquetWriter(path, schema) as writer:
        for begin in range(0, len(verdicts), _CHUNK):
            rows = []
            for row in verdicts[begin : begin + _CHUNK]:
                file = store.root / row["image"]
                read_image(file)  # a damaged image is named, and not passed on
                key = (row["action"], row["subject"], row["index"])
                rows.append(
                    {
                        "image": {"bytes": file.read_bytes(), "path": file.name},
                        "run": record.id,
                        "prompt": prompts.get(key),
                        **{name: row[name] for name in _KEPT},
                    }
                )
            writer.write_table(pa.Table.from_pylist(rows, schema=schema))
            progress.update(begin + len(rows), len(verdicts), f"exporting {record.id}")


def _card(record: RunRecord, count: int) -> str:
    command = " ".join(portable(record).command)
    return f"""---
license: unknown
pretty_name: {json.dumps(f"ActionBench run {record.id}")}
task_categories:
  - text-to-image
tags:
  - action-customization
  - personalization
  - generated
size_categories:
  - {"n<1K" if count < 1000 else "1K<n<10K" if count < 10_000 else "10K<n<100K"}
configs:
  - config_name: images
    data_files:
      - split: test
        path: {IMAGES}
    default: true
---
# {_plain(record.title)}: {count} judged images

What {_plain(record.title)} drew for the benchmark of action customization (ADI, CVPR 2024, arXiv
2311.15841), and what a judge saw on each image. **Name the licence of the base model's images here,
and in the first lines, before you share them.**

| | |
|---|---|
| run | {record.id} |
| protocol | {record.protocol} |
| suite | {record.suite} {record.suite_fingerprint} |
| model | {_plain(record.model.name)} {record.model.fingerprint} |
| judge | {record.judge.name} {record.judge.fingerprint} |
| seed | {record.seed} |

```
{command}
```

```python
from datasets import load_dataset

images = load_dataset("FOLDER", split="test")
```

## Columns
- `image`: as it was drawn. `prompt`: in plain words, without a method's identifier.
- `action`, `subject`, `category`, `index`: the item; `seed`: of its noise.
- `action_correct`, `subject_correct`, `total_correct`: the verdict; total needs both.
- `action_seen`, `subject_seen`, `action_score`, `subject_score`: the judge's answer, and its
  probability of the item's own.
- `run`, `method`, `suite`, `protocol`, `judge`, `judge_fingerprint`: what made them; `{RECORD}` has
  the settings.
"""


def _plain(text: str) -> str:
    """A name in one line, without what Markdown would read."""
    return " ".join(text.split()).translate(str.maketrans("", "", "|`*_<>[]#"))
