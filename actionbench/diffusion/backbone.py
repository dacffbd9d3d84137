"""The model that methods customize: the protocol that every kind of diffusers pipeline keeps.

Shapes: B samples, T token positions, D the width of a token's embedding, L conditioned layers,
N identifier tokens. An identifier is a float32 tensor [L, N, D], or [1, N, D] if all layers share
one (Textual Inversion). A text's conditioning, its "states", is one tensor with a row for each
prompt: rows may be picked, stacked and repeated, and only the backbone knows what is in them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from importlib import import_module
from itertools import groupby
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from diffusers import DDPMScheduler
from PIL import Image, ImageOps
from torch import Tensor

from actionbench.device import BATCH_SIZE, PLAIN, Resources
from actionbench.diffusion.denoising import randn, widened
from actionbench.diffusion.lengths import prompt_length
from actionbench.errors import UserError
from actionbench.files.kinds import Kind
from actionbench.files.models import ModelSource
from actionbench.files.networks import check_finite, load_pipeline
from actionbench.suite.items import SLOT, Sampling

if TYPE_CHECKING:
    from actionbench.diffusion.control import Control

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
_PREDICTIONS = ("epsilon", "v_prediction")
FILLER = 0
"""The token id in the slot before its embedding is overwritten; any valid id would do."""


@dataclass(frozen=True)
class Tokens:
    """A prompt ready for the text encoder."""

    ids: tuple[int, ...]
    """T token ids: BOS, text, EOS, padding."""
    slot: tuple[int, ...]
    """The N positions of the identifier; empty if the prompt has no `SLOT`."""
    other: Tokens | None = None
    """The same prompt for an encoder with another vocabulary, if the pipeline has one."""


@dataclass(frozen=True)
class LatentDistribution:
    """The autoencoder's posterior of a few images, scaled as the denoiser wants it.

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


