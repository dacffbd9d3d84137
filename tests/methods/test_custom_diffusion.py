from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from actionbench.diffusion.backbone import Backbone
from actionbench.diffusion.denoising import add_noise, losses
from actionbench.files.models import ModelSource
from actionbench.method import MEASURES
from actionbench.plugins.tiny import state_hash, tiny_items, tiny_pipeline, tiny_task
from actionbench.progress import SILENT
from actionbench.runs.record import FitCost
from actionbench.runs.store import Store
from actionbench.suite.items import SLOT
from methods.custom_diffusion import (
    VIEWS,
    CustomDiffusion,
    Settings,
    Views,
    augmented,
    first_position_detached,
    learning_rate_factor,
)

QUICK = Settings(
    steps=3,
    batch_size=2,
    learning_rate=3e-3,
    scale_learning_rate=False,
    class_images=3,
    class_sampling_steps=2,
)
ENLARGED = ("zoomed in ", "close up ")


def pixels(images: Any) -> np.ndarray:
    return np.stack([np.asarray(i, dtype=np.int16) for i in images])


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# -- what moves ----------------------------------------------------------------------------


@pytest.mark.parametrize("prompts", ["template", "caption"])
def test_keys_values_and_the_token_move_and_nothing_else(tiny: Backbone, prompts: str) -> None:
    before = state_hash(tiny)
    method = CustomDiffusion(replace(QUICK, prompts=prompts))
    fitted = method.fit(tiny, tiny_task(), seed=0, progress=SILENT)
    assert state_hash(tiny) == before
    expected = {
        f"{layer}.transformer_blocks.0.attn2.{name}.weight"
        for layer in tiny.layers
        for name in ("to_k", "to_v")
    }
    assert len(expected) == 32
    assert fitted.tensors.keys() == expected | {"vectors"}
    assert all(fitted.tensors[name].dtype == torch.float16 for name in expected)
    start = tiny.word_embedding(QUICK.initializer)
    vectors = fitted.tensors["vectors"]
    assert vectors.shape == (1, 1, tiny.width)
    # Three steps of AdamW move a number by three learning rates at most.
    assert 0 < float((vectors[0, 0] - start).abs().max()) < 3.3 * QUICK.learning_rate


def test_all_of_the_cross_attention_layers_can_learn_and_the_token_at_its_own_rate(
    tiny: Backbone,
) -> None:
    settings = replace(QUICK, trained="cross-attention", token_learning_rate=1e-6)
    fitted = CustomDiffusion(settings).fit(tiny, tiny_task(), seed=0, progress=SILENT)
    changed = {name.partition(".attn2.")[2] for name in fitted.tensors if name != "vectors"}
    assert changed == {
        *("to_q.weight", "to_k.weight", "to_v.weight"),
        *("to_out.0.weight", "to_out.0.bias"),
    }
    moved = fitted.tensors["vectors"][0, 0] - tiny.word_embedding(QUICK.initializer)
    assert 0 < float(moved.abs().max()) < 3.3e-6 + 1e-7
    assert fitted.facts[MEASURES]["relative_norm"] > 0


def test_the_learning_rate_grows_with_the_samples_of_a_step() -> None:
    paper = Settings()
    assert (paper.learning_rate, learning_rate_factor(paper)) == (5e-6, 8)  # 4 exemplars x 2
    assert learning_rate_factor(replace(paper, prior_weight=0.0)) == 4
    assert learning_rate_factor(replace(paper, scale_learning_rate=False)) == 1


def test_no_gradient_comes_from_position_0(tiny: Backbone) -> None:
    """Of a projection by hand, and of the states through the whole UNet."""
    projections = tiny.text_projections()
    to_k: Any = projections[0]
    states, factor = (torch.randn(2, 5, n, generator=seeded(n)) for n in (16, to_k.out_features))
    weight = to_k.weight.requires_grad_(True)
    plain = to_k(states)
    with first_position_detached(projections):
        output = to_k(states)
        (gradient,) = torch.autograd.grad((output * factor).sum(), weight)
    assert torch.equal(output, plain)
    torch.testing.assert_close(
        gradient, torch.einsum("bto,bti->oi", factor[:, 1:], states[:, 1:]), rtol=1e-4, atol=1e-5
    )
    (whole,) = torch.autograd.grad((plain * factor).sum(), weight)
    assert not torch.allclose(whole, gradient, atol=1e-2)
    weight.requires_grad_(False)

    noised = add_noise(tiny, torch.randn(2, 4, 4, 4, generator=seeded()), seeded(1))
    prompts = [tiny.tokenize("a person"), tiny.tokenize("a panda")]
    leaf = tiny.encode_prompts(prompts).detach().requires_grad_()

    def from_states() -> torch.Tensor:
        return torch.autograd.grad(losses(tiny, noised, leaf).sum(), leaf)[0]

    free = from_states()
    with first_position_detached(projections):
        bound = from_states()
    assert torch.equal(bound[:, 0], torch.zeros_like(bound[:, 0]))
    assert bool((free[:, 0] != 0).any())
    torch.testing.assert_close(bound[:, 1:], free[:, 1:], rtol=1e-4, atol=1e-7)
    assert torch.equal(from_states(), free), "the hooks are gone"


