"""Made-up photographs: folders of coloured clouds, each unlike the others."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

SUITE = """\
name: two-actions
title: Two actions
actions:
  - {name: wave, description: waves}
  - {name: jump, description: jumps high}
subjects:
  - {name: panda, category: animal, phrase: A panda}
  - {name: Batman, category: celebrity, phrase: Batman}
  - {name: old man, category: human, phrase: An old man}
judge: brightness
steps: 2
guidance_scale: 2.0
"""
ACTIONS = ("wave", "jump")
COUNT = 2


def cloud(seed: int, width: int = 320, height: int = 280) -> Image.Image:
    """Smooth random colours, RGB."""
    pixels = np.random.default_rng(seed).integers(0, 255, (9, 12, 3), dtype=np.uint8)
    return Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC)


def make_folder(folder: Path) -> Path:
    """Two photographs of each of the two actions: wave/0.jpg, wave/1.jpg, jump/0.jpg, ..."""
    for number, action in enumerate(ACTIONS):
        (folder / action).mkdir(parents=True)
        for index in range(COUNT):
            cloud(10 * number + index).save(folder / action / f"{index}.jpg", quality=95)
    return folder


def write_suite(folder: Path, text: str = SUITE) -> Path:
    file = folder / "two-actions.yaml"
    file.write_text(text, "utf-8")
    return file
