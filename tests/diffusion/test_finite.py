"""Numbers that are not finite end a run with one line, before a picture or verdict is stored."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from actionbench.diffusion.backbone import Backbone
from actionbench.errors import UserError
from actionbench.files.models import resolve_model
from actionbench.files.networks import check_finite, judge_advice
from actionbench.plugins.tiny import load_tiny
from actionbench.runs.doctor import check_parts
from actionbench.suite.items import Sampling

PROMPTS = ["A panda waves", "A boy waves"]


def draw(backbone: Backbone) -> list[Image.Image]:
    return list(backbone.generate(PROMPTS, [1, 2]))


@pytest.fixture
def model(tiny_model: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_model, tmp_path / "model"))


def scaled(folder: Path, part: str, ending: str, factor: float) -> None:
    """Multiply the weights of a part whose names end so."""
    (file,) = (folder / part).glob("*.safetensors")
    tensors = load_file(file)
    names = [name for name in tensors if name.endswith(ending)]
    assert names
    for name in names:
        tensors[name] = tensors[name] * factor
    save_file(tensors, file, {"format": "pt"})


def test_a_model_that_predicts_noise_cannot_begin_with_pure_noise(model: Path) -> None:
    """DDIM divides by the signal's share of the first step, which is then zero."""
    file = model / "scheduler" / "scheduler_config.json"
    facts = json.loads(file.read_text())
    changes = {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}
    file.write_text(json.dumps({**facts, **changes}))
    backbone = load_tiny(model)
    message = (
        "model tiny: the latents that the UNet drew are not finite numbers .* in 2 of 2: its "
        "scheduler begins with pure noise .* set rescale_betas_zero_snr to false"
    )
    with pytest.raises(UserError, match=message):
        draw(backbone)
    with torch.no_grad():
        states = backbone.encode_prompts([backbone.tokenize(PROMPTS[0])])
    with pytest.raises(UserError, match="the latents that the UNet drew"):
        backbone.sample_latents(states, [0], Sampling(2, 4.0))
    assert [finding.state for finding in check_parts(model)] == ["ok", "warn"]
    file.write_text(json.dumps({**facts, **changes, "prediction_type": "v_prediction"}))
    assert [finding.state for finding in check_parts(model)] == ["ok"]
    assert len(draw(load_tiny(model))) == 2, "a model that predicts the velocity can"


def test_an_autoencoder_that_overflows_in_half_precision(model: Path) -> None:
    scaled(model, "vae", "decoder.conv_out.weight", 1e6)
    source = resolve_model(str(model))
    assert len(draw(load_tiny(model))) == 2, "in single precision its pixels are finite"
    half = Backbone.load(source, dtype="float16")
    half.sampling = Sampling(2, 2.0)
    message = (
        "the pixels that the autoencoder decoded are not finite numbers .* in 2 of 2: float16 may "
        "be too narrow for it: take --dtype float32"
    )
    with pytest.raises(UserError, match=message):
        draw(half)


def test_exemplars_that_cannot_be_encoded(model: Path) -> None:
    scaled(model, "vae", "encoder.conv_out.weight", 1e6)
    pictures = [Image.new("RGB", (32, 32), colour) for colour in ("red", "blue", "green")]
    half = Backbone.load(resolve_model(str(model)), dtype="float16")
    with pytest.raises(
        UserError, match=r"latents of exemplars are not finite .* in 3 of 3: float16"
    ):
        half.encode_images(pictures)
    scaled(model, "vae", "encoder.conv_out.weight", float("nan"))
    with pytest.raises(UserError, match="its weights are damaged"):
        load_tiny(model).encode_images(pictures)


def test_prompts_that_cannot_be_encoded(model: Path) -> None:
    scaled(model, "text_encoder", "final_layer_norm.weight", float("inf"))
    with pytest.raises(UserError, match="the text encoder's states of prompts are not finite"):
        draw(load_tiny(model))


def test_what_is_drawn_is_what_the_stock_pipeline_draws(tiny: Backbone) -> None:
    """The autoencoder is called here and not in the pipeline, so that its pixels can be checked."""
    tokens = [tiny.tokenize(prompt) for prompt in PROMPTS]
    with torch.no_grad():
        states, empty = tiny.encode_prompts(tokens), tiny.encode_prompts([tiny.tokenize("")])
    shape = (1, 4, tiny.pipeline.unet.config.sample_size, tiny.pipeline.unet.config.sample_size)
    noise = [torch.randn(shape, generator=torch.Generator().manual_seed(s)) for s in (1, 2)]
    stock = tiny.pipeline(
        prompt_embeds=states,
        negative_prompt_embeds=empty.expand(2, -1, -1),
        latents=torch.cat(noise),
        num_inference_steps=tiny.sampling.steps,
        guidance_scale=tiny.sampling.guidance_scale,
    ).images
    for own, other in zip(draw(tiny), stock, strict=True):
        assert np.array_equal(np.asarray(own), np.asarray(other))


def test_rows_are_counted_for_tensors_and_arrays() -> None:
    rows = torch.zeros(4, 2, 3)
    check_finite(rows, "rows", "nothing")
    rows[1, 0, 0], rows[3, 1, 2] = float("nan"), -float("inf")
    make: list[Callable[[torch.Tensor], object]] = [lambda t: t, lambda t: t.half(), np.asarray]
    for made in make:
        with pytest.raises(
            UserError, match=r"^rows are not finite numbers \(NaN or infinite\) in 2 "
        ):
            check_finite(made(rows), "rows", judge_advice("float16"))
