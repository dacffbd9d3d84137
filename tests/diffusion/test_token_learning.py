from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import pytest
import torch
from torch import Tensor

from actionbench.diffusion.backbone import Backbone
from actionbench.diffusion.denoising import add_noise, loss_scale, losses
from actionbench.diffusion.token_learning import (
    Batch,
    ChannelAdamW,
    DrawBatch,
    ExemplarBatches,
    ExtraLoss,
    Fit,
    TokenMethod,
    TokenSettings,
    TrainingPrompts,
    learn_tokens,
    learning_work,
    relative_norm,
)
from actionbench.errors import UserError
from actionbench.method import MEASURES
from actionbench.plugins.tiny import load_tiny, tiny_pipeline, tiny_task
from actionbench.progress import SILENT, Progress

QUICK = TokenSettings(steps=6, batch_size=2, learning_rate=1e-2)


def start(backbone: Backbone, layers: int = 16) -> Tensor:
    return backbone.word_embedding("stands").expand(layers, 1, -1)


# -- the denoising loss --------------------------------------------------------------------


def test_the_target_is_the_noise_or_the_velocity(tiny_model, tmp_path) -> None:  # type: ignore[no-untyped-def]
    latents = torch.randn(2, 4, 4, 4, generator=torch.Generator().manual_seed(0))
    for folder, prediction in (
        (tiny_model, "epsilon"),
        (tiny_pipeline(tmp_path, "v_prediction"), "v_prediction"),
    ):
        backbone = load_tiny(folder)
        noised = add_noise(backbone, latents, torch.Generator().manual_seed(1))
        kept = backbone.noise_schedule.alphas_cumprod[noised.timesteps].view(-1, 1, 1, 1)
        noise = (noised.latents - kept.sqrt() * latents) / (1 - kept).sqrt()
        velocity = kept.sqrt() * noise - (1 - kept).sqrt() * latents
        expected = {"epsilon": noise, "v_prediction": velocity}[prediction]
        torch.testing.assert_close(noised.target, expected, rtol=1e-3, atol=1e-3)
        assert backbone.prediction_type == prediction


def test_the_loss_is_each_samples_own(tiny: Backbone) -> None:
    latents = torch.randn(2, 4, 4, 4, generator=torch.Generator().manual_seed(0))
    noised = add_noise(tiny, latents, torch.Generator().manual_seed(1))
    states = tiny.encode_prompts([tiny.tokenize("a dog"), tiny.tokenize("a cat")])
    prediction = tiny.predict(noised.latents, noised.timesteps, states)
    expected = [((prediction[i] - noised.target[i]) ** 2).mean() for i in range(2)]
    torch.testing.assert_close(losses(tiny, noised, states), torch.stack(expected))


def test_sharing_timestep_and_noise(tiny: Backbone) -> None:
    latents = torch.zeros(6, 4, 4, 4)

    def drawn(timestep: int, noise: int) -> tuple[int, int]:
        noised = add_noise(
            tiny,
            latents,
            torch.Generator().manual_seed(3),
            share_timestep=timestep,
            share_noise=noise,
        )
        return len(noised.timesteps.unique()), len(noised.target.unique(dim=0))

    assert [drawn(1, 1), drawn(3, 1), drawn(1, 3), drawn(3, 3)] == [(6, 6), (2, 6), (6, 2), (2, 2)]


def test_a_model_that_predicts_something_else_is_refused(tiny: Backbone) -> None:
    tiny.noise_schedule.register_to_config(prediction_type="sample")
    with pytest.raises(UserError, match=r"model tiny predicts 'sample' .* only epsilon and v_pred"):
        add_noise(tiny, torch.zeros(1, 4, 4, 4), torch.Generator())


# -- prompts -------------------------------------------------------------------------------


def test_templates_are_drawn_for_each_image_or_step_and_captions_are_each_exemplars_own(
    tiny: Backbone,
) -> None:
    task = tiny_task()
    generator = torch.Generator().manual_seed(0)
    every = {tiny.tokenize(t) for t in QUICK.templates}
    assert len(QUICK.templates) == len(every) == 27
    templates = TrainingPrompts(tiny, task.exemplars, QUICK)
    drawn = [templates.draw([0, 1, 2], generator) for _ in range(200)]
    assert all(len(set(step)) == 1 for step in drawn)
    assert {step[0] for step in drawn} == every
    each = TrainingPrompts(tiny, task.exemplars, QUICK, per_image=True)
    drawn = [each.draw([0, 2, 0], generator) for _ in range(200)]
    assert all(step[0] == step[2] for step in drawn), "one image of a step has one template"
    assert {step[0] for step in drawn} == {step[1] for step in drawn} == every
    assert sum(step[0] != step[1] for step in drawn) > 150
    batch = ExemplarBatches(tiny, task, replace(QUICK, batch_size=20)).draw(generator)
    assert len(set(batch.prompts)) > 1, "as the settings say"
    captions = TrainingPrompts(tiny, task.exemplars, replace(QUICK, prompts="caption"))
    assert captions.draw([2, 0], generator) == [
        tiny.tokenize(task.exemplars[2].template),
        tiny.tokenize(task.exemplars[0].template),
    ]


