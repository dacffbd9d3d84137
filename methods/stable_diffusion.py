"""Stable Diffusion with the action in words alone: the benchmark's floor."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from actionbench.files.kinds import KINDS
from actionbench.method import Customization, Method
from actionbench.progress import Progress
from actionbench.settings import NoSettings
from actionbench.suite.items import ActionTask, Item

if TYPE_CHECKING:
    from PIL.Image import Image

    from actionbench.diffusion.backbone import Backbone


class StableDiffusion(Method[NoSettings]):
    """Prompt: "<subject> <the action's description>". Learns nothing."""

    name = "stable-diffusion"
    title = "Stable Diffusion"
    reference = "Rombach et al., CVPR 2022, arXiv 2112.10752"
    needs_fit = False
    kinds = tuple(KINDS)
    described = True

    def fit(
        self, backbone: Backbone, task: ActionTask, *, seed: int, progress: Progress
    ) -> Customization:
        return Customization(self.name, task.action.name, backbone.fingerprint)

    def generate(
        self, backbone: Backbone, customization: Customization, items: Sequence[Item]
    ) -> Iterator[Image]:
        prompts = [item.described_prompt for item in items]
        yield from backbone.generate(prompts, [item.seed for item in items])
