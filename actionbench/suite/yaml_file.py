"""A suite's definition in YAML: what is measured, how images are drawn and judged."""

from __future__ import annotations

import dataclasses
import re
import reprlib
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from actionbench.errors import Problems, UserError, unknown
from actionbench.printing import unprintable_sign
from actionbench.suite.items import (
    NONE,
    PROMPT,
    Action,
    Sampling,
    Subject,
    fold,
    paper_actions,
    paper_subjects,
    slug,
)
from actionbench.suite.shipped import PHOTOS

T = TypeVar("T", Action, Subject)

SUITE_FILE = "suite.yaml"
"""The definition's name in a folder of exemplars."""

PAPER = "paper"
"""Stands for the paper's list of actions or subjects."""

JUDGE_SLOT = "{judge}"
"""Stands for the judge's name in a protocol's name."""

_KEYS = (
    *("name", "title", "protocol", "actions", "subjects"),
    *("prompt", "negative_prompt", "model", "judge", "steps", "guidance_scale"),
)
_NEEDED = ("name", "actions", "subjects")
_DEFAULTS = ("prompt", "model", "judge", "steps", "guidance_scale")


@dataclass(frozen=True, kw_only=True)
class Definition:
    """What a YAML file says about a suite; `Suite` adds where its exemplars are."""

    name: str
    protocol: str
    """Name and version of the whole measurement, with `JUDGE_SLOT` in the place of the judge's name
    if any judge may judge it; see `Suite.protocol_of`. Boards never mix two protocols without
    saying so."""
    title: str
    actions: tuple[Action, ...]
    subjects: tuple[Subject, ...]
    model: str
    """Default base model: a folder, a Hub id, or a preset's name."""
    judge: str
    """Name of the default judge."""
    sampling: Sampling
    prompt: str = PROMPT


def read_definition(path: Path) -> Definition:
    """Read a suite's definition from its YAML file.

    Raises:
        Problems: with all that is wrong in the file.
        UserError: if it is not YAML.
    """
    values, lines = _load(path)
    if path != PHOTOS:
        shipped, _ = _load(PHOTOS)
        values = {key: shipped[key] for key in _DEFAULTS} | values
    reader = _Reader(values, lines)
    definition = reader.definition()
    if reader.problems:
        raise Problems(str(path), reader.problems)
    return definition


def write_definition(definition: Definition, path: Path) -> None:
    """Write a suite's definition as YAML that `read_definition` reads."""
    import yaml

    facts = dataclasses.asdict(definition)
    facts |= facts.pop("sampling")
    if not facts["negative_prompt"]:
        del facts["negative_prompt"]
    facts["actions"], facts["subjects"] = list(facts["actions"]), list(facts["subjects"])
    text = yaml.safe_dump(
        {key: facts[key] for key in _KEYS if key in facts}, sort_keys=False, allow_unicode=True
    )
    path.write_text(text, "utf-8")


def _load(path: Path) -> tuple[dict[str, Any], Mapping[str, Sequence[int]]]:
    """Read a YAML file: its values, and the lines on which the entries of its lists begin.

    Raises:
        UserError: if it is not YAML, or gives a key twice, of which YAML keeps the last.
    """
    import yaml

    try:
        loader = yaml.SafeLoader(path.read_text("utf-8-sig"))
        root = loader.get_single_node()
        repeated = list(_repeated_keys(root))
        value = loader.construct_document(root) if root is not None else None
    except FileNotFoundError as error:
        raise UserError(f"{path} is missing: a suite's definition in YAML") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not YAML: it is not UTF-8, save it as UTF-8") from error
    # A wrong value after an explicit tag (`!!timestamp x`) raises any of these within the library.
    except (yaml.YAMLError, ValueError, LookupError, AttributeError, RecursionError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"{path} is not YAML ({reason}): correct it there") from error
    if repeated:
        raise Problems(str(path), repeated)
    if not isinstance(value, dict):
        raise UserError(f"{path} defines no suite: it must hold {', '.join(_NEEDED)}")
    lines = {
        str(key.value): [entry.start_mark.line + 1 for entry in part.value]
        for key, part in root.value
        if isinstance(part, yaml.SequenceNode)
    }
    return value, lines


def _repeated_keys(root: Any) -> Iterator[str]:
    """Yield a line for each key that a mapping of the file gives twice."""
    import yaml

    waiting, seen = [root], set()
    while waiting:
        node = waiting.pop()
        if id(node) in seen:  # an alias names the node again
            continue
        seen.add(id(node))
        if isinstance(node, yaml.SequenceNode):
            waiting += node.value
        elif isinstance(node, yaml.MappingNode):
            first: dict[str, int] = {}
            for key, value in node.value:
                line = key.start_mark.line + 1
                if isinstance(key, yaml.ScalarNode):
                    if key.value in first:
                        yield (
                            f"line {line}: the key '{key.value}' is given twice, first on line "
                            f"{first[key.value]}: keep one"
                        )
                    first.setdefault(key.value, line)
                waiting += [key, value]


_BRIEF = reprlib.Repr()
_BRIEF.maxstring = _BRIEF.maxother = 80
_BRIEF.maxlevel = 2


def _shown(value: Any) -> str:
    """Return a wrong value for a message: short, however much YAML's aliases make of it."""
    return _BRIEF.repr(value)


