"""Verification of a submission: everything that its folder claims is checked, or judged, or made
again.

Nothing of the folder is executed: methods, judges, models and suites are this machine's own. What
reaches the disk or the decoder is checked first, because whoever wrote the folder may mean harm.
"""

from __future__ import annotations

import dataclasses
import json
import math
import random
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from actionbench.device import resolve_device
from actionbench.errors import UserError
from actionbench.files.models import resolve_model
from actionbench.judge import PAIR, Judge
from actionbench.progress import SILENT, Progress
from actionbench.registry import get_method, make_judge
from actionbench.runs.canary import TOLERANCE
from actionbench.runs.execute import execute
from actionbench.runs.options import RunOptions
from actionbench.runs.plan import make_run_id, plan_run
from actionbench.runs.provenance import now, versions
from actionbench.runs.record import RunRecord
from actionbench.runs.store import Store, read_image
from actionbench.settings import restored_settings
from actionbench.suite.items import Action, Item, Subject, slug
from actionbench.suite.suite import Suite, get_suite
from evaluation.measures.accuracy import outcomes
from evaluation.measures.comparison import compare
from evaluation.tables import Table
from leaderboards.submission.folder import (
    FORMAT,
    MARK,
    RIGHT,
    VERIFICATION,
    Level,
    file_sha256,
    pixels_sha256,
    schema,
)

if TYPE_CHECKING:
    from actionbench.runs.plan import Plan

SAMPLE = 32
"""Images judged again, of each row."""
AGREEING = 0.9
"""The least share of verdicts that fits made again have to repeat where images differ."""
_MOST_BYTES = 64 * 2**20
"""Of a JSON or Parquet file: more than any run needs."""
_BATCH = 16


@dataclass(frozen=True)
class Check:
    """One thing that was checked."""

    name: str
    passed: bool
    detail: str
    """What was compared, or what is wrong, where."""


@dataclass
class Verification:
    """What was found, and the level of trust of each row."""

    folder: Path
    seed: int
    """What the samples were drawn with; the same one draws the same."""
    checks: list[Check] = field(default_factory=list)
    levels: dict[str, Level] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        return all(check.passed for check in self.checks)

    def table(self) -> Table:
        """List the checks."""
        rows = [("passed" if c.passed else "FAILED", c.name, c.detail) for c in self.checks]
        return Table("", ("", "check", "what"), rows, left=("check", "what"))

    def write(self) -> Path:
        """Write it into the submission, where boards read the level of trust.

        Raises:
            UserError: if something failed, or the file cannot be written.
        """
        from actionbench.files.atomic import write_text

        if not self.passed:
            raise UserError(
                f"{self.folder} failed its verification, which is not written: mend what differs"
            )
        store = Store(self.folder)
        rows = {
            run_id: {
                "level": level,
                "verdicts_sha256": file_sha256(store.run_folder(run_id) / "verdicts.parquet"),
            }
            for run_id, level in self.levels.items()
        }
        facts = {
            "seed": self.seed,
            "made": now(),
            "versions": versions(),
            "checks": [dataclasses.asdict(check) for check in self.checks],
            "rows": rows,
        }
        return write_text(self.folder / VERIFICATION, json.dumps(facts, indent=1) + "\n")


class _Wrong(Exception):
    """A claim that does not hold; the message says which, where."""


def verify(
    folder: Path,
    *,
    sample: int = SAMPLE,
    redo: int = 0,
    seed: int | None = None,
    suite: str | None = None,
    model: str | None = None,
    judge_words: Sequence[str] = (),
    device: str = "auto",
    progress: Progress = SILENT,
) -> Verification:
    """Check a submission: what it says, a sample of its images judged again, and fits made again.

    A check that fails ends the verification, because those after it rely on it.

    Args:
        sample: images of each row to judge again.
        redo: fits of each row to make again, with their images and verdicts.
        seed: draws the samples; by default another one each time, so that nobody can foresee them.
        suite: where a suite that is not shipped lies here.
        model: the base model for `redo`, instead of the suite's own.
        judge_words: `key=value` changes to the judge's settings.

    Raises:
        UserError: if the folder is no submission, or this machine lacks what a check needs.
    """
    if not (folder / MARK).is_file():
        raise UserError(
            f"{folder} is no submission ({MARK} is missing): `actionbench submit RUN` makes one"
        )
    seed = random.SystemRandom().randrange(2**32) if seed is None else seed
    work = _Work(folder, Verification(folder, seed), random.Random(seed), progress)
    try:
        work.claims()
        here = get_suite(suite or work.facts["suite"])
        work.fingerprints(here)
        work.images()
        if sample and work.included:
            judge_name = work.facts["judge"]["name"]
            judge = make_judge(judge_name, here, judge_words, resolve_device(device))
            work.judge_again(judge, sample)
        if redo and work.included:
            work.redo(here, redo, model or here.model, judge_words, device)
        elif redo:
            raise _Wrong(
                "fits are made again only for images that are in the folder: rows of hashes stay "
                "self-reported"
            )
    except _Wrong as wrong:
        work.found.checks.append(Check(work.doing, False, str(wrong)))
        work.found.levels.clear()
    return work.found


