"""Is the miniature world's base model fit to be measured on, and is its judge right?

Two kinds of rows, neither of which knows any method. The judge's: drawings whose pose and subject
are known, plain, degraded, and after the autoencoder's round trip. The base model's: what it draws
by text alone. `evaluation.judges.check` measures all of them for `actionbench puppets check`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image

from actionbench.diffusion.control import Control, load_controlnet
from actionbench.files.atomic import replacing
from actionbench.files.hashing import make_key, sha256_of
from actionbench.files.models import resolve_controlnet
from actionbench.photos.keypoints import KeypointReader
from actionbench.progress import SILENT, Progress
from actionbench.puppets.actions import APART, PRACTICE, fresh_actions
from actionbench.puppets.drawing import looks
from actionbench.puppets.drawing.backdrop import BACKDROPS
from actionbench.puppets.drawing.holding import anywhere, packed, ways
from actionbench.puppets.drawing.looks import Look, random_person, varied
from actionbench.puppets.drawing.pose import DEVELOPMENT, action_pose, free_pose, known_pose
from actionbench.puppets.drawing.quadruped import STANCES
from actionbench.puppets.drawing.scene import Scene, draw
from actionbench.puppets.drawing.sheets import write_sheet
from actionbench.puppets.poses import ACTIONS, EITHER_SIDE, KNOWN, Limb, Pose, jittered, mirrored
from actionbench.puppets.training.captions import WORD_LIMIT, length
from actionbench.puppets.training.corpus import SIZE, to_pixels
from actionbench.puppets.training.readers import KEYPOINTS, SUBJECTS
from actionbench.puppets.training.reading import degraded, reading_scene, round_trip
from actionbench.puppets.training.recipe import Recipe
from actionbench.puppets.training.subject_reader import SubjectReader
from actionbench.suite.items import (
    Action,
    ActionTask,
    Item,
    Sampling,
    Subject,
    paper_actions,
    paper_subjects,
    slug,
)
from actionbench.suite.skeleton import draw_skeleton
from evaluation.judges.pose import DRAWINGS, Bodies, PoseSettings, body_found
from evaluation.judges.subjects import FILES as READER_FILES
from evaluation.judges.thresholds import balancing_threshold
from evaluation.measures.accuracy import wilson
from methods.drawn import Drawn, OtherAction

if TYPE_CHECKING:
    from actionbench.diffusion.backbone import Backbone

SEED = 95_000
"""Of pictures that nothing else uses: the readers learn from seed 11's."""
DEVELOPMENT_SEED = 96_000
"""Of the pictures from which the threshold is taken."""
EXEMPLARS = 10
SAMPLING = Sampling(steps=16, guidance_scale=3.0)
FOLDERS = {"pose_model": KEYPOINTS, "subjects": SUBJECTS}
"""The readers' settings and folders."""
SURE = 0.5
"""A picture is seen as somebody if the likeliest answer has this probability."""

Rng = np.random.Generator


@dataclass(frozen=True)
class Row:
    """One line of the acceptance table."""

    name: str
    what: str
    n: int
    share: float
    low: float
    high: float
    """95% interval."""
    at_least: float | None = None
    at_most: float | None = None
    percent: bool = True
    """Whether `share` and its bounds are shares; else they are plain numbers."""

    @property
    def passed(self) -> bool | None:
        """None if the figure is only reported; False if there was nothing to measure it on."""
        if self.at_least is None and self.at_most is None:
            return None
        if not self.n:
            return False
        over = self.at_least is None or self.share >= self.at_least
        return over and (self.at_most is None or self.share <= self.at_most)


def row(
    name: str,
    what: str,
    right: Sequence[bool] | np.ndarray,
    at_least: float | None = None,
    at_most: float | None = None,
) -> Row:
    """A share with Wilson's interval; 0 of 0 if there is nothing to count."""
    if not len(right):
        return Row(name, what, 0, 0.0, 0.0, 1.0, at_least, at_most)
    share = wilson(int(np.sum(right)), len(right))
    return Row(name, what, len(right), share.value, share.low, share.high, at_least, at_most)


