"""What a model's networks cost, counted from their configs without weights and device.

The networks are made on torch's `meta` device, where tensors have shapes but no content. Each way
of running them that a method may need is run once, for one sample.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from torch.overrides import TorchFunctionMode
from torch.utils.flop_counter import FlopCounterMode, conv_flop_count

from actionbench.diffusion.backbone import adapter_of
from actionbench.diffusion.joint import T5_LENGTH
from actionbench.diffusion.text_prefix import encode_from, encode_prefix
from actionbench.files.kinds import JOINT, SANA, TRANSFORMER, UNET, UNET_TWO
from actionbench.files.models import ModelPreset, kind_of_folder
from actionbench.method import Work


@dataclass(frozen=True)
class Cost:
    """The cost of one sample."""

    flops: float
    """Floating-point operations; a multiplication and an addition are two."""
    kept: int
    """How many numbers wait in memory for the backward pass, weights not counted."""


class Networks:
    """The networks of a pipeline folder, without content; a cost is counted when asked for.

    The folder may hold the parts' configs alone; without an index it is of the first kind.
    """

    def __init__(self, folder: Path, *, gradient_checkpointing: bool = False) -> None:
        import diffusers
        from transformers import AutoConfig, CLIPTextConfig

        def config(part: str) -> Any:
            return json.loads((folder / part / "config.json").read_text("utf-8"))

        def text_config(facts: dict[str, Any]) -> Any:
            # Old configs of CLIP do not say that they are its.
            known = {**facts, "model_type": facts.get("model_type", CLIPTextConfig.model_type)}
            return AutoConfig.for_model(**known)

        indexed = (folder / "model_index.json").is_file()
        self.kind = kind_of_folder(folder) if indexed else UNET
        with torch.device("meta"):
            denoiser = getattr(diffusers, _DENOISERS[self.kind.name])
            self.denoiser = denoiser.from_config(config(self.kind.denoiser))
            sana = self.kind is SANA
            autoencoder = diffusers.AutoencoderDC if sana else diffusers.AutoencoderKL
            self.vae = autoencoder.from_config(config("vae"))
            # Without the projection of pooled text, which is one row of a matrix product.
            self.text_encoders = [
                self._encoder(text_config(config(part))) for part in self.kind.text_encoders
            ]
        for part in (self.denoiser, self.vae, *self.text_encoders):
            part.eval().requires_grad_(False)
        self.folder = folder
        self.checkpointing = gradient_checkpointing
        self.side = int(self.denoiser.config.sample_size)
        """The latents' side."""
        levels = "encoder_block_out_channels" if sana else "block_out_channels"
        self.pixels = self.side * 2 ** (len(self.vae.config[levels]) - 1)
        self.length = self.kind.prompt_length or int(
            self.text_encoders[0].config.max_position_embeddings
        )

    def _encoder(self, config: Any) -> Any:
        from transformers import CLIPTextModel, Gemma2Model, T5EncoderModel

        classes = {"t5": T5EncoderModel, "gemma2": Gemma2Model}
        return classes.get(config.model_type, CLIPTextModel)(config)

    @property
    def layers(self) -> int:
        """How many layers a layer-wise identifier has."""
        return len(adapter_of(self.kind).conditioned_layers(self.denoiser))

    @property
    def parameters(self) -> dict[str, int]:
        """The number of parameters of each network."""
        modules = (self.vae, self.denoiser, *self.text_encoders)
        return {
            name: sum(p.numel() for p in module.parameters())
            for name, module in zip(self.kind.networks, modules, strict=True)
        }

    @cached_property
    def forward(self) -> Cost:
        """The UNet without gradients, as in sampling (which runs it twice per step)."""
        return self._denoiser(states_learn=False)

    @cached_property
    def conditioned(self) -> Cost:
        """The frozen UNet forward and backward to the text's states, as tokens are learned."""
        return self._denoiser(states_learn=True)

    @cached_property
    def trained(self) -> Cost:
        """The whole UNet forward and backward to its own weights."""
        self.denoiser.requires_grad_(True)
        try:
            return self._denoiser(states_learn=False)
        finally:
            self.denoiser.requires_grad_(False)

    @cached_property
    def decoded(self) -> Cost:
        """The autoencoder from latents to an image."""
        latents = torch.empty(1, self.vae.config.latent_channels, self.side, self.side, **_META)
        return _count(self.vae, lambda: self.vae.decode(latents).sample)

    @cached_property
    def encoded(self) -> Cost:
        """The autoencoder from an image to latents."""
        channels = self.vae.config.in_channels
        image = torch.empty(1, channels, self.pixels, self.pixels, **_META)
        if self.kind is SANA:
            return _count(self.vae, lambda: self.vae.encode(image).latent)
        return _count(self.vae, lambda: self.vae.encode(image).latent_dist.mean)

    @cached_property
    def text(self) -> Cost:
        """A row of the text encoders forward and backward to a token right after its beginning."""
        costs = [self._text(encoder.config) for encoder in self.text_encoders]
        return Cost(sum(cost.flops for cost in costs), sum(cost.kept for cost in costs))

    def _text(self, whole: Any) -> Cost:
        config = copy.deepcopy(whole)
        config.num_hidden_layers = 1  # the layers are alike, so one is counted
        with torch.device("meta"):
            encoder = self._encoder(config).eval().requires_grad_(False)
        t5 = config.model_type == "t5"
        # All but T5 are causal, so that a text's beginning is encoded once.
        length = self.length - (not t5)
        if t5 and self.kind.name == JOINT.name:
            length = T5_LENGTH
        rest = torch.empty(1, length, config.hidden_size, requires_grad=True, **_META)
        if t5 or self.kind is SANA:
            layer = _count(encoder, lambda: encoder(inputs_embeds=rest).last_hidden_state)
        else:
            prefix = encode_prefix(encoder, [0])
            layer = self._count_checkpointed(
                encoder, lambda again: encode_from(encoder, rest, [prefix], checkpointing=again)
            )
        layers = whole.num_hidden_layers
        return Cost(layers * layer.flops, layers * layer.kept)

    def _denoiser(self, *, states_learn: bool) -> Cost:
        config = self.denoiser.config
        latents = torch.empty(1, config.in_channels, self.side, self.side, **_META)
        width = config[self.kind.text_width]
        joint = self.kind.name == JOINT.name
        length = self.length + T5_LENGTH * joint
        states = torch.empty(1, length, width, requires_grad=states_learn, **_META)
        timestep = torch.zeros(1, dtype=torch.long, **_META)
        added: dict[str, Any] = {}
        if joint:
            pooled = config.pooled_projection_dim
            added["pooled_projections"] = torch.empty(1, pooled, **_META)
        if self.kind is TRANSFORMER:
            added["added_cond_kwargs"] = {"resolution": None, "aspect_ratio": None}
        if self.kind is UNET_TWO:
            sizes = 6
            pooled = config.projection_class_embeddings_input_dim
            pooled -= sizes * config.addition_time_embed_dim
            added["added_cond_kwargs"] = {
                "text_embeds": torch.empty(1, pooled, **_META),
                "time_ids": torch.empty(1, sizes, **_META),
            }

        def run(again: bool) -> Tensor:
            if again:
                self.denoiser.enable_gradient_checkpointing()
            try:
                return self.denoiser(
                    latents, timestep=timestep, encoder_hidden_states=states, **added
                ).sample
            finally:
                self.denoiser.disable_gradient_checkpointing()

        return self._count_checkpointed(self.denoiser, run)

    def _count_checkpointed(self, module: torch.nn.Module, run: Callable[[bool], Tensor]) -> Cost:
        """Count `run(checkpoint)`: with checkpoints it is computed once more, and keeps less."""
        cost = _count(module, lambda: run(False))
        if not (self.checkpointing and cost.kept):
            return cost
        again = _count(module, lambda: run(True), backward=False)
        return Cost(cost.flops + again.flops, again.kept)

    # A whole fit

    def flops(self, work: Work, exemplars: int) -> float:
        """Return the operations of one fit, without what all fits of a run share."""
        total = exemplars * self.encoded.flops
        for samples, name in (
            (work.conditioned, "conditioned"),
            (work.trained, "trained"),
            (work.drawn, "forward"),
            (work.texts, "text"),
        ):
            # Each count takes a second or two, so what no method of the run needs is not counted.
            if samples:
                total += samples * getattr(self, name).flops
        return total

    def fit_bytes(self, work: Work, dtype: torch.dtype) -> int:
        """Return the least memory that a fit takes: weights, what training adds, activations.

        Gradients are in the weights' format. In float32 are AdamW's two moments and, if weights are
        in half precision, a copy of them and its gradient (as in `finetune.train_unet`). The
        kernels' working memory and fragmentation are not counted.
        """
        size: int = dtype.itemsize
        activations = []
        if work.conditioned:
            activations.append(
                size * (work.batch * self.conditioned.kept + work.rows * self.text.kept)
            )
        if work.trained:
            kept = size * work.trained_batch * self.trained.kept
            activations.append(_training_bytes(self.denoiser_parameters, size) + kept)
        return size * sum(self.parameters.values()) + max(activations, default=0)

    @property
    def denoiser_parameters(self) -> int:
        """The number of parameters of the network that denoises."""
        return self.parameters[self.kind.denoiser]

    def checkpointed(self) -> Networks:
        """Return the same, computed again for the backward pass."""
        return Networks(self.folder, gradient_checkpointing=True)


