"""Suites: which actions, subjects and exemplars are measured, how images are drawn, who judges."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TypeVar

import numpy as np
import pyarrow.parquet as pq
from PIL import Image

from actionbench.benchmark import (
    Action,
    ActionTask,
    Exemplar,
    Sampling,
    Subject,
    development_actions,
    paper_actions,
    paper_subjects,
)
from actionbench.errors import UserError, unknown
from actionbench.method import canonical_json

T = TypeVar("T")

PUPPETS = Path(__file__).parent / "puppets"


@dataclass(frozen=True)
class Suite:
    name: str
    protocol: str
    """Name and version of the whole measurement; boards never mix two without saying so."""
    title: str
    actions: tuple[Action, ...]
    subjects: tuple[Subject, ...]
    exemplar_file: Path
    """Parquet with the columns of the dataset's `exemplars` configuration."""
    model: str
    """Default backbone: a folder or Hub id."""
    judge: str
    sampling: Sampling

    @cached_property
    def tasks(self) -> dict[str, ActionTask]:
        """The exemplars of each action, by the action's name."""
        exemplars = read_exemplars(self.exemplar_file)
        missing = [a.name for a in self.actions if a.name not in exemplars]
        if missing:
            raise UserError(f"{self.exemplar_file} has no exemplars of {', '.join(missing)}")
        return {
            action.name: ActionTask(
                action, exemplars[action.name], _fingerprint(exemplars[action.name])
            )
            for action in self.actions
        }

    @cached_property
    def fingerprint(self) -> str:
        facts = [
            [self.name, self.protocol, self.sampling.steps, self.sampling.guidance_scale],
            [[a.name, a.description, self.tasks[a.name].fingerprint] for a in self.actions],
            [[s.name, s.phrase] for s in self.subjects],
        ]
        return hashlib.sha256(canonical_json(facts).encode()).hexdigest()[:16]

    def pick_actions(self, names: Iterable[str] | None) -> tuple[Action, ...]:
        """The named actions in the suite's order; all where `names` is None."""
        return _pick("action", {a.name: a for a in self.actions}, names)

    def pick_subjects(self, names: Iterable[str] | None) -> tuple[Subject, ...]:
        """The named subjects, or those of a category (`animal`), in the suite's order."""
        by_name = {s.name.lower(): s for s in self.subjects}
        wanted: list[str] = []
        for name in names or by_name:
            group = [key for key, s in by_name.items() if s.category == name.lower()]
            wanted.extend(group or [name.lower()])
        return _pick("subject", by_name, wanted)


def _pick(kind: str, by_name: Mapping[str, T], names: Iterable[str] | None) -> tuple[T, ...]:
    wanted = list(by_name if names is None else names)
    for name in wanted:
        if name not in by_name:
            raise unknown(kind, name, by_name)
    return tuple(value for key, value in by_name.items() if key in wanted)


def read_exemplars(path: Path) -> dict[str, tuple[Exemplar, ...]]:
    """All exemplars of a Parquet file by action. Raises UserError for a damaged file or image."""
    columns = ["id", "action", "image", "caption", "template", "keypoints"]
    try:
        rows = pq.read_table(path, columns=columns).to_pylist()
    except FileNotFoundError as error:
        raise UserError(f"{path} is missing: `actionbench data build` draws it again") from error
    except Exception as error:
        raise UserError(f"{path} cannot be read as exemplars ({error})") from error
    found: dict[str, list[Exemplar]] = {}
    for row in rows:
        try:
            image = Image.open(io.BytesIO(row["image"]["bytes"])).convert("RGB")
        except OSError as error:
            raise UserError(f"{path}: the image of {row['id']} is damaged ({error})") from error
        keypoints = np.asarray(row["keypoints"], dtype=np.float32)
        found.setdefault(row["action"], []).append(
            Exemplar(row["id"], image, row["caption"], row["template"], keypoints)
        )
    return {action: tuple(exemplars) for action, exemplars in found.items()}


def _fingerprint(exemplars: Iterable[Exemplar]) -> str:
    digest = hashlib.sha256()
    for exemplar in exemplars:
        digest.update(exemplar.image.tobytes())
        digest.update(f"{exemplar.image.size}|{exemplar.caption}|{exemplar.template}".encode())
        digest.update(exemplar.keypoints.tobytes())
    return digest.hexdigest()[:16]


_PUPPET_SAMPLING = Sampling(steps=16, guidance_scale=3.0)


@lru_cache
def suites() -> dict[str, Suite]:
    def puppets(name: str, title: str, actions: tuple[Action, ...], file: str) -> Suite:
        return Suite(
            name=name,
            protocol=f"{name}-v1",
            title=title,
            actions=actions,
            subjects=paper_subjects(),
            exemplar_file=PUPPETS / "dataset" / file,
            model=str(PUPPETS / "weights" / "puppet-diffusion"),
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
        )
    }


def get_suite(name: str) -> Suite:
    if name not in suites():
        raise unknown("suite", name, suites())
    return suites()[name]