def test_a_template_without_the_slot_is_the_users_mistake(tiny: Backbone) -> None:
    with pytest.raises(UserError, match=r"no \{\}"):
        TrainingPrompts(tiny, (), replace(QUICK, templates=("a photo",)))


# -- the optimiser -------------------------------------------------------------------------


@pytest.mark.parametrize("clip", [None, 0.5])
def test_with_all_channels_moving_it_is_torchs_adamw(clip: float | None) -> None:
    generator = torch.Generator().manual_seed(0)
    ours = torch.randn(4, 1, 8, generator=generator)
    theirs = ours.clone().requires_grad_()
    settings = TokenSettings(learning_rate=0.03, weight_decay=0.1, max_gradient_norm=clip)
    optimizer = ChannelAdamW(ours, settings)
    torch_one = torch.optim.AdamW([theirs], lr=0.03, weight_decay=0.1)
    for _ in range(20):
        gradient = torch.randn(4, 1, 8, generator=generator)
        optimizer.step(gradient)
        theirs.grad = gradient.clone()
        if clip is not None:
            torch.nn.utils.clip_grad_norm_([theirs], clip)
        torch_one.step()
    torch.testing.assert_close(ours, theirs.detach())


def test_a_channel_that_sits_out_steps_moves_as_if_they_had_not_been() -> None:
    generator = torch.Generator().manual_seed(0)
    gradients = torch.randn(10, 1, 1, 2, generator=generator)
    always, often = torch.ones(1, 1, 2), torch.ones(1, 1, 2)
    whole, part = ChannelAdamW(always, QUICK), ChannelAdamW(often, QUICK)
    for number, gradient in enumerate(gradients):
        part.step(gradient, torch.tensor([[[True, number % 2 == 0]]]))
    for gradient in gradients:
        whole.step(gradient)
    assert often[0, 0, 0] == always[0, 0, 0]
    rare = torch.ones(1, 1, 2)
    optimizer = ChannelAdamW(rare, QUICK)
    for gradient in gradients[::2]:
        optimizer.step(gradient)
    assert often[0, 0, 1] == rare[0, 0, 1]


# -- the loop ------------------------------------------------------------------------------


def test_learning_lowers_the_loss_of_one_fixed_batch(tiny: Backbone) -> None:
    batch = ExemplarBatches(tiny, tiny_task(), QUICK).draw(torch.Generator().manual_seed(0))
    settings = replace(QUICK, steps=50, learning_rate=0.3)
    learned = learn_tokens(tiny, settings, start(tiny), lambda _: batch, seed=0, progress=SILENT)
    assert len(learned.losses) == 2
    assert learned.losses[-1] < 0.98 * learned.losses[0]


@pytest.mark.parametrize("prompts", ["template", "caption"])
def test_the_seed_alone_decides(tiny: Backbone, prompts: str) -> None:
    settings = replace(QUICK, prompts=prompts)

    def learn(seed: int) -> Tensor:
        torch.rand(seed + 3)  # the global random state is not to matter
        draw = ExemplarBatches(tiny, tiny_task(), settings).draw
        return learn_tokens(tiny, settings, start(tiny), draw, seed=seed, progress=SILENT).vectors

    assert torch.equal(learn(0), learn(0))
    assert not torch.equal(learn(0), learn(1))


def test_one_shared_leaf_and_one_leaf_a_sample_descend_the_same_loss(tiny: Backbone) -> None:
    draw = ExemplarBatches(tiny, tiny_task(), QUICK).draw
    plain = learn_tokens(tiny, QUICK, start(tiny), draw, seed=0, progress=SILENT)
    ruled = learn_tokens(
        tiny, QUICK, start(tiny), draw, seed=0, progress=SILENT, rule=lambda g: (g.mean(0), None)
    )
    torch.testing.assert_close(plain.vectors, ruled.vectors, rtol=1e-4, atol=1e-4)


def test_gradients_are_lifted_in_float16_and_come_down_again(tiny: Backbone) -> None:
    """The scale alone, on a model that computes in float32 and so needs none."""
    assert [loss_scale(t) for t in (torch.float32, torch.bfloat16)] == [1.0, 1.0]
    assert loss_scale(torch.float16) >= 1024
    draw = ExemplarBatches(tiny, tiny_task(), QUICK).draw
    seen: list[Tensor] = []

    def rule(gradients: Tensor) -> tuple[Tensor, None]:
        seen.append(gradients)
        return gradients.mean(0), None

    settings = replace(QUICK, steps=1)
    for dtype in (torch.float32, torch.float16):
        tiny.dtype = dtype
        learn_tokens(tiny, settings, start(tiny), draw, seed=0, progress=SILENT, rule=rule)
    torch.testing.assert_close(seen[0], seen[1], rtol=1e-4, atol=1e-8)


