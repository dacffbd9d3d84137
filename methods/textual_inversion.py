"""Textual Inversion: one token, learned by the denoising loss alone."""

from __future__ import annotations

from typing import ClassVar

from actionbench.diffusion.token_learning import TokenMethod, TokenSettings
from actionbench.method import Presets


class TextualInversion(TokenMethod[TokenSettings]):
    """All cross-attention layers see the same token [1, 1, D]; prompt "<subject> <v>"."""

    name = "textual-inversion"
    title = "Textual Inversion"
    reference = "Gal et al., ICLR 2023, arXiv 2208.01618"
    Settings = TokenSettings
    presets: ClassVar[Presets] = {
        "puppet-diffusion": {"steps": 490, "batch_size": 8, "learning_rate": 2.1e-2}
    }
