"""The acceptance of the drawn world's models, in one table: asked, measured, kept or failed.

`actionbench puppets check` measures it. No row knows a method. Pictures and finished rows are kept
in the output folder, each under a key of all that it depends on, so that a check that was killed
goes on.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from actionbench.diffusion.backbone import Backbone
from actionbench.errors import UserError
from actionbench.files.atomic import write_text
from actionbench.files.hashing import make_key, sha256_of
from actionbench.files.models import ControlNetSource, resolve_controlnet, resolve_model
from actionbench.progress import SILENT, Progress
from actionbench.puppets import suites
from actionbench.puppets.training.encoder import Encoder
from actionbench.puppets.training.look import write_rows
from actionbench.puppets.training.readers import load_autoencoder
from actionbench.puppets.training.weights import weights_key
from actionbench.suite.items import slug
from actionbench.suite.shipped import (
    BASE_MODEL,
    CLAIMS,
    CONTROLNET,
    ENCODER,
    FROZEN,
    SECOND_MODEL,
    WEIGHTS,
)
from actionbench.suite.suite import get_suite
from evaluation.judges import acceptance, eye, frechet
from evaluation.judges.acceptance import FOLDERS, DrawingJudge, Painter, Row

VERSION = 3
"""Raise it when a row is measured otherwise: kept rows are then measured again."""
LEAST, PICTURES = 800, 5000
"""Pictures a row, and for Fréchet distances, that the acceptance asks for."""
SHIPPED_WITHIN = (0.75, 0.93)
"""The share of subjects with which the closest base model is shipped, if 80 to 90% is missed."""
SUBJECT = "text alone, subject, development"
FIRST_WORLD = {
    "text alone, action, development": "text alone, action, puppets-dev",
    "text alone, subject, development": "text alone, subject, puppets-dev",
    "text alone, action, the eight": "text alone, action, puppets",
    "text alone, subject, the eight": "text alone, subject, puppets",
    "judge, subject, plain": "judge, subject, plain",
    "judge, subject, round trip": "judge, subject, round trip",
    "base, subject": "base, subject",
    "base, pose": "base, pose",
}
"""Rows that the first world's gates have too, under their names there."""


@dataclass(frozen=True)
class Choices:
    """What is checked, and how thoroughly."""

    out: Path
    """Pictures, finished rows, contact sheets, `gates.json`."""
    model: str | None = None
    """The base model's pipeline; its ControlNet lies beside it. Without one, and without the
    shipped one, the judge's rows alone are measured."""
    vae: Path | None = None
    """An autoencoder for round trips, if there is no pipeline yet."""
    readers: Path | None = None
    """The folder of the judge's readers; None: the shipped ones."""
    threshold: float | None = None
    """The judge's; None: its own."""
    n: int = LEAST
    pictures: int = PICTURES
    first: Path = BASE_MODEL
    """The first world's base model, for the Fréchet distance beside."""
    labels: Path | None = None
    """The labels by eye; None: `labels.csv` in `out`."""
    skip_judge: bool = False
    device: str = "cpu"


