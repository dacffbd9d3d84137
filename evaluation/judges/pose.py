"""The pose judge: does the body stand as those of the exemplars do?

Keypoints are compared limb by limb: the similarity of two bodies is the cosine of their limbs'
vectors, all limbs taken together, so neither place nor size matters, and a limb that points at the
viewer, which is short and of uncertain direction, counts for little. Left is not right.
"""

from __future__ import annotations

import copy
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np

from actionbench.files.hashing import make_key
from actionbench.judge import Judge, Verdict
from actionbench.photos.keypoints import ANIMALS, DETECTOR, PERSON, POSE_MODEL, KeypointReader
from actionbench.settings import setting
from actionbench.suite.items import NONE, Item
from actionbench.suite.skeleton import LIMBS
from evaluation.judges.clip import ClipJudge, ClipSettings
from evaluation.judges.thresholds import balancing_threshold

if TYPE_CHECKING:
    from PIL.Image import Image

    from actionbench.suite.suite import Suite

RULES = 1
"""Version of how keypoints become verdicts; part of the fingerprint."""

BODY = np.array(LIMBS[:13]) - 1
"""[13, 2]: the ends of arms, legs, torso and neck; the face's four say little of an action."""

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
    detector: str = setting(DETECTOR, "RT-DETR: a folder, or a Hub id")
    min_score: float = setting(0.5, "lowest score of a body's box", low=0, high=1)
    min_visible: float = setting(0.3, "points that score less are not visible", low=0, high=1)
    animals: bool = setting(True, "boxes of animals are bodies too")
    whole_image: bool = setting(
        True, "where no box is found, a body is looked for in the whole image; false: no action"
    )


class PoseJudge(Judge):
    """Action by the body's keypoints against the exemplars'; subject by the clip judge.

    Keypoints say nothing of who it is: the answer to that is the clip judge's, and its weights and
    settings are part of this judge's fingerprint. The action seen is the most similar one of those
    above their thresholds, or none. An image in which nobody is found shows none.
    """

    name: ClassVar[str] = "pose"
    Settings: ClassVar[type] = PoseSettings
    left_out: frozenset[str] = frozenset()

    @property
    def downloads(self) -> tuple[str, ...]:
        return (*self._subjects().downloads, *self._keypoints().downloads)

    @cached_property
    def fingerprint(self) -> str:
        exemplars = [self.suite.tasks[action.name].fingerprint for action in self.suite.actions]
        return make_key(
            *("pose", RULES, NEAREST, MIN_SHARED, exemplars),
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

    def _subjects(self) -> ClipJudge:
        return ClipJudge(self.suite, self.device, self.settings)

    @cached_property
    def reader(self) -> PoseReader:
        return PoseReader(self._keypoints(), self._subjects(), self.suite)

    @cached_property
    def thresholds(self) -> np.ndarray:
        """[A]: from which score on an action is seen, by leave-one-out on the exemplars."""
        return self.reader.bodies.thresholds(self.left_out)

    def without(self, exemplars: Collection[str]) -> Self:
        other = copy.copy(self)
        other.__dict__.pop("thresholds", None)
        other.reader = self.reader  # loaded here, so that both have the same one
        other.left_out = frozenset(exemplars)
        return other

    def judge(self, images: Sequence[Image], items: Sequence[Item]) -> list[Verdict]:
        names = [action.name for action in self.suite.actions]
        # A calibration asks often about one, and shows exemplars, whose keypoints are known.
        known = self.reader.bodies.by_image
        strange = {id(image): image for image in images if id(image) not in known}
        bodies_read = self.reader.keypoints.find([*strange.values()])
        bodies = {**known, **dict(zip(strange, bodies_read, strict=True))}
        asked = list(dict.fromkeys(map(id, images)))
        read = self.reader.bodies.scores([bodies[image] for image in asked], self.left_out)
        scores = dict(zip(asked, read, strict=True))
        verdicts = []
        subjects = self.reader.subjects.judge(images, items)
        for image, item, subject in zip(images, items, subjects, strict=True):
            score = scores[id(image)]
            above = np.where(score >= self.thresholds, score, -np.inf)
            seen = names[int(above.argmax())] if np.isfinite(above).any() else NONE
            own = float(score[names.index(item.action.name)])
            verdicts.append(
                replace(
                    subject,
                    action_correct=seen == item.action.name,
                    action_seen=seen,
                    action_score=max(0.0, own),
                )
            )
        return verdicts


class PoseReader:
    """What is loaded once: keypoint reader, clip judge, the exemplars' bodies."""

    def __init__(self, keypoints: KeypointReader, subjects: ClipJudge, suite: Suite) -> None:
        self.keypoints, self.subjects = keypoints, subjects
        self.bodies = Bodies.of(suite, keypoints)


@dataclass(frozen=True)
class Bodies:
    """The exemplars' keypoints, E exemplars of A actions."""

    ids: tuple[str, ...]
    actions: np.ndarray
    """[E]: the action's place in the suite."""
    keypoints: np.ndarray
    """[E, 18, 3]"""
    by_image: Mapping[int, np.ndarray | None]
    """The same, by the `id` of the exemplar's image."""

    @classmethod
    def of(cls, suite: Suite, reader: KeypointReader) -> Bodies:
        """Those that come with the exemplars; read from the image if they do not."""
        rows = [
            (number, exemplar)
            for number, action in enumerate(suite.actions)
            for exemplar in suite.tasks[action.name].exemplars
        ]
        given = [exemplar.keypoints for _, exemplar in rows]
        unknown = [e for (_, e), points in zip(rows, given, strict=True) if points is None]
        read = iter(reader.read([e.image for e in unknown], [e.id for e in unknown]))
        keypoints = [next(read) if points is None else points for points in given]
        return cls(
            ids=tuple(exemplar.id for _, exemplar in rows),
            actions=np.array([number for number, _ in rows]),
            keypoints=np.stack(keypoints),
            by_image={id(e.image): points for (_, e), points in zip(rows, keypoints, strict=True)},
        )

    def scores(
        self, bodies: Sequence[np.ndarray | None], left_out: Collection[str] = ()
    ) -> np.ndarray:
        """[n, A]: each body's mean similarity to the nearest exemplars of each action; -1 for
        nobody."""
        kept = np.array([name not in left_out for name in self.ids])
        similar = np.full((len(bodies), len(self.ids)), -1.0)
        there = [n for n, body in enumerate(bodies) if body is not None]
        if there:
            present = np.stack([body for body in bodies if body is not None])
            similar[there] = similarity(present, self.keypoints)
        return self._nearest(similar, np.broadcast_to(kept, similar.shape))

    def thresholds(self, left_out: Collection[str] = ()) -> np.ndarray:
        """[A]: balances an action's own exemplars, each against the others, and other actions'."""
        kept = np.array([name not in left_out for name in self.ids])
        others = kept & ~np.eye(len(kept), dtype=bool)
        scores = self._nearest(similarity(self.keypoints, self.keypoints), others)[kept]
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


def _limbs(keypoints: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Vectors [n, 13, 2] of the limbs and their visibility [n, 13]."""
    points = keypoints.astype(np.float64)
    ends = points[:, BODY]  # [n, 13, 2, 3]
    return ends[:, :, 1, :2] - ends[:, :, 0, :2], ends[..., 2].min(2)