class PresetNetworks:
    """What `Networks` says, of a preset that is not here: by the sizes that were typed in.

    Activations are not known and not counted, nor are the autoencoder's and the text encoders'
    operations; a backward pass to activations takes what a forward pass does, one to weights as
    much again.
    """

    def __init__(self, preset: ModelPreset) -> None:
        sizes = preset.sizes
        self.layers = sizes.layers
        self.parameters = dict(sizes.parameters)
        self.denoiser_parameters = sizes.parameters[sizes.denoiser]
        self.pixels = preset.image_size
        self.forward = Cost(sizes.flops, 0)
        self.decoded = Cost(0.0, 0)

    def flops(self, work: Work, exemplars: int) -> float:
        """Return the operations of one fit, without what all fits of a run share."""
        passes = 2 * work.conditioned + 3 * work.trained + work.drawn
        return passes * self.forward.flops

    def fit_bytes(self, work: Work, dtype: torch.dtype) -> int:
        """Return the least memory that a fit takes: weights, and what training them adds."""
        size: int = dtype.itemsize
        training = _training_bytes(self.denoiser_parameters, size) if work.trained else 0
        return size * sum(self.parameters.values()) + training

    def checkpointed(self) -> PresetNetworks:
        """Return the same: activations are not counted."""
        return self


