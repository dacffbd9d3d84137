"""Suites: which actions, subjects and exemplars are measured, how images are drawn and judged."""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TypeVar

from actionbench.errors import UserError, unknown
from actionbench.files.hashing import canonical_json
from actionbench.progress import SILENT, Progress
from actionbench.suite.drawn import DRAWN_FILE, Drawn, rebuild, world
from actionbench.suite.items import (
    PROMPT,
    Action,
    ActionTask,
    Sampling,
    Subject,
    development_actions,
    fold,
    paper_actions,
    paper_subjects,
)
from actionbench.suite.shipped import BASE_MODEL, DATASET, PHOTOS
from actionbench.suite.tables import EXEMPLARS, exemplars_fingerprint, read_exemplars
from actionbench.suite.yaml_file import JUDGE_SLOT, SUITE_FILE, Definition, read_definition

T = TypeVar("T", Action, Subject)


@dataclass(frozen=True, kw_only=True)
class Suite(Definition):
    """What is measured, and how: actions, subjects, exemplars, drawing and judging.

    Get one with `get_suite`; write your own as a YAML file.

    Example:
        >>> suite = ab.get_suite("puppets")
        >>> [action.name for action in suite.actions]
        >>> suite.pick_subjects(["animal"])
        >>> suite.tasks["sit"].exemplars[0].image
    """

    exemplar_file: Path
    """Parquet with the columns of the dataset's `exemplars` configuration."""
    file: Path | None = None
    """The definition beside the exemplars, from which a run's record loads the suite again; None
    for the suites that have a name of this project's."""
    drawn: Drawn | None = None
    """What a suite of the drawn world is made of; None for others."""

    def protocol_of(self, judge: str) -> str:
        """Return the protocol's name under a judge.

        If the protocol does not provide for the judge, its name is put before the version:
        `puppets-v1` judged by `clip` is `puppets-clip-v1`.
        """
        if JUDGE_SLOT in self.protocol:
            return self.protocol.replace(JUDGE_SLOT, judge)
        if judge == self.judge:
            return self.protocol
        name, dash, version = self.protocol.rpartition("-")
        return f"{name}-{judge}-{version}" if dash else f"{version}-{judge}"

    @cached_property
    def tasks(self) -> dict[str, ActionTask]:
        """The actions with their exemplars, by the action's name.

        Raises:
            UserError: if exemplars are missing or damaged; it says how to get them.
        """
        self.make()
        exemplars = read_exemplars(self.exemplar_file, self._fix)
        missing = [a.name for a in self.actions if a.name not in exemplars]
        if missing:
            raise UserError(
                f"{self.exemplar_file} has no exemplars of {', '.join(missing)}: {self._fix}"
            )
        poses = {action.name: action.poses for action in self.drawn.actions} if self.drawn else {}
        return {
            action.name: ActionTask(
                action,
                exemplars[action.name],
                exemplars_fingerprint(exemplars[action.name]),
                poses.get(action.name, ()),
            )
            for action in self.actions
        }

    def make(self, progress: Progress = SILENT) -> None:
        """Draw the exemplars of a suite that is drawn on first use, if they are not there.

        Raises:
            UserError: if they cannot be written, or come out otherwise than they were measured.
        """
        if self.drawn and self.file is None and not self.exemplar_file.exists():
            world().draw(self, progress)

    @property
    def _fix(self) -> str:
        """How to put the exemplars where they belong."""
        if self.drawn:
            drawn_in = self.exemplar_file.parent
            return rebuild(drawn_in) if self.file else f"remove {drawn_in}, and it is drawn again"
        if self.file is None:
            return "`actionbench data build` draws it again"
        folder = shlex.quote(str(self.file.parent))
        name = shlex.quote(self.name if self.name in suites() else str(self.file))
        if self.file.name != SUITE_FILE:  # only a definition: its dataset is not made yet
            own = shlex.quote(self.name)
            return (
                f"`actionbench data import DIR --suite {name} --out {own}` makes a dataset "
                f"from photographs; then pass --suite {own}"
            )
        return (
            f"`actionbench data import DIR --suite {name} --out {folder}` makes it from "
            f"photographs and `actionbench data pull REPO_ID --out {folder}` fetches one; if the "
            "dataset is elsewhere, pass --suite FOLDER"
        )

    @cached_property
    def fingerprint(self) -> str:
        """The hash of what is measured and how it is drawn, exemplars included."""
        facts = [
            [self.name, self.protocol, self.sampling.steps, self.sampling.guidance_scale],
            [[a.name, a.description, self.tasks[a.name].fingerprint] for a in self.actions],
            [[s.name, s.phrase] for s in self.subjects],
            *self.prompt_facts,
        ]
        return hashlib.sha256(canonical_json(facts).encode()).hexdigest()[:16]

    @property
    def prompt_facts(self) -> list[str]:
        """The prompts' part in hashes: nothing if they are the usual ones."""
        negative = self.sampling.negative_prompt
        return [
            *([] if self.prompt == PROMPT else [self.prompt]),
            *([f"negative: {negative}"] if negative else []),
        ]

    def pick_actions(self, names: Iterable[str] | None) -> tuple[Action, ...]:
        """Return the named actions in the suite's order; all if `names` is None.

        Raises:
            UserError: for a name that the suite does not have.
        """
        return _pick("action", self.actions, names, {})

    def pick_subjects(self, names: Iterable[str] | None) -> tuple[Subject, ...]:
        """Return the named subjects in the suite's order; all if `names` is None.

        Args:
            names: names of subjects, or of categories (`animal`), in any case. A word that is both
                means all of them.

        Raises:
            UserError: for a name that the suite does not have.
        """
        groups: dict[str, list[str]] = {}
        for subject in self.subjects:
            groups.setdefault(fold(subject.category), []).append(subject.name)
        return _pick("subject", self.subjects, names, groups)


