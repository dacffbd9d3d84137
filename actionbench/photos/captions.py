"""Where the photographs' captions come from, and where the identifier stands in them."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from actionbench.errors import UserError
from actionbench.suite.items import SLOT, Action

CSV, JSONL = "captions.csv", "metadata.jsonl"
FILE_COLUMNS, TEXT_COLUMNS = ("file", "file_name"), ("caption", "text")

PLAIN = f"a photo of a person {SLOT}"
"""The template where nobody wrote a caption."""


@dataclass(frozen=True)
class Captions:
    source: str
    """`captions.csv`, `metadata.jsonl`, `text files`, or `none`."""
    by_file: Mapping[str, str]
    """Caption by the photograph's path, relative to the folder: "sit/01.jpg"."""


def read_captions(folder: Path, photographs: Iterable[str], problems: list[str]) -> Captions:
    """The captions of a folder: of the first there is of `CSV`, `JSONL`, and text files beside the
    photographs.

    Lines that are wrong, and captions of files that are not among the photographs, are added to
    `problems`.
    """
    names = list(photographs)
    for file, rows in ((CSV, _csv_rows), (JSONL, _jsonl_rows)):
        if (folder / file).exists():
            try:
                return Captions(file, _table(file, rows(folder / file, problems), names, problems))
            except UnicodeDecodeError:
                problems.append(f"{file}: is not UTF-8: save it as such")
                return Captions(file, {})
    texts = {name: (folder / name).with_suffix(".txt") for name in names}
    found = {}
    for name, path in texts.items():
        if path.exists():
            try:
                found[name] = " ".join(path.read_text("utf-8-sig").split())
            except UnicodeDecodeError:
                problems.append(f"{path.relative_to(folder).as_posix()}: is not UTF-8")
    return Captions("text files" if found else "none", found)


def _table(
    file: str, rows: Iterator[tuple[int, str, str]], names: list[str], problems: list[str]
) -> dict[str, str]:
    found: dict[str, str] = {}
    known = set(names)
    for line, name, caption in rows:
        # Written by hand on whatever system: ".\sit\1.jpg" means "sit/1.jpg".
        name = name.replace("\\", "/").removeprefix("./")
        if name not in known:
            problems.append(
                f"{file}, line {line}: there is no photograph '{name}': "
                "name it as ACTION/FILE, or remove the line"
            )
        elif name in found:
            problems.append(f"{file}, line {line}: '{name}' has a caption already: remove one")
        else:
            found[name] = " ".join(caption.split())
    return found


def _csv_rows(path: Path, problems: list[str]) -> Iterator[tuple[int, str, str]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file)
        columns = reader.fieldnames or ()
        name = next((c for c in FILE_COLUMNS if c in columns), None)
        text = next((c for c in TEXT_COLUMNS if c in columns), None)
        if name is None or text is None:
            problems.append(
                f"{path.name}: its first line must name the columns 'file' and 'caption', "
                f"it has {', '.join(columns) or 'none'}"
            )
            return
        for row in reader:
            yield reader.line_num, row[name] or "", row[text] or ""


def _jsonl_rows(path: Path, problems: list[str]) -> Iterator[tuple[int, str, str]]:
    for number, line in enumerate(path.read_text("utf-8-sig").splitlines(), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            name = next(row[key] for key in FILE_COLUMNS if key in row)
            text = next(row[key] for key in TEXT_COLUMNS if key in row)
        except (ValueError, TypeError, StopIteration):
            problems.append(
                f"{path.name}, line {number}: must be a JSON object with 'file_name' and 'text'"
            )
        else:
            yield number, str(name), str(text)


def with_slot(caption: str, action: Action, *, append: bool) -> str:
    """The caption as a template: `SLOT` where the caption has it, or where it describes the action.

    Where it does neither, the slot is put at the end if `append`.

    Raises UserError where the template would have no slot or several.
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
        raise UserError(f"its caption tells the action more than once: leave one ('{caption}')")
    raise UserError(
        f"its caption has neither {SLOT} nor '{action.description}' ('{caption}'): "
        f"write {SLOT} where the action is told, or take --slot append"
    )
