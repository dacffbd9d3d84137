"""The run store: every step's output under a key made of its inputs, so nothing is done twice.

    actionbench-runs.json               the store's format
    fits/<key>/customization.*          what a method learned about one action
    images/<key>/<subject>-<index>.png  what it drew with it
    verdicts/<key>.parquet              what a judge saw on those images
    drawn/<key>.safetensors             what fits drew beforehand and share, as ADI's pools
    canary/<key>.json                   a judge's first scores of the canary's images
    suites/<fingerprint>/               definition and exemplars' thumbnails; see `kept`
    runs/<method>-<key>/run.json        what a command asked for, and what it took
    runs/<method>-<key>/verdicts.parquet  its rows, `judge.VERDICT_COLUMNS`
    runs/<method>-<key>/copying.json    which images copy an exemplar, if a board has counted them
    runs/<method>-<key>/failure.txt     the traceback, if its method failed

Each file or folder is written under a temporary name and renamed: it appears whole or not at all.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path, PurePath
from typing import IO, TYPE_CHECKING, Any

from PIL import Image, PngImagePlugin

from actionbench.errors import UserError
from actionbench.files.atomic import TEMPORARY, beside, once, remove_leftovers
from actionbench.judge import PAIR, VERDICT_COLUMNS, Verdict
from actionbench.method import Customization
from actionbench.runs.record import FORMAT, FitCost, RunRecord, Unreadable
from actionbench.suite.items import Item, slug

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa
    from torch import Tensor

VERSION_FILE = "actionbench-runs.json"
AGAIN = "delete it and run the same command again"

_FOLDERS = ("fits", "drawn", "images", "verdicts", "canary", "suites", "runs")

_ROWS = tuple(VERDICT_COLUMNS)
"""Columns of a run's verdicts."""
_JUDGED = ("subject", "index", *Verdict.__dataclass_fields__)
"""Columns of what a judge saw on the images of one fit."""
MOST_PIXELS = 4096 * 4096
"""Pixels of the largest image that is decoded: a small file can hold an endless one."""
_MISSING = "{} is missing: run the same command again"
_LOCKED = (errno.EACCES, errno.EPERM, errno.EROFS)
_PNG_END = b"\x00\x00\x00\x00IEND\xaeB`\x82"


