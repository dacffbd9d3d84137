"""Labels by eye: a sheet of numbered pictures without verdicts, a CSV to fill in, and its reading.

Whoever labels says of each picture whether it shows the asked action and whether it shows the asked
subject, before a verdict is seen. The pictures are the base model's, by text alone.
"""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from actionbench.errors import UserError
from actionbench.files.atomic import replacing, write_text
from actionbench.suite.items import Action, Subject

COLUMNS = ("number", "picture", "asked_action", "asked_subject", "shows_action", "shows_subject")
ANSWERS = {"yes": True, "no": False}
LABELS = 200
ACROSS, PAGE, ZOOM = 10, 50, 3
LINE = 15

Pairs = Sequence[tuple[Action, Subject]]


def chosen(total: int, count: int = LABELS) -> np.ndarray:
    """The places of `count` of `total` pictures, by chance, the same each time."""
    return np.sort(np.random.default_rng(0).permutation(total)[:count])


def write_sheets(images: np.ndarray, pairs: Pairs, folder: Path) -> list[Path]:
    """Write pages of numbered pictures, each under what was asked for."""
    side = ZOOM * images.shape[1]
    font = ImageFont.load_default(11)
    files = []
    for page, start in enumerate(range(0, len(images), PAGE), 1):
        part = images[start : start + PAGE]
        lines = -(-len(part) // ACROSS)
        cell = side + 3 * LINE
        sheet = Image.new("RGB", (ACROSS * (side + 8), lines * cell), "white")
        pen = ImageDraw.Draw(sheet)
        for place, pixels in enumerate(part):
            x, y = place % ACROSS * (side + 8) + 4, place // ACROSS * cell
            action, subject = pairs[start + place]
            pen.text((x, y), f"{start + place + 1}  {subject.name}", "black", font)
            pen.text((x, y + LINE), action.name, "black", font)
            picture = Image.fromarray(pixels).resize((side, side), Image.Resampling.NEAREST)
            sheet.paste(picture, (x, y + 2 * LINE + 4))
        files.append(folder / f"page-{page}.png")
        with replacing(files[-1]) as path:
            sheet.save(path, format="PNG")
    return files


def picture_key(pixels: np.ndarray) -> str:
    """Eight hexadecimal digits by which a label finds its picture again."""
    return hashlib.sha256(pixels.tobytes()).hexdigest()[:8]


def write_form(images: np.ndarray, pairs: Pairs, file: Path) -> Path:
    """Write the CSV to fill in; one that is of these pictures is left as it is.

    Raises:
        UserError: if the file holds labels of other pictures.
    """
    keys = [picture_key(pixels) for pixels in images]
    if file.exists():
        rows = _rows(file)
        if [row["picture"] for row in rows] == keys:
            return file
        if any(row["shows_action"] or row["shows_subject"] for row in rows):
            raise UserError(
                f"{file} holds labels of other pictures: move it away, or name another file with "
                "--labels"
            )
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for number, (key, (action, subject)) in enumerate(zip(keys, pairs, strict=True), 1):
        writer.writerow([number, key, action.name, subject.name, "", ""])
    return write_text(file, text.getvalue())


def read_form(file: Path) -> tuple[np.ndarray, np.ndarray] | None:
    """The labels of a filled CSV, of action and subject, bool [n] each; None if none is given yet.

    Raises:
        UserError: if a label is neither yes nor no, or some are missing.
    """
    rows = _rows(file)
    answers = []
    empty = 0
    for line, row in enumerate(rows, 2):
        given = []
        for column in ("shows_action", "shows_subject"):
            text = row[column].strip().lower()
            if text and text not in ANSWERS:
                raise UserError(
                    f"{file}, line {line}: {column} '{row[column]}' is neither yes nor no"
                )
            empty += not text
            given.append(ANSWERS.get(text, False))
        answers.append(given)
    if empty == 2 * len(rows):
        return None
    if empty:
        raise UserError(f"{file}: {empty} labels are missing: fill in yes or no")
    table = np.array(answers, dtype=bool)
    return table[:, 0], table[:, 1]


def _rows(file: Path) -> list[dict[str, str]]:
    try:
        with file.open(encoding="utf-8", newline="") as handle:
            reader = csv.DictReader(handle)
            rows = list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{file} cannot be read ({error}): save it as CSV in UTF-8") from error
    if tuple(reader.fieldnames or ()) != COLUMNS or any(None in row.values() for row in rows):
        raise UserError(f"{file} has other columns than {', '.join(COLUMNS)}: write it again")
    return rows
