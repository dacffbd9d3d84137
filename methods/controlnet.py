"""ControlNet: an exemplar's skeleton steers the drawing, the prompt says who does what.

Zhang et al., "Adding Conditional Control to Text-to-Image Diffusion Models", ICCV 2023, arXiv
2302.05543. One network, trained on skeletons at large, serves all actions: of an action only the
exemplars' keypoints are kept.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np

from actionbench.diffusion.control import Control, check_fit, load_controlnet, new_controlnet
from actionbench.errors import UserError
from actionbench.files.kinds import KINDS
from actionbench.files.models import ControlNetSource, Network, resolve_controlnet
from actionbench.method import Customization, Method, Presets, Work
from actionbench.progress import Progress
from actionbench.settings import setting
from actionbench.suite.items import ActionTask, Item
from actionbench.suite.shipped import CONTROLNET, WEIGHTS
from actionbench.suite.skeleton import draw_skeleton

if TYPE_CHECKING:
    from PIL.Image import Image

    from actionbench.diffusion.backbone import Backbone

UNTRAINED, RANDOM = "untrained", "random"


@dataclass(frozen=True)
class Settings:
    controlnet: str = setting(
        "thibaud/controlnet-sd21-openpose-diffusers",
        "folder or Hub id of a ControlNet for OpenPose skeletons that fits the base model; "
        f"`{CONTROLNET}` is the shipped one, `{UNTRAINED}` one without effect, which fits any "
        f"model, `{RANDOM}` one with an effect at random, for trying out",
        source="read: the checkpoint's page; for SD 1.5 recalled",
    )
    scale: float = setting(
        1.0,
        "what the ControlNet's outputs are multiplied by",
        low=0,
        source="read: diffusers' pipeline",
    )
    steers: Literal["both", "prompted", "network"] = setting(
        "both",
        "the halves of guidance that are steered: both, the one with the prompt alone, or what the "
        "network's `actionbench.json` says",
        source="read: diffusers' pipeline without guess mode",
        before="network",
    )


class ControlNet(Method[Settings]):
    """Prompt: "<subject> <the action's description>", each under the skeleton of an exemplar."""

    name = "controlnet"
    title = "ControlNet"
    reference = "Zhang et al., ICCV 2023, arXiv 2302.05543"
    Settings = Settings
    kinds = tuple(kind.name for kind in KINDS.values() if kind.controlled)
    unserved: ClassVar[dict[str, str]] = {
        "transformer": "diffusers has no ControlNet pipeline for PixArt-Sigma",
        "sana": "ControlNets of SANA are of another class, which is not loaded here",
        "joint": "ControlNets of SD 3 are of another class, which is not loaded here",
    }
    described = True
    presets: ClassVar[Presets] = {
        "puppet-diffusion": {"controlnet": CONTROLNET},
        # SD 2.1's is the default. This one is recalled: not tried with this project.
        "sd-1.5": {"controlnet": "lllyasviel/control_v11p_sd15_openpose"},
        "tiny": {"controlnet": RANDOM},
    }
    tuned: ClassVar[Presets] = {"puppet-diffusion": {"steers": "network"}}

    @property
    def _place(self) -> str | None:
        """The folder or Hub id; None for one that is made on the spot."""
        wanted = self.settings.controlnet
        if wanted in (UNTRAINED, RANDOM):
            return None
        return str(WEIGHTS / CONTROLNET) if wanted == CONTROLNET else wanted

    @cached_property
    def source(self) -> ControlNetSource | None:
        """None for one that is made on the spot."""
        place = self._place
        if self.settings.controlnet == CONTROLNET and not (WEIGHTS / CONTROLNET).exists():
            raise UserError(
                f"{place} is missing: install the package again, or name one with "
                "--set controlnet=FOLDER"
            )
        return None if place is None else resolve_controlnet(place)

    @property
    def fingerprint(self) -> str:
        return "" if self.source is None else self.source.fingerprint

    @property
    def networks(self) -> tuple[Network, ...]:
        place = self._place
        return () if place is None else (Network(place, "diffusers.ControlNetModel"),)

    def fit_work(self, exemplars: int, layers: int) -> Work:
        return Work()

    @property
    def _prompted_only(self) -> bool:
        if self.settings.steers == "network":
            return self.source is not None and self.source.prompted_only
        return self.settings.steers == "prompted"

    def check_task(self, task: ActionTask) -> None:
        self._seen(task)

    def _seen(self, task: ActionTask) -> list[tuple[str, np.ndarray]]:
        """List names and keypoints [18, 3] of the exemplars that show any."""
        kept = [(e.id, e.keypoints) for e in task.exemplars if e.keypoints is not None]
        if len(kept) < len(task.exemplars):
            raise UserError(
                f"exemplars of '{task.action.name}' have no keypoints, which skeletons are drawn "
                "from: `actionbench data import DIR --out FOLDER --keypoints` reads them"
            )
        seen = [(name, points) for name, points in kept if points[:, 2].any()]
        if not seen:
            raise UserError(
                f"no exemplar of '{task.action.name}' has a visible keypoint: "
                "there is no skeleton to steer by"
            )
        return seen

    def fit(
        self, backbone: Backbone, task: ActionTask, *, seed: int, progress: Progress
    ) -> Customization:
        """Keep the keypoints [n, 18, 3] of the exemplars that show any."""
        import torch

        if self.source is not None:
            check_fit(backbone, self.source)
        seen = self._seen(task)
        return Customization(
            method=self.name,
            action=task.action.name,
            model=backbone.fingerprint,
            tensors={"keypoints": torch.from_numpy(np.stack([points for _, points in seen]))},
            facts={"exemplars": [name for name, _ in seen]},
        )

    def generate(
        self, backbone: Backbone, customization: Customization, items: Sequence[Item]
    ) -> Iterator[Image]:
        points = customization.tensors["keypoints"].numpy()
        skeletons = [draw_skeleton(p, backbone.image_size) for p in points]
        network = (
            new_controlnet(backbone, zero=self.settings.controlnet == UNTRAINED)
            if self.source is None
            else load_controlnet(backbone, self.source)
        )
        yield from backbone.generate(
            [item.described_prompt for item in items],
            [item.seed for item in items],
            control=Control(
                network,
                [skeletons[place_in_round(item, len(skeletons))] for item in items],
                self.settings.scale,
                self._prompted_only,
            ),
        )


def place_in_round(item: Item, count: int) -> int:
    """Choose which of `count` skeletons an item gets (the paper's pairing is not public).

    Round-robin: each action and subject begins somewhere in the round, as the run's seed has it,
    and its images take the skeletons one after another. It depends on the item alone, so that no
    batch, order or shard changes it.
    """
    return (replace(item, index=0).seed + item.index) % count