class Store:
    """A runs folder. Constructing a store checks it and writes nothing; a missing folder is empty.

    Raises:
        UserError: for a folder that is not a store, is of another format, or cannot be read.
    """

    def __init__(self, root: Path | str) -> None:
        self.root = Path(root)
        with reporting(self.root):
            self._check()

    def _check(self) -> None:
        if not self.root.exists():
            return
        if not self.root.is_dir():
            raise UserError(f"{self.root} is a file, not a runs folder: name another with --runs")
        version_file = self.root / VERSION_FILE
        if version_file.exists():
            version = _read_json(version_file).get("format")
            if version != FORMAT:
                raise UserError(
                    f"{self.root} holds runs of format {version}, this version reads {FORMAT}: "
                    "name another folder with --runs"
                )
        elif any(not path.name.startswith(TEMPORARY) for path in self.root.iterdir()):
            raise UserError(
                f"{self.root} is not empty and not a runs folder ({VERSION_FILE} is missing): "
                "name another with --runs"
            )

    def prepare(self) -> None:
        """Make the folder if it is missing, check that it can be written, and clear leftovers."""
        with reporting(self.root):
            self.root.mkdir(parents=True, exist_ok=True)
            self._clean()
        # Written each time, so that a folder that takes no file is reported before hours of work.
        self._write_json(self.root / VERSION_FILE, {"format": FORMAT})

    def clear(self) -> None:
        """Clear what killed processes left in a folder that is only read otherwise.

        A folder that cannot be written may hold a finished run as well: it is left as it is.
        """
        with reporting(self.root):
            try:
                self._clean()
            except OSError as error:
                if error.errno not in _LOCKED:
                    raise

    def _clean(self) -> None:
        for folder in (self.root, *(self.root / name for name in _FOLDERS)):
            remove_leftovers(folder, f"{TEMPORARY}*", f"*/{TEMPORARY}*")

    # Customizations

    def fit_folder(self, key: str) -> Path:
        """Return the folder of a customization."""
        return self.root / "fits" / key

    def has_fit(self, key: str) -> bool:
        """Check whether a customization is stored."""
        return self.fit_folder(key).is_dir()

    def save_fit(self, key: str, fitted: Customization, cost: FitCost, version: int = 1) -> None:
        """Store a customization with its cost; `version` is the method's."""
        from safetensors import SafetensorError
        from safetensors.torch import save_file

        folder = self.fit_folder(key)
        # Another process may store a fit of the same inputs, at any moment.
        with reporting(folder), once(folder) as temporary:
            temporary.mkdir()
            weights = temporary / "customization.safetensors"
            tensors = {
                name: tensor.detach().cpu().contiguous() for name, tensor in fitted.tensors.items()
            }
            try:
                save_file(tensors, weights)
            except SafetensorError as error:
                raise UserError(f"{folder} cannot be written ({error}): free some space") from error
            _sync(weights)
            record = {
                "format": FORMAT,
                "method": fitted.method,
                "version": version,
                "action": fitted.action,
                "model": fitted.model,
                "facts": dict(fitted.facts),
                "tensors_sha256": _sha256(weights),
                "bytes": weights.stat().st_size,
                "cost": cost.to_json(),
            }
            _write(temporary / "customization.json", _pretty(record))

    def fit_record(self, key: str) -> dict[str, Any]:
        """Read the facts of a fit, `customization.json`."""
        folder = self.fit_folder(key)
        path = folder / "customization.json"
        record = _read_json(path, folder)
        for name in ("facts", "cost", "bytes"):
            if name not in record:
                raise UserError(_damaged(path, f"'{name}' is missing", folder))
        return record

    def fit_cost(self, key: str) -> FitCost:
        """Return what a stored fit took."""
        try:
            return FitCost.from_json(self.fit_record(key)["cost"])
        except Unreadable as error:
            path, folder = self.fit_folder(key) / "customization.json", self.fit_folder(key)
            raise UserError(
                _damaged(path, f"'cost.{error}' is missing or wrong", folder)
            ) from error

    def load_fit(
        self, key: str, *, method: str, action: str, model: str, version: int = 1
    ) -> Customization:
        """Load a customization onto the CPU.

        Raises:
            UserError: if it is damaged, or of another method, method's version, action, model or
                format.
        """
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        folder = self.fit_folder(key)
        record = {"version": 1, **self.fit_record(key)}  # the first records had no version
        expected = {
            "format": FORMAT, "method": method, "version": version, "action": action,
            "model": model,
        }  # fmt: skip
        for name, value in expected.items():
            if record.get(name) != value:
                raise UserError(
                    f"{folder} holds a fit of {name} {record.get(name)!r}, not {value!r}: {AGAIN}"
                )
        weights = folder / "customization.safetensors"
        with reporting(folder):
            if not weights.is_file() or _sha256(weights) != record.get("tensors_sha256"):
                raise UserError(f"{weights} is damaged or missing: {AGAIN} (the folder {folder})")
            try:
                tensors = load_file(weights)
            except SafetensorError as error:
                raise UserError(f"{weights} is damaged ({error}): {AGAIN}") from error
        return Customization(method, action, model, tensors, record["facts"])

    # What fits share

    def drawn_path(self, key: str) -> Path:
        """Return the file of what fits drew beforehand and share."""
        return self.root / "drawn" / f"{key}.safetensors"

    def load_drawn(self, key: str) -> Tensor | None:
        """Load what `save_drawn` stored, onto the CPU; None if there is nothing.

        Raises:
            UserError: if it is damaged.
        """
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        path = self.drawn_path(key)
        if not path.exists():
            return None
        with reporting(path):
            try:
                tensor: Tensor = load_file(path)["drawn"]
            except (SafetensorError, KeyError) as error:
                raise UserError(_damaged(path, str(error), None)) from error
        return tensor

    def save_drawn(self, key: str, tensor: Tensor) -> None:
        """Store what a fit drew beforehand and others can use."""
        from safetensors.torch import save

        path = self.drawn_path(key)
        with self._temporary(path) as temporary:
            _write(temporary, save({"drawn": tensor.detach().cpu().contiguous()}))
            temporary.replace(path)

    # Images

    def image_path(self, key: str, item: Item) -> Path:
        """Return the file of an image."""
        return self.root / "images" / key / _image_name(item)

    def missing_images(self, key: str, items: Iterable[Item]) -> tuple[Item, ...]:
        """Return those items whose images are not stored, in order.

        Raises:
            UserError: if a stored one was cut short.
        """
        # A plan looks at every image, of which there may be 100,000: no `Path` for each.
        folder = str(self.root / "images" / key)
        missing = []
        for item in items:
            path = f"{folder}{os.sep}{_image_name(item)}"
            try:
                with open(path, "rb", buffering=0) as file:  # noqa: PTH123
                    size = file.seek(0, os.SEEK_END)
                    file.seek(max(0, size - len(_PNG_END)))
                    whole = file.read(len(_PNG_END)) == _PNG_END
            except FileNotFoundError:
                missing.append(item)
                continue
            except OSError:
                with reporting(Path(path)):
                    raise
            if not whole:
                raise UserError(f"{path} is damaged (cut short): {AGAIN}")
        return tuple(missing)

    def save_image(self, key: str, item: Item, image: Image.Image) -> None:
        """Store an image, with its item and key in the PNG's text."""
        path = self.image_path(key, item)
        text = PngImagePlugin.PngInfo()
        text.add_text("actionbench:item", item.id)
        text.add_text("actionbench:key", key)
        with self._temporary(path) as temporary:
            image.save(temporary, format="PNG", pnginfo=text)
            _sync(temporary)
            temporary.replace(path)

    def image_bytes(self, key: str, item: Item) -> bytes:
        """Return the content of an image's file.

        Raises:
            UserError: if it is missing.
        """
        path = self.image_path(key, item)
        with reporting(path):
            try:
                return path.read_bytes()
            except FileNotFoundError as error:
                raise UserError(_MISSING.format(path)) from error

    def load_image(self, key: str, item: Item) -> Image.Image:
        """Load an image, RGB.

        Raises:
            UserError: if it is missing or damaged.
        """
        return read_image(self.image_path(key, item))

    # Verdicts

    def verdict_path(self, key: str) -> Path:
        """Return the file of the verdicts on an action's images."""
        return self.root / "verdicts" / f"{key}.parquet"

    def load_verdicts(self, key: str) -> dict[tuple[str, int], Verdict]:
        """Load the verdicts so far, by (subject's name, index)."""
        path = self.verdict_path(key)
        if not path.exists():
            return {}
        rows = _read_table(path, _JUDGED).to_pylist()
        return {(row.pop("subject"), row.pop("index")): Verdict(**row) for row in rows}

    def add_verdicts(self, key: str, verdicts: Mapping[tuple[str, int], Verdict]) -> None:
        """Add verdicts to those in the file, which other runs may be writing as well."""
        self.save_verdicts(key, {**self.load_verdicts(key), **verdicts})

    def save_verdicts(self, key: str, verdicts: Mapping[tuple[str, int], Verdict]) -> None:
        """Replace the file's verdicts by these."""
        rows = [
            {"subject": subject, "index": index, **vars(verdict)}
            for (subject, index), verdict in verdicts.items()
        ]
        self._write_table(self.verdict_path(key), rows, _JUDGED)

    def canary_path(self, key: str) -> Path:
        """Return the file of a judge's first scores of the canary."""
        return self.root / "canary" / f"{key}.json"

    def load_canary(self, key: str) -> dict[str, Any] | None:
        """Load what `save_canary` stored; None if there is nothing."""
        path = self.canary_path(key)
        return _read_json(path) if path.exists() else None

    def save_canary(self, key: str, scores: Mapping[str, Any]) -> None:
        """Store a judge's first scores of the canary, and how they were made."""
        self._write_json(self.canary_path(key), scores)

    # Runs

    def run_folder(self, run_id: str) -> Path:
        """Return the folder of a run's record and verdicts."""
        return self.root / "runs" / run_id

    def run_ids(self) -> list[str]:
        """Return the ids of all runs, finished or not, sorted."""
        return sorted(
            path.parent.name
            for path in (self.root / "runs").glob("*/run.json")
            if not path.parent.name.startswith(TEMPORARY)
        )

    def find_run(self, prefix: str) -> str:
        """Return the id of the only run whose id begins with `prefix`.

        Raises:
            UserError: if there is no such run, or several.
        """
        ids = self.run_ids()
        if prefix in ids:
            return prefix
        matching = [run_id for run_id in ids if run_id.startswith(prefix)]
        if len(matching) == 1:
            return matching[0]
        several = f"'{prefix}' is the beginning of several runs"
        problem = several if matching else f"no run '{prefix}'"
        raise UserError(
            f"{problem} in {self.root}: there are {', '.join(matching or ids) or 'none yet'}"
        )

    def load_record(self, run_id: str) -> RunRecord | None:
        """Load a run's record, `run.json`; None if there is none.

        Raises:
            UserError: if it is damaged, of another run, or lacks a part.
        """
        path = self.run_folder(run_id) / "run.json"
        if not path.exists():
            return None
        values = _read_json(path)
        if values.get("format") != FORMAT:
            raise UserError(_damaged(path, "it is not a run record of this version", None))
        try:
            record = RunRecord.from_json(values)
        except Unreadable as error:
            raise UserError(_damaged(path, f"'{error}' is missing or wrong", None)) from error
        if record.id != run_id:
            raise UserError(_damaged(path, f"it is the record of another run, {record.id}", None))
        if record.suite_file is not None:
            record.suite_file = str((self.root.resolve() / record.suite_file).resolve())
        return record

    def read_record(self, run_id: str) -> RunRecord:
        """Load a run's record.

        Raises:
            UserError: as `load_record`, and if there is none.
        """
        record = self.load_record(run_id)
        if record is None:
            raise UserError(f"{self.run_folder(run_id) / 'run.json'} has vanished: run it again")
        return record

    def save_record(self, record: RunRecord) -> None:
        """Store a run's record.

        The place of a dataset beside the runs folder is written relative to it, so that both may
        be moved together.
        """
        values, root = record.to_json(), self.root.resolve()
        if record.suite_file is not None and Path(record.suite_file).is_relative_to(root.parent):
            values["suite_file"] = Path(os.path.relpath(record.suite_file, root)).as_posix()
        self._write_json(self.run_folder(record.id) / "run.json", values)

    def suite_folder(self, fingerprint: str) -> Path:
        """Return the folder of what is kept of a suite."""
        return self.root / "suites" / fingerprint

    def failure_path(self, run_id: str) -> Path:
        """Return the file of the traceback of what stopped a run."""
        return self.run_folder(run_id) / "failure.txt"

    def save_failure(self, run_id: str, text: str) -> None:
        """Store the traceback of what stopped a run."""
        path = self.failure_path(run_id)
        with self._temporary(path) as temporary:
            _write(temporary, text.encode())
            temporary.replace(path)

    def forget_failure(self, run_id: str) -> None:
        """Remove the traceback of what stopped a run, if there is one."""
        path = self.failure_path(run_id)
        with reporting(path):
            path.unlink(missing_ok=True)

    def save_rows(self, run_id: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Store a run's verdicts, one row per image."""
        self._write_table(self.run_folder(run_id) / "verdicts.parquet", rows, _ROWS)

    def has_rows(self, run_id: str) -> bool:
        """Check whether a run's verdicts are stored."""
        return (self.run_folder(run_id) / "verdicts.parquet").exists()

    def load_rows(self, run_id: str) -> pd.DataFrame:
        """Load a run's verdicts on its finished actions, with columns `judge.VERDICT_COLUMNS`."""
        frame: pd.DataFrame = self._rows(run_id).to_pandas()
        return frame

    def read_verdicts(self, record: RunRecord) -> pd.DataFrame:
        """Load a run's verdicts as `load_rows` does, and check them against its record.

        Raises:
            UserError: if the file cannot be read, or is not this run's.
        """
        return self.checked(record, self.load_rows(record.id))

    def as_frame(self, rows: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
        """Return verdicts as `load_rows` would if they were stored."""
        import pyarrow as pa

        frame: pd.DataFrame = pa.Table.from_pylist(list(rows), schema=_schema(_ROWS)).to_pandas()
        return frame

    def checked(self, record: RunRecord, verdicts: pd.DataFrame) -> pd.DataFrame:
        """Return a run's verdicts if they are those that its record says.

        Raises:
            UserError: if they are not.
        """
        problem = ""
        if verdicts[[*PAIR, "action_correct", "subject_correct"]].isna().any(axis=None):
            problem = "empty values"
        elif verdicts.duplicated(PAIR).any():
            problem = "an image twice"
        elif not set(verdicts["judge_fingerprint"]) <= {record.judge.fingerprint}:
            problem = "verdicts of another judge than run.json says"
        elif not set(verdicts["action"]) <= set(record.actions) or not (
            set(verdicts["subject"]) <= set(record.subjects)
        ):
            problem = "actions or subjects that run.json does not list"
        elif record.complete and len(verdicts) != record.n_items:
            problem = f"{len(verdicts)} images of {record.n_items}, though run.json says complete"
        elif not all(map(_is_inside, verdicts["image"])):
            problem = "images outside of the runs folder"
        if problem:
            folder = self.run_folder(record.id)
            raise UserError(
                f"{folder / 'verdicts.parquet'} is damaged (it holds {problem}): delete the "
                f"folder {folder} and run the same command again"
            )
        return verdicts

    def load_row_dicts(self, run_id: str) -> list[dict[str, Any]]:
        """Load a run's verdicts as `load_rows` does, but without pandas."""
        rows: list[dict[str, Any]] = self._rows(run_id).to_pylist()
        return rows

    def load_copying(self, run_id: str) -> dict[str, Any] | None:
        """Load what `save_copying` stored; None if there is nothing."""
        path = self.run_folder(run_id) / "copying.json"
        return _read_json(path) if path.exists() else None

    def save_copying(self, run_id: str, facts: Mapping[str, Any]) -> None:
        """Store which of a run's images copy an exemplar."""
        self._write_json(self.run_folder(run_id) / "copying.json", facts)

    def _rows(self, run_id: str) -> pa.Table:
        return _read_table(self.run_folder(run_id) / "verdicts.parquet", _ROWS)

    # Writing

    def _write_json(self, path: Path, value: Mapping[str, Any]) -> None:
        with self._temporary(path) as temporary:
            _write(temporary, _pretty(value))
            temporary.replace(path)

    def _write_table(
        self, path: Path, rows: Iterable[Mapping[str, Any]], columns: tuple[str, ...]
    ) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        table = pa.Table.from_pylist(list(rows), schema=_schema(columns))
        with self._temporary(path) as temporary:
            with temporary.open("wb") as file:
                pq.write_table(table, file)
            _sync(temporary)
            temporary.replace(path)

    @contextmanager
    def _temporary(self, path: Path) -> Iterator[Path]:
        """Yield a temporary name beside `path`, which is removed if writing fails."""
        with reporting(path), beside(path) as temporary:
            yield temporary


def read_image(path: Path | str, file: IO[bytes] | None = None) -> Image.Image:
    """Read an image, RGB and fully decoded.

    Args:
        path: where it is, also for the message if it is damaged.
        file: its content, if it is at hand.

    Raises:
        UserError: if it is missing or damaged, or larger than `MOST_PIXELS`.
    """
    with _opened(path, file) as image:
        return image.convert("RGB")


def image_size(path: Path) -> tuple[int, int]:
    """Read an image's width and height from its head.

    Raises:
        UserError: as `read_image`.
    """
    with _opened(path) as image:
        return image.size


@contextmanager
def _opened(path: Path | str, file: IO[bytes] | None = None) -> Iterator[Image.Image]:
    """Open an image; the block that reads it has its errors reported."""
    try:
        with Image.open(file or path) as image:
            if image.width * image.height > MOST_PIXELS:
                raise Image.DecompressionBombError(f"{image.width} x {image.height} pixels")
            yield image
    except FileNotFoundError as error:
        raise UserError(_MISSING.format(path)) from error
    except Image.DecompressionBombError as error:
        raise UserError(f"{path} is larger than any image here ({error}): {AGAIN}") from error
    except (OSError, SyntaxError, ValueError) as error:  # Pillow's errors for a damaged file
        raise UserError(f"{path} is damaged ({error}): {AGAIN}") from error


def _image_name(item: Item) -> str:
    return f"{slug(item.subject.name)}-{item.index}.png"


def _is_inside(name: str) -> bool:
    """Check that a path is relative and never leads upwards."""
    path = PurePath(name)
    return not path.is_absolute() and ".." not in path.parts and "\\" not in name


def _read_json(path: Path, delete: Path | None = None) -> dict[str, Any]:
    """Read a JSON object.

    Args:
        delete: the folder to delete if the file is damaged; by default only the file.
    """
    try:
        value = json.loads(path.read_text("utf-8"))
    except PermissionError as error:
        raise UserError(f"{path} cannot be read: no permission") from error
    except (OSError, ValueError) as error:
        raise UserError(_damaged(path, str(error), delete)) from error
    if not isinstance(value, dict):
        raise UserError(_damaged(path, "not a JSON object", delete))
    return value


@lru_cache
def _schema(columns: tuple[str, ...]) -> pa.Schema:
    import pyarrow as pa

    kinds = {str: pa.string(), int: pa.int64(), bool: pa.bool_(), float: pa.float64()}
    return pa.schema([(column, kinds[VERDICT_COLUMNS[column]]) for column in columns])


def _read_table(path: Path, columns: tuple[str, ...]) -> pa.Table:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowException) as error:
        reason = str(error).splitlines()[0]
        raise UserError(_damaged(path, reason, None)) from error
    if table.schema.names != list(columns):
        raise UserError(_damaged(path, "its columns are of another version", None))
    return table


def _damaged(path: Path, reason: str, delete: Path | None) -> str:
    what = f"{AGAIN} (the folder {delete})" if delete else AGAIN
    return f"{path} is damaged ({reason}): {what}"


def _pretty(value: Mapping[str, Any]) -> bytes:
    return (json.dumps(value, indent=1, allow_nan=False) + "\n").encode()


def _write(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync(path: Path) -> None:
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


_FIXES = {
    errno.ENOSPC: "the disk is full; free some space",
    errno.EDQUOT: "the disk quota is used up; free some space",
    errno.EFBIG: "the file may not grow so large here; free some space or raise the limit",
    errno.EACCES: "no permission; change it, or name another folder with --runs",
    errno.EPERM: "no permission; change it, or name another folder with --runs",
    errno.EROFS: "the disk is read-only; name another folder with --runs",
    errno.ENOTDIR: "a part of the path is a file; name another folder with --runs",
}


@contextmanager
def reporting(path: Path) -> Iterator[None]:
    """Turn an error of the operating system into a UserError that says how to go on."""
    try:
        yield
    except OSError as error:
        reason = _FIXES.get(error.errno or 0, str(error))
        raise UserError(
            f"{path} cannot be used: {reason}; finished work is kept, "
            "and the same command goes on from there"
        ) from error
