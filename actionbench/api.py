"""What the command line does, for notebooks and scripts: `run` and `report`.

    import actionbench as ab

    result = ab.run("adi", suite="puppets", actions=["sit"])
    result.accuracies["total"]
    ab.report("runs")

Options, defaults, errors and the store are the command's.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

from actionbench.errors import MethodError, UserError, unknown
from actionbench.registry import get_method, system_names
from actionbench.runs.campaign import execute_each, prepare, unwatched
from actionbench.runs.options import DEFAULTS, RunOptions
from actionbench.runs.plan import Plan
from actionbench.runs.record import RunRecord
from actionbench.runs.store import Store, read_image

if TYPE_CHECKING:
    import pandas as pd
    from PIL.Image import Image

    from evaluation.measures.accuracy import Share
    from leaderboards import Board
    from leaderboards.page.report import Html

EVERY = "all"
"""In place of a method's name: each that is registered and ranked."""


@dataclass(frozen=True)
class Result:
    """A stored run: its verdicts, accuracies and images.

    Printing it shows its accuracies; `show()` draws it.
    """

    run_id: str
    store: Store

    @property
    def folder(self) -> Path:
        """The folder of its record and verdicts."""
        return self.store.run_folder(self.run_id)

    @cached_property
    def record(self) -> RunRecord:
        """What was asked for, what made it and what it took."""
        return self.store.read_record(self.run_id)

    @cached_property
    def verdicts(self) -> pd.DataFrame:
        """One row per image; the columns are `actionbench.judge.VERDICT_COLUMNS`."""
        return self.store.read_verdicts(self.record)

    @cached_property
    def accuracies(self) -> dict[str, Share]:
        """Shares with 95% intervals: `action`, `subject`, `total` (both on one image), and two
        failures, `neglect` and `contamination`."""
        from evaluation.measures.accuracy import overall

        return overall(self.verdicts)

    @cached_property
    def images(self) -> Images:
        """The drawn images by (action, subject, index); each is read when it is asked for."""
        return Images(self.store, self.verdicts)

    def show(
        self,
        actions: Sequence[str] | None = None,
        subjects: Sequence[str] | None = None,
        suite: str | None = None,
    ) -> Image:
        """Draw the labelled grid that `actionbench show` writes: exemplars and generated images.

        Args:
            actions: the rows; by default all of the run.
            subjects: the columns: names, groups (`animal`) or `all`; by default a few of each
                group.
            suite: the dataset's place, if it was moved and the runs folder keeps no thumbnails.

        Raises:
            UserError: for an action or subject that the run does not have, or a missing image.
        """
        from evaluation.pictures import write_grid

        file = self.folder / "grid.png"
        return read_image(
            write_grid(
                self.store.root, self.run_id, file, actions=actions, subjects=subjects, suite=suite
            )
        )

    def __str__(self) -> str:
        shares = (f"{name} {share}" for name, share in self.accuracies.items())
        return f"{self.record.title} ({self.run_id}): {', '.join(shares)}"


class Images(Mapping[tuple[str, str, int], "Image"]):
    """A run's images by (action, subject, index): `images["sit", "panda", 0]` is one of them."""

    def __init__(self, store: Store, verdicts: pd.DataFrame) -> None:
        keys = zip(verdicts["action"], verdicts["subject"], verdicts["index"], strict=True)
        self._files = {
            (str(action), str(subject), int(index)): store.root / file
            for (action, subject, index), file in zip(keys, verdicts["image"], strict=True)
        }

    def __getitem__(self, key: tuple[str, str, int]) -> Image:
        return read_image(self._files[key])

    def __iter__(self) -> Iterator[tuple[str, str, int]]:
        return iter(self._files)

    def __len__(self) -> int:
        return len(self._files)


@overload
def run(
    method: str,
    *,
    settings: Mapping[str, Any] | None = ...,
    options: RunOptions = ...,
    progress: bool = ...,
    **changes: Any,
) -> Result: ...


@overload
def run(
    method: Sequence[str],
    *,
    settings: Mapping[str, Any] | None = ...,
    options: RunOptions = ...,
    progress: bool = ...,
    **changes: Any,
) -> list[Result]: ...


