"""The labels file of a study: what raters are asked, and what they answered. One SQLite file.

An answer is one transaction, on the disk before anybody is told that it is saved: a process that is
killed, a disk that fills or a second rater costs no answer that was given before. Answers are never
deleted: one that is taken back is marked as withdrawn.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import sqlite3
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

import pandas as pd

from actionbench.errors import Problems, UserError
from actionbench.files.atomic import written
from evaluation.people.questions import ANSWERS, PROTOCOL, QUESTIONS, Answer

if TYPE_CHECKING:
    from PIL.Image import Image

FORMAT = 1
"""Of the file; another one is refused."""
NAME = "labels.sqlite"
"""The file's name in a runs folder."""
SITTING_SECONDS = 1800.0
"""A rater who answers nothing for so long begins a new session with the next answer."""
CLAIM_SECONDS = 600.0
"""An image that a rater looks at is not given to another one for so long."""
BUSY_SECONDS = 20.0
"""How long a writer waits for another one."""
COMMENT_LENGTH = 2000

Kind = Literal["image", "gold", "training"]

_SCHEMA = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE items (
    id INTEGER PRIMARY KEY,
    kind TEXT NOT NULL CHECK (kind IN ('image', 'gold', 'training')),
    place INTEGER NOT NULL,
    run TEXT, action TEXT NOT NULL, subject TEXT NOT NULL, number INTEGER NOT NULL,
    image TEXT, sha TEXT NOT NULL, stratum TEXT, probability REAL,
    raters INTEGER NOT NULL,
    action_truth INTEGER, subject_truth INTEGER, png BLOB
);
CREATE TABLE sessions (
    id INTEGER PRIMARY KEY, rater TEXT NOT NULL, began TEXT NOT NULL, simulated INTEGER NOT NULL
);
CREATE TABLE labels (
    id INTEGER PRIMARY KEY,
    session INTEGER NOT NULL REFERENCES sessions, rater TEXT NOT NULL,
    item INTEGER NOT NULL REFERENCES items, sha TEXT NOT NULL,
    action TEXT NOT NULL, subject TEXT NOT NULL, comment TEXT NOT NULL,
    questions TEXT NOT NULL, answered TEXT NOT NULL, seconds REAL NOT NULL,
    withdrawn TEXT
);
CREATE UNIQUE INDEX one_answer ON labels (item, rater) WHERE withdrawn IS NULL;
CREATE TABLE claims (
    item INTEGER NOT NULL, rater TEXT NOT NULL, until REAL NOT NULL, PRIMARY KEY (item, rater)
) WITHOUT ROWID;
"""


@dataclass(frozen=True)
class LabelItem:
    """One picture that raters are asked about."""

    id: int
    kind: Kind
    place: int
    """Its turn among those of its kind."""
    action: str
    """The names of the action and subject that are asked about."""
    subject: str
    number: int
    """Which of the images of its action and subject this is."""
    sha: str
    """`pixels_hash` of the picture."""
    raters: int
    """How many are to answer; gold and training are for each of them."""
    run: str | None = None
    image: str | None = None
    """Its path in the runs folder; gold and training pictures are in the labels file."""
    stratum: str | None = None
    probability: float | None = None
    """With which it was chosen among its row's images."""
    action_truth: bool | None = None
    """Known answers of gold and training; None is not known."""
    subject_truth: bool | None = None


_ITEM = ", ".join(field.name for field in fields(LabelItem))


@dataclass(frozen=True)
class Label:
    """A rater's answers about one picture, as they are exported."""

    item: int
    sha: str
    rater: str
    session: int
    action: Answer
    subject: Answer
    comment: str
    questions: str
    """The version of the questions that were asked."""
    answered: str
    """When, in UTC."""
    seconds: float
    """From the moment the picture was shown."""
    simulated: bool
    """By a program, for exercise and tests."""


COLUMNS = tuple(field.name for field in fields(Label))


def pixels_hash(image: Image) -> str:
    """Return the hash of what a picture shows: its size and its RGB pixels."""
    picture = image.convert("RGB")
    size = f"{picture.width}x{picture.height}:".encode()
    return hashlib.sha256(size + picture.tobytes()).hexdigest()[:32]


