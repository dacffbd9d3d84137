"""The puppets' gates: is the judge right, does the base model know what it should, and does its
ControlNet steer it?

Every gate is measured on fresh seeds, stored as JSON beside the weights, with confusion matrices.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from actionbench.diffusion.control import Control, load_controlnet
from actionbench.files.models import resolve_controlnet, resolve_model
from actionbench.progress import SILENT, Progress
from actionbench.suite.items import NONE, Action, Item, Subject, paper_actions, paper_subjects
from actionbench.suite.shipped import CONTROLNET, JUDGE
from evaluation.judges.puppet import Reader, round_trip
from evaluation.measures.accuracy import wilson
from evaluation.pictures import confusion_matrix_png

if TYPE_CHECKING:
    from PIL.Image import Image

    from actionbench.diffusion.backbone import Backbone

SEED = 90_000
"""Fresh: no training, exemplar or run uses it."""


@dataclass(frozen=True)
class Gate:
    name: str
    what: str
    n: int
    accuracy: float
    low: float
    high: float
    """95% Wilson interval."""
    at_least: float | None
    at_most: float | None

    @property
    def passed(self) -> bool | None:
        """None if the figure is only reported."""
        if self.at_least is None and self.at_most is None:
            return None
        over = self.at_least is None or self.accuracy >= self.at_least
        return over and (self.at_most is None or self.accuracy <= self.at_most)


def _gate(
    name: str,
    what: str,
    right: Sequence[bool] | np.ndarray,
    at_least: float | None = None,
    at_most: float | None = None,
) -> Gate:
    measured = wilson(int(np.sum(right)), len(right))
    return Gate(
        name, what, len(right), measured.value, measured.low, measured.high, at_least, at_most
    )


def run_gates(
    out: Path, model: str, device: str = "cpu", n: int = 400, progress: Progress = SILENT
) -> list[Gate]:
    """Measure all gates, each on at least `n` images, and write `gates.json` and the matrices
    into `out`. The ControlNet's are measured if one lies in the folder beside the model's."""
    from actionbench.diffusion.backbone import Backbone
    from actionbench.suite.suite import get_suite

    source = resolve_model(model)
    backbone = Backbone.load(source, device)
    backbone.sampling = get_suite("puppets").sampling
    reader = Reader.load(JUDGE, device)
    out.mkdir(parents=True, exist_ok=True)
    gates = _judge_gates(reader, backbone, out, n, progress)
    gates += _known_gates(reader, backbone, out, n, progress)
    gates += _text_gates(reader, backbone, n, progress)
    controlnet = source.path.parent / CONTROLNET
    if controlnet.exists():
        gates += _control_gates(reader, backbone, controlnet, out, n, progress)
    facts = {
        "model": backbone.fingerprint,
        "gates": [{**asdict(g), "passed": g.passed} for g in gates],
    }
    (out / "gates.json").write_text(json.dumps(facts, indent=1) + "\n", "utf-8")
    return gates


def _judge_gates(
    reader: Reader, backbone: Backbone, out: Path, n: int, progress: Progress
) -> list[Gate]:
    """Held-out drawings, plain and after the autoencoder's round trip."""
    from actionbench.puppets.corpus import draw_many

    progress.update(0, 2, "held-out drawings")
    images, _, rows = draw_many("judging", (SEED,), max(n, 2000))
    eight = [a.name for a in paper_actions()]
    truth = [row["pose"] if row["pose"] in eight else NONE for row in rows]
    who = [row["subject"] for row in rows]
    gates = []
    seen: dict[str, tuple[list[str], list[str]]] = {}
    trips = round_trip(backbone.pipeline.vae, images, 0.0, SEED)
    for name, pixels in (("plain", images), ("round trip", trips)):
        poses, subjects = reader.read_pixels(pixels)
        labels = [reader.poses[i] for i in poses.argmax(1)]
        seen[name] = (
            [label if label in eight else NONE for label in labels],
            [reader.subjects[i] for i in subjects.argmax(1)],
        )
        least = 0.97 if name == "plain" else 0.95
        words = "held-out drawings" + (", autoencoder round trip" if name != "plain" else "")
        for kind, answers, right in (
            ("action", seen[name][0], truth),
            ("subject", seen[name][1], who),
        ):
            hits = np.array(answers) == np.array(right)
            gates.append(_gate(f"judge, {kind}, {name}", words, hits, least))
    progress.update(1, 2, "held-out drawings")
    confusion_matrix_png(
        truth, seen["plain"][0], [*eight, NONE], out / "judge-action.png", "Judge: action"
    )
    names = [*(s.name for s in paper_subjects()), NONE]
    confusion_matrix_png(who, seen["plain"][1], names, out / "judge-subject.png", "Judge: subject")
    progress.update(2, 2, "held-out drawings")
    return gates


