"""The photographs' captions, and the identifier's place in them."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from actionbench.errors import UserError
from actionbench.printing import unprintable_sign
from actionbench.suite.items import SLOT, Action, fold

CSV, TABLE, JSONL = "captions.csv", "metadata.csv", "metadata.jsonl"
"""The files that captions are read from, best first; the latter two are as `datasets` reads them.
Their names may be in any case."""
FILE_COLUMNS, TEXT_COLUMNS = ("file", "file_name"), ("caption", "text")
LISTS = (
    *(".csv", ".tsv", ".json", ".jsonl", ".ndjson", ".parquet", ".arrow"),
    *(".xlsx", ".xls", ".ods", ".yaml", ".yml"),
)
"""Endings of files that may hold captions, so that none is passed over without a word."""
_SEPARATORS = (",", ";", "\t")
"""Excel takes the semicolon where a comma stands in numbers."""
_MARKS = (
    *((b"\xff\xfe\0\0", "utf-32"), (b"\0\0\xfe\xff", "utf-32")),
    *((b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16")),
)
"""The first bytes of a text that says its encoding."""

PLAIN = f"a photo of a person {SLOT}"
"""The template if there are no captions."""


@dataclass(frozen=True)
class Captions:
    """The captions of a folder of photographs."""

    source: str
    """A file's name, `text files`, or `none`."""
    by_file: Mapping[str, str]
    """Captions by the photographs' paths in the folder: "sit/01.jpg"."""
    reported: frozenset[str] = frozenset()
    """Photographs whose caption cannot be used, which the problems say."""
    notes: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Files and columns that are not used, by what they are."""


@dataclass(frozen=True)
class _Row:
    """One caption as a file has it."""

    line: int
    name: str | None
    """None if the line names no photograph that can be told."""
    caption: str = ""
    problem: str = ""
    """Why the caption cannot be used."""


def read_captions(
    folder: Path, files: Iterable[str], photographs: Iterable[str], problems: list[str]
) -> Captions:
    """Read a folder's captions from `CSV`, `TABLE` or `JSONL`, else from text files beside the
    photographs.

    Args:
        folder: the photographs' folder.
        files: the names of the files directly in it.
        photographs: the photographs' paths in it.
        problems: gets a line for each wrong line, each caption without a photograph, and each file
            that may hold captions if none is read from.
    """
    names, files = list(photographs), list(files)
    by_kind = {kind: [file for file in files if fold(file) == kind] for kind in (CSV, TABLE, JSONL)}
    kind = next((kind for kind, own in by_kind.items() if own), None)
    texts = _text_files(folder, names)
    notes: dict[str, list[str]] = {}
    if kind is None:
        problems += [
            f"{file}: is not read: name it {CSV}, {TABLE} or {JSONL} if it holds the captions, or "
            "move it elsewhere"
            for file in files
            if Path(file).suffix.lower() in LISTS
        ]
        return _from_texts(folder, texts, problems)
    file, *others = by_kind[kind]
    problems += [f"{other}: is another {kind}: keep one" for other in others]
    unused = [other for other in files if Path(other).suffix.lower() in LISTS and other != file]
    unused += [path.relative_to(folder).as_posix() for path in texts.values()]
    if unused:
        notes[f"not used, for captions are taken from {file}"] = unused
    try:
        text = read_text(folder / file)
        read = _jsonl_rows if kind == JSONL else _csv_rows
        rows = list(read(text, lambda unused: notes.update({f"not used of {file}": unused})))
    except UserError as error:
        problems.append(f"{file}: {error}")
        return Captions(file, {}, frozenset(names), notes)
    captions, reported = _by_photograph(file, rows, names, problems)
    return Captions(file, captions, reported, notes)


def read_text(path: Path) -> str:
    """Read a text in UTF-8, or in what its first bytes say (Excel: "Unicode text").

    Raises:
        UserError: for another encoding; its message does not name the file.
    """
    content = path.read_bytes()
    encoding = next((name for mark, name in _MARKS if content.startswith(mark)), "utf-8-sig")
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        raise UserError("is not UTF-8: save it as UTF-8 (Excel: CSV UTF-8)") from error
    if "\0" in text:
        raise UserError("holds zero bytes, so it is not UTF-8: save it as UTF-8")
    return text


def _text_files(folder: Path, names: Iterable[str]) -> dict[str, Path]:
    """Find the text file of each photograph: "sit/01.txt" of "sit/01.jpg", in any case."""
    found: dict[str, Path] = {}
    by_stem: dict[Path, dict[str, Path]] = {}
    for name in names:
        place = (folder / name).parent
        if place not in by_stem:
            texts = (path for path in place.iterdir() if path.suffix.lower() == ".txt")
            by_stem[place] = {fold(path.stem): path for path in sorted(texts)}
        own = by_stem[place].get(fold(Path(name).stem))
        if own is not None:
            found[name] = own
    return found


def _from_texts(folder: Path, texts: Mapping[str, Path], problems: list[str]) -> Captions:
    captions, reported = {}, set()
    for name, path in texts.items():
        try:
            captions[name] = _clean(read_text(path))
        except UserError as error:
            reported.add(name)
            problems.append(f"{path.relative_to(folder).as_posix()}: {error}")
    return Captions("text files" if texts else "none", captions, frozenset(reported))


def _clean(caption: str) -> str:
    """Return a caption with single blanks.

    Raises:
        UserError: for a sign that is no text, such as half of an emoji.
    """
    text = " ".join(caption.split())
    if sign := unprintable_sign(text):
        raise UserError(f"its caption holds {sign}: remove it")
    return text


def _by_photograph(
    file: str, rows: Iterable[_Row], names: Sequence[str], problems: list[str]
) -> tuple[dict[str, str], frozenset[str]]:
    """Return the captions by photograph, and the photographs whose line is wrong."""
    captions: dict[str, str] = {}
    reported: set[str] = set()
    wrong: set[str] = set()
    known = {fold(name): name for name in names}
    for row in rows:
        where = f"{file}, line {row.line}"
        if row.name is None:  # whose caption it would be nobody knows: only the line is reported
            problems.append(f"{where}: {row.problem}")
            reported.update(names)
            continue
        # Written by hand on whatever system: ".\sit\1.jpg" means "sit/1.jpg".
        said = row.name.strip().replace("\\", "/").removeprefix("./")
        # A disk may spell "é" as two signs, and a list name a file in another case.
        name = said if said in names else known.get(fold(said))
        if name is None:
            problems.append(
                f"{where}: there is no photograph '{said}': "
                "name it as ACTION/FILE, or remove the line"
            )
            continue
        if name in captions or name in wrong:
            problems.append(f"{where}: '{name}' has a caption already: remove one")
            continue
        try:
            if row.problem:
                raise UserError(row.problem)
            captions[name] = _clean(row.caption)
        except UserError as error:
            wrong.add(name)
            problems.append(f"{where}: {error}")
    return captions, frozenset(reported | wrong)


NoteUnused = Callable[[list[str]], object]
"""Takes note of columns or keys that hold something and are not used."""


def _csv_rows(text: str, note: NoteUnused) -> Iterator[_Row]:
    lines, before = io.StringIO(text, newline=""), 0
    separators: Sequence[str] = _SEPARATORS
    if match := re.match(r"sep=(.)\r?\n", text):  # Excel's own first line
        lines.seek(match.end())
        before, separators = 1, match[1]
    begin = lines.tell()
    head = lines.readline().rstrip("\r\n")
    lines.seek(begin)
    split = {mark: _columns(head, mark) for mark in separators}
    mark = next((m for m, columns in split.items() if None not in _places(columns)), separators[0])
    columns = split[mark]
    name, caption = _places(columns)
    if name is None or caption is None:
        raise UserError(
            "its first line must name the columns 'file' and 'caption', "
            f"it has {', '.join(filter(None, columns)) or 'none'}"
        )
    if len(set(columns)) < len(columns):
        raise UserError("its first line names a column twice: keep one")
    used: set[int] = set()
    reader = csv.reader(lines, delimiter=mark, skipinitialspace=True, strict=True)
    try:
        next(reader)
        for row in reader:
            filled = {place for place, cell in enumerate(row) if cell.strip()}
            if not filled:  # Excel ends a file with blank rows
                continue
            used |= filled
            more = [place for place in filled if place >= len(columns) or not columns[place]]
            problem = ""
            if more:
                problem = (
                    f"has {max(more) + 1} fields, the first line names {len(columns)}: put the "
                    'caption into "quotes", or name the other columns'
                )
            cells = [*row, *[""] * len(columns)]
            yield _Row(before + reader.line_num, cells[name], cells[caption], problem)
    except csv.Error as error:
        problem = f'{error}: put the whole caption into "quotes", and double the quotes within'
        yield _Row(before + reader.line_num, None, problem=problem)
    unused = [c for place, c in enumerate(columns) if place in used - {name, caption}]
    if unused:
        note(unused)


def _columns(head: str, separator: str) -> list[str]:
    """Return the columns' names, without blanks around them and blank ones at the end."""
    cells = next(csv.reader([head], delimiter=separator, skipinitialspace=True), [])
    names = [cell.strip().lower() for cell in cells]
    while names and not names[-1]:
        names.pop()
    return names


