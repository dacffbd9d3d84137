from __future__ import annotations

import io
import json
import os
import shutil
import struct
import sys
import unicodedata
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from transformers import BertTokenizer, BlipConfig, BlipForConditionalGeneration, BlipProcessor
from transformers.models.blip.image_processing_pil_blip import BlipImageProcessorPil

from actionbench.errors import Problems, UserError
from actionbench.photos.captioner import Captioner
from actionbench.photos.captions import with_slot
from actionbench.photos.imported import FILES, check_imported
from actionbench.photos.importing import Choices, Imported
from actionbench.photos.importing import import_photographs as import_folder
from actionbench.photos.photograph import SIMILAR, perceptual_hash, read_picture
from actionbench.photos.sharing import ORIGIN, pull, push
from actionbench.suite.items import SLOT, Action
from actionbench.suite.shipped import DATASET
from actionbench.suite.suite import get_suite
from tests.helpers.photographs import SUITE, cloud, make_folder, write_suite
from tests.helpers.refusing_hub import Refusing, refusing_hub

TWO = Choices(count=2)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return make_folder(tmp_path / "source")


@pytest.fixture
def import_(source: Path, tmp_path: Path) -> Callable[..., Imported]:
    suite = get_suite(str(write_suite(tmp_path)))

    def run(choices: Choices = TWO, **more: Any) -> Imported:
        return import_folder(source, tmp_path / "out", suite, choices, **more)

    return run


@pytest.fixture
def problems(import_: Callable[..., Imported], tmp_path: Path) -> Callable[..., tuple[str, ...]]:
    def reported(choices: Choices = TWO, **more: Any) -> tuple[str, ...]:
        with pytest.raises(Problems) as caught:
            import_(choices, **more)
        assert not (tmp_path / "out").exists(), "nothing is written"
        return caught.value.lines

    return reported


def rows(made: Imported) -> list[dict[str, Any]]:
    return pq.read_table(made.folder / "exemplars.parquet").to_pylist()


def test_a_folder_becomes_a_dataset_with_its_own_suite(
    import_: Callable[..., Imported], tmp_path: Path
) -> None:
    made = import_()
    assert made.counts == {"wave": 2, "jump": 2}
    assert sorted(path.name for path in made.folder.iterdir()) == sorted(FILES)
    suite = get_suite(str(made.folder))
    assert [len(task.exemplars) for task in suite.tasks.values()] == [2, 2]
    exemplar = suite.tasks["jump"].exemplars[0]
    assert exemplar.image.size == (512, 512) and exemplar.keypoints is None
    assert exemplar.caption == "a photo of a person jumps high"
    assert exemplar.template == "a photo of a person {}"
    # The same columns and kinds as the puppets', by the library that people read them with.
    cache = tmp_path / "cache"
    loaded = datasets.load_dataset(str(made.folder), "exemplars", split="train", cache_dir=cache)
    puppets = datasets.load_dataset(str(DATASET), "exemplars", split="train", cache_dir=cache)
    assert loaded.features == puppets.features
    assert loaded[0]["image"].size == (512, 512) and loaded[0]["skeleton"] is None
    subjects = datasets.load_dataset(str(made.folder), "subjects", split="test", cache_dir=cache)
    assert subjects["phrase"][:2] == ["A panda", "Batman"]


def test_the_same_folder_gives_the_same_fingerprint(
    import_: Callable[..., Imported], source: Path
) -> None:
    first = import_().fingerprint
    assert import_().fingerprint == first
    assert import_(replace(TWO, fit="crop")).fingerprint != first
    assert import_(replace(TWO, size=768)).fingerprint != first
    (source / "wave/0.txt").write_text("she waves")
    for name in ("wave/1", "jump/0", "jump/1"):
        (source / f"{name}.txt").write_text("a person {}")
    assert import_().fingerprint != first


def test_pad_keeps_everything_and_crop_fills_the_square(tmp_path: Path) -> None:
    image = Image.new("RGB", (600, 300), "red")
    image.paste("blue", (0, 0, 100, 300))
    image.save(tmp_path / "a.png")
    padded = np.asarray(read_picture(tmp_path / "a.png", 512, "pad").image)
    cropped = np.asarray(read_picture(tmp_path / "a.png", 512, "crop").image)
    assert padded.shape == cropped.shape == (512, 512, 3)
    assert not padded[:120].any() and not padded[-120:].any()
    assert tuple(padded[256, 10]) == (0, 0, 255) and tuple(padded[256, -10]) == (255, 0, 0)
    assert (cropped == (255, 0, 0)).all()


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_exif_rotation_is_undone(tmp_path: Path, orientation: int, suffix: str) -> None:
    upright = Image.new("RGB", (400, 300), "white")
    upright.paste("red", (0, 0, 200, 150))  # at the top left
    upright.paste("blue", (200, 150, 400, 300))
    upright.paste("lime", (0, 150, 200, 300))
    # How a camera held otherwise stores it: the inverse of what the tag asks for.
    turns = {
        2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM, 5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90, 7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }  # fmt: skip
    stored = upright.transpose(turns[orientation]) if orientation > 1 else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"turned.{suffix}"
    stored.save(path, exif=exif, quality=100)
    read = read_picture(path, 512, "crop")
    corners = [read.image.getpixel(at) for at in ((60, 60), (450, 450), (60, 450), (450, 60))]
    wanted = [(255, 0, 0), (0, 0, 255), (0, 255, 0), (255, 255, 255)]
    assert np.abs(np.subtract(corners, wanted)).max() < 12
    assert read.notes == (("turned upright",) if orientation > 1 else ()) + ("enlarged",)