def test_keys_values_and_token_reach_the_image_and_are_stored(
    tiny: Backbone, tmp_path: Path
) -> None:
    method, items = CustomDiffusion(replace(QUICK, learning_rate=3e-2)), tiny_items(count=2)
    fitted = method.fit(tiny, tiny_task(), seed=0, progress=SILENT)
    images = pixels(method.generate(tiny, fitted, items))
    store = Store(tmp_path)
    store.prepare()
    store.save_fit("key", fitted, FitCost(1.0))

    def loaded() -> Any:
        return store.load_fit("key", method=method.name, action="cheer", model="tiny")

    assert np.array_equal(pixels(method.generate(tiny, loaded(), items)), images)
    for changed in ("vectors", "to_k", "to_v"):
        other = loaded()
        for name, tensor in other.tensors.items():
            if changed in name:
                tensor.neg_()
        assert np.abs(pixels(method.generate(tiny, other, items)) - images).max() > 1, changed


def test_in_half_precision_the_token_keeps_its_own(tmp_path: Path) -> None:
    """Steps of 1e-6 are far below bfloat16's resolution of the token's numbers."""
    source = ModelSource(tiny_pipeline(tmp_path), "tiny", None, "tiny")
    backbone = Backbone.load(source, dtype="bfloat16")
    settings = replace(QUICK, learning_rate=1e-6, token_learning_rate=None)
    fitted = CustomDiffusion(settings).fit(backbone, tiny_task(), seed=0, progress=SILENT)
    moved = fitted.tensors["vectors"][0, 0] - backbone.word_embedding(QUICK.initializer)
    assert fitted.tensors["vectors"].dtype == torch.float32
    assert 0 < float(moved.abs().mean()) < 4e-6


# -- masked augmentation -------------------------------------------------------------------


def test_a_masked_loss_is_the_mean_over_its_ones(tiny: Backbone) -> None:
    noised = add_noise(tiny, torch.randn(2, 4, 4, 4, generator=seeded()), seeded(1))
    states = tiny.encode_prompts([tiny.tokenize("a person")] * 2)
    mask = torch.zeros(2, 1, 4, 4)
    mask[0, :, 1:3, 0] = 1
    mask[1] = 1
    error = (tiny.predict(noised.latents, noised.timesteps, states) - noised.target).square()
    expected = torch.stack([error[0, :, 1:3, 0].mean(), error[1].mean()])
    torch.testing.assert_close(losses(tiny, noised, states, mask), expected)


def test_views_are_shrunk_on_the_latents_grid_or_enlarged() -> None:
    white = Image.new("RGB", (100, 100), "white")
    generator = seeded()
    views = [augmented(0, white, 64, 8, generator) for _ in range(300)]
    sides = []
    for view in views:
        assert view.image.size == (64, 64)
        drawn = np.asarray(view.image).min(2) == 255
        cells = drawn.reshape(8, 8, 8, 8).all((1, 3))
        assert np.array_equal(view.mask[0].numpy() == 1, cells), "whole cells of the exemplar"
        assert cells.any()
        side = round(float(drawn.sum() ** 0.5))
        sides.append(side)
        if view.words in ("a far away ", "very small "):
            assert 21 <= side < 0.6 * 64
        elif view.words in ENLARGED:
            assert side == 64
        else:
            assert view.words == "" and 0.6 * 64 <= side <= 64
    assert 0.55 < np.mean([view.words not in ("zoomed in ", "close up ") for view in views]) < 0.77
    assert min(sides) < 24
    assert {view.words for view in views} >= {
        "a far away ",
        "very small ",
        "zoomed in ",
        "close up ",
    }


def test_an_enlarged_view_is_cut_from_the_exemplar() -> None:
    ramp = Image.fromarray(np.tile(np.arange(0, 256, 4, dtype=np.uint8), (64, 1))).convert("RGB")
    generator = seeded()
    views = [augmented(0, ramp, 64, 8, generator) for _ in range(60)]
    spans = [
        int(row[-1]) - int(row[0])
        for view in views
        if view.words in ENLARGED
        for row in [np.asarray(view.image)[32, :, 0]]
    ]
    # The whole ramp spans 252; a crop of 1 / 1.2 to 1 / 1.4 of it spans 180 to 210.
    assert spans and min(spans) > 170 and max(spans) < 220


def test_without_augmentation_the_views_are_the_exemplars(tiny: Backbone) -> None:
    assert not Settings().augment
    task = tiny_task()
    views = Views(tiny, task, QUICK, seeded())
    plain = tiny.encode_images([e.image for e in task.exemplars])
    assert torch.equal(views.latents.mean, plain.mean)
    assert torch.equal(views.masks, torch.ones(3, 1, 4, 4))
    assert {views.prompt(row, seeded()) for row in range(3)} == {
        tiny.tokenize(f"photo of a {SLOT} person")
    }


def test_augmented_views_have_their_masks_and_words(tiny: Backbone) -> None:
    task = tiny_task()
    settings = replace(QUICK, augment=True, prompts="caption")
    views = Views(tiny, task, settings, seeded())
    assert len(views.latents) == len(views.masks) == 3 * VIEWS
    assert 0 < float(views.masks.mean()) < 1
    for row, view in enumerate(views.views):
        assert view.exemplar == row // VIEWS
        own = task.exemplars[view.exemplar].template
        assert views.prompt(row, seeded()) == tiny.tokenize(view.words + own)
    plain, first, again = (
        CustomDiffusion(s).fit(tiny, task, seed=0, progress=SILENT).tensors["vectors"]
        for s in (replace(settings, augment=False), settings, settings)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, plain)
