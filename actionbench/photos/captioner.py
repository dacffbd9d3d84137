"""Captions by a model that turns an image into a sentence, such as BLIP."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from actionbench.errors import UserError
from actionbench.files.models import resolve_network
from actionbench.files.networks import (
    batched,
    check_finite,
    judge_advice,
    load_network,
    load_part,
)
from actionbench.progress import SILENT, Progress

if TYPE_CHECKING:
    from PIL.Image import Image

BATCH = 8
MAX_NEW_TOKENS = 40
BEAMS = 3
"""Beam search without sampling: the same photograph has the same caption."""


class Captioner:
    """A captioning model of transformers' image-text-to-text classes, loaded when first used.

    Source of BLIP: Li et al., ICML 2022, arXiv 2201.12086.
    """

    def __init__(self, path_or_id: str, device: str = "cpu") -> None:
        self.name = path_or_id
        self.device = device

    def caption(self, images: Sequence[Image], progress: Progress = SILENT) -> list[str]:
        """Return a caption for each image.

        Raises:
            UserError: if the model cannot be fetched or loaded, or says nothing about an image.
        """
        import torch

        processor, model = self._loaded
        captions: list[str] = []
        for batch in batched(images, BATCH):
            inputs = processor(images=list(batch), return_tensors="pt").to(self.device)
            with torch.inference_mode():
                answer = model.generate(
                    **inputs,
                    max_new_tokens=MAX_NEW_TOKENS,
                    num_beams=BEAMS,
                    do_sample=False,
                    return_dict_in_generate=True,
                    output_scores=True,
                )
            check_finite(
                answer.sequences_scores,
                f"scores of captions by the captioner {self.name}",
                judge_advice("float32"),
            )
            captions += processor.batch_decode(answer.sequences, skip_special_tokens=True)
            progress.update(len(captions), len(images), "writing captions")
        captions = [" ".join(caption.split()) for caption in captions]
        if not all(captions):
            raise UserError(f"the captioner {self.name} says nothing about an image: use another")
        return captions

    @cached_property
    def _loaded(self) -> tuple[Any, Any]:
        from transformers import AutoModelForImageTextToText, AutoProcessor

        source = resolve_network(self.name, "captioner", ("tokenizer", "images"))
        return (
            load_part(AutoProcessor, source.path, source.name, backend="pil"),
            load_network(AutoModelForImageTextToText, source, self.device),
        )
