"""Loading of networks, and checks of what they hold and of what comes out of them.

Every network of this project is loaded here. The libraries put random numbers in place of weights
that a file lacks, and pass over those that it has under another name, with no more than a warning;
a benchmark would then go on and print figures. So what is stored is compared with what the class
needs, by names and shapes, and refused if they differ. Old names that a library converts itself are
no difference.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from actionbench.errors import UserError
from actionbench.files.models import (
    kind_of_folder,
    network_class,
    stored_shapes,
    variant_of,
    weight_files,
)

if TYPE_CHECKING:
    from torch import nn

    from actionbench.files.models import Network, NetworkSource

T = TypeVar("T")
Shape = tuple[int, ...]

_NAMED = 3
"""So many names of weights are in a message; the rest is counted."""
_COMPUTED = re.compile(r"(^|\.)(position_ids|num_batches_tracked|inv_freq)$")
"""Buffers that a network computes itself or does not use to predict: some versions of the libraries
store them, others do not."""
HALF = ("float16", "bfloat16")


def quiet_libraries() -> None:
    """Switch off the libraries' progress bars, and warnings about parts that are not used here."""
    from diffusers.utils import logging as diffusers_logging

    _quiet_transformers()
    diffusers_logging.disable_progress_bar()


def _quiet_transformers() -> None:
    from transformers.utils import logging as transformers_logging

    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()


# -- what a file holds against what a class needs ------------------------------------------


@dataclass(frozen=True)
class Differences:
    """What distinguishes stored weights from those that a network needs; empty if nothing does."""

    missing: tuple[str, ...] = ()
    """Names of weights that the network needs and the file lacks."""
    unused: tuple[str, ...] = ()
    """Names that the file has and the network does not know."""
    other_shape: tuple[str, ...] = ()
    """Each a name with the stored and the needed shape."""

    @classmethod
    def of(
        cls,
        missing: Iterable[str],
        unused: Iterable[str],
        other_shape: Iterable[tuple[str, Sequence[int], Sequence[int]]],
    ) -> Differences:
        """Sort names, and leave out buffers that a network computes itself.

        Args:
            other_shape: name, stored and needed shape.
        """
        shapes = (f"{name} {[*has]}, needed {[*needs]}" for name, has, needs in other_shape)

        def kept(names: Iterable[str]) -> tuple[str, ...]:
            return tuple(sorted(name for name in names if not _COMPUTED.search(name)))

        return cls(kept(missing), kept(unused), tuple(sorted(shapes)))

    @classmethod
    def between(cls, needed: Mapping[str, Shape], stored: Mapping[str, Shape]) -> Differences:
        """Compare names and shapes."""
        both = needed.keys() & stored.keys()
        return cls.of(
            needed.keys() - stored.keys(),
            stored.keys() - needed.keys(),
            [(name, stored[name], needed[name]) for name in both if stored[name] != needed[name]],
        )

    def __bool__(self) -> bool:
        return bool(self.missing or self.unused or self.other_shape)

    def __str__(self) -> str:
        parts = (
            ("missing", self.missing),
            ("not known to it", self.unused),
            ("of another shape", self.other_shape),
        )
        return "; ".join(
            f"{len(names)} {what} ({', '.join([*names[:_NAMED], *['...'][: len(names) - _NAMED]])})"
            for what, names in parts
            if names
        )

    def refuse(self, where: object, kind: str) -> None:
        """Raise UserError if there are any.

        Args:
            where: the file, folder or model that holds the weights.
            kind: the class that needs other ones.
        """
        if self:
            raise UserError(
                f"{where}: its weights are not those of {kind}: {self}; fetch it again, or save it "
                "anew with the library that made it"
            )


def check_stored(loader: Any, folder: Path, variant: str | None = None) -> Differences:
    """Compare a folder's weights with what their class needs, by the files' headers alone.

    The network is made on torch's `meta` device, where tensors have shapes but no content.

    Args:
        loader: a network's class of diffusers or transformers.
        folder: config and weights.
        variant: `fp16` for the weights in half precision.

    Raises:
        UserError: if the config is no such network's.
    """
    import torch
    from diffusers import ModelMixin

    quiet_libraries()
    stored = {
        name: torch.empty(shape, device="meta")
        for name, shape in stored_shapes(folder, variant).items()
    }
    try:
        if isinstance(loader, type) and issubclass(loader, ModelMixin):
            return _compare_diffusers(loader, folder, variant, stored)
        return _compare_transformers(loader, folder, stored)
    except UserError:
        raise
    except Exception as error:  # the libraries raise errors of many kinds for a strange config
        raise _cannot_be("read", loader, folder, error) from error


