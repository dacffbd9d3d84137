"""One photograph: decoded, checked, turned upright, made RGB and square."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError
from scipy.fft import dctn

from actionbench.errors import UserError, one_line

if TYPE_CHECKING:
    from numpy.typing import NDArray

Fit = Literal["pad", "crop"]
SMALLEST = 256
"""The smallest side of a photograph in pixels; below it, an enlarged limb is a smear."""

HASH_SIDE = 16
SIMILAR = 40
"""Two photographs are near-duplicates if at most this many of their hashes' 255 bits differ.

Recompressed, resized and brightened copies of one picture differ by less, and so do copies cropped
by a fiftieth on each side; any two of the drawn exemplars differ by more.
"""

_EXIF_ORIENTATION = 0x0112
_TIFF_BITS, _TIFF_PHOTOMETRIC = 258, 262
_ON_WHITE = "alpha laid on white"
_DARKEST = 16
"""A picture without a value from here on is black, or its 12 bits were read as 16."""


@dataclass(frozen=True)
class Picture:
    """A photograph that was read."""

    image: Image.Image = field(repr=False)
    """RGB, square."""
    hash: NDArray[np.bool_] = field(repr=False)
    """Bits [255]; see `perceptual_hash`."""
    notes: tuple[str, ...]
    """What was done to it besides resizing: "turned upright"."""


def read_picture(path: Path, size: int, fit: Fit) -> Picture:
    """Read a photograph as an exemplar's image, centred.

    Args:
        path: the photograph's file.
        size: the image's side in pixels.
        fit: `pad` keeps the whole photograph between black bars, as `Backbone.encode_images` pads;
            `crop` fills the square and loses the rims.

    Raises:
        UserError: for a file that cannot be used; its message does not name the file.
    """
    with warnings.catch_warnings():
        # Pillow warns above its limit of pixels and refuses above twice that; here there is one.
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            with Image.open(path) as opened:
                return _read(opened, size, fit)
        except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
            limit = (Image.MAX_IMAGE_PIXELS or 0) // 1_000_000
            raise UserError(f"has more than {limit} million pixels: reduce it") from error
        except UnidentifiedImageError as error:
            raise UserError(
                "cannot be read as an image: save it as JPEG or PNG, or remove it"
            ) from error
        except UserError:
            raise
        except PermissionError as error:
            raise UserError("cannot be read: no permission; change it") from error
        except Exception as error:  # a broken file makes decoders raise errors of any kind
            reason = one_line(error)
            raise UserError(f"is damaged or cut short ({reason}): fetch it again") from error


def _read(opened: Image.Image, size: int, fit: Fit) -> Picture:
    width, height = opened.size
    if min(width, height) < SMALLEST:
        raise UserError(
            f"has {width} x {height} pixels: each side needs {SMALLEST} or more, take a larger one"
        )
    # Phones store a second picture in their JPEG files (MPO); the first is the photograph.
    frames = getattr(opened, "n_frames", 1)
    if frames > 1 and opened.format != "MPO":
        raise UserError(f"has {frames} frames: save the one that you mean as JPEG or PNG")
    stored = _Stored.of(opened)
    # JPEG can be decoded at a fraction of its size, several times faster.
    opened.draft(None, (2 * size, 2 * size))
    opened.load()
    turned = opened.getexif().get(_EXIF_ORIENTATION, 1) in range(2, 9)
    image, remark = _as_rgb(ImageOps.exif_transpose(opened), stored)
    if np.asarray(image).max() < _DARKEST:
        raise UserError(
            f"is black (no value reaches {_DARKEST} of 255): if its values have fewer bits than "
            "its file says, save it with 8 bits a channel"
        )
    notes = [*(["turned upright"] if turned else []), *([remark] if remark else [])]
    side = max(width, height) if fit == "pad" else min(width, height)
    if side < size:
        notes.append("enlarged")
    square = ImageOps.pad if fit == "pad" else ImageOps.fit
    shown = square(image, (size, size), method=Image.Resampling.LANCZOS)
    return Picture(shown, perceptual_hash(image), tuple(notes))


@dataclass(frozen=True)
class _Stored:
    """How a file stores its pixels, as far as the decoded image no longer says."""

    bits: int = 16
    """Bits of a grey value that has more than 8."""
    inverted: bool = False
    """Whether such a value is 0 at white."""
    scale: int = 1
    """What the decoder multiplied grey values of fewer bits by."""
    deep_colours: bool = False
    """Whether the decoder dropped the lower byte of the colours' values."""

    @classmethod
    def of(cls, opened: Image.Image) -> Self:
        """Read it from the file's header, before the pixels are decoded."""
        tile = next(iter(getattr(opened, "tile", ())), None)
        layout = tile.args if tile is not None and isinstance(tile.args, str) else ""
        tags = getattr(opened, "tag_v2", {})
        return cls(
            bits=12 if tags.get(_TIFF_BITS) == (12,) else 16,
            inverted=tags.get(_TIFF_PHOTOMETRIC) == 0 and opened.mode.startswith("I"),
            scale={"L;2": 85, "L;4": 17}.get(layout, 1),
            deep_colours=layout.startswith("RGB;16"),
        )


