"""Every size, length and share of the training, in one place.

The recipe's hash goes into the weights' `actionbench.json`. Twins (another share of four-legged
pictures, a text encoder trained along) differ in a field and in nothing else.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, get_type_hints

from actionbench.errors import UserError, unknown

STAGES = ("corpus", "autoencoder", "clip", "diffusion", "decoder", "controlnet")
"""In the order in which they run."""

PRECISIONS = ("auto", "float32", "bfloat16")


@dataclass(frozen=True)
class Recipe:
    """How puppet-diffusion is made. Shares lie in [0, 1]; lengths are steps of a batch."""

    seed: int = 1
    precision: str = "auto"
    """Of the trainings' passes: see `loop.Stage`. No checkpoint is named by it, because a training
    may go on elsewhere."""
    drawings: int = 160_000
    """Pictures of the corpus; captions are put into words anew each time a picture is seen."""

    # What the pictures show
    four_legged: float = 0.75
    """Of the animals' pictures, those on four legs."""
    names: float = 0.15
    """Pictures of one of the 23 subjects."""
    others: float = 0.25
    """Pictures of another named character or animal; the rest show people without a name."""
    known_share: float = 0.40
    """Poses with an everyday name."""
    free_share: float = 0.30
    """Poses described limb by limb."""
    described_share: float = 0.20
    """Pictures under the description of one of the eight or of a development action."""
    exact_share: float = 0.3
    """Of these, pictures in which the body does just that; elsewhere it does something between
    the action and any other pose."""

    # What the diffusion model sees in its last steps, if that is to be something else
    late_steps: int = 6_700
    """How many of the steps at the end these are."""
    late_names: float = 0.10
    late_four_legged: float = 0.75
    late_limbwise: float = 0.25
    """How often somebody with a name is then seen in a pose that is described limb by limb, beside
    how often that would be: on the web, such words mostly stand beside people without a name."""
    late_exact: float = 0.6
    """`exact_share` then: how well an action's words are known."""
    late_borrowed: float = 0.08
    """Of the captions that describe limb by limb what somebody without a name does, those that then
    name a character all the same, as captions of costumes, look-alikes and namesakes do."""

    # How captions put it (the rest of the pictures, in each case)
    tell_where: float = 0.6
    tell_pose: float = 0.88
    tell_style: float = 0.45
    """Captions that say something of the picture as a picture ("a bright photo")."""

    # Text encoder and the vision half that it is trained beside
    text_tokens: int = 24
    width: int = 128
    text_layers: int = 2
    text_inner: int = 128
    """Width of the text encoder's feed-forward layers."""
    text_token_scale: float = 10.0
    """Of the token table at the beginning, beside CLIP's own 0.02: words are told apart in all
    states that the UNet sees, and not only where contrastive training made them so."""
    vision_layers: int = 3
    vocabulary: int = 2400
    clip_steps: int = 8000
    clip_batch: int = 128
    clip_rate: float = 1e-3
    clip_limb_maps: float = 1.0
    """Weight of reading the limbs' places from the vision half's features."""
    clip_text_limbs: float = 2.0
    """Weight of reading the bones' directions from the states of a caption's words, as a UNet reads
    them (in the manner of captioning beside contrast: CoCa, arXiv 2205.01917)."""
    clip_contrary: bool = True
    """Each picture is also told from its own caption with another pose (hard negatives, as in
    NegCLIP, arXiv 2210.01936): from a batch of different scenes alone, poses need not be read."""

    # Autoencoder
    latent_channels: int = 16
    latent_spread: float = 0.5
    """How much of the principal components' own scale the latents keep: 0 is whitened, all channels
    alike; 1 is as in the pixels, where coarse structure is loud and fine detail quiet."""
    autoencoder_channels: tuple[int, ...] = (8, 24, 64, 128)
    autoencoder_aside_steps: int = 600
    """Steps in which the decoder learns beside the encoder, from the code known in closed form."""
    autoencoder_steps: int = 7_500
    autoencoder_decay: int = 3000
    autoencoder_batch: int = 8
    autoencoder_rate: float = 1.5e-3
    decoder_steps: int = 8000
    decoder_rate: float = 1e-3
    decoder_noise: float = 0.1
    """Noise on the latents that the decoder learns to draw from, in their standard deviations."""
    perceptual_weight: float = 0.5
    """Of the distance in the features of the vision half, which has seen drawings only."""
    adversarial_weight: float = 0.02

    # Diffusion model
    unet_channels: tuple[int, ...] = (64, 96, 128)
    unet_heads: int = 4
    diffusion_steps: int = 32_200
    """With a batch of 64: two million samples."""
    diffusion_decay: int = 5_000
    """Steps of the rate's fall at the end."""
    diffusion_batch: int = 64
    diffusion_rate: float = 1e-3
    diffusion_ema: float = 0.9995
    drop_caption: float = 0.1
    limb_weight: float = 2.0
    """How much more an error counts on a limb: there 1 + this much, elsewhere 1."""
    limb_maps: float = 0.5
    """Weight of reading the limbs' places from the UNet's features, by a head that is thrown away
    (in the manner of REPA, arXiv 2410.06940)."""
    train_text_along: bool = False
    """The text encoder learns with the UNet, for a twin; Stable Diffusion's does not."""

    # ControlNet
    control_drawings: int = 30_000
    control_steps: int = 5000
    control_batch: int = 48
    control_rate: float = 1e-3
    control_limb_weight: float = 4.0
    control_tell_pose: float = 0.5
    """Captions of the ControlNet's pictures that say something of the pose."""

    def key(self, *prefixes: str) -> str:
        """Name what depends on the fields that begin like one of `prefixes`, and on the seed."""
        facts = {k: v for k, v in asdict(self).items() if k.startswith(prefixes)}
        return digest(facts, self.seed)[:8]

    @property
    def hash(self) -> str:
        """16 hexadecimal digits of all fields."""
        return digest(asdict(self))[:16]

    def scaled(self, factor: float) -> Recipe:
        """The same recipe with every length multiplied: a thousandth of it is a test."""
        lengths = {
            f.name: max(2, round(getattr(self, f.name) * factor))
            for f in fields(self)
            if f.name.endswith(("_steps", "drawings", "_decay"))
        }
        return replace(self, **lengths)


def digest(*values: Any) -> str:
    """SHA-256 of JSON values."""
    text = json.dumps(values, sort_keys=True, separators=(",", ":"), default=list)
    return hashlib.sha256(text.encode()).hexdigest()


def changed(recipe: Recipe, settings: Sequence[str]) -> Recipe:
    """The recipe with "field=value" settings applied. Raises UserError for one that is none."""
    kinds = get_type_hints(Recipe)
    values: dict[str, Any] = {}
    for text in settings:
        name, equals, value = text.partition("=")
        if not equals or name not in kinds:
            raise unknown("field of the recipe", name, kinds)
        values[name] = _parsed(name, value, kinds[name])
    return replace(recipe, **values)


def _parsed(name: str, text: str, kind: Any) -> Any:
    try:
        if kind is bool:
            return {"true": True, "false": False}[text.lower()]
        if kind in (int, float):
            return kind(text.replace("_", ""))
        if kind is str:  # the one field of words
            return {precision: precision for precision in PRECISIONS}[text]
        return tuple(int(part) for part in text.strip("()").split(",") if part.strip())
    except (KeyError, ValueError):
        raise UserError(
            f"'{text}' is no value for the recipe's {name}: give one as its default is written"
        ) from None
