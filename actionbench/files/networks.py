"""Loading of transformers' models that look at images: judges, keypoints, captions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from actionbench.errors import UserError, one_line

if TYPE_CHECKING:
    from actionbench.files.models import NetworkSource

T = TypeVar("T")


def quiet_libraries() -> None:
    """Switch off the libraries' progress bars, and warnings about parts that are not used here."""
    from diffusers.utils import logging as diffusers_logging
    from transformers.utils import logging as transformers_logging

    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    diffusers_logging.disable_progress_bar()


def load_network(kind: Any, source: NetworkSource, device: str, dtype: str = "float32") -> Any:
    """Load a network onto a device, in evaluation mode and frozen.

    Raises:
        UserError: if it cannot be loaded.
    """
    network = load_part(kind, source, dtype=dtype, use_safetensors=True)
    return network.eval().requires_grad_(False).to(device)


def load_image_processor(source: NetworkSource) -> Any:
    """Load a model's image processor in Pillow's version, with torchvision installed or without.

    So pictures are prepared the same way on every machine.
    """
    from transformers import AutoImageProcessor

    return load_part(AutoImageProcessor, source, backend="pil")


def load_part(kind: Any, source: NetworkSource, **more: Any) -> Any:
    """Call `kind.from_pretrained` on files that are on this machine.

    Raises:
        UserError: if that fails, with the reason in one line. It names a missing package: some
            tokenizers need sentencepiece.
    """
    quiet_libraries()
    try:
        return kind.from_pretrained(source.path, local_files_only=True, **more)
    except Exception as error:  # transformers raises errors of many kinds
        name = kind.__name__
        raise UserError(f"{source.name} cannot be loaded as {name}: {one_line(error)}") from error


def batched(rows: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """Yield rows in batches of `size`; the last may be smaller."""
    for start in range(0, len(rows), size):
        yield rows[start : start + size]
