"""The UNet with two text encoders, on tiny pipelines of Stable Diffusion XL's real classes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from actionbench.diffusion.cost import Networks
from actionbench.diffusion.denoising import losses
from actionbench.diffusion.unet_two import TwoEncoders
from actionbench.errors import UserError
from actionbench.files.models import resolve_model
from actionbench.plugins.tiny import load_tiny
from actionbench.plugins.tiny_xl import POOLED, WIDTHS, tiny_xl_pipeline
from actionbench.suite.items import Sampling
from tests.helpers.gradients import check_gradient

WIDTH = sum(WIDTHS)


@pytest.fixture(scope="module")
def tiny_xl_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_xl_pipeline(tmp_path_factory.mktemp("tiny-xl"))


@pytest.fixture
def xl(tiny_xl_model: Path) -> TwoEncoders:
    backbone = load_tiny(tiny_xl_model)
    assert isinstance(backbone, TwoEncoders)
    return backbone


def random_vectors(layers: int = 1, seed: int = 0) -> Tensor:
    return torch.randn(layers, 1, WIDTH, generator=torch.Generator().manual_seed(seed))


def stock(backbone: TwoEncoders, prompt: str, seed: int, **arguments: object) -> np.ndarray:
    """Draw by the stock pipeline, which is given the same noise; latents [1, 4, 4, 4]."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(1, 4, 4, 4, generator=generator)
    drawn = backbone.pipeline(
        prompt,
        latents=noise,
        num_inference_steps=backbone.sampling.steps,
        guidance_scale=backbone.sampling.guidance_scale,
        output_type="latent",
        **arguments,
    )
    return drawn.images.numpy()


@pytest.mark.parametrize("zeros_for_nothing", [True, False])
@pytest.mark.parametrize("negative", ["", "a red hat"])
def test_our_sampler_draws_what_the_stock_pipeline_draws(
    tmp_path: Path, zeros_for_nothing: bool, negative: str
) -> None:
    folder = tiny_xl_pipeline(tmp_path, "v_prediction", zeros_for_nothing=zeros_for_nothing)
    backbone = load_tiny(folder)
    assert isinstance(backbone, TwoEncoders)
    prompts = ["a man with red hair", "a panda sits"]
    with torch.no_grad():
        states = backbone.encode_prompts([backbone.tokenize(p) for p in prompts])
    drawn = backbone.sample_latents(states, [3, 4], backbone.sampling, negative).numpy()
    own = {"negative_prompt": negative or None}
    expected = np.concatenate([stock(backbone, p, s, **own) for p, s in zip(prompts, (3, 4))])
    assert np.abs(drawn - expected).max() < 1e-4
    other = np.concatenate([stock(backbone, p, s, **own) for p, s in zip(prompts[::-1], (3, 4))])
    assert np.abs(drawn - other).max() > 1e-2, "the prompt matters"


def test_states_hold_what_the_stock_pipeline_encodes(xl: TwoEncoders) -> None:
    prompt = "a man with red hair"
    seen, _, pooled, _ = xl.pipeline.encode_prompt(prompt, do_classifier_free_guidance=False)
    states = xl.encode_prompts([xl.tokenize(prompt)])
    assert states.shape == (1, xl.length + 2, WIDTH) and pooled.shape == (1, POOLED)
    ours, own = xl._split(states)
    torch.testing.assert_close(ours, seen)
    torch.testing.assert_close(own, pooled)


def test_an_identifier_that_is_a_word_encodes_as_the_word(xl: TwoEncoders) -> None:
    """In both tables, and with it the pooled text."""
    word = xl.encode_prompts([xl.tokenize("a man in red hair on a panda")])
    vectors = xl.word_embedding("red").expand(1, 1, -1)
    learned = xl.encode_prompts([xl.tokenize("a man in {} hair on a panda")], vectors[None])
    torch.testing.assert_close(learned, word, atol=1e-5, rtol=1e-4)
    for part in (slice(0, WIDTHS[0]), slice(WIDTHS[0], WIDTH)):
        changed = vectors.clone()
        changed[..., part] += 10 * random_vectors()[..., part]
        states = xl.encode_prompts([xl.tokenize("a man in {} hair on a panda")], changed[None])
        seen, pooled = xl._split(states)
        own, own_pooled = xl._split(learned)
        assert (seen - own)[..., part].abs().max() > 1e-2, "each table has its own channels"
        second = part.start > 0
        assert ((pooled - own_pooled).abs().max() > 1e-2) == second, "the second one is pooled"


