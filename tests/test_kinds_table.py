"""The table methods x kinds in the README is the registry's.

`python -m tests.test_kinds_table` writes it anew.
"""

from __future__ import annotations

from pathlib import Path

from actionbench.files.kinds import KINDS
from actionbench.registry import get_method, method_names

PAGE = Path(__file__).resolve().parents[1] / "README.md"
BEGIN, END = "<!-- methods by kinds -->\n", "<!-- end of methods by kinds -->\n"


def kinds_table() -> str:
    """Return a row for each method that a model draws: yes, or no and why, for each kind."""
    heads = [f"{kind.title} ({kind.models})" for kind in KINDS.values()]
    lines = [("Method", *heads), ("---",) * (1 + len(heads))]
    for name in method_names():
        method = get_method(name)
        if method.needs_backbone:
            whys = [method.refusal(kind) for kind in KINDS.values()]
            lines.append((method.title, *("yes" if why is None else f"no: {why}" for why in whys)))
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _parts() -> tuple[str, str, str]:
    before, _, rest = PAGE.read_text("utf-8").partition(BEGIN)
    inside, _, after = rest.partition(END)
    return before, inside, after


def test_the_table_says_what_the_registry_says() -> None:
    _, inside, after = _parts()
    assert inside == kinds_table() and after


if __name__ == "__main__":
    before, _, after = _parts()
    PAGE.write_text(f"{before}{BEGIN}{kinds_table()}{END}{after}", "utf-8")