@dataclass
class _Work:
    folder: Path
    found: Verification
    random: random.Random
    progress: Progress
    doing: str = "schema"
    facts: dict[str, Any] = field(default_factory=dict)
    records: dict[str, RunRecord] = field(default_factory=dict)
    verdicts: dict[str, pd.DataFrame] = field(default_factory=dict)

    @property
    def store(self) -> Store:
        return Store(self.folder)

    @property
    def rows(self) -> list[dict[str, Any]]:
        return list(self.facts["rows"])

    @property
    def included(self) -> list[dict[str, Any]]:
        """The rows whose images are in the folder."""
        return [row for row in self.rows if row["images"]["included"]]

    @contextmanager
    def check(self, name: str) -> Iterator[Callable[[str], None]]:
        """Do a check; the block gives its detail. What is damaged fails it."""
        self.doing = name
        details: list[str] = []
        try:
            yield details.append
        except UserError as error:
            raise _Wrong(str(error)) from error
        self.found.checks.append(Check(name, True, "; ".join(details)))

    def claims(self) -> None:
        """Check the folder against itself: schema, files, counts, seeds, accuracies."""
        with self.check("schema") as say:
            self.facts = _read_claims(self.folder / MARK)
            say(f"format {FORMAT}, {_count(self.rows, 'row')}")
        with self.check("files") as say:
            self._files()
            say("records and verdicts are those that were submitted")
        with self.check("counts") as say:
            for row in self.rows:
                _check_items(row, self.records[row["run"]], self.verdicts[row["run"]])
            total = sum(row["n"] for row in self.rows)
            say(f"{total} verdicts, each item of each row once")
        with self.check("item seeds") as say:
            for row in self.rows:
                _check_seeds(row["run"], self.records[row["run"]], self.verdicts[row["run"]])
            say("each follows from its item")
        with self.check("accuracies") as say:
            for row in self.rows:
                _check_right(row, self.verdicts[row["run"]])
            say("counted again from the verdicts")
        self.found.levels.update({row["run"]: "self-reported" for row in self.rows})

    def _files(self) -> None:
        for path in self.folder.rglob("*"):
            if path.is_symlink():
                raise _Wrong(f"{path} is a link: a submission holds files")
        ids = [row["run"] for row in self.rows]
        if len(set(ids)) < len(ids):
            raise _Wrong(f"{MARK} names a run twice: {', '.join(ids)}")
        more = set(self.store.run_ids()) - set(ids)
        if more:
            raise _Wrong(f"runs/{min(more)} is not in {MARK}")
        for row in self.rows:
            folder = self.store.run_folder(row["run"])
            for name, claim in (
                ("run.json", "record_sha256"),
                ("verdicts.parquet", "verdicts_sha256"),
            ):
                path = folder / name
                if not path.is_file():
                    raise _Wrong(f"{path} is missing")
                if path.stat().st_size > _MOST_BYTES:
                    raise _Wrong(f"{path} is larger than any run's")
                if file_sha256(path) != row[claim]:
                    raise _Wrong(f"{path} is not the file that was submitted (its sha256 differs)")
            record = self.store.read_record(row["run"])
            if not record.complete:
                raise _Wrong(f"{folder / 'run.json'} is {record.state}")
            self.records[row["run"]] = record
            self.verdicts[row["run"]] = self.store.read_verdicts(record)

    def fingerprints(self, suite: Suite) -> None:
        """Check that all was measured alike, on this machine's suite, and that ids follow."""
        with self.check("fingerprints") as say:
            for run_id, record in self.records.items():
                facts = self.facts
                for what, own, claimed in (
                    ("protocol", record.protocol, facts["protocol"]),
                    ("suite", record.suite, facts["suite"]),
                    ("suite_fingerprint", record.suite_fingerprint, facts["suite_fingerprint"]),
                    ("model", vars_of(record.model), facts["model"]),
                    ("judge", vars_of(record.judge), facts["judge"]),
                ):
                    if own != claimed:
                        raise _Wrong(
                            f"runs/{run_id}/run.json has the {what} {own}, {MARK} says {claimed}"
                        )
                if record.suite_fingerprint != suite.fingerprint:
                    raise _Wrong(
                        f"the suite {suite.name} is another one here ({suite.fingerprint}) than "
                        f"the one measured ({record.suite_fingerprint}): check with the version "
                        "that measured it, or name the folder with --suite"
                    )
                remade = _run_id(record)
                if remade != run_id:
                    raise _Wrong(
                        f"runs/{run_id}/run.json gives the id {remade}: its settings, "
                        "seed, keys or items were changed"
                    )
            say(
                f"suite {suite.fingerprint}, model {self.facts['model']['fingerprint'][:8]}, "
                f"judge {self.facts['judge']['fingerprint'][:8]}; ids follow from inputs"
            )

    def images(self) -> None:
        """Check the images in the folder against their hashes and items."""
        with self.check("images") as say:
            listed = set()
            for row in self.rows:
                hashes = row["images"]["sha256"]
                verdicts = self.verdicts[row["run"]]
                if set(verdicts["image"]) != set(hashes):
                    raise _Wrong(
                        f"{row['run']}: the images in {MARK} are not those of its verdicts"
                    )
                if not row["images"]["included"]:
                    continue
                listed |= set(hashes)
                self._images(row["run"], verdicts, hashes)
            there = {
                path.relative_to(self.folder).as_posix()
                for path in (self.folder / "images").rglob("*")
                if path.is_file()
            }
            if more := there - listed:
                raise _Wrong(f"{min(more)} belongs to no row")
            say(f"{len(listed)} images are those that were hashed" if listed else "hashes only")

    def _images(self, run_id: str, verdicts: pd.DataFrame, hashes: Mapping[str, str]) -> None:
        keys = self.records[run_id].keys
        for done, row in enumerate(verdicts.to_dict("records")):
            path = self.folder / row["image"]
            own = f"images/{keys[row['action']].images}/{slug(row['subject'])}-{row['index']}.png"
            if row["image"] != own:
                raise _Wrong(f"{run_id} has {row['image']} in the place of {own}")
            if not path.is_file():
                raise _Wrong(f"{path} is missing")
            if pixels_sha256(read_image(path)) != hashes[row["image"]]:
                raise _Wrong(f"{path} is not the image that was submitted (its pixels differ)")
            self.progress.update(done + 1, len(verdicts), f"images of {run_id}")

    def judge_again(self, judge: Judge, sample: int) -> None:
        """Judge a sample of each row's images again and compare the verdicts."""
        with self.check("judged again") as say:
            if judge.fingerprint != self.facts["judge"]["fingerprint"]:
                raise _Wrong(
                    f"the {judge.name} judge is another one here ({judge.fingerprint}) than the "
                    f"one that judged ({self.facts['judge']['fingerprint']}): install its version, "
                    "or change its settings with --judge-set"
                )
            count = 0
            for row in self.included:
                verdicts = self.verdicts[row["run"]]
                places = self.random.sample(range(len(verdicts)), min(sample, len(verdicts)))
                chosen = verdicts.iloc[sorted(places)]
                self._judge(row["run"], judge, chosen)
                count += len(chosen)
                self.found.levels[row["run"]] = "re-judged"
            say(
                f"{_count(range(count), 'image')}, the same verdicts (sample seed "
                f"{self.found.seed})"
            )

    def _judge(self, run_id: str, judge: Judge, chosen: pd.DataFrame) -> None:
        record, suite = self.records[run_id], judge.suite
        actions = {action.name: action for action in suite.actions}
        subjects = {subject.name: subject for subject in suite.subjects}
        rows = chosen.to_dict("records")
        for begin in range(0, len(rows), _BATCH):
            batch = rows[begin : begin + _BATCH]
            items = [
                Item(
                    actions[r["action"]],
                    subjects[r["subject"]],
                    r["index"],
                    record.seed,
                    suite.prompt,
                )
                for r in batch
            ]
            images = [read_image(self.folder / r["image"]) for r in batch]
            for row, verdict in zip(batch, judge.judge(images, items), strict=True):
                for what, value in vars(verdict).items():
                    claimed = row[what]
                    score = isinstance(value, float)
                    same = (
                        abs(value - claimed) <= TOLERANCE[judge.dtype]
                        if score
                        else value == claimed
                    )
                    if not same:
                        raise _Wrong(
                            f"{run_id}: {row['image']} was submitted with {what} {claimed}, the "
                            f"{judge.name} judge says {value}"
                        )
            self.progress.update(begin + len(batch), len(rows), f"judging {run_id}")

    def redo(
        self, suite: Suite, count: int, model: str, judge_words: Sequence[str], device: str
    ) -> None:
        """Make a few fits of each row again, with their images and verdicts, and compare."""
        with self.check("fits made again") as say:
            for row in self.included:
                record = self.records[row["run"]]
                chosen = self.random.sample(record.actions, min(count, len(record.actions)))
                with tempfile.TemporaryDirectory(prefix="actionbench-verify-") as place:
                    plan = _plan(record, suite, chosen, model, judge_words, device, Path(place))
                    execute(plan)
                    say(self._compare(row, record, plan))
                self.found.levels[row["run"]] = "re-run"

    def _compare(self, row: Mapping[str, Any], record: RunRecord, plan: Plan) -> str:
        """Compare what was made again; return in words how equal it is."""
        made = Store(plan.store.root)
        again = made.load_rows(plan.run_id)
        names = set(again["action"])
        before = self.verdicts[row["run"]]
        before = before[before["action"].isin(names)]
        hashes = row["images"]["sha256"]
        equal = sum(
            pixels_sha256(read_image(made.root / file)) == hashes[file] for file in again["image"]
        )
        which = f"{row['run']}: {', '.join(sorted(names))}"
        if equal == len(again):
            return f"{which}: all {equal} images are equal to the bit"
        paired = before.merge(again, on=PAIR, suffixes=("", "_again"), validate="1:1")
        same = (paired["action_correct"] == paired["action_correct_again"]) & (
            paired["subject_correct"] == paired["subject_correct_again"]
        )
        share = float(same.mean())
        compared = compare(before, again, "total")
        # Of a few actions with one fit each no interval can be told: then verdicts alone decide.
        inside = math.isnan(compared.low) or compared.low <= 0 <= compared.high
        found = (
            f"{which}: {equal} of {len(again)} images are equal to the bit, {100 * share:.0f}% of "
            f"verdicts agree, total accuracy differs by {compared.points} points (made on "
            f"{record.device}, again on {made.read_record(plan.run_id).device})"
        )
        if share < AGREEING or not inside:
            raise _Wrong(
                f"{found}: at least {100 * AGREEING:.0f}% must agree, and the interval "
                "must hold nothing"
            )
        return found


