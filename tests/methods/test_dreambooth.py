from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from actionbench.diffusion.backbone import Backbone
from actionbench.diffusion.finetune import (
    FinetuneBatch,
    changed_weights,
    class_latents,
    finetune,
    restored,
    train_unet,
    weight_changes,
    with_prior,
)
from actionbench.errors import UserError
from actionbench.files.models import ModelSource
from actionbench.plugins.tiny import state_hash, tiny_items, tiny_pipeline, tiny_task
from actionbench.progress import SILENT, Progress
from actionbench.runs.record import FitCost
from actionbench.runs.store import Store
from actionbench.suite.items import SLOT
from methods.dreambooth import DreamBooth, Settings

QUICK = Settings(steps=3, batch_size=2, learning_rate=3e-3, class_images=3, class_sampling_steps=2)


def pixels(images: Any) -> np.ndarray:
    return np.stack([np.asarray(i, dtype=np.int16) for i in images])


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# -- prior preservation --------------------------------------------------------------------


def test_the_prior_term_by_hand(tiny: Backbone) -> None:
    """Two exemplars, two class images: (1 + 3) / 2 + 0.5 * (10 + 20) / 2 = 9.5."""
    draw = DreamBooth(QUICK).exemplars(tiny, tiny_task())
    batch = with_prior(tiny, draw, replace(QUICK, prior_weight=0.5), SILENT)(seeded())
    assert float(batch.loss(torch.tensor([1.0, 3.0, 10.0, 20.0]))) == 9.5
    assert float(draw(seeded()).loss(torch.tensor([1.0, 3.0]))) == 2.0


def test_class_images_follow_the_exemplars_under_their_own_prompt(tiny: Backbone) -> None:
    draw = DreamBooth(QUICK).exemplars(tiny, tiny_task())
    images = class_latents(tiny, QUICK, SILENT)
    alone, both = draw(seeded()), with_prior(tiny, draw, QUICK, SILENT)(seeded())
    assert torch.equal(both.latents[:2], alone.latents)
    assert torch.equal(both.states[:2], alone.states)
    assert all(any(torch.equal(row, image) for image in images) for row in both.latents[2:])
    person = tiny.encode_prompts([tiny.tokenize("a person")])
    assert torch.equal(both.states[2:], person.expand(2, -1, -1))


def test_class_images_are_drawn_once_for_all_fits(
    tiny: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[int] = []
    sample = tiny.sample_latents

    def counted(states: Tensor, seeds: Sequence[int], *more: Any) -> Tensor:
        drawn.extend(seeds)
        return sample(states, seeds, *more)

    monkeypatch.setattr(tiny, "sample_latents", counted)
    tiny.batch_size = 2
    for seed in range(2):
        DreamBooth(QUICK).fit(tiny, tiny_task(), seed=seed, progress=SILENT)
    assert drawn == [0, 1, 2]
    assert DreamBooth(QUICK).shared(tiny_task(), 0) == tuple(tiny.drawn)
    first = class_latents(tiny, QUICK, SILENT)
    tiny.drawn.clear()
    tiny.batch_size = 3
    torch.testing.assert_close(class_latents(tiny, QUICK, SILENT), first, rtol=1e-3, atol=1e-4)
    other = class_latents(tiny, replace(QUICK, class_prompt="a dog"), SILENT)
    assert not torch.allclose(other, first, atol=1e-2)
    drawn.clear()
    free = replace(QUICK, prior_weight=0.0, class_images=5)
    DreamBooth(free).fit(tiny, tiny_task(), seed=0, progress=SILENT)
    assert drawn == [] and DreamBooth(free).shared(tiny_task(), 0) == ()


# -- prompts -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("prompts", "expected"),
    [
        ("template", {"a person sks"}),
        ("caption", {f"a person with {c} hair sks on the hat" for c in ("red", "green", "blue")}),
    ],
)
def test_it_is_trained_under_the_rare_word(
    tiny: Backbone, prompts: str, expected: set[str]
) -> None:
    draw = DreamBooth(replace(QUICK, prompts=prompts, batch_size=8)).exemplars(tiny, tiny_task())
    states = draw(seeded()).states
    under = {t: tiny.encode_prompts([tiny.tokenize(t)])[0] for t in expected}
    found = {t for row in states for t, s in under.items() if torch.allclose(row, s, atol=1e-4)}
    assert found == expected
    assert all(
        any(torch.allclose(row, state, atol=1e-4) for state in under.values()) for row in states
    )