def test_every_kind_of_pixel_becomes_rgb(tmp_path: Path) -> None:
    half = Image.new("L", (600, 600), 0)
    half.paste(255, (300, 0, 600, 600))
    colour = Image.new("RGB", (600, 600), (200, 40, 60))
    with_alpha = colour.copy()
    with_alpha.putalpha(half)
    sixteen = Image.fromarray(np.full((600, 600), 200 * 256, np.uint16))
    kinds = {
        "alpha.png": (with_alpha, "alpha laid on white", (255, 255, 255)),
        "grey.jpg": (half, "grey", (0, 0, 0)),
        "one-bit.png": (half.convert("1"), "grey", (0, 0, 0)),
        "palette.png": (colour.quantize(4), "from a palette", (200, 40, 60)),
        "cmyk.jpg": (colour.convert("CMYK"), "from CMYK", (200, 40, 60)),
        "sixteen.png": (sixteen, "16 bits reduced to 8", (200, 200, 200)),
        "sixteen.tif": (sixteen, "16 bits reduced to 8", (200, 200, 200)),
        "plain.webp": (colour, None, (200, 40, 60)),
    }
    for name, (image, note, wanted) in kinds.items():
        image.save(tmp_path / name, quality=100)
        read = read_picture(tmp_path / name, 512, "pad")
        assert read.image.mode == "RGB" and read.notes == ((note,) if note else ()), name
        assert np.abs(np.subtract(read.image.getpixel((100, 256)), wanted)).max() < 6, name


def test_a_phones_second_picture_is_left_out(tmp_path: Path) -> None:
    first, second = cloud(1, 600, 600), Image.new("RGB", (600, 600), "red")
    first.save(tmp_path / "phone.jpg", "MPO", save_all=True, append_images=[second])
    read = read_picture(tmp_path / "phone.jpg", 512, "pad").image
    wanted = first.resize((512, 512), Image.Resampling.LANCZOS)
    assert np.abs(np.asarray(read, int) - np.asarray(wanted, int)).mean() < 5


def _png_header(width: int, height: int) -> bytes:
    """Return a PNG whose header says that it is huge, without its pixels."""
    facts = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", facts), (b"IDAT", zlib.compress(b"")), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )


def _jpeg(image: Image.Image, **more: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, more.pop("format", "JPEG"), **more)
    return buffer.getvalue()


