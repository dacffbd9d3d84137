"""Stored runs, read and checked: what boards and pictures stand on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from actionbench.errors import UserError
from actionbench.runs.store import Store
from evaluation.measures.comparison import PAIR

if TYPE_CHECKING:
    import pandas as pd


def read_record(store: Store, run_id: str) -> dict[str, Any]:
    """A run's record. Raises UserError where it is damaged or gone."""
    record = store.load_record(run_id)
    if record is None:
        raise UserError(f"{store.run_folder(run_id) / 'run.json'} has vanished: run it again")
    return record


def read_verdicts(store: Store, record: Mapping[str, Any]) -> pd.DataFrame:
    """A run's verdicts, `judge.VERDICT_COLUMNS`, of the actions that are finished.

    Raises UserError for a file that cannot be read, and for one that can but is not this run's.
    """
    path = store.run_folder(record["id"]) / "verdicts.parquet"
    verdicts = store.load_rows(record["id"])
    problem = ""
    if verdicts[[*PAIR, "action_correct", "subject_correct"]].isna().any(axis=None):
        problem = "empty values"
    elif verdicts.duplicated(PAIR).any():
        problem = "an image twice"
    elif not set(verdicts["judge_fingerprint"]) <= {record["judge"]["fingerprint"]}:
        problem = "verdicts of another judge than run.json says"
    elif not set(verdicts["action"]) <= set(record["actions"]) or not (
        set(verdicts["subject"]) <= set(record["subjects"])
    ):
        problem = "actions or subjects that run.json does not list"
    elif record["complete"] and len(verdicts) != record["n_items"]:
        problem = f"{len(verdicts)} images of {record['n_items']}, though run.json says complete"
    if problem:
        raise UserError(
            f"{path} is damaged (it holds {problem}): delete the folder {path.parent} "
            "and run the same command again"
        )
    return verdicts
