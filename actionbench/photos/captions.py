"""The photographs' captions, and the identifier's place in them."""

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
"""The template if there are no captions."""


@dataclass(frozen=True)
class Captions:
    """The captions of a folder of photographs."""

    source: str
    """`captions.csv`, `metadata.jsonl`, `text files`, or `none`."""
    by_file: Mapping[str, str]
    """Captions by the photographs' paths in the folder: "sit/01.jpg"."""


def read_captions(folder: Path, photographs: Iterable[str], problems: list[str]) -> Captions:
    """Read a folder's captions from `CSV`, else `JSONL`, else text files beside the photographs.

    Args:
        folder: the photographs' folder.
        photographs: their paths in the folder.
        problems: gets a line for each wrong line and each caption without a photograph.
    """
    names = list(photographs)
    for file, rows in ((CSV, _csv_rows), (JSONL, _jsonl_rows)):
        if (folder / file).exists():
            try:
                return Captions(file, _table(file, rows(folder / file, problems), names, problems))
            except UnicodeDecodeError:
                problems.append(f"{file}: is not UTF-8: save it as UTF-8")
                return Captions(file, {})
    texts = {name: (folder / name).with_suffix(".txt") for name in names}
    captions = {}
    for name, path in texts.items():
        if path.exists():
            try:
                captions[name] = " ".join(path.read_text("utf-8-sig").split())
            except UnicodeDecodeError:
                file = path.relative_to(folder).as_posix()
                problems.append(f"{file}: is not UTF-8: save it as UTF-8")
    return Captions("text files" if captions else "none", captions)


def _table(
    file: str, rows: Iterator[tuple[int, str, str]], names: list[str], problems: list[str]
) -> dict[str, str]:
    captions: dict[str, str] = {}
    known = set(names)
    for line, name, caption in rows:
        # Written by hand on whatever system: ".\sit\1.jpg" means "sit/1.jpg".
        name = name.replace("\\", "/").removeprefix("./")
        if name not in known:
            problems.append(
                f"{file}, line {line}: there is no photograph '{name}': "
                "name it as ACTION/FILE, or remove the line"
            )
        elif name in captions:
            problems.append(f"{file}, line {line}: '{name}' has a caption already: remove one")
        else:
            captions[name] = " ".join(caption.split())
    return captions


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