def vars_of(facts: Any) -> dict[str, str]:
    """Return name and fingerprint of a record's model or judge."""
    return {"name": facts.name, "fingerprint": facts.fingerprint}


def _read_claims(path: Path) -> dict[str, Any]:
    import fastjsonschema

    if path.stat().st_size > _MOST_BYTES:
        raise _Wrong(f"{path} is larger than any submission's")
    try:
        facts = json.loads(path.read_text("utf-8"))
    except (ValueError, RecursionError) as error:
        raise _Wrong(f"{path} is no JSON ({error})") from error
    version = facts.get("format") if isinstance(facts, dict) else None
    if isinstance(version, int) and version != FORMAT:
        other = "a newer" if version > FORMAT else "an older"
        raise _Wrong(
            f"{path} is of format {version}, of {other} version; this one reads {FORMAT}: "
            "submit it again with this version"
        )
    try:
        fastjsonschema.compile(schema())(facts)
    except fastjsonschema.JsonSchemaValueException as error:
        raise _Wrong(f"{path}: {error.message.replace('data', MARK, 1)}") from error
    return dict(facts)


def _check_items(row: Mapping[str, Any], record: RunRecord, verdicts: pd.DataFrame) -> None:
    where = f"runs/{row['run']}/verdicts.parquet"
    expected = {
        (action, subject, index)
        for action in record.actions
        for subject in record.subjects
        for index in range(record.images_per_pair)
    }
    keys = [(r["action"], r["subject"], r["index"]) for r in verdicts[PAIR].to_dict("records")]
    if len(keys) != row["n"] or set(keys) != expected or record.n_items != len(keys):
        lacking = sorted(map(str, expected - set(keys)))
        raise _Wrong(
            f"{where} has {len(keys)} verdicts, {MARK} says {row['n']} and the record "
            f"{len(expected)}{f'; {lacking[0]} is missing' if lacking else ''}"
        )
    both = verdicts["action_correct"] & verdicts["subject_correct"]
    if not (both == verdicts["total_correct"]).all():
        raise _Wrong(f"{where}: total_correct is not action_correct and subject_correct")
    for column, claimed in (
        ("method", record.method),
        ("suite", record.suite),
        ("protocol", record.protocol),
        ("judge", record.judge.name),
    ):
        if set(verdicts[column]) != {claimed}:
            raise _Wrong(f"{where}: the column {column} is not {claimed}")
    if (row["method"], row["seed"]) != (record.method, record.seed):
        raise _Wrong(
            f"{MARK} says {row['method']} with seed {row['seed']}, runs/{row['run']}/"
            f"run.json {record.method} with {record.seed}"
        )