def balanced(
    name: str, what: str, missed: np.ndarray, false: np.ndarray, at_most: float | None
) -> Row:
    """The mean of the shares missed and falsely seen; its bounds are the means of theirs."""
    one, two = (wilson(int(v.sum()), len(v)) for v in (missed, false))
    value, low, high = (
        (a + b) / 2 for a, b in ((one.value, two.value), (one.low, two.low), (one.high, two.high))
    )
    return Row(name, what, len(missed) + len(false), value, low, high, at_most=at_most)


# --- the judge ------------------------------------------------------------------------------------


@dataclass
class DrawingJudge:
    """The pose judge's two readers and its one threshold, without a suite."""

    keypoints: KeypointReader
    subjects: SubjectReader
    measure: str
    threshold: float
    subjects_fingerprint: str = ""

    @classmethod
    def load(cls, device: str = "cpu", **changes: Any) -> DrawingJudge:
        """Under the settings of drawn suites with changes."""
        chosen = PoseSettings(**{**DRAWINGS, **changes})
        keypoints = KeypointReader(
            device,
            chosen.pose_model,
            chosen.detector,
            min_visible=chosen.min_visible,
            batch_size=chosen.batch_size,
        )
        folder = Path(chosen.subjects)
        subjects = SubjectReader.load(folder, device)
        kept = make_key(*(sha256_of(folder / name) for name in READER_FILES))
        threshold = float(chosen.action_threshold or 0.0)
        return cls(keypoints, subjects, chosen.measure, threshold, kept)

    @property
    def fingerprint(self) -> str:
        """Hash of both readers, the measure and the threshold."""
        return make_key(
            *(self.keypoints.fingerprint, self.subjects_fingerprint),
            *(self.measure, self.threshold),
        )

    def bodies(self, images: np.ndarray) -> list[np.ndarray | None]:
        """Keypoints [18, 3] of pictures uint8 [n, h, w, 3]."""
        return self.keypoints.find([Image.fromarray(pixels) for pixels in images])

    def reference(self, groups: Sequence[np.ndarray]) -> Bodies:
        """The exemplars of several actions, keypoints [n, 18, 3] each."""
        return Bodies.grouped(groups, self.measure)

    def who(self, images: np.ndarray) -> tuple[list[str], np.ndarray]:
        """The subject seen in each picture, and its probability [n]."""
        found = self.subjects.read([Image.fromarray(pixels) for pixels in images])
        return [self.subjects.subjects[i] for i in found.argmax(1)], found.max(1)


# --- drawings -------------------------------------------------------------------------------------


def drawn(
    poses: Sequence[Pose], held_by: Sequence[Look], rng: Rng
) -> tuple[np.ndarray, np.ndarray]:
    """Pictures uint8 [n, 64, 64, 3] and keypoints [n, 18, 3] of poses, each held by a look."""
    images, points = [], []
    backdrops = list(BACKDROPS)
    for pose, look in zip(poses, held_by, strict=True):
        place = backdrops[rng.integers(len(backdrops))]
        scene = Scene("", "", "", look, pose, place, int(rng.integers(2**62)))
        picture, keypoints = draw(scene, SIZE)
        images.append(np.asarray(picture))
        points.append(keypoints)
    return np.stack(images), np.stack(points)


def people(count: int, rng: Rng) -> list[Look]:
    return [random_person(rng)[1] for _ in range(count)]


def cast(count: int, rng: Rng) -> list[Look]:
    """The 23 in turn, each a little varied."""
    names = list(looks.SUBJECTS)
    first = int(rng.integers(len(names)))
    return [varied(looks.SUBJECTS[names[(first + i) % len(names)]], rng) for i in range(count)]


