"""The one way to print data: names from files, models and plug-ins come out as they are.

A sign that would steer the terminal (an escape, a new line, a change of the writing's direction) is
shown by its number, and one that the output's encoding lacks is replaced.
"""

from __future__ import annotations

import codecs
import io
import sys
import unicodedata
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    import rich.text

_STEERING = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""Marks that turn the direction of what follows: text after them reads as other text."""
_CATEGORIES = ("Cc", "Cs", "Zl", "Zp")
"""Control signs, halves of signs (from names that are not UTF-8), and ends of lines."""
_PLAIN = {
    "–": "-", "—": "-", "−": "-", "·": "-", "•": "*", "…": "...", "×": "x", "β": "beta",
    "‘": "'", "’": "'", "“": '"', "”": '"', "─": "-", "│": "|", "━": "-",
}  # fmt: skip
"""What stands for this project's own signs where an encoding lacks them."""
_HANDLER = "actionbench"


def printable(text: str) -> str:
    r"""Return data in one line that steers no terminal: an escape becomes `\x1b`."""
    return "".join(_escaped(sign) if _steers(sign) else sign for sign in text)


def unprintable_sign(text: str) -> str:
    """Name the first sign of a text that is no text, such as a control sign; "" if there is none.

    Marks of the writing's direction are text: Arabic and Hebrew use them.
    """
    signs = (sign for sign in text if unicodedata.category(sign) in _CATEGORIES)
    return next((f"the control sign U+{ord(sign):04X}" for sign in signs), "")


def say(text: str = "", *, err: bool = False) -> None:
    """Print data in one line, on standard output or standard error."""
    print(printable(text), file=ready(sys.stderr if err else sys.stdout), flush=True)


def shown(text: str, style: str = "") -> rich.text.Text:
    """Return data for rich, which would read the brackets of a string as its own markup."""
    from rich.text import Text

    return Text(printable(text), style)


def ready(stream: IO[str]) -> IO[str]:
    """Make a stream replace what its encoding lacks, instead of failing, and return it."""
    # Others (a notebook's) are not files of bytes and take every sign.
    if isinstance(stream, io.TextIOWrapper) and stream.errors != _HANDLER:
        stream.reconfigure(errors=_HANDLER)
    return stream


def _steers(sign: str) -> bool:
    return unicodedata.category(sign) in _CATEGORIES or sign in _STEERING


def _escaped(sign: str) -> str:
    return sign.encode("unicode_escape" if sign.isascii() else "ascii", "backslashreplace").decode()


def _replace(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    signs = error.object[error.start : error.end]
    return "".join(_PLAIN.get(sign, _escaped(sign)) for sign in signs), error.end


codecs.register_error(_HANDLER, _replace)