def test_each_layer_learns_its_own_token(tiny: Backbone) -> None:
    draw = ExemplarBatches(tiny, tiny_task(), QUICK).draw
    vectors = learn_tokens(tiny, QUICK, start(tiny), draw, seed=0, progress=SILENT).vectors
    assert vectors.shape == (16, 1, tiny.width)
    assert len(vectors.unique(dim=0)) == 16


def test_a_loss_that_is_no_number_stops_with_advice(tiny: Backbone) -> None:
    good = ExemplarBatches(tiny, tiny_task(), QUICK)

    def spoiled(generator: torch.Generator) -> Batch:
        batch = good.draw(generator)
        batch.noised.latents.mul_(float("nan"))
        return batch

    steps: list[int] = []

    class Watch(Progress):
        def update(self, done: int, total: int, what: str = "") -> None:
            steps.append(done)

    settings = replace(QUICK, steps=60)
    with pytest.raises(UserError, match="learning_rate"):
        learn_tokens(tiny, settings, start(tiny), spoiled, seed=0, progress=Watch())
    assert steps == []
    learn_tokens(tiny, settings, start(tiny), good.draw, seed=0, progress=Watch())
    assert steps == [25, 50, 60]


# -- the hooks -----------------------------------------------------------------------------


class Hooked(TokenMethod[TokenSettings]):
    """Every hook in its plainest form, each noting that it was called."""

    name, title, reference = "hooked", "Hooked", "these tests"
    Settings = TokenSettings
    calls: ClassVar[list[str]] = []

    def layers(self, available: int) -> int:
        self.calls.append(f"layers {available}")
        return available

    def batches(self, fit: Fit) -> DrawBatch:
        draw = super().batches(fit)

        def noting(generator: torch.Generator) -> Batch:
            self.calls.append("batch")
            return draw(generator)

        return noting

    def extra_loss(self, fit: Fit) -> ExtraLoss:
        def pull(vectors: Tensor, batch: Batch, generator: torch.Generator) -> Tensor:
            self.calls.append(f"extra {tuple(vectors.shape[:2])} {len(batch.prompts)} {fit.seed}")
            return 1e4 * vectors.square().sum()

        return pull

    def after_step(self, vectors: Tensor, start: Tensor) -> Tensor:
        self.calls.append(f"after {bool((vectors.abs() < start.abs()).all())}")
        return start


def test_hooks_are_called_in_a_steps_order(tiny: Backbone) -> None:
    Hooked.calls.clear()
    settings = TokenSettings(steps=2, batch_size=3, learning_rate=1e-4)
    method = Hooked(settings)
    learned = method.fit(tiny, tiny_task(), seed=4, progress=SILENT).tensors["vectors"]
    # The extra loss draws every channel towards zero; then the last hook puts it back.
    step = ["batch", "extra (1, 16) 3 4", "after True"]
    assert Hooked.calls == ["layers 16", *step, *step]
    assert torch.equal(learned, method.start(tiny, 16))


class Ruled(TokenMethod[TokenSettings]):
    name, title, reference = "ruled", "Ruled", "these tests"

    def rule(self, gradients: Tensor) -> tuple[Tensor, Tensor]:
        return gradients.mean(0), torch.arange(gradients.shape[-1]).expand(1, 1, -1) < 4


def test_a_rule_gets_each_samples_gradient_and_its_work_is_counted(tiny: Backbone) -> None:
    settings = TokenSettings(steps=2, batch_size=3)
    method = Ruled(settings)
    learned = method.fit(tiny, tiny_task(), seed=0, progress=SILENT).tensors["vectors"]
    moved = (learned != method.start(tiny, 1)).flatten()
    assert moved[:4].all() and not moved[4:].any()
    assert method.fit_work(10, 16) == learning_work(settings, 1, leaves=3)
    free = Hooked(settings)
    assert free.fit_work(10, 2) == learning_work(settings, 2)
    assert learning_work(settings, 2).rows == 6
    assert learning_work(replace(settings, templates_drawn="per-step"), 2).rows == 2


def test_the_norm_is_recorded_as_a_multiple_of_the_vocabularys(tiny: Backbone) -> None:
    table = tiny.pipeline.text_encoder.get_input_embeddings().weight
    median = table.norm(dim=-1).median()
    word = tiny.word_embedding("person")
    tokens = torch.stack([word, 3 * word])[:, None]
    expected = 2 * float(word.norm() / median)
    assert relative_norm(tiny, tokens) == pytest.approx(expected, rel=1e-5)
    method = Ruled(TokenSettings(steps=2, batch_size=1))
    fitted = method.fit(tiny, tiny_task(), seed=0, progress=SILENT)
    recorded = fitted.facts[MEASURES]["relative_norm"]
    assert recorded == pytest.approx(relative_norm(tiny, fitted.tensors["vectors"]), rel=1e-5)