@dataclass
class Check:
    """One check in its output folder."""

    choices: Choices
    progress: Progress = SILENT

    @cached_property
    def judge(self) -> DrawingJudge:
        chosen, changes = self.choices, {}
        if chosen.readers:
            changes = {name: str(chosen.readers / folder) for name, folder in FOLDERS.items()}
        threshold = {} if chosen.threshold is None else {"action_threshold": chosen.threshold}
        return DrawingJudge.load(chosen.device, **changes, **threshold)

    @cached_property
    def painter(self) -> Painter | None:
        """None without a base model."""
        if self.choices.model is None and not SECOND_MODEL.exists():
            return None
        return self._painter(self.choices.model or str(SECOND_MODEL))

    def _painter(self, model: str) -> Painter:
        backbone = Backbone.load(resolve_model(model, self.progress), self.choices.device)
        keep = self.choices.out / "pictures"
        return Painter(backbone, self.progress, acceptance.SAMPLING, keep)

    @cached_property
    def controlnet(self) -> ControlNetSource | None:
        """The ControlNet beside the base model; None if there is none."""
        model = self.choices.model or str(SECOND_MODEL)
        beside = resolve_model(model).path.parent / CONTROLNET
        return resolve_controlnet(str(beside)) if beside.exists() else None

    def rows(self) -> list[Row]:
        """Measure all rows, or take those that were measured before."""
        chosen, judge = self.choices, self.judge
        rows: list[Row] = []
        if not chosen.skip_judge:
            rows += self._judge_rows()
        if self.painter is None:
            return rows
        painter, n = self.painter, chosen.n
        of_both = (painter.backbone.fingerprint, judge.fingerprint, n)
        for name, make in (
            ("text alone", acceptance.text_alone),
            ("known poses", acceptance.known_in_known),
            ("free poses", acceptance.free_poses),
        ):
            rows += self._kept(name, of_both, lambda make=make: make(judge, painter, n))  # type: ignore[misc]
        if self.controlnet is not None:
            folder = self.controlnet.path
            rows += self._kept(
                "ControlNet",
                (*of_both, self.controlnet.fingerprint),
                lambda: acceptance.controlled(judge, painter, folder, n),
            )
        return rows + self._picture_rows(painter) + self._eye_rows(painter)

    def _judge_rows(self) -> list[Row]:
        judge = self.judge
        vae = load_autoencoder(self.choices.vae)
        if self.painter is not None:
            vae = self.painter.backbone.pipeline.vae
        facts = (judge.fingerprint, weights_key(vae) if vae is not None else "")
        return [
            *self._kept(
                "judge, actions", facts,
                lambda: acceptance.action_rows(judge, acceptance.practice_trial(), vae),
            ),
            *self._kept(
                "judge, subjects", facts, lambda: acceptance.subject_rows(judge, vae=vae)
            ),
            *self._kept(
                "bounds", (judge.fingerprint, self.choices.n),
                lambda: acceptance.bounds(judge, self.choices.n),
            ),
        ]  # fmt: skip

    def _picture_rows(self, painter: Painter) -> list[Row]:
        """Fréchet distances of both worlds' models to their drawings."""
        count, encoder = self.choices.pictures, Encoder.load(ENCODER, self.choices.device)
        facts = (sha256_of(ENCODER / "model.safetensors"), count)
        second = self._kept(
            "Fréchet, second", (painter.backbone.fingerprint, *facts),
            lambda: frechet.world_rows(encoder, painter, frechet.SECOND, count),
        )  # fmt: skip
        first: list[Row] = []
        if self.choices.first.exists():
            source = resolve_model(str(self.choices.first), self.progress)
            first = self._kept(
                "Fréchet, first", (source.fingerprint, *facts),
                lambda: frechet.world_rows(
                    encoder, self._painter(str(self.choices.first)), frechet.FIRST, count
                ),
            )  # fmt: skip
        return [*second, *first, frechet.ratio_row(first[0] if first else None, second[0])]

    def _eye_rows(self, painter: Painter) -> list[Row]:
        """Write the sheet and the form, or compare the labels with the judge's verdicts."""
        every, pairs = acceptance.by_text_alone(painter, self.choices.n)
        picked = eye.chosen(len(every))
        images, asked = every[picked], [pairs[i] for i in picked]
        file = self.choices.labels or self.choices.out / "labels.csv"
        eye.write_form(images, asked, file)
        labels = eye.read_form(file)
        if labels is None:
            eye.write_sheets(images, asked, self.choices.out / "labels")
            acceptance.write_reference(self.choices.out / "labels" / "actions.png")
            what = f"not labelled yet: look at {self.choices.out / 'labels'}, fill in {file}"
            return [
                Row(f"labels by eye, {kind}", what, 0, 0.0, 0.0, 1.0, at_most=0.05)
                for kind in ("action", "subject")
            ]
        verdicts = acceptance.answers(self.judge, images, asked)
        what = "the judge says otherwise"
        return [
            acceptance.row("labels by eye, action", what, verdicts.action != labels[0], None, 0.05),
            acceptance.row(
                "labels by eye, subject", what, verdicts.subject != labels[1], None, 0.05
            ),
        ]

    def _kept(self, name: str, facts: Sequence[Any], make: Callable[[], list[Row]]) -> list[Row]:
        """Rows from their file, or measured and kept there with their contact sheets."""
        key = make_key(VERSION, name, *facts)[:8]
        file = self.choices.out / "rows" / f"{slug(name)}-{key}.json"
        if file.exists():
            return [Row(**row) for row in json.loads(file.read_text("utf-8"))]
        rows = make()
        if self.painter is not None:
            write_sheets(self.painter.sheets, self.choices.out)
        write_text(file, json.dumps([asdict(row) for row in rows], indent=1) + "\n")
        return rows

    def fingerprints(self) -> dict[str, str]:
        """The models that were measured, by name."""
        found = {
            "keypoints": self.judge.keypoints.fingerprint,
            "subjects": self.judge.subjects_fingerprint,
        }
        if self.painter is not None:
            found["puppet-diffusion"] = self.painter.backbone.fingerprint
            if self.controlnet is not None:
                found[CONTROLNET] = self.controlnet.fingerprint
        return found

    def write(self, rows: Sequence[Row]) -> Path:
        """Write the table with what was measured as `gates.json`."""
        table = [
            {**asdict(r), "asked": asked(r), "passed": r.passed, "first world": first_world(r)}
            for r in rows
        ]
        facts = {"models": self.fingerprints(), "threshold": self.judge.threshold, "gates": table}
        return write_text(
            self.choices.out / "gates.json", json.dumps(facts, indent=1, ensure_ascii=False) + "\n"
        )

    def freeze(self, rows: Sequence[Row]) -> Path:
        """Write the fingerprints of accepted models, from which the test suite's seed is computed.

        Raises:
            UserError: if a row failed, or was measured on too few pictures.
        """
        if self.painter is None or self.controlnet is None:
            raise UserError(
                "there is no base model with a ControlNet beside it to freeze: name it with --model"
            )
        if self.choices.n < LEAST or self.choices.pictures < PICTURES:
            raise UserError(
                f"models are frozen by at least {LEAST} pictures a row and {PICTURES:,} for "
                "Fréchet distances: give --n and --pictures no less"
            )
        if failed := [row.name for row in rows if row.passed is False and not _shipped(row)]:
            raise UserError(
                f"not accepted ({'; '.join(failed)}): mend what failed and check it again"
            )
        facts: dict[str, Any] = {"models": self.fingerprints(), "suites": {}}
        write_text(FROZEN, json.dumps(facts, indent=1) + "\n")
        named = [suites.EIGHT, suites.DEV]
        for name in [*named, *([f"{suites.FRESH}{suites.USUAL}"] if CLAIMS.exists() else [])]:
            suite = get_suite(name)
            suite.make(self.progress)
            facts["suites"][name] = suites.fingerprint(suite.exemplar_file.parent)
        return write_text(FROZEN, json.dumps(facts, indent=1) + "\n")