class _Reader:
    """A reader of values that goes on after a problem, so that all are reported."""

    def __init__(self, values: Mapping[str, Any], lines: Mapping[str, Sequence[int]]) -> None:
        self.values = values
        self.lines = lines
        """The lines on which the entries of each list begin."""
        self.problems: list[str] = []

    def definition(self) -> Definition:
        for key in self.values:
            if key not in _KEYS:
                self.problems.append(str(unknown("key", str(key), _KEYS)))
        for key in _NEEDED:
            if key not in self.values:
                self.problems.append(f"{key} is missing")
        name = self.text(self.values, "name")
        if name and not _is_slug(name):
            self.problems.append(f"name: '{name}': {_SLUG_RULE}")
        return Definition(
            name=name,
            protocol=self.text(self.values, "protocol", f"{name}-{JUDGE_SLOT}-v1"),
            title=self.text(self.values, "title", name),
            actions=self.entries("actions", Action, paper_actions),
            subjects=self.entries("subjects", Subject, paper_subjects),
            model=self.text(self.values, "model"),
            judge=self.text(self.values, "judge"),
            sampling=Sampling(
                int(self.number("steps", whole=True)),
                float(self.number("guidance_scale", whole=False)),
                self.text(self.values, "negative_prompt"),
            ),
            prompt=self.prompt(),
        )

    def text(self, values: Mapping[str, Any], key: str, default: str = "", of: str = "") -> str:
        value = values.get(key, default)
        if key in values and not (isinstance(value, str) and value.strip()):
            self.problems.append(f"{of}{key}: {_shown(value)} is not text: put it in quotes")
            return ""
        text = unicodedata.normalize("NFC", " ".join(str(value).split()))
        if sign := unprintable_sign(text):
            self.problems.append(f"{of}{key}: {_shown(value)} holds {sign}: remove it")
            return ""
        return text

    def number(self, key: str, *, whole: bool) -> float:
        value = self.values[key]
        kind = int if whole else (int, float)
        # YAML's `true` is an int to Python.
        if isinstance(value, bool) or not isinstance(value, kind) or not 1 <= value < 10_000:
            what = "whole number" if whole else "number"
            self.problems.append(f"{key}: {_shown(value)} is not a {what} from 1 on")
            return 1
        return value

    def prompt(self) -> str:
        prompt = self.text(self.values, "prompt")
        rest = prompt.replace("{subject}", "", 1).replace("{action}", "", 1)
        if len(prompt) - len(rest) != len("{subject}{action}") or re.search(r"[{}]", rest):
            self.problems.append(
                f"prompt: '{prompt}' must hold {{subject}} and {{action}} once each, "
                "and no other braces"
            )
        return prompt

    def entries(
        self, key: str, kind: type[T], of_the_paper: Callable[[], tuple[T, ...]]
    ) -> tuple[T, ...]:
        value = self.values.get(key, PAPER)
        if value == PAPER:
            return of_the_paper()
        if not isinstance(value, list) or not value:
            self.problems.append(f"{key}: must be a list with at least one entry, or `{PAPER}`")
            return ()
        needed = [field.name for field in dataclasses.fields(kind)]
        entries = [self.entry(f"{key}, entry {n}", row, needed) for n, row in enumerate(value, 1)]
        for name in (entry["name"] for entry in entries if entry["name"]):
            if slug(name) == NONE:
                self.problems.append(f"{key}: '{name}' is what judges say if they see none")
            if kind is Action and not _is_slug(name):
                self.problems.append(f"{key}: '{name}': {_SLUG_RULE}")
            if not slug(name):
                self.problems.append(f"{key}: the name '{name}' has no letter or digit")
            if len(slug(name).encode()) > _LONGEST:
                self.problems.append(
                    f"{key}: the name '{name[:20]}...' is too long: it names files, "
                    f"which may have {_LONGEST} bytes"
                )
        # Names become folders and files, where names that differ only by case or blanks are one.
        self.distinct(key, entries, "name", slug, "they would name one file")
        words = "description" if kind is Action else "phrase"
        self.distinct(key, entries, words, _as_read, "no judge can tell them apart")
        return tuple(kind(**entry) for entry in entries)

    def distinct(
        self,
        key: str,
        entries: Sequence[Mapping[str, str]],
        part: str,
        same: Callable[[str], str],
        why: str,
    ) -> None:
        """Report entries of which one part says the same as an earlier entry's."""
        lines = self.lines.get(key, ())
        places = [f"line {line}" for line in lines] or [
            f"entry {n + 1}" for n in range(len(entries))
        ]
        first: dict[str, int] = {}
        for number, entry in enumerate(entries):
            word = same(entry[part])
            if not word:  # missing or wrong, which is reported already
                continue
            earlier = first.setdefault(word, number)
            if earlier != number:
                self.problems.append(
                    f"{places[number]}: {key}: the {part} '{entry[part]}' is there twice, "
                    f"first in {places[earlier]} ('{entries[earlier][part]}'): {why}"
                )

    def entry(self, where: str, row: Any, needed: list[str]) -> dict[str, str]:
        if not isinstance(row, dict):
            self.problems.append(f"{where}: {_shown(row)} must hold {', '.join(needed)}")
            return dict.fromkeys(needed, "")
        for key in row:
            if key not in needed:
                self.problems.append(f"{where}: {unknown('key', str(key), needed)}")
        texts = {}
        for key in needed:
            if key not in row:
                self.problems.append(f"{where}: {key} is missing")
            texts[key] = self.text(row, key, of=f"{where}: ")
            if re.search(r"[{}]", texts[key]):
                self.problems.append(f"{where}: {key}: braces are only for templates")
        return texts


_SLUG_RULE = "use only small letters, digits and single hyphens, because it names folders"
_LONGEST = 200
"""Bytes of a name as a file's: systems allow 255, of which indices and endings take some."""


def _is_slug(name: str) -> bool:
    return name == slug(name)


def _as_read(words: str) -> str:
    """Return words as a judge reads them: case and the full stop at the end say nothing."""
    return fold(words).rstrip(" .")
