"""The exemplars of a fit as the UNet is trained on them: latents, and where they count."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from PIL import Image, ImageOps
from torch import Tensor

from actionbench.progress import SILENT, Progress
from actionbench.suite.bars import bars_note, content_box
from actionbench.suite.items import ActionTask

if TYPE_CHECKING:
    from actionbench.diffusion.backbone import Backbone


class Exemplars:
    """The exemplars' latents, and masks that keep bars out of the loss."""

    def __init__(self, backbone: Backbone, task: ActionTask, progress: Progress = SILENT) -> None:
        """Encode them. The progress is told of bars that take much of them."""
        images = [exemplar.image for exemplar in task.exemplars]
        self.latents = backbone.encode_images(images)
        self.masks = content_masks(backbone, images)
        """[n, 1, h, w], 1 where a cell of the latents shows no bar; None if there are no bars."""
        if self.masks is not None and (note := bars_note(task.action.name, images)):
            progress.note(note)

    def mask(self, rows: Sequence[int]) -> Tensor | None:
        """Return the masks of some exemplars [B, 1, h, w]; None if none of all has bars."""
        return None if self.masks is None else self.masks[list(rows)]


def content_masks(backbone: Backbone, images: Sequence[Image.Image]) -> Tensor | None:
    """Mark the latents' cells that lie between bars whole, or None if no image has bars.

    Images that are no squares get bars when they are encoded, and those are left out as well.
    """
    size = backbone.image_size
    cells = backbone.latent_size
    cell = size // cells
    masks = torch.zeros(len(images), 1, cells, cells)
    for mask, image in zip(masks, images, strict=True):
        left, top, right, bottom = content_box(ImageOps.pad(image.convert("RGB"), (size, size)))
        mask[:, -(-top // cell) : bottom // cell, -(-left // cell) : right // cell] = 1
        if not mask.any():  # narrower than a cell: better all than nothing
            mask.fill_(1)
    return None if bool(masks.all()) else masks.to(backbone.device)