def _shipped(row: Row) -> bool:
    """Whether a failed row is the one that may be missed a little."""
    return row.name == SUBJECT and SHIPPED_WITHIN[0] <= row.share <= SHIPPED_WITHIN[1]


def write_sheets(sheets: Mapping[str, np.ndarray], out: Path) -> None:
    """Write a contact sheet of each kind of picture."""
    for name, images in sheets.items():
        across = 12
        count = min(len(images), 72) // across * across
        if count:
            lines = list(images[:count].reshape(-1, across, *images.shape[1:]))
            write_rows(lines, out / f"{slug(name)}.png", zoom=2)


# --- the table ------------------------------------------------------------------------------------

COLUMNS = ("gate", "what", "n", "asked", "measured", "95% interval", "first world", "")
STATES = {True: "kept", False: "failed", None: ""}


def asked(row: Row) -> str:
    """What is asked of a row, in words."""
    low, high = (None if v is None else _figure(row, v) for v in (row.at_least, row.at_most))
    if low and high:
        return f"{low} to {high}"
    return f"at least {low}" if low else f"at most {high}" if high else ""


def _figure(row: Row, value: float) -> str:
    return f"{100 * value:.4g}%" if row.percent else f"{value:.3g}"


def cells(row: Row) -> tuple[str, ...]:
    """A row's texts under `COLUMNS`."""
    if not row.n:
        return (row.name, row.what, "0", asked(row), "nothing", "", "", STATES[row.passed])
    measured = f"{100 * row.share:.1f}%" if row.percent else f"{row.share:.3g}"
    interval = f"{100 * row.low:.1f} to {100 * row.high:.1f}" if row.percent else ""
    before = first_world(row)
    return (
        *(row.name, row.what, f"{row.n:,}", asked(row), measured, interval),
        *("" if before is None else f"{100 * before:.1f}%", STATES[row.passed]),
    )


def first_world(row: Row) -> float | None:
    """The share that the first world's gates have of the same; None if they have none."""
    gates = WEIGHTS / "gates" / "gates.json"
    if row.name not in FIRST_WORLD or not gates.exists():
        return None
    shares = {g["name"]: g["accuracy"] for g in json.loads(gates.read_text("utf-8"))["gates"]}
    found: float | None = shares.get(FIRST_WORLD[row.name])
    return found
