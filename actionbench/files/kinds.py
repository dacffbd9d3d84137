"""The kinds of diffusion models that can be customized, told apart by a pipeline's class.

A kind says which parts a pipeline folder has and which class of this project adapts it. Torch and
diffusers are not needed here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from actionbench.errors import UserError


@dataclass(frozen=True)
class Kind:
    """A kind of conditioning: how a text reaches the network that denoises."""

    name: str
    """As a method claims it in `Method.kinds`."""
    title: str
    models: str
    """Well-known models of it."""
    pipelines: tuple[str, ...]
    """Its classes of diffusers; the first one loads a folder."""
    networks: tuple[str, ...]
    """The folders of parts with weights: the autoencoder, the denoiser, the text encoders."""
    adapter: str
    """The `Backbone` for it, as `module:Class`."""
    tokenizers: tuple[str, ...] = ("tokenizer",)
    """The folders of its tokenizers."""
    without: Mapping[str, Any] = field(default_factory=dict)
    """Arguments of `from_pretrained` that leave out what would change an image afterwards."""
    controlled: str | None = None
    """The class of diffusers that draws with a ControlNet; None if there is none."""
    prompt_length: int | None = None
    """How many tokens a prompt has at most; None if the text encoder's config says it."""
    begins: bool = True
    """Whether a prompt's tokens have one for the beginning."""
    ends: bool = True
    """Whether they have one for the end."""
    lowers: bool = False
    """Whether the pipeline writes prompts in small letters."""
    text_width: str = "cross_attention_dim"
    """The entry of the denoiser's config that is as wide as the text encoders' states."""
    states_of: tuple[str, ...] | None = None
    """The text encoders whose states, side by side, are that wide; None for all of them."""
    optional: tuple[str, ...] = ()
    """Parts that a folder may lack, all of them: its index then has no class for the first."""
    facts: tuple[str, ...] = ()
    """Entries of `model_index.json` that decide what is drawn."""

    def least(self) -> Kind:
        """Return the kind of a pipeline that lacks the `optional` parts."""
        return replace(
            self,
            networks=tuple(part for part in self.networks if part not in self.optional),
            tokenizers=tuple(part for part in self.tokenizers if part not in self.optional),
            without={**self.without, **dict.fromkeys(self.optional)},
            states_of=(),
        )

    @property
    def components(self) -> tuple[str, ...]:
        """Every part of a pipeline, each in a folder of its own."""
        return (*self.networks, *self.tokenizers, "scheduler")

    @property
    def denoiser(self) -> str:
        """The folder of the network that denoises."""
        return self.networks[1]

    @property
    def noun(self) -> str:
        """What messages call the denoiser."""
        return {"unet": "UNet"}.get(self.denoiser, self.denoiser)

    @property
    def around(self) -> int:
        """Tokens around a prompt's words: its beginning and its end, if there are such."""
        return self.begins + self.ends

    @property
    def text_encoders(self) -> tuple[str, ...]:
        """The folders of the text encoders."""
        return self.networks[2:]


UNET = Kind(
    name="unet",
    title="UNet, one encoder",
    models="SD 1.5, 2.x",
    pipelines=(
        "StableDiffusionPipeline",
        "StableDiffusionImg2ImgPipeline",
        # Refused for its UNet's channels, with advice.
        "StableDiffusionInpaintPipeline",
        "StableDiffusionInstructPix2PixPipeline",
        "StableDiffusionDepth2ImgPipeline",
    ),
    networks=("vae", "unet", "text_encoder"),
    adapter="actionbench.diffusion.unet:OneEncoder",
    controlled="StableDiffusionControlNetPipeline",
    # The safety checker would replace what it takes for unsafe by a black image, and the judges
    # would count that against the method.
    without={"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False},
)

UNET_TWO = Kind(
    name="unet-two",
    title="UNet, two encoders",
    models="SDXL",
    pipelines=("StableDiffusionXLPipeline",),
    networks=("vae", "unet", "text_encoder", "text_encoder_2"),
    adapter="actionbench.diffusion.unet_two:TwoEncoders",
    tokenizers=("tokenizer", "tokenizer_2"),
    without={"add_watermarker": False},
    controlled="StableDiffusionXLControlNetPipeline",
    facts=("force_zeros_for_empty_prompt",),
)

TRANSFORMER = Kind(
    name="transformer",
    title="cross-attention transformer",
    models="PixArt-Sigma",
    pipelines=("PixArtSigmaPipeline",),
    networks=("vae", "transformer", "text_encoder"),
    adapter="actionbench.diffusion.transformer:CrossAttentionTransformer",
    prompt_length=300,  # read: diffusers' pipeline, after the paper
    begins=False,
    lowers=True,
    text_width="caption_channels",
)

SANA = Kind(
    name="sana",
    title="cross-attention transformer, Gemma",
    models="SANA 1.0, 1.5",
    pipelines=("SanaPipeline",),
    networks=("vae", "transformer", "text_encoder"),
    adapter="actionbench.diffusion.sana:Sana",
    prompt_length=300,  # read: diffusers' pipeline, after the paper
    ends=False,
    lowers=True,
    text_width="caption_channels",
)

JOINT = Kind(
    name="joint",
    title="joint transformer",
    models="SD 3, 3.5",
    pipelines=("StableDiffusion3Pipeline",),
    networks=("vae", "transformer", "text_encoder", "text_encoder_2", "text_encoder_3"),
    adapter="actionbench.diffusion.joint:JointTransformer",
    tokenizers=("tokenizer", "tokenizer_2", "tokenizer_3"),
    without={"image_encoder": None, "feature_extractor": None},  # for pictures as prompts
    text_width="joint_attention_dim",
    states_of=("text_encoder_3",),
    optional=("text_encoder_3", "tokenizer_3"),
)

KINDS = {kind.name: kind for kind in (UNET, UNET_TWO, TRANSFORMER, SANA, JOINT)}
"""All kinds by name."""


def kind_of(index: Mapping[str, Any], where: object) -> Kind:
    """Return the kind of a pipeline by its `model_index.json`.

    Args:
        index: the file's content.
        where: the folder, for the message.

    Raises:
        UserError: for a class that no kind has; it names the known ones.
    """
    wanted = index.get("_class_name", UNET.pipelines[0])
    for kind in KINDS.values():
        if wanted in kind.pipelines:
            lacks = kind.optional and index.get(kind.optional[0]) in (None, [None, None])
            return kind.least() if lacks else kind
    known = "; ".join(f"{kind.title} ({kind.pipelines[0]})" for kind in KINDS.values())
    raise UserError(f"{where} is a {wanted}, which cannot be customized here: known are {known}")
