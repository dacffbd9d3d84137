from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from actionbench.diffusion.backbone import Backbone
from actionbench.diffusion.denoising import Noised, losses
from actionbench.diffusion.exemplars import Exemplars
from actionbench.diffusion.finetune import restored, train_unet
from actionbench.diffusion.token_learning import ChannelAdamW, Fit
from actionbench.errors import UserError
from actionbench.files.models import ModelSource
from actionbench.method import MEASURES
from actionbench.plugins.tiny import state_hash, tiny_pipeline, tiny_task
from actionbench.progress import SILENT
from actionbench.suite.items import Action
from methods.adi import ADI, Settings, Triples, disentangling_mask
from methods.adi_pool import (
    action_different_pool,
    exemplar_draw,
    other_actions,
    pool_prompts,
    rare_words,
)

QUICK = Settings(steps=3, pool_steps=2, pool_sampling_steps=2)

# Two layers of five channels. With beta = 0.4 two of five are masked: by the context mask the
# two largest differences, by the action mask the two smallest.
CONTEXT = torch.tensor([[[1.0, 2.0, 3.0, 4.0, 5.0]], [[60.0, 50.0, 40.0, 30.0, 20.0]]])
ACTION = torch.tensor([[[5.0, 1.0, 4.0, 2.0, 3.0]], [[0.1, 0.2, 0.3, 0.4, 0.5]]])


def masks(merge: str, per_layer: bool = True, beta: float = 0.4) -> list[list[int]]:
    mask = disentangling_mask(CONTEXT, ACTION, beta=beta, merge=merge, per_layer=per_layer)
    return mask[:, 0].int().tolist()  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("merge", "expected"),
    [
        ("context", [[1, 1, 1, 0, 0], [0, 0, 1, 1, 1]]),
        ("action", [[1, 0, 1, 0, 1], [0, 0, 1, 1, 1]]),
        ("intersection", [[1, 0, 1, 0, 0], [0, 0, 1, 1, 1]]),
        ("union", [[1, 1, 1, 0, 1], [0, 0, 1, 1, 1]]),
        ("none", [[1, 1, 1, 1, 1], [1, 1, 1, 1, 1]]),
    ],
)
def test_masks_by_layer_worked_out_by_hand(merge: str, expected: list[list[int]]) -> None:
    assert masks(merge) == expected


@pytest.mark.parametrize(
    ("merge", "expected"),
    [
        # Four of ten are masked: 60, 50, 40, 30 of the context, 0.1, 0.2, 0.3, 0.4 of the action.
        ("context", [[1, 1, 1, 1, 1], [0, 0, 0, 0, 1]]),
        ("action", [[1, 1, 1, 1, 1], [0, 0, 0, 0, 1]]),
        ("intersection", [[1, 1, 1, 1, 1], [0, 0, 0, 0, 1]]),
    ],
)
def test_masks_over_all_layers_worked_out_by_hand(merge: str, expected: list[list[int]]) -> None:
    assert masks(merge, per_layer=False) == expected


@pytest.mark.parametrize("per_layer", [True, False])
@pytest.mark.parametrize("beta", [0.0, 0.3, 0.6, 1.0])
def test_the_share_is_exact_even_where_all_values_are_equal(beta: float, per_layer: bool) -> None:
    equal = torch.zeros(4, 1, 10)
    for merge in ("context", "action"):
        mask = disentangling_mask(equal, equal, beta=beta, merge=merge, per_layer=per_layer)
        assert int((~mask).sum()) == round(40 * beta)


def gradients() -> Tensor:
    anchor = torch.full((2, 1, 5), 7.0)
    return torch.stack([anchor, anchor - CONTEXT, anchor + ACTION])


def test_the_update_is_the_anchors_gradient_alone_under_the_mask() -> None:
    frozen = replace(QUICK, beta=0.4, masked_channels="frozen")
    update, moving = ADI(frozen).rule(gradients())
    expected = torch.tensor(masks("intersection"))[:, None]
    assert torch.equal(update, 7.0 * expected)
    assert torch.equal(moving, expected.bool())
    assert Settings().masked_channels == "zero-gradient", "as the equation has it"
    free, everywhere = ADI(replace(QUICK, beta=0.4)).rule(gradients())
    assert torch.equal(free, update) and everywhere is None
    everything, _ = ADI(replace(QUICK, merge="none")).rule(gradients())
    assert torch.equal(everything, torch.full((2, 1, 5), 7.0))