def _places(columns: Sequence[str]) -> tuple[int | None, int | None]:
    """Return the places of the file's and the caption's column."""

    def first(names: Iterable[str]) -> int | None:
        return next((columns.index(name) for name in names if name in columns), None)

    return first(FILE_COLUMNS), first(TEXT_COLUMNS)


def _jsonl_rows(text: str, note: NoteUnused) -> Iterator[_Row]:
    used: dict[str, None] = {}
    # Only at \n: the signs U+2028 and U+0085 end no line of JSON.
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line, object_pairs_hook=_once_each)
        except (ValueError, RecursionError) as error:
            yield _Row(number, None, problem=f"is not JSON ({error}): correct it")
            continue
        keys = row if isinstance(row, dict) else {}
        name = next((key for key in FILE_COLUMNS if key in keys), None)
        caption = next((key for key in TEXT_COLUMNS if key in keys), None)
        if name is None or caption is None or not isinstance(row[name], str):
            yield _Row(
                number, None, problem="must be a JSON object with 'file_name' and 'text', strings"
            )
            continue
        used |= dict.fromkeys(key for key in row if key not in (name, caption))
        said: Any = row[caption]
        if isinstance(said, str):
            yield _Row(number, row[name], said)
        else:
            kind = {type(None): "null", list: "a list", dict: "an object"}.get(
                type(said), f"the {type(said).__name__} {said}"
            )
            yield _Row(number, row[name], problem=f"'{caption}' must be a string, it is {kind}")
    if used:
        note(list(used))


def _once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    row = dict(pairs)
    if len(row) < len(pairs):
        raise ValueError("a key is given twice")
    return row


def with_slot(caption: str, action: Action, *, append: bool) -> str:
    """Turn a caption into a template with one `SLOT`.

    The slot is where the caption has it already, else in place of the action's description, else,
    if `append`, at the end.

    Raises:
        UserError: if the template would have no slot or several.
    """
    if SLOT in caption:
        template = caption
    else:
        described = rf"(?<!\w){re.escape(action.description)}(?!\w)"
        template = re.sub(described, SLOT, caption, flags=re.IGNORECASE)
        if template == caption and append:
            template = f"{caption.rstrip(' .')} {SLOT}"
    if template.count(SLOT) == 1:
        return template
    if template.count(SLOT) > 1:
        raise UserError(f"its caption names the action more than once: keep one ('{caption}')")
    raise UserError(
        f"its caption has neither {SLOT} nor '{action.description}' ('{caption}'): "
        f"write {SLOT} in place of the action, or take --slot append"
    )
