"""How a run uses its device: what saves memory, what saves time."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Resources:
    """Changes what a run takes, and its results by rounding alone, as another device does.

    So it is in a run's record and in no key: a run that ran out of memory goes on with more of it
    saved, from the same stored fits and images. The dtype, which rounds far more coarsely, is
    in the keys.
    """

    gradient_checkpointing: bool = False
    """Keep the activations at the borders of blocks alone and compute the rest again in the
    backward pass: less memory, for a second forward pass."""
    vae_slicing: bool = False
    """Encode and decode one image at a time. Tiles within an image, the other thing that
    diffusers offers, would change the image and are not needed at 768 px."""
    offload: bool = False
    """The text encoder waits in main memory while the UNet works without it."""
    compile: bool = False
    """Compile the UNet's transformer blocks: a wait at the beginning, for quicker steps."""


PLAIN = Resources()
"""Nothing saved and nothing compiled."""
