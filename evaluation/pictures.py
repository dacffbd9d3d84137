"""Pictures of runs: a grid of one run, a comparison of several, a judge's confusion matrix.

Which image of a pair is shown is fixed beforehand (its index), so nothing is picked for its looks.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from actionbench.errors import UserError, unknown
from actionbench.files.atomic import written
from actionbench.runs.kept import shown_suite
from actionbench.runs.record import RunRecord
from actionbench.runs.store import Store, read_image
from actionbench.suite.items import fold

if TYPE_CHECKING:
    import pandas as pd

    from actionbench.suite.suite import Suite

RIGHT, WRONG = (0, 150, 75), (214, 39, 40)
INK, FAINT, PAPER, EMPTY = (25, 25, 25), (110, 110, 110), (255, 255, 255), (238, 238, 238)

CELL = 128
"""Side of a picture in the grids, in pixels: twice a puppet's 64."""
FRAME = 4
CAPTION = 18
"""Height of the strip under a picture that says what is wrong."""
STEP = CELL + 2 * FRAME + 8
ROW = CELL + 2 * FRAME + CAPTION + 6
MARGIN, GAP = 24, 20
GRID_SUBJECTS, COMPARED_SUBJECTS = 8, 3
"""How many subjects a picture shows if none are named: what a screen shows legibly."""
BAND = 12
"""Columns of a comparison before its next actions go underneath."""
_HEAD_SIZE = 17
_LEGEND_WIDTH = 900


def write_grid(
    runs: Path,
    run_id: str,
    out: Path,
    *,
    actions: Sequence[str] | None = None,
    subjects: Sequence[str] | None = None,
    exemplars: int = 3,
    index: int = 0,
    suite: str | None = None,
) -> Path:
    """One run as a PNG: a row an action; a few exemplars, then a column a subject.

    Args:
        actions: the rows; None is all of the run.
        subjects: the columns: names, categories, or `all` (see `_pick_subjects`); None is at most
            `GRID_SUBJECTS` of the run's, from each category.
        suite: the dataset's place, if it was moved and the runs folder keeps no thumbnails.

    Cells that a partial run has not judged stay empty. Raises UserError: unknown run, action or
    subject, damaged or missing image.
    """
    shown = _read_run(runs, run_id, suite)
    columns = _pick_subjects(shown, subjects, GRID_SUBJECTS)
    picked = _pick_actions(shown, actions)
    tasks = {a.name: shown.suite.tasks[a.name] for a in shown.suite.pick_actions(picked)}

    left, top = 150, 118
    start = left + exemplars * STEP + GAP
    width = start + len(columns) * STEP + MARGIN
    height = top + len(tasks) * ROW + 44
    canvas = Image.new("RGB", (max(width, _LEGEND_WIDTH), height), PAPER)
    draw = ImageDraw.Draw(canvas)
    record = shown.record
    draw.text((MARGIN, 16), record.title, INK, _font(28))
    draw.text(
        (MARGIN, 50), f"{shown.suite.title} · {record.model.name} · {record.id}", FAINT, _font(15)
    )
    if exemplars:
        _header(draw, left, top, exemplars * STEP - 8, "exemplars")
    for place, subject in enumerate(columns):
        _header(draw, start + place * STEP, top, STEP - 8, subject)
    for row, (name, task) in enumerate(tasks.items()):
        y = top + row * ROW
        _row_label(draw, y, left, name, task.action.description)
        for place, exemplar in enumerate(task.exemplars[:exemplars]):
            _paste(canvas, exemplar.image, left + place * STEP, y)
        for place, subject in enumerate(columns):
            _cell(canvas, shown, name, subject, index, start + place * STEP, y)
    _legend(draw, MARGIN, height - 34, shown.judges, index)
    return _save(canvas, out)


