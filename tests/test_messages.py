"""Every message for people says what is wrong, where, and how to fix it, as far as form tells."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from actionbench.errors import Problems, UserError

ROOT = Path(__file__).resolve().parents[1]
SOURCES = [
    ROOT / "cli.py",
    *(f for p in ("actionbench", "evaluation", "leaderboards", "methods")
      for f in sorted((ROOT / p).rglob("*.py"))),
]  # fmt: skip
KINDS = {"UserError", "MethodError"}
PASSED_ON = re.compile(
    r"\{[^{}]*(failed\.|failure|\bproblem|self\.message|lines\[0\]"
    r"|_damaged\(|_MISSING|advice|remedy\(|_reason\(|how_to|(?i:fix)|AGAIN|rebuild)[^{}]*\}"
)
"""What is filled in was made elsewhere, and says how to fix it."""
FIX = re.compile(
    r"[:;] (?=[^:;]*[a-z]{2})(?!\{[^{}]*\}$)|\b(must|may only|takes|at least|at most)\b"
)
"""Words after a colon, or what is allowed. That a fix helps, no test can say."""


PART = re.compile(r"(its?|is|has|holds|must|cannot) ")
"""The rest of a sentence, which begins with a file's line where it is passed on."""


def written(node: ast.expr) -> str:
    """Return a message as it stands in the source, with what is filled in between braces."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(map(written, node.values))
    if isinstance(node, ast.FormattedValue):
        return "{" + re.sub(r"[{}:;]", "", ast.unparse(node.value)) + "}"
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return written(node.left) + written(node.right)
    return "{" + re.sub(r"[{}:;]", "", ast.unparse(node)) + "}"


def messages() -> list[tuple[str, str]]:
    """Return every message that a UserError is made of, with its place."""
    found = []
    for file in SOURCES:
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in KINDS and node.args:
                place = f"{file.relative_to(ROOT)}:{node.lineno}"
                found.append((place, written(node.args[0])))
    return found


def test_every_message_says_how_to_fix_it() -> None:
    found = messages()
    assert len(found) > 250
    wrong = [f"{p}: {m}" for p, m in found if not (FIX.search(m) or PASSED_ON.search(m))]
    assert not wrong, "\n".join(wrong)


def test_every_message_is_one_line_and_names_what_it_is_about() -> None:
    for place, message in messages():
        assert "\n" not in message, place
        if PART.match(message):
            continue
        # Something that is filled in, an option, a command, or a word in quotes.
        assert re.search(r"\{|--|'|`", message), f"{place}: {message}"


def test_the_form_that_is_asked_for() -> None:
    for good in ("{path} is damaged: delete it", "setting {key} takes true or false, not {text}"):
        assert FIX.search(good)
    for bad in ("{path} is damaged", "{path} cannot be read: {reason}"):
        assert not FIX.search(bad)
    several = Problems("photos", ["a", "b"])
    assert isinstance(several, UserError) and several.heading == "photos: 2 problems"
