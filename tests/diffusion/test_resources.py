"""Each option that saves memory or time acts, and leaves results and backbone as they were."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from actionbench.device import Resources
from actionbench.diffusion.backbone import Backbone, compile_blocks
from actionbench.diffusion.denoising import add_noise, loss_scale, losses
from actionbench.errors import UserError
from actionbench.files.models import resolve_model
from actionbench.plugins.tiny import state_hash, tiny_items, tiny_pipeline, tiny_task
from actionbench.progress import SILENT
from methods.custom_diffusion import CustomDiffusion
from methods.custom_diffusion import Settings as CustomDiffusionSettings
from methods.dreambooth import DreamBooth
from methods.dreambooth import Settings as DreamBoothSettings
from methods.p_plus import PPlus
from methods.p_plus import Settings as PPlusSettings


def load(model: Path, dtype: str = "float32", **resources: bool) -> Backbone:
    backbone = Backbone.load(resolve_model(str(model)), "cpu", dtype, Resources(**resources))
    backbone.sampling = replace(backbone.sampling, steps=2)
    return backbone


@contextmanager
def counted_blocks(backbone: Backbone) -> Iterator[list[int]]:
    """How often the UNet's first transformer block runs."""
    runs = [0]
    block = next(
        m for m in backbone.pipeline.unet.modules() if type(m).__name__ == "BasicTransformerBlock"
    )

    def count(*_: object) -> None:
        runs[0] += 1

    handle = block.register_forward_pre_hook(count)
    yield runs
    handle.remove()


def token_gradient(backbone: Backbone, scale: float = 1.0) -> Tensor:
    """Of a layer-wise identifier, as the learning loop takes it."""
    latents = backbone.encode_images([e.image for e in tiny_task().exemplars])
    generator = torch.Generator().manual_seed(0)
    noised = add_noise(backbone, latents.sample(generator), generator)
    vectors = backbone.word_embedding("stands").expand(1, 16, 1, -1).clone().requires_grad_()
    prompts = [backbone.tokenize("a photo of a {}")] * 3
    loss = losses(backbone, noised, backbone.encode_prompts(prompts, vectors)).mean()
    return torch.autograd.grad(scale * loss, vectors)[0] / scale


def test_checkpointing_computes_again_and_gives_the_same_gradient(tiny_model: Path) -> None:
    measured = []
    for checkpointing in (False, True):
        backbone = load(tiny_model, gradient_checkpointing=checkpointing)
        assert backbone.pipeline.unet.is_gradient_checkpointing == checkpointing
        before = state_hash(backbone)
        kept: list[int] = []
        own = {p.data_ptr() for m in (backbone.pipeline.unet,) for p in m.parameters()}

        def pack(tensor: Tensor, kept: list[int] = kept, own: set[int] = own) -> Tensor:
            if tensor.data_ptr() not in own:
                kept.append(tensor.numel())
            return tensor

        noted = torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor)
        with counted_blocks(backbone) as runs, noted:
            measured.append(token_gradient(backbone))
        assert runs == [2 if checkpointing else 1]
        measured.append(torch.tensor(float(sum(kept))))
        assert state_hash(backbone) == before
    plain, plain_kept, again, again_kept = measured
    torch.testing.assert_close(again, plain, rtol=1e-4, atol=1e-7)
    assert again_kept < 0.5 * plain_kept


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
def test_fits_are_the_same_with_everything_saved(
    tiny_model: Path, tmp_path: Path, prediction_type: str
) -> None:
    """On the structure of SD 2.1 and SD 2.1-base; the hooks of P+ and Custom Diffusion among it."""
    model = tiny_pipeline(tmp_path, prediction_type, sd2=True)
    saved = {"gradient_checkpointing": True, "vae_slicing": True, "offload": True}
    methods = (
        PPlus(PPlusSettings(steps=2, batch_size=2)),
        DreamBooth(DreamBoothSettings(steps=2, class_images=2, class_sampling_steps=2)),
        CustomDiffusion(CustomDiffusionSettings(steps=2, class_images=2, class_sampling_steps=2)),
    )
    plain, saving = load(model), load(model, **saved)
    before = state_hash(saving)
    for method in methods:
        fitted = [method.fit(b, tiny_task(), seed=0, progress=SILENT) for b in (plain, saving)]
        assert fitted[0].tensors.keys() == fitted[1].tensors.keys()
        for name, tensor in fitted[0].tensors.items():
            torch.testing.assert_close(fitted[1].tensors[name], tensor, rtol=2e-2, atol=1e-6)
        assert state_hash(saving) == before
        images = [list(method.generate(b, fitted[0], tiny_items())) for b in (plain, saving)]
        for one, other in zip(*images, strict=True):
            difference = np.asarray(one, dtype=int) - np.asarray(other)
            assert np.abs(difference).max() <= 1


