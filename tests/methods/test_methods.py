from __future__ import annotations

import tomllib
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from actionbench.diffusion.backbone import Backbone
from actionbench.method import Method
from actionbench.plugins.tiny import load_tiny, state_hash, tiny_items, tiny_pipeline, tiny_task
from actionbench.progress import SILENT
from actionbench.settings import build_settings

ROOT = Path(__file__).parents[2]
BUILT_IN = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"][
    "actionbench.methods"
]
QUICK = {
    "stable-diffusion": [],
    "dreambooth": ["steps=2", "learning_rate=1e-3", "class_images=2", "class_sampling_steps=2"],
    "textual-inversion": ["steps=2"],
    "custom-diffusion": ["steps=2", "class_images=2", "class_sampling_steps=2"],
    "p-plus": ["steps=2"],
    "reversion": ["steps=2"],
    "controlnet": ["controlnet=untrained"],
    "drawn": [],
    "other-action": [],
    "lora": ["steps=2", "learning_rate=1e-1"],
    "dti": ["steps=2"],
    "adi": ["steps=2", "pool_steps=1", "pool_sampling_steps=2", "pool=joint"],
}


def make(name: str) -> Method[Any]:
    module, _, cls = BUILT_IN[name].partition(":")
    method = getattr(import_module(module), cls)
    return method(build_settings(method.Settings, {}, QUICK[name]))  # type: ignore[no-any-return]


def pixels(images: Any) -> np.ndarray:
    return np.stack([np.asarray(i, dtype=np.int16) for i in images])


@pytest.mark.parametrize("name", BUILT_IN)
def test_name_and_presets_are_right(name: str) -> None:
    method = make(name)
    assert method.name == name
    for preset in (*method.presets.values(), *method.tuned.values(), method.quick):
        build_settings(method.Settings, preset, [])


@pytest.mark.parametrize("name", BUILT_IN)
def test_a_method_keeps_the_interfaces_promises(tiny: Backbone, name: str) -> None:
    before = state_hash(tiny)
    task, items, method = tiny_task(), tiny_items(), make(name)
    fitted = method.fit(tiny, task, seed=0, progress=SILENT)
    assert (fitted.method, fitted.action, fitted.model) == (name, "cheer", tiny.fingerprint)
    images = pixels(method.generate(tiny, fitted, items))
    assert images.shape == (3, 32, 32, 3)
    assert state_hash(tiny) == before, "the backbone is as it was found"

    again = make(name).fit(tiny, task, seed=0, progress=SILENT)
    assert again.tensors.keys() == fitted.tensors.keys()
    assert all(torch.equal(again.tensors[key], fitted.tensors[key]) for key in fitted.tensors)
    alone = pixels(method.generate(tiny, fitted, items[2:]))
    assert np.abs(alone - images[2:]).max() <= 1
    by_chance = name not in ("controlnet", "drawn", "other-action")
    if method.needs_fit and by_chance:
        other = method.fit(tiny, task, seed=1, progress=SILENT)
        assert not all(
            torch.equal(other.tensors[key], fitted.tensors[key]) for key in other.tensors
        )


@pytest.mark.parametrize("name", ["textual-inversion", "p-plus", "adi", "reversion", "dti"])
def test_what_was_learned_reaches_the_image(tiny: Backbone, name: str) -> None:
    method, items = make(name), tiny_items(count=1)
    fitted = method.fit(tiny, tiny_task(), seed=0, progress=SILENT)
    images = pixels(method.generate(tiny, fitted, items))
    fitted.tensors["vectors"].neg_()
    assert np.abs(pixels(method.generate(tiny, fitted, items)) - images).max() > 1


def test_stable_diffusion_draws_the_description(tiny: Backbone) -> None:
    method, items = make("stable-diffusion"), tiny_items(count=1)
    fitted = method.fit(tiny, tiny_task(), seed=0, progress=SILENT)
    expected = pixels(tiny.generate([items[0].described_prompt], [items[0].seed]))
    assert (pixels(method.generate(tiny, fitted, items)) == expected).all()


@pytest.mark.parametrize("name", BUILT_IN)
def test_v_prediction_and_another_number_of_layers(tmp_path: Path, name: str) -> None:
    folder = tiny_pipeline(tmp_path, "v_prediction", levels=2, layers_per_block=1)
    backbone = load_tiny(folder)
    method = make(name)
    fitted = method.fit(backbone, tiny_task(), seed=0, progress=SILENT)
    one = dict.fromkeys(("textual-inversion", "reversion", "custom-diffusion", "dti"), 1)
    layers = {**one, "p-plus": 7, "adi": 7}
    if name in layers:
        assert fitted.tensors["vectors"].shape == (layers[name], 1, backbone.width)
    assert len(list(method.generate(backbone, fitted, tiny_items(count=1)))) == 1
