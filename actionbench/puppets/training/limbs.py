"""Where limbs are in a picture, and heads that learn to read it from networks' features."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from actionbench.suite.skeleton import LIMBS

LIMB_BONES = tuple((a - 1, b - 1) for a, b in LIMBS if a > 2 and b <= 14)
"""Upper and lower arms and legs, as pairs of keypoints counted from 0."""
BONES = (*LIMB_BONES, (1, 0))


def bone_maps(keypoints: Tensor, cells: int) -> Tensor:
    """How near each of `cells` x `cells` places is to each bone, in [0, 1], the limbs first.

    keypoints: float [n, 18, 3], in picture widths. Returns [n, 9, cells, cells]; zeros for a bone
    with an end that cannot be seen.
    """
    index = torch.tensor(BONES, device=keypoints.device)
    ends = keypoints[:, index]  # n, bones, 2, xy and visibility
    seen = (ends[..., 2] > 0).all(-1)
    start, along = ends[:, :, 0, :2], ends[:, :, 1, :2] - ends[:, :, 0, :2]
    line = (torch.arange(cells, device=keypoints.device) + 0.5) / cells
    places = torch.stack(torch.meshgrid(line, line, indexing="xy"), -1).view(-1, 2)
    offset = places - start[:, :, None]  # n, bones, places, xy
    length = along.square().sum(-1, keepdim=True).clamp_min(1e-8)
    share = ((offset * along[:, :, None]).sum(-1) / length).clamp(0, 1)
    squared = (offset - share[..., None] * along[:, :, None]).square().sum(-1)
    width = 0.04  # about that of an arm
    maps = (-squared / (2 * width**2)).exp() * seen[..., None]
    return maps.unflatten(-1, (cells, cells))


def directions(keypoints: Tensor) -> tuple[Tensor, Tensor]:
    """The bones' unit vectors, float [n, 9, 2], and whether both ends are seen, bool [n, 9].

    keypoints: float [n, 18, 3], in picture widths.
    """
    ends = keypoints[:, torch.tensor(BONES, device=keypoints.device)]
    along = ends[:, :, 1, :2] - ends[:, :, 0, :2]
    seen = (ends[..., 2] > 0).all(-1) & (along.norm(dim=-1) > 0.01)
    return F.normalize(along, dim=-1), seen


def limb_places(maps: Tensor) -> Tensor:
    """Where any limb is, [n, 1, cells, cells] in [0, 1], from `bone_maps` twice as fine."""
    return F.max_pool2d(maps[:, : len(LIMB_BONES)].amax(1, keepdim=True), 2)


def limb_weights(limbs: Tensor, more: float) -> Tensor:
    """How much each latent cell's error counts, 1 in the mean: more on a limb."""
    weight = 1 + more * limbs
    return weight / weight.mean()


class LimbReader(nn.Module):
    """Reads where the limbs are from a network's features; serves in training only."""

    def __init__(self, width: int, cells: int, keypoints: Tensor) -> None:
        """width: channels of the features; cells: their side; keypoints: float [n, 18, 3], to
        standardise the maps by."""
        super().__init__()
        self.cells = cells
        target = F.pixel_unshuffle(bone_maps(keypoints, 2 * cells), 2)
        self.head = nn.Sequential(
            nn.Conv2d(width, 2 * width, 1), nn.SiLU(), nn.Conv2d(2 * width, target.shape[1], 1)
        )
        self.register_buffer("mean", target.mean((0, 2, 3), keepdim=True))
        self.register_buffer("scale", 1 / target.std((0, 2, 3), keepdim=True).clamp_min(1e-3))

    def forward(self, features: Tensor, keypoints: Tensor) -> tuple[Tensor, Tensor]:
        """The loss of reading features [n, width, cells, cells] against the maps of `keypoints`
        [n, 18, 3]; and where limbs are, [n, 1, cells, cells] in [0, 1]."""
        finer = bone_maps(keypoints, 2 * self.cells)
        target = (F.pixel_unshuffle(finer, 2) - self.mean) * self.scale
        return F.mse_loss(self.head(features), target), limb_places(finer)


class WordReader(nn.Module):
    """Reads the bones' directions from a caption's states; serves in training only.

    As a UNet does, by cross-attention: one layer of it, with a query for each bone.
    """

    def __init__(self, width: int, heads: int = 4) -> None:
        """width: channels of the states."""
        super().__init__()
        self.heads = heads
        self.queries = nn.Parameter(0.1 * torch.randn(len(BONES), width))
        self.keys, self.values = (nn.Linear(width, width, bias=False) for _ in range(2))
        self.read = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, width), nn.GELU(), nn.Linear(width, 2)
        )

    def forward(self, states: Tensor) -> Tensor:
        """Unit vectors [n, 9, 2] from states [n, tokens, width]."""
        n = len(states)
        keys, values = (
            f(states).unflatten(2, (self.heads, -1)).transpose(1, 2)
            for f in (self.keys, self.values)
        )
        queries = self.queries.unflatten(1, (self.heads, -1)).transpose(0, 1).expand(n, -1, -1, -1)
        seen = F.scaled_dot_product_attention(queries, keys, values).transpose(1, 2).flatten(2)
        return F.normalize(self.read(seen + self.queries), dim=-1)

    def loss(self, states: Tensor, keypoints: Tensor) -> Tensor:
        """1 - cosine, in the mean over the bones that are seen."""
        wanted, seen = directions(keypoints)
        misread = 1 - (self(states) * wanted).sum(-1)
        return (misread * seen).sum() / seen.sum().clamp_min(1)
