"""Suites of the drawn world: what `drawn.json` says of one, and who draws it.

A drawn suite is its actions' poses and two numbers: which exemplars, and how many. Its exemplars
are drawn when they are first asked for. The drawing stands on a higher floor; it is found by its
entry point, as methods and judges are.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Self, cast

from actionbench.errors import UserError
from actionbench.files.atomic import write_text
from actionbench.progress import SILENT, Progress

if TYPE_CHECKING:
    from actionbench.files.models import ModelSource
    from actionbench.suite.suite import Suite

DRAWN_FILE = "drawn.json"
"""It marks a folder as a drawn suite's."""
FORMAT = 1
EXEMPLAR_SEED, EXEMPLARS = 0, 10
"""Which exemplars of an action there are, and how many, unless one asks for others."""
MOST_EXEMPLARS = 20
ENTRY_POINTS, WORLD = "actionbench.suites", "drawn"
"""Group and name of the entry point of the drawing."""

NOT_ACCEPTED = "the base model of the second world is not accepted yet"


@dataclass(frozen=True)
class DrawnAction:
    """An action, and the poses in which it may be held."""

    name: str
    description: str
    poses: tuple[Mapping[str, Any], ...] = field(repr=False)
    """Poses as JSON values (`actionbench.puppets.drawing.holding`), each as good as the others."""


@dataclass(frozen=True)
class Drawn:
    """All that a drawn suite is made of."""

    name: str
    title: str
    actions: tuple[DrawnAction, ...]
    seed: int | None = None
    """Of fresh actions; None if the actions have names of their own."""
    generator: int | None = None
    """Version of the generator of fresh actions."""
    exemplar_seed: int = EXEMPLAR_SEED
    exemplars: int = EXEMPLARS
    fingerprint: str = ""
    """Of the tables that were drawn; empty before."""

    def __post_init__(self) -> None:
        if not 1 <= self.exemplars <= MOST_EXEMPLARS:
            raise UserError(
                f"--exemplars {self.exemplars}: an action has 1 to {MOST_EXEMPLARS} exemplars"
            )
        if self.exemplar_seed < 0:
            raise UserError(f"--exemplar-seed {self.exemplar_seed}: give a number from 0 on")

    @classmethod
    def read(cls, file: Path) -> Self:
        """Read a `DRAWN_FILE`.

        Raises:
            UserError: if it is damaged, or of another format.
        """
        try:
            facts = json.loads(file.read_text("utf-8"))
            if facts.pop("format") != FORMAT:
                raise UserError(
                    f"{file} is of another format than this version's {FORMAT}: "
                    f"{rebuild(file.parent)}"
                )
            actions = tuple(
                DrawnAction(row["name"], row["description"], tuple(row["poses"]))
                for row in facts.pop("actions")
            )
            return cls(actions=actions, **facts)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise UserError(f"{file} is damaged ({error}): {rebuild(file.parent)}") from error

    def write(self, file: Path) -> Path:
        """Write it as `read` reads it."""
        return write_text(file, json.dumps({"format": FORMAT, **asdict(self)}, indent=1) + "\n")

    def with_exemplars(self, seed: int, count: int) -> Self:
        """Return the same suite with other exemplars, not drawn yet."""
        return replace(self, exemplar_seed=seed, exemplars=count, fingerprint="")


def rebuild(folder: Path) -> str:
    """Say how to make a drawn suite's folder again."""
    return f"`actionbench data build --actions N --seed S --out {folder}` draws it again"


class World(Protocol):
    """What the drawn world does for suites (`actionbench.puppets.suites`)."""

    def names(self) -> Sequence[str]:
        """Return the names of the suites that are drawn on first use."""

    def find(self, name: str) -> Suite | None:
        """Return the suite of a name; None if the drawn world has none of that name."""

    def suite_of(self, drawn: Drawn, folder: Path | None = None) -> Suite:
        """Return the suite in a folder of its own; in the user's cache folder without one."""

    def draw(self, suite: Suite, progress: Progress = SILENT) -> None:
        """Draw a suite's exemplars into its place."""


@lru_cache
def world() -> World:
    """Import the drawn world.

    Raises:
        UserError: if the installed metadata does not name it, as those of an earlier version do.
    """
    entries = list(entry_points(group=ENTRY_POINTS, name=WORLD))
    if not entries:
        raise UserError(
            f"the installed actionbench registers no '{WORLD}' in {ENTRY_POINTS}: install it again "
            "(in a checkout: pip install -e .)"
        )
    return cast(World, entries[0].load())


def redrawn(suite: Suite, seed: int, count: int) -> Suite:
    """Return a drawn suite with other exemplars.

    Raises:
        UserError: if the suite is not drawn, or the numbers are out of range.
    """
    if suite.drawn is None:
        raise UserError(
            f"the exemplars of '{suite.name}' are not drawn from a seed, so that there are no "
            "others: leave --exemplar-seed and --exemplars out, or take a drawn suite "
            f"({', '.join(world().names())})"
        )
    return world().suite_of(suite.drawn.with_exemplars(seed, count))


def base_model(suite: Suite) -> str:
    """Return a suite's own base model.

    Raises:
        UserError: while the second world has none.
    """
    if suite.drawn is not None and not Path(suite.model).exists():
        raise UserError(f"{NOT_ACCEPTED}: name one that fits '{suite.name}' with --model")
    return suite.model


def check_world(suite: Suite, source: ModelSource) -> None:
    """Refuse a base model of the first drawn world for a suite of the second.

    Raises:
        UserError: for such a model.
    """
    mark = source.path / "actionbench.json"
    if suite.drawn is None or source.preset != "puppet-diffusion" or not mark.is_file():
        return
    if "recipe_hash" not in json.loads(mark.read_text("utf-8")):
        raise UserError(
            f"{source.path} is the first world's base model, and '{suite.name}' is a suite of the "
            "second: name one of the second with --model"
        )
