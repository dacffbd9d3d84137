from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from actionbench.diffusion.backbone import (
    Backbone,
    Tokens,
    place_vectors,
)
from actionbench.diffusion.shared_text import encode_equal
from actionbench.errors import UserError
from actionbench.plugins.tiny import load_tiny, state_hash, tiny_pipeline
from actionbench.suite.items import Sampling


def vectors_for(backbone: Backbone, layers: int = 1, tokens: int = 1, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(layers, tokens, backbone.width, generator=generator)


def pixels(images: object) -> np.ndarray:
    return np.stack([np.asarray(i, dtype=np.int16) for i in images])  # type: ignore[attr-defined]


# -- tokens --------------------------------------------------------------------------------


@pytest.mark.parametrize("pad_token", ["!", "<|endoftext|>"])
def test_tokenizing_by_parts_gives_the_tokenizers_own_ids(tmp_path: Path, pad_token: str) -> None:
    backbone = load_tiny(tiny_pipeline(tmp_path, pad_token=pad_token))
    text = "A photo of Batman's red hat on a panda, 3 zebras; hi!"
    own = backbone.pipeline.tokenizer(text, padding="max_length").input_ids
    assert list(backbone.tokenize(text).ids) == own
    assert backbone.tokenize(text).slot == ()

    before, after = "A photo of Batman", "'s red hat on a panda"
    with_slot = backbone.tokenize(before + "{}" + after, 2)
    ids = [i for n, i in enumerate(with_slot.ids) if n not in with_slot.slot]
    assert (
        ids
        == backbone.pipeline.tokenizer(
            before + after, padding="max_length", max_length=30
        ).input_ids
    )


def test_a_long_prompt_loses_its_last_words_but_never_the_slot(tiny: Backbone) -> None:
    tokens = tiny.tokenize("a man {} " + "on the red hat " * 20)
    assert len(tokens.ids) == 32 and tokens.slot == (3,)
    assert tokens.ids[-1] == tiny.pipeline.tokenizer.eos_token_id
    with pytest.raises(UserError, match="no room"):
        tiny.tokenize("on the red hat " * 20 + "{}")
    with pytest.raises(UserError, match="once"):
        tiny.tokenize("{} and {}")


def test_the_tokenizer_and_its_vocabulary_stay_unchanged(tiny: Backbone) -> None:
    before = len(tiny.pipeline.tokenizer)
    tiny.encode_prompts([tiny.tokenize("A dog {}", 3)], vectors_for(tiny, 1, 3)[None])
    assert len(tiny.pipeline.tokenizer) == before


# -- text encoder --------------------------------------------------------------------------


def test_vectors_overwrite_exactly_the_slot() -> None:
    embeddings = torch.zeros(2, 5, 3)
    vectors = torch.arange(1.0, 13.0).reshape(2, 2, 3)
    placed = place_vectors(embeddings, torch.tensor([[1, 2], [3, 4]]), vectors)
    assert placed.any(-1).int().tolist() == [[0, 1, 1, 0, 0], [0, 0, 0, 1, 1]]
    assert torch.equal(placed[0, 1:3], vectors[0]) and torch.equal(placed[1, 3:], vectors[1])


def test_encoding_from_the_slot_on_equals_the_whole_encoder_with_a_hooked_table(
    tiny: Backbone,
) -> None:
    """Against transformers' own forward pass, for slots at different positions, gradients too."""
    prompts = [tiny.tokenize(t, 2) for t in ("a {} man", "a red hat on a man {} and a cat", "{}")]
    vectors = torch.stack([vectors_for(tiny, 1, 2, seed) for seed in range(3)]).requires_grad_()
    states = tiny.encode_prompts(prompts, vectors)

    def overwrite(_module: object, _inputs: object, output: Tensor) -> Tensor:
        return place_vectors(output, torch.tensor([p.slot for p in prompts]), vectors[:, 0])

    handle = tiny.pipeline.text_encoder.get_input_embeddings().register_forward_hook(overwrite)
    ids = torch.tensor([p.ids for p in prompts])
    expected = tiny.pipeline.text_encoder(ids).last_hidden_state
    handle.remove()
    torch.testing.assert_close(states, expected)
    weight = torch.randn(states.shape, generator=torch.Generator().manual_seed(0))
    (ours,) = torch.autograd.grad((states * weight).sum(), vectors)
    (whole,) = torch.autograd.grad((expected * weight).sum(), vectors)
    torch.testing.assert_close(ours, whole, rtol=1e-4, atol=1e-5)


def test_a_words_own_embedding_in_the_slot_gives_the_words_states(tiny: Backbone) -> None:
    word = tiny.word_embedding("sits").reshape(1, 1, 1, -1)
    states = tiny.encode_prompts([tiny.tokenize("a dog {} on the hat")], word)
    expected = tiny.encode_prompts([tiny.tokenize("a dog sits on the hat")])
    torch.testing.assert_close(states, expected)


def test_each_layer_gets_the_states_of_its_own_vector(tiny: Backbone) -> None:
    vectors = vectors_for(tiny, 16)
    prompts = [tiny.tokenize(text) for text in ("a dog {}", "a red cat {} on a man", "a dog {}")]
    packed = tiny.encode_prompts(prompts, vectors[None])
    assert packed.shape == (3, 32, 16 * tiny.width)
    for layer in range(16):
        own = tiny.encode_prompts(prompts, vectors[None, layer : layer + 1])
        torch.testing.assert_close(packed.unflatten(2, (16, -1))[:, :, layer], own)


def test_per_sample_leaves_equal_the_shared_vector_and_split_its_gradient(tiny: Backbone) -> None:
    prompts = [tiny.tokenize(text) for text in ("a dog {}", "a red cat {}", "a dog {}")]
    shared = vectors_for(tiny, 4)[None].requires_grad_()
    leaves = shared.detach().repeat(3, 1, 1, 1).requires_grad_()
    one = tiny.encode_prompts(prompts, shared)
    three = tiny.encode_prompts(prompts, leaves)
    torch.testing.assert_close(one, three)
    one.square().mean().backward()
    three.square().mean().backward()
    assert leaves.grad is not None
    torch.testing.assert_close(shared.grad, leaves.grad.sum(0, keepdim=True))
    assert len({tuple(g.flatten().tolist()) for g in leaves.grad}) == 2


def test_equal_leaves_share_a_pass_and_have_gradients_of_their_own(
    tiny: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = ("a dog {}", "a red cat {}", "a dog {}", "a bird {}", "a dog {}", "a bird {}")
    prompts = [tiny.tokenize(text) for text in texts]
    leaves = vectors_for(tiny, 4)[None].repeat(6, 1, 1, 1).requires_grad_()
    weights = torch.randn(6, 1, 1, generator=torch.Generator().manual_seed(0))
    rows: list[int] = []
    encode = tiny.encode_prompts

    def counted(prompts: Sequence[Tokens], vectors: Tensor) -> Tensor:
        rows.append(len(prompts))
        return encode(prompts, vectors)

    def gradient(states: Tensor) -> Tensor:
        return torch.autograd.grad((weights * states.square()).sum(), leaves)[0]

    separate = tiny.encode_prompts(prompts, leaves)
    shared = encode_equal(counted, prompts, leaves)
    assert sum(rows) == 3, "each different prompt once"
    torch.testing.assert_close(shared, separate)
    torch.testing.assert_close(gradient(shared), gradient(separate), rtol=1e-3, atol=1e-5)


def test_a_prompt_that_the_batch_shares_is_encoded_once(tiny: Backbone) -> None:
    shapes: list[tuple[int, ...]] = []

    def keep(_module: object, inputs: tuple[Tensor, ...]) -> None:
        shapes.append(tuple(inputs[0].shape[:2]))

    prompt = tiny.tokenize("a dog {}")
    norm = tiny.pipeline.text_encoder.final_layer_norm
    handle = norm.register_forward_pre_hook(keep)
    for _ in range(2):
        tiny.encode_prompts([prompt] * 5, vectors_for(tiny, 16)[None])
    handle.remove()
    assert shapes == [(1, 3), (16, 29), (16, 29)], "what stands before the slot, once for ever"


# -- UNet ----------------------------------------------------------------------------------


def test_layers_are_in_the_order_of_computation(tiny: Backbone) -> None:
    called: list[str] = []
    handles = [
        tiny.pipeline.unet.get_submodule(name).register_forward_hook(
            lambda *_, name=name: called.append(name)
        )
        for name in tiny.layers
    ]
    tiny.predict(torch.zeros(1, 4, 4, 4), torch.tensor([1]), torch.zeros(1, 32, tiny.width))
    for handle in handles:
        handle.remove()
    assert tuple(called) == tiny.layers
    assert len(tiny.layers) == 16


@pytest.mark.parametrize(("levels", "per_block", "layers"), [(1, 1, 4), (2, 1, 7), (3, 1, 10)])
def test_any_number_of_layers(tmp_path: Path, levels: int, per_block: int, layers: int) -> None:
    folder = tiny_pipeline(tmp_path, levels=levels, layers_per_block=per_block)
    backbone = load_tiny(folder)
    assert len(backbone.layers) == layers
    images = list(backbone.generate(["A dog {}"], [1], vectors_for(backbone, layers)))
    assert images[0].size == (32, 32)


def test_same_vector_for_all_layers_equals_plain_conditioning(tiny: Backbone) -> None:
    vector = vectors_for(tiny)
    noise = torch.randn(2, 4, 4, 4, generator=torch.Generator().manual_seed(0))
    prompts = [tiny.tokenize("a dog {}"), tiny.tokenize("a man {}")]
    plain = tiny.encode_prompts(prompts, vector[None])
    packed = tiny.encode_prompts(prompts, vector.expand(16, -1, -1)[None])
    step = torch.tensor([5, 900])
    torch.testing.assert_close(
        tiny.predict(noise, step, packed), tiny.predict(noise, step, plain), rtol=1e-4, atol=1e-5
    )
    drawn = [
        pixels(tiny.generate(["A dog {}", "A cat {}"], [1, 2], v))
        for v in (vector, vector.expand(16, -1, -1))
    ]
    assert np.abs(drawn[0] - drawn[1]).max() <= 1


def test_each_layer_is_conditioned_by_its_own_columns(tiny: Backbone) -> None:
    taken: dict[str, Tensor] = {}

    def keep(name: str) -> object:
        def hook(_module: object, _args: object, kwargs: dict[str, Tensor]) -> None:
            taken[name] = kwargs["encoder_hidden_states"]

        return hook

    packed = torch.arange(16.0).repeat_interleave(tiny.width).expand(1, 32, -1)
    with tiny.layer_conditioning():
        handles = [
            tiny.pipeline.unet.get_submodule(name)
            .transformer_blocks[0]
            .register_forward_pre_hook(keep(name), with_kwargs=True)
            for name in tiny.layers
        ]
        tiny.predict(torch.zeros(1, 4, 4, 4), torch.tensor([1]), packed[..., : 16 * tiny.width])
        for handle in handles:
            handle.remove()
    assert [t.unique().tolist() for t in taken.values()] == [[float(i)] for i in range(16)]
    assert tuple(taken) == tiny.layers


def test_hooks_are_gone_after_an_error_and_between_images(tiny: Backbone) -> None:
    def hooks() -> int:
        modules = [*tiny.pipeline.unet.modules(), *tiny.pipeline.text_encoder.modules()]
        return sum(len(m._forward_pre_hooks) + len(m._forward_hooks) for m in modules)

    with pytest.raises(RuntimeError), tiny.layer_conditioning():
        raise RuntimeError
    drawn = tiny.generate(["A dog {}"] * 2, [1, 2], vectors_for(tiny, 16))
    next(drawn)
    assert hooks() == 0


# -- images --------------------------------------------------------------------------------


def test_images_do_not_depend_on_batch_or_order(tiny: Backbone) -> None:
    prompts = ["A dog {}", "A cat {}", "A man {}", "A dog {}", "A bear {}"]
    seeds = [11, 12, 13, 14, 2**62 + 5]
    vectors = vectors_for(tiny, 16)
    together = pixels(tiny.generate(prompts, seeds, vectors))
    tiny.batch_size = 2
    by_twos = pixels(tiny.generate(prompts, seeds, vectors))
    order = [3, 1, 4, 0, 2]
    shuffled = pixels(
        tiny.generate([prompts[i] for i in order], [seeds[i] for i in order], vectors)
    )
    assert np.abs(together - by_twos).max() <= 1
    assert np.abs(together[order] - shuffled).max() <= 1
    assert np.abs(together[0] - together[3]).mean() > 2, "another seed, another image"


def test_generate_equals_the_stock_pipeline(tiny: Backbone) -> None:
    prompt = "A photo of Batman on a red hat"
    (ours,) = tiny.generate([prompt], [7])
    (stock,) = tiny.pipeline(
        prompt,
        generator=torch.Generator().manual_seed(7),
        num_inference_steps=tiny.sampling.steps,
        guidance_scale=tiny.sampling.guidance_scale,
    ).images
    assert np.abs(pixels([ours]) - pixels([stock])).max() <= 1


def test_the_sampling_and_the_negative_prompt_act(tiny: Backbone) -> None:
    states = tiny.encode_prompts([tiny.tokenize("A dog")])
    plain = pixels(tiny.sample(states, [1]))
    assert (pixels(tiny.sample(states, [1], negative="a red cat")) != plain).any()
    tiny.sampling = Sampling(steps=3, guidance_scale=1.0)
    assert (pixels(tiny.sample(states, [1])) != plain).any()


def test_latents_decode_to_the_image(tiny: Backbone) -> None:
    states = tiny.encode_prompts([tiny.tokenize("A dog")])
    latents = tiny.sample_latents(states, [3], tiny.sampling)
    scaled = latents / tiny.pipeline.vae.config.scaling_factor
    decoded = tiny.pipeline.vae.decode(scaled).sample
    expected = (decoded / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1).numpy() * 255
    assert np.abs(pixels(tiny.sample(states, [3])) - expected).max() <= 1


def test_cached_latents_are_the_scaled_posterior(tiny: Backbone) -> None:
    generator = np.random.default_rng(0)
    image = Image.fromarray(generator.integers(0, 255, (64, 64, 3), dtype=np.uint8))
    latents = tiny.encode_images([image, image.crop((0, 0, 64, 32))])
    assert latents.mean.shape == (2, 4, 4, 4) and len(latents) == 2
    small = np.asarray(image.resize((32, 32), Image.Resampling.LANCZOS), dtype=np.float32)
    scaled = torch.from_numpy(small).permute(2, 0, 1)[None] / 127.5 - 1
    posterior = tiny.pipeline.vae.encode(scaled).latent_dist
    factor = tiny.pipeline.vae.config.scaling_factor
    torch.testing.assert_close(latents.mean[:1], posterior.mean * factor)
    torch.testing.assert_close(latents.std[:1], posterior.std * factor)
    draws = [latents.sample(torch.Generator().manual_seed(s)) for s in (1, 1, 2)]
    assert torch.equal(draws[0], draws[1]) and not torch.equal(draws[0], draws[2])


def test_sampling_and_encoding_leave_every_weight_as_it_was(tiny: Backbone) -> None:
    before = state_hash(tiny)
    list(tiny.generate(["A dog {}"], [1], vectors_for(tiny, 16)))
    tiny.encode_images([Image.new("RGB", (40, 40))])
    assert state_hash(tiny) == before


def test_weights_on_disk_in_half_precision_run_in_single(tmp_path: Path) -> None:
    backbone = load_tiny(tiny_pipeline(tmp_path, dtype=torch.float16))
    assert {p.dtype for p in backbone.pipeline.unet.parameters()} == {torch.float32}
    assert not any(p.requires_grad for p in backbone.pipeline.text_encoder.parameters())


def test_a_folder_without_a_pipeline_is_the_users_mistake(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"model_index\.json is damaged"):
        load_tiny(tmp_path)


def test_an_error_without_a_message_is_reported_by_its_type(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr("diffusers.StableDiffusionPipeline.from_pretrained", fail)
    with pytest.raises(UserError, match=r"as StableDiffusionPipeline \(MemoryError\): .*end other"):
        load_tiny(tiny_model)


def test_layer_names(tiny: Backbone) -> None:
    names = tiny.conditioned_layers(tiny.pipeline.unet)
    assert names[0] == "down_blocks.0.attentions.0"
    assert names[6] == "mid_block.attentions.0"
    assert names[-1] == "up_blocks.2.attentions.2"