def write_comparison(
    runs: Path,
    run_ids: Sequence[str],
    out: Path,
    *,
    actions: Sequence[str] | None = None,
    subjects: Sequence[str] | None = None,
    labels: Sequence[str] | None = None,
    index: int = 0,
    suite: str | None = None,
) -> Path:
    """Several runs side by side as a PNG: a row a run; for each action, a column a subject.

    Above them stand exemplars of each action; what is wider than `BAND` columns goes on below.

    Args:
        actions, subjects: as for `write_grid`, out of the first run's.
        labels: the rows' names; None: the methods' titles, with the runs' ids if two are alike.
        suite: as for `write_grid`.

    Raises UserError as `write_grid` does, and if the runs' suites differ.
    """
    shown = [_read_run(runs, run_id, suite) for run_id in run_ids]
    suites = {f"{r.record.suite} {r.record.suite_fingerprint[:8]}" for r in shown}
    if len(suites) != 1:
        raise UserError(
            f"runs of one suite can be compared, these are of {', '.join(sorted(suites))}: name "
            "runs of one of them"
        )
    own = shown[0].suite
    picked = own.pick_actions(_pick_actions(shown[0], actions))
    columns = _pick_subjects(shown[0], subjects, COMPARED_SUBJECTS)
    titles = [str(run.record.title) for run in shown]
    names = list(labels or titles)
    # Two runs of one method differ by their ids.
    more = ["" if labels or titles.count(t) == 1 else r.record.id for t, r in zip(titles, shown)]

    block = len(columns) * STEP + GAP
    heads = [f"{action.name}: {action.description}" for action in picked]
    lines = max(len(_wrap(head, block - GAP - 8, _HEAD_SIZE)) for head in heads)
    left, head_height = 170, 26 + 20 * lines
    band = head_height + (len(shown) + 1) * ROW + 34
    across = min(len(picked), max(1, BAND // len(columns)))
    width = left + across * block - GAP + MARGIN
    height = math.ceil(len(picked) / across) * band + 44
    canvas = Image.new("RGB", (max(width, _LEGEND_WIDTH), height), PAPER)
    draw = ImageDraw.Draw(canvas)
    for place, action in enumerate(picked):
        top = place // across * band + head_height
        below = top + ROW + 34
        if place % across == 0:
            _row_label(draw, top, left, "exemplars", "what is learned from")
            for row, label in enumerate(names):
                _row_label(draw, below + row * ROW, left, label, more[row])
        x = left + place % across * block
        _header(draw, x, top, block - GAP - 8, heads[place], _HEAD_SIZE)
        for column, exemplar in enumerate(own.tasks[action.name].exemplars[: len(columns)]):
            _paste(canvas, exemplar.image, x + column * STEP, top)
        for column, subject in enumerate(columns):
            _header(draw, x + column * STEP, below, STEP - 8, subject)
            for row, run in enumerate(shown):
                at = (x + column * STEP, below + row * ROW)
                _cell(canvas, run, action.name, subject, index, *at)
    judges = sorted({judge for run in shown for judge in run.judges})
    _legend(draw, MARGIN, height - 34, judges, index)
    return _save(canvas, out)


def confusion_matrix_png(
    true: Sequence[str], predicted: Sequence[str], labels: Sequence[str], out: Path, title: str
) -> Path:
    """A judge's answers against the truth as a PNG: rows sum to 100%, labels in the order given.

    Raises ValueError for an answer that is not among `labels`.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    place = {label: i for i, label in enumerate(labels)}
    strange = {*true, *predicted} - place.keys()
    if strange:
        raise ValueError(f"not among the labels: {sorted(strange)}")
    counts = np.zeros((len(labels), len(labels)), dtype=int)
    np.add.at(counts, ([place[t] for t in true], [place[p] for p in predicted]), 1)
    sizes = counts.sum(axis=1, keepdims=True)
    shares = 100 * counts / np.maximum(sizes, 1)

    side = 2.6 + 0.42 * len(labels)
    figure = Figure(figsize=(side, side), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=100)
    axes.set_xticks(range(len(labels)), labels, rotation=55, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(labels)), [f"{a}  ({n})" for a, n in zip(labels, sizes[:, 0])])
    axes.set_xticks(np.arange(len(labels)) - 0.5, minor=True)
    axes.set_yticks(np.arange(len(labels)) - 0.5, minor=True)
    axes.grid(which="minor", color="white", linewidth=1)
    axes.tick_params(which="both", length=0)
    axes.spines[:].set_visible(False)
    axes.set_xlabel("the judge's answer")
    axes.set_ylabel("the truth (number of images)")
    right = int(np.trace(counts))
    axes.set_title(f"{title}\n{right} of {len(true)} right, {100 * right / max(len(true), 1):.1f}%")
    for row, column in zip(*np.nonzero(counts)):
        share = shares[row, column]
        text = f"{share:.0f}" if share >= 0.5 else "<1"
        colour = "white" if share > 55 else "black"
        axes.text(column, row, text, ha="center", va="center", fontsize=8, color=colour)
    with written(out) as temporary:
        figure.savefig(temporary, format="png")
    return out


@dataclass(frozen=True)
class _Shown:
    """A run and the places of its images."""

    root: Path
    record: RunRecord
    suite: Suite
    rows: dict[tuple[str, str, int], pd.Series]
    """By (action, subject, index)."""

    @property
    def judges(self) -> list[str]:
        return sorted({str(row["judge"]) for row in self.rows.values()})


def _read_run(runs: Path, run_id: str, place: str | None) -> _Shown:
    store = Store(runs)
    run_id = store.find_run(run_id)
    record = store.read_record(run_id)
    rows = store.read_verdicts(record)
    keyed = {
        (str(row["action"]), str(row["subject"]), int(row["index"])): row
        for _, row in rows.iterrows()
    }
    return _Shown(Path(runs), record, shown_suite(store, record, place), keyed)


def _pick_actions(shown: _Shown, names: Sequence[str] | None) -> list[str]:
    own: list[str] = shown.record.actions
    for name in names or ():
        if name not in own:
            raise unknown("action of this run", name, own)
    return list(own if names is None else names)


def _pick_subjects(shown: _Shown, names: Sequence[str] | None, most: int) -> list[str]:
    """The run's subjects of these names or categories, in the order of `names`.

    `all` are all of them; None are at most `most`, as many of each category as possible and
    evenly spread over it.
    """
    own: list[str] = shown.record.subjects
    by_name = {fold(name): name for name in own}
    groups: dict[str, list[str]] = {}
    for subject in shown.suite.subjects:
        if subject.name in own:
            groups.setdefault(fold(subject.category), []).append(subject.name)
    if names is None:
        return _spread(own, list(groups.values()), most)
    picked: list[str] = []
    for name in names:
        word = fold(name)
        group = own if word == "all" else groups.get(word, [])
        if not group and word not in by_name:
            raise unknown("subject of this run", name, own)
        picked += [*group, *([by_name[word]] if word in by_name else [])]
    return list(dict.fromkeys(picked))


def _spread(own: Sequence[str], groups: Sequence[Sequence[str]], most: int) -> list[str]:
    if len(own) <= most or not groups:
        return list(own[:most])
    shares = [0] * len(groups)
    while sum(shares) < most and sum(shares) < sum(map(len, groups)):
        for place, group in enumerate(groups):
            if sum(shares) < most and shares[place] < len(group):
                shares[place] += 1
    chosen = {
        group[number * len(group) // share]
        for group, share in zip(groups, shares)
        for number in range(share)
    }
    return [name for name in own if name in chosen]


def _cell(
    canvas: Image.Image, shown: _Shown, action: str, subject: str, index: int, x: int, y: int
) -> None:
    """One generated image with its verdict: a green or red frame, and what is wrong in words."""
    draw = ImageDraw.Draw(canvas)
    row = shown.rows.get((action, subject, index))
    if row is None:
        draw.rectangle((x + FRAME, y + FRAME, x + FRAME + CELL - 1, y + FRAME + CELL - 1), EMPTY)
        draw.text((x + STEP // 2 - 4, y + CELL // 2), "not judged", FAINT, _font(14), anchor="mm")
        return
    right = bool(row["total_correct"])
    draw.rectangle(
        (x, y, x + CELL + 2 * FRAME - 1, y + CELL + 2 * FRAME - 1), RIGHT if right else WRONG
    )
    _paste(canvas, read_image(shown.root / str(row["image"])), x, y)
    if not right:
        missed = [what for what in ("action", "subject") if not row[f"{what}_correct"]]
        text = "neither" if len(missed) == 2 else f"not the {missed[0]}"
        middle = x + CELL // 2 + FRAME
        draw.text((middle, y + CELL + 2 * FRAME + 9), text, WRONG, _font(14), anchor="mm")


def _paste(canvas: Image.Image, image: Image.Image, x: int, y: int) -> None:
    scale = CELL / max(image.size)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    smooth = Image.Resampling.BICUBIC if scale > 1 else Image.Resampling.LANCZOS
    offset = (x + FRAME + (CELL - size[0]) // 2, y + FRAME + (CELL - size[1]) // 2)
    canvas.paste(image.convert("RGB").resize(size, smooth), offset)


def _wrap(text: str, width: int, size: int) -> list[str]:
    """Lines of text that fit a width in pixels, by the typeface's average letter."""
    return textwrap.wrap(text, max(8, round(width / (0.52 * size))))


def _header(
    draw: ImageDraw.ImageDraw, x: int, bottom: int, width: int, text: str, size: int = 16
) -> None:
    """A column's name above its pictures, on as many lines as it needs."""
    lines = "\n".join(_wrap(text, width, size))
    draw.multiline_text(
        (x + width // 2, bottom - 6), lines, INK, _font(size), anchor="md", align="center"
    )


def _row_label(draw: ImageDraw.ImageDraw, y: int, right: int, text: str, more: str = "") -> None:
    """A row's name, and fainter words under it, left of the pictures."""
    lines = textwrap.wrap(text, 15)
    faint = textwrap.wrap(more, 18)
    height = 22 * len(lines) + 17 * len(faint)
    at = y + FRAME + (CELL - height) // 2
    for line in lines:
        draw.text((right - 12, at), line, INK, _font(18), anchor="ra")
        at += 22
    for line in faint:
        draw.text((right - 12, at + 3), line, FAINT, _font(14), anchor="ra")
        at += 17


def _legend(draw: ImageDraw.ImageDraw, x: int, y: int, judges: Sequence[str], index: int) -> None:
    by = f"judge: {', '.join(judges)}" if judges else "not judged yet"
    for colour, text in (
        (RIGHT, "action and subject right"),
        (WRONG, "wrong, as said under the picture"),
    ):
        draw.rectangle((x, y, x + 17, y + 17), PAPER, colour, FRAME)
        draw.text((x + 26, y + 9), text, INK, _font(15), anchor="lm")
        x += 26 + round(draw.textlength(text, _font(15))) + 28
    draw.text(
        (x, y + 9), f"{by}; always image {index + 1} of a prompt", FAINT, _font(15), anchor="lm"
    )


def _font(size: int) -> Any:
    """Pillow's own typeface, so that pictures look the same on every machine."""
    return ImageFont.load_default(size)


def _save(canvas: Image.Image, out: Path) -> Path:
    with written(out) as temporary:
        canvas.save(temporary, format="PNG", optimize=True)
    return out