def _pick(
    kind: str, every: Sequence[T], names: Iterable[str] | None, groups: Mapping[str, Sequence[str]]
) -> tuple[T, ...]:
    if names is None:
        return tuple(every)
    own = {fold(one.name): one.name for one in every}
    wanted: set[str] = set()
    for name in names:
        word = fold(name)
        if word not in own and word not in groups:
            raise unknown(kind, name, own.values())
        wanted.update(groups.get(word, ()), [own[word]] if word in own else ())
    return tuple(one for one in every if one.name in wanted)


_PUPPET_SAMPLING = Sampling(steps=16, guidance_scale=3.0)


@lru_cache
def suites() -> dict[str, Suite]:
    """Return the shipped suites by name.

    The suite of photographs takes its exemplars from `photos` in the current folder, which need not
    exist.
    """

    def puppets(name: str, title: str, actions: tuple[Action, ...], file: str) -> Suite:
        return Suite(
            name=name,
            protocol=f"{name}-v1",
            title=title,
            actions=actions,
            subjects=paper_subjects(),
            exemplar_file=DATASET / file,
            model=str(BASE_MODEL),
            judge="puppet",
            sampling=_PUPPET_SAMPLING,
        )

    return {
        suite.name: suite
        for suite in (
            puppets("puppets", "Puppets: the eight actions", paper_actions(), "exemplars.parquet"),
            puppets(
                "puppets-dev",
                "Puppets: development actions, for tuning",
                development_actions(),
                "dev.parquet",
            ),
            suite_from(PHOTOS, Path("photos")),
        )
    }


def suite_from(definition: Path, folder: Path) -> Suite:
    """Return the suite of a YAML file, with its exemplars in `folder`, which need not exist."""
    facts = vars(read_definition(definition))
    return Suite(**facts, exemplar_file=folder / EXEMPLARS, file=folder / SUITE_FILE)


def get_suite(name: str) -> Suite:
    """Return a suite by its name, its YAML file, or the folder of its dataset.

    Args:
        name: a shipped suite (`puppets`, `puppets-dev`, `photos`), one that is drawn on first use
            (`puppets-v2-dev`, `puppets-48`), a path to a YAML file, or a folder as `actionbench
            data import` (with a `suite.yaml`) or `data build` (with a `drawn.json`) makes it.

    Returns:
        The suite. Its exemplars are read when they are first asked for.

    Raises:
        UserError: if there is no such suite.
        Problems: if the definition has mistakes; a UserError with a line for each.

    Example:
        >>> suite = ab.get_suite("puppets")
        >>> own = ab.get_suite("my-photos/suite.yaml")
    """
    if name in suites():
        return suites()[name]
    if drawn := world().find(name):
        return drawn
    path = Path(name).expanduser()
    if (path / DRAWN_FILE).is_file():
        path = path / DRAWN_FILE
    if path.name == DRAWN_FILE and path.is_file():
        return world().suite_of(Drawn.read(path), path.parent.resolve())
    if path.is_dir():
        if not (path / SUITE_FILE).exists():
            raise UserError(
                f"{path} holds no {SUITE_FILE}: `actionbench data import {path} --out FOLDER` "
                "makes a dataset from a folder of photographs"
            )
        path = path / SUITE_FILE
    elif not path.is_file():
        if len(path.parts) > 1 or path.suffix:
            raise UserError(f"no suite at {path}: there is neither a folder nor a YAML file")
        raise unknown("suite", name, [*suites(), *world().names(), "a folder or YAML file"])
    suite = replace(suite_from(path, path.parent), file=path)
    _check_name(suite)
    return suite


def _check_name(suite: Suite) -> None:
    """Refuse another suite under a shipped suite's name: boards and records go by the name."""
    if suite.name in world().names():
        raise UserError(
            f"{suite.file}: '{suite.name}' is the name of a suite that is drawn here: "
            "give this one a name of its own"
        )
    shipped = suites().get(suite.name)
    if shipped is None:
        return
    for fact in ("actions", "subjects", "prompt", "protocol", "sampling"):
        if getattr(suite, fact) != getattr(shipped, fact):
            raise UserError(
                f"{suite.file}: the suite '{suite.name}' is shipped with other {fact}: "
                "give this one a name of its own"
            )
