"""A sample of the images of a kept measurement: one WebP atlas a run, and which tile shows what.

    runs/<run>/atlas.webp    the tiles, row by row
    runs/<run>/atlas.json    their side, how many stand in a row, and the file that each was

All runs keep the same items, chosen by a hash of their names, action by action in turn: nobody
picks them, and more of them are kept where there is more room.
"""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Iterable, Mapping, Sequence
from itertools import zip_longest
from pathlib import Path

import pandas as pd
from PIL import Image

from actionbench.errors import UserError
from actionbench.files.hashing import make_key
from actionbench.judge import PAIR
from actionbench.runs.record import RunRecord
from actionbench.runs.store import Store, read_image

ATLAS, INDEX = "atlas.webp", "atlas.json"
SIDE = 128
"""The longest side of a tile; smaller images stay as they are."""
ACROSS = 24
MOST = 480
"""Tiles of a run."""
ROOM = 1_000_000
"""Bytes of all atlases of a measurement, unless told otherwise."""
_QUALITY = 80

Pair = tuple[str, str, int]
"""Action, subject, index."""


def keep_samples(store: Store, records: Sequence[RunRecord], kept: Store, room: int = ROOM) -> int:
    """Write the atlases of runs into another store, and return how many items they show.

    Atlases that the runs have already, because they are a kept measurement themselves, are copied.

    Args:
        store: holds the runs' images or atlases.
        kept: holds the runs' folders; no image is written there but the atlases.
        room: bytes that all atlases take at most.

    Raises:
        UserError: for a damaged image.
    """
    if not records or room <= 0:
        return 0
    if all((store.run_folder(r.id) / INDEX).exists() for r in records):
        return _copied(store, records, kept)
    files = {record.id: _files(store, record) for record in records}
    items = _in_turn(set.intersection(*(set(named) for named in files.values())))[:MOST]
    while items:
        atlases = {
            run: _atlas([store.root / named[item] for item in items])
            for run, named in files.items()
        }
        size = sum(len(content) for content, _ in atlases.values())
        if size <= room:
            break
        items = items[: min(len(items) - 1, int(0.95 * len(items) * room / size))]
    for run, (content, side) in atlases.items() if items else ():
        folder = kept.run_folder(run)
        (folder / ATLAS).write_bytes(content)
        facts = {
            "side": side,
            "across": ACROSS,
            "images": [files[run][item] for item in items],
        }
        (folder / INDEX).write_text(json.dumps(facts, indent=1) + "\n", "utf-8")
    return len(items)


def _copied(store: Store, records: Iterable[RunRecord], kept: Store) -> int:
    count = 0
    for record in records:
        for name in (ATLAS, INDEX):
            shutil.copyfile(store.run_folder(record.id) / name, kept.run_folder(record.id) / name)
        count = len(json.loads((store.run_folder(record.id) / INDEX).read_text("utf-8"))["images"])
    return count


def _files(store: Store, record: RunRecord) -> dict[Pair, str]:
    """The files of a run's items, of those that are there."""
    verdicts: pd.DataFrame = store.read_verdicts(record)
    columns = (verdicts[name] for name in (*PAIR, "image"))
    return {
        (str(action), str(subject), int(index)): str(file)
        for action, subject, index, file in zip(*columns, strict=True)
        if (store.root / str(file)).exists()
    }


def _in_turn(items: Iterable[Pair]) -> list[Pair]:
    """Items by a hash of their names, one of each action in turn."""
    by_action: dict[str, list[Pair]] = {}
    for item in sorted(items, key=lambda item: make_key(*item)):
        by_action.setdefault(item[0], []).append(item)
    turns = zip_longest(*by_action.values())
    return [item for turn in turns for item in turn if item is not None]


def _atlas(files: Sequence[Path]) -> tuple[bytes, int]:
    """The tiles of image files as WebP, and their side."""
    images = [read_image(file).convert("RGB") for file in files]
    side = min(SIDE, max(max(image.size) for image in images))
    rows = -(-len(images) // ACROSS)
    sheet = Image.new("RGB", (side * min(ACROSS, len(images)), side * rows))
    for number, image in enumerate(images):
        if image.size != (side, side):
            image = image.resize((side, side), Image.Resampling.LANCZOS)
        sheet.paste(image, _corner(number, side))
    buffer = io.BytesIO()
    sheet.save(buffer, "WEBP", quality=_QUALITY, method=4)
    return buffer.getvalue(), side


def _corner(number: int, side: int) -> tuple[int, int]:
    return side * (number % ACROSS), side * (number // ACROSS)


def read_samples(root: Path, run_ids: Iterable[str]) -> Mapping[str, Image.Image]:
    """The tiles that runs of a kept measurement have, by the file that each image was.

    Raises UserError for a damaged file.
    """
    tiles: dict[str, Image.Image] = {}
    store = Store(root)
    for run in run_ids:
        folder = store.run_folder(run)
        if not (folder / INDEX).exists():
            continue
        try:
            facts = json.loads((folder / INDEX).read_text("utf-8"))
            side, files = int(facts["side"]), list(facts["images"])
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(
                f"{folder / INDEX} is damaged ({error}): delete it, and the page has no images"
            ) from error
        sheet = read_image(folder / ATLAS)
        for number, file in enumerate(files):
            x, y = _corner(number, side)
            tiles[file] = sheet.crop((x, y, x + side, y + side))
    return tiles
