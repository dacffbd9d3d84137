"""Captions by a model: one of those that turn an image into a sentence, such as BLIP."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from actionbench.errors import UserError, one_line
from actionbench.progress import SILENT, Progress

if TYPE_CHECKING:
    from PIL.Image import Image

BATCH = 8
MAX_NEW_TOKENS = 40
BEAMS = 3
"""Beam search without sampling: the same photograph has the same caption."""


class Captioner:
    """A captioning model of transformers' image-text-to-text classes; loaded at its first use.

    Source of BLIP: Li et al., ICML 2022, arXiv 2201.12086.
    """

    def __init__(self, path_or_id: str, device: str = "cpu") -> None:
        self.name = path_or_id
        self.device = device

    def caption(self, images: Sequence[Image], progress: Progress = SILENT) -> list[str]:
        """A caption an image. Raises UserError for a model that cannot be had or says nothing."""
        import torch

        processor, model = self._loaded
        captions: list[str] = []
        for begin in range(0, len(images), BATCH):
            batch = processor(images=list(images[begin : begin + BATCH]), return_tensors="pt")
            with torch.inference_mode():
                tokens = model.generate(
                    **batch.to(self.device),
                    max_new_tokens=MAX_NEW_TOKENS,
                    num_beams=BEAMS,
                    do_sample=False,
                )
            captions += processor.batch_decode(tokens, skip_special_tokens=True)
            progress.update(len(captions), len(images), "writing captions")
        found = [" ".join(caption.split()) for caption in captions]
        if not all(found):
            raise UserError(f"the captioner {self.name} said nothing of an image: take another")
        return found

    @cached_property
    def _loaded(self) -> tuple[Any, Any]:
        from actionbench.backbone import quiet_libraries

        quiet_libraries()
        from transformers import AutoModelForImageTextToText, AutoProcessor

        try:
            processor = AutoProcessor.from_pretrained(self.name)
            model = AutoModelForImageTextToText.from_pretrained(self.name, use_safetensors=True)
        except (OSError, ValueError, KeyError) as error:
            raise UserError(
                f"the captioner {self.name} cannot be had ({one_line(error)}): name a folder or a "
                "Hub id of a captioning model with safetensors weights, such as BLIP"
            ) from error
        return processor, model.to(self.device).eval()
