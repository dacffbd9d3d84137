"""What the report page shows, collected from a board: the one seam between numbers and page.

Everything here is made of the board's own rows, shares and comparisons; templates and scripts
compute no statistics, only counts of what is filtered.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args
from urllib.parse import quote

from actionbench.judge import PAIR
from actionbench.runs.kept import same_suite
from actionbench.runs.store import Store
from evaluation.measures.accuracy import Estimand
from leaderboards.page.images import Gallery
from leaderboards.people import differences_table, people_table
from leaderboards.samples import read_samples

if TYPE_CHECKING:
    import pandas as pd
    from markupsafe import Markup
    from PIL.Image import Image

    from actionbench.runs.record import RunRecord
    from actionbench.suite.suite import Suite
    from evaluation.measures.comparison import Comparison
    from evaluation.measures.power import Power
    from evaluation.tables import Table
    from leaderboards.board import BoardRow, Group

_ACTION, _SUBJECT = 1, 2
"""Bits of a verdict in the page's data; both are `right`."""
NOTHING = "-"
"""In place of a verdict: not judged."""


Key = tuple[str, str, int, int | None]
"""Action, subject, index, and the noise's seed if an item has several."""


@dataclass(frozen=True)
class Cell:
    """One entry of the matrix of paired differences: the row's method minus the column's."""

    text: str
    title: str
    sign: str
    """`+` or `-` if the two are told apart, else nothing."""
    link: str


@dataclass(frozen=True)
class Tile:
    """A figure above a board, with what it is of and what it is."""

    value: str
    of: str
    label: str


@dataclass(frozen=True)
class Section:
    """A group of the board, as the template shows it."""

    number: int
    group: Group
    rows: tuple[BoardRow, ...]
    matrix: tuple[tuple[BoardRow, tuple[Cell | None, ...]], ...]
    told_apart: int
    pairs: int
    images: int
    missing: tuple[str, ...]
    """A line for each row whose images are not all there."""
    plots: Mapping[str, Markup]
    """Plots as SVG, by name."""
    detectable: Tile | None = None
    """The smallest difference that the board detects; None with fewer than two rows."""
    people: Table | None = None
    """What people's labels say of the rows."""
    apart: Table | None = None
    """The lead's differences from the other rows by people's labels."""

    @property
    def complete(self) -> tuple[BoardRow, ...]:
        return tuple(row for row in self.rows if not row.partial)

    def tied(self, row: BoardRow) -> bool:
        """Whether another row has the same rank."""
        return row.rank is not None and [r.rank for r in self.rows].count(row.rank) > 1

    def band(self, row: BoardRow) -> int:
        """Number the groups of rows that share a rank, to shade every other one."""
        ranks = sorted({r.rank for r in self.rows if r.rank is not None})
        return ranks.index(row.rank) if row.rank in ranks else len(ranks)


def section(
    number: int, group: Group, missing: Iterable[str], plots: Mapping[str, Markup]
) -> Section:
    """Collect what the template shows of a group."""
    both_ways = {
        **group.comparisons,
        **{(b, a): compared.reversed for (a, b), compared in group.comparisons.items()},
    }
    # The page of two runs' difference compares them in tables of its own.
    complete = [row for row in group.rows if not row.partial and group.comparisons]
    matrix = tuple(
        (
            first,
            tuple(
                None
                if first is second
                else _cell(number, both_ways[first.run_id, second.run_id], first, second)
                for second in complete
            ),
        )
        for first in complete
    )
    return Section(
        number=number,
        group=group,
        rows=group.rows,
        matrix=matrix if group.comparisons else (),
        told_apart=sum(compared.told_apart for compared in group.comparisons.values()),
        pairs=len(group.comparisons),
        images=sum(row.done for row in group.rows),
        missing=tuple(missing),
        plots=plots,
        detectable=None if group.power is None else _detectable(group.power),
        people=None if group.people is None else people_table(group.people),
        apart=differences_table(group),
    )