def test_it_draws_the_subject_with_the_rare_word(tiny: Backbone) -> None:
    method, items = DreamBooth(replace(QUICK, rare_word="zwx")), tiny_items(count=2)
    fitted = method.fit(tiny, tiny_task(), seed=0, progress=SILENT)
    fitted.tensors.clear()  # type: ignore[attr-defined]
    prompts = [item.slot_prompt.replace(SLOT, "zwx") for item in items]
    expected = pixels(tiny.generate(prompts, [item.seed for item in items]))
    assert np.array_equal(pixels(method.generate(tiny, fitted, items)), expected)


# -- training ------------------------------------------------------------------------------


def test_the_whole_unet_moves_and_comes_back(tiny: Backbone) -> None:
    before = state_hash(tiny)
    fitted = DreamBooth(QUICK).fit(tiny, tiny_task(), seed=0, progress=SILENT)
    assert state_hash(tiny) == before
    names = {name for name, _ in tiny.pipeline.unet.named_parameters()}
    assert fitted.tensors.keys() <= names
    assert len(fitted.tensors) > 0.9 * len(names)
    assert {tensor.dtype for tensor in fitted.tensors.values()} == {torch.float16}
    assert len(fitted.facts["losses"]) == 1


def test_only_the_parameters_that_are_named_move(tiny: Backbone) -> None:
    unet = tiny.pipeline.unet
    name = "conv_in.weight"
    draw = DreamBooth(QUICK).exemplars(tiny, tiny_task())
    fitted = finetune(
        tiny,
        QUICK,
        draw,
        learning_rate=1e-2,
        parameters=[unet.get_parameter(name)],
        generator=seeded(),
        progress=SILENT,
    )
    assert fitted.changes.keys() == {name}


def test_what_is_kept_is_the_change_to_a_2000th_part(tiny: Backbone) -> None:
    """The weights themselves in float16 would be off by far more."""
    unet = tiny.pipeline.unet
    draw = DreamBooth(QUICK).exemplars(tiny, tiny_task())
    with restored(unet) as before:
        train_unet(tiny, draw, steps=3, learning_rate=1e-5, generator=seeded())
        after = {name: tensor.clone() for name, tensor in unet.state_dict().items()}
        changes = weight_changes(unet, before)
    made = changed_weights(tiny, changes)
    wrong = sum(float((made[n] - after[n]).abs().sum()) for n in changes)
    moved = sum(float((before[n] - after[n]).abs().sum()) for n in changes)
    rounded = sum(float((after[n].half() - after[n]).abs().sum()) for n in changes)
    assert wrong < 0.01 * moved < 0.1 * rounded


def test_a_loss_that_is_no_number_stops_the_fit_soon(tiny: Backbone) -> None:
    reported: list[tuple[int, int, str]] = []

    class Watch(Progress):
        def update(self, done: int, total: int, what: str = "") -> None:
            reported.append((done, total, what))

    before = state_hash(tiny)
    with pytest.raises(UserError, match=r"no finite number after 25 steps: try a lower learning"):
        DreamBooth(replace(QUICK, steps=60, batch_size=1, learning_rate=1e30)).fit(
            tiny, tiny_task(), seed=0, progress=Watch()
        )
    assert state_hash(tiny) == before
    assert reported == [(3, 3, "class images"), *((step, 60, "learning") for step in range(1, 25))]


def test_weights_of_the_samples_and_the_mean_are_the_same_step(tiny: Backbone) -> None:
    """Without a prior, weights of one half each must give what the plain mean gives."""
    plain = DreamBooth(QUICK).exemplars(tiny, tiny_task())

    def weighted(generator: torch.Generator) -> FinetuneBatch:
        return replace(plain(generator), weights=torch.full((2,), 0.5))

    settings = replace(QUICK, prior_weight=0.0, steps=2)
    name = "conv_in.weight"
    changes = [
        finetune(
            tiny,
            settings,
            draw,
            learning_rate=1e-3,
            parameters=[tiny.pipeline.unet.get_parameter(name)],
            generator=seeded(),
            progress=SILENT,
        ).changes[name]
        for draw in (plain, weighted)
    ]
    torch.testing.assert_close(changes[0], changes[1], rtol=1e-2, atol=1e-6)