def exemplars(poses: Sequence[Pose], rng: Rng) -> np.ndarray:
    """The keypoints of random people in these poses."""
    return drawn(poses, people(len(poses), rng), rng)[1]


def named_exemplars(name: str, rng: Rng) -> np.ndarray:
    """Keypoints of an action or known pose; twice as many if it is done on either side."""
    variants = ACTIONS[name] if name in ACTIONS else KNOWN[name].variants
    poses = [jittered(variants[i % len(variants)], rng) for i in range(EXEMPLARS)]
    if name in EITHER_SIDE:
        poses += [mirrored(pose) for pose in poses]
    return exemplars(poses, rng)


def near_pose(pose: Pose, rng: Rng) -> Pose:
    """A pose that is another action by the generator's measure, though hardly: `APART` to 1.4 times
    as many degrees away, in two limbs' bones or in all of them."""
    bones = 8 if rng.random() < 0.5 else 4
    off = np.zeros(8)
    off[rng.permutation(8)[:bones]] = rng.normal(0, 1, bones)
    off *= rng.uniform(APART, 1.4 * APART) / np.sqrt(np.square(off).sum() / 9)
    changes: dict[str, Any] = {}
    for number, name in enumerate(("right_arm", "left_arm", "right_leg", "left_leg")):
        limb: Limb = getattr(pose, name)
        changes[name] = limb._replace(
            upper=limb.upper + off[2 * number], lower=limb.lower + off[2 * number + 1]
        )
    return replace(pose, **changes)


def other_poses(count: int, rng: Rng) -> list[Pose]:
    """Known, free and development poses in equal shares."""
    known, development = list(KNOWN), list(DEVELOPMENT)
    makers: tuple[Callable[[], Pose], ...] = (
        lambda: known_pose(known[rng.integers(len(known))], rng),
        lambda: free_pose(rng)[1],
        lambda: action_pose(development[rng.integers(len(development))], rng),
    )
    return [makers[i % 3]() for i in range(count)]


def worn(images: np.ndarray, seed: int) -> np.ndarray:
    """Pictures degraded as the readers' training pictures are."""
    pixels = degraded(to_pixels(images, "cpu"), torch.Generator().manual_seed(seed))
    array: np.ndarray = pixels.add(1).mul(127.5).round().byte().permute(0, 2, 3, 1).numpy()
    return array


def manners(vae: Any = None) -> dict[str, Callable[[np.ndarray], np.ndarray]]:
    """The ways in which drawings are shown to the judge."""
    ways: dict[str, Callable[[np.ndarray], np.ndarray]] = {
        "plain": lambda images: images,
        "degraded": lambda images: worn(images, SEED),
    }
    if vae is not None:
        ways["round trip"] = lambda images: round_trip(vae, images)
    return ways


# --- the judge's rows -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Trial:
    """Drawings for A actions: of each, of what is near it, and of others."""

    reference: Sequence[np.ndarray]
    """The exemplars' keypoints of each action."""
    own: tuple[np.ndarray, np.ndarray]
    """Pictures, and the number of the action that each shows."""
    near: tuple[np.ndarray, np.ndarray]
    """Pictures, and the number of the action that each nearly shows."""
    other: np.ndarray
    """Pictures of none of the actions."""
    points: np.ndarray = field(repr=False)
    """True keypoints of `own`, for the reader's error in pixels."""


def trial(
    references: Sequence[np.ndarray],
    hold: Callable[[int], Pose],
    actions: int,
    each: int,
    rng: Rng,
) -> Trial:
    """Drawings of `actions` actions, `each` of a kind for one; `hold` gives a number's pose."""
    numbers = np.repeat(np.arange(actions), each)
    numbered = numbers.tolist()
    own, points = drawn([hold(n) for n in numbered], cast(len(numbers), rng), rng)
    near_poses = [near_pose(hold(n), rng) for n in numbered]
    near, _ = drawn(near_poses, cast(len(numbers), rng), rng)
    other, _ = drawn(other_poses(len(numbers), rng), cast(len(numbers), rng), rng)
    return Trial(references, (own, numbers), (near, numbers), other, points)