def _training_bytes(parameters: int, size: int) -> int:
    """Count gradients and AdamW's state of weights of `size` bytes each, as `fit_bytes` says."""
    return parameters * (size + 8 + (8 if size < 4 else 0))


_META: dict[str, Any] = {"device": "meta"}
_DENOISERS = {
    UNET.name: "UNet2DConditionModel",
    UNET_TWO.name: "UNet2DConditionModel",
    TRANSFORMER.name: "PixArtTransformer2DModel",
    SANA.name: "SanaTransformer2DModel",
    JOINT.name: "SD3Transformer2DModel",
}
"""The class of diffusers of each kind's denoiser."""


class _Attention(torch.autograd.Function):
    """Attention like the fused kernels', which keep queries, keys and values, but not the map."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        ctx.save_for_backward(query, key, value)
        return (query @ key.mT) @ value

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        query, key, value = ctx.saved_tensors
        attention = query.new_empty(*query.shape[:-1], key.shape[-2])
        scores = gradient @ value.mT
        return scores @ key, scores.mT @ query, attention.mT @ gradient


class _FusedAttention(TorchFunctionMode):
    def __torch_function__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        if function is scaled_dot_product_attention:
            return _Attention.apply(*args[:3])
        return function(*args, **(kwargs or {}))


def _convolution_backward(
    gradient: Any, inputs: Any, weight: Any, *rest: Any, out_shape: Any, **_: Any
) -> int:
    """Count a convolution's backward pass: for inputs and for weights as much as forward.

    Torch's own count takes a grouped one's weights for those of a whole one.
    """
    transposed, wanted = rest[-4], rest[-1]
    forward: int = conv_flop_count(inputs, weight, gradient, transposed)
    return forward * int(sum(wanted[:2]))


_COUNTED = {torch.ops.aten.convolution_backward: _convolution_backward}


def _count(module: torch.nn.Module, run: Callable[[], Tensor], *, backward: bool = True) -> Cost:
    own = {parameter.untyped_storage()._cdata for parameter in module.parameters()}
    kept: dict[int, Tensor] = {}

    def note(tensor: Tensor) -> Tensor:
        # Tensors that were noted stay alive, so that no storage takes another's place.
        if tensor.untyped_storage()._cdata not in own:
            kept[tensor.untyped_storage()._cdata] = tensor
        return tensor

    hooks = torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor)
    counting = FlopCounterMode(display=False, custom_mapping=_COUNTED)
    with counting as counter, _FusedAttention(), hooks:
        result = run()
        numbers = sum(t.untyped_storage().nbytes() // t.itemsize for t in kept.values())
        if backward and result.requires_grad:
            result.sum().backward()
    return Cost(float(counter.get_total_flops()), numbers)