def test_the_text_encoder_rests_when_it_may_and_is_back_afterwards(tiny_model: Path) -> None:
    """The CPU stands for the GPU here; where it is sent is seen by its `to`."""
    moves: list[str] = []
    backbone = load(tiny_model, offload=True)
    encoder = backbone.pipeline.text_encoder
    own = encoder.to
    encoder.to = lambda place: (moves.append(str(place)), own(place))[1]
    away: list[int] = []
    backbone.pipeline.unet.register_forward_pre_hook(lambda *_: away.append(len(moves)))
    list(backbone.generate(["a dog sits"], [1]))
    assert moves == ["cpu", "cpu"]  # away, and back to the device
    assert set(away) == {1}  # the UNet runs while it is away
    with pytest.raises(ZeroDivisionError), backbone.text_encoder_resting():
        raise ZeroDivisionError
    assert moves == ["cpu"] * 4
    other = load(tiny_model)
    with other.text_encoder_resting():
        pass
    assert not backbone.pipeline.vae.use_slicing


def test_the_autoencoder_slices(tiny_model: Path) -> None:
    backbone = load(tiny_model, vae_slicing=True)
    sizes: list[int] = []
    backbone.pipeline.vae.encoder.register_forward_pre_hook(
        lambda _module, args: sizes.append(len(args[0]))
    )
    backbone.encode_images([e.image for e in tiny_task().exemplars])
    assert sizes == [1, 1, 1]


def test_compiled_blocks_see_hooks_that_come_and_go(tiny_model: Path) -> None:
    """Custom Diffusion hooks projections within a block, after it was compiled without."""
    backbone = load(tiny_model)
    prompts, seeds = ["a dog sits"], [1]
    expected = [np.asarray(i) for i in backbone.generate(prompts, seeds)]
    compile_blocks(backbone.pipeline.unet, backend="eager")  # traces, but generates no code
    blocks = [
        m for m in backbone.pipeline.unet.modules() if type(m).__name__ == "BasicTransformerBlock"
    ]
    assert len(blocks) == 16 and all(m._compiled_call_impl is not None for m in blocks)
    torch._dynamo.utils.counters.clear()
    assert np.array_equal(next(iter(backbone.generate(prompts, seeds))), expected[0])
    assert torch._dynamo.utils.counters["frames"]["ok"] > 0

    projections = [m.attn2.to_v for m in blocks]
    handles = [p.register_forward_hook(lambda _m, _a, output: output * 0) for p in projections]
    hooked = np.asarray(next(iter(backbone.generate(prompts, seeds))))
    for handle in handles:
        handle.remove()
    assert not np.array_equal(hooked, expected[0])
    assert np.array_equal(next(iter(backbone.generate(prompts, seeds))), expected[0])


def test_compiling_without_a_compiler_is_refused(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from torch._inductor import config

    monkeypatch.setattr(config.cpp, "cxx", ("no-such-compiler",))
    with pytest.raises(UserError, match="--compile needs a C\\+\\+ compiler"):
        load(tiny_model, compile=True)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_gradients_in_half_precision_reach_the_float32_leaf(tiny_model: Path, dtype: str) -> None:
    exact = token_gradient(load(tiny_model))
    backbone = load(tiny_model, dtype)
    scaled = token_gradient(backbone, loss_scale(backbone.dtype))
    assert scaled.dtype == torch.float32
    similarity = torch.nn.functional.cosine_similarity(scaled.flatten(), exact.flatten(), dim=0)
    assert similarity > 0.98
    if dtype == "float16":
        # The same divided by 2 ** 12 instead of multiplied by it: what underflow would leave.
        lost = token_gradient(backbone, 1 / loss_scale(backbone.dtype))
        assert (lost == 0).float().mean() > (scaled == 0).float().mean() + 0.2