def practice_trial(seed: int = PRACTICE.start, actions: int = 100, each: int = 4) -> Trial:
    """Fresh actions of a practice seed."""
    rng = np.random.default_rng((SEED, seed))
    fresh = fresh_actions(actions, seed)
    references = [exemplars([a.drawn(rng) for _ in range(EXEMPLARS)], rng) for a in fresh]
    return trial(references, lambda n: fresh[n].drawn(rng), actions, each, rng)


def development_trial(each: int = 30) -> Trial:
    """The development actions, from which the threshold is taken."""
    rng = np.random.default_rng(DEVELOPMENT_SEED)
    names = list(DEVELOPMENT)
    references = [named_exemplars(name, rng) for name in names]
    return trial(references, lambda n: action_pose(names[n], rng), len(names), each, rng)


@dataclass(frozen=True)
class Scores:
    """What the judge gives the pictures of a trial."""

    own: np.ndarray
    """[n]: the action that is shown."""
    near: np.ndarray
    """[n]: the action that is nearly shown."""
    confused: np.ndarray
    """[n, A - 1]: the other actions for pictures of an action."""
    other: np.ndarray
    """[n, A]: pictures of no action."""
    pixels: float
    """Mean distance of visible limbs' keypoints from the true ones, in pixels of 64."""
    found: float
    """Share of those keypoints that are visible."""


def score(judge: DrawingJudge, made: Trial, way: Callable[[np.ndarray], np.ndarray]) -> Scores:
    """Show a trial's pictures to the judge."""
    reference = judge.reference(made.reference)
    bodies = judge.bodies(way(made.own[0]))
    own = reference.scores(bodies)
    rows = np.arange(len(own))
    mine = np.zeros(own.shape, bool)
    mine[rows, made.own[1]] = True
    near = reference.scores(judge.bodies(way(made.near[0])))
    other = reference.scores(judge.bodies(way(made.other)))
    read = np.stack([np.zeros((18, 3)) if body is None else body for body in bodies])
    limbs = slice(2, 14)
    seen = read[:, limbs, 2] > 0
    off = np.linalg.norm(read[:, limbs, :2] - made.points[:, limbs, :2], axis=2) * SIZE
    return Scores(
        own[mine],
        near[np.arange(len(near)), made.near[1]],
        own[~mine].reshape(len(own), -1),
        other,
        float(off[seen].mean()) if seen.any() else float("nan"),
        float(seen.mean()),
    )


def threshold_of(scores: Sequence[Scores]) -> float:
    """The threshold that balances misses with false alarms, half of which are near poses."""
    own = np.concatenate([s.own for s in scores])
    near = np.concatenate([s.near for s in scores])
    far = np.concatenate([np.concatenate([s.confused.ravel(), s.other.ravel()]) for s in scores])
    rng = np.random.default_rng(0)
    return balancing_threshold(own, np.concatenate([near, rng.choice(far, len(near))]))


def development_threshold(judge: DrawingJudge, vae: Any = None, each: int = 30) -> float:
    """The action threshold by the development actions, shown in all manners."""
    made = development_trial(each)
    return threshold_of([score(judge, made, way) for way in manners(vae).values()])


LIMITS = {"plain": (0.03, 0.97), "round trip": (0.05, 0.95)}
"""Most balanced error of actions, least share of subjects."""


