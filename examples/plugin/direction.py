"""Direction: an identifier that learns where to point, at a fixed norm.

After DTI (Kim et al., ICLR 2026, arXiv 2512.13672): Textual Inversion's token grows to many times
the norm of the vocabulary's, and the more it outgrows them the less the rest of the prompt counts.
Here every step of AdamW ends on the sphere of the vocabulary's median norm; the paper moves on the
sphere by Riemannian SGD and adds a prior on the direction, which this example leaves out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from torch.nn.functional import normalize

from actionbench.diffusion.token_learning import TokenMethod, TokenSettings
from actionbench.method import Presets, Question, varied
from actionbench.settings import setting

if TYPE_CHECKING:
    from torch import Tensor

    from actionbench.diffusion.backbone import Backbone


@dataclass(frozen=True)
class Settings(TokenSettings):
    """Textual Inversion's, and the norm."""

    relative_norm: float = setting(
        1.0, "norm of the token, as a multiple of the vocabulary's median norm", low=1e-3
    )


class Direction(TokenMethod[Settings]):
    """One token [1, 1, D] for all cross-attention layers, which keeps the norm of its start."""

    name = "direction"
    title = "Direction"
    reference = "after Kim et al., ICLR 2026, arXiv 2512.13672"
    Settings = Settings
    tuned: ClassVar[Presets] = {
        "puppet-diffusion": {"steps": 490, "batch_size": 8, "learning_rate": 2.1e-2}
    }

    @classmethod
    def ablation(cls) -> list[Question]:
        """Ask whether the vocabulary's norm is the one to keep: `actionbench ablate direction`."""
        return [Question("norm", "Norm", varied(cls.name, "relative_norm", "0.5", "1", "2", "8"))]

    def start(self, backbone: Backbone, layers: int) -> Tensor:
        norm = self.settings.relative_norm * float(backbone.token_norms().median())
        return norm * normalize(super().start(backbone, layers), dim=-1)

    def after_step(self, vectors: Tensor, start: Tensor) -> Tensor:
        return normalize(vectors, dim=-1) * start.norm(dim=-1, keepdim=True)