class Labels:
    """A labels file that exists. Methods may be called from several threads and processes.

    Raises:
        UserError: if there is no such file, or if it is no labels file or one of another format.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        if not path.is_file():
            raise UserError(f"no labels at {path}: `actionbench labels plan RUN...` begins a study")
        with self._connect() as base:
            try:
                version = dict(base.execute("SELECT key, value FROM meta")).get("format")
            except sqlite3.OperationalError as error:
                raise UserError(f"{path} is no labels file ({error}): name another") from error
            if version != str(FORMAT):
                raise UserError(
                    f"{path} is of format {version}, this version reads {FORMAT}: export it by the "
                    "version that made it (`actionbench labels export`), and import that"
                )
        # While it is open, others that close do not each write the log back into the file.
        self._open = sqlite3.connect(path, check_same_thread=False)
        self._open.execute("SELECT 1 FROM meta").fetchone()

    @classmethod
    def create(
        cls,
        path: Path,
        meta: Mapping[str, Any],
        items: Sequence[LabelItem],
        pictures: Mapping[int, bytes],
    ) -> Self:
        """Begin a study: the file appears whole or not at all.

        Args:
            meta: JSON values about the study, by name.
            items: what raters are asked about.
            pictures: PNGs of gold and training by the items' ids.
        """
        if path.exists():
            raise UserError(f"{path} exists: go on with it, or name another with --labels")
        with written(path) as temporary:
            base = sqlite3.connect(temporary)
            base.executescript(_SCHEMA)
            facts = {"format": FORMAT, "protocol": PROTOCOL, "questions": QUESTIONS, **meta}
            base.executemany(
                "INSERT INTO meta VALUES (?, ?)",
                [(name, json.dumps(value)) for name, value in facts.items()],
            )
            marks = ", ".join("?" * (len(fields(LabelItem)) + 1))
            base.executemany(
                f"INSERT INTO items ({_ITEM}, png) VALUES ({marks})",
                [(*vars(item).values(), pictures.get(item.id)) for item in items],
            )
            base.commit()
            base.close()
        return cls(path)

    # The study

    def meta(self) -> dict[str, Any]:
        """Return what `create` was told about the study."""
        with self._connect() as base:
            rows = base.execute("SELECT key, value FROM meta")
            return {key: json.loads(value) for key, value in rows}

    @cached_property
    def _items(self) -> dict[int, LabelItem]:
        """All items by their numbers; they never change."""
        with self._connect() as base:
            rows = base.execute(f"SELECT {_ITEM} FROM items ORDER BY kind, place").fetchall()
        return {row[0]: _item(row) for row in rows}

    def items(self, kind: Kind | None = None) -> list[LabelItem]:
        """Return the items in their order, of one kind or of all."""
        return [item for item in self._items.values() if kind in (None, item.kind)]

    def item(self, number: int) -> LabelItem:
        """Return an item.

        Raises:
            UserError: if there is none of this number.
        """
        if number not in self._items:
            raise UserError(f"{self.path} has no item {number}: load the page anew")
        return self._items[number]

    def png(self, number: int) -> bytes | None:
        """Return the picture of gold or training; None for an image of a run."""
        with self._connect() as base:
            row = base.execute("SELECT png FROM items WHERE id = ?", [number]).fetchone()
        return None if row is None else row[0]

    # Asking and answering

    def claim(
        self,
        rater: str,
        *,
        excluded: Collection[int] = (),
        passed: Collection[int] = (),
        seconds: float = CLAIM_SECONDS,
        count: int = 1,
    ) -> list[LabelItem]:
        """Choose the rater's next images, and keep them from others for a while.

        An image is open to a rater who has not answered it, while fewer others have answered or
        hold it than are to answer it. What the rater held before is let go.

        Args:
            excluded: sessions whose answers do not count.
            passed: items that are not to be asked.
        """
        now = time.time()
        with self._write() as base:
            base.execute("DELETE FROM claims WHERE until < ? OR rater = ?", [now, rater])
            out, skipped = _marks(excluded), _marks(passed)
            rows = base.execute(
                f"""
                SELECT id FROM items AS asked WHERE kind = 'image' AND id NOT IN ({skipped})
                AND NOT EXISTS (SELECT 1 FROM labels
                    WHERE item = asked.id AND rater = ? AND withdrawn IS NULL)
                AND raters > (SELECT count(*) FROM labels
                    WHERE item = asked.id AND withdrawn IS NULL AND session NOT IN ({out}))
                    + (SELECT count(*) FROM claims WHERE item = asked.id)
                ORDER BY place LIMIT ?
                """,
                [*passed, rater, *excluded, count],
            ).fetchall()
            items = [self._items[row[0]] for row in rows]
            base.executemany(
                "INSERT INTO claims VALUES (?, ?, ?)",
                [(item.id, rater, now + seconds) for item in items],
            )
        return items

    def unanswered(self, rater: str, kind: Kind) -> list[LabelItem]:
        """Return the gold or training items that a rater has not answered, in their order."""
        with self._connect() as base:
            rows = base.execute(
                "SELECT item FROM labels WHERE rater = ? AND withdrawn IS NULL", [rater]
            ).fetchall()
        done = {row[0] for row in rows}
        return [item for item in self.items(kind) if item.id not in done]

    def answer(
        self,
        rater: str,
        number: int,
        *,
        action: str,
        subject: str,
        sha: str,
        seconds: float,
        comment: str = "",
        questions: str = QUESTIONS,
        simulated: bool = False,
    ) -> Label:
        """Save a rater's answers about an item. The same answers again change nothing.

        Raises:
            UserError: for an unknown item or answer, a picture that is not the item's, and an item
                that this rater has answered otherwise.
        """
        _check_answers(action, subject)
        if questions != QUESTIONS:
            raise UserError(
                f"these answers are to questions {questions}, the study asks {QUESTIONS}: "
                "load the page again"
            )
        with self._write() as base:
            item = self.item(number)
            if item.sha != sha:
                raise UserError(f"item {number} shows another picture by now: load the page again")
            before = self._labels(base, "item = ? AND labels.rater = ?", [number, rater])
            if before:
                if (before[0].action, before[0].subject) == (action, subject):
                    return before[0]
                raise UserError(
                    f"{rater} has answered item {number} already: undo that answer to change it"
                )
            moment = datetime.now(UTC)
            session = self._session(base, rater, moment, simulated)
            base.execute(
                "INSERT INTO labels (session, rater, item, sha, action, subject, comment, "
                "questions, answered, seconds) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                [session, rater, number, sha, action, subject, comment[:COMMENT_LENGTH],
                 questions, moment.isoformat(timespec="milliseconds"), round(seconds, 3)],
            )  # fmt: skip
            base.execute("DELETE FROM claims WHERE item = ? AND rater = ?", [number, rater])
            return self._labels(base, "item = ? AND labels.rater = ?", [number, rater])[0]

    def add(self, labels: Sequence[Label]) -> None:
        """Add answers that a program gave, all at once; their `session` is any number."""
        with self._write() as base:
            for label in labels:
                _check_answers(label.action, label.subject)
                _check_known(label, {number: item.sha for number, item in self._items.items()})
            self._insert(base, labels)

    def undo(self, rater: str) -> Label | None:
        """Withdraw a rater's latest answer, and return it; None if there is none."""
        with self._write() as base:
            row = base.execute(
                "SELECT id, item FROM labels WHERE rater = ? AND withdrawn IS NULL "
                "ORDER BY id DESC LIMIT 1",
                [rater],
            ).fetchone()
            if row is None:
                return None
            (label,) = self._labels(base, "labels.id = ?", [row[0]])
            base.execute("UPDATE labels SET withdrawn = ? WHERE id = ?", [_now(), row[0]])
            base.execute(
                "INSERT OR REPLACE INTO claims VALUES (?, ?, ?)",
                [row[1], rater, time.time() + CLAIM_SECONDS],
            )
        return label

    def labels(self) -> list[Label]:
        """Return all answers that stand, in the order in which they were given."""
        with self._connect() as base:
            return self._labels(base, "1", [])

    def gold_answers(self) -> tuple[int, int]:
        """Count the answers on gold: those ever given, and those that stand.

        While these two stay, no session that counts becomes excluded.
        """
        with self._connect() as base:
            given, standing = base.execute(
                "SELECT count(*), sum(withdrawn IS NULL) FROM labels JOIN items "
                "ON items.id = item WHERE kind = 'gold'"
            ).fetchone()
        return int(given), int(standing or 0)

    def frame(self) -> pd.DataFrame:
        """Return the answers that stand with their items, a row an answer.

        The answers' columns are `action_answer` and `subject_answer`.
        """
        items = pd.DataFrame([vars(item) for item in self.items()])
        answers = pd.DataFrame([vars(label) for label in self.labels()], columns=list(COLUMNS))
        answers = answers.rename(
            columns={"action": "action_answer", "subject": "subject_answer"}
        ).drop(columns="sha")
        return answers.merge(items, left_on="item", right_on="id").drop(columns="id")

    # CSV

    def export(self) -> str:
        """Write the answers that stand as CSV, a line an answer."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows(
            [int(v) if isinstance(v, bool) else v for v in vars(label).values()]
            for label in self.labels()
        )
        return text.getvalue()

    def import_csv(self, text: str, where: str) -> tuple[int, int]:
        """Add the answers of an export or of a mailed page: all of them, or none.

        An answer that is here already is passed over.

        Returns:
            How many were added, and how many passed over.

        Raises:
            Problems: a line for each row that is not of this study, is damaged, or contradicts an
                answer that is here.
        """
        rows = csv.DictReader(io.StringIO(text.removeprefix("\ufeff"), newline=""))
        if tuple(rows.fieldnames or ()) != COLUMNS:
            raise UserError(f"{where} is no export of labels: its first line must be {COLUMNS}")
        problems: list[str] = []
        new: list[Label] = []
        passed = 0
        with self._write() as base:
            items = {number: item.sha for number, item in self._items.items()}
            here = {(label.item, label.rater): label for label in self._labels(base, "1", [])}
            for line, row in enumerate(rows, 2):
                try:
                    label = _parse(row)
                    _check_known(label, items)
                    before = here.get((label.item, label.rater))
                    if before is None:
                        here[label.item, label.rater] = label
                        new.append(label)
                    elif (before.action, before.subject) == (label.action, label.subject):
                        passed += 1
                    else:
                        raise UserError(
                            f"{label.rater} has answered item {label.item} otherwise before: "
                            "remove the answer that is wrong"
                        )
                except (UserError, ValueError) as error:
                    problems.append(f"line {line}: {error}")
            if problems:
                raise Problems(f"{where}, nothing was imported", problems)
            self._insert(base, new)
        return len(new), passed

    def _insert(self, base: sqlite3.Connection, labels: Sequence[Label]) -> None:
        """Add foreign answers, each of their sessions as a session of its own here."""
        sessions: dict[tuple[str, int], int] = {}
        for label in labels:
            key = (label.rater, label.session)
            if key not in sessions:
                sessions[key] = self._new_session(
                    base, label.rater, label.answered, label.simulated
                )
            base.execute(
                "INSERT INTO labels (session, rater, item, sha, action, subject, comment, "
                "questions, answered, seconds) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                [sessions[key], label.rater, label.item, label.sha, label.action, label.subject,
                 label.comment[:COMMENT_LENGTH], label.questions, label.answered, label.seconds],
            )  # fmt: skip
            base.execute(
                "DELETE FROM claims WHERE item = ? AND rater = ?", [label.item, label.rater]
            )

    # The base

    @contextmanager
    def _connect(self) -> Iterator[sqlite3.Connection]:
        """Open the file for one piece of work; errors of the file become UserErrors."""
        base = None
        try:
            base = sqlite3.connect(self.path, timeout=BUSY_SECONDS, isolation_level=None)
            base.execute("PRAGMA journal_mode = WAL")
            # On the disk before it is answered, whatever happens to the machine.
            base.execute("PRAGMA synchronous = FULL")
            base.execute("PRAGMA foreign_keys = ON")
            yield base
        except sqlite3.DatabaseError as error:
            raise UserError(_reason(self.path, error)) from error
        finally:
            if base is not None:
                base.close()

    @contextmanager
    def _write(self) -> Iterator[sqlite3.Connection]:
        """A transaction that nobody else writes during; all of it is saved, or nothing."""
        with self._connect() as base:
            base.execute("BEGIN IMMEDIATE")
            try:
                yield base
            except BaseException:
                if base.in_transaction:
                    base.execute("ROLLBACK")
                raise
            base.execute("COMMIT")

    def _labels(
        self, base: sqlite3.Connection, where: str, values: Sequence[object]
    ) -> list[Label]:
        rows = base.execute(
            "SELECT item, sha, labels.rater, session, action, subject, comment, questions, "
            "answered, seconds, simulated FROM labels JOIN sessions ON sessions.id = session "
            f"WHERE withdrawn IS NULL AND {where} ORDER BY labels.id",
            list(values),
        )
        return [
            Label(**{**dict(zip(COLUMNS, row, strict=True)), "simulated": bool(row[-1])})
            for row in rows
        ]

    def _session(
        self, base: sqlite3.Connection, rater: str, moment: datetime, simulated: bool
    ) -> int:
        """Return the rater's session: the one that goes on, or a new one."""
        row = base.execute(
            "SELECT session, answered FROM labels JOIN sessions ON sessions.id = session "
            "WHERE labels.rater = ? AND simulated = ? ORDER BY labels.id DESC LIMIT 1",
            [rater, int(simulated)],
        ).fetchone()
        if row is not None:
            gap = moment - datetime.fromisoformat(row[1])
            if 0 <= gap.total_seconds() < SITTING_SECONDS:
                return int(row[0])
        return self._new_session(base, rater, moment.isoformat(timespec="seconds"), simulated)

    def _new_session(
        self, base: sqlite3.Connection, rater: str, began: str, simulated: bool
    ) -> int:
        made = base.execute(
            "INSERT INTO sessions (rater, began, simulated) VALUES (?, ?, ?)",
            [rater, began, int(simulated)],
        )
        return int(made.lastrowid or 0)