def action_rows(judge: DrawingJudge, made: Trial, vae: Any = None) -> list[Row]:
    """The judge's errors on a trial at its threshold, in each manner."""
    rows = []
    for name, way in manners(vae).items():
        s, cut = score(judge, made, way), judge.threshold
        what = f"drawings of {len(made.reference)} fresh actions, {name}"
        false = np.concatenate([s.confused.ravel(), s.other.ravel()]) >= cut
        limit = LIMITS.get(name, (None, None))[0]
        rows += [
            balanced(f"judge, action, {name}", what, s.own < cut, false, limit),
            row(f"judge, action missed, {name}", what, s.own < cut),
            row(f"judge, nearest action seen, {name}", "the likeliest other action",
                s.confused.max(1) >= cut),
            row(f"judge, near pose seen, {name}", "22 to 31 degrees away", s.near >= cut),
            row(f"judge, keypoints visible, {name}", f"mean error {s.pixels:.2f} of 64 pixels",
                np.arange(len(s.own)) < s.found * len(s.own)),
        ]  # fmt: skip
    return rows


def subject_drawings(count: int, seed: int = SEED) -> tuple[np.ndarray, list[dict[str, Any]]]:
    """Fresh pictures as the readers learn from, with their labels: uint8 [count, 64, 64, 3]."""
    rng = np.random.default_rng(seed)
    recipe = Recipe()
    made = [reading_scene(rng, recipe) for _ in range(count)]
    images = np.stack([np.asarray(draw(item.scene, SIZE)[0]) for item in made])
    return images, [item.row for item in made]


def subject_rows(judge: DrawingJudge, count: int = 2000, vae: Any = None) -> list[Row]:
    """Is the subject right on fresh drawings: all, and by group and legs."""
    images, labels = subject_drawings(count)
    truth = np.array([label["subject"] for label in labels])
    groups = np.array([label["group"] for label in labels])
    legs = np.array([label["four_legged"] for label in labels])
    rows = []
    for name, way in manners(vae).items():
        right = np.array(judge.who(way(images))[0]) == truth
        limit = LIMITS.get(name, (None, None))[1]
        rows.append(row(f"judge, subject, {name}", "23 subjects and none", right, limit))
        for group in ("named", "other", "person"):
            rows.append(row(f"judge, subject, {name}, {group}", group, right[groups == group]))
        rows.append(row(f"judge, subject, {name}, four legs", "on four legs", right[legs]))
    return rows


# --- the base model's rows ------------------------------------------------------------------------


CHUNK = 50
"""Pictures that are kept together: what a check that was killed draws again, at most."""


class Painter:
    """Draws prompts by a pipeline; what it drew is kept, for contact sheets and to go on from.

    Args:
        backbone: the pipeline.
        progress: is updated after each picture.
        sampling: steps and guidance.
        keep: the folder of the pictures; without one they are kept in memory alone.
    """

    def __init__(
        self,
        backbone: Backbone,
        progress: Progress = SILENT,
        sampling: Sampling = SAMPLING,
        keep: Path | None = None,
    ) -> None:
        self.backbone, self.progress, self.keep = backbone, progress, keep
        backbone.sampling = sampling
        self.sheets: dict[str, np.ndarray] = {}

    def __call__(
        self,
        prompts: Sequence[str],
        seed: int,
        what: str,
        control: Control | None = None,
        control_fingerprint: str = "",
    ) -> np.ndarray:
        """Pictures uint8 [n, h, w, 3], the i-th by the noise of seed + i."""
        sampling = self.backbone.sampling
        key = make_key(
            *(self.backbone.fingerprint, list(prompts), seed, control_fingerprint),
            *(sampling.steps, sampling.guidance_scale),
        )
        chunks = []
        for start in range(0, len(prompts), CHUNK):
            rows = slice(start, start + CHUNK)
            name = f"{slug(what)}-{key[:8]}-{start:05d}.npy"
            file = self.keep and self.keep / name
            if file and file.exists():
                chunks.append(np.load(file))
            else:
                seeds = range(seed + start, seed + start + len(prompts[rows]))
                made = self.backbone.generate(
                    prompts[rows], seeds, control=control and control[rows]
                )
                chunks.append(np.stack([np.asarray(image.convert("RGB")) for image in made]))
                if file:
                    with replacing(file) as path, path.open("wb") as handle:
                        np.save(handle, chunks[-1])
            self.progress.update(min(start + CHUNK, len(prompts)), len(prompts), what)
        self.sheets[what] = np.concatenate(chunks)
        return self.sheets[what]