def run(
    method: str | Sequence[str],
    *,
    settings: Mapping[str, Any] | None = None,
    options: RunOptions = DEFAULTS,
    progress: bool = True,
    **changes: Any,
) -> Result | list[Result]:
    """Fit, draw and judge, as `actionbench run` does. What is stored already is not done again.

    Args:
        method: a registered name, or a list of names; `"all"` is every method that boards rank,
            under the profile `tuned` every one that a search was made for.
        settings: changes to the method's settings; only if there is one method.
        options: what else the run is made with.
        progress: show a table that fills in, or lines if the output is not a terminal.
        **changes: fields of `RunOptions` that differ from `options`: `suite="puppets-dev"`,
            `actions=["sit"]`, `images_per_pair=1`, `seed=1`, `device="cuda"` ...

    Returns:
        The stored run; for a list of names (or `"all"`), a list with one run for each.

    Raises:
        UserError: for a name, setting or option that does not exist, before anything starts.
        MethodError: if a method fails. The other methods of a list are run first and their runs
            are stored; the same call goes on from there.

    Example:
        >>> import actionbench as ab
        >>> result = ab.run("stable-diffusion", actions=["sit"], subjects=["panda"])
        >>> result.verdicts[["action", "subject", "total_correct"]]
    """
    alone = isinstance(method, str) and method != EVERY
    names = _names(method)
    if settings and len(names) > 1:
        raise UserError(
            f"settings are for one method, not for {', '.join(names)}: call run for each"
        )
    words = [f"{name}={_word(value)}" for name, value in (settings or {}).items()]
    kinds = [get_method(name) for name in names]
    setup = prepare(_changed(options, changes))
    if method == EVERY or method == [EVERY]:
        kinds = [get_method(name) for name in setup.with_profile(names)]
    plans = [setup.plan(kind, words) for kind in kinds]
    outcomes = list(execute_each(plans, _view if progress else unwatched))
    for outcome in outcomes:
        if outcome.trace:
            raise RuntimeError(outcome.trace)
        if outcome.failure:
            raise MethodError(outcome.failure)
    results = [Result(outcome.plan.run_id, outcome.plan.store) for outcome in outcomes]
    return results[0] if alone else results


def report(
    runs: Path | str = DEFAULTS.runs,
    *,
    suite: str | None = None,
    reference: str | None = None,
    out: Path | str | None = None,
    html: Html | Literal["none"] = "auto",
) -> Board:
    """Print the board of the stored runs and write it, as `actionbench report` does.

    Args:
        runs: the folder of the stored runs.
        suite: show only runs on this suite.
        reference: show the rows of a kept measurement as well (`puppets-v1`, or a folder).
        out: the folder for page, Markdown, LaTeX, CSV, JSON and plots; by default `report` in the
            runs folder.
        html: the page, `index.html`: one `file`, a file and a `folder` of images, `none`, or
            `auto`, as the images' number and size suit.

    Returns:
        The board: its `groups` hold the rows with shares, intervals and comparisons.

    Raises:
        UserError: if there are no runs, or a file is damaged.

    Example:
        >>> board = ab.report("runs", reference="puppets-v1")
        >>> [(row.title, row.shares["total"]) for group in board.groups for row in group.rows]
    """
    from actionbench.commands.report import make_report

    return make_report(Path(runs), suite, reference, Path(out) if out else None, html)


def _names(method: str | Sequence[str]) -> list[str]:
    names = [method] if isinstance(method, str) else list(method)
    return system_names() if names == [EVERY] else list(dict.fromkeys(names))


def _word(value: Any) -> str:
    """Return a setting's value as `--set` takes it."""
    if isinstance(value, list | tuple):
        return ",".join(map(_word, value))
    if value is None or isinstance(value, bool):
        return str(value).lower()
    return str(value)


def _changed(options: RunOptions, changes: Mapping[str, Any]) -> RunOptions:
    valid = [field.name for field in fields(RunOptions)]
    for name in changes:
        if name not in valid:
            raise unknown("option", name, valid)
    return replace(options, **changes)


def _view(plan: Plan) -> Any:
    from actionbench.commands.live import RunView

    return RunView(plan)


def _signature() -> inspect.Signature:
    """Return `run`'s signature with every option by name and default, for help and completion."""
    own = inspect.signature(run)
    named = [p for p in own.parameters.values() if p.kind is not inspect.Parameter.VAR_KEYWORD]
    options = [
        inspect.Parameter(
            field.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=getattr(DEFAULTS, field.name),
            annotation=field.type,
        )
        for field in fields(RunOptions)
    ]
    return own.replace(parameters=[*named, *options])


run.__signature__ = _signature()  # type: ignore[attr-defined]
