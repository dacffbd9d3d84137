"""Loads models of transformers for looking at images: judges, keypoints, captions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from actionbench.errors import UserError, one_line

if TYPE_CHECKING:
    from actionbench.files.models import NetworkSource

T = TypeVar("T")


def quiet_libraries() -> None:
    """Switch off the libraries' own progress bars, and warnings of what nothing here needs."""
    from diffusers.utils import logging as diffusers_logging
    from transformers.utils import logging as transformers_logging

    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    diffusers_logging.disable_progress_bar()


def load_network(kind: Any, source: NetworkSource, device: str, dtype: str = "float32") -> Any:
    """A model class's network on a device, in evaluation mode, frozen. UserError where it fails."""
    network = load_part(kind, source, dtype=dtype, use_safetensors=True)
    return network.eval().requires_grad_(False).to(device)


def load_image_processor(source: NetworkSource) -> Any:
    """Always Pillow's version of it: pictures are prepared alike with torchvision and without."""
    from transformers import AutoImageProcessor

    return load_part(AutoImageProcessor, source, backend="pil")


def load_part(kind: Any, source: NetworkSource, **more: Any) -> Any:
    """`kind.from_pretrained` of files that are here already; UserError with the reason in a line.

    A missing package is told as such: some tokenizers need sentencepiece.
    """
    quiet_libraries()
    try:
        return kind.from_pretrained(source.path, local_files_only=True, **more)
    except Exception as error:  # of whatever kind: transformers raises many
        name = kind.__name__
        raise UserError(f"{source.name} cannot be loaded as {name}: {one_line(error)}") from error


def batched(rows: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    for start in range(0, len(rows), size):
        yield rows[start : start + size]