def _as_rgb(image: Image.Image, stored: _Stored = _Stored()) -> tuple[Image.Image, str]:
    """Return the image as RGB, and what that changed."""
    if image.mode == "F":
        raise UserError("has floating-point pixels: save it with 8 bits a channel")
    if image.mode == "I" or image.mode.startswith("I;16"):
        return _deep_grey(image, stored)
    if image.mode == "La":  # multiplied by its alpha; Pillow converts it in two steps
        image = image.convert("LA")
    if image.has_transparency_data:
        key = image.info.get("transparency")
        if stored.deep_colours:
            raise UserError(
                "has 16 bits a channel and a transparent colour, of which only 8 bits can be "
                "compared: save it with 8 bits a channel"
            )
        if image.mode == "L" and isinstance(key, int):
            image.info["transparency"] = key * stored.scale
        layers = image.convert("RGBA")
        white = Image.new("RGBA", layers.size, "white")
        return Image.alpha_composite(white, layers).convert("RGB"), _ON_WHITE
    names = {
        **{"L": "grey", "1": "grey", "P": "from a palette", "CMYK": "from CMYK"},
        "LAB": "from CIE L*a*b*",
    }
    return image.convert("RGB"), names.get(image.mode, "")


def _deep_grey(image: Image.Image, stored: _Stored) -> tuple[Image.Image, str]:
    """Reduce grey values of more than 8 bits, by the range that the file says they have."""
    pixels = np.asarray(image).astype(np.int64)
    top = 2**stored.bits - 1
    if pixels.min() < 0 or pixels.max() > top:
        raise UserError("has pixels of more than 16 bits: save it with 8 bits a channel")
    if stored.bits == 16 and 0 < pixels.max() < 2**12:
        # A camera's 12 bits in a file of 16, or a picture of the night: nothing says which.
        raise UserError(
            f"has 16-bit pixels of which none exceeds {pixels.max()} of {top}: if they have 12 "
            "bits, save it with 8 bits a channel"
        )
    shown = top - pixels if stored.inverted else pixels
    grey = (shown >> (stored.bits - 8)).astype(np.uint8)
    remark = f"{stored.bits} bits reduced to 8"
    key = image.info.get("transparency")
    if key is not None:
        grey[pixels == key] = 255
        remark = f"{remark}, {_ON_WHITE}"
    return Image.fromarray(grey).convert("RGB"), remark


def perceptual_hash(image: Image.Image) -> NDArray[np.bool_]:
    """Hash an image: which of its lowest `HASH_SIDE`^2 - 1 cosine frequencies exceed their median.

    Copies that were recompressed or resized have nearly the same bits [255]; between unrelated
    pictures half of the bits differ. Source: Zauner, "Implementation and Benchmarking of Perceptual
    Image Hash Functions", 2010.
    """
    side = 4 * HASH_SIDE
    small = image.convert("L").resize((side, side), Image.Resampling.BOX)
    waves = dctn(np.asarray(small, dtype=np.float64), norm="ortho")
    low = waves[:HASH_SIDE, :HASH_SIDE].ravel()[1:]
    bits: NDArray[np.bool_] = low > np.median(low)
    return bits