def _detectable(power: Power) -> Tile:
    """Say what the design detects of actions at large, or of these if that is all it tells."""
    words = "smallest difference found with 80% power"
    for of in get_args(Estimand):
        if (found := power.smallest(of)) is not None:
            alone, strict = found
            family = f"points; {power.in_family(strict, 1)}" if power.family > 1 else "points"
            return Tile(f"{100 * alone:.1f}", family, f"{words}, {of}")
    return Tile("–", power.untold, words)


def _cell(number: int, compared: Comparison, first: BoardRow, second: BoardRow) -> Cell:
    sign = ("+" if compared.difference > 0 else "-") if compared.told_apart else ""
    apart = "told apart" if compared.told_apart else "not told apart"
    return Cell(
        text=f"{100 * compared.difference:+.1f}".replace("-", "−"),
        title=f"{first.name} minus {second.name}: {compared.points} points, p {compared.p_text}, "
        f"{apart}",
        sign=sign,
        link=f"#g{number}-gallery?methods={quote(first.run_id)},{quote(second.run_id)}&verdict=differ",
    )


# Data of the script


def group_data(
    number: int,
    group: Group,
    roots: Mapping[bool, Path],
    gallery: Gallery,
    others: Mapping[Path, Sequence[tuple[str, str, Any]]],
    first: Iterable[tuple[str, str, int]] = (),
) -> tuple[dict[str, Any], list[str]]:
    """Collect the items, verdicts and images of a group for the script, with gaps in words.

    Args:
        roots: the runs folder of the rows that are kept references, and of the others.
        gallery: takes the images.
        others: what every judge says about an image, by its file.
        first: items that stand before the others, in their order.
    """
    facts = group.facts
    suite = same_suite(Store(roots[group.rows[0].reference]), facts)
    # A row may hold runs of several seeds, which draw an item from several noises.
    several = any(row.verdicts.duplicated(PAIR).any() for row in group.rows)
    seeds = {
        key: int(seed)
        for row in group.rows
        for key, seed in zip(_keys(row.verdicts, several), row.verdicts["seed"], strict=True)
    }
    order = [(*key, None) for key in first] if not several else []
    samples = [read_samples(roots[row.reference], row.run_ids) for row in group.rows]
    sampled = {
        key
        for row, own in zip(group.rows, samples, strict=True)
        for key, file in zip(_keys(row.verdicts, several), row.verdicts["image"], strict=True)
        if file in own
    }
    # Of each action, those first of which an image is kept.
    turn = {name: n for n, name in enumerate(dict.fromkeys(key[0] for key in seeds))}
    rest = sorted(seeds, key=lambda key: (turn[key[0]], key not in sampled)) if sampled else seeds
    places = {key: place for place, key in enumerate(dict.fromkeys([*order, *rest]))}
    actions, subjects = (
        list(dict.fromkeys(name for row in group.rows for name in getattr(row.record, kind)))
        for kind in ("actions", "subjects")
    )
    words: dict[str, int] = {}
    runs, missing = [], []
    for row, own in zip(group.rows, samples, strict=True):
        place = (roots[row.reference], own, gallery)
        data, gone = _run_data(row, places, several, words, *place, others)
        runs.append(data)
        if gone:
            missing.append(f"{row.name}: {gone}")
    categories = {
        str(subject): str(category)
        for row in group.rows
        for subject, category in zip(row.verdicts["subject"], row.verdicts["category"], strict=True)
    }
    described = {action.name: action.description for action in suite.actions} if suite else {}
    return {
        "number": number,
        "heading": group.heading,
        "actions": [[name, described.get(name, "")] for name in actions],
        "subjects": [[name, categories.get(name, "")] for name in subjects],
        "items": [
            [actions.index(action), subjects.index(subject), index, copy]
            for (action, subject, index, _), copy in zip(places, _copies(places), strict=True)
        ],
        # As text: JavaScript's numbers end at 2^53.
        "seeds": [str(seeds[key]) for key in places],
        "prompts": _prompts(suite, facts, places),
        "exemplars": _exemplars(suite, facts, actions, gallery),
        "judge": facts.judge.name,
        "words": list(words),
        "runs": runs,
    }, missing


