"""Every kind of pixel that Pillow knows becomes RGB with the right colours, however turned."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms, TiffImagePlugin

from actionbench.errors import UserError
from actionbench.photos.photograph import _as_rgb, read_picture

SIDE = 256
LEFT, RIGHT = (204, 51, 102), (51, 153, 68)
"""The colours of the picture's halves. All are multiples of 17, so that 4 bits hold them."""
GREY = (119, 204)
"""The same in grey."""
WHITE = (255, 255, 255)
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM, 5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90, 7: Image.Transpose.TRANSVERSE, 8: Image.Transpose.ROTATE_270,
}  # fmt: skip
"""How a camera held otherwise stores a picture: the inverse of what its EXIF tag asks for."""


def halves(left: Any, right: Any, mode: str) -> Image.Image:
    image = Image.new(mode, (SIDE, SIDE), right)
    image.paste(left, (0, 0, SIDE // 2, SIDE))
    return image


def colour() -> Image.Image:
    return halves(LEFT, RIGHT, "RGB")


def grey(mode: str = "L") -> Image.Image:
    return halves(*GREY, mode)


def deep(factor: int, kind: Any = np.uint16) -> Image.Image:
    return Image.fromarray((np.asarray(grey()).astype(kind) * factor).astype(kind))


def clear_left(image: Image.Image) -> Image.Image:
    image.putalpha(halves(0, 255, "L"))
    return image


def in_lab() -> Image.Image:
    profiles = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    converted = ImageCms.profileToProfile(colour(), *profiles, outputMode="LAB")
    assert converted is not None
    return converted


def indexed(clear: bool = False) -> Image.Image:
    image = halves(0, 1, "P")
    image.putpalette([*LEFT, *RIGHT])
    if clear:
        image.info["transparency"] = 0
    return image


def same(value: int) -> tuple[int, int, int]:
    return (value, value, value)


GREYS = tuple(map(same, GREY))
FILES: dict[str, tuple[Callable[[], Image.Image], str, tuple[Any, Any]]] = {
    "RGB png": (colour, "png", (LEFT, RIGHT)),
    "RGB jpg": (colour, "jpg", (LEFT, RIGHT)),
    "RGB tif": (colour, "tif", (LEFT, RIGHT)),
    "RGB webp": (colour, "webp", (LEFT, RIGHT)),
    "L png": (grey, "png", GREYS),
    "L jpg": (grey, "jpg", GREYS),
    "1 png": (lambda: halves(0, 255, "L").convert("1"), "png", (same(0), WHITE)),
    "1 tif": (lambda: halves(0, 255, "L").convert("1"), "tif", (same(0), WHITE)),
    "P png": (indexed, "png", (LEFT, RIGHT)),
    "P gif": (indexed, "gif", (LEFT, RIGHT)),
    "P with tRNS png": (lambda: indexed(True), "png", (WHITE, RIGHT)),
    "LA png": (lambda: clear_left(grey()), "png", (WHITE, GREYS[1])),
    "RGBA png": (lambda: clear_left(colour()), "png", (WHITE, RIGHT)),
    "RGBA tif": (lambda: clear_left(colour()), "tif", (WHITE, RIGHT)),
    "RGBA webp": (lambda: clear_left(colour()), "webp", (WHITE, RIGHT)),
    "CMYK jpg": (lambda: colour().convert("CMYK"), "jpg", (LEFT, RIGHT)),
    "CMYK tif": (lambda: colour().convert("CMYK"), "tif", (LEFT, RIGHT)),
    "YCbCr tif": (lambda: colour().convert("YCbCr"), "tif", (LEFT, RIGHT)),
    "LAB tif": (in_lab, "tif", (LEFT, RIGHT)),
    "I;16 png": (lambda: deep(256), "png", GREYS),
    "I;16 tif": (lambda: deep(256), "tif", GREYS),
    "I;16B tif": (lambda: deep(256, np.dtype(">u2")), "tif", GREYS),
    "I tif": (lambda: deep(256, np.int32), "tif", GREYS),
    "I pgm": (lambda: deep(256, np.int32), "pgm", GREYS),
}


@pytest.mark.parametrize("orientation", [1, 3, 6])
@pytest.mark.parametrize("name", FILES)
def test_a_file_has_the_right_colours_however_it_is_turned(
    tmp_path: Path, name: str, orientation: int
) -> None:
    make, suffix, wanted = FILES[name]
    if orientation > 1 and suffix in ("gif", "pgm"):
        pytest.skip("the format has no EXIF")
    image = make()
    turned = image.transpose(TURNS[orientation]) if orientation > 1 else image
    turned.info |= image.info
    exif = Image.Exif()
    exif[0x0112] = orientation
    more = {} if suffix in ("gif", "pgm") else {"exif": exif, "quality": 100}
    if suffix == "webp":
        more["lossless"] = True
    path = tmp_path / f"a.{suffix}"
    turned.save(path, **more)
    check(np.asarray(read_picture(path, SIDE, "crop").image), wanted)


def check(pixels: np.ndarray, wanted: tuple[Any, Any]) -> None:
    assert pixels.shape == (SIDE, SIDE, 3)
    middle = SIDE // 2
    shown = pixels[:, : middle - 16], pixels[:, middle + 16 :]
    means = [half.reshape(-1, 3).mean(axis=0) for half in shown]
    assert np.abs(np.subtract(means, wanted)).max() < 6  # what JPEG and L*a*b* in bytes round away


@pytest.mark.parametrize(
    ("image", "wanted"),
    [
        (clear_left(colour()).convert("RGBa"), (WHITE, RIGHT)),
        (clear_left(grey()).convert("La"), (WHITE, GREYS[1])),
        (colour().convert("HSV"), (LEFT, RIGHT)),
        (colour().convert("YCbCr"), (LEFT, RIGHT)),
        (colour().convert("RGBX"), (LEFT, RIGHT)),
        (clear_left(indexed().convert("PA")), (WHITE, RIGHT)),
    ],
    ids=lambda value: value.mode if isinstance(value, Image.Image) else "",
)  # fmt: skip
def test_a_mode_that_files_rarely_have_becomes_rgb(
    image: Image.Image, wanted: tuple[Any, Any]
) -> None:
    check(np.asarray(_as_rgb(image)[0]), wanted)


def png(depth: int, kind: int, values: np.ndarray, key: tuple[int, ...] | None) -> bytes:
    """Write a PNG of any depth, with a transparent grey or colour: Pillow writes few of them.

    `kind` is the colour type: 0 grey, 2 RGB, 4 grey with alpha, 6 RGBA. `values` are [rows, n].
    """

    def chunk(name: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        )

    height = len(values)
    width = values.shape[1] // {0: 1, 2: 3, 4: 2, 6: 4}[kind]
    if depth == 16:
        rows = [row.astype(">u2").tobytes() for row in values]
    else:
        bits = ((values[..., None] >> np.arange(depth)[::-1]) & 1).reshape(height, -1)
        rows = [row.tobytes() for row in np.packbits(bits.astype(np.uint8), axis=1)]
    return b"".join(
        [
            b"\x89PNG\r\n\x1a\n",
            chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0)),
            chunk(b"tRNS", struct.pack(f">{len(key)}H", *key)) if key else b"",
            chunk(b"IDAT", zlib.compress(b"".join(b"\0" + row for row in rows))),
            chunk(b"IEND", b""),
        ]
    )


