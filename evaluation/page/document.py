"""The make of every page: jinja2 templates with their styles, scripts and data in one HTML file.

A page opens from `file://`, and nothing that it shows can make it do anything else than show it:

- templates escape every value, and data stands in blocks that no browser executes;
- the page's Content-Security-Policy allows the very scripts and styles that were put in, by their
  hash, and no request except for images, and those only from where the page's own are, and to
  the server of a page that has one.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from actionbench.files.atomic import write_text

if TYPE_CHECKING:
    from jinja2 import Environment

HERE = Path(__file__).parent
"""The shared templates, styles and scripts."""

Images = Literal["inside", "beside"]
"""Where a page's images are: in the page itself as `data:` addresses, or in folders beside it."""

_IMAGES: Mapping[Images, str] = {"inside": "data:", "beside": "data: 'self' file:"}


def render(
    template: str,
    *,
    folder: Path,
    content: Mapping[str, Any],
    styles: Sequence[str] = (),
    scripts: Sequence[str] = (),
    data: Mapping[str, Any] | None = None,
    images: Images = "inside",
    served: bool = False,
) -> str:
    """Return a page's HTML.

    Args:
        template: the file of the page's template, which extends `base.html`.
        folder: where it, its styles and its scripts are, besides those that all pages share.
        content: what the template shows, escaped wherever it stands.
        styles: style sheets after the shared one.
        scripts: scripts, run in this order when the page is loaded.
        data: JSON values by the id of the block they are put into; scripts read them.
        images: where the page's images are.
        served: whether its scripts may ask the server that the page comes from.
    """
    sheets = [_read(folder, name) for name in ("style.css", *styles)]
    codes = [_read(folder, name) for name in scripts]
    policy = "; ".join(
        [
            "default-src 'none'",
            f"img-src {_IMAGES[images]}",
            f"style-src {_hashes(sheets)}",
            f"script-src {_hashes(codes)}",
            "connect-src 'self'" if served else "connect-src 'none'",
            "base-uri 'none'",
            "form-action 'none'",
        ]
    )
    page: str = (
        _environment(folder)
        .get_template(template)
        .render(policy=policy, styles=sheets, scripts=codes, data=data or {}, **content)
    )
    return page


def write_page(path: Path, page: str) -> Path:
    """Write a page. Halves of characters, which names of files may hold, become a mark."""
    return write_text(path, page.encode("utf-8", "replace").decode("utf-8"))


def _hashes(texts: Sequence[str]) -> str:
    """Write the sources of a policy's directive for inline texts."""
    digests = (base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in texts)
    return " ".join(f"'sha256-{digest}'" for digest in digests) or "'none'"


@lru_cache
def _read(folder: Path, name: str) -> str:
    own = folder / name
    text = (own if own.exists() else HERE / name).read_text("utf-8")
    # A browser ends the block at the first end tag, wherever it stands.
    assert "</s" not in text.lower(), f"{name} holds an end tag"
    return text


@lru_cache
def _environment(folder: Path) -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    return Environment(
        loader=FileSystemLoader([folder, HERE]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
