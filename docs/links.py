"""A hook of mkdocs: the pages are written to be read in the repository, and read alike on the site.

The home page is the README. What pages link to outside of `docs/` (boards, examples, pictures)
comes along under `repository/`, and links are made to fit. A link to what does not exist, or a page
that would load something from another host, ends the build.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files, InclusionLevel
from mkdocs.structure.pages import Page

HOME, DOCS, REST = "README.md", "docs", "repository"
CODE_PAGE = ".code.md"
CODE = {".py": "python", ".toml": "toml", ".yaml": "yaml", ".json": "json", ".cff": "yaml", "": ""}
LINK = re.compile(
    r"^(?P<fence>```+|~~~+).*?^(?P=fence)\s*?$|`[^`\n]+`|\]\((?P<target>[^)\s]+)\)",
    re.DOTALL | re.MULTILINE,
)
"""A link's target; code is matched first, so that it is passed over."""
LOADED = re.compile(
    r"<(?:script|img|iframe|source)\b[^>]*\ssrc=[\"']?(?:https?:)?//[^>]*>"
    r"|<link\b(?![^>]*rel=[\"']?canonical)[^>]*\shref=[\"']?(?:https?:)?//[^>]*>"
    r"|(?:@import\s+|url\()[\"']?(?:https?:)?//[^\"')]+"
)
"""What a browser would fetch from another host while it shows a page."""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the home page, the pages of the navigation that lie outside, and all that is linked."""
    root = _root(config)
    waiting = [HOME, *_named(config.nav or [])]
    waiting += [f"{DOCS}/{file.src_uri}" for file in files.documentation_pages()]
    known: set[str] = set()
    while waiting:
        path = waiting.pop()
        if path in known:
            continue
        known.add(path)
        if not (root / path).is_file():
            raise PluginError(f"{path} is linked to and does not exist")
        if not path.startswith(f"{DOCS}/"):
            files.append(_file(root, path, config))
        if path.endswith(".md"):
            waiting += [target for target, _ in _targets(root, path)]
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Make the links fit the site."""
    path = _path(page.file.src_uri)
    if not path.endswith(".md"):
        return markdown
    here = posixpath.dirname(page.file.src_uri)
    places = {
        link: posixpath.relpath(_uri(t), here or ".") for t, link in _targets(_root(config), path)
    }

    def fit(match: re.Match[str]) -> str:
        link, mark, anchor = (match["target"] or "").partition("#")
        return f"]({places[link]}{mark}{anchor})" if link in places else match[0]

    return LINK.sub(fit, markdown)


def on_post_build(config: MkDocsConfig) -> None:
    """Refuse a site that loads something from another host."""
    for file in sorted(Path(config.site_dir).rglob("*")):
        if file.suffix in {".html", ".css"} and (found := LOADED.search(file.read_text("utf-8"))):
            raise PluginError(f"{file}: loads from another host: {found[0]}")


def _root(config: MkDocsConfig) -> Path:
    return Path(config.config_file_path).parent


def _targets(root: Path, path: str) -> Iterator[tuple[str, str]]:
    """The repository's files that a page links to, each with the link as it is written."""
    for match in LINK.finditer((root / path).read_text("utf-8")):
        link = (match["target"] or "").partition("#")[0]
        if link and not re.match(r"[a-z]+:", link):
            target = posixpath.normpath(posixpath.join(posixpath.dirname(path), link))
            yield (f"{target}/{HOME}" if (root / target).is_dir() else target), link


def _named(nav: object) -> Iterator[str]:
    """The navigation's pages that lie outside of `docs/`, by their path in the repository."""
    if isinstance(nav, dict):
        nav = list(nav.values())
    if isinstance(nav, list):
        for entry in nav:
            yield from _named(entry)
    elif str(nav).startswith(f"{REST}/"):
        yield _path(str(nav))


def _uri(path: str) -> str:
    """Where a file of the repository is on the site."""
    if path == HOME:
        return "index.md"
    if path.startswith(f"{DOCS}/"):
        return path.removeprefix(f"{DOCS}/")
    return f"{REST}/{path}{CODE_PAGE if Path(path).suffix in CODE else ''}"


def _path(uri: str) -> str:
    """Where a file of the site is in the repository: the inverse of `_uri`."""
    if uri == "index.md":
        return HOME
    if not uri.startswith(f"{REST}/"):
        return f"{DOCS}/{uri}"
    return uri.removeprefix(f"{REST}/").removesuffix(CODE_PAGE)


def _file(root: Path, path: str, config: MkDocsConfig) -> File:
    """A file from outside of `docs/`; code becomes a page."""
    uri, place = _uri(path), root / path
    if Path(path).suffix in CODE:
        text = f"# {path}\n\n```{CODE[Path(path).suffix]}\n{place.read_text('utf-8')}\n```\n"
        return File.generated(config, uri, content=text, inclusion=InclusionLevel.NOT_IN_NAV)
    return File.generated(config, uri, abs_src_path=str(place), inclusion=InclusionLevel.NOT_IN_NAV)