def _check_seeds(run_id: str, record: RunRecord, verdicts: pd.DataFrame) -> None:
    for row in verdicts[[*PAIR, "seed"]].to_dict("records"):
        action, subject = Action(row["action"], ""), Subject(row["subject"], "", "")
        seed = Item(action, subject, row["index"], record.seed).seed
        if seed != row["seed"]:
            raise _Wrong(
                f"runs/{run_id}/verdicts.parquet: {row['action']}, {row['subject']}, "
                f"#{row['index']} has the seed {row['seed']}, it must be {seed}"
            )


def _check_right(row: Mapping[str, Any], verdicts: pd.DataFrame) -> None:
    table = outcomes(verdicts)
    for name in RIGHT:
        counted = int(table[name].sum())
        if counted != row["right"][name]:
            raise _Wrong(
                f"{row['run']}: {MARK} says {row['right'][name]} images with the {name} "
                f"right, the verdicts have {counted}"
            )


def _run_id(record: RunRecord) -> str:
    return make_run_id(
        suite=record.suite,
        protocol=record.protocol,
        method=record.method,
        settings=record.settings,
        images_per_pair=record.images_per_pair,
        seed=record.seed,
        profile=record.profile,
        prompts=record.prompts,
        verdict_keys={action: record.keys[action].verdicts for action in record.actions},
        subjects=record.subjects,
    )


