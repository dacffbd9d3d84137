"""The model that methods customize: a diffusers Stable Diffusion pipeline and what all fits share.

Shapes: B samples, T token positions, D the text encoder's width, L cross-attention layers,
N identifier tokens. An identifier is a float32 tensor [L, N, D], or [1, N, D] if all layers share
one (Textual Inversion).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from diffusers import DDPMScheduler
from diffusers.models.transformers.transformer_2d import Transformer2DModel
from PIL import Image, ImageOps
from torch import Tensor

from actionbench.device import BATCH_SIZE, PLAIN, Resources
from actionbench.diffusion.denoising import randn
from actionbench.diffusion.lengths import prompt_length
from actionbench.diffusion.text_prefix import Prefix, encode_from, encode_prefix
from actionbench.errors import UserError
from actionbench.files.models import ModelSource
from actionbench.files.networks import check_finite, load_pipeline
from actionbench.suite.items import SLOT, Sampling

if TYPE_CHECKING:
    from actionbench.diffusion.control import Control

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
KEPT_PREFIXES = 64
"""How many beginnings of prompts have their encoding kept: a few MB each for Stable Diffusion."""
FILLER = 0
"""The token id in the slot before its embedding is overwritten; any valid id would do."""


@dataclass(frozen=True)
class Tokens:
    """A prompt ready for the text encoder."""

    ids: tuple[int, ...]
    """T token ids: BOS, text, EOS, padding."""
    slot: tuple[int, ...]
    """The N positions of the identifier; empty if the prompt has no `SLOT`."""


@dataclass(frozen=True)
class LatentDistribution:
    """The autoencoder's posterior of a few images, scaled as the UNet wants it.

    The images of a fit never change, so they are encoded once and only resampled.
    """

    mean: Tensor
    """[B, C, h, w]"""
    std: Tensor
    """[B, C, h, w]"""

    def __len__(self) -> int:
        return len(self.mean)

    def __getitem__(self, rows: Tensor | list[int]) -> LatentDistribution:
        return LatentDistribution(self.mean[rows], self.std[rows])

    def sample(self, generator: torch.Generator) -> Tensor:
        """Draw latents [B, C, h, w]; `generator` must be a CPU generator."""
        return self.mean + self.std * randn(self.mean.shape, generator, self.mean)


class Backbone:
    """A frozen Stable-Diffusion-shaped pipeline. Sampling does not change its weights.

    A method that changes them during a fit puts them back.
    """

    def __init__(
        self,
        pipeline: Any,
        *,
        name: str,
        fingerprint: str,
        preset: str | None,
        device: str = "cpu",
        dtype: str = "float32",
        resources: Resources = PLAIN,
    ) -> None:
        self.pipeline = pipeline
        self.name = name
        self.fingerprint = fingerprint
        self.preset = preset
        """The name of the methods' presets that were tuned for this model, if there are any."""
        self.device = torch.device(device)
        self.dtype = DTYPES[dtype]
        self.resources = resources
        self.sampling = Sampling(steps=50, guidance_scale=7.5)
        """How images are drawn; a run sets it to its suite's sampling."""
        self.batch_size = BATCH_SIZE
        """Images drawn at once. It changes speed and memory, and images by rounding only."""
        self.layers = cross_attention_layers(pipeline.unet)
        """Names of the cross-attention layers in the order of computation, L of them."""
        self.image_size = int(pipeline.unet.config.sample_size * pipeline.vae_scale_factor)
        self.noise_schedule = DDPMScheduler.from_config(pipeline.scheduler.config)
        """The noise of training; the pipeline's own scheduler is for sampling."""
        self.length = prompt_length(pipeline.tokenizer, pipeline.text_encoder.config, name)
        """How many tokens a prompt has, beginning, end and padding included."""
        self.drawn: dict[str, Tensor] = {}
        """What a fit drew beforehand and others can use as well, by the names of
        `Method.shared`; a run keeps it in its store."""
        self._tokens: dict[tuple[str, int], Tokens] = {}
        self._prefixes: dict[tuple[int, ...], Prefix] = {}
        self._negatives: dict[str, Tensor] = {}
        for part in (pipeline.unet, pipeline.vae, pipeline.text_encoder):
            part.eval().requires_grad_(False)
        if resources.gradient_checkpointing:
            pipeline.unet.enable_gradient_checkpointing()
        if resources.vae_slicing:
            pipeline.vae.enable_slicing()
        if resources.compile:
            compile_blocks(pipeline.unet)

    @classmethod
    def load(
        cls,
        source: ModelSource,
        device: str = "cpu",
        dtype: str = "float32",
        resources: Resources = PLAIN,
    ) -> Backbone:
        """Load a pipeline folder, whatever dtype it has on disk, as `dtype` on `device`.

        Raises:
            UserError: if the folder holds no Stable Diffusion pipeline, if names or shapes of its
                weights are not those that its classes need, or if this machine cannot do what
                `resources` ask for.
        """
        if resources.compile:
            check_compiler(device)
        pipeline = load_pipeline(source.path, dtype, source.variant)
        pipeline.set_progress_bar_config(disable=True)
        return cls(
            pipeline.to(device),
            name=source.name,
            fingerprint=source.fingerprint,
            preset=source.preset,
            device=device,
            dtype=dtype,
            resources=resources,
        )

    @property
    def width(self) -> int:
        """D, the width of a token's embedding and of one layer's conditioning."""
        return int(self.pipeline.text_encoder.config.hidden_size)

    @property
    def prediction_type(self) -> str:
        """What the UNet predicts: `epsilon` (noise) or `v_prediction` (velocity)."""
        return str(self.noise_schedule.config.prediction_type)

    # -- images ----------------------------------------------------------------------------

    def encode_images(self, images: Sequence[Image.Image]) -> LatentDistribution:
        """Encode RGB images, padded to a square and resized to the model's size.

        They are neither flipped nor cropped, because that would change the action.

        Raises:
            UserError: if there are no images.
        """
        if not images:
            raise UserError(
                "there are no exemplars to learn from: the suite's action needs one at least"
            )
        size = (self.image_size, self.image_size)
        pixels = np.stack(
            [
                np.asarray(ImageOps.pad(i.convert("RGB"), size, method=Image.Resampling.LANCZOS))
                for i in images
            ]
        )
        scaled = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 127.5 - 1.0
        vae = self.pipeline.vae
        with torch.no_grad():
            posteriors = [
                vae.encode(part.to(self.device, self.dtype)).latent_dist
                for part in scaled.split(self.batch_size)
            ]
        # The stock pipeline decodes with the scaling factor and nothing else: so does this.
        factor = vae.config.scaling_factor
        mean = torch.cat([p.mean for p in posteriors]) * factor
        std = torch.cat([p.std for p in posteriors]) * factor
        self._check(torch.stack([mean, std], 1), "the autoencoder's latents of exemplars")
        return LatentDistribution(mean, std)

    # -- text ------------------------------------------------------------------------------

    def tokenize(self, text: str, slot_length: int = 1) -> Tokens:
        """Tokenize a prompt with `slot_length` positions in place of `SLOT`, if it has one.

        The parts before and after the slot are tokenized separately: the tokenizer and its
        vocabulary stay unchanged, and no placeholder can merge with a word. A prompt that is too
        long loses its last words.

        Raises:
            UserError: if the slot itself does not fit, or the prompt has two.
        """
        key = (text, slot_length)
        if key not in self._tokens:
            self._tokens[key] = self._tokenize(text, slot_length)
        return self._tokens[key]

    def _tokenize(self, text: str, slot_length: int) -> Tokens:
        tokenizer = self.pipeline.tokenizer
        before, *after = text.split(SLOT)
        if len(after) > 1:
            raise UserError(f"a prompt may hold the identifier {SLOT} only once: '{text}'")
        length = self.length
        head = tokenizer(before, add_special_tokens=False).input_ids
        tail = tokenizer(after[0], add_special_tokens=False).input_ids if after else []
        start = 1 + len(head)
        slot = tuple(range(start, start + slot_length)) if after else ()
        if slot and slot[-1] > length - 2:
            raise UserError(f"no room for the identifier within {length} tokens: '{text}'")
        body = (head + [FILLER] * len(slot) + tail)[: length - 2]
        ids = [tokenizer.bos_token_id, *body, tokenizer.eos_token_id]
        # SD 2 pads with "!" and attends to it, SD 1 with EOS: use the tokenizer's own padding.
        return Tokens((*ids, *[tokenizer.pad_token_id] * (length - len(ids))), slot)

    def word_embedding(self, text: str) -> Tensor:
        """Return the mean token embedding of a word or phrase, float32 [D] on the CPU.

        Raises:
            UserError: for a text without a token.
        """
        ids = self.pipeline.tokenizer(text, add_special_tokens=False).input_ids
        if not ids:
            raise UserError(
                f"'{text}' has no token to take an embedding from: give a word that the model knows"
            )
        table = self.pipeline.text_encoder.get_input_embeddings().weight
        return table[ids].detach().float().mean(0).cpu()

    def encode_prompts(
        self,
        prompts: Sequence[Tokens],
        vectors: Tensor | None = None,
        owners: Sequence[int] | None = None,
    ) -> Tensor:
        """Encode B prompts as conditioning for the UNet.

        Args:
            prompts: B tokenized prompts, all with the same number N of slot positions.
            vectors: None for prompts without a slot; [1, L, N, D] for one identifier that all
                prompts share; [B, L, N, D] for a separate leaf for each sample (B * L rows are
                encoded); or [A, L, N, D] with `owners`. L may be 1.
            owners: which of A identifiers each prompt has; a prompt that several samples have
                with the same identifier is encoded once.

        Returns:
            [B, T, D], or for L > 1 [B, T, L * D]: the layers' states side by side, which
            `layer_conditioning` separates. Differentiable in `vectors`.
        """
        if owners is None:
            each = vectors is not None and len(vectors) == len(prompts)
            owners = range(len(prompts)) if each else [0] * len(prompts)
        wanted = list(zip(owners, prompts, strict=True))
        unique = list(dict.fromkeys(wanted))
        if vectors is not None:
            vectors = rows_of(vectors, [owner for owner, _ in unique])
        states = self._encode_rows([prompt for _, prompt in unique], vectors)
        if len(unique) == len(wanted):
            return states
        row = {pair: number for number, pair in enumerate(unique)}
        return states[[row[pair] for pair in wanted]]

    def _encode_rows(self, prompts: Sequence[Tokens], vectors: Tensor | None) -> Tensor:
        """Encode prompts, one row of the text encoder for each prompt and layer.

        `vectors` are the prompts' own [B, L, N, D].
        """
        ids = torch.tensor([p.ids for p in prompts], device=self.device)
        if vectors is None:
            return self.pipeline.text_encoder(ids).last_hidden_state
        layers = vectors.shape[1]
        vectors = vectors.to(self.device).flatten(0, 1)
        # The positions before every slot do not depend on the identifier.
        start = min(p.slot[0] for p in prompts)
        slots = torch.tensor([p.slot for p in prompts], device=self.device) - start
        table = self.pipeline.text_encoder.get_input_embeddings()
        embeddings = place_vectors(
            table(ids[:, start:]).repeat_interleave(layers, 0),
            slots.repeat_interleave(layers, 0),
            vectors,
        )
        prefixes = [self._prefix(p.ids[:start]) for p in prompts]
        rows = encode_from(
            self.pipeline.text_encoder,
            embeddings,
            prefixes,
            checkpointing=self.resources.gradient_checkpointing,
        )
        if layers == 1:
            return rows
        return rows.unflatten(0, (len(prompts), layers)).transpose(1, 2).flatten(2)

    def _prefix(self, ids: tuple[int, ...]) -> Prefix:
        if ids not in self._prefixes:
            if len(self._prefixes) >= KEPT_PREFIXES:
                self._prefixes.clear()
            self._prefixes[ids] = encode_prefix(self.pipeline.text_encoder, ids)
        return self._prefixes[ids]

    # -- UNet ------------------------------------------------------------------------------

    @contextmanager
    def layer_conditioning(self) -> Iterator[None]:
        """Give each cross-attention layer its own D columns of packed states, while inside.

        States [B, T, D] reach every layer unchanged. This is a pre-hook and not an attention
        processor, because it keeps the stock kernels and compiles.
        """
        width = self.width
        packed = width * len(self.layers)

        def slicer(number: int) -> Any:
            own = slice(number * width, (number + 1) * width)

            def take(_module: Any, args: Any, kwargs: dict[str, Any]) -> Any:
                states = kwargs["encoder_hidden_states"]
                if states.shape[-1] == packed:
                    kwargs = {**kwargs, "encoder_hidden_states": states[..., own]}
                return args, kwargs

            return take

        handles = [
            self.pipeline.unet.get_submodule(name).register_forward_pre_hook(
                slicer(number), with_kwargs=True
            )
            for number, name in enumerate(self.layers)
        ]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    @contextmanager
    def text_encoder_resting(self) -> Iterator[None]:
        """Let the text encoder wait in main memory if offloading; nothing may run it inside."""
        if not self.resources.offload:
            yield
            return
        try:
            self.pipeline.text_encoder.to("cpu")
            yield
        finally:
            self.pipeline.text_encoder.to(self.device)

    def predict(self, noisy: Tensor, timesteps: Tensor, states: Tensor) -> Tensor:
        """Return the UNet's prediction [B, C, h, w] under conditioning from `encode_prompts`."""
        with self.layer_conditioning():
            return self.pipeline.unet(
                noisy, timesteps, encoder_hidden_states=states, return_dict=False
            )[0]

    # -- sampling --------------------------------------------------------------------------

    def generate(
        self,
        prompts: Sequence[str],
        seeds: Sequence[int],
        vectors: Tensor | None = None,
        control: Control | None = None,
    ) -> Iterator[Image.Image]:
        """Draw one image per prompt, in order.

        An image depends only on its own prompt, seed and control picture, and by rounding on the
        batch beside which it is drawn.

        Args:
            prompts: texts, with `SLOT` if there are `vectors`.
            seeds: the noise's seed of each image.
            vectors: the identifier [L, N, D] in the slots.
            control: a ControlNet and its picture for each image.
        """
        slot_length = 1 if vectors is None else vectors.shape[1]
        tokens = [self.tokenize(prompt, slot_length) for prompt in prompts]
        shared = None if vectors is None else vectors.unsqueeze(0)
        for start in range(0, len(tokens), self.batch_size):
            part = slice(start, start + self.batch_size)
            with torch.no_grad():
                states = self.encode_prompts(tokens[part], shared)
            yield from self.sample(states, seeds[part], control=control and control[part])

    def sample(
        self,
        states: Tensor,
        seeds: Sequence[int],
        negative: str | None = None,
        control: Control | None = None,
    ) -> Iterator[Image.Image]:
        """Draw one image for each row of `states` [B, T, D or L * D], in order.

        Guidance leads away from `negative`; from the suite's negative prompt if it is None.
        """
        text = self.sampling.negative_prompt if negative is None else negative
        without = self._negative(text, states)
        for start in range(0, len(seeds), self.batch_size):
            part = slice(start, start + self.batch_size)
            yield from self._run(
                *(states[part], without, seeds[part], self.sampling, "pil"),
                control and control[part],
            )

    def sample_latents(
        self, states: Tensor, seeds: Sequence[int], sampling: Sampling, negative: str = ""
    ) -> Tensor:
        """Do as `sample`, but return latents [B, C, h, w], scaled as the UNet wants them."""
        without = self._negative(negative, states)
        parts = [
            self._run(
                states[start : start + self.batch_size],
                without,
                seeds[start : start + self.batch_size],
                sampling,
                "latent",
            )
            for start in range(0, len(seeds), self.batch_size)
        ]
        return torch.cat(parts)

    def _negative(self, text: str, states: Tensor) -> Tensor:
        """Return the negative prompt's states [1, T, D], tiled to the width of `states`."""
        if text not in self._negatives:
            with torch.no_grad():
                self._negatives[text] = self.encode_prompts([self.tokenize(text)])
        plain = self._negatives[text]
        return plain.repeat(1, 1, states.shape[-1] // plain.shape[-1])

    def _run(
        self,
        states: Tensor,
        negative: Tensor,
        seeds: Sequence[int],
        sampling: Sampling,
        output_type: str,
        control: Control | None = None,
    ) -> Any:
        self._check(states, "the text encoder's states of prompts")
        pipeline = self.pipeline if control is None else control.pipeline(self)
        extra = {} if control is None else control.arguments
        guided = sampling.guidance_scale > 1
        steering = nullcontext() if control is None else control.steering(guided)
        generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        unet = self.pipeline.unet.config
        shape = (1, unet.in_channels, unet.sample_size, unet.sample_size)
        noise = torch.cat([randn(shape, generator, states) for generator in generators])
        # Hooks are removed before the first image is handed out: a caller may stop half way.
        with torch.no_grad(), self.layer_conditioning(), self.text_encoder_resting(), steering:
            latents = pipeline(
                prompt_embeds=states,
                negative_prompt_embeds=negative.expand(len(states), -1, -1),
                latents=noise,
                generator=generators,
                num_inference_steps=sampling.steps,
                guidance_scale=sampling.guidance_scale,
                output_type="latent",
                **extra,
            ).images
            self._check(latents, "the latents that the UNet drew", self._drawing_advice())
            return latents if output_type == "latent" else self._decode(latents)

    def _decode(self, latents: Tensor) -> list[Image.Image]:
        """Decode latents [B, C, h, w] as the stock pipeline does, which looks at no number."""
        vae = self.pipeline.vae
        pixels = vae.decode(latents / vae.config.scaling_factor, return_dict=False)[0]
        self._check(pixels, "the pixels that the autoencoder decoded")
        images: list[Image.Image] = self.pipeline.image_processor.postprocess(pixels)
        return images

    def _check(self, numbers: Tensor, what: str, advice: str | None = None) -> None:
        """Raise UserError unless a batch's numbers are finite; say what to try."""
        check_finite(numbers, f"model {self.name}: {what}", advice or self._dtype_advice())

    def _dtype_advice(self) -> str:
        if self.dtype == torch.float32:
            return "its weights are damaged: fetch it again, or take another --model"
        name = str(self.dtype).removeprefix("torch.")
        return f"{name} may be too narrow for it: take --dtype float32"

    def _drawing_advice(self) -> str:
        """Say what to try if drawing overflows: the scheduler may be to blame as well."""
        config = self.pipeline.scheduler.config
        if config.get("rescale_betas_zero_snr") and self.prediction_type == "epsilon":
            return (
                "its scheduler begins with pure noise (rescale_betas_zero_snr), from which a model "
                "that predicts noise (epsilon) cannot begin: set rescale_betas_zero_snr to false, "
                "or prediction_type to what it was trained for, in scheduler/scheduler_config.json"
            )
        advice = self._dtype_advice()
        kind = type(self.pipeline.scheduler).__name__
        return f"{advice}; or another scheduler than {kind} suits it (scheduler_config.json)"


def compile_blocks(unet: Any, backend: str = "inductor") -> None:
    """Have the UNet's transformer blocks compiled when they first run.

    The blocks and not the whole UNet, because they take most of the time, few of them differ, and
    `layer_conditioning` hooks the layers around them.
    """
    # Custom Diffusion hooks projections in a block for a while: look for hooks at each call.
    torch._dynamo.config.skip_nnmodule_hook_guards = False
    # Compile for every width, batch size and trained or frozen weights: no silent fallback.
    torch._dynamo.config.recompile_limit = 64
    unet.compile_repeated_blocks(backend=backend)


def check_compiler(device: str) -> None:
    """Raise UserError if `torch.compile` has no compiler to call."""
    if device == "cuda":
        from torch.utils._triton import has_triton

        if not has_triton():
            raise UserError("--compile needs Triton, which is not installed: leave --compile out")
        return
    from torch._inductor.cpp_builder import get_cpp_compiler
    from torch._inductor.exc import InvalidCxxCompiler

    try:
        get_cpp_compiler()
    except InvalidCxxCompiler as error:
        raise UserError(
            "--compile needs a C++ compiler, and none is found: install g++ or leave --compile out"
        ) from error


def rows_of(vectors: Tensor, owners: Sequence[int]) -> Tensor:
    """Give each row its owner's vectors: from [A, ...] to [R, ...], differentiable.

    Neighbours of one owner are an expansion, whose gradient is a plain sum over them: it is added
    up in one order on every device, unlike that of indexing.
    """
    runs = [(owner, len(list(rows))) for owner, rows in groupby(owners)]
    if [owner for owner, _ in runs] == list(range(len(vectors))) and len(runs) == len(owners):
        return vectors
    parts = [vectors[owner : owner + 1].expand(count, *vectors.shape[1:]) for owner, count in runs]
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def place_vectors(embeddings: Tensor, slots: Tensor, vectors: Tensor) -> Tensor:
    """Put `vectors` [R, N, D] at the positions `slots` [R, N] of token embeddings [R, S, D].

    They are leaves and not rows of the encoder's table: neither the vocabulary nor its other rows
    are ever touched, and each sample can have its own leaf.
    """
    where = slots.unsqueeze(-1).expand(-1, -1, embeddings.shape[-1])
    return embeddings.scatter(1, where, vectors.to(embeddings.dtype))


def cross_attention_layers(unet: torch.nn.Module) -> tuple[str, ...]:
    """Return the names of the UNet's cross-attention layers in the order of computation.

    That is down, mid, up; they are sorted because a UNet registers its middle block last.
    """
    stages = {"down_blocks": 0, "mid_block": 1, "up_blocks": 2}

    def place(name: str) -> tuple[int, ...]:
        return (stages[name.split(".")[0]], *map(int, re.findall(r"\d+", name)))

    names = [n for n, module in unet.named_modules() if isinstance(module, Transformer2DModel)]
    return tuple(sorted(names, key=place))
