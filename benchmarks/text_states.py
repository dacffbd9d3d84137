"""What can be read of poses in a text encoder's states, before a diffusion model learns from them.

    python -m benchmarks.text_states --work DIR [clip-1.model clip-2.model ...] [--trained]

A UNet reads its text by cross-attention. So does a small probe here, one layer with a query for
each bone, which learns to give the bones' directions from captions of the training's corpus alone.
The figure is the mean cosine on other captions; 0 is a guess, and 1 is out of reach, because
captions name only some of the limbs. `--trained` lets the probe train the first encoder along: what
such states could hold. What a UNet cannot read from them, it cannot draw.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from transformers import CLIPTextModel, CLIPTokenizer

from actionbench.puppets.training.corpus import Corpus
from actionbench.puppets.training.limbs import WordReader, directions
from actionbench.puppets.training.recipe import Recipe
from actionbench.puppets.training.stages import Training
from actionbench.puppets.training.text import clip_folder, kept_clip, text_half, tokenize

BATCH = 256
HELD_OUT = 10_000
"""Pictures at the corpus's end that the probe does not learn from; the first 3,000 are asked."""
KINDS = {"free": "limb by limb", "known": "a pose's name", "exact": "an action's description"}
BENDS = slice(0, 4)
"""Upper and lower arms, the bones that words say most about."""


def probe(
    data: Corpus, text: CLIPTextModel, tokenizer: CLIPTokenizer, steps: int, trained: bool
) -> dict[str, tuple[float, float]]:
    """For each kind of caption, the mean cosine over all bones and over the arms."""
    torch.manual_seed(0)
    reader = WordReader(text.config.hidden_size)
    text.requires_grad_(trained)
    learned = [*reader.parameters(), *(text.parameters() if trained else ())]
    optimizer = torch.optim.AdamW(learned, lr=2e-3)
    recipe, points = replace(Recipe(), tell_pose=1.0), torch.from_numpy(data.keypoints)
    rows = np.array([i for i, row in enumerate(data.rows) if row["kind"] in KINDS])
    asked = rows[rows >= len(data) - HELD_OUT][:3000]
    rows = rows[rows < len(data) - HELD_OUT]

    def states(pick: np.ndarray, seed: int) -> Tensor:
        words = data.captions(pick, np.random.default_rng((seed, 3)), recipe)
        with torch.set_grad_enabled(trained and torch.is_grad_enabled()):
            found: Tensor = text(tokenize(tokenizer, words)).last_hidden_state
        return found

    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = 2e-3 * min(1.0, 3 * (steps - step) / steps)
        pick = np.random.default_rng(step).choice(rows, BATCH)
        loss = reader.loss(states(pick, step), points[pick])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        found = torch.cat([reader(states(part, 0)) for part in np.array_split(asked, 12)])
    wanted, seen = directions(points[asked])
    cosines = (found * wanted).sum(-1)
    kinds = np.array([data.rows[i]["kind"] for i in asked])
    shares = {}
    for kind in KINDS:
        own = torch.from_numpy(kinds == kind)
        near, there = cosines[own], seen[own]
        arms = near[:, BENDS][there[:, BENDS]].mean()
        shares[kind] = float(near[there].mean()), float(arms)
    return shares


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folders", nargs="*", type=Path, help="the recipe's own without any")
    parser.add_argument("--work", type=Path, required=True, help="the training's work folder")
    parser.add_argument("--steps", type=int, default=700)
    parser.add_argument("--trained", action="store_true")
    given = parser.parse_args()
    data = Training(Recipe(), given.work).corpus
    folders = given.folders or [clip_folder(Recipe(), data, given.work)]
    names = "".join(f" {words}: all bones | arms |" for words in KINDS.values())
    print(f"| encoder |{names}\n|---|{'---:|' * 2 * len(KINDS)}")
    for folder in folders[:1] if given.trained else folders:
        began = time.monotonic()
        clip, tokenizer = kept_clip(folder, "cpu")
        shares = probe(data, text_half(clip), tokenizer, given.steps, given.trained)
        cells = "".join(f" {whole:.3f} | {arms:.3f} |" for whole, arms in shares.values())
        name = f"{folder.name}{', trained along' if given.trained else ''}"
        print(f"| {name} |{cells}  <!-- {time.monotonic() - began:.0f} s -->", flush=True)


if __name__ == "__main__":
    main()
