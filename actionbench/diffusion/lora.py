"""Low-rank adapters of the denoiser's linear layers, by peft.

Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", ICLR 2022, arXiv 2106.09685: a
layer y = W x becomes y = W x + alpha / rank * B A x, and A [rank, in] and B [out, rank] alone
learn. B is zero at the start, so that the model begins as it is.

While a fit or a drawing lasts, peft's layers stand in the denoiser in place of its own, which they
hold unchanged; afterwards its own stand there again. So nothing is merged into the weights, and no
bit of them moves, in half precision either.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from actionbench.diffusion.denoising import randn
from actionbench.diffusion.finetune import Draw, Finetuned, FinetuneSettings, train, with_prior
from actionbench.errors import UserError
from actionbench.progress import Progress
from actionbench.settings import setting

if TYPE_CHECKING:
    from PIL.Image import Image

    from actionbench.diffusion.backbone import Backbone

_ADAPTER = "fit"
"""The adapter's name in peft's layers."""
_PARTS = ("lora_A", "lora_B")
_READ = "read: diffusers, examples/dreambooth, train_dreambooth_lora"
_ATTENTION = (
    *("to_q", "to_k", "to_v", "to_out.0"),
    # The text's stream in joint attention.
    *("add_q_proj", "add_k_proj", "add_v_proj", "to_add_out"),
)


@dataclass(frozen=True)
class LoraSettings:
    """The adapter's, for a method that can train one instead of the whole denoiser."""

    rank: int = setting(4, "train=lora: the adapter's rank", low=1, source=_READ, before=4)
    alpha: float | None = setting(
        None,
        "train=lora: the adapter is multiplied by alpha / rank; none: rank, so that it is not",
        low=0,
        source=_READ,
        before=None,
    )
    adapted: tuple[str, ...] = setting(
        _ATTENTION,
        "train=lora: the linear layers that get an adapter, by the ends of their names",
        source=f"{_READ}: all of attention; of joint attention recalled",
        before=_ATTENTION,
    )


def new_adapter(
    backbone: Backbone, settings: LoraSettings, generator: torch.Generator
) -> dict[str, Tensor]:
    """Make an adapter that changes nothing yet: A of normal numbers of size 1 / rank, B of zeros.

    Args:
        backbone: whose denoiser is adapted.
        settings: rank and layers.
        generator: a CPU generator.

    Returns:
        `LAYER.lora_A.weight` [rank, in] and `LAYER.lora_B.weight` [out, rank] for each adapted
        layer, float32.

    Raises:
        UserError: no linear layer has a name with one of the ends.
    """
    ends = tuple(f".{end}" for end in settings.adapted)
    layers = {
        name: module
        for name, module in backbone.denoiser.named_modules()
        if isinstance(module, torch.nn.Linear) and f".{name}".endswith(ends)
    }
    if not layers:
        raise UserError(
            f"no linear layer of the {backbone.kind.noun} of {backbone.name} ends with "
            f"{', '.join(settings.adapted)}: name some that it has with --set adapted="
        )
    rank = settings.rank
    weights: dict[str, Tensor] = {}
    for name, layer in layers.items():
        like = torch.empty((), device=backbone.device)
        down = randn((rank, layer.in_features), generator, like) / rank
        up = torch.zeros(layer.out_features, rank, device=backbone.device)
        weights |= {f"{name}.lora_A.weight": down, f"{name}.lora_B.weight": up}
    return weights


@contextmanager
def adapted(
    backbone: Backbone, weights: Mapping[str, Tensor], alpha: float
) -> Iterator[dict[str, torch.nn.Parameter]]:
    """Let the denoiser compute with an adapter while inside.

    Args:
        backbone: whose denoiser it is; it has its own layers again afterwards, whatever happens.
        weights: as `new_adapter` makes them.
        alpha: what the adapter is multiplied by, over its rank.

    Yields:
        The adapter's weights by name, float32 on the backbone's device, in peft's layers.

    Raises:
        UserError: if the denoiser has no such layer, or one of another shape.
    """
    from peft import LoraConfig, inject_adapter_in_model

    denoiser = backbone.denoiser
    own = _adapted_layers(backbone, weights)
    (rank,) = {len(weights[f"{name}.lora_A.weight"]) for name in own}
    config = LoraConfig(r=rank, lora_alpha=alpha, target_modules=list(own))
    try:
        # On the meta device, so that nothing is drawn from torch's global generator.
        inject_adapter_in_model(config, denoiser, _ADAPTER, low_cpu_mem_usage=True)
        parameters = {}
        for name in own:
            layer = denoiser.get_submodule(name)
            for part in _PARTS:
                weight = weights[f"{name}.{part}.weight"].to(backbone.device, torch.float32)
                parameter = torch.nn.Parameter(weight.clone(), requires_grad=False)
                getattr(layer, part)[_ADAPTER].weight = parameter
                parameters[f"{name}.{part}.weight"] = parameter
        yield parameters
    finally:
        for name, layer in own.items():
            denoiser.set_submodule(name, layer)
        vars(denoiser).pop("peft_config", None)


def _adapted_layers(
    backbone: Backbone, weights: Mapping[str, Tensor]
) -> dict[str, torch.nn.Linear]:
    """Find the layers that an adapter is for, by their names."""
    modules = dict(backbone.denoiser.named_modules())
    layers = {}
    for name in dict.fromkeys(name.rpartition(".lora_")[0] for name in weights):
        layer = modules.get(name)
        shapes = [tuple(weights[f"{name}.{part}.weight"].shape) for part in _PARTS]
        there = "missing"
        if isinstance(layer, torch.nn.Linear):
            there = f"{layer.in_features} wide to {layer.out_features}"
            if (shapes[0][1], shapes[1][0]) == (layer.in_features, layer.out_features):
                layers[name] = layer
                continue
        raise UserError(
            f"the customization does not fit the {backbone.kind.noun} of {backbone.name}: it "
            f"adapts {name}, {shapes[0][1]} wide to {shapes[1][0]}, which is {there} there"
        )
    return layers


def finetune_adapter(
    backbone: Backbone,
    settings: FinetuneSettings,
    lora: LoraSettings,
    draw: Draw,
    *,
    generator: torch.Generator,
    progress: Progress,
) -> Finetuned:
    """Train an adapter with prior preservation; the denoiser is left as it was.

    Returns:
        The adapter's weights, float32 on the CPU, and the losses.
    """
    draw = with_prior(backbone, draw, settings, progress)
    weights = new_adapter(backbone, lora, generator)
    with backbone.text_encoder_resting(), adapted(backbone, weights, scale_of(lora)) as parameters:
        history = train(
            backbone,
            settings,
            draw,
            learning_rate=settings.learning_rate,
            parameters=list(parameters.values()),
            generator=generator,
            progress=progress,
        )
        return Finetuned({n: p.detach().cpu() for n, p in parameters.items()}, history)


def scale_of(settings: LoraSettings) -> float:
    """Return the adapter's alpha."""
    return float(settings.rank if settings.alpha is None else settings.alpha)


def generate_adapted(
    backbone: Backbone,
    weights: Mapping[str, Tensor],
    alpha: float,
    prompts: Sequence[str],
    seeds: Sequence[int],
) -> Iterator[Image]:
    """Draw as `Backbone.generate` does, with an adapter.

    Whenever an image is handed out the denoiser is as it was: a caller may stop half way, or draw
    with something else in between.
    """
    for start in range(0, len(prompts), backbone.batch_size):
        part = slice(start, start + backbone.batch_size)
        with adapted(backbone, weights, alpha):
            images = list(backbone.generate(prompts[part], seeds[part]))
        yield from images
