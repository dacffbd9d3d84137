"""docs/settings.md has every published figure as the code has it.

`python -m tests.test_settings_page` writes its tables anew.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from actionbench.files.models import ModelTraits, model_traits
from actionbench.registry import get_method, method_names
from actionbench.runs.profiles import Figure, figures
from actionbench.suite.items import SLOT
from actionbench.suite.shipped import BASE_MODEL

PAGE = Path(__file__).resolve().parents[1] / "docs" / "settings.md"
BEGIN, END = "<!-- published figures -->\n", "<!-- end of the published figures -->\n"
SD = ModelTraits("sd-2.1")


def published() -> str:
    """Return a table for each method: every setting, for SD 2.1 and for the miniature."""
    puppets = model_traits("puppet-diffusion", BASE_MODEL)
    parts = []
    for name in method_names():
        kind = get_method(name)
        there, here = figures(kind, SD), figures(kind, puppets)
        if there:
            head = (
                "| setting | SD 2.1 | where from | the miniature, if other |\n|---|---|---|---|\n"
            )
            rows = (_row(setting, there[setting], here[setting]) for setting in there)
            parts.append(f"### {kind.title}\n\n{head}{''.join(rows)}")
    return "\n".join(parts)


def _row(setting: str, there: Figure, here: Figure) -> str:
    other = "" if here.value == there.value else f"{_show(here.value)} ({_brief(here.origin)})"
    return f"| `{setting}` | {_show(there.value)} | {there.origin} | {other} |\n"


def _brief(origin: str) -> str:
    """Leave out what the column beside it says."""
    return re.sub(r"\), .*$", ")", origin)


def _show(value: Any) -> str:
    if isinstance(value, tuple):
        many = len(value) > 4 and SLOT in value[0]
        return f"{len(value)} templates" if many else ", ".join(f"`{v}`" for v in value)
    return f"`{value}`" if isinstance(value, str) else f"{value}"


def _between(text: str) -> Iterator[str]:
    before, _, rest = text.partition(BEGIN)
    inside, _, after = rest.partition(END)
    yield from (before, inside, after)


def test_the_page_has_every_published_figure_as_the_code_has_it() -> None:
    _, inside, after = _between(PAGE.read_text("utf-8"))
    assert inside == f"\n{published()}\n" and after


if __name__ == "__main__":
    before, _, after = _between(PAGE.read_text("utf-8"))
    PAGE.write_text(f"{before}{BEGIN}\n{published()}\n{END}{after}", "utf-8")
