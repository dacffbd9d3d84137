"""The pose judge: does the body stand as those of the exemplars do?

Keypoints are compared limb by limb, so neither place nor size matters, and a limb that points at
the viewer, which is short and of uncertain direction, counts for little. Left is not right. There
are two measures of how alike two bodies are:

- `vectors`: the cosine of the limbs' vectors, all limbs taken together. Long limbs count most: the
  torso alone is two fifths of it, one arm a tenth.
- `directions`: the mean cosine of nine limbs' directions. An arm that points elsewhere then counts
  as much as a leg does. Drawn actions differ in single arms; see `DRAWINGS`.
"""

from __future__ import annotations

import copy
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import numpy as np

from actionbench.errors import UserError
from actionbench.files.hashing import make_key
from actionbench.files.models import Network
from actionbench.judge import Judge, Verdict
from actionbench.photos.keypoints import ANIMALS, DETECTOR, PERSON, POSE_MODEL, KeypointReader
from actionbench.settings import setting
from actionbench.suite.items import NONE, Item
from actionbench.suite.shipped import READERS
from actionbench.suite.skeleton import LIMBS
from evaluation.judges.clip import ClipJudge, ClipSettings
from evaluation.judges.subjects import DrawnSubjects, Subjects
from evaluation.judges.thresholds import balancing_threshold

if TYPE_CHECKING:
    from PIL.Image import Image

    from actionbench.suite.suite import Suite

RULES = 2
"""Version of how keypoints become verdicts; part of the fingerprint."""

BODY = np.array(LIMBS[:13]) - 1
"""[13, 2]: the ends of arms, legs, torso and neck; the face's four say little of an action."""

BONES = (
    ((2,), (3,)), ((3,), (4,)), ((5,), (6,)), ((6,), (7,)), ((8,), (9,)), ((9,), (10,)),
    ((11,), (12,)), ((12,), (13,)), ((8, 11), (2, 5)),
)  # fmt: skip
"""Arms, legs and torso by the keypoints whose middles are their ends. The torso's end is the middle
of the shoulders, since the drawings' neck lies higher than the one that is read."""

STANDARD = np.array([0.15, 0.14, 0.15, 0.14, 0.185, 0.185, 0.185, 0.185, 0.28])
"""Their usual lengths in body heights (those of the drawn bodies): a limb that is shorter points at
the viewer."""

MEASURES = ("vectors", "directions")

NEAREST = 3
"""An action's score is the mean similarity to so many of its exemplars, the nearest ones: an action
may be shown in more ways than one, and a single neighbour may be chance."""

MIN_SHARED = 0.5
"""If less than this share of an exemplar's visible limbs is visible in the image, the two have
nothing in common to compare: similarity 0."""


@dataclass(frozen=True)
class PoseSettings(ClipSettings):
    """`model`, the number format and the margin for the subject are the clip judge's."""

    pose_model: str = setting(POSE_MODEL, "ViTPose: a folder, or a Hub id")
    detector: str | None = setting(
        DETECTOR, "RT-DETR: a folder, or a Hub id; none: the whole picture is the body's box"
    )
    subjects: str = setting(
        "clip", "who says which subject it is: clip, or a folder with a reader of drawn subjects"
    )
    measure: Literal["vectors", "directions"] = setting(
        "vectors", "how alike bodies are: limbs' vectors together, or each limb's direction"
    )
    action_threshold: float | None = setting(
        None,
        "an action is seen from this score on; none: a threshold for each, by its exemplars",
        low=-1,
        high=1,
    )
    min_score: float = setting(0.5, "lowest score of a body's box", low=0, high=1)
    min_visible: float = setting(0.3, "points that score less are not visible", low=0, high=1)
    animals: bool = setting(True, "boxes of animals are bodies too")
    whole_image: bool = setting(
        True, "where no box is found, a body is looked for in the whole image; false: no action"
    )


DRAWINGS: dict[str, Any] = {
    "pose_model": str(READERS / "keypoints"),
    "detector": None,
    "subjects": str(READERS / "subjects"),
    "measure": "directions",
    "action_threshold": 0.95,
}
"""The settings under which drawn suites are judged. The threshold is
that of the development actions (`acceptance.development_threshold`): 0.953 on 300 drawings, each in
three manners."""