def _compare_diffusers(
    loader: Any, folder: Path, variant: str | None, stored: dict[str, Any]
) -> Differences:
    import torch

    with torch.device("meta"):
        network = loader.from_config(loader.load_config(folder, local_files_only=True))
    if len(weight_files(folder, variant)) == 1:  # as the library does, which converts no shards
        # Names of attention blocks before diffusers 0.12.
        network._fix_state_dict_keys_on_load(stored)
    passed_over = loader._keys_to_ignore_on_load_unexpected or ()
    known = {
        name: tuple(tensor.shape)
        for name, tensor in stored.items()
        if not any(re.search(pattern, name) for pattern in passed_over)
    }
    return Differences.between(_shapes(network.state_dict()), known)


def _compare_transformers(loader: Any, folder: Path, stored: dict[str, Any]) -> Differences:
    import torch
    from transformers import AutoConfig, PreTrainedModel
    from transformers.conversion_mapping import get_model_conversion_mapping
    from transformers.modeling_utils import LoadStateDictConfig

    whole = isinstance(loader, type) and issubclass(loader, PreTrainedModel)
    config_class = loader.config_class if whole else AutoConfig
    config = config_class.from_pretrained(folder, local_files_only=True)
    with torch.device("meta"):
        network = loader(config) if whole else loader.from_config(config)
    # The library's own loading, which converts old names, with tensors that have no content.
    loading = LoadStateDictConfig(
        device_map={"": "meta"},
        dtype=torch.float32,
        ignore_mismatched_sizes=True,
        weight_mapping=get_model_conversion_mapping(network),
    )
    info, _ = network._load_pretrained_model(network, stored, None, loading)
    network.tie_weights(missing_keys=info.missing_keys, recompute_mapping=False)
    network._adjust_missing_and_unexpected_keys(info)
    return Differences.of(info.missing_keys, info.unexpected_keys, info.mismatched_keys)


def _shapes(tensors: Mapping[str, Any]) -> dict[str, Shape]:
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}


def check_network(network: Network, folder: Path) -> Differences:
    """Compare what a method or judge loads from a folder with what its class needs.

    Raises:
        UserError: if the config is no such network's.
    """
    return check_stored(library_class(network.loader), folder, variant_of(folder))


def check_pipeline(folder: Path, half: Sequence[str] = ()) -> dict[str, Differences]:
    """Compare the weights of a pipeline's networks with what their classes need, by part.

    Args:
        half: the parts whose weights are there in half precision only.

    Raises:
        UserError: for a class that is not of diffusers or transformers.
    """
    return {
        part: check_stored(
            library_class(network_class(folder, part)),
            folder / part,
            "fp16" if part in half else None,
        )
        for part in kind_of_folder(folder).networks
    }


def library_class(name: str) -> Any:
    """Return a class of diffusers or transformers by its name: `diffusers.ControlNetModel`.

    Raises:
        UserError: if there is none. No code of a model's own is ever run.
    """
    library, _, kind = name.partition(".")
    if library not in ("diffusers", "transformers"):
        raise UserError(
            f"{name} is no class of diffusers or transformers, and no code of a model is run: "
            "take a model that these libraries load"
        )
    try:
        return getattr(importlib.import_module(library), kind)
    except AttributeError:
        raise UserError(
            f"{library} has no class {kind}: update it, or take another model"
        ) from None


# -- loading -------------------------------------------------------------------------------


def load_weights(kind: Any, folder: Path, name: str | None = None, **more: Any) -> Any:
    """Load a network by `kind.from_pretrained` from files on this machine, with all its weights.

    Args:
        kind: a network's class of diffusers or transformers.
        folder: config and weights.
        name: what messages call it; the folder if None.
        more: other arguments of `from_pretrained`.

    Raises:
        UserError: if that fails, or if names or shapes of the stored weights are not those that the
            class needs.
    """
    from diffusers import ModelMixin

    quiet_libraries()
    of_diffusers = isinstance(kind, type) and issubclass(kind, ModelMixin)
    if of_diffusers:
        more = {"low_cpu_mem_usage": False, **more}  # otherwise it asks for accelerate
    try:
        network, info = kind.from_pretrained(
            folder,
            local_files_only=True,
            use_safetensors=True,
            output_loading_info=True,
            # So that names and shapes are compared in one place: below.
            ignore_mismatched_sizes=True,
            **more,
        )
    except Exception as error:  # the libraries raise errors of many kinds
        raise _cannot_be("loaded", kind, name or folder, error) from error
    differences = Differences.of(
        info["missing_keys"], info["unexpected_keys"], info["mismatched_keys"]
    )
    differences.refuse(name or folder, type(network).__name__)
    if of_diffusers and "dtype" in more:
        # The library looks at the first weight's format alone, and that may be a buffer's.
        for parameter in network.parameters():
            parameter.data = parameter.data.to(more["dtype"])
    return network