def _draw(
    backbone: Backbone,
    prompts: list[str],
    first_seed: int,
    progress: Progress,
    what: str,
    control: Control | None = None,
) -> list[Image]:
    seeds = list(range(first_seed, first_seed + len(prompts)))
    images = []
    for number, image in enumerate(backbone.generate(prompts, seeds, control=control), 1):
        images.append(image)
        progress.update(number, len(prompts), what)
    return images


@dataclass(frozen=True)
class Answers:
    truth: list[str]
    seen: list[str]

    @property
    def hits(self) -> np.ndarray:
        same: np.ndarray = np.array(self.truth) == np.array(self.seen)
        return same


def known_poses(
    reader: Reader, backbone: Backbone, n: int, progress: Progress = SILENT
) -> tuple[Answers, Answers]:
    """Known subjects in known poses, by their names: what the judge reads as pose and subject."""
    from actionbench.puppets.pose import KNOWN

    pairs = [(subject, pose) for subject in paper_subjects() for pose in KNOWN]
    pairs *= -(-n // len(pairs))
    prompts = [f"{subject.phrase} {KNOWN[pose][0]}" for subject, pose in pairs]
    images = _draw(backbone, prompts, SEED, progress, "known subjects in known poses")
    poses, subjects = reader.read(images)
    return (
        Answers([pose for _, pose in pairs], [reader.poses[i] for i in poses.argmax(1)]),
        Answers([s.name for s, _ in pairs], [reader.subjects[i] for i in subjects.argmax(1)]),
    )


def described_people(
    reader: Reader, backbone: Backbone, n: int, progress: Progress = SILENT
) -> Answers:
    """Draw people described by their looks ("a person with red hair, ...") in known poses: what
    the judge reads as pose. An exemplar's caption is like this: a word must act behind many
    others too."""
    from actionbench.puppets.looks import random_person
    from actionbench.puppets.pose import KNOWN

    rng = np.random.default_rng(SEED)
    poses = [*KNOWN] * -(-n // len(KNOWN))
    prompts = [f"{random_person(rng)[0]} {KNOWN[pose][0]}" for pose in poses]
    images = _draw(backbone, prompts, SEED + 30_000, progress, "described people in known poses")
    seen = reader.read(images)[0].argmax(1)
    return Answers(poses, [reader.poses[i] for i in seen])


def _known_gates(
    reader: Reader, backbone: Backbone, out: Path, n: int, progress: Progress
) -> list[Gate]:
    pose, subject = known_poses(reader, backbone, n, progress)
    for answers, labels, name, title in (
        (pose, reader.poses, "base-poses", "Base model: poses"),
        (subject, reader.subjects, "base-subjects", "Base model: subjects"),
    ):
        first = [*dict.fromkeys(answers.truth), *(x for x in labels if x not in answers.truth)]
        confusion_matrix_png(answers.truth, answers.seen, first, out / f"{name}.png", title)
    what = "known subjects in known poses"
    described = described_people(reader, backbone, n, progress)
    return [
        _gate("base, subject", what, subject.hits, 0.90),
        _gate("base, pose", what, pose.hits, 0.90),
        _gate("base, pose, people", "described people in known poses", described.hits, 0.80),
    ]


def text_alone(
    reader: Reader,
    backbone: Backbone,
    actions: Sequence[Action],
    subjects: Sequence[Subject],
    n: int,
    progress: Progress = SILENT,
) -> tuple[np.ndarray, np.ndarray]:
    """Subjects with an action's description: booleans [n, ...] of action and subject right, in
    whole rounds of the actions by the subjects."""
    pairs = [(action, subject) for action in actions for subject in subjects]
    pairs *= -(-n // len(pairs))
    prompts = [Item(action, subject, 0).described_prompt for action, subject in pairs]
    images = _draw(backbone, prompts, SEED + 10_000, progress, "descriptions alone")
    poses, who = reader.read(images)
    right = [reader.poses[i] == a.name for i, (a, _) in zip(poses.argmax(1), pairs, strict=True)]
    same = [reader.subjects[i] == s.name for i, (_, s) in zip(who.argmax(1), pairs, strict=True)]
    return np.array(right), np.array(same)


def _text_gates(reader: Reader, backbone: Backbone, n: int, progress: Progress) -> list[Gate]:
    from actionbench.suite.suite import get_suite

    gates = []
    for suite, low, high, least in (("puppets-dev", 0.2, 0.5, 0.8), ("puppets", None, None, None)):
        actions, subjects = get_suite(suite).actions, get_suite(suite).subjects
        right, same = text_alone(reader, backbone, actions, subjects, n, progress)
        gates.append(_gate(f"text alone, action, {suite}", "descriptions alone", right, low, high))
        gates.append(_gate(f"text alone, subject, {suite}", "descriptions alone", same, least))
    return gates


def skeletons_followed(
    reader: Reader, backbone: Backbone, controlnet: Path, n: int, progress: Progress = SILENT
) -> tuple[Answers, Answers]:
    """Known subjects, by their names alone, under skeletons of fresh poses: what the judge reads
    as pose and subject.

    Actions and known poses in equal shares come first, `n` together; then as many free poses
    and ones between an action and another, which have no name.
    """
    from actionbench.puppets.corpus import OTHER, draw_many
    from actionbench.suite.skeleton import draw_skeleton

    drawn = draw_many("posing", (SEED,), 3 * n + 100)
    labels = [row["pose"] for row in drawn.rows]
    rows = [i for i, label in enumerate(labels) if label != OTHER][:n]
    rows += [i for i, label in enumerate(labels) if label == OTHER][:n]
    subjects = [paper_subjects()[k % len(paper_subjects())] for k in range(len(rows))]
    source = resolve_controlnet(str(controlnet))
    control = Control(
        load_controlnet(backbone, source),
        [draw_skeleton(drawn.keypoints[i], backbone.image_size) for i in rows],
        prompted_only=source.prompted_only,
    )
    prompts = [subject.phrase for subject in subjects]
    images = _draw(backbone, prompts, SEED + 20_000, progress, "skeletons", control)
    poses, who = reader.read(images)
    return (
        Answers([labels[i] for i in rows], [reader.poses[i] for i in poses.argmax(1)]),
        Answers([s.name for s in subjects], [reader.subjects[i] for i in who.argmax(1)]),
    )


def _control_gates(
    reader: Reader, backbone: Backbone, controlnet: Path, out: Path, n: int, progress: Progress
) -> list[Gate]:
    pose, subject = skeletons_followed(reader, backbone, controlnet, n, progress)
    confusion_matrix_png(
        pose.truth, pose.seen, reader.poses, out / "control-poses.png", "ControlNet: poses"
    )
    return [
        # Half of the poses that the sampler draws have a name; one without is the easier to hit,
        # because whatever has none counts: so each half is reported as well.
        _gate("control, pose", "skeletons of fresh poses", pose.hits, 0.90),
        _gate("control, named pose", "of these: actions and known poses", pose.hits[:n]),
        _gate("control, other pose", "of these: poses without a name", pose.hits[n:]),
        _gate("control, subject", "known subjects under skeletons", subject.hits),
    ]
