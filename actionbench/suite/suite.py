"""Suites: which actions, subjects and exemplars are measured, how images are drawn, who judges."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TypeVar

from actionbench.errors import UserError, unknown
from actionbench.files.hashing import canonical_json
from actionbench.suite.items import (
    PROMPT,
    Action,
    ActionTask,
    Sampling,
    Subject,
    development_actions,
    paper_actions,
    paper_subjects,
)
from actionbench.suite.shipped import BASE_MODEL, DATASET, PHOTOS
from actionbench.suite.tables import EXEMPLARS, exemplars_fingerprint, read_exemplars
from actionbench.suite.yaml_file import JUDGE_SLOT, SUITE_FILE, Definition, read_definition

T = TypeVar("T")


@dataclass(frozen=True)
class Suite:
    name: str
    protocol: str
    """Name and version of the whole measurement, with `JUDGE_SLOT` where any judge may stand in
    it; see `protocol_of`. Boards never mix two without saying so."""
    title: str
    actions: tuple[Action, ...]
    subjects: tuple[Subject, ...]
    exemplar_file: Path
    """Parquet with the columns of the dataset's `exemplars` configuration."""
    model: str
    """Default backbone: a folder, a Hub id, or a name that `models.resolve_model` knows."""
    judge: str
    sampling: Sampling
    prompt: str = PROMPT
    file: Path | None = None
    """The definition beside the exemplars, which finds the suite again; None for those that are
    shipped with their exemplars."""

    @property
    def definition(self) -> Definition:
        """What a YAML file says of it."""
        return Definition(**{f.name: getattr(self, f.name) for f in fields(Definition)})

    def protocol_of(self, judge: str) -> str:
        """The protocol's name under a judge; one that it does not foresee is put before the
        version: `puppets-v1` judged by `clip` is `puppets-clip-v1`."""
        if JUDGE_SLOT in self.protocol:
            return self.protocol.replace(JUDGE_SLOT, judge)
        if judge == self.judge:
            return self.protocol
        name, dash, version = self.protocol.rpartition("-")
        return f"{name}-{judge}-{version}" if dash else f"{version}-{judge}"

    @cached_property
    def tasks(self) -> dict[str, ActionTask]:
        """The exemplars of each action, by the action's name."""
        exemplars = read_exemplars(self.exemplar_file, self._mend)
        missing = [a.name for a in self.actions if a.name not in exemplars]
        if missing:
            raise UserError(
                f"{self.exemplar_file} has no exemplars of {', '.join(missing)}: {self._mend}"
            )
        return {
            action.name: ActionTask(
                action, exemplars[action.name], exemplars_fingerprint(exemplars[action.name])
            )
            for action in self.actions
        }

    @property
    def _mend(self) -> str:
        """What puts the exemplars where they belong."""
        if self.file is None:
            return "`actionbench data build` draws it again"
        folder, name = self.file.parent, self.name if self.name in suites() else self.file
        if self.file.name != SUITE_FILE:  # a definition alone: its dataset is yet to be made
            return (
                f"`actionbench data import DIR --suite {name} --out {self.name}` makes a dataset "
                f"of photographs; then name that: --suite {self.name}"
            )
        return (
            f"`actionbench data import DIR --suite {name} --out {folder}` makes it of photographs "
            f"and `actionbench data pull REPO_ID --out {folder}` fetches one; a dataset that lies "
            "elsewhere is named as --suite FOLDER"
        )

    @cached_property
    def fingerprint(self) -> str:
        facts = [
            [self.name, self.protocol, self.sampling.steps, self.sampling.guidance_scale],
            [[a.name, a.description, self.tasks[a.name].fingerprint] for a in self.actions],
            [[s.name, s.phrase] for s in self.subjects],
            *self.prompt_facts,
        ]
        return hashlib.sha256(canonical_json(facts).encode()).hexdigest()[:16]

    @property
    def prompt_facts(self) -> list[str]:
        """The prompt's part in hashes: nothing where it is the usual one."""
        return [] if self.prompt == PROMPT else [self.prompt]

    def pick_actions(self, names: Iterable[str] | None) -> tuple[Action, ...]:
        """The named actions in the suite's order; all where `names` is None."""
        return _pick("action", {a.name: a for a in self.actions}, names)

    def pick_subjects(self, names: Iterable[str] | None) -> tuple[Subject, ...]:
        """The named subjects, or those of a category (`animal`), in the suite's order."""
        by_name = {s.name.lower(): s for s in self.subjects}
        wanted: list[str] = []
        for name in names or by_name:
            group = [key for key, s in by_name.items() if s.category.lower() == name.lower()]
            wanted.extend(group or [name.lower()])
        return _pick("subject", by_name, wanted)


def _pick(kind: str, by_name: Mapping[str, T], names: Iterable[str] | None) -> tuple[T, ...]:
    wanted = list(by_name if names is None else names)
    for name in wanted:
        if name not in by_name:
            raise unknown(kind, name, by_name)
    return tuple(value for key, value in by_name.items() if key in wanted)


_PUPPET_SAMPLING = Sampling(steps=16, guidance_scale=3.0)


@lru_cache
def suites() -> dict[str, Suite]:
    """The shipped suites by name. That of photographs takes its exemplars from the folder `photos`
    here, which need not exist."""

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
    """The suite that a YAML file defines, with the exemplars of a folder, which need not exist."""
    facts = vars(read_definition(definition))
    return Suite(**facts, exemplar_file=folder / EXEMPLARS, file=folder / SUITE_FILE)


def get_suite(name: str) -> Suite:
    """A suite by its name, by its YAML file, or by the folder of a dataset that carries one.

    Raises UserError where there is none; Problems for a definition with mistakes.
    """
    if name in suites():
        return suites()[name]
    path = Path(name).expanduser()
    if path.is_dir():
        if not (path / SUITE_FILE).exists():
            raise UserError(
                f"{path} holds no {SUITE_FILE}: `actionbench data import {path} --out FOLDER` "
                "makes a dataset of a folder of photographs"
            )
        path = path / SUITE_FILE
    elif not path.is_file():
        if len(path.parts) > 1 or path.suffix:
            raise UserError(f"no suite at {path}: neither a folder nor a YAML file is there")
        raise unknown("suite", name, [*suites(), "a folder or YAML file"])
    suite = replace(suite_from(path, path.parent), file=path)
    _check_name(suite)
    return suite


def _check_name(suite: Suite) -> None:
    """A shipped suite's name must mean that suite: boards and records tell it by the name."""
    shipped = suites().get(suite.name)
    if shipped is None:
        return
    for fact in ("actions", "subjects", "prompt", "protocol", "sampling"):
        if getattr(suite, fact) != getattr(shipped, fact):
            raise UserError(
                f"{suite.file}: the suite '{suite.name}' is shipped with other {fact}: "
                "give this one a name of its own"
            )
