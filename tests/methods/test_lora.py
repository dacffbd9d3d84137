"""LoRA: an adapter learns beside a denoiser that keeps its own layers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from actionbench.diffusion.backbone import Backbone
from actionbench.diffusion.lora import adapted, new_adapter
from actionbench.errors import UserError
from actionbench.files.models import ModelSource, ModelTraits
from actionbench.method import Work
from actionbench.plugins.tiny import (
    backbone_state,
    load_tiny,
    state_hash,
    tiny_items,
    tiny_pipeline,
    tiny_task,
)
from actionbench.plugins.tiny_pixart import tiny_pixart_pipeline
from actionbench.plugins.tiny_xl import tiny_xl_pipeline
from actionbench.progress import SILENT
from actionbench.runs.profiles import configure
from methods.dreambooth import DreamBooth
from methods.lora import LoRA, Settings

QUICK = Settings(steps=3, batch_size=2, learning_rate=1e-2)
MAKERS = {"unet": tiny_pipeline, "two": tiny_xl_pipeline, "transformer": tiny_pixart_pipeline}


def pixels(images: object) -> np.ndarray:
    return np.stack([np.asarray(i, dtype=np.int16) for i in images])  # type: ignore[attr-defined]


def prediction(backbone: Backbone) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    size, channels = backbone.latent_size, backbone.denoiser.config.in_channels
    noisy = torch.randn(1, channels, size, size, generator=generator).to(backbone.dtype)
    states = backbone.encode_prompts([backbone.tokenize("a person on a hat")])
    with torch.no_grad():
        return backbone.predict(noisy, torch.tensor([400]), states)


def learned(backbone: Backbone, settings: Settings = QUICK) -> dict[str, Tensor]:
    fitted = LoRA(settings).fit(backbone, tiny_task(), seed=0, progress=SILENT)
    return dict(fitted.tensors)


# -- the adapter ---------------------------------------------------------------------------


@pytest.mark.parametrize("kind", MAKERS)
def test_every_attention_of_every_kind_is_adapted_and_comes_back(kind: str, tmp_path: Path) -> None:
    backbone = load_tiny(MAKERS[kind](tmp_path))
    before, own = backbone_state(backbone), list(backbone.denoiser.modules())
    weights = learned(backbone)
    after = list(backbone.denoiser.modules())
    assert all(a is b for a, b in zip(own, after, strict=True)), "its own modules, not copies"
    assert backbone_state(backbone) == before and not hasattr(backbone.denoiser, "peft_config")
    attentions = [
        name
        for name, module in backbone.denoiser.named_modules()
        if hasattr(module, "to_q") and hasattr(module, "to_k")
    ]
    layers = {name.partition(".lora_")[0] for name in weights}
    assert layers == {f"{a}.{p}" for a in attentions for p in ("to_q", "to_k", "to_v", "to_out.0")}
    assert {name.partition(".lora_")[2] for name in weights} == {"A.weight", "B.weight"}
    assert all(tensor.dtype == torch.float32 for tensor in weights.values())
    # All but queries and keys of attention that sees a single place, whose map is 1 whatever they
    # are.
    assert all(weights[name].any() for name in weights if name.endswith("to_v.lora_B.weight"))


def test_it_changes_nothing_at_the_start(tiny: Backbone) -> None:
    plain = prediction(tiny)
    weights = new_adapter(tiny, QUICK, torch.Generator().manual_seed(0))
    with adapted(tiny, weights, 4.0):
        assert torch.equal(prediction(tiny), plain)


def test_an_adapter_is_its_product_added_to_the_weights(tiny: Backbone) -> None:
    """W x + alpha / rank * B A x, by writing it into the weights by hand."""
    weights = learned(tiny, replace(QUICK, rank=2))
    plain = prediction(tiny)
    with adapted(tiny, weights, 6.0):
        beside = prediction(tiny)
    for name in {name.partition(".lora_")[0] for name in weights}:
        down, up = (weights[f"{name}.lora_{part}.weight"] for part in "AB")
        tiny.denoiser.get_submodule(name).weight.add_(6.0 / 2 * up @ down)
    torch.testing.assert_close(prediction(tiny), beside, rtol=1e-4, atol=1e-5)
    assert (beside - plain).abs().max() > 1e-3


def test_alpha_is_the_rank_unless_it_is_set(tiny: Backbone) -> None:
    for alpha, expected in ((None, 4.0), (1.0, 1.0)):
        method = LoRA(replace(QUICK, alpha=alpha))
        assert method.fit(tiny, tiny_task(), seed=0, progress=SILENT).facts["alpha"] == expected


def test_torchs_global_generator_plays_no_part_and_is_not_moved(tiny: Backbone) -> None:
    torch.manual_seed(1)
    state = torch.get_rng_state()
    first = learned(tiny)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(2)
    second = learned(tiny)
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_the_denoiser_comes_back_after_an_error(tiny: Backbone) -> None:
    before = state_hash(tiny)
    weights = new_adapter(tiny, QUICK, torch.Generator())
    with pytest.raises(ZeroDivisionError), adapted(tiny, weights, 1.0):
        raise ZeroDivisionError
    with pytest.raises(UserError, match="no finite number"):
        learned(tiny, replace(QUICK, learning_rate=1e38))
    assert state_hash(tiny) == before and not hasattr(tiny.denoiser, "peft_config")


def test_half_precision_keeps_the_adapter_in_float32(tmp_path: Path) -> None:
    source = ModelSource(tiny_pipeline(tmp_path), "tiny", None, "tiny")
    backbone = Backbone.load(source, dtype="bfloat16")
    before = state_hash(backbone)
    method = LoRA(QUICK)
    fitted = method.fit(backbone, tiny_task(), seed=0, progress=SILENT)
    assert {tensor.dtype for tensor in fitted.tensors.values()} == {torch.float32}
    # A step of the rate is kept whole: bfloat16 has three digits.
    up = torch.cat([t.flatten() for n, t in fitted.tensors.items() if "lora_B" in n])
    assert (up.bfloat16().float() != up).any()
    assert len(list(method.generate(backbone, fitted, tiny_items(count=1)))) == 1
    assert state_hash(backbone) == before


@pytest.mark.parametrize(
    ("name", "shapes", "message"),
    [
        ("mid_block.nowhere", ((4, 8), (8, 4)), "adapts mid_block.nowhere, 8 wide to 8, which is"),
        ("conv_in", ((4, 8), (8, 4)), "adapts conv_in, 8 wide to 8, which is missing there"),
        (
            "mid_block.attentions.0.transformer_blocks.0.attn1.to_q",
            ((4, 3), (5, 4)),
            "3 wide to 5, which is 16 wide to 16 there",
        ),
    ],
)
def test_an_adapter_of_another_denoiser_is_refused(
    tiny: Backbone, name: str, shapes: Sequence[tuple[int, int]], message: str
) -> None:
    weights = {f"{name}.lora_{p}.weight": torch.zeros(s) for p, s in zip("AB", shapes)}
    with pytest.raises(UserError, match=message), adapted(tiny, weights, 1.0):
        pass


def test_layers_that_no_denoiser_has_are_refused(tiny: Backbone) -> None:
    with pytest.raises(UserError, match="no linear layer of the UNet of tiny ends with to_x: name"):
        learned(tiny, replace(QUICK, adapted=("to_x",)))


# -- drawing -------------------------------------------------------------------------------


def test_the_backbone_is_itself_whenever_an_image_is_handed_out(tiny: Backbone) -> None:
    method, items = LoRA(QUICK), tiny_items(count=3)
    tiny.batch_size = 2
    before = state_hash(tiny)
    fits = [method.fit(tiny, tiny_task(), seed=seed, progress=SILENT) for seed in (0, 1)]
    alone = [pixels(method.generate(tiny, fitted, items)) for fitted in fits]
    first, second = (method.generate(tiny, fitted, items) for fitted in fits)
    mixed = [next(first), next(second)]
    assert state_hash(tiny) == before
    assert np.array_equal(pixels(mixed), np.stack([alone[0][0], alone[1][0]]))
    assert np.abs(alone[0] - alone[1]).max() > 1


# -- the methods ---------------------------------------------------------------------------


def test_dreambooth_trains_an_adapter_if_asked(tiny: Backbone) -> None:
    sd = ModelTraits("sd-2.1")
    recipe = configure(DreamBooth, sd, words=["recipe=diffusers-lora"]).settings
    assert (recipe.train, recipe.steps, recipe.learning_rate) == ("lora", 500, 1e-4)
    words = ["train=lora", "steps=2", "prior_weight=0", "learning_rate=0.01", "rank=3"]
    method = configure(DreamBooth, sd, words=words)
    fitted = method.fit(tiny, tiny_task(), seed=0, progress=SILENT)
    assert all(".lora_" in name for name in fitted.tensors)
    assert {len(t) for n, t in fitted.tensors.items() if "lora_A" in n} == {3}
    items = tiny_items(count=1)
    plain = pixels(tiny.generate([items[0].slot_prompt.replace("{}", "sks")], [items[0].seed]))
    assert np.abs(pixels(method.generate(tiny, fitted, items)) - plain).max() > 1


def test_an_adapter_is_trained_beside_class_images_too(tiny: Backbone) -> None:
    settings = replace(QUICK, prior_weight=1.0, class_images=2, class_sampling_steps=2)
    weights = learned(tiny, settings)
    assert len(tiny.drawn) == 1
    assert not torch.equal(*(w[next(reversed(w))] for w in (weights, learned(tiny))))


def test_its_figures_are_those_of_diffusers_example_under_captions() -> None:
    settings = configure(LoRA, ModelTraits("sd-2.1")).settings
    assert (settings.train, settings.prompts, settings.rank) == ("lora", "caption", 4)
    assert (settings.steps, settings.batch_size, settings.learning_rate) == (500, 1, 1e-4)
    assert settings.prior_weight == 0
    work = LoRA(settings).fit_work(10, 16)
    assert work == Work(conditioned=500, batch=1), "no weight of the denoiser has a gradient"