class Backbone(ABC):
    """A frozen text-to-image pipeline, as methods see it. Sampling does not change its weights.

    A method that changes them during a fit puts them back. What is abstract here is what kinds
    differ in; a kind whose noise or autoencoder is of another sort overrides that as well.
    """

    kind: Kind
    """Of a class; of a pipeline that lacks optional parts, its own."""

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
        self.layers = self.conditioned_layers(self.denoiser)
        """Names of the denoiser's conditioned layers in the order of computation, L of them."""
        self.latent_size = int(self.denoiser.config.sample_size)
        """Cells on a side of the latents."""
        self.image_size = int(self.latent_size * pipeline.vae_scale_factor)
        self.noise_schedule = self._training_noise()
        """The noise of training; the pipeline's own scheduler is for sampling."""
        self.length = prompt_length(
            pipeline.tokenizer, pipeline.text_encoder.config, name, self.kind
        )
        """How many tokens a prompt has, beginning, end and padding included."""
        self.drawn: dict[str, Tensor] = {}
        """What a fit drew beforehand and others can use as well, by the names of
        `Method.shared`; a run keeps it in its store."""
        self._tokens: dict[tuple[str, int], Tokens] = {}
        self._negatives: dict[str, Tensor] = {}
        for part in (self.denoiser, pipeline.vae, *self.text_encoders):
            part.eval().requires_grad_(False)
        if resources.gradient_checkpointing:
            self._checkpoint_blocks()
        if resources.vae_slicing:
            pipeline.vae.enable_slicing()
        if resources.compile:
            compile_blocks(self.denoiser)

    @staticmethod
    def load(
        source: ModelSource,
        device: str = "cpu",
        dtype: str = "float32",
        resources: Resources = PLAIN,
    ) -> Backbone:
        """Load a pipeline folder of any kind, whatever dtype it has on disk, as `dtype`.

        Raises:
            UserError: if the folder holds no pipeline of a known kind, if names or shapes of its
                weights are not those that its classes need, or if this machine cannot do what
                `resources` ask for.
        """
        if resources.compile:
            check_compiler(device)
        adapter = adapter_of(source.kind)
        pipeline = load_pipeline(source.path, dtype, source.variant)
        pipeline.set_progress_bar_config(disable=True)
        return adapter(
            pipeline.to(device),
            name=source.name,
            fingerprint=source.fingerprint,
            preset=source.preset,
            device=device,
            dtype=dtype,
            resources=resources,
        )

    # -- what kinds differ in --------------------------------------------------------------

    @property
    @abstractmethod
    def width(self) -> int:
        """D, the width of a token's embedding and of one layer's conditioning."""

    @staticmethod
    @abstractmethod
    def conditioned_layers(denoiser: Any) -> tuple[str, ...]:
        """Return the names of a denoiser's conditioned layers in the order of computation.

        Each can be given an identifier of its own. The weights are not looked at.
        """

    @abstractmethod
    def cross_attentions(self) -> list[torch.nn.Module]:
        """List the denoiser's attentions to the text, in order."""

    def text_projections(self) -> list[torch.nn.Module]:
        """List what makes keys and values of the text, in order: of each attention these two."""
        return [
            p for attention in self.cross_attentions() for p in (attention.to_k, attention.to_v)
        ]

    @property
    def _table(self) -> Tensor:
        """The (first) text encoder's embeddings of its vocabulary [V, D]."""
        table: Tensor = self.pipeline.text_encoder.get_input_embeddings().weight.detach()
        return table

    @property
    def token_tables(self) -> list[Tensor]:
        """The embeddings of the vocabulary that an identifier stands beside, one table [V, D_i] of
        each text encoder that it lives in: its D channels are theirs, side by side."""
        return [self._table]

    def token_embeddings(self, ids: Sequence[int]) -> Tensor:
        """Look up embeddings of the vocabulary, float32 or wider [n, D]."""
        table = self._table
        return widened(table[torch.tensor(ids, dtype=torch.long, device=table.device)])

    def token_norms(self) -> Tensor:
        """Return the norm of each embedding of the vocabulary, float32 [V]."""
        return self._table.float().norm(dim=-1)

    @abstractmethod
    def _encode_rows(self, prompts: Sequence[Tokens], vectors: Tensor | None) -> Tensor:
        """Encode prompts, one row of the text encoder for each prompt and layer.

        `vectors` are the prompts' own [B, L, N, D].
        """

    @abstractmethod
    def layer_conditioning(self) -> AbstractContextManager[None]:
        """Give each conditioned layer its own part of layer-wise states, while inside.

        States of identifiers that all layers share reach every layer unchanged.
        """

    @abstractmethod
    def predict(self, noisy: Tensor, timesteps: Tensor, states: Tensor) -> Tensor:
        """Return the denoiser's prediction [B, C, h, w] under states from `encode_prompts`."""

    @abstractmethod
    def _arguments(self, states: Tensor, negative: Tensor) -> dict[str, Any]:
        """Return the arguments by which the stock pipeline takes conditioning.

        Args:
            states: of B prompts.
            negative: the negative prompt's, one row.
        """

    def _checkpoint_blocks(self) -> None:
        """Have the denoiser's blocks computed again for the backward pass, to save memory."""
        self.denoiser.enable_gradient_checkpointing()

    # -- parts -----------------------------------------------------------------------------

    @property
    def denoiser(self) -> Any:
        """The network that denoises; fine-tuning trains it or parts of it."""
        return getattr(self.pipeline, self.kind.denoiser)

    @property
    def text_encoders(self) -> list[Any]:
        """The networks that encode texts."""
        return [getattr(self.pipeline, part) for part in self.kind.text_encoders]

    # -- noise -----------------------------------------------------------------------------

    def _training_noise(self) -> Any:
        """Make the schedule of training's noise from the pipeline's scheduler."""
        return DDPMScheduler.from_config(self.pipeline.scheduler.config)

    @property
    def prediction_type(self) -> str:
        """What the denoiser predicts: `epsilon` (noise), `v_prediction` (velocity) or `flow`."""
        return str(self.noise_schedule.config.prediction_type)

    @property
    def timesteps(self) -> int:
        """How many timesteps training draws from."""
        return int(self.noise_schedule.config.num_train_timesteps)

    def draw_timesteps(
        self, count: int, generator: torch.Generator, weights: Tensor | None = None
    ) -> Tensor:
        """Draw the timesteps of `count` samples on the CPU.

        Args:
            generator: a CPU generator.
            weights: [timesteps], probabilities up to a factor; as the model was trained if None.
        """
        if weights is None:
            return torch.randint(self.timesteps, (count,), generator=generator)
        return torch.multinomial(weights, count, replacement=True, generator=generator)

    def add_noise(self, latents: Tensor, noise: Tensor, timesteps: Tensor) -> tuple[Tensor, Tensor]:
        """Mix latents with noise [B, C, h, w] at timesteps [B].

        Returns:
            The noisy latents, and what the denoiser should predict for them.

        Raises:
            UserError: for a model that predicts neither noise nor velocity.
        """
        if self.prediction_type not in _PREDICTIONS:
            raise UserError(
                f"model {self.name} predicts '{self.prediction_type}' (prediction_type of its "
                f"scheduler): only {' and '.join(_PREDICTIONS)} models can be customized"
            )
        schedule = self.noise_schedule
        velocity = self.prediction_type == "v_prediction"
        target = schedule.get_velocity(latents, noise, timesteps) if velocity else noise
        return schedule.add_noise(latents, noise, timesteps), target

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
                self._posterior(part.to(self.device, vae.dtype))
                for part in scaled.split(self.batch_size)
            ]
        factor = vae.config.scaling_factor
        means, stds = (torch.cat(parts) for parts in zip(*posteriors))
        mean = ((means - self._latent_shift) * factor).to(self.dtype)
        std = (stds * factor).to(self.dtype)
        self._check(torch.stack([mean, std], 1), "the autoencoder's latents of exemplars")
        return LatentDistribution(mean, std)

    def _posterior(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Encode pixels [B, 3, H, W]: mean and standard deviation of the autoencoder's latents."""
        posterior = self.pipeline.vae.encode(pixels).latent_dist
        return posterior.mean, posterior.std

    @property
    def _latent_shift(self) -> float:
        """What the stock pipeline takes off the autoencoder's latents before it scales them.

        Most take off nothing, whatever the autoencoder's config says: so does this.
        """
        return 0.0

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
        own = (self.pipeline.tokenizer, text, slot_length, self.length)
        return self._tokenize_by(*own, begins=self.kind.begins, ends=self.kind.ends)

    def _tokenize_by(
        self,
        tokenizer: Any,
        text: str,
        slot_length: int,
        length: int,
        *,
        begins: bool,
        ends: bool = True,
    ) -> Tokens:
        """Tokenize a prompt to `length` positions, with tokens for its beginning and end or not."""
        before, *after = self._parts(text)
        if len(after) > 1:
            raise UserError(f"a prompt may hold the identifier {SLOT} only once: '{text}'")
        head = tokenizer(before, add_special_tokens=False).input_ids
        tail = tokenizer(after[0], add_special_tokens=False).input_ids if after else []
        start = begins + len(head)
        slot = tuple(range(start, start + slot_length)) if after else ()
        if slot and slot[-1] >= length - ends:
            raise UserError(f"no room for the identifier within {length} tokens: '{text}'")
        body = (head + [FILLER] * len(slot) + tail)[: length - begins - ends]
        ids = [*[tokenizer.bos_token_id] * begins, *body, *[tokenizer.eos_token_id] * ends]
        # SD 2 pads with "!" and attends to it, SD 1 with EOS: use the tokenizer's own padding.
        return Tokens((*ids, *[tokenizer.pad_token_id] * (length - len(ids))), slot)

    def _parts(self, text: str) -> list[str]:
        """Split a prompt at its slots into what is tokenized one by one."""
        return self._prepared(text).split(SLOT)

    def word_ids(self, text: str) -> list[int]:
        """Return the token ids of a text, without beginning and end."""
        return list(
            self.pipeline.tokenizer(self._prepared(text), add_special_tokens=False).input_ids
        )

    def _prepared(self, text: str) -> str:
        """Write a text as the stock pipeline does before it is tokenized."""
        return text.lower().strip() if self.kind.lowers else text

    def own_ids(self, prompt: Tokens) -> list[int]:
        """Return the ids of a prompt's words, without beginning, end, padding and identifier."""
        own = range(int(self.kind.begins), self._end(prompt))
        return [prompt.ids[place] for place in own if place not in prompt.slot]

    def _end(self, prompt: Tokens) -> int:
        """Return the position behind a prompt's words."""
        return prompt.ids.index(self.pipeline.tokenizer.eos_token_id)

    def word_embedding(self, text: str) -> Tensor:
        """Return the mean token embedding of a word or phrase, float32 [D] on the CPU.

        Raises:
            UserError: for a text without a token.
        """
        ids = self.word_ids(text)
        if not ids:
            raise UserError(
                f"'{text}' has no token to take an embedding from: give a word that the model knows"
            )
        return self.token_embeddings(ids).mean(0).cpu()

    def encode_prompts(
        self,
        prompts: Sequence[Tokens],
        vectors: Tensor | None = None,
        owners: Sequence[int] | None = None,
    ) -> Tensor:
        """Encode B prompts as conditioning for the denoiser.

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

    @contextmanager
    def before_layers(self, hook: Callable[[int], Callable[..., Any]]) -> Iterator[None]:
        """Run `hook(l)` before the l-th conditioned layer, while inside.

        Args:
            hook: returns torch's pre-hook of a layer, which takes module, positional and keyword
                arguments.
        """
        handles = [
            self.denoiser.get_submodule(name).register_forward_pre_hook(
                hook(number), with_kwargs=True
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
        """Let the text encoders wait in main memory if offloading; nothing may run them inside."""
        if not self.resources.offload:
            yield
            return
        try:
            for encoder in self.text_encoders:
                encoder.to("cpu")
            yield
        finally:
            for encoder in self.text_encoders:
                encoder.to(self.device)

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
        """Do as `sample`, but return latents [B, C, h, w], scaled as the denoiser wants them."""
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
        """Return the negative prompt's states, one row of the shape of `states`."""
        if text not in self._negatives:
            with torch.no_grad():
                self._negatives[text] = self._encode_negative(text)
        return self._tiled(self._negatives[text], states)

    def _tiled(self, plain: Tensor, states: Tensor) -> Tensor:
        """Repeat states that all layers share so that they are of the shape of `states`."""
        return plain.repeat(1, 1, states.shape[-1] // plain.shape[-1])

    def _encode_negative(self, text: str) -> Tensor:
        return self.encode_prompts([self.tokenize(text)])

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
        shape = (1, self.denoiser.config.in_channels, self.latent_size, self.latent_size)
        noise = torch.cat([randn(shape, generator, states) for generator in generators])
        # Hooks are removed before the first image is handed out: a caller may stop half way.
        with torch.no_grad(), self.layer_conditioning(), self.text_encoder_resting(), steering:
            latents = pipeline(
                **self._arguments(states, negative),
                latents=noise,
                generator=generators,
                num_inference_steps=sampling.steps,
                guidance_scale=sampling.guidance_scale,
                output_type="latent",
                **extra,
            ).images
            self._check(
                latents, f"the latents that the {self.kind.noun} drew", self._drawing_advice()
            )
            # Some pipelines sample in float32, whatever the networks have.
            return latents.to(self.dtype) if output_type == "latent" else self.decode(latents)

    def decode(self, latents: Tensor) -> list[Image.Image]:
        """Decode latents [B, C, h, w] as the stock pipeline does, which looks at no number."""
        vae = self.pipeline.vae
        scaled = latents.to(vae.dtype) / vae.config.scaling_factor + self._latent_shift
        pixels = vae.decode(scaled, return_dict=False)[0]
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


def adapter_of(kind: Kind) -> type[Backbone]:
    """Import and return the backbone's class for a kind."""
    module, _, name = kind.adapter.partition(":")
    return cast("type[Backbone]", getattr(import_module(module), name))


def compile_blocks(denoiser: Any, backend: str = "inductor") -> None:
    """Have the denoiser's transformer blocks compiled when they first run.

    The blocks and not the whole of it, because they take most of the time, few of them differ, and
    `layer_conditioning` hooks the layers around them.
    """
    # Custom Diffusion hooks projections in a block for a while: look for hooks at each call.
    torch._dynamo.config.skip_nnmodule_hook_guards = False
    # Compile for every width, batch size and trained or frozen weights: no silent fallback.
    torch._dynamo.config.recompile_limit = 64
    if not denoiser._repeated_blocks:
        raise UserError(
            f"--compile knows no blocks of a {type(denoiser).__name__}: leave --compile out"
        )
    denoiser.compile_repeated_blocks(backend=backend)


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