def load_pipeline(
    folder: Path, dtype: str = "float32", variant: Callable[[str], str | None] = lambda part: None
) -> Any:
    """Load a pipeline of a known kind, whatever number format it has on disk, as `dtype`.

    What would change an image afterwards is left out (`Kind.without`).

    Args:
        variant: says which weights are loaded of a part: `fp16`, or None for plain ones.

    Raises:
        UserError: as `load_weights`.
    """
    quiet_libraries()
    import torch

    kind = kind_of_folder(folder)
    networks = {
        part: load_weights(
            library_class(network_class(folder, part)),
            folder / part,
            dtype=getattr(torch, dtype),
            variant=variant(part),
        )
        for part in kind.networks
    }
    return load_part(
        # After `quiet_libraries`, because transformers warns of a missing torchvision.
        library_class(f"diffusers.{kind.pipelines[0]}"),
        folder,
        **networks,
        low_cpu_mem_usage=False,  # otherwise it asks for accelerate
        **kind.without,
    )


def load_network(kind: Any, source: NetworkSource, device: str, dtype: str = "float32") -> Any:
    """Load a network of transformers onto a device, in evaluation mode and frozen.

    Raises:
        UserError: as `load_weights`.
    """
    network = load_weights(kind, source.path, source.name, dtype=dtype)
    return network.eval().requires_grad_(False).to(device)


def load_state(module: nn.Module, tensors: Mapping[str, Any], where: object) -> None:
    """Copy tensors into a module of this project, whatever number format they have.

    Args:
        where: the file that they are from; messages name it.

    Raises:
        UserError: if their names or shapes are not the module's.
    """
    differences = Differences.between(_shapes(module.state_dict()), _shapes(tensors))
    differences.refuse(where, type(module).__name__)
    module.load_state_dict(tensors, strict=False)  # strict but for what is computed, see above


def load_part(kind: Any, folder: Path, name: str | None = None, **more: Any) -> Any:
    """Call `from_pretrained` of what has no weights: a tokenizer, image processor or config.

    Args:
        kind: its class, or a pipeline's whose networks are in `more`.
        folder: files on this machine.
        name: what messages call it; the folder if None.

    Raises:
        UserError: if that fails, with the reason in one line. It names a missing package: some
            tokenizers need sentencepiece.
    """
    _quiet_transformers()  # diffusers would load torch, which a tokenizer does without
    try:
        return kind.from_pretrained(folder, local_files_only=True, **more)
    except Exception as error:  # the libraries raise errors of many kinds
        raise _cannot_be("loaded", kind, name or folder, error) from error


def _cannot_be(done: str, kind: Any, where: object, error: Exception) -> UserError:
    """Return the error for files that a library refuses: with its words, and how to go on."""
    reason = str(error).strip().partition("\n")[0].rstrip(".:") or type(error).__name__
    if isinstance(error, KeyError):  # its words are the name alone
        reason = f"{reason} is missing"
    if isinstance(error, ImportError):
        fix = "install that package"
    elif isinstance(error, MemoryError):
        fix = "there is not enough memory; end other programs, or take a smaller model"
    else:
        fix = "fetch it again, or save it anew with the library that made it"
    return UserError(f"{where} cannot be {done} as {kind.__name__} ({reason}): {fix}")


def load_image_processor(source: NetworkSource) -> Any:
    """Load a model's image processor in Pillow's version, with torchvision installed or without.

    So pictures are prepared the same way on every machine.
    """
    from transformers import AutoImageProcessor

    return load_part(AutoImageProcessor, source.path, source.name, backend="pil")


# -- what comes out ------------------------------------------------------------------------


def check_finite(numbers: Any, what: str, advice: str) -> None:
    """Raise UserError unless all numbers of a batch are finite.

    To be called once a batch, not once a step: the answer makes a GPU wait. Numbers that are not
    finite become black pictures and wrong verdicts later on, without an error.

    Args:
        numbers: a tensor or array, a row for each picture or text.
        what: where they come from: "the autoencoder's pixels".
        advice: what the user can try.
    """
    import torch

    finite = torch.as_tensor(numbers).detach().isfinite()
    if not bool(finite.all()):
        rows = int((~finite.reshape(len(finite), -1).all(1)).sum())
        raise UserError(
            f"{what} are not finite numbers (NaN or infinite) in {rows} of {len(finite)}: {advice}"
        )


def judge_advice(dtype: str) -> str:
    """Say what to try if a judge's numbers are not finite."""
    if dtype in HALF:
        return f"{dtype} may be too narrow for it: take --judge-set dtype=float32"
    return "its weights are damaged: fetch it again, or take another model"


def batched(rows: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """Yield rows in batches of `size`; the last may be smaller."""
    for start in range(0, len(rows), size):
        yield rows[start : start + size]
