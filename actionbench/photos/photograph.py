"""One photograph: decoded, checked, turned upright, made RGB and square."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

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
    # JPEG can be decoded at a fraction of its size, several times faster.
    opened.draft(None, (2 * size, 2 * size))
    opened.load()
    turned = opened.getexif().get(_EXIF_ORIENTATION, 1) in range(2, 9)
    image, remark = _as_rgb(ImageOps.exif_transpose(opened))
    notes = [*(["turned upright"] if turned else []), *([remark] if remark else [])]
    side = max(width, height) if fit == "pad" else min(width, height)
    if side < size:
        notes.append("enlarged")
    square = ImageOps.pad if fit == "pad" else ImageOps.fit
    shown = square(image, (size, size), method=Image.Resampling.LANCZOS)
    return Picture(shown, perceptual_hash(image), tuple(notes))


def _as_rgb(image: Image.Image) -> tuple[Image.Image, str]:
    """Return the image as RGB, and what that changed."""
    if image.has_transparency_data:
        layers = image.convert("RGBA")
        white = Image.new("RGBA", layers.size, "white")
        return Image.alpha_composite(white, layers).convert("RGB"), "alpha laid on white"
    if image.mode in ("I;16", "I;16L", "I;16B", "I"):
        pixels = np.asarray(image).clip(0, 2**16 - 1) >> 8
        grey = Image.fromarray(pixels.astype(np.uint8))
        return grey.convert("RGB"), "16 bits reduced to 8"
    if image.mode == "F":
        raise UserError("has floating-point pixels: save it with 8 bits a channel")
    names = {"L": "grey", "1": "grey", "P": "from a palette", "CMYK": "from CMYK"}
    return image.convert("RGB"), names.get(image.mode, "")


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