def _plan(
    record: RunRecord,
    suite: Suite,
    actions: Sequence[str],
    model: str,
    judge_words: Sequence[str],
    device: str,
    place: Path,
) -> Plan:
    """Plan some actions of a run again, and check that their keys are the record's."""
    kind = get_method(record.method)
    try:
        method = kind(restored_settings(kind.Settings, record.settings))
    except TypeError as error:
        raise _Wrong(
            f"{record.id}: its settings are not those of {record.method} here ({error})"
        ) from error
    plan = plan_run(
        suite=suite,
        method=method,
        source=resolve_model(model),
        judge=make_judge(record.judge.name, suite, judge_words, resolve_device(device)),
        options=RunOptions(
            suite=suite.name,
            profile=record.profile,  # type: ignore[arg-type]
            prompts=record.prompts,  # type: ignore[arg-type]
            actions=tuple(actions),
            subjects=tuple(record.subjects),
            images_per_pair=record.images_per_pair,
            seed=record.seed,
            dtype=record.dtype,  # type: ignore[arg-type]
            device=device,  # type: ignore[arg-type]
            runs=place / "runs",
        ),
    )
    for action in plan.actions:
        keys = record.keys[action.action.name]
        own = (action.fit_key, action.image_key, action.verdict_key)
        if own != (keys.fit, keys.images, keys.verdicts):
            raise _Wrong(
                f"{record.id}: the keys of {action.action.name} do not follow from its "
                "settings, model and data here"
            )
    return plan


def _count(things: Sequence[object], word: str) -> str:
    return f"{len(things)} {word}{'' if len(things) == 1 else 's'}"