class PoseJudge(Judge):
    """Action by the body's keypoints against the exemplars'; subject by another reader.

    With `action_threshold`, an image shows the asked action if its score is at least that, whatever
    else the suite holds. Without, each action has a threshold that parts its exemplars from the
    other actions', and of those above theirs the most similar one is what the image shows. Either
    way that one is the action seen, or none. An image in which nobody is found shows none.

    Keypoints say nothing of who it is: that is the clip judge's answer, or that of a reader of
    drawn subjects, whose weights and settings are part of this judge's fingerprint.
    """

    name: ClassVar[str] = "pose"
    Settings: ClassVar[type] = PoseSettings
    left_out: frozenset[str] = frozenset()

    @classmethod
    def preset(cls, suite: Suite) -> Mapping[str, Any]:
        return {} if suite.drawn is None else DRAWINGS

    @property
    def networks(self) -> tuple[Network, ...]:
        return (*self._subjects().networks, *self._keypoints().networks)

    @cached_property
    def fingerprint(self) -> str:
        exemplars = [self.suite.tasks[action.name].fingerprint for action in self.suite.actions]
        chosen = self.settings
        return make_key(
            *("pose", RULES, NEAREST, MIN_SHARED, exemplars),
            *(chosen.measure, chosen.action_threshold),
            *(self._keypoints().fingerprint, self._subjects().fingerprint),
        )

    def _keypoints(self) -> KeypointReader:
        chosen = self.settings
        return KeypointReader(
            self.device,
            chosen.pose_model,
            chosen.detector,
            labels=(*PERSON, *ANIMALS) if chosen.animals else PERSON,
            min_score=chosen.min_score,
            min_visible=chosen.min_visible,
            whole_image=chosen.whole_image,
            batch_size=chosen.batch_size,
        )

    def _subjects(self) -> Subjects:
        if self.settings.subjects == ClipJudge.name:
            return ClipJudge(self.suite, self.device, self.settings)
        return DrawnSubjects(Path(self.settings.subjects).expanduser(), self.suite, self.device)

    @cached_property
    def reader(self) -> PoseReader:
        return PoseReader(self._keypoints(), self._subjects(), self.suite, self.settings.measure)

    @cached_property
    def thresholds(self) -> np.ndarray:
        """[A]: from which score on an action is seen: the setting, or by leave-one-out on the
        exemplars."""
        chosen = self.settings.action_threshold
        if chosen is not None:
            return np.full(len(self.suite.actions), float(chosen))
        return self.reader.bodies.thresholds(self.left_out)

    def without(self, exemplars: Collection[str]) -> Self:
        other = copy.copy(self)
        other.__dict__.pop("thresholds", None)
        other.reader = self.reader  # loaded here, so that both have the same one
        other.left_out = frozenset(exemplars)
        return other

    def judge(self, images: Sequence[Image], items: Sequence[Item]) -> list[Verdict]:
        names = [action.name for action in self.suite.actions]
        if strange := [i.action.name for i in items if i.action.name not in names]:
            raise UserError(
                f"the suite {self.suite.name} has no exemplars of '{strange[0]}', so that its "
                "pose cannot be judged: judge runs of this suite's actions"
            )
        # A calibration asks often about one, and shows exemplars, whose keypoints are known.
        known = self.reader.bodies.by_image
        strangers = {id(image): image for image in images if id(image) not in known}
        found = self.reader.keypoints.find([*strangers.values()])
        bodies = {**known, **dict(zip(strangers, found, strict=True))}
        asked = list(dict.fromkeys(map(id, images)))
        read = self.reader.bodies.scores([bodies[image] for image in asked], self.left_out)
        scores = dict(zip(asked, read, strict=True))
        verdicts = []
        subjects = self.reader.subjects.judge(images, items)
        for image, item, subject in zip(images, items, subjects, strict=True):
            verdicts.append(self._verdict(scores[id(image)], names, item, subject))
        return verdicts

    def _verdict(
        self, scores: np.ndarray, names: Sequence[str], item: Item, subject: Verdict
    ) -> Verdict:
        """The subject's verdict with the action's part filled in."""
        above = np.where(scores >= self.thresholds, scores, -np.inf)
        seen = names[int(above.argmax())] if np.isfinite(above).any() else NONE
        own = names.index(item.action.name)
        one_threshold = self.settings.action_threshold is not None
        return replace(
            subject,
            action_correct=bool(np.isfinite(above[own])) if one_threshold else seen == names[own],
            action_seen=seen,
            action_score=max(0.0, float(scores[own])),
        )


