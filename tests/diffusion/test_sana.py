"""The transformer with cross-attention to Gemma, on tiny pipelines of SANA's real classes."""

from __future__ import annotations

import inspect
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from actionbench.diffusion.backbone import Backbone
from actionbench.diffusion.cost import Networks
from actionbench.diffusion.lengths import PromptLengths
from actionbench.diffusion.sana import Sana
from actionbench.errors import UserError
from actionbench.files.models import model_traits, resolve_model
from actionbench.files.networks import check_pipeline
from actionbench.plugins.tiny import load_tiny
from actionbench.plugins.tiny_sana import LAYERS, WIDTH, tiny_sana_pipeline
from actionbench.suite.items import Sampling
from tests.helpers.gradients import check_gradient


@pytest.fixture(scope="module")
def tiny_sana_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_sana_pipeline(tmp_path_factory.mktemp("tiny-sana"))


@pytest.fixture
def sana(tiny_sana_model: Path) -> Sana:
    backbone = load_tiny(tiny_sana_model)
    assert isinstance(backbone, Sana)
    return backbone


def random_vectors(layers: int = 1, seed: int = 0) -> Tensor:
    return torch.randn(layers, 1, WIDTH, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("negative", ["", "a red hair"])
def test_our_sampler_draws_what_the_stock_pipeline_draws(sana: Sana, negative: str) -> None:
    """With its own instruction before the prompt, and none before the negative one."""
    prompts, seeds = ["A man with red hair", "a panda sits on a mountain"], (3, 4)

    def stock(prompt: str, seed: int) -> np.ndarray:
        noise = torch.randn(1, 4, 4, 4, generator=torch.Generator().manual_seed(seed))
        drawn = sana.pipeline(
            prompt,
            negative_prompt=negative,
            latents=noise,
            num_inference_steps=sana.sampling.steps,
            guidance_scale=sana.sampling.guidance_scale,
            max_sequence_length=sana.length,
            use_resolution_binning=False,
            output_type="latent",
        )
        return drawn.images.numpy()

    with torch.no_grad():
        states = sana.encode_prompts([sana.tokenize(p) for p in prompts])
    drawn = sana.sample_latents(states, seeds, sana.sampling, negative).numpy()
    expected = np.concatenate([stock(p, s) for p, s in zip(prompts, seeds)])
    assert np.abs(drawn - expected).max() < 1e-4
    other = np.concatenate([stock(p, s) for p, s in zip(prompts[::-1], seeds)])
    assert np.abs(drawn - other).max() > 1e-2, "the prompt matters"


def test_a_prompt_s_states_are_the_stock_pipeline_s(sana: Sana) -> None:
    prompt = "A man with red hair"
    called = inspect.signature(type(sana.pipeline).__call__).parameters
    lines = called["complex_human_instruction"].default
    seen, mask, *_ = sana.pipeline.encode_prompt(
        prompt, False, max_sequence_length=sana.length, complex_human_instruction=lines
    )
    ours, own = sana._split(sana.encode_prompts([sana.tokenize(prompt)]))
    assert torch.equal(own, mask.float()) and own.sum() == 6
    torch.testing.assert_close(ours[:, :6], seen[:, :6], atol=1e-5, rtol=1e-4)
    plain, *_ = sana.pipeline.encode_prompt(prompt, False, max_sequence_length=sana.length)
    assert (plain[:, :6] - seen[:, :6]).abs().max() > 1e-2, "the instruction matters"
    without = sana._encode_negative(prompt)[..., :-1]
    torch.testing.assert_close(without[:, :6], plain[:, :6], atol=1e-5, rtol=1e-4)


def test_a_prompt_is_tokenized_behind_the_instruction(tiny_sana_model: Path, sana: Sana) -> None:
    tokenizer = sana.pipeline.tokenizer
    tokens = sana.tokenize("A man {} on a Mountain", 2)
    assert tokens.ids[:3] == (tokenizer.bos_token_id, *sana.word_ids("a man"))
    assert tokens.slot == (3, 4) and len(tokens.ids) == sana.length == 32
    assert sana.own_ids(tokens) == sana.word_ids("a man on a mountain")
    assert sana.tokenize("{} man").slot == (1,)
    assert tokenizer("User Prompt: a man").input_ids[-2:] == sana.word_ids("a man")
    longest = sana.tokenize("{} " + "a " * 40)
    assert len(sana.own_ids(longest)) == 30, "there is no token for the end"
    with pytest.raises(UserError, match="no room"):
        sana.tokenize("a " * 31 + "{}")
    sana.tokenize("a " * 30 + "{}")
    lengths = PromptLengths(tiny_sana_model)
    assert lengths.length == 32 and lengths.kind.around == 1


def test_an_identifier_that_is_a_word_encodes_as_the_word(sana: Sana) -> None:
    word = sana.encode_prompts([sana.tokenize("a man in red hair on a panda")])
    vectors = sana.word_embedding("red").expand(1, 1, -1)
    learned = sana.encode_prompts([sana.tokenize("a man in {} hair on a panda")], vectors[None])
    torch.testing.assert_close(learned, word, atol=1e-5, rtol=1e-4)


def test_a_prompt_s_states_do_not_depend_on_those_beside_it(sana: Sana) -> None:
    prompts = [sana.tokenize("a man {}"), sana.tokenize("a {} panda in red hair on a mountain")]
    vectors = random_vectors(LAYERS)[None]
    both = sana.encode_prompts(prompts, vectors)
    alone = sana.encode_prompts(prompts[:1], vectors)
    assert both.shape == (2, LAYERS * 32, WIDTH + 1)
    seen = alone[..., -1:]
    torch.testing.assert_close((both[:1] * seen), alone * seen, atol=1e-5, rtol=1e-4)


def test_equal_layers_are_one_identifier_and_each_layer_has_its_own(sana: Sana) -> None:
    prompts = [sana.tokenize("a man {}"), sana.tokenize("a {} panda on a mountain")]
    assert len(sana.layers) == LAYERS
    noisy, timesteps = torch.randn(2, 4, 4, 4), torch.tensor([7.0, 700.0])
    one = random_vectors()
    with torch.no_grad():
        shared = sana.predict(noisy, timesteps, sana.encode_prompts(prompts, one[None]))
        each = sana.encode_prompts(prompts, one.repeat(LAYERS, 1, 1)[None])
        torch.testing.assert_close(sana.predict(noisy, timesteps, each), shared)
        vectors = random_vectors(LAYERS)
        own = sana.predict(noisy, timesteps, sana.encode_prompts(prompts, vectors[None]))
        for layer in range(LAYERS):
            changed = vectors.clone()
            changed[layer] *= -20
            other = sana.encode_prompts(prompts, changed[None])
            assert (sana.predict(noisy, timesteps, other) - own).abs().max() > 1e-5


@pytest.mark.parametrize(("layers", "checkpoints"), [(1, False), (LAYERS, False), (LAYERS, True)])
def test_the_identifiers_gradient_is_that_of_finite_differences(
    tiny_sana_model: Path, layers: int, checkpoints: bool
) -> None:
    # Gemma and linear attention compute in float32, whatever they are given.
    vectors, channels = random_vectors(layers), (0, WIDTH - 1)
    check_gradient(tiny_sana_model, vectors, channels, step=1e-2, checkpoints=checkpoints)


def test_an_autoencoder_without_a_posterior_gives_the_same_latents_each_time(sana: Sana) -> None:
    picture = Image.fromarray(np.full((32, 32, 3), 200, np.uint8))
    latents = sana.encode_images([picture])
    assert latents.mean.shape == (1, 4, 4, 4) and not latents.std.any()
    pixels = sana.pipeline.image_processor.preprocess(picture)
    own = sana.pipeline.vae.encode(pixels).latent * 0.41407
    torch.testing.assert_close(latents.sample(torch.Generator()), own)
    (again,) = sana.decode(latents.mean)
    assert again.size == (32, 32)


def test_noise_has_the_flow_shift_of_the_scheduler(tiny_sana_model: Path, sana: Sana) -> None:
    drawn = sana.draw_timesteps(20_000, torch.Generator().manual_seed(0))
    logits = (drawn.double() / 1000).clamp(max=1 - 1e-6).logit()
    assert float(logits.mean()) == pytest.approx(np.log(3), abs=0.03)
    sana.pipeline.scheduler.register_to_config(use_flow_sigmas=False)
    with pytest.raises(UserError, match="DPMSolverMultistepScheduler is not for flow matching"):
        Sana(sana.pipeline, name="odd", fingerprint="", preset=None)


def test_its_cost_and_traits_are_read_from_the_folder(tiny_sana_model: Path, sana: Sana) -> None:
    networks = Networks(tiny_sana_model)
    assert networks.parameters == {
        part: sum(p.numel() for p in getattr(sana.pipeline, part).parameters())
        for part in sana.kind.networks
    }
    assert networks.layers == LAYERS and networks.length == 300
    assert networks.pixels == sana.image_size == 32
    assert networks.conditioned.flops > networks.forward.flops > 0 and networks.text.flops > 0
    assert networks.encoded.flops > 0 and networks.decoded.flops > 0
    # Forward, and backward to what goes in and to the weights: its convolutions are grouped.
    assert 2.5 < networks.trained.flops / networks.forward.flops < 3.1
    rms = float(sana._table.square().mean().sqrt())
    assert model_traits(None, tiny_sana_model).token_rms == pytest.approx(rms, rel=1e-5)
    assert resolve_model(str(tiny_sana_model)).kind.name == "sana"
    assert not any(check_pipeline(tiny_sana_model).values())


def test_half_precision_keeps_its_format_though_the_pipeline_samples_in_float32(
    tiny_sana_model: Path,
) -> None:
    half = Backbone.load(resolve_model(str(tiny_sana_model)), dtype="bfloat16")
    with torch.no_grad():
        states = half.encode_prompts([half.tokenize("a man")])
    assert half.sample_latents(states, [0], Sampling(2, 4.0)).dtype == torch.bfloat16