def of_depth(depth: int, *channels: tuple[int, int]) -> np.ndarray:
    """Halves of (left, right) values of 8 bits in each channel, as values of another depth."""
    top = 2**depth - 1
    line = [[round(pair[x >= SIDE // 2] * top / 255) for pair in channels] for x in range(SIDE)]
    return np.tile(np.reshape(line, -1), (SIDE, 1))


COLOURS = tuple(zip(LEFT, RIGHT))
ALPHA = (0, 255)


@pytest.mark.parametrize("clear", [False, True])
@pytest.mark.parametrize("depth", [1, 2, 4, 8, 16])
def test_a_grey_png_of_every_depth(tmp_path: Path, depth: int, clear: bool) -> None:
    """Its transparent grey is a value of the file's depth; Pillow compares it with 8 bits."""
    pair = {1: (255, 0), 2: (85, 170)}.get(depth, GREY)
    values = of_depth(depth, pair)
    key = (int(values[0, 0]),) if clear else None
    (tmp_path / "a.png").write_bytes(png(depth, 0, values, key))
    read = read_picture(tmp_path / "a.png", SIDE, "crop")
    # One bit: white on black, of which the black may be clear.
    wanted = (WHITE, same(0)) if depth == 1 else (WHITE if clear else same(pair[0]), same(pair[1]))
    check(np.asarray(read.image), wanted)
    assert any("alpha laid on white" in note for note in read.notes) == clear


@pytest.mark.parametrize(
    ("depth", "kind", "channels", "wanted"),
    [
        (8, 2, COLOURS, (LEFT, RIGHT)),
        (16, 2, COLOURS, (LEFT, RIGHT)),
        (8, 4, (GREY, ALPHA), (WHITE, GREYS[1])),
        (16, 4, (GREY, ALPHA), (WHITE, GREYS[1])),
        (8, 6, (*COLOURS, ALPHA), (WHITE, RIGHT)),
        (16, 6, (*COLOURS, ALPHA), (WHITE, RIGHT)),
    ],
)  # fmt: skip
def test_a_png_of_colours_or_alpha(
    tmp_path: Path, depth: int, kind: int, channels: Any, wanted: Any
) -> None:
    (tmp_path / "a.png").write_bytes(png(depth, kind, of_depth(depth, *channels), None))
    check(np.asarray(read_picture(tmp_path / "a.png", SIDE, "crop").image), wanted)


def test_a_transparent_colour_is_compared_in_full_or_refused(tmp_path: Path) -> None:
    (tmp_path / "8.png").write_bytes(png(8, 2, of_depth(8, *COLOURS), LEFT))
    check(np.asarray(read_picture(tmp_path / "8.png", SIDE, "crop").image), (WHITE, RIGHT))
    key = tuple(257 * value for value in LEFT)
    (tmp_path / "16.png").write_bytes(png(16, 2, of_depth(16, *COLOURS), key))
    with pytest.raises(UserError, match="16 bits a channel and a transparent colour"):
        read_picture(tmp_path / "16.png", SIDE, "crop")


def tiff(path: Path, values: np.ndarray, bits: int, photometric: int) -> None:
    """Write a grey TIFF as cameras and scanners do: 12 bits packed, or white at zero."""
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[262] = photometric
    if bits == 16:
        Image.fromarray(values).save(path, tiffinfo=tags)
        return
    pairs = values.reshape(-1, 2).astype(np.uint32)
    packed = (pairs[:, 0] << 12 | pairs[:, 1]).astype(">u4").view(np.uint8).reshape(-1, 4)[:, 1:]
    data = packed.tobytes()
    height, width = values.shape
    entries = {256: width, 257: height, 258: bits, 259: 1, 262: photometric, 273: 8, 277: 1,
               278: height, 279: len(data)}  # fmt: skip
    directory = b"".join(
        struct.pack("<HHII", tag, 4, 1, value) for tag, value in sorted(entries.items())
    )
    head = b"II*\0" + struct.pack("<I", 8 + len(data))
    path.write_bytes(head + data + struct.pack("<H", len(entries)) + directory + bytes(4))


def test_twelve_bits_are_scaled_by_their_own_range_or_refused(tmp_path: Path) -> None:
    values = np.asarray(grey()).astype(np.uint16) * 16
    tiff(tmp_path / "12.tif", values, 12, 1)
    read = read_picture(tmp_path / "12.tif", SIDE, "crop")
    check(np.asarray(read.image), GREYS)
    assert "12 bits reduced to 8" in read.notes
    tiff(tmp_path / "16.tif", values, 16, 1)
    with pytest.raises(UserError, match="none exceeds 3264 of 65535: if they have 12 bits"):
        read_picture(tmp_path / "16.tif", SIDE, "crop")
    (tmp_path / "rgb.png").write_bytes(png(16, 2, of_depth(12, *COLOURS), None))
    with pytest.raises(UserError, match="is black"):
        read_picture(tmp_path / "rgb.png", SIDE, "crop")
    # A file that says 12 bits by its largest value, as PGM does.
    data = values.astype(">u2").tobytes()
    (tmp_path / "12.pgm").write_bytes(b"P5 %d %d 4095\n" % (SIDE, SIDE) + data)
    check(np.asarray(read_picture(tmp_path / "12.pgm", SIDE, "crop").image), GREYS)


def test_white_may_be_zero(tmp_path: Path) -> None:
    tiff(tmp_path / "a.tif", np.asarray(deep(256)), 16, 0)
    check(np.asarray(read_picture(tmp_path / "a.tif", SIDE, "crop").image),
          tuple(same(255 - value) for value in GREY))  # fmt: skip


@pytest.mark.parametrize(
    "pixels",
    [np.full((SIDE, SIDE), 70_000, np.int32), np.full((SIDE, SIDE), -5, np.int32)],
)
def test_more_than_16_bits_are_refused(tmp_path: Path, pixels: np.ndarray) -> None:
    Image.fromarray(pixels).save(tmp_path / "a.tif")
    with pytest.raises(UserError, match="more than 16 bits"):
        read_picture(tmp_path / "a.tif", SIDE, "crop")
