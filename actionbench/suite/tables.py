"""The format of all datasets here: Parquet files of exemplars and subjects, and a card.

Drawn puppets and imported photographs are written, read and fingerprinted by the same code.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from actionbench.errors import UserError
from actionbench.suite.items import Exemplar, Subject

if TYPE_CHECKING:
    import numpy as np

CARD = "README.md"
EXEMPLARS = "exemplars.parquet"
SUBJECTS = "subjects.parquet"

Rows = Sequence[Mapping[str, Any]]


def exemplar_row(
    *,
    id: str,
    image: Image.Image,
    action: str,
    description: str,
    caption: str,
    template: str,
    keypoints: np.ndarray | None,
    optimize: bool = False,
) -> dict[str, Any]:
    """Return one row of `exemplars`, with the skeleton drawn from the keypoints.

    Args:
        image: RGB, square.
        keypoints: float [18, 3] in OpenPose's order, or None.
        optimize: write smaller files, more slowly.
    """
    from actionbench.suite.skeleton import draw_skeleton

    skeleton = None if keypoints is None else draw_skeleton(keypoints, image.width)
    return {
        "id": id,
        "image": {"bytes": _png(image, optimize), "path": f"{id}.png"},
        "action": action,
        "description": description,
        "caption": caption,
        "template": template,
        "keypoints": None if keypoints is None else keypoints.round(5).tolist(),
        "skeleton": skeleton and {"bytes": _png(skeleton, optimize), "path": f"{id}-skeleton.png"},
    }


def subject_rows(subjects: Iterable[Subject]) -> list[dict[str, Any]]:
    """Return the rows of `subjects`."""
    return [{"name": s.name, "category": s.category, "phrase": s.phrase} for s in subjects]


def _png(image: Image.Image, optimize: bool) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=optimize)
    return buffer.getvalue()


def write_tables(folder: Path, tables: Mapping[str, Rows]) -> None:
    """Write Parquet files under their names; all but `SUBJECTS` hold exemplars."""
    import datasets

    text = datasets.Value("string")
    exemplars = datasets.Features(
        {
            "id": text,
            "image": datasets.Image(),
            "action": text,
            "description": text,
            "caption": text,
            "template": text,
            "keypoints": datasets.Array2D((18, 3), "float32"),
            "skeleton": datasets.Image(),
        }
    )
    subjects = datasets.Features({"name": text, "category": text, "phrase": text})
    datasets.disable_progress_bars()
    for name, rows in tables.items():
        features = subjects if name == SUBJECTS else exemplars
        datasets.Dataset.from_list(list(rows), features=features).to_parquet(folder / name)


def card_configs(files: Iterable[str]) -> str:
    """Return the card's YAML lines that make `load_dataset(folder, "exemplars")` work.

    The first file is the default.
    """
    return "\n".join(
        f"  - config_name: {Path(file).stem}\n    data_files:\n      - split: "
        f"{'test' if file == SUBJECTS else 'train'}\n        path: {file}"
        + ("\n    default: true" if number == 0 else "")
        for number, file in enumerate(files)
    )


def fingerprint(folder: Path, files: Iterable[str], fix: str) -> str:
    """Return the hash of every decoded pixel and every text; encoders of files may differ.

    Args:
        fix: how to fix a file; it ends the error's message.

    Raises:
        UserError: for a file that is missing or damaged.
    """
    import pyarrow.parquet as pq

    digest = hashlib.sha256()
    for file in files:
        path = folder / file
        if not path.exists():
            raise UserError(f"{path} is missing: {fix}")
        try:
            for row in pq.read_table(path).to_pylist():
                for key in sorted(row):
                    digest.update(f"{path.stem}|{key}|".encode() + _content(row[key]))
        except (OSError, SyntaxError, ValueError, TypeError, KeyError) as error:
            reason = str(error).partition("\n")[0]
            raise UserError(f"{path} is damaged ({reason}): {fix}") from error
    return digest.hexdigest()[:16]


def _content(value: Any) -> bytes:
    """Return a cell's pixels, text or numbers as bytes, whatever their encoding in the file."""
    import numpy as np

    if value is None:
        return b"none"
    if isinstance(value, dict):
        with Image.open(io.BytesIO(value["bytes"])) as image:
            return image.convert("RGB").tobytes()
    if isinstance(value, str):
        return value.encode()
    return np.asarray(value, np.float32).round(4).tobytes()


def read_exemplars(path: Path, fix: str) -> dict[str, tuple[Exemplar, ...]]:
    """Return all exemplars of a Parquet file by action.

    Args:
        fix: how to fix the file; it ends the error's message.

    Raises:
        UserError: for a missing or damaged file or image.
    """
    import numpy as np
    import pyarrow.parquet as pq

    columns = ["id", "action", "image", "caption", "template", "keypoints"]
    try:
        rows = pq.read_table(path, columns=columns).to_pylist()
    except FileNotFoundError as error:
        raise UserError(f"{path} is missing: {fix}") from error
    except Exception as error:
        raise UserError(f"{path} cannot be read as exemplars ({error}): {fix}") from error
    by_action: dict[str, list[Exemplar]] = {}
    for row in rows:
        try:
            image = Image.open(io.BytesIO(row["image"]["bytes"])).convert("RGB")
        except OSError as error:
            raise UserError(f"{path}: the image of {row['id']} is damaged ({error})") from error
        points = row["keypoints"]
        keypoints = None if points is None else np.asarray(points, dtype=np.float32)
        by_action.setdefault(row["action"], []).append(
            Exemplar(row["id"], image, row["caption"], row["template"], keypoints)
        )
    return {action: tuple(exemplars) for action, exemplars in by_action.items()}


def exemplars_fingerprint(exemplars: Iterable[Exemplar]) -> str:
    """Return the hash of what methods see of exemplars: pixels, captions, keypoints."""
    digest = hashlib.sha256()
    for exemplar in exemplars:
        digest.update(exemplar.image.tobytes())
        digest.update(f"{exemplar.image.size}|{exemplar.caption}|{exemplar.template}".encode())
        if exemplar.keypoints is not None:
            digest.update(exemplar.keypoints.tobytes())
    return digest.hexdigest()[:16]
