"""The transformer with cross-attention, on tiny pipelines of PixArt-Sigma's real classes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from actionbench.diffusion.cost import Networks
from actionbench.diffusion.lengths import PromptLengths
from actionbench.diffusion.transformer import CrossAttentionTransformer
from actionbench.errors import UserError
from actionbench.files.models import model_traits, resolve_model
from actionbench.plugins.tiny import load_tiny
from actionbench.plugins.tiny_pixart import LAYERS, WIDTH, tiny_pixart_pipeline
from tests.helpers.gradients import check_gradient


@pytest.fixture(scope="module")
def tiny_pixart_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_pixart_pipeline(tmp_path_factory.mktemp("tiny-pixart"))


@pytest.fixture
def pixart(tiny_pixart_model: Path) -> CrossAttentionTransformer:
    backbone = load_tiny(tiny_pixart_model)
    assert isinstance(backbone, CrossAttentionTransformer)
    return backbone


def random_vectors(layers: int = 1, seed: int = 0) -> Tensor:
    return torch.randn(layers, 1, WIDTH, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("negative", ["", "a red hat"])
def test_our_sampler_draws_what_the_stock_pipeline_draws(
    pixart: CrossAttentionTransformer, negative: str
) -> None:
    prompts, seeds = ["A man with red hair", "a panda sits"], (3, 4)

    def stock(prompt: str, seed: int) -> np.ndarray:
        noise = torch.randn(1, 4, 4, 4, generator=torch.Generator().manual_seed(seed))
        drawn = pixart.pipeline(
            prompt,
            negative_prompt=negative,
            latents=noise,
            num_inference_steps=pixart.sampling.steps,
            guidance_scale=pixart.sampling.guidance_scale,
            max_sequence_length=pixart.length,
            use_resolution_binning=False,
            output_type="latent",
        )
        return drawn.images.numpy()

    with torch.no_grad():
        states = pixart.encode_prompts([pixart.tokenize(p) for p in prompts])
    drawn = pixart.sample_latents(states, seeds, pixart.sampling, negative).numpy()
    expected = np.concatenate([stock(p, s) for p, s in zip(prompts, seeds)])
    assert np.abs(drawn - expected).max() < 1e-4
    other = np.concatenate([stock(p, s) for p, s in zip(prompts[::-1], seeds)])
    assert np.abs(drawn - other).max() > 1e-2, "the prompt matters"


def test_a_prompt_is_tokenized_as_the_stock_pipeline_does(
    pixart: CrossAttentionTransformer,
) -> None:
    own = pixart.pipeline.tokenizer("a man with red hair", padding="max_length", max_length=32)
    assert list(pixart.tokenize("A man with Red hair ").ids) == own.input_ids
    tokens = pixart.tokenize("a man {}", 2)
    assert tokens.slot == (2, 3) and tokens.ids[4] == pixart.pipeline.tokenizer.eos_token_id
    assert pixart.own_ids(tokens) == pixart.word_ids("a man")
    longest = pixart.tokenize("{} " + "a " * 40)
    assert tokens.ids.count(1) == longest.ids.count(1) == 1 and longest.ids[-1] == 1
    with pytest.raises(UserError, match="no room"):
        pixart.tokenize("a " * 31 + "{}")
    pixart.tokenize("a " * 30 + "{}")


def test_lengths_are_those_of_the_backbone(
    tiny_pixart_model: Path, pixart: CrossAttentionTransformer
) -> None:
    lengths = PromptLengths(tiny_pixart_model)
    assert lengths.length == pixart.length == 32 and lengths.kind.around == 1
    assert lengths.count(["A man"]) == [2]


def test_an_identifier_that_is_a_word_encodes_as_the_word(
    pixart: CrossAttentionTransformer,
) -> None:
    word = pixart.encode_prompts([pixart.tokenize("a man in red hair on a panda")])
    assert word.shape == (1, pixart.length, WIDTH + 1)
    seen, mask, *_ = pixart.pipeline.encode_prompt(
        "a man in red hair on a panda", False, max_sequence_length=32
    )
    ours, own = pixart._split(word)
    torch.testing.assert_close(ours, seen)
    assert torch.equal(own, mask.float()) and own.sum() == 9
    vectors = pixart.word_embedding("red").expand(1, 1, -1)
    learned = pixart.encode_prompts([pixart.tokenize("a man in {} hair on a panda")], vectors[None])
    torch.testing.assert_close(learned, word)


def test_equal_layers_are_one_identifier_and_each_layer_has_its_own(
    pixart: CrossAttentionTransformer,
) -> None:
    prompts = [pixart.tokenize("a man {}"), pixart.tokenize("a {} panda on a hat")]
    assert len(pixart.layers) == LAYERS
    noisy, timesteps = torch.randn(2, 4, 4, 4), torch.tensor([7, 700])
    one = random_vectors()
    with torch.no_grad():
        shared = pixart.predict(noisy, timesteps, pixart.encode_prompts(prompts, one[None]))
        each = pixart.encode_prompts(prompts, one.repeat(LAYERS, 1, 1)[None])
        assert each.shape == (2, LAYERS * pixart.length, WIDTH + 1)
        torch.testing.assert_close(pixart.predict(noisy, timesteps, each), shared)
        own = pixart.predict(
            noisy, timesteps, pixart.encode_prompts(prompts, random_vectors(LAYERS)[None])
        )
        for layer in range(LAYERS):
            changed = random_vectors(LAYERS)
            changed[layer] *= -20
            other = pixart.encode_prompts(prompts, changed[None])
            assert (pixart.predict(noisy, timesteps, other) - own).abs().max() > 1e-5


@pytest.mark.parametrize(("layers", "checkpoints"), [(1, False), (LAYERS, False), (LAYERS, True)])
def test_the_identifiers_gradient_is_that_of_finite_differences(
    tiny_pixart_model: Path, layers: int, checkpoints: bool
) -> None:
    # T5 normalizes in float32, whatever it is given.
    vectors, channels = random_vectors(layers), (0, WIDTH - 1)
    check_gradient(tiny_pixart_model, vectors, channels, step=1e-2, checkpoints=checkpoints)


def test_its_cost_and_traits_are_read_from_the_folder(
    tiny_pixart_model: Path, pixart: CrossAttentionTransformer
) -> None:
    networks = Networks(tiny_pixart_model)
    assert networks.parameters == {
        part: sum(p.numel() for p in getattr(pixart.pipeline, part).parameters())
        for part in pixart.kind.networks
    }
    assert networks.layers == LAYERS and networks.length == 300
    assert networks.conditioned.flops > networks.forward.flops > 0 and networks.text.flops > 0
    rms = float(pixart._table.square().mean().sqrt())
    traits = model_traits(None, tiny_pixart_model)
    assert traits.token_rms == pytest.approx(rms, rel=1e-5)
    assert resolve_model(str(tiny_pixart_model)).kind.name == "transformer"