class PoseReader:
    """What is loaded once: keypoint reader, reader of subjects, the exemplars' bodies."""

    def __init__(
        self, keypoints: KeypointReader, subjects: Subjects, suite: Suite, measure: str
    ) -> None:
        self.keypoints, self.subjects = keypoints, subjects
        self.bodies = Bodies.of(suite, keypoints, measure)


@dataclass(frozen=True)
class Bodies:
    """The exemplars' keypoints, E exemplars of A actions."""

    ids: tuple[str, ...]
    actions: np.ndarray
    """[E]: the action's place in the suite."""
    keypoints: np.ndarray
    """[E, 18, 3]"""
    by_image: Mapping[int, np.ndarray | None] = field(default_factory=dict)
    """The same, by the `id` of the exemplar's image."""
    measure: str = MEASURES[0]

    @classmethod
    def of(cls, suite: Suite, reader: KeypointReader, measure: str = MEASURES[0]) -> Bodies:
        """Those that come with the exemplars; read from the image if they do not.

        Raises UserError for an action of which no exemplar shows enough of a body.
        """
        rows = [
            (number, exemplar)
            for number, action in enumerate(suite.actions)
            for exemplar in suite.tasks[action.name].exemplars
        ]
        given = [exemplar.keypoints for _, exemplar in rows]
        unknown = [e for (_, e), points in zip(rows, given, strict=True) if points is None]
        read = iter(reader.read([e.image for e in unknown], [e.id for e in unknown]))
        keypoints = [next(read) if points is None else points for points in given]
        for number, action in enumerate(suite.actions):
            own = [p for (n, _), p in zip(rows, keypoints, strict=True) if n == number]
            if not any(body_found(points) for points in own):
                raise UserError(
                    f"no exemplar of '{action.name}' shows a body's keypoints: the pose judge "
                    "cannot tell this action"
                )
        return cls(
            ids=tuple(exemplar.id for _, exemplar in rows),
            actions=np.array([number for number, _ in rows]),
            keypoints=np.stack(keypoints),
            by_image={id(e.image): points for (_, e), points in zip(rows, keypoints, strict=True)},
            measure=measure,
        )

    @classmethod
    def grouped(cls, groups: Sequence[np.ndarray], measure: str) -> Bodies:
        """Of several actions' keypoints, each [n, 18, 3], without a suite."""
        numbers = [number for number, points in enumerate(groups) for _ in points]
        ids = tuple(f"{number}/{place}" for place, number in enumerate(numbers))
        return cls(ids, np.array(numbers), np.concatenate(groups), measure=measure)

    def alike(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        """[n, m] in [-1, 1] of bodies [n, 18, 3] and [m, 18, 3]; 0 for too little in common."""
        return (directions if self.measure == "directions" else similarity)(first, second)

    def scores(
        self, bodies: Sequence[np.ndarray | None], left_out: Collection[str] = ()
    ) -> np.ndarray:
        """[n, A]: each body's mean similarity to the nearest exemplars of each action; -1 for
        nobody."""
        kept = np.array([name not in left_out for name in self.ids])
        similar = np.full((len(bodies), len(self.ids)), -1.0)
        there = [n for n, body in enumerate(bodies) if body is not None]
        if there:
            found = np.stack([body for body in bodies if body is not None])
            similar[there] = self.alike(found, self.keypoints)
        return self._nearest(similar, np.broadcast_to(kept, similar.shape))

    def thresholds(self, left_out: Collection[str] = ()) -> np.ndarray:
        """[A]: balances an action's own exemplars, each against the others, and other actions'."""
        kept = np.array([name not in left_out for name in self.ids])
        others = kept & ~np.eye(len(kept), dtype=bool)
        scores = self._nearest(self.alike(self.keypoints, self.keypoints), others)[kept]
        own = np.arange(scores.shape[1]) == self.actions[kept][:, None]
        return np.array(
            [
                balancing_threshold(column[mine], column[~mine])
                for column, mine in zip(scores.T, own.T, strict=True)
            ]
        )

    def _nearest(self, similar: np.ndarray, allowed: np.ndarray) -> np.ndarray:
        """[n, A] from similarities and who counts, both [n, E]; -1 if nobody of an action
        does."""
        columns = []
        for action in range(self.actions.max() + 1):
            own = np.where(allowed, similar, np.nan)[:, self.actions == action]
            nearest = -np.sort(-own, axis=1)[:, :NEAREST]  # NaN last
            count = (~np.isnan(nearest)).sum(1)
            total = np.nansum(nearest, axis=1)
            columns.append(np.where(count > 0, total / np.maximum(count, 1), -1))
        return np.stack(columns, axis=1)


def similarity(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """The cosine of the limbs' vectors of bodies [n, 18, 3] and [m, 18, 3]: [n, m] in [-1, 1].

    Each limb counts by its visibility in both, which is that of its less visible end. With limbs
    u_i, v_i and weights w_i: sum w u.v / sqrt(sum w u.u sum w v.v). 1 for the same pose anywhere
    at any size, 0 where less than `MIN_SHARED` of the second's limbs are visible in the first.
    """
    one, visible = _limbs(first)
    two, shown = _limbs(second)
    weight = visible[:, None] * shown  # [n, m, 13]
    dot = np.einsum("nml,nld,mld->nm", weight, one, two)
    size = np.einsum("nml,nl->nm", weight, (one**2).sum(2))
    size = size * np.einsum("nml,ml->nm", weight, (two**2).sum(2))
    seen = ((visible > 0)[:, None] & (shown > 0)).sum(2)
    shared = (seen >= MIN_SHARED * (shown > 0).sum(1)) & (size > 0)
    cosine = np.zeros(dot.shape)
    np.divide(dot, np.sqrt(size), out=cosine, where=shared)
    return cosine


def directions(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """The mean cosine between the nine limbs of bodies [n, 18, 3] and [m, 18, 3]: [n, m].

    A limb counts by its visibility in both, which is that of its least visible end, and by how long
    it is in both beside `STANDARD`, up to 1: a limb that points at the viewer is short, and a pixel
    changes its direction. 1 for the same pose anywhere at any size; 0 where less than `MIN_SHARED`
    of the second's limbs are visible in the first.
    """
    one, length, visible = _bones(first)
    two, extent, shown = _bones(second)
    seen = (visible > 0)[:, None] & (shown > 0)
    weight = (visible * length)[:, None] * (shown * extent)
    cosine = np.einsum("nld,mld->nml", one, two)
    total = weight.sum(2)
    shared = (seen.sum(2) >= MIN_SHARED * (shown > 0).sum(1)) & (total > 0)
    result = np.zeros(total.shape)
    np.divide((weight * cosine).sum(2), total, out=result, where=shared)
    return result


def _bones(keypoints: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Unit vectors [n, 9, 2], lengths beside the standard in [0, 1], and visibility, [n, 9]."""
    points = keypoints.astype(np.float64)
    starts = np.stack([points[:, list(start), :2].mean(1) for start, _ in BONES], axis=1)
    ends = np.stack([points[:, list(end), :2].mean(1) for _, end in BONES], axis=1)
    visible = np.stack([points[:, [*start, *end], 2].min(1) for start, end in BONES], axis=1)
    vectors = ends - starts
    lengths = np.linalg.norm(vectors, axis=2)
    # The body's height, by the limbs that are seen.
    seen = visible > 0
    height = (lengths * seen).sum(1) / np.maximum((STANDARD * seen).sum(1), 1e-9)
    beside = lengths / np.maximum(height[:, None] * STANDARD, 1e-9)
    return vectors / np.maximum(lengths, 1e-9)[..., None], np.minimum(beside, 1), visible


def body_found(keypoints: np.ndarray | None) -> bool:
    """Whether at least half of arms, legs and torso are visible in keypoints [18, 3]."""
    if keypoints is None:
        return False
    visible = _bones(keypoints[None])[2][0] > 0
    return bool(visible.mean() >= MIN_SHARED)


def _limbs(keypoints: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Vectors [n, 13, 2] of the limbs and their visibility [n, 13]."""
    points = keypoints.astype(np.float64)
    ends = points[:, BODY]  # [n, 13, 2, 3]
    return ends[:, :, 1, :2] - ends[:, :, 0, :2], ends[..., 2].min(2)