def _keys(verdicts: pd.DataFrame, several: bool) -> list[Key]:
    """Name each image's item; if runs of several seeds are shown, by its noise as well."""
    columns = (verdicts[name] for name in ("action", "subject", "index", "seed"))
    return [
        (str(a), str(s), int(i), int(seed) if several else None)
        for a, s, i, seed in zip(*columns, strict=True)
    ]


def _copies(keys: Iterable[Key]) -> list[int]:
    """Number the noises of each item, from 0 on."""
    seen: dict[tuple[str, str, int], int] = {}
    numbers = []
    for key in keys:
        numbers.append(seen.get(key[:3], 0))
        seen[key[:3]] = numbers[-1] + 1
    return numbers


def _gone(row: BoardRow, files: Sequence[str], sampled: int) -> str:
    """Say which images of a row are not there; nothing if all are."""
    if sampled:
        return f"a sample of {sampled} of {row.done} images is kept"
    if not files:
        return ""
    count = f"{len(files)} of {row.done} images are missing"
    return f"{'no image is kept' if len(files) == row.done else count} ({files[0]})"


def _run_data(
    row: BoardRow,
    places: Mapping[Key, int],
    several: bool,
    words: dict[str, int],
    root: Path,
    samples: Mapping[str, Image],
    gallery: Gallery,
    others: Mapping[Path, Sequence[tuple[str, str, Any]]],
) -> tuple[dict[str, Any], str]:
    """Collect one run, aligned to the group's items; and say which images are not there."""
    count = len(places)
    verdicts = [NOTHING] * count
    seen: list[list[int] | None] = [None] * count
    images: list[int | None] = [None] * count
    more: dict[int, list[list[Any]]] = {}
    gone: list[str] = []
    sampled = 0
    columns = (
        *("action_correct", "subject_correct", "action_seen", "subject_seen"),
        *("action_score", "subject_score", "image"),
    )
    values = zip(*(row.verdicts[name] for name in columns), strict=True)
    for key, (action, subject, action_seen, subject_seen, *scores, file) in zip(
        _keys(row.verdicts, several), values, strict=True
    ):
        place = places[key]
        verdicts[place] = str(_ACTION * bool(action) + _SUBJECT * bool(subject))
        seen[place] = [
            *(words.setdefault(str(word), len(words)) for word in (action_seen, subject_seen)),
            *(-1 if math.isnan(score) else round(1000 * score) for score in scores),
        ]
        name = (row.method, *key[:2], str(key[2]))
        images[place] = gallery.add(root / file, *name)
        if images[place] is None and file in samples:
            images[place], sampled = gallery.add(samples[file], *name, str(file)), sampled + 1
        elif images[place] is None:
            gone.append(str(file))
        judged = [
            [judge, _ACTION * bool(v[0]) + _SUBJECT * bool(v[1]), str(v[2]), str(v[3])]
            for run_id, judge, v in others.get(root / file, ())
            if run_id != row.run_id
        ]
        if judged:
            more[place] = judged
    return {
        "id": row.run_id,
        "title": row.title,
        "name": row.name + (", partial" if row.partial else ""),
        "verdicts": "".join(verdicts),
        "seen": seen,
        "images": images,
        "others": more,
    }, _gone(row, gone, sampled)


