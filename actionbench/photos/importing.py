"""Import of a folder of photographs, one sub-folder per action, as a dataset with its suite.

All problems of the folder are reported together, and then nothing is written. The same folder and
choices give the same fingerprint.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from PIL import Image

from actionbench.errors import Problems, UserError, unknown
from actionbench.files.atomic import own_folder, replacing
from actionbench.photos.captioner import Captioner
from actionbench.photos.captions import LISTS, PLAIN, Captions, read_captions, with_slot
from actionbench.photos.imported import FACTS, FIX, FORMAT, TABLES, write_card
from actionbench.photos.photograph import SIMILAR, Fit, Picture, read_picture
from actionbench.printing import unprintable_sign
from actionbench.progress import SILENT, Progress
from actionbench.suite import tables as dataset
from actionbench.suite.items import SLOT, Action, fold, slug
from actionbench.suite.suite import Suite
from actionbench.suite.yaml_file import SUITE_FILE, write_definition

COUNT = 10
"""Photographs per action, as in the paper."""


class PoseReader(Protocol):
    """A reader of keypoints, such as `keypoints.KeypointReader`."""

    def find(self, images: Sequence[Image.Image]) -> Sequence[np.ndarray | None]:
        """Return the keypoints float32 [18, 3] of each image; None if it shows nobody."""


@dataclass(frozen=True)
class Choices:
    """What the user chooses for an import."""

    count: int | None = COUNT
    """The number of photographs that each action must have; None is any number."""
    size: int = 512
    """The exemplars' side in pixels."""
    fit: Fit = "pad"
    """How a photograph becomes square; see `photograph.read_picture`."""
    append_slot: bool = False
    """Put the slot at the end of captions that have neither it nor the action's description."""
    allow_similar: bool = False
    """Accept near-duplicates; the same picture twice is never accepted."""


@dataclass(frozen=True)
class Imported:
    """A dataset that was imported."""

    folder: Path
    fingerprint: str
    counts: Mapping[str, int]
    """Numbers of exemplars by action."""
    captions: str
    """Where the captions are from."""
    notes: Mapping[str, Sequence[str]]
    """Names by what was done to them: photographs that were "turned upright", files that are
    "passed over"."""


@dataclass(frozen=True)
class _Photograph:
    """A photograph's file: "sit/01.jpg" shows the action sit."""

    name: str
    path: Path
    action: Action


def import_photographs(
    source: Path,
    out: Path,
    suite: Suite,
    choices: Choices,
    *,
    captioner: Captioner | None = None,
    pose_reader: PoseReader | None = None,
    progress: Progress = SILENT,
) -> Imported:
    """Check a folder of photographs and write it to `out` as a dataset of the suite.

    Args:
        source: a folder with a sub-folder for each action of the suite, named like the action.
        out: a new or empty folder, or an earlier dataset, which is replaced.
        captioner: writes captions for the photographs without one.
        pose_reader: reads their keypoints; if None, the dataset has none.

    Raises:
        Problems: with all that is wrong with the photographs and captions.
        UserError: for folders that cannot be used, and for a suite whose exemplars are drawn.
    """
    if suite.file is None:
        raise UserError(f"the exemplars of suite {suite.name} are drawn: name another with --suite")
    out = _checked_folders(source, out)
    problems: list[str] = []
    notes: dict[str, list[str]] = {}
    photos, files = _find(source, suite.actions, choices.count, problems, notes)
    pictures = _read(photos, choices, problems, progress)
    _report_similar(photos, pictures, choices.allow_similar, problems)
    captions = read_captions(source, files, [photo.name for photo in photos], problems)
    templates, caption_source = _templates(
        photos, captions, choices, captioner is not None, problems
    )
    images = {name: picture.image for name, picture in pictures.items()}
    keypoints = _keypoints(pose_reader, images, problems) if pose_reader and images else {}
    if problems:
        raise Problems(f"{source} was not imported", problems)
    if captioner and len(templates) < len(photos):
        bare = [photo for photo in photos if photo.name not in templates]
        written = captioner.caption([images[photo.name] for photo in bare], progress)
        for photo, caption in zip(bare, written, strict=True):
            try:
                templates[photo.name] = with_slot(caption, photo.action, append=True)
            except UserError as error:
                problems.append(f"{photo.name}, by the captioner: {error}")
        if problems:
            raise Problems(f"{source} was not imported", problems)
        caption_source += f"{' and ' if caption_source else ''}the captioner {captioner.name}"

    by_action = {a.name: [photo for photo in photos if photo.action == a] for a in suite.actions}
    ids = {
        photo.name: f"{action}-{number}"
        for action, shown in by_action.items()
        for number, photo in enumerate(shown)
    }
    rows = [
        dataset.exemplar_row(
            id=ids[photo.name],
            image=images[photo.name],
            action=photo.action.name,
            description=photo.action.description,
            caption=templates[photo.name].replace(SLOT, photo.action.description),
            template=templates[photo.name],
            keypoints=keypoints.get(photo.name),
        )
        for photo in photos
    ]
    counts = {action: len(shown) for action, shown in by_action.items()}
    facts = {
        "format": FORMAT,
        "counts": counts,
        "size": choices.size,
        "fit": choices.fit,
        "captions": caption_source,
        "keypoints": bool(keypoints),
        "files": {name: photo for photo, name in ids.items()},
    }
    tables = {dataset.EXEMPLARS: rows, dataset.SUBJECTS: dataset.subject_rows(suite.subjects)}
    with replacing(out) as folder:
        folder.mkdir()
        dataset.write_tables(folder, tables)
        facts["fingerprint"] = dataset.fingerprint(folder, TABLES, FIX)
        write_definition(suite, folder / SUITE_FILE)
        write_card(suite, facts, folder / dataset.CARD)
        (folder / FACTS).write_text(json.dumps(facts, indent=2, ensure_ascii=False), "utf-8")
    notes |= {note: [*files] for note, files in captions.notes.items()}
    for name, picture in pictures.items():
        for note in picture.notes:
            notes.setdefault(note, []).append(name)
    return Imported(out, str(facts["fingerprint"]), counts, caption_source, notes)