def test_each_triple_of_a_step_has_a_mask_of_its_own() -> None:
    other = gradients().flip(-1)
    method = ADI(replace(QUICK, beta=0.4, batch_size=2, masked_channels="frozen"))
    update, moving = method.rule(torch.cat([gradients(), other]))
    single = [method.rule(g) for g in (gradients(), other)]
    assert torch.equal(update, (single[0][0] + single[1][0]) / 2)
    assert torch.equal(moving, single[0][1] | single[1][1])


def test_the_share_of_channels_kept_is_noted_for_each_fit(tiny: Backbone) -> None:
    method = ADI(replace(QUICK, beta=0.4, batch_size=2))
    fit = Fit(tiny, tiny_task(), 0, SILENT)
    rule = method.rule_for(fit)
    both = torch.cat([gradients(), gradients().flip(-1)])
    update, _ = rule(both)
    assert torch.equal(update, method.rule(both)[0])
    ADI(replace(QUICK, beta=1.0)).rule_for(fit)(gradients())
    # Two and three of five channels in the two layers, then none.
    assert fit.measures == {"channels_kept": pytest.approx((0.5 + 0.0) / 2)}
    fitted = ADI(QUICK).fit(tiny, tiny_task(), seed=0, progress=SILENT)
    measures = fitted.facts[MEASURES]
    assert measures.keys() == {"channels_kept", "relative_norm"}
    assert 0 < measures["channels_kept"] < 0.4, "an intersection keeps less than either mask"


@pytest.mark.parametrize("masked_channels", ["frozen", "zero-gradient"])
def test_what_a_masked_channel_does(tiny: Backbone, masked_channels: str) -> None:
    """With all channels masked after a first free step, frozen ones stay and others drift."""
    settings = replace(QUICK, masked_channels=masked_channels, learning_rate=0.1)
    vectors = torch.ones(2, 1, 5)
    optimizer = ChannelAdamW(vectors, settings)
    optimizer.step(*ADI(replace(settings, merge="none")).rule(gradients()))
    before = vectors.clone()
    optimizer.step(*ADI(replace(settings, beta=1.0)).rule(gradients()))
    assert torch.equal(vectors, before) == (masked_channels == "frozen")


def test_one_batched_backward_equals_three(tiny: Backbone) -> None:
    triples = Triples(tiny, tiny_task(), QUICK, 0, SILENT)
    batch = triples.draw(torch.Generator().manual_seed(5))
    vectors = torch.randn(16, 1, tiny.width, generator=torch.Generator().manual_seed(0))
    leaves = vectors.repeat(3, 1, 1, 1).requires_grad_()
    total = losses(tiny, batch.noised, tiny.encode_prompts(batch.prompts, leaves)).sum()
    (together,) = torch.autograd.grad(total, leaves)
    for row in range(3):
        leaf = vectors.clone()[None].requires_grad_()
        one = Noised(
            batch.noised.latents[row : row + 1],
            batch.noised.timesteps[row : row + 1],
            batch.noised.target[row : row + 1],
        )
        loss = losses(tiny, one, tiny.encode_prompts([batch.prompts[row]], leaf))
        (alone,) = torch.autograd.grad(loss.sum(), leaf)
        torch.testing.assert_close(together[row], alone[0], rtol=1e-3, atol=1e-6)


def test_a_triple_is_what_the_paper_says(tiny: Backbone) -> None:
    task = tiny_task(exemplars=4)
    triples = Triples(tiny, task, replace(QUICK, batch_size=5), 0, SILENT)
    captions = {tiny.tokenize(e.template): n for n, e in enumerate(task.exemplars[:3])}
    triples.latents.std.zero_()
    generator = torch.Generator().manual_seed(0)
    batch = triples.draw(generator)
    schedule = tiny.noise_schedule
    kept = schedule.alphas_cumprod[batch.noised.timesteps].view(-1, 1, 1, 1)
    clean = (batch.noised.latents - (1 - kept).sqrt() * batch.noised.target) / kept.sqrt()
    for number in range(5):
        anchor, context, action = clean[3 * number : 3 * number + 3]
        steps = batch.noised.timesteps[3 * number : 3 * number + 3]
        assert len(steps.unique()) == 1, "the triple shares its timestep"
        distances = (triples.latents.mean - anchor).flatten(1).norm(dim=1)
        who = int(distances.argmin())
        other = int((triples.latents.mean - context).flatten(1).norm(dim=1).argmin())
        pooled = (triples.pool - action).flatten(2).norm(dim=2)
        assert who != other
        assert int(pooled.min(dim=1).values.argmin()) == who, "from the anchor's own pool"
        # Captions repeat after three exemplars; the anchor's stands under the third sample too.
        assert captions[batch.prompts[3 * number]] == who % 3
        assert captions[batch.prompts[3 * number + 1]] == other % 3
        assert batch.prompts[3 * number + 2] == batch.prompts[3 * number]