# -- drawing -------------------------------------------------------------------------------


def test_what_is_stored_draws_what_was_fitted(tiny: Backbone, tmp_path: Path) -> None:
    method, items = DreamBooth(QUICK), tiny_items(count=2)
    fitted = method.fit(tiny, tiny_task(), seed=0, progress=SILENT)
    images = pixels(method.generate(tiny, fitted, items))
    store = Store(tmp_path)
    store.prepare()
    store.save_fit("key", fitted, FitCost(1.0))
    loaded = store.load_fit("key", method="dreambooth", action="cheer", model="tiny")
    assert np.array_equal(pixels(method.generate(tiny, loaded, items)), images)
    fitted.tensors.clear()  # type: ignore[attr-defined]
    assert np.abs(pixels(method.generate(tiny, fitted, items)) - images).max() > 1


def test_the_backbone_is_itself_whenever_an_image_is_handed_out(tiny: Backbone) -> None:
    """Two customizations draw in turns, one of them stops half way."""
    method, items = DreamBooth(QUICK), tiny_items(count=3)
    tiny.batch_size = 2
    before = state_hash(tiny)
    fits = [method.fit(tiny, tiny_task(), seed=seed, progress=SILENT) for seed in (0, 1)]
    alone = [pixels(method.generate(tiny, fitted, items)) for fitted in fits]
    first, second = (method.generate(tiny, fitted, items) for fitted in fits)
    mixed: list[list[Any]] = [[], []]
    for _ in range(2):
        mixed[0].append(next(first))
        mixed[1].append(next(second))
        assert state_hash(tiny) == before
    mixed[0].append(next(first))
    assert np.array_equal(pixels(mixed[0]), alone[0])
    assert np.array_equal(pixels(mixed[1]), alone[1][:2])
    assert not np.array_equal(alone[0], alone[1])


def test_changes_are_added_once_for_all_images(
    tiny: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []

    def counted(*words: Any) -> dict[str, Tensor]:
        calls.append(1)
        return changed_weights(*words)

    monkeypatch.setattr("actionbench.diffusion.finetune.changed_weights", counted)
    method = DreamBooth(QUICK)
    fitted = method.fit(tiny, tiny_task(), seed=0, progress=SILENT)
    tiny.batch_size = 1
    list(method.generate(tiny, fitted, tiny_items(count=3)))
    assert calls == [1]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("conv_in.weight", r"changes conv_in.weight \(2, 3\), which is \(8, 4, 3, 3\) there"),
        ("vectors", r"changes vectors \(2, 3\), which is missing there"),
    ],
)
def test_a_customization_of_another_unet_is_refused(
    tiny: Backbone, name: str, message: str
) -> None:
    method = DreamBooth(replace(QUICK, steps=1))
    fitted = method.fit(tiny, tiny_task(), seed=0, progress=SILENT)
    fitted.tensors[name] = torch.zeros(2, 3)  # type: ignore[index]
    before = state_hash(tiny)
    with pytest.raises(UserError, match=f"does not fit the UNet of tiny: it {message}"):
        next(method.generate(tiny, fitted, tiny_items()))
    assert state_hash(tiny) == before


def test_half_precision(tmp_path: Path) -> None:
    source = ModelSource(tiny_pipeline(tmp_path), "tiny", None, "tiny")
    backbone = Backbone.load(source, dtype="bfloat16")
    before = {n: t.clone() for n, t in backbone.pipeline.unet.state_dict().items()}
    method = DreamBooth(QUICK)
    fitted = method.fit(backbone, tiny_task(), seed=0, progress=SILENT)
    assert changed_weights(backbone, fitted.tensors)["conv_in.weight"].dtype == torch.bfloat16
    assert len(list(method.generate(backbone, fitted, tiny_items(count=1)))) == 1
    after = backbone.pipeline.unet.state_dict()
    assert all(torch.equal(after[name], before[name]) for name in before)