def test_equal_layers_are_one_identifier(xl: TwoEncoders) -> None:
    prompts = [xl.tokenize("a man {}"), xl.tokenize("a {} panda on a hat")]
    assert len(xl.layers) == 4
    one = random_vectors()
    noisy, timesteps = torch.randn(2, 4, 4, 4), torch.tensor([7, 700])
    with torch.no_grad():
        shared = xl.predict(noisy, timesteps, xl.encode_prompts(prompts, one[None]))
        each = xl.encode_prompts(prompts, one.repeat(4, 1, 1)[None])
        assert each.shape == (2, xl.length + 2, 4 * WIDTH)
        torch.testing.assert_close(xl.predict(noisy, timesteps, each), shared, atol=1e-5, rtol=1e-4)
        own = xl.encode_prompts(prompts, random_vectors(4)[None])
        for layer in range(4):
            changed = random_vectors(4)
            changed[layer] += 3.0
            other = xl.predict(noisy, timesteps, xl.encode_prompts(prompts, changed[None]))
            assert (other - xl.predict(noisy, timesteps, own)).abs().max() > 1e-4


@pytest.mark.parametrize("layers", [1, 4])
def test_the_identifiers_gradient_is_that_of_finite_differences(
    tiny_xl_model: Path, layers: int
) -> None:
    channels = (0, WIDTHS[0] - 1, WIDTHS[0], WIDTH - 1)
    backbone, noised, states = check_gradient(
        tiny_xl_model, random_vectors(layers), channels, step=1e-5, rtol=1e-4
    )
    with torch.no_grad():
        prediction = backbone.predict(noised.latents, noised.timesteps, states)
        own = losses(backbone, noised, states).mean()
    torch.testing.assert_close((prediction - noised.target).square().mean().float(), own.float())


def test_half_precision_keeps_the_autoencoder_whole(tiny_xl_model: Path) -> None:
    source = resolve_model(str(tiny_xl_model))
    half = TwoEncoders.load(source, dtype="float16")
    assert half.pipeline.vae.dtype == torch.float32 and half.denoiser.dtype == torch.float16
    half.sampling = Sampling(steps=2, guidance_scale=4.0)
    (image,) = half.generate(["a man"], [0])
    assert image.size == (32, 32)


def test_what_guidance_leads_away_from_is_part_of_the_fingerprint(
    tiny_xl_model: Path, tmp_path: Path
) -> None:
    own = resolve_model(str(tiny_xl_model))
    copied = tmp_path / "copied"
    shutil.copytree(tiny_xl_model, copied)
    assert own.kind.name == "unet-two"
    assert resolve_model(str(copied)).fingerprint == own.fingerprint
    index = copied / "model_index.json"
    facts = {**json.loads(index.read_text()), "force_zeros_for_empty_prompt": False}
    index.write_text(json.dumps(facts))
    assert resolve_model(str(copied)).fingerprint != own.fingerprint


def test_tokenizers_that_differ_are_refused(xl: TwoEncoders) -> None:
    xl.pipeline.tokenizer_2.add_tokens(["<new>"])
    with pytest.raises(UserError, match="two tokenizers have different vocabularies"):
        TwoEncoders(xl.pipeline, name="odd", fingerprint="", preset=None)


def test_the_cost_of_both_encoders_is_counted(tiny_xl_model: Path, xl: TwoEncoders) -> None:
    networks = Networks(tiny_xl_model)
    own = {
        part: sum(p.numel() for p in getattr(xl.pipeline, part).parameters())
        for part in xl.kind.networks
    }
    own["text_encoder_2"] -= xl.pipeline.text_encoder_2.text_projection.weight.numel()
    assert networks.parameters == own and networks.layers == 4
    first = networks._text(xl.pipeline.text_encoder.config)
    assert networks.text.flops > first.flops > 0
    assert networks.conditioned.flops > networks.forward.flops