def _checked_folders(source: Path, out: Path) -> Path:
    """Check both folders and return `out` as an absolute path."""
    if not source.is_dir():
        raise UserError(f"there is no folder {source}: name one with a sub-folder for each action")
    out, place = own_folder(out, FACTS), source.resolve()
    if out == place or out in place.parents or place in out.parents:
        raise UserError(
            f"of {out} and the photographs' folder, one is inside the other: name another --out"
        )
    return out


def _find(
    source: Path,
    actions: Sequence[Action],
    count: int | None,
    problems: list[str],
    notes: dict[str, list[str]],
) -> tuple[list[_Photograph], list[str]]:
    """List the files that should be photographs, in the order of the actions and their names, and
    the names of the files that are in no action's folder."""
    by_name = {action.name: action for action in actions}
    photos: dict[str, list[_Photograph]] = {}
    files = []
    pictures = Image.registered_extensions()
    for entry in _entries(source, "", problems, notes):
        if not entry.is_dir():
            files.append(entry.name)
            suffix = entry.suffix.lower()
            if suffix in pictures:
                problems.append(f"{entry.name}: is not in an action's folder: move it into one")
            elif suffix not in LISTS:  # which are read as captions, or reported there
                notes.setdefault(PASSED_OVER, []).append(entry.name)
            continue
        name = slug(entry.name)
        if name not in by_name:
            wrong = unknown("action", entry.name, by_name)
            problems.append(
                f"{entry.name}/: {wrong}; rename it, or define a suite that has it (--suite FILE)"
            )
        elif name in photos:
            problems.append(f"{entry.name}/: is another folder of '{name}': put them together")
        else:
            photos[name] = _photographs(entry, by_name[name], problems, notes)
    for name in by_name:
        number = len(photos.get(name, ()))
        if name not in photos:
            problems.append(
                f"{name}/: is missing: each action of the suite needs its folder "
                "(for fewer actions, define a suite: --suite FILE)"
            )
        elif not number:
            problems.append(f"{name}/: has no photographs: put {count or 'some'} into it")
        elif count and number != count:
            change = f"add {count - number}" if number < count else f"remove {number - count}"
            problems.append(
                f"{name}/: the photographs are {number}, not {count}: {change}, or take --count "
                f"{number} or --count any"
            )
    return [photo for name in by_name for photo in photos.get(name, ())], files