def other_judges(
    groups: Sequence[Group], roots: Mapping[bool, Path]
) -> dict[Path, list[tuple[str, str, Any]]]:
    """List what every run's judge says about an image, by its file; only images with several."""
    said: dict[Path, list[tuple[str, str, Any]]] = {}
    for group in groups:
        for row in group.rows:
            columns = ("action_correct", "subject_correct", "action_seen", "subject_seen")
            values = zip(*(row.verdicts[name] for name in columns), strict=True)
            for file, answer in zip(row.verdicts["image"], values, strict=True):
                entry = (row.run_id, row.record.judge.name, answer)
                said.setdefault(roots[row.reference] / file, []).append(entry)
    return {path: answers for path, answers in said.items() if len(answers) > 1}


def _prompts(suite: Suite | None, facts: RunRecord, places: Iterable[Key]) -> list[str] | None:
    """Write the items' prompts in plain words; None if the suite is gone or another by now."""
    if suite is None:
        return None
    from actionbench.suite.items import Item

    actions = {action.name: action for action in suite.actions}
    subjects = {subject.name: subject for subject in suite.subjects}
    return [
        Item(actions[a], subjects[s], i, facts.seed, suite.prompt).described_prompt
        if a in actions and s in subjects
        else ""
        for a, s, i, _ in places
    ]


def _exemplars(
    suite: Suite | None, facts: RunRecord, actions: Sequence[str], gallery: Gallery
) -> list[list[Any]]:
    """Take the exemplars' images: for each action a list of image and caption."""
    if suite is None:
        return []
    return [
        [
            [
                gallery.add(exemplar.image, "exemplar", facts.suite_fingerprint, exemplar.id),
                exemplar.caption,
            ]
            for exemplar in (suite.tasks[action].exemplars if action in suite.tasks else ())
        ]
        for action in actions
    ]


@dataclass(frozen=True)
class Fact:
    """Something that made a row, as the page shows it."""

    name: str
    values: tuple[tuple[str, str], ...]
    """The run and what holds for it; one with an empty run if the same holds for all runs."""

    @property
    def code(self) -> bool:
        """Whether it is to be read sign by sign."""
        return self.name in ("command", "run", "commit", "versions", "model", "data", "judge")


def provenance(row: BoardRow) -> list[Fact]:
    """List what made a row, in the order of the page, for each of its runs where they differ."""
    made = [_made(record) for record in row.records]
    facts = []
    for name in made[0]:
        texts = [one[name] for one in made]
        if not any(texts):
            continue
        same = len(set(texts)) == 1
        runs = [""] if same else row.run_ids
        facts.append(Fact(name, tuple(zip(runs, texts[: len(runs)], strict=True))))
    return facts


def _made(record: RunRecord) -> dict[str, str]:
    """Write what made one run."""
    git = record.git or {}
    commit = str(git.get("commit", "")) + (" (changed)" if git.get("dirty") else "")
    changed = record.changed_settings
    return {
        "run": record.id,
        "command": " ".join(record.command),
        "settings that differ": "all below; the run noted none"
        if changed is None
        else ", ".join(f"{name}={value}" for name, value in changed.items())
        or "none: the method's own",
        "profile, prompts": f"{record.profile}, {record.prompts}",
        "seed": str(record.seed),
        "exemplars": f"{record.exemplars}, seed {record.exemplar_seed}",
        "model": f"{record.model.name} {record.model.fingerprint}",
        "data": f"{record.suite} {record.suite_fingerprint}",
        "judge": f"{record.judge.name} {record.judge.fingerprint}",
        "judge's settings": ", ".join(f"{k}={v}" for k, v in record.judge.settings.items()),
        "judged again from": record.judged_from or "",
        "sampling": ", ".join(f"{name} {value}" for name, value in record.sampling.items()),
        "device": f"{record.device or 'unknown'}, {record.dtype}",
        "machine": ", ".join(f"{value}" for value in record.machine.values()),
        "versions": ", ".join(f"{name} {value}" for name, value in record.versions.items()),
        "commit": commit,
        "begun, finished": f"{record.started}, {record.finished or 'not finished'}",
        "method's source": record.reference,
    }
