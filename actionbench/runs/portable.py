"""Records without what names places of the machine that made them."""

from __future__ import annotations

import re
from typing import Any

from actionbench.runs.record import RunRecord


def portable(record: RunRecord) -> RunRecord:
    """Return a copy of a record without what names places of this machine."""
    copy = RunRecord.from_json(without_places(record.to_json()))
    copy.model.path = copy.suite_file = None
    return copy


def without_places(value: Any) -> Any:
    """The same record, list or word, with absolute paths cut down to their last part: alone or
    after `--option=` or `key=`."""
    if isinstance(value, dict):
        return {key: without_places(item) for key, item in value.items()}
    if isinstance(value, list):
        return [without_places(item) for item in value]
    if isinstance(value, str):
        return re.sub(r"^((?:[\w-]+=)*)/.*/(?=.)", r"\1", value)
    return value
