"""The joint transformer, on tiny pipelines of Stable Diffusion 3.5's real classes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from actionbench.diffusion.backbone import Backbone
from actionbench.diffusion.cost import Networks
from actionbench.diffusion.joint import JointTransformer
from actionbench.errors import UserError
from actionbench.files.models import model_traits, resolve_model
from actionbench.files.networks import check_pipeline
from actionbench.plugins.tiny import load_tiny
from actionbench.plugins.tiny_sd3 import CLIP_WIDTHS, LAYERS, STATE_WIDTH, tiny_sd3_pipeline
from actionbench.suite.items import Sampling
from tests.helpers.gradients import check_gradient

CLIP_WIDTH = sum(CLIP_WIDTHS)
WIDTH = CLIP_WIDTH + STATE_WIDTH


@pytest.fixture(scope="module")
def tiny_sd3_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_sd3_pipeline(tmp_path_factory.mktemp("tiny-sd3"))


@pytest.fixture(scope="module")
def without_t5_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_sd3_pipeline(tmp_path_factory.mktemp("tiny-sd3-clip"), t5=False)


def load(folder: Path) -> JointTransformer:
    backbone = load_tiny(folder)
    assert isinstance(backbone, JointTransformer)
    return backbone


@pytest.fixture
def sd3(tiny_sd3_model: Path) -> JointTransformer:
    return load(tiny_sd3_model)


def random_vectors(layers: int = 1, seed: int = 0, width: int = WIDTH) -> Tensor:
    return torch.randn(layers, 1, width, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("t5", [True, False])
@pytest.mark.parametrize("negative", ["", "a red hat"])
def test_our_sampler_draws_what_the_stock_pipeline_draws(
    tiny_sd3_model: Path, without_t5_model: Path, negative: str, t5: bool
) -> None:
    backbone = load(tiny_sd3_model if t5 else without_t5_model)
    prompts, seeds = ["A man with red hair", "a panda sits"], (3, 4)

    def stock(prompt: str, seed: int) -> np.ndarray:
        noise = torch.randn(1, 4, 4, 4, generator=torch.Generator().manual_seed(seed))
        drawn = backbone.pipeline(
            prompt,
            negative_prompt=negative,
            latents=noise,
            num_inference_steps=backbone.sampling.steps,
            guidance_scale=backbone.sampling.guidance_scale,
            max_sequence_length=backbone.other_length,
            output_type="latent",
        )
        return drawn.images.numpy()

    with torch.no_grad():
        states = backbone.encode_prompts([backbone.tokenize(p) for p in prompts])
    drawn = backbone.sample_latents(states, seeds, backbone.sampling, negative).numpy()
    expected = np.concatenate([stock(p, s) for p, s in zip(prompts, seeds)])
    assert np.abs(drawn - expected).max() < 1e-4
    other = np.concatenate([stock(p, s) for p, s in zip(prompts[::-1], seeds)])
    assert np.abs(drawn - other).max() > 1e-2, "the prompt matters"


def test_states_hold_what_the_stock_pipeline_encodes(sd3: JointTransformer) -> None:
    prompt = "a man with Red hair"
    seen, _, pooled, _ = sd3.pipeline.encode_prompt(
        prompt, None, None, do_classifier_free_guidance=False, max_sequence_length=32
    )
    states = sd3.encode_prompts([sd3.tokenize(prompt)])
    assert states.shape == (1, 32 + 32 + 2, STATE_WIDTH + 1)
    torch.testing.assert_close(states[:, :64, :-1], seen)
    torch.testing.assert_close(sd3._pooled(states), pooled)
    assert not states[..., -1].any(), "no position is an identifier's"


def test_pictures_are_shifted_as_the_stock_pipeline_shifts_them(sd3: JointTransformer) -> None:
    picture = Image.fromarray(np.full((32, 32, 3), 200, np.uint8))
    latents = sd3.encode_images([picture])
    vae = sd3.pipeline.vae
    pixels = sd3.pipeline.image_processor.preprocess(picture)
    own = (vae.encode(pixels).latent_dist.mean - vae.config.shift_factor) * 1.5305
    torch.testing.assert_close(latents.mean, own)
    (again,) = sd3.decode(latents.mean)
    decoded = vae.decode(latents.mean / 1.5305 + vae.config.shift_factor).sample
    (expected,) = sd3.pipeline.image_processor.postprocess(decoded)
    assert np.array_equal(np.asarray(again), np.asarray(expected))


def test_an_identifier_that_is_a_word_encodes_as_the_word(sd3: JointTransformer) -> None:
    """In all tables, and with it the pooled text."""
    word = sd3.encode_prompts([sd3.tokenize("a man in red hair on a panda")])
    vectors = sd3.word_embedding("red").expand(1, 1, -1)
    assert vectors.shape == (1, 1, WIDTH)
    prompt = [sd3.tokenize("a man in {} hair on a panda")]
    learned = sd3.encode_prompts(prompt, vectors[None])
    torch.testing.assert_close(learned[..., :-1], word[..., :-1], atol=1e-5, rtol=1e-4)
    marked = learned[..., -1].nonzero()[:, 1:].tolist()
    assert marked == [[4], [32 + 3]] and learned[0, 35, -1] == 2, "T5 has no beginning"
    for part, rows in (
        (slice(0, CLIP_WIDTH), slice(0, 32)),
        (slice(CLIP_WIDTH, WIDTH), slice(32, 64)),
    ):
        changed = vectors.clone()
        changed[..., part] += 10 * random_vectors()[..., part]
        moved = (sd3.encode_prompts(prompt, changed[None]) - learned).abs().amax(-1)[0]
        assert moved[rows].max() > 1e-2, "each table has its own channels"
        moved[rows] = 0
        pooled = moved[64:].max()
        assert moved[:64].max() == 0 and (pooled > 1e-2) == (part.start == 0)


def test_tables_of_other_vocabularies_stand_side_by_side(sd3: JointTransformer) -> None:
    ids = sd3.word_ids("red hair")
    each = sd3.token_embeddings(ids)
    assert each.shape == (2, WIDTH)
    torch.testing.assert_close(each[0].cpu(), sd3.word_embedding("red"))
    own = sd3.pipeline.tokenizer_3("hair", add_special_tokens=False).input_ids
    torch.testing.assert_close(each[1, CLIP_WIDTH:], sd3._t5_table[own[0]])
    assert sd3.token_embeddings([]).shape == (0, WIDTH)
    norms = sd3.token_norms()
    assert norms.shape == (len(sd3.pipeline.tokenizer),)
    assert norms.min() >= sd3._t5_table.norm(dim=-1).median()


def test_a_slot_must_fit_into_both_lengths(sd3: JointTransformer) -> None:
    tokens = sd3.tokenize("a {} man", 2)
    assert tokens.other is not None
    assert tokens.slot == (2, 3) and tokens.other.slot == (1, 2)
    end = sd3.pipeline.tokenizer_3.eos_token_id
    assert tokens.other.ids.index(end) == 4 and len(tokens.other.ids) == 32
    with pytest.raises(UserError, match="no room"):
        sd3.tokenize("a " * 30 + "{}")


@pytest.mark.parametrize("t5", [True, False])
def test_equal_layers_are_one_identifier_and_each_layer_has_its_own(
    tiny_sd3_model: Path, without_t5_model: Path, t5: bool
) -> None:
    backbone = load(tiny_sd3_model if t5 else without_t5_model)
    width = WIDTH if t5 else CLIP_WIDTH
    assert backbone.width == width and len(backbone.layers) == LAYERS
    prompts = [backbone.tokenize("a man {}"), backbone.tokenize("a {} panda on a hat")]
    noisy, timesteps = torch.randn(2, 4, 4, 4), torch.tensor([7.0, 700.0])
    one = random_vectors(width=width)
    with torch.no_grad():
        shared = backbone.predict(noisy, timesteps, backbone.encode_prompts(prompts, one[None]))
        each = backbone.encode_prompts(prompts, one.repeat(LAYERS, 1, 1)[None])
        positions = 2 if t5 else 1
        assert each.shape[1] == backbone._stream + 2 + (LAYERS - 1) * positions
        torch.testing.assert_close(backbone.predict(noisy, timesteps, each), shared)
        vectors = random_vectors(LAYERS, width=width)
        own = backbone.predict(noisy, timesteps, backbone.encode_prompts(prompts, vectors[None]))
        for layer in range(LAYERS):
            for part in (slice(0, CLIP_WIDTH), slice(CLIP_WIDTH, width)):
                changed = vectors.clone()
                changed[layer, :, part] += 20
                other = backbone.encode_prompts(prompts, changed[None])
                moved = (backbone.predict(noisy, timesteps, other) - own).abs().max()
                assert (moved > 1e-5) == (part.start < width)


def test_a_later_layers_token_is_its_block_s_input_and_no_earlier_ones(
    sd3: JointTransformer,
) -> None:
    """Before block l the identifier's rows have what l's token rather than the first's encodes."""
    prompts = [sd3.tokenize("a man {} on a hat")]
    vectors = random_vectors(LAYERS)
    seen: dict[str, list[Tensor]] = {}

    def predict(name: str, tokens: Tensor) -> None:
        def note(_block: object, _args: object, kwargs: dict[str, Tensor]) -> None:
            seen.setdefault(name, []).append(kwargs["encoder_hidden_states"])

        states = sd3.encode_prompts(prompts, tokens[None])
        handles = []
        with sd3.layer_conditioning():
            for block in sd3.denoiser.transformer_blocks:  # after the backbone's own hooks
                handles.append(block.register_forward_pre_hook(note, with_kwargs=True))
            sd3.denoiser(
                hidden_states=torch.zeros(1, 4, 4, 4),
                timestep=torch.tensor([500.0]),
                encoder_hidden_states=states,
                pooled_projections=sd3._pooled(states),
            )
        for handle in handles:
            handle.remove()

    with torch.no_grad():
        predict("all", vectors)
        predict("first", vectors[:1])
        second = sd3.encode_prompts(prompts, vectors[None, 1:2])
        first = sd3.encode_prompts(prompts, vectors[None, :1])
        difference = sd3.denoiser.context_embedder(second[:, :64, :-1])
        difference -= sd3.denoiser.context_embedder(first[:, :64, :-1])
    torch.testing.assert_close(seen["all"][0], seen["first"][0])
    moved = seen["all"][1] - seen["first"][1]
    rows = first[0, :64, -1] > 0
    assert rows.sum() == 2 and not moved[0, ~rows].any()
    torch.testing.assert_close(moved[:, rows], difference[:, rows], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(("layers", "checkpoints"), [(1, False), (LAYERS, False), (LAYERS, True)])
def test_the_identifiers_gradient_is_that_of_finite_differences(
    tiny_sd3_model: Path, layers: int, checkpoints: bool
) -> None:
    # T5 and the transformer normalize in float32, whatever they are given.
    vectors, channels = random_vectors(layers), (0, CLIP_WIDTHS[0], CLIP_WIDTH, WIDTH - 1)
    check_gradient(tiny_sd3_model, vectors, channels, step=3e-2, checkpoints=checkpoints)


def test_noise_is_mixed_and_drawn_as_flow_matching_has_it(sd3: JointTransformer) -> None:
    stock = sd3.pipeline.scheduler
    latents, noise = torch.randn(3, 4, 4, 4), torch.randn(3, 4, 4, 4)
    timesteps = stock.timesteps[[0, 500, 999]]
    noisy, target = sd3.add_noise(latents, noise, timesteps)
    torch.testing.assert_close(noisy, stock.scale_noise(latents, timesteps, noise))
    torch.testing.assert_close(target, noise - latents)
    drawn = sd3.draw_timesteps(20_000, torch.Generator().manual_seed(0))
    assert torch.isin(drawn, stock.timesteps).all()
    # logit(sigma) = log(shift) + a standard normal
    logits = (drawn.double() / 1000).clamp(max=1 - 1e-6).logit()
    assert float(logits.mean()) == pytest.approx(np.log(3), abs=0.03)
    assert float(logits.std()) == pytest.approx(1, abs=0.03)
    weights = torch.zeros(1000)
    weights[[0, 999]] = 1
    ends = sd3.draw_timesteps(50, torch.Generator().manual_seed(0), weights)
    assert set(ends.tolist()) == {stock.timesteps[-1].item(), 1000.0}


def test_a_scheduler_of_another_sort_is_refused(tiny_sd3_model: Path, tmp_path: Path) -> None:
    from diffusers import DDIMScheduler

    backbone = load(tiny_sd3_model)
    backbone.pipeline.scheduler = DDIMScheduler()
    with pytest.raises(UserError, match="DDIMScheduler is not for flow matching"):
        JointTransformer(backbone.pipeline, name="odd", fingerprint="", preset=None)


def test_a_folder_without_t5_is_whole(without_t5_model: Path) -> None:
    index = json.loads((without_t5_model / "model_index.json").read_text())
    assert index["text_encoder_3"] == [None, None]
    source = resolve_model(str(without_t5_model))
    assert source.kind.name == "joint" and "text_encoder_3" not in source.kind.networks
    assert not any(check_pipeline(without_t5_model).values())
    networks = Networks(without_t5_model)
    assert set(networks.parameters) == set(source.kind.networks)


def test_its_cost_and_traits_are_read_from_the_folder(
    tiny_sd3_model: Path, sd3: JointTransformer
) -> None:
    networks = Networks(tiny_sd3_model)
    own = {
        part: sum(p.numel() for p in getattr(sd3.pipeline, part).parameters())
        for part in sd3.kind.networks
    }
    for encoder in ("text_encoder", "text_encoder_2"):
        own[encoder] -= getattr(sd3.pipeline, encoder).text_projection.weight.numel()
    assert networks.parameters == own and networks.layers == LAYERS
    assert networks.conditioned.flops > networks.forward.flops > 0
    assert networks.decoded.flops > 0 and networks.text.flops > 0
    tables = sd3.token_tables
    squares = sum(t.shape[1] * t.square().mean() * t.shape[0] for t in tables)
    rms = float((squares / sum(t.numel() for t in tables)).sqrt())
    assert model_traits(None, tiny_sd3_model).token_rms == pytest.approx(rms, rel=1e-5)


def test_half_precision_is_the_whole_networks(tiny_sd3_model: Path) -> None:
    """Its first stored weight is a buffer, at which alone diffusers would look."""
    half = Backbone.load(resolve_model(str(tiny_sd3_model)), dtype="bfloat16")
    for part in half.kind.networks:
        weights = getattr(half.pipeline, part).parameters()
        assert {weight.dtype for weight in weights} == {torch.bfloat16}, part
    half.sampling = Sampling(steps=2, guidance_scale=4.0)
    (image,) = half.generate(["a man {}"], [0], random_vectors(LAYERS))
    assert image.size == (32, 32)


def test_an_autoencoder_without_a_shift_is_refused(sd3: JointTransformer) -> None:
    sd3.pipeline.vae.register_to_config(shift_factor=None)
    with pytest.raises(UserError, match="its autoencoder has no shift_factor"):
        JointTransformer(sd3.pipeline, name="odd", fingerprint="", preset=None)