def development() -> tuple[Action, ...]:
    return tuple(Action(name, words) for name, words in DEVELOPMENT.items())


def pairs_of(actions: Sequence[Any], subjects: Sequence[Any], n: int) -> list[tuple[Any, Any]]:
    """`n` pairs: whole rounds of all pairs, then some that are spread over both lists."""
    every = [(action, subject) for action in actions for subject in subjects]
    order = np.random.default_rng(0).permutation(len(every))
    rounds = [every[i] for _ in range(-(-n // len(every))) for i in order]
    return rounds[:n]


@dataclass(frozen=True)
class Answers:
    """What the judge says of pictures by text."""

    pairs: list[tuple[Action, Subject]]
    action: np.ndarray
    """[n]: whether the asked action is seen."""
    seen: list[str]
    sure: np.ndarray
    """[n]: the probability of the subject seen."""
    found: np.ndarray
    """[n]: whether a body's keypoints are found."""

    @property
    def subject(self) -> np.ndarray:
        names = [subject.name for _, subject in self.pairs]
        same: np.ndarray = np.array(names) == np.array(self.seen)
        return same

    def of(self, category: str) -> np.ndarray:
        """[n]: whether the subject is of a category."""
        return np.array([subject.category == category for _, subject in self.pairs])


def answers(
    judge: DrawingJudge, images: np.ndarray, pairs: list[tuple[Action, Subject]]
) -> Answers:
    """Judge pictures against the named actions' drawn exemplars."""
    names = list(dict.fromkeys(action.name for action, _ in pairs))
    rng = np.random.default_rng(SEED + 1)
    reference = judge.reference([named_exemplars(name, rng) for name in names])
    bodies = judge.bodies(images)
    scores = reference.scores(bodies)
    own = scores[np.arange(len(scores)), [names.index(action.name) for action, _ in pairs]]
    seen, sure = judge.who(images)
    found = np.array([body_found(body) for body in bodies])
    return Answers(pairs, own >= judge.threshold, seen, sure, found)


CATEGORIES = {"human": "people", "celebrity": "celebrities", "animal": "animals"}


def text_rows(name: str, a: Answers, limits: Mapping[str, tuple[float, float]]) -> list[Row]:
    """Text alone: action and subject, by category, and what the lost subjects turned into."""
    action, subject = limits.get("action", (None, None)), limits.get("subject", (None, None))
    what = "descriptions alone"
    lost = ~a.subject
    somebody = a.found[lost] & (a.sure[lost] >= SURE)
    gated = bool(limits)
    rows = [
        row(f"text alone, action, {name}", what, a.action, *action),
        row(f"text alone, subject, {name}", what, a.subject, *subject),
        row(f"text alone, lost subjects seen as somebody, {name}", "of the lost subjects",
            somebody, 0.70 if gated else None),
        row(f"text alone, lost subjects' keypoints, {name}", "of the lost subjects",
            a.found[lost], 0.95 if gated else None),
    ]  # fmt: skip
    for category, words in CATEGORIES.items():
        own = a.of(category)
        rows.append(row(f"text alone, action, {name}, {words}", what, a.action[own]))
        rows.append(row(f"text alone, subject, {name}, {words}", what, a.subject[own]))
    return rows


DEVELOPMENT_LIMITS = {"action": (0.20, 0.40), "subject": (0.80, 0.90)}


def by_text_alone(painter: Painter, n: int) -> tuple[np.ndarray, list[tuple[Action, Subject]]]:
    """`n` pictures of the development actions by text alone, and what was asked for."""
    pairs = pairs_of(development(), paper_subjects(), n)
    bare = [Item(action, subject, 0).described_prompt for action, subject in pairs]
    return painter(bare, SEED, "text alone"), pairs


def text_alone(judge: DrawingJudge, painter: Painter, n: int) -> list[Row]:
    """The development actions, bare and as "a photo of ...", and the eight."""
    images, pairs = by_text_alone(painter, n)
    plain = answers(judge, images, pairs)
    photo = [f"a photo of {in_a_sentence(s.phrase)} {a.description}" for a, s in pairs]
    framed = answers(judge, painter(photo, SEED, "a photo of"), pairs)
    rows = text_rows("development", plain, DEVELOPMENT_LIMITS)
    for kind in ("action", "subject"):
        one, two = getattr(plain, kind), getattr(framed, kind)
        rows.append(difference(f'"a photo of" against bare, {kind}', one, two, 0.05))
    eight = pairs_of(paper_actions(), paper_subjects(), n)
    prompts = [Item(action, subject, 0).described_prompt for action, subject in eight]
    images = painter(prompts, SEED + 10_000, "the eight by text alone")
    return rows + text_rows("the eight", answers(judge, images, eight), {})


def difference(name: str, one: np.ndarray, two: np.ndarray, at_most: float) -> Row:
    """How far two shares on the same prompts and noise lie apart; the interval is the paired
    difference's."""
    off = two.astype(float) - one.astype(float)
    share, half = float(off.mean()), 1.96 * float(off.std()) / np.sqrt(max(1, len(off)))
    low, high = sorted((abs(share - half), abs(share + half)))
    if abs(share) <= half:
        low = 0.0
    what = f"{100 * one.mean():.1f}% bare, {100 * two.mean():.1f}% framed"
    return Row(name, what, len(off), abs(share), low, high, at_most=at_most)


def in_a_sentence(phrase: str) -> str:
    """A subject's phrase with a small article: "a panda", "Batman"."""
    article, space, noun = phrase.partition(" ")
    return f"{article.lower()} {noun}" if space and article in ("A", "An", "The") else phrase


def known_pairs(n: int) -> list[tuple[Action, Subject]]:
    """Pair known poses with subjects, `n` pairs in all.

    Animals are left out of poses whose words also say what they do on four legs ("a panda walks"),
    because most of their pictures under these words show that.
    """
    poses = [Action(name, known.words) for name, known in KNOWN.items()]
    subjects = paper_subjects()
    on_four_legs = {words for ways in STANCES.values() for words in ways}
    clear = [
        (pose, subject)
        for pose, subject in pairs_of(poses, subjects, len(poses) * len(subjects))
        if subject.category != "animal" or pose.description not in on_four_legs
    ]
    return (clear * -(-n // len(clear)))[:n]


def known_in_known(judge: DrawingJudge, painter: Painter, n: int) -> list[Row]:
    """Known subjects in known poses, by their words."""
    pairs = known_pairs(n)
    prompts = [Item(pose, subject, 0).described_prompt for pose, subject in pairs]
    a = answers(judge, painter(prompts, SEED + 20_000, "known poses"), pairs)
    what = "known subjects in known poses"
    rows = [
        row("base, subject", what, a.subject, 0.95),
        row("base, pose", what, a.action, 0.95),
    ]
    for category, words in CATEGORIES.items():
        own = a.of(category)
        rows.append(row(f"base, subject, {words}", what, a.subject[own]))
        rows.append(row(f"base, pose, {words}", what, a.action[own]))
    return rows


def free_poses(judge: DrawingJudge, painter: Painter, n: int) -> list[Row]:
    """Measure poses described limb by limb, on people and on animals, which then stand upright."""
    rng = np.random.default_rng(SEED + 2)
    animals = [s for s in paper_subjects() if s.category == "animal"]
    rows = []
    for offset, group in enumerate(("people", "animals")):
        described = [free_pose(rng) for _ in range(n)]
        prompts = [
            person_prompt(random_person(rng)[0], words)
            if group == "people"
            else f"{animals[i % len(animals)].phrase} {words}"
            for i, (words, _) in enumerate(described)
        ]
        images = painter(prompts, SEED + 30_000 + 5_000 * offset, f"free poses, {group}")
        reference = judge.reference([described_exemplars(pose, rng) for _, pose in described])
        scores = np.diagonal(reference.scores(judge.bodies(images)))
        followed = scores >= judge.threshold
        rows.append(row(f"base, free pose, {group}", "described by limb words", followed, 0.60))
    return rows


def person_prompt(looks: Sequence[str], words: str) -> str:
    """Somebody with as many of these looks as leave the words about the limbs within the length of
    captions: what stands behind it no text encoder reads."""
    for count in range(len(looks), 0, -1):
        prompt = f"a person with {', '.join(looks[:count])} {words}"
        if length(prompt) <= WORD_LIMIT:
            return prompt
    return f"a person {words}"


def controlled(judge: DrawingJudge, painter: Painter, folder: Path, n: int) -> list[Row]:
    """The ControlNet in `folder` under the development actions' skeletons: reported alone."""
    source, backbone = resolve_controlnet(str(folder)), painter.backbone
    pairs = pairs_of(development(), paper_subjects(), n)
    rng = np.random.default_rng(SEED + 3)
    points = exemplars([action_pose(action.name, rng) for action, _ in pairs], rng)
    control = Control(
        load_controlnet(backbone, source),
        [draw_skeleton(p, backbone.image_size) for p in points],
        prompted_only=source.prompted_only,
    )
    prompts = [Item(action, subject, 0).described_prompt for action, subject in pairs]
    drawn = make_key(source.fingerprint, points.round(4).tolist())
    a = answers(judge, painter(prompts, SEED + 40_000, "ControlNet", control, drawn), pairs)
    what = "development actions' skeletons and descriptions"
    return [
        row("ControlNet, action, development", what, a.action),
        row("ControlNet, subject, development", what, a.subject),
    ]


def described_exemplars(pose: Pose, rng: Rng) -> np.ndarray:
    """Keypoints of people in a pose that words describe: upright, for words say no lean."""
    straight = replace(pose, lean=0.0)
    return exemplars([jittered(straight, rng, 0.7) for _ in range(EXEMPLARS)], rng)


def bounds(judge: DrawingJudge, n: int) -> list[Row]:
    """Ceiling and floor on the development actions: drawings of the asked action, and of another
    (`methods.drawn`). Reported."""
    pairs = pairs_of(development(), paper_subjects(), n)
    rows = []
    for method in (Drawn(), OtherAction()):
        images: list[np.ndarray] = []
        for action, subject in pairs:
            item = Item(action, subject, len(images))
            poses = tuple(packed(pose) for pose in ways(action.name))
            task = ActionTask(action, (), fingerprint="", poses=poses)
            fitted = method.fit(None, task, seed=0, progress=SILENT)
            images += [np.asarray(image) for image in method.generate(None, fitted, [item])]
        a = answers(judge, np.stack(images), pairs)
        for kind in ("action", "subject"):
            rows.append(row(f"{method.name}, {kind}, development", method.title, getattr(a, kind)))
    return rows


# --- all of it ------------------------------------------------------------------------------------


def judge_rows(
    judge: DrawingJudge, vae: Any = None, each: int = 4, subjects: int = 2000
) -> list[Row]:
    """The judge's part of the table."""
    return action_rows(judge, practice_trial(each=each), vae) + subject_rows(judge, subjects, vae)


def write_reference(path: Path, each: int = 6) -> Path:
    """Write drawings of each development action under its name, to label pictures by."""
    rng = np.random.default_rng(SEED + 4)
    cells = [
        (action.name, anywhere(random_person(rng).look, action_pose(action.name, rng), rng))
        for action in development()
        for _ in range(each)
    ]
    return write_sheet(path, cells, SIZE, 2, each)