def _photographs(
    folder: Path, action: Action, problems: list[str], notes: dict[str, list[str]]
) -> list[_Photograph]:
    entries = _entries(folder, f"{folder.name}/", problems, notes)
    stems = {fold(entry.stem) for entry in entries if entry.suffix.lower() != ".txt"}
    photos, texts = [], set()
    for entry in entries:
        name = f"{folder.name}/{entry.name}"
        stem = fold(entry.stem)
        if entry.is_dir():
            problems.append(f"{name}/: is a folder in an action's folder: move its files up")
        elif entry.suffix.lower() != ".txt":
            photos.append(_Photograph(name, entry, action))
        elif stem not in stems:
            problems.append(f"{name}: is the caption of no photograph: rename or remove it")
        elif stem in texts:
            problems.append(f"{name}: is another caption of one photograph: keep one")
        else:
            texts.add(stem)
    return photos


PASSED_OVER = "passed over"
_OF_SYSTEMS = ("thumbs.db", "ehthumbs.db", "desktop.ini", "__macosx", "icon\r", "@eadir")
"""What systems leave in folders, besides hidden files."""


def _entries(
    folder: Path, where: str, problems: list[str], notes: dict[str, list[str]]
) -> list[Path]:
    """List a folder's files and folders by name, so in the same order on every system.

    What is hidden or a system's own is passed over with a note; what cannot be named or read is a
    problem.
    """
    kept = []
    for entry in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if unprintable_sign(entry.name):
            problems.append(
                f"{where}{entry.name}: its name is not UTF-8 or holds control signs: rename it"
            )
        elif entry.name.startswith(".") or entry.name.lower() in _OF_SYSTEMS:
            notes.setdefault(PASSED_OVER, []).append(f"{where}{entry.name}")
        elif entry.is_dir() or entry.is_file():
            kept.append(entry)
        else:
            problems.append(f"{where}{entry.name}: is neither a file nor a folder: remove it")
    return kept


def _read(
    photos: Sequence[_Photograph], choices: Choices, problems: list[str], progress: Progress
) -> dict[str, Picture]:
    pictures = {}
    for number, photo in enumerate(photos, 1):
        try:
            pictures[photo.name] = read_picture(photo.path, choices.size, choices.fit)
        except UserError as error:
            problems.append(f"{photo.name}: {error}")
        progress.update(number, len(photos), "reading photographs")
    return pictures


def _report_similar(
    photos: Sequence[_Photograph],
    pictures: Mapping[str, Picture],
    allow_similar: bool,
    problems: list[str],
) -> None:
    """Report each photograph that repeats an earlier one, once."""
    read = [photo for photo in photos if photo.name in pictures]
    if not read:
        return
    bits = np.stack([pictures[photo.name].hash for photo in read]).astype(np.float32)
    ones = bits.sum(axis=1)
    different = ones[:, None] + ones - 2 * bits @ bits.T  # Hamming distances
    for later, photo in enumerate(read):
        for earlier in np.flatnonzero(different[later, :later] <= SIMILAR):
            other = read[earlier]
            same = pictures[photo.name].image == pictures[other.name].image
            if allow_similar and not same:
                continue
            fix = "keep one"
            if photo.action != other.action:
                fix = "it can show only one action: remove it from the wrong folder"
            what = "is the same picture as" if same else "is nearly the same picture as"
            more = "" if same else ", or take --allow-similar"
            problems.append(f"{photo.name}: {what} {other.name}: {fix}{more}")
            break


def _templates(
    photos: Sequence[_Photograph],
    captions: Captions,
    choices: Choices,
    captioner: bool,
    problems: list[str],
) -> tuple[dict[str, str], str]:
    """Return the templates, and where they are from; without those that a captioner will write."""
    if captions.source == "none":
        if captioner:
            return {}, ""
        return {photo.name: PLAIN for photo in photos}, f"plain: '{PLAIN}'"
    templates = {}
    for photo in photos:
        caption = captions.by_file.get(photo.name, "")
        if caption:
            try:
                templates[photo.name] = with_slot(caption, photo.action, append=choices.append_slot)
            except UserError as error:
                problems.append(f"{photo.name}: {error}")
        elif not captioner and photo.name not in captions.reported:
            problems.append(
                f"{photo.name}: has no caption, but others have ({captions.source}): "
                "write one, or take --captioner"
            )
    return templates, captions.source


def _keypoints(
    reader: PoseReader, images: Mapping[str, Image.Image], problems: list[str]
) -> dict[str, np.ndarray]:
    keypoints = dict(zip(images, reader.find(list(images.values())), strict=True))
    problems += [
        f"{name}: no person is found in it: take another photograph of the action"
        for name, points in keypoints.items()
        if points is None
    ]
    return {name: points for name, points in keypoints.items() if points is not None}
