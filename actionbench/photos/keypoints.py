"""Keypoints of the body in a picture: RT-DETR finds the box, ViTPose the body in it.

Without a detector the whole picture is the box: drawings show one body each, and no detector of
photographs knows them.

Sources: RT-DETR (Zhao et al. 2024, arXiv 2304.08069), ViTPose (Xu et al. 2022, arXiv 2204.12484).
Keypoints are float32 [18, 3] in OpenPose's order: x and y in [0, 1], and how visible the point is
in [0, 1].
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from actionbench.errors import UserError
from actionbench.files.hashing import make_key
from actionbench.files.models import Network, NetworkSource, from_hub, resolve_network
from actionbench.files.networks import (
    batched,
    check_finite,
    judge_advice,
    load_image_processor,
    load_network,
)

if TYPE_CHECKING:
    from PIL.Image import Image

# Recalled and not verified here; another folder or id (owner/name@revision) can be used as well.
POSE_MODEL = "usyd-community/vitpose-base-simple"
DETECTOR = "PekingU/rtdetr_r50vd_coco_o365"

PERSON = (0,)
"""The detector's label of people, among COCO's 80 counted from 0."""
ANIMALS = tuple(range(14, 24))
"""The labels of animals: bird, cat, dog, horse, sheep, cow, elephant, bear, zebra, giraffe."""

FROM_COCO = (0, None, 6, 8, 10, 5, 7, 9, 12, 14, 16, 11, 13, 15, 2, 1, 4, 3)
"""OpenPose's 18 points among COCO's 17. COCO has no neck: it is the middle of the shoulders."""
_SHOULDERS = (5, 6)

WIDENED = 1.25
"""By how much ViTPose's image processor enlarges a box around its middle."""

RULES = 1
"""Version of how boxes and points are chosen; part of the fingerprint."""


