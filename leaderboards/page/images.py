"""The images of a page: reduced, as WebP, in the page itself or in folders beside it."""

from __future__ import annotations

import base64
import io
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from actionbench.files.atomic import own_folder, replacing
from actionbench.runs.store import image_size, read_image
from actionbench.suite.items import slug

INSIDE_SIDE, BESIDE_SIDE = 128, 256
"""The longest side of an image in the page and beside it; smaller images stay as they are."""
MOST_INSIDE = 4000
"""Images that one file holds and still opens at once."""
_QUALITY = 74
"""WebP's. At 64 pixels an image takes about 1 KB."""
FOLDER = "index_files"
"""The folder of images beside a page."""
_MARK = "made-by-actionbench.txt"
_LONGEST = 32
"""Letters of each word in a file's name."""
_THUMBS, _FULL = "thumbs", "full"


class Gallery:
    """Collects the images that a page shows, each once, and encodes them."""

    def __init__(self) -> None:
        self.entries: list[_Entry] = []
        self._places: dict[Any, int] = {}

    def add(self, source: Path | Image.Image, *words: str) -> int | None:
        """Take an image, and return its number; None if it is a file that is not there.

        Args:
            words: what it is, for the name of its file beside a page; all of them tell an image
                that is no file from others.
        """
        key = source if isinstance(source, Path) else words
        if key not in self._places:
            if isinstance(source, Path) and not source.exists():
                return None
            number = self._places[key] = len(self.entries)
            parts = (slug(word)[:_LONGEST] for word in words)
            self.entries.append(_Entry("-".join(filter(None, [f"{number:05}", *parts])), source))
        return self._places[key]

    @property
    def side(self) -> int:
        """The longest side of the first image, read from its head; 0 if there is none."""
        for entry in self.entries:
            if isinstance(entry.source, Path):
                return max(image_size(entry.source))
        return 0

    def inside(self) -> dict[str, Any]:
        """Encode all images, and return the block of data that holds them in the page.

        Raises:
            UserError: for a damaged image.
        """
        with ThreadPoolExecutor(_cores()) as pool:
            return {"inside": list(pool.map(_text, self.entries))}

    def beside(self, folder: Path) -> dict[str, Any]:
        """Write all images into `FOLDER` in the page's folder, thumbnails and full ones, and
        return the block of data that has their addresses.

        An earlier folder is replaced as a whole.

        Raises:
            UserError: for a damaged image, and if the folder is somebody else's.
        """
        out = own_folder(folder / FOLDER, _MARK)
        with replacing(out) as made, ThreadPoolExecutor(_cores()) as pool:
            for name in (_THUMBS, _FULL):
                (made / name).mkdir(parents=True)
            (made / _MARK).write_text("The images of ../index.html.\n", "utf-8")
            full = list(pool.map(lambda entry: _write(made, entry), self.entries))
        thumbs, large = (f"{FOLDER}/{name}/" for name in (_THUMBS, _FULL))
        return {
            "thumbs": thumbs,
            "full": large,
            "beside": [entry.name for entry in self.entries],
            "suffixes": full,
        }


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 2


@dataclass(frozen=True)
class _Entry:
    name: str
    """The name of its file beside a page, without the suffix: letters, digits and dashes."""
    source: Path | Image.Image

    def read(self) -> Image.Image:
        return read_image(self.source) if isinstance(self.source, Path) else self.source


def _text(entry: _Entry) -> str:
    return base64.b64encode(_webp(entry.read(), INSIDE_SIDE)).decode("ascii")


def _write(folder: Path, entry: _Entry) -> str:
    """Write a thumbnail, and the full image if it is larger; return that one's suffix."""
    image = entry.read()
    thumb = folder / _THUMBS / f"{entry.name}.webp"
    thumb.write_bytes(_webp(image, BESIDE_SIDE))
    if max(image.size) <= BESIDE_SIDE:
        return ""
    suffix = entry.source.suffix if isinstance(entry.source, Path) else ".png"
    full = folder / _FULL / f"{entry.name}{suffix}"
    if isinstance(entry.source, Path):
        _link_or_copy(entry.source, full)
    else:
        image.save(full, format="PNG")
    return suffix


def _webp(image: Image.Image, side: int) -> bytes:
    if max(image.size) > side:
        image = image.copy()
        image.thumbnail((side, side), Image.Resampling.LANCZOS, reducing_gap=2.0)
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", quality=_QUALITY, method=4)
    return buffer.getvalue()


def _link_or_copy(source: Path, target: Path) -> None:
    """Give a file a second name, which takes no room; copy it to another disk."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
