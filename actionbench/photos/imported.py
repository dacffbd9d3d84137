"""An imported dataset's folder: its files, its check, and its card."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from actionbench.errors import UserError
from actionbench.suite import tables as dataset
from actionbench.suite.items import SLOT
from actionbench.suite.suite import Suite, get_suite
from actionbench.suite.yaml_file import SUITE_FILE

FACTS = "dataset.json"
"""The choices of an import and their outcome. This file marks a folder as an imported dataset."""

FORMAT = 1
TABLES = (dataset.EXEMPLARS, dataset.SUBJECTS)
FILES = (*TABLES, dataset.CARD, SUITE_FILE, FACTS)
"""All files of an imported dataset."""

FIX = "import it again with `actionbench data import`, or pull it again"
"""How to fix a damaged dataset; it ends the messages."""


def check_imported(folder: Path) -> str:
    """Check that an imported dataset is whole and unchanged, and return its fingerprint.

    Raises:
        UserError: if it is not.
    """
    facts = read_facts(folder)
    suite = get_suite(str(folder))
    fingerprint = dataset.fingerprint(folder, TABLES, FIX)
    if fingerprint != facts["fingerprint"]:
        raise UserError(
            f"{folder} was changed since it was made (its fingerprint is {fingerprint}, it was "
            f"{facts['fingerprint']}): {FIX}"
        )
    rows = pq.read_table(folder / dataset.EXEMPLARS, columns=["action", "description"]).to_pylist()
    described = {row["action"]: row["description"] for row in rows}
    subjects = pq.read_table(folder / dataset.SUBJECTS).to_pylist()
    if described != {action.name: action.description for action in suite.actions} or (
        subjects != dataset.subject_rows(suite.subjects)
    ):
        raise UserError(
            f"{folder / SUITE_FILE} has other actions or subjects than the dataset was made with: "
            f"{FIX}"
        )
    return fingerprint


def is_imported(folder: Path) -> bool:
    """Check whether a folder holds an imported dataset."""
    return (folder / FACTS).exists()


def read_facts(folder: Path) -> dict[str, Any]:
    """Read `FACTS`.

    Raises:
        UserError: if it is missing, damaged, or of another format.
    """
    path = folder / FACTS
    try:
        facts = json.loads(path.read_text("utf-8"))
        known = facts["format"] == FORMAT and isinstance(facts["fingerprint"], str)
    except FileNotFoundError as error:
        raise UserError(
            f"{folder} is not an imported dataset ({FACTS} is missing): `actionbench data import` "
            "makes one from photographs"
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} is damaged ({error}): {FIX}") from error
    if not known:
        raise UserError(f"{path} is of another format than this version's {FORMAT}: {FIX}")
    return facts  # type: ignore[no-any-return]


def write_card(suite: Suite, facts: Mapping[str, Any], path: Path) -> None:
    """Write the dataset's card; its reader adds source and licence by hand."""
    total = sum(facts["counts"].values())
    actions = "\n".join(
        f'- **{a.name}** ({facts["counts"][a.name]}): "{a.description}"' for a in suite.actions
    )
    read = "as a pose model read them" if facts["keypoints"] else "not read: empty"
    card = f"""---
license: unknown
pretty_name: {json.dumps(suite.title)}
task_categories:
  - text-to-image
tags:
  - action-customization
  - personalization
size_categories:
  - n<1K
configs:
{dataset.card_configs(TABLES)}
---
# {suite.title}

Photographs of people doing {len(suite.actions)} actions, for the benchmark of action customization
(ADI, CVPR 2024, arXiv 2311.15841), in ActionBench's format. **Name their source and licence here,
and in the first lines, before you share them.**

| configuration | rows | what |
|---|---|---|
| `exemplars` | {total} | photographs of the actions |
| `subjects` | {len(suite.subjects)} | the subjects that a learned action is drawn with |

`actionbench run --suite FOLDER --method adi` measures a method on it; `{SUITE_FILE}` says what is
measured and how.

## Columns of `exemplars`
- `image`: {facts["size"]} x {facts["size"]} RGB, fitted by: {facts["fit"]}.
- `action`, `description`: the action's name, and the words that prompts describe it with.
- `caption`: what is to be seen, with the description in it. Source: {facts["captions"]}.
- `template`: the caption with `{SLOT}` in place of the description, for a method's identifier.
- `keypoints`, `skeleton`: 18 points in OpenPose's order, each x, y in [0, 1] and visibility, and
  their drawing; {read}.

## Actions
{actions}
"""
    path.write_text(card, "utf-8")