class KeypointReader:
    """A reader of people's keypoints; its weights are loaded once, by the first reading.

    Args:
        pose_model, detector: folders or Hub ids of a ViTPose with COCO's 17 points and of an
            RT-DETR with COCO's 80 labels. No detector: the whole picture, squeezed to the pose
            model's size, is the box of each; `labels`, `min_score` and `whole_image` then decide
            nothing.
        labels: the detector's labels that count as a body.
        min_score: the lowest score of a box, in [0, 1].
        min_visible: points with a lower score count as not visible (0).
        whole_image: look for a body in the whole image if no box is found.
        batch_size: images at once; it changes only speed and memory.
    """

    def __init__(
        self,
        device: str = "cpu",
        pose_model: str = POSE_MODEL,
        detector: str | None = DETECTOR,
        *,
        labels: Sequence[int] = PERSON,
        min_score: float = 0.5,
        min_visible: float = 0.3,
        whole_image: bool = False,
        batch_size: int = 16,
    ) -> None:
        self.device, self.batch_size = device, batch_size
        self.pose_model, self.detector = pose_model, detector
        self.labels, self.min_score, self.min_visible = tuple(labels), min_score, min_visible
        self.whole_image = whole_image

    @property
    def networks(self) -> tuple[Network, ...]:
        """The detector, if there is one, and the pose model."""
        pose = Network(self.pose_model, "transformers.VitPoseForPoseEstimation", ("images",))
        if self.detector is None:
            return (pose,)
        return (Network(self.detector, "transformers.RTDetrForObjectDetection", ("images",)), pose)

    @property
    def downloads(self) -> tuple[str, ...]:
        """The Hub ids of the models, unless they are local folders."""
        return from_hub(*(network.path_or_id for network in self.networks))

    @cached_property
    def sources(self) -> tuple[NetworkSource | None, NetworkSource]:
        """The detector, if there is one, and the pose model.

        Raises:
            UserError: if one is missing.
        """
        *detector, pose = self.networks
        return (
            resolve_network(detector[0].path_or_id, "person detector", detector[0].beside)
            if detector
            else None,
            resolve_network(pose.path_or_id, "pose model", pose.beside),
        )

    @property
    def fingerprint(self) -> str:
        detector, pose = self.sources
        if detector is None:
            return make_key("keypoints", RULES, "whole picture", pose.fingerprint, self.min_visible)
        chosen = (self.labels, self.min_score, self.min_visible, self.whole_image)
        return make_key("keypoints", RULES, detector.fingerprint, pose.fingerprint, *chosen)

    def read(self, images: Sequence[Image], names: Sequence[str] | None = None) -> list[np.ndarray]:
        """Return the keypoints of the most prominent person of each image.

        Raises:
            UserError: if an image shows nobody; it names all of them, by `names` or number.
        """
        keypoints = self.find(images)
        missing = [n for n, points in enumerate(keypoints) if points is None]
        if missing:
            empty = ", ".join(names[n] if names else str(n + 1) for n in missing)
            raise UserError(f"no person found in image {empty}: take another picture of the action")
        return [points for points in keypoints if points is not None]

    def find(self, images: Sequence[Image]) -> list[np.ndarray | None]:
        """Return the keypoints of each image's most prominent person; None if it shows nobody."""
        keypoints: list[np.ndarray | None] = []
        for batch in batched(images, self.batch_size):
            pictures = [image.convert("RGB") for image in batch]
            if self.detector is None:
                keypoints += self._whole(pictures)
                continue
            boxes = self._boxes(pictures)
            boxed = [n for n, box in enumerate(boxes) if box is not None]
            points = iter(self._points([pictures[n] for n in boxed], [boxes[n] for n in boxed]))
            keypoints += [None if box is None else next(points) for box in boxes]
        return keypoints

    @cached_property
    def _detector(self) -> tuple[Any, Any]:
        from transformers import RTDetrForObjectDetection

        source = self.sources[0]
        assert source is not None  # only asked for if there is a detector
        return (
            load_image_processor(source),
            load_network(RTDetrForObjectDetection, source, self.device),
        )

    @cached_property
    def _pose(self) -> tuple[Any, Any]:
        from transformers import VitPoseForPoseEstimation

        source = self.sources[1]
        return (
            load_image_processor(source),
            load_network(VitPoseForPoseEstimation, source, self.device),
        )

    def _boxes(self, images: Sequence[Image]) -> list[np.ndarray | None]:
        """Return each image's box in COCO's form: left, top, width and height in pixels.

        It is the box with the largest area times score among those that score enough.
        """
        import torch

        processor, network = self._detector
        with torch.inference_mode():
            inputs = processor(list(images), return_tensors="pt").to(self.device)
            answer = network(**inputs)
        # Each query of the detector is a box with a score for each label.
        labels = [label for label in self.labels if label < answer.logits.shape[-1]]
        scores = answer.logits[..., labels].sigmoid().amax(-1).cpu().numpy()
        boxes = answer.pred_boxes.cpu().numpy()  # middle, width and height, in [0, 1]
        read = np.concatenate([scores[..., None], boxes], axis=2)
        check_finite(read, f"boxes by the person detector {self.detector}", judge_advice("float32"))
        chosen: list[np.ndarray | None] = []
        for image, own, sizes in zip(images, scores, boxes, strict=True):
            worth = np.where(own >= self.min_score, own * sizes[:, 2] * sizes[:, 3], 0)
            best = int(worth.argmax())
            if worth[best] > 0:
                x, y, width, height = sizes[best]
                scale = np.array([image.width, image.height] * 2)
                chosen.append(np.array([x - width / 2, y - height / 2, width, height]) * scale)
            elif self.whole_image:
                chosen.append(np.array([0.0, 0.0, image.width, image.height]))
            else:
                chosen.append(None)
        return chosen

    def _whole(self, images: Sequence[Image]) -> list[np.ndarray]:
        """Keypoints of pictures each of which is a body's box as a whole.

        The image processor widens a box by a quarter and samples the picture anew. A picture of the
        network's size under this box keeps its pixels as they are.
        """
        from PIL.Image import Resampling

        size = self._pose[0].size
        width, height = size["width"], size["height"]
        squeezed = [image.resize((width, height), Resampling.BILINEAR) for image in images]
        inner = np.array([width - 1, height - 1]) / WIDENED
        corner = (np.array([width - 1, height - 1]) - inner) / 2
        return self._points(squeezed, [np.concatenate([corner, inner])] * len(images))

    def _points(self, images: Sequence[Image], boxes: Sequence[Any]) -> list[np.ndarray]:
        import torch

        if not images:
            return []
        processor, network = self._pose
        each = [[box] for box in boxes]
        with torch.inference_mode():
            inputs = processor(list(images), boxes=each, return_tensors="pt").to(self.device)
            answer = network(**inputs)
        what = f"points by the pose model {self.pose_model}"
        check_finite(answer.heatmaps, what, judge_advice("float32"))
        bodies = processor.post_process_pose_estimation(answer, boxes=each)
        return [
            from_coco(
                body["keypoints"].numpy() / [image.width, image.height],
                body["scores"].numpy(),
                self.min_visible,
            )
            for image, (body,) in zip(images, bodies, strict=True)
        ]


def from_coco(points: np.ndarray, scores: np.ndarray, min_visible: float) -> np.ndarray:
    """Make OpenPose's points [18, 3] of COCO's points [17, 2] in [0, 1] and scores [17].

    A point below `min_visible`, or outside of the image, has visibility 0; the neck is as visible
    as the worse of the shoulders.
    """
    inside = ((points >= 0) & (points <= 1)).all(1)
    visible = np.where(inside & (scores >= min_visible), np.clip(scores, 0, 1), 0)
    coco = np.concatenate([np.clip(points, 0, 1), visible[:, None]], axis=1)
    shoulders = coco[[*_SHOULDERS]]
    neck = np.append(shoulders[:, :2].mean(0), shoulders[:, 2].min())
    return np.stack([neck if n is None else coco[n] for n in FROM_COCO]).astype(np.float32)


def to_coco(keypoints: np.ndarray) -> np.ndarray:
    """COCO's [..., 17, 3] from OpenPose's [..., 18, 3]: the neck is left out."""
    order = [FROM_COCO.index(point) for point in range(17)]
    coco: np.ndarray = keypoints[..., order, :]
    return coco