BAD_FILES = {
    "text.jpg": (b"no picture", "cannot be read as an image"),
    "empty.jpg": (b"", "cannot be read as an image"),
    "photo.heic": (b"\0\0\0\x18ftypheic", "save it as JPEG or PNG"),
    "cut.jpg": (_jpeg(cloud(5))[:4000], "is damaged or cut short"),
    "cut.png": (_jpeg(cloud(5), format="PNG")[:9000], "is damaged or cut short"),
    "tiny.png": (_jpeg(cloud(5, 255, 400), format="PNG"), "has 255 x 400 pixels"),
    "huge.png": (_png_header(10_000, 9_000), "million pixels: reduce it"),
    "bomb.png": (_png_header(60_000, 60_000), "million pixels: reduce it"),
    "film.gif": (
        _jpeg(cloud(6), format="GIF", save_all=True, append_images=[cloud(7), cloud(8)]),
        "has 3 frames",
    ),
    "film.webp": (
        _jpeg(cloud(6), format="WEBP", save_all=True, append_images=[cloud(7)]),
        "has 2 frames",
    ),
    "float.tif": (
        _jpeg(Image.fromarray(np.zeros((300, 300), np.float32)), format="TIFF"),
        "floating-point pixels",
    ),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_a_bad_file_is_named(
    name: str, source: Path, problems: Callable[..., tuple[str, ...]]
) -> None:
    content, reason = BAD_FILES[name]
    (source / "wave/1.jpg").unlink()
    (source / "wave" / name).write_bytes(content)
    (line,) = problems()
    assert line.startswith(f"wave/{name}: ") and reason in line


def change(source: Path, kind: str) -> None:
    """Spoil a good folder."""
    if kind == "few":
        (source / "wave/1.jpg").unlink()
    elif kind == "many":
        cloud(99).save(source / "wave/2.jpg")
    elif kind == "empty":
        shutil.rmtree(source / "wave")
        (source / "wave").mkdir()
    elif kind == "missing":
        shutil.rmtree(source / "wave")
    elif kind == "unknown":
        (source / "wawe").mkdir()
    elif kind == "twice":
        (source / "Wave").mkdir()
    elif kind == "outside":
        cloud(99).save(source / "lost.jpg")
    elif kind == "nested":
        (source / "wave/more").mkdir()
    elif kind == "same":
        shutil.copy(source / "wave/0.jpg", source / "wave/1.jpg")
    elif kind == "similar":
        brighter = cloud(0).point(lambda value: min(255, value + 12))
        brighter.resize((640, 560)).save(source / "wave/1.jpg", quality=40)
    elif kind == "mislabelled":
        shutil.copy(source / "wave/0.jpg", source / "jump/1.jpg")
    elif kind == "stray text":
        (source / "wave/7.txt").write_text("she {}")
    elif kind == "some captions":
        (source / "wave/0.txt").write_text("she {}")
    elif kind == "empty caption":
        write_csv(source, "file,caption", **{"wave/0.jpg": ""})
    elif kind == "no slot":
        write_csv(source, "file,caption", **{"wave/0.jpg": "a cow on a meadow"})
    elif kind == "two slots":
        write_csv(source, "file,caption", **{"wave/0.jpg": "she {} and he {}"})
    elif kind == "caption of nothing":
        write_csv(source, "file,caption", **{"wave/9.jpg": "she {}"})
    elif kind == "two captions":
        write_csv(source, "file,caption")
        with (source / "captions.csv").open("a") as file:
            file.write("wave/0.jpg,another one who {}\n")
    elif kind == "columns":
        write_csv(source, "picture,words")
    elif kind == "json":
        (source / "metadata.jsonl").write_text('{"file_name": "wave/0.jpg"}\n')
    elif kind == "latin-1":
        (source / "captions.csv").write_bytes(
            "file,caption\nwave/0.jpg,caf\u00e9".encode("latin-1")
        )


def write_csv(source: Path, head: str, **changed: str) -> None:
    names = [f"{action}/{index}.jpg" for action in ("wave", "jump") for index in range(2)]
    captions = dict.fromkeys(names, "somebody {} on a beach") | changed
    lines = "".join(f"{name},{caption}\n" for name, caption in captions.items())
    (source / "captions.csv").write_text(f"{head}\n{lines}")


BAD_FOLDERS = {
    "few": "wave/: the photographs are 1, not 2: add 1",
    "many": "wave/: the photographs are 3, not 2: remove 1, or take --count 3 or --count any",
    "empty": "wave/: has no photographs: put 2 into it",
    "missing": "wave/: is missing",
    "unknown": "wawe/: unknown action 'wawe': did you mean wave?",
    "twice": "is another folder of 'wave'",
    "outside": "lost.jpg: is not in an action's folder",
    "nested": "wave/more/: is a folder in an action's folder",
    "same": "wave/1.jpg: is the same picture as wave/0.jpg: keep one",
    "similar": "wave/1.jpg: is nearly the same picture as wave/0.jpg: keep one, or take",
    "mislabelled": "jump/1.jpg: is the same picture as wave/0.jpg: it can show only one action",
    "stray text": "wave/7.txt: is the caption of no photograph",
    "some captions": "wave/1.jpg: has no caption, but others have (text files)",
    "empty caption": "wave/0.jpg: has no caption",
    "no slot": "wave/0.jpg: its caption has neither {} nor 'waves' ('a cow on a meadow')",
    "two slots": "wave/0.jpg: its caption names the action more than once",
    "caption of nothing": "captions.csv, line 6: there is no photograph 'wave/9.jpg'",
    "two captions": "captions.csv, line 6: 'wave/0.jpg' has a caption already",
    "columns": "captions.csv: its first line must name the columns 'file' and 'caption'",
    "json": "metadata.jsonl, line 1: must be a JSON object with 'file_name' and 'text'",
    "latin-1": "captions.csv: is not UTF-8",
}


@pytest.mark.parametrize("kind", BAD_FOLDERS)
def test_what_is_wrong_with_a_folder_is_reported(
    kind: str, source: Path, problems: Callable[..., tuple[str, ...]]
) -> None:
    change(source, kind)
    assert any(BAD_FOLDERS[kind] in line for line in problems())


def test_all_problems_are_reported_together(
    source: Path, problems: Callable[..., tuple[str, ...]]
) -> None:
    (source / "wave/1.jpg").write_bytes(BAD_FILES["cut.jpg"][0])
    (source / "jump/0.jpg").write_bytes(BAD_FILES["tiny.png"][0])
    for kind in ("mislabelled", "unknown", "outside", "caption of nothing"):
        change(source, kind)
    lines = problems()
    assert len(lines) == 6 and len({line.split(":")[0] for line in lines}) == 6


def test_other_numbers_are_taken_and_noted(source: Path, import_: Callable[..., Imported]) -> None:
    change(source, "many")
    made = import_(replace(TWO, count=None))
    assert made.counts == {"wave": 3, "jump": 2}
    assert json.loads((made.folder / "dataset.json").read_text())["counts"] == made.counts
    assert len(get_suite(str(made.folder)).tasks["wave"].exemplars) == 3


def test_similar_photographs_may_be_taken_but_never_the_same(
    source: Path, import_: Callable[..., Imported], problems: Callable[..., tuple[str, ...]]
) -> None:
    allowed = replace(TWO, allow_similar=True)
    change(source, "similar")
    assert import_(allowed).counts == {"wave": 2, "jump": 2}
    shutil.rmtree(source.parent / "out")
    change(source, "same")
    assert "the same picture" in problems(allowed)[0]


def test_the_hash_distinguishes_copies_from_other_pictures() -> None:
    table = pq.read_table(DATASET / "exemplars.parquet", columns=["image"]).to_pylist()
    images = [Image.open(io.BytesIO(row["image"]["bytes"])).convert("RGB") for row in table[::2]]
    hashes = np.stack([perceptual_hash(image) for image in images])
    apart = (hashes[:, None] != hashes).sum(axis=2) + 1000 * np.eye(len(images), dtype=int)
    assert apart.min() > SIMILAR
    for image, own in zip(images[:8], hashes):
        copies = [
            image.resize((180, 200)),
            image.crop((10, 10, 502, 502)),
            image.convert("L"),
            image.point(lambda value: min(255, round(1.2 * value))),
            Image.open(io.BytesIO(_jpeg(image, quality=20))),
        ]
        for copy in copies:
            assert (perceptual_hash(copy) != own).sum() <= SIMILAR


def test_captions_come_from_the_first_place_that_has_them(
    source: Path, import_: Callable[..., Imported]
) -> None:
    names = [f"{action}/{index}" for action in ("wave", "jump") for index in range(2)]
    for name in names:
        (source / f"{name}.txt").write_text("text {}\n")
    assert rows(import_())[0]["template"] == "text {}"
    lines = [json.dumps({"file_name": f"{n}.jpg", "text": "jsonl {}"}) for n in names]
    (source / "metadata.jsonl").write_text("\n".join(lines) + "\n")
    assert rows(import_())[0]["template"] == "jsonl {}"
    write_csv(source, "file_name,text", **{"jump/1.jpg": '"a girl, who Jumps high, smiles"'})
    made = import_()
    assert made.captions == "captions.csv"
    first, last = rows(made)[0], rows(made)[-1]
    assert first["caption"] == "somebody waves on a beach"
    assert last["template"] == "a girl, who {}, smiles"
    assert last["caption"] == "a girl, who jumps high, smiles"


def named(separator: str = ",") -> str:
    names = [f"{action}/{index}.jpg" for action in ("wave", "jump") for index in range(2)]
    return "".join(f"{name}{separator}a man {{}}\n" for name in names)


CAPTION_FILES: dict[str, tuple[str, bytes]] = {
    "as `datasets` names it": ("metadata.csv", f"file_name,text\n{named()}".encode()),
    "another case": ("Captions.CSV", f"FILE,Caption\n{named()}".encode()),
    "blanks around names": ("captions.csv", f"file, caption\n{named(', ')}".encode()),
    "semicolons": ("captions.csv", f"file;caption\n{named(';')}".encode()),
    "tabs in UTF-16": (
        "captions.csv",
        f"file\tcaption\n{named(chr(9))}".encode("utf-16"),
    ),
    "Excel's first line": (
        "captions.csv",
        f"sep=;\r\nfile;caption\r\n{named(';')}".encode(),
    ),
    "blank tails": ("captions.csv", f"file,caption,,\n{named()},,,\n,,,\n\n".encode("utf-8-sig")),
    "old line ends": ("captions.csv", f"file,caption\n{named()}".replace("\n", "\r").encode()),
    "names in another case": ("captions.csv", f"file,caption\n{named().upper()}".encode()),
}


@pytest.mark.parametrize("kind", CAPTION_FILES)
def test_captions_are_read_however_they_were_saved(
    kind: str, source: Path, import_: Callable[..., Imported]
) -> None:
    name, content = CAPTION_FILES[kind]
    (source / name).write_bytes(content)
    made = import_()
    assert made.captions == name and not made.notes.keys() - {"enlarged"}
    assert {row["template"].lower() for row in rows(made)} == {"a man {}"}


BAD_CAPTIONS: dict[str, tuple[str, str, str]] = {
    "unquoted comma": (
        "captions.csv", "file,caption\nwave/0.jpg,a man {} on a bench, in the rain\n",
        'captions.csv, line 2: has 3 fields, the first line names 2: put the caption into "quotes"',
    ),
    "open quote": (
        "captions.csv", 'file,caption\nwave/0.jpg,"a man {}\nwave/1.jpg,a man {}\n',
        'captions.csv, line 3: unexpected end of data: put the whole caption into "quotes"',
    ),
    "two columns of one name": (
        "captions.csv", "file,caption,caption\n", "its first line names a column twice",
    ),
    "null": (
        "metadata.jsonl", '{"file_name": "wave/0.jpg", "text": null}',
        "metadata.jsonl, line 1: 'text' must be a string, it is null",
    ),
    "list": (
        "metadata.jsonl", '{"file_name": "wave/0.jpg", "text": ["a man {}"]}',
        "metadata.jsonl, line 1: 'text' must be a string, it is a list",
    ),
    "number": (
        "metadata.jsonl", '{"file_name": "wave/0.jpg", "text": 7}', "it is the int 7",
    ),
    "twice": (
        "metadata.jsonl", '{"file_name": "wave/0.jpg", "text": "a {}", "text": "b {}"}',
        "metadata.jsonl, line 1: is not JSON (a key is given twice)",
    ),
    "half an emoji": (
        "metadata.jsonl", '{"file_name": "wave/0.jpg", "text": "a man {} \\ud83d"}',
        "metadata.jsonl, line 1: its caption holds the control sign U+D83D",
    ),
    "deep": ("metadata.jsonl", "[" * 100_000, "metadata.jsonl, line 1: is not JSON"),
    "UTF-16 that does not say so": (
        "captions.csv", "f\0i\0l\0e\0", "captions.csv: holds zero bytes",
    ),
    "a list of no known name": (
        "labels.csv", "file,caption\n", "labels.csv: is not read: name it captions.csv",
    ),
    "Parquet": ("metadata.parquet", "PAR1", "metadata.parquet: is not read: name it captions.csv"),
}  # fmt: skip


@pytest.mark.parametrize("kind", BAD_CAPTIONS)
def test_a_caption_that_cannot_be_used_is_reported_once(
    kind: str, source: Path, problems: Callable[..., tuple[str, ...]]
) -> None:
    """Even if captions without a slot would be taken; and its photograph is not reported again."""
    file, text, wanted = BAD_CAPTIONS[kind]
    (source / file).write_text(text, "utf-8")
    lines = problems(replace(TWO, append_slot=True))
    assert sum(wanted in line for line in lines) == 1
    assert not any(line.startswith("wave/0.jpg: has no caption") for line in lines)


def test_a_wrong_first_line_is_one_problem(
    source: Path, problems: Callable[..., tuple[str, ...]]
) -> None:
    write_csv(source, "picture,words")
    assert len(problems()) == 1


def test_what_is_not_used_is_noted(source: Path, import_: Callable[..., Imported]) -> None:
    names = [f"{action}/{index}.jpg" for action in ("wave", "jump") for index in range(2)]
    lines = "".join(f"{name},a man {{}},me,\n" for name in names)
    (source / "captions.csv").write_text(f"file,caption,Author,place\n{lines}")
    (source / "metadata.jsonl").write_text("{}")
    (source / "wave/0.TXT").write_text("she {}")
    for name in ("README.md", "Thumbs.db", ".DS_Store", "wave/desktop.ini", "wave/._0.jpg"):
        (source / name).write_bytes(b"\0")
    for name in ("__MACOSX", "wave/.ipynb_checkpoints"):
        (source / name).mkdir()
    notes = import_().notes
    assert notes["not used, for captions are taken from captions.csv"] == [
        "metadata.jsonl", "wave/0.TXT",
    ]  # fmt: skip
    assert notes["not used of captions.csv"] == ["author"]
    assert sorted(notes["passed over"]) == [
        ".DS_Store", "README.md", "Thumbs.db", "__MACOSX", "wave/._0.jpg",
        "wave/.ipynb_checkpoints", "wave/desktop.ini",
    ]  # fmt: skip


def test_a_text_file_may_be_in_another_case(
    source: Path, import_: Callable[..., Imported], problems: Callable[..., tuple[str, ...]]
) -> None:
    for name in ("wave/0.TXT", "wave/1.txt", "jump/0.Txt", "jump/1.txt"):
        (source / name).write_text("she {}")
    assert {row["template"] for row in rows(import_())} == {"she {}"}
    shutil.rmtree(source.parent / "out")
    (source / "wave/0.txt").write_text("he {}")
    assert any("is another caption of one photograph" in line for line in problems())


def test_lines_of_json_end_at_line_feeds_only(
    source: Path, import_: Callable[..., Imported]
) -> None:
    names = [f"{action}/{index}.jpg" for action in ("wave", "jump") for index in range(2)]
    texts = ["a man\u2028in a coat {}", "a\u0085man {}", "a\x0cman {}", "a\u2029man {}"]
    lines = [
        json.dumps({"file_name": n, "text": t}, ensure_ascii=False) for n, t in zip(names, texts)
    ]
    (source / "metadata.jsonl").write_text("\r\n".join(lines).replace("\x0c", "\\f"), newline="")
    templates = [row["template"] for row in rows(import_())]
    assert templates == ["a man in a coat {}", *["a man {}"] * 3]


def test_a_name_may_be_spelled_with_signs_of_its_own(
    source: Path, import_: Callable[..., Imported], tmp_path: Path
) -> None:
    """macOS spells "é" as two signs in the names of files, and lists spell it as one."""
    composed = "wave/caf\u00e9.jpg"
    apart = unicodedata.normalize("NFD", composed)
    (source / "wave/0.jpg").rename(source / apart)
    write_csv(source, "file,caption", **{composed: "she {}"})
    text = (source / "captions.csv").read_text().replace("wave/0.jpg,somebody {} on a beach\n", "")
    (source / "captions.csv").write_text(text)
    assert "she {}" in {row["template"] for row in rows(import_())}
    # An action's folder, too.
    (source / "jump").rename(source / unicodedata.normalize("NFD", "s\u00e4gen"))
    suite = get_suite(str(write_suite(tmp_path, SUITE.replace("name: jump", "name: s\u00e4gen"))))
    (source / "captions.csv").unlink()
    made = import_folder(source, tmp_path / "german", suite, TWO)
    assert made.counts == {"wave": 2, "s\u00e4gen": 2}
    assert len(get_suite(str(made.folder)).tasks["s\u00e4gen"].exemplars) == 2


@pytest.mark.skipif(sys.platform != "linux", reason="the disk takes no such names")
def test_a_name_that_is_not_utf8_is_a_problem(
    source: Path, problems: Callable[..., tuple[str, ...]]
) -> None:
    shutil.copy(source / "wave/1.jpg", os.fsencode(source / "wave") + b"/caf\xe9.jpg")
    Path(os.fsdecode(os.fsencode(source) + b"/caf\xe9")).mkdir()
    lines = problems()
    assert len(lines) == 2 and all("its name is not UTF-8" in line for line in lines)
    assert not [path for path in source.parent.iterdir() if path.name.startswith(".tmp")]


def test_what_is_no_file_is_a_problem(
    source: Path, problems: Callable[..., tuple[str, ...]]
) -> None:
    """A named pipe would be waited for, for ever."""
    os.mkfifo(source / "wave/pipe.jpg")
    (source / "wave/gone.jpg").symlink_to("nowhere.jpg")
    lines = problems()
    assert len(lines) == 2 and all("is neither a file nor a folder" in line for line in lines)


@pytest.mark.parametrize(
    ("caption", "template"),
    [
        ("happy boy {} on blue", "happy boy {} on blue"),
        ("A man Sits on a chair", "A man {} on a chair"),
        ("a man on a chair.", "a man on a chair {}"),
        ("three visits", "three visits {}"),
    ],
)
def test_the_slot_is_recognized_or_put_at_the_end(caption: str, template: str) -> None:
    assert with_slot(caption, Action("sit", "sits"), append=True) == template


def test_a_caption_is_refused_without_a_place_for_the_slot() -> None:
    for caption in ("three visits", "he sits and she sits"):
        with pytest.raises(UserError, match="its caption"):
            with_slot(caption, Action("sit", "sits"), append=False)


def test_folders_that_cannot_be_used_are_refused(
    source: Path, import_: Callable[..., Imported], tmp_path: Path
) -> None:
    suite = get_suite(str(write_suite(tmp_path)))
    with pytest.raises(UserError, match="there is no folder"):
        import_folder(tmp_path / "nowhere", tmp_path / "out", suite, TWO)
    for out in (source, source / "out"):
        with pytest.raises(UserError, match=r"name (another|a new folder)"):
            import_folder(source, out, suite, TWO)
    with pytest.raises(UserError, match="are drawn"):
        import_folder(source, tmp_path / "out", get_suite("puppets"), TWO)
    (tmp_path / "out").mkdir()
    (tmp_path / "out/thesis.txt").write_text("five years")
    with pytest.raises(UserError, match="holds other files"):
        import_()


class Noses:
    """Reads one visible point at the brightest pixel; dark pictures show nobody."""

    def find(self, images: Sequence[Image.Image]) -> list[np.ndarray | None]:
        keypoints: list[np.ndarray | None] = []
        for image in images:
            grey = np.asarray(image.convert("L"))
            if grey.max() < 60:
                keypoints.append(None)
                continue
            y, x = np.unravel_index(grey.argmax(), grey.shape)
            points = np.zeros((18, 3), np.float32)
            points[0] = x / image.width, y / image.height, 1
            keypoints.append(points)
        return keypoints


def test_keypoints_are_stored_with_their_skeletons(import_: Callable[..., Imported]) -> None:
    made = import_(pose_reader=Noses())
    exemplar = get_suite(str(made.folder)).tasks["wave"].exemplars[0]
    (points,) = Noses().find([exemplar.image])
    assert np.allclose(exemplar.keypoints, points, atol=1e-5)
    skeleton = Image.open(io.BytesIO(rows(made)[0]["skeleton"]["bytes"]))
    at = tuple(min(511, int(512 * value)) for value in points[0, :2])
    assert skeleton.getpixel(at) == (255, 0, 0)


def test_photographs_without_a_person_are_all_named(
    source: Path, problems: Callable[..., tuple[str, ...]]
) -> None:
    for name, seed in (("wave/1.jpg", 1), ("jump/0.jpg", 2)):
        cloud(seed).point(lambda value: value // 6).save(source / name)
    lines = problems(pose_reader=Noses())
    assert lines == (
        "wave/1.jpg: no person is found in it: take another photograph of the action",
        "jump/0.jpg: no person is found in it: take another photograph of the action",
    )


@pytest.fixture(scope="session")
def tiny_blip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a BLIP of the real classes with random weights and a tiny vocabulary."""
    import torch

    folder = tmp_path_factory.mktemp("blip")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[DEC]", "[ENC]"]
    words += "a the man woman dog on beach with red blue hat and shirt".split()  # noqa: SIM905
    tokenizer = BertTokenizer(vocab={word: number for number, word in enumerate(words)})
    text = {
        "vocab_size": len(words), "hidden_size": 16, "encoder_hidden_size": 16,
        "intermediate_size": 16, "projection_dim": 8, "num_hidden_layers": 1,
        "num_attention_heads": 2, "max_position_embeddings": 64, "bos_token_id": 5,
        "eos_token_id": 3, "pad_token_id": 0, "sep_token_id": 3,
    }  # fmt: skip
    vision = {
        "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1,
        "num_attention_heads": 2, "image_size": 32, "patch_size": 16, "projection_dim": 8,
    }  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = BlipForConditionalGeneration(
            BlipConfig(text_config=text, vision_config=vision, projection_dim=8)
        )
    model.save_pretrained(folder)
    images = BlipImageProcessorPil(size={"height": 32, "width": 32})
    BlipProcessor(images, tokenizer).save_pretrained(folder)
    return folder


def test_a_captioner_describes_what_has_no_caption(
    tiny_blip: Path, source: Path, import_: Callable[..., Imported]
) -> None:
    (source / "wave/0.txt").write_text("somebody {} here")
    made = import_(captioner=Captioner(str(tiny_blip)))
    first, *others = [row["template"] for row in rows(made)]
    assert first == "somebody {} here"
    images = [e.image for t in get_suite(str(made.folder)).tasks.values() for e in t.exemplars]
    captions = Captioner(str(tiny_blip)).caption(images[1:])
    assert others == [f"{caption} {SLOT}" for caption in captions]
    assert all(len(other.split()) > 1 for other in others)
    assert made.captions == f"text files and the captioner {tiny_blip}"


class Echo:
    name = "echo"

    def caption(self, images: Sequence[Any], progress: Any = None) -> list[str]:
        return ["she waves and waves"] * len(images)


def test_captions_that_name_the_action_twice_are_reported_by_file(
    import_: Callable[..., Imported],
) -> None:
    with pytest.raises(Problems) as raised:
        import_(captioner=Echo())
    assert [p.partition(",")[0] for p in raised.value.lines] == ["wave/0.jpg", "wave/1.jpg"]


@pytest.mark.parametrize("spoiled", ["NaN", "renamed"])
def test_a_damaged_captioner_is_refused(tiny_blip: Path, tmp_path: Path, spoiled: str) -> None:
    """NaN would make every caption the same word; a renamed weight, a random one."""
    from safetensors.torch import load_file, save_file

    folder = Path(shutil.copytree(tiny_blip, tmp_path / "blip"))
    tensors = load_file(folder / "model.safetensors")
    name = next(name for name in tensors if name.endswith("post_layernorm.weight"))
    if spoiled == "NaN":
        tensors[name] = tensors[name] * float("nan")
    else:
        tensors[f"renamed.{name}"] = tensors.pop(name)
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    match = "scores of captions .* not finite" if spoiled == "NaN" else f"1 missing .{name}"
    with pytest.raises(UserError, match=match):
        Captioner(str(folder)).caption([Image.new("RGB", (32, 32))])


def test_a_missing_captioner_is_reported(import_: Callable[..., Imported]) -> None:
    with pytest.raises(UserError, match=r"no captioner folder at ./no-such-model"):
        import_(captioner=Captioner("./no-such-model"))


@pytest.mark.parametrize("file", FILES)
def test_a_changed_dataset_does_not_pass_its_check(
    file: str, import_: Callable[..., Imported]
) -> None:
    made = import_()
    assert check_imported(made.folder) == made.fingerprint
    path = made.folder / file
    if file == "README.md":
        path.write_text("My photographs, CC BY 4.0")
        assert check_imported(made.folder) == made.fingerprint, "the card is the user's"
        return
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError):
        check_imported(made.folder)
    path.unlink()
    with pytest.raises(UserError):
        check_imported(made.folder)


def test_other_pixels_and_other_words_are_noticed(
    import_: Callable[..., Imported], source: Path
) -> None:
    other = import_(replace(TWO, fit="crop")).folder / "exemplars.parquet"
    pixels = other.read_bytes()
    made = import_()
    (made.folder / "exemplars.parquet").write_bytes(pixels)
    with pytest.raises(UserError, match="was changed since it was made"):
        check_imported(made.folder)
    made = import_()
    definition = made.folder / "suite.yaml"
    definition.write_text(definition.read_text().replace("jumps high", "leaps"))
    with pytest.raises(UserError, match="other actions or subjects"):
        check_imported(made.folder)


# The Hub: what it answers when it refuses, and a folder or the cache in its place.


def test_a_dataset_is_copied_from_a_folder(
    import_: Callable[..., Imported], tmp_path: Path
) -> None:
    made = import_()
    (made.folder / ORIGIN).write_text('{"repo": "me/photos", "revision": "abc"}')
    (made.folder / "notes.txt").write_text("not part of it")
    assert pull(str(made.folder), tmp_path / "copy") is None
    assert check_imported(tmp_path / "copy") == made.fingerprint
    copied = {path.name for path in (tmp_path / "copy").iterdir()}
    assert copied == {*FILES, ORIGIN}
    with pytest.raises(UserError, match="own folder"):
        pull(str(made.folder), made.folder)


def test_a_damaged_dataset_replaces_nothing(
    import_: Callable[..., Imported], tmp_path: Path
) -> None:
    made = import_()
    pull(str(made.folder), tmp_path / "copy")
    (made.folder / "subjects.parquet").unlink()
    with pytest.raises(UserError, match="is missing"):
        pull(str(made.folder), tmp_path / "copy")
    with pytest.raises(UserError, match="is missing"):
        push(made.folder, "me/photos", private=True, revision=None)
    assert check_imported(tmp_path / "copy") == made.fingerprint


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[type[Refusing]]:
    with refusing_hub(monkeypatch, tmp_path) as refusing:
        yield refusing


@pytest.mark.parametrize(
    ("status", "code", "pushing", "pulling"),
    [
        (404, "RepoNotFound", "no repository of that name", "no repository of that name"),
        (403, "GatedRepo", "it is gated", "it is gated"),
        (404, "RevisionNotFound", "no such revision", "no such revision"),
        (401, "", "hf auth login", "hf auth login"),
        (403, "", "a token that has the right", "a token that has the right"),
    ],
)
def test_what_the_hub_refuses_is_one_line(
    status: int, code: str, pushing: str, pulling: str,
    hub: type[Refusing], import_: Callable[..., Imported], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(hub, "status", status)
    monkeypatch.setattr(hub, "code", code)
    made = import_()
    with pytest.raises(UserError, match=f"me/photos cannot be pushed to the Hub: .*{pushing}"):
        push(made.folder, "me/photos", private=False, revision=None)
    with pytest.raises(
        UserError, match=f"me/photos@v1 cannot be fetched from the Hub: .*{pulling}"
    ):
        pull("me/photos@v1", tmp_path / "copy")
    assert not (tmp_path / "copy").exists() and not (made.folder / ORIGIN).exists()


def test_without_a_network_one_line_says_so(
    import_: Callable[..., Imported], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    made = import_()
    with pytest.raises(UserError, match="cannot be reached"):
        push(made.folder, "me/photos", private=False, revision=None)
    with pytest.raises(UserError, match="cannot be reached"):
        pull("me/photos", tmp_path / "copy")
    with pytest.raises(UserError, match="neither a folder nor a repository"):
        pull("my photos", tmp_path / "copy")


def test_a_cached_commit_is_pulled_and_noted_offline(
    import_: Callable[..., Imported], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    made = import_()
    commit = "0123456789abcdef0123456789abcdef01234567"
    shutil.copytree(made.folder, tmp_path / f"hub/datasets--me--photos/snapshots/{commit}")
    assert pull(f"me/photos@{commit}", tmp_path / "copy") == commit
    assert json.loads((tmp_path / "copy" / ORIGIN).read_text()) == {
        "repo": "me/photos",
        "revision": commit,
    }
    assert check_imported(tmp_path / "copy") == made.fingerprint