def _item(row: Sequence[Any]) -> LabelItem:
    values = dict(zip((field.name for field in fields(LabelItem)), row, strict=True))
    for truth in ("action_truth", "subject_truth"):
        values[truth] = None if values[truth] is None else bool(values[truth])
    return LabelItem(**values)


def _marks(values: Collection[object]) -> str:
    return ", ".join("?" * len(values))


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _check_answers(*answers: str) -> None:
    for answer in answers:
        if answer not in ANSWERS:
            raise UserError(f"'{answer}' is no answer: {', '.join(ANSWERS)} are")


def _parse(row: Mapping[str | None, Any]) -> Label:
    if None in row or any(value is None for value in row.values()):
        raise ValueError("it has too few or too many fields")
    _check_answers(row["action"], row["subject"])
    answered = datetime.fromisoformat(row["answered"])
    if answered.tzinfo is None:
        raise ValueError(f"'{row['answered']}' does not say its time zone")
    if not str(row["rater"]).strip():
        raise ValueError("the rater has no name")
    return Label(
        item=int(row["item"]),
        sha=row["sha"],
        rater=row["rater"],
        session=int(row["session"]),
        action=row["action"],
        subject=row["subject"],
        comment=row["comment"],
        questions=row["questions"],
        answered=answered.astimezone(UTC).isoformat(timespec="milliseconds"),
        seconds=float(row["seconds"]),
        simulated=bool(int(row["simulated"])),
    )


def _check_known(label: Label, items: Mapping[int, str]) -> None:
    if label.item not in items:
        raise UserError(f"item {label.item} is not of this study: remove the line")
    if items[label.item] != label.sha:
        raise UserError(
            f"item {label.item} shows another picture in this study: import it into its own study"
        )
    if label.questions != QUESTIONS:
        raise UserError(
            f"it answers questions {label.questions}, the study asks {QUESTIONS}: import it into "
            "a study that asks those"
        )


def _reason(path: Path, error: sqlite3.Error) -> str:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code == sqlite3.SQLITE_FULL:
        return (
            f"{path} cannot be written, the disk is full: free some space and answer again; "
            "all answers before this one are saved"
        )
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return f"{path} is in use by another process for over {BUSY_SECONDS:.0f} s: try again"
    if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM):
        return f"{path} cannot be opened for writing ({error}): change its folder's permissions"
    if code in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT):
        return f"{path} is no labels file, or damaged ({error}): name another with --labels"
    return f"{path} cannot be used ({error}); all answers before this one are saved"
