"""No learned identifier changes by moving code: `golden/fits.json` was made before the move.

It was made with the defaults of that time, which are spelled out here.

A change that means to change what is learned writes the file anew
(`python -m tests.test_golden_fits`) and says why in its commit.
"""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import torch

from actionbench.diffusion.backbone import Backbone
from actionbench.diffusion.token_learning import SEARCHED_ON_PUPPETS
from actionbench.files.models import ModelTraits
from actionbench.plugins.tiny import load_tiny, tiny_pipeline, tiny_task
from actionbench.progress import SILENT
from actionbench.registry import get_method
from actionbench.runs.profiles import configure

FILE = Path(__file__).parent / "golden" / "fits.json"
BEFORE = (
    *("batch_size=4", "learning_rate=5e-3", "initializer=stands", "templates_drawn=per-step"),
    f"templates={','.join(SEARCHED_ON_PUPPETS['templates'])}",
)
POOL = (
    *BEFORE,
    "masked_channels=frozen",
    *("batch_size=2", "epsilon=1e-2", "learning_rate=0.1", "pool_steps=2"),
    *("pool_sampling_steps=2", "pool_guidance_scale=1", "pool_learning_rate=1e-6"),
)
"""Rounding, which differs even between two processes, grows little under these."""
FITS: dict[str, tuple[tuple[str, ...], float]] = {
    "textual-inversion": (("textual-inversion", *BEFORE), 0.9),
    "textual-inversion, captions": (("textual-inversion", *BEFORE, "prompts=caption"), 0.9),
    "p-plus": (("p-plus", *BEFORE), 0.9),
    "reversion": (("reversion",), 0.9),
    "adi": (("adi", *POOL), 0.6),
    "adi, one token, joint pool": (("adi", *POOL, "layerwise=false", "pool=joint"), 0.6),
    "adi, free channels": (
        ("adi", *POOL, "masked_channels=zero-gradient", "merge=union"),
        0.6,
    ),
}
"""Method and settings, and the share of entries that must stay within 1e-4. Below 1, because a
channel on the border of a mask is masked or not by the last bit; other random draws leave 0.44 of
the entries at most."""


def learn(backbone: Backbone, name: str, *words: str) -> dict[str, Any]:
    """Return the identifier and the losses of three steps."""
    method = configure(get_method(name), ModelTraits(None), words=("steps=3", *words))
    fitted = method.fit(backbone, tiny_task(), seed=5, progress=SILENT)
    vectors = fitted.tensors["vectors"]
    return {
        "shape": list(vectors.shape),
        "norm": round(float(vectors.norm()), 6),
        "losses": fitted.facts["losses"],
        "entries": [round(entry, 6) for entry in vectors.flatten().tolist()],
    }


@pytest.mark.parametrize("fit", FITS)
def test_the_same_seed_learns_what_it_did_before_the_move(tiny: Backbone, fit: str) -> None:
    expected = json.loads(FILE.read_text())[fit]
    words, share = FITS[fit]
    result = learn(tiny, *words)
    assert result["shape"] == expected["shape"]
    assert result["norm"] == pytest.approx(expected["norm"], rel=1e-2)
    assert result["losses"] == pytest.approx(expected["losses"], rel=1e-2)
    apart = (torch.tensor(result["entries"]) - torch.tensor(expected["entries"])).abs()
    assert float((apart < 1e-4).float().mean()) >= share


if __name__ == "__main__":
    torch.set_num_threads(1)
    with TemporaryDirectory() as folder:
        model = tiny_pipeline(Path(folder))
        fits = {name: learn(load_tiny(model), *words) for name, (words, _) in FITS.items()}
    lines = ",\n".join(f" {json.dumps(name)}: {json.dumps(fit)}" for name, fit in fits.items())
    FILE.write_text(f"{{\n{lines}\n}}\n", "utf-8")