def test_the_pool_and_the_learning_loop_do_not_draw_the_same_numbers(
    tiny: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    seeds: list[int] = []

    def keep(*words: object, seed: int, **more: object) -> Tensor:
        seeds.append(seed)
        return action_different_pool(*words, seed=seed, **more)  # type: ignore[arg-type]

    monkeypatch.setattr("methods.adi.action_different_pool", keep)
    Triples(tiny, tiny_task(), QUICK, 7, SILENT)
    (seed,) = seeds
    pool, loop = (torch.rand(4, generator=torch.Generator().manual_seed(s)) for s in (seed, 7))
    assert not torch.equal(pool, loop)


def test_one_exemplar_is_too_few(tiny: Backbone) -> None:
    with pytest.raises(UserError, match="two exemplars"):
        ADI(QUICK).fit(tiny, tiny_task(exemplars=1), seed=0, progress=SILENT)


@pytest.mark.parametrize(("layerwise", "layers"), [(True, 16), (False, 1)])
def test_layerwise_or_one_token(tiny: Backbone, layerwise: bool, layers: int) -> None:
    fitted = ADI(replace(QUICK, layerwise=layerwise)).fit(
        tiny, tiny_task(), seed=0, progress=SILENT
    )
    assert fitted.tensors["vectors"].shape == (layers, 1, tiny.width)


# -- the pool ------------------------------------------------------------------------------


def test_the_learned_action_is_left_out_of_the_pool() -> None:
    pool = ("stands", "squats", "waves")
    assert other_actions(Action("squat", "squats"), pool) == ["stands", "waves"]
    assert other_actions(Action("handstand", "performs a handstand"), pool) == list(pool)
    assert other_actions(Action("greet", "waves a hand"), pool) == ["stands", "squats"]
    with pytest.raises(UserError, match="no action besides"):
        other_actions(Action("squat", "squats"), ("squat",))


def test_rare_words_are_distinct() -> None:
    assert len(set(rare_words(60))) == 60


def test_the_prompts_of_the_pool() -> None:
    task = tiny_task(exemplars=2)
    few = replace(QUICK, pool_actions=("stands", "cheers"))
    instances, wanted = pool_prompts(task, few)
    assert instances == [f"a {w} person raises both arms for cheering" for w in rare_words(2)]
    assert wanted == [[f"a {w} person stands"] for w in rare_words(2)]
    instances, _ = pool_prompts(task, replace(few, pool_describes_action=False))
    assert instances == [f"a {w} person" for w in rare_words(2)]
    instances, wanted = pool_prompts(task, replace(few, pool_prompts="caption"))
    assert instances == [e.caption for e in task.exemplars]
    assert wanted[1] == ["a person with green hair stands on the hat"]
    with pytest.raises(UserError, match="pool_subject"):
        pool_prompts(task, replace(few, pool_subject="a person"))


@pytest.mark.parametrize("pool", ["per-anchor", "joint"])
def test_the_pool_has_each_anchor_in_each_other_action(tiny: Backbone, pool: str) -> None:
    task = tiny_task("squat")
    anchors = Exemplars(tiny, task)
    settings = replace(QUICK, pool=pool, pool_images=2)
    before = state_hash(tiny)

    def make(seed: int) -> Tensor:
        tiny.drawn.clear()
        return action_different_pool(tiny, task, anchors, settings, seed=seed, progress=SILENT)

    latents = make(0)
    assert latents.shape == (3, 6, 4, 4, 4)  # stands, waves, smiles, two of each
    assert len(latents.flatten(0, 1).unique(dim=0)) == 18
    assert torch.equal(latents, make(0))
    assert state_hash(tiny) == before


def test_fits_that_differ_in_other_settings_share_a_pool(tiny: Backbone) -> None:
    tiny.drawn.clear()
    own = Triples(tiny, tiny_task(), QUICK, 0, SILENT).pool
    shared = Triples(tiny, tiny_task(), replace(QUICK, beta=0.2, merge="none"), 0, SILENT).pool
    assert shared is own
    tiny.drawn.clear()
    ADI(QUICK).fit(tiny, tiny_task(), seed=7, progress=SILENT)
    assert ADI(replace(QUICK, beta=0.2)).shared(tiny_task(), 7) == tuple(tiny.drawn)
    for settings, seed in ((replace(QUICK, pool_steps=1), 0), (QUICK, 1)):
        assert not torch.equal(Triples(tiny, tiny_task(), settings, seed, SILENT).pool, own)
    other = Triples(tiny, tiny_task(exemplars=2), QUICK, 0, SILENT).pool
    assert other.shape != own.shape


def test_dreambooth_learns_and_is_undone_bit_for_bit_even_after_an_error(tiny: Backbone) -> None:
    anchors = tiny.encode_images([e.image for e in tiny_task().exemplars])
    before = state_hash(tiny)
    unet = tiny.pipeline.unet
    weights = {name: tensor.clone() for name, tensor in unet.state_dict().items()}
    with pytest.raises(KeyboardInterrupt), restored(unet):
        train_unet(
            tiny,
            exemplar_draw(tiny, anchors, ["a red man"] * 3, 2),
            steps=2,
            learning_rate=1e-2,
            generator=torch.Generator().manual_seed(0),
        )
        changed = [n for n, t in unet.state_dict().items() if not torch.equal(t, weights[n])]
        assert len(changed) > 0.9 * len(weights), "the whole UNet learns"
        raise KeyboardInterrupt
    assert state_hash(tiny) == before


def test_dreambooth_adds_up_steps_that_half_precision_rounds_away(tmp_path: Path) -> None:
    """A norm's weight is 1: its nearest bfloat16 neighbour is 0.004 away, four times a step."""
    source = ModelSource(tiny_pipeline(tmp_path), "tiny", None, "tiny")
    backbone = Backbone.load(source, dtype="bfloat16")
    anchors = backbone.encode_images([tiny_task().exemplars[0].image])
    batch = exemplar_draw(backbone, anchors, ["a red man"], 2)(torch.Generator().manual_seed(0))
    unet = backbone.pipeline.unet
    norms = [p for name, p in unet.named_parameters() if "norm" in name and "weight" in name]
    with restored(unet):
        train_unet(
            backbone,
            lambda _: batch,
            steps=20,
            learning_rate=1e-3,
            generator=torch.Generator().manual_seed(0),
        )
        moved = torch.cat([weight != 1 for weight in norms]).float().mean()
        assert {weight.dtype for weight in norms} == {torch.bfloat16}
        assert moved > 0.2
    assert all(bool((weight == 1).all()) for weight in norms)


def test_dreambooth_lowers_the_loss_on_its_image(tiny: Backbone) -> None:
    anchors = tiny.encode_images([tiny_task().exemplars[0].image])
    draw = exemplar_draw(tiny, anchors, ["a red man"], 4)

    def loss() -> float:
        from actionbench.diffusion.denoising import add_noise

        generator = torch.Generator().manual_seed(9)
        batch = draw(generator)
        with torch.no_grad():
            noised = add_noise(tiny, batch.latents, generator)
            return float(losses(tiny, noised, batch.states).mean())

    first = loss()
    with restored(tiny.pipeline.unet):
        train_unet(
            tiny,
            draw,
            steps=30,
            learning_rate=3e-3,
            generator=torch.Generator().manual_seed(0),
        )
        assert loss() < 0.9 * first
    assert np.isclose(loss(), first)


def test_dreambooth_stops_at_a_loss_that_is_no_number(tiny: Backbone) -> None:
    anchors = tiny.encode_images([tiny_task().exemplars[0].image])
    before = state_hash(tiny)
    with pytest.raises(UserError, match="learning rate"), restored(tiny.pipeline.unet):
        train_unet(
            tiny,
            exemplar_draw(tiny, anchors, ["a red man"], 1),
            steps=4,
            learning_rate=1e30,
            generator=torch.Generator().manual_seed(0),
        )
    assert state_hash(tiny) == before
