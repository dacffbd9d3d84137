"""Fits in lockstep: each is what it is alone, and one that fails leaves the others alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor

from actionbench.diffusion.backbone import Backbone
from actionbench.diffusion.shared_text import encode_equal
from actionbench.diffusion.token_learning import (
    Batch,
    ChannelAdamW,
    DrawBatch,
    ExemplarBatches,
    Fit,
    Learner,
    TokenMethod,
    TokenSettings,
    learn_together,
    learn_tokens,
)
from actionbench.errors import UserError
from actionbench.files.models import ModelTraits
from actionbench.method import MEASURES, Customization, FitRequest, Method
from actionbench.plugins.tiny import load_tiny, state_hash, tiny_pipeline, tiny_task
from actionbench.progress import SILENT, Progress
from actionbench.registry import get_method
from actionbench.runs.profiles import configure
from actionbench.suite.items import ActionTask
from methods.adi import ADI

STEPS = 50
POOL = ("pool_steps=1", "pool_sampling_steps=1", "pool_guidance_scale=1", "batch_size=2")
METHODS = {
    "textual-inversion": ("textual-inversion", "batch_size=2"),
    "p-plus": ("p-plus", "batch_size=2", "max_gradient_norm=1e-4", "prompts=caption"),
    "reversion": ("reversion", "batch_size=2"),
    "adi": ("adi", *POOL),
    "adi, frozen channels": (
        *("adi", *POOL, "masked_channels=frozen", "quantile=all"),
        *("layerwise=false", "prompts=template"),
    ),
}


@pytest.fixture(scope="module")
def small_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pipeline of 7 cross-attention layers."""
    return tiny_pipeline(tmp_path_factory.mktemp("model"), levels=2, layers_per_block=1)


@pytest.fixture
def tiny(small_model: Path) -> Backbone:
    return load_tiny(small_model)


@pytest.fixture
def exact(tiny: Backbone) -> Backbone:
    """The pipeline in float64: what company changes beyond rounding shows."""
    for name in tiny.kind.networks:
        torch.nn.Module.to(getattr(tiny.pipeline, name), torch.float64)
    tiny.dtype = torch.float64
    return tiny


def barred() -> ActionTask:
    """A task whose exemplars have bars, so that it has masks."""
    task = tiny_task("salute")
    images = []
    for exemplar in task.exemplars:
        image = Image.new("RGB", (32, 32))
        image.paste(exemplar.image.crop((0, 0, 32, 16)), (0, 8))
        images.append(image)
    made = tuple(replace(e, image=i) for e, i in zip(task.exemplars, images, strict=True))
    return replace(task, exemplars=made)


def requests() -> list[FitRequest]:
    """Three actions; the second has bars and another seed, the third fewer exemplars."""
    tasks = tiny_task("cheer"), barred(), tiny_task("gesture", exemplars=2)
    return [FitRequest(task, seed, SILENT) for task, seed in zip(tasks, (1, 2, 1), strict=True)]


def alone(method: Method[Any], backbone: Backbone, request: FitRequest) -> Customization:
    return method.fit(backbone, request.task, seed=request.seed, progress=SILENT)


@pytest.mark.parametrize("name", METHODS)
def test_a_fit_in_company_is_the_fit_alone(exact: Backbone, name: str) -> None:
    words = METHODS[name]
    method = configure(
        get_method(words[0]), ModelTraits(None), words=(f"steps={STEPS}", *words[1:])
    )
    before = state_hash(exact)
    together = list(method.fit_many(exact, requests()[:2]))
    assert state_hash(exact) == before
    for request, fitted in zip(requests()[:2], together, strict=True):
        assert isinstance(fitted, Customization)
        own = alone(method, exact, request)
        assert fitted.action == own.action == request.task.action.name
        torch.testing.assert_close(
            fitted.tensors["vectors"], own.tensors["vectors"], rtol=0, atol=1e-3
        )
        assert fitted.facts["losses"] == pytest.approx(own.facts["losses"], abs=1e-4)
        assert fitted.facts[MEASURES] == pytest.approx(own.facts[MEASURES], abs=1e-3)
    first, second = (fitted.tensors["vectors"] for fitted in together)  # type: ignore[union-attr]
    assert float((first - second).abs().max()) > 0.01, "fits of their own"


def test_triples_of_several_fits_share_no_gradient(exact: Backbone) -> None:
    """Under one prompt, each fit's samples get the gradient of their own identifier alone."""
    prompt = exact.tokenize("a person {} on the hat")
    words = [exact.word_embedding(word).expand(1, 3, 1, -1) for word in ("stands", "person")]
    leaves = torch.cat([word.expand(2, -1, -1, -1) for word in words]).double().requires_grad_()
    rows: list[int] = []

    def encode(prompts: Sequence[Any], vectors: Tensor) -> Tensor:
        rows.append(len(prompts))
        return exact.encode_prompts(prompts, vectors)

    separate = exact.encode_prompts([prompt] * 4, leaves)
    for sample in range(4):
        states = encode_equal(encode, [prompt] * 4, leaves, [0, 0, 1, 1])
        torch.testing.assert_close(states, separate)
        (own,) = torch.autograd.grad(states[sample].square().sum(), leaves)
        (expected,) = torch.autograd.grad(
            separate[sample].square().sum(), leaves, retain_graph=True
        )
        torch.testing.assert_close(own, expected)
        assert own[sample].any() and not own[[row for row in range(4) if row != sample]].any()
    assert rows == 4 * [2], "each fit's prompt once"


def test_each_fit_has_a_mask_of_its_own() -> None:
    """ADI's masks of two triples are those of each alone."""
    method = ADI()
    gradients = torch.randn(6, 4, 1, 16, generator=torch.Generator().manual_seed(0))
    both = method._masks(gradients)
    assert torch.equal(both[0], method._masks(gradients[:3])[0])
    assert torch.equal(both[1], method._masks(gradients[3:])[0])
    assert not torch.equal(both[0], both[1])


def test_each_identifier_has_a_gradient_norm_of_its_own() -> None:
    settings = TokenSettings(learning_rate=0.03, max_gradient_norm=0.5, epsilon=1.0)
    generator = torch.Generator().manual_seed(0)
    gradients = torch.randn(2, 4, 1, 8, generator=generator) * torch.tensor([1e-3, 1e3])[
        :, None, None, None
    ]  # fmt: skip
    together = torch.ones(2, 4, 1, 8)
    ChannelAdamW(together, settings).step(gradients)
    for row in range(2):
        single = torch.ones(4, 1, 8)
        ChannelAdamW(single, settings).step(gradients[row])
        torch.testing.assert_close(together[row], single)


# -- what fails ----------------------------------------------------------------------------


class Fragile(TokenMethod[TokenSettings]):
    """Textual Inversion that breaks for an action, where a seed of 13 or 14 says so."""

    name, title, reference = "fragile", "Fragile", "these tests"

    def batches(self, fit: Fit) -> DrawBatch:
        draw = super().batches(fit)
        if fit.seed == 12:
            raise UserError("no such exemplars")
        steps: Iterator[int] = iter(range(1000))

        def breaking(generator: torch.Generator) -> Batch:
            batch, step = draw(generator), next(steps)
            if fit.seed == 13 and step == 3:
                batch.noised.latents.mul_(float("nan"))
            if fit.seed == 14 and step == 30:
                raise ZeroDivisionError("a defect")
            return batch

        return breaking


@pytest.mark.parametrize(
    ("seed", "kind", "message"),
    [
        (12, UserError, "no such exemplars"),
        (13, UserError, "no finite number after 25 steps: try a lower learning_rate"),
        (14, ZeroDivisionError, "a defect"),
    ],
)
def test_one_that_fails_leaves_the_others_alone(
    exact: Backbone, seed: int, kind: type[Exception], message: str
) -> None:
    method = Fragile(TokenSettings(steps=STEPS, batch_size=2))
    tasks = [tiny_task("cheer"), tiny_task("salute"), tiny_task("gesture")]
    wanted = [FitRequest(t, s, SILENT) for t, s in zip(tasks, (1, seed, 2), strict=True)]
    first, failed, last = method.fit_many(exact, wanted)
    assert isinstance(failed, kind) and message in str(failed)
    for request, fitted in ((wanted[0], first), (wanted[2], last)):
        assert isinstance(fitted, Customization)
        expected = alone(method, exact, request).tensors["vectors"]
        torch.testing.assert_close(fitted.tensors["vectors"], expected, rtol=0, atol=1e-3)
        assert len(fitted.facts["losses"]) == 2
    with pytest.raises(kind, match=message):
        alone(method, exact, wanted[1])


def test_too_little_memory_concerns_all(tiny: Backbone) -> None:
    class Greedy(Fragile):
        def rule(self, gradients: Tensor) -> tuple[Tensor, None]:
            raise torch.OutOfMemoryError("CUDA out of memory.")

    method = Greedy(TokenSettings(steps=1, batch_size=1))
    with pytest.raises(torch.OutOfMemoryError):
        list(method.fit_many(tiny, requests()))


def test_all_may_fail_and_there_may_be_none(tiny: Backbone) -> None:
    method = Fragile(TokenSettings(steps=30, batch_size=1))
    failed = list(method.fit_many(tiny, [FitRequest(tiny_task(), s, SILENT) for s in (13, 13)]))
    assert [type(outcome) for outcome in failed] == [UserError, UserError]
    assert list(method.fit_many(tiny, [])) == []


def test_learners_with_and_without_a_rule_are_no_lockstep(tiny: Backbone) -> None:
    settings = TokenSettings(steps=1, batch_size=1)
    draw = ExemplarBatches(tiny, tiny_task(), settings).draw
    start = tiny.word_embedding("person").expand(1, 1, -1)
    ruled = Learner(start, draw, 0, rule=lambda gradients: (gradients.mean(0), None))
    with pytest.raises(ValueError, match="all have a rule or none"):
        learn_together(tiny, settings, [ruled, Learner(start, draw, 0)])


# -- the interface -------------------------------------------------------------------------


def test_each_fit_reports_to_its_own_progress(tiny: Backbone) -> None:
    class Watch(Progress):
        def __init__(self) -> None:
            self.steps: list[int] = []

        def update(self, done: int, total: int, what: str = "") -> None:
            self.steps.append(done)

    watches = Watch(), Watch()
    method = Fragile(TokenSettings(steps=30, batch_size=1))
    wanted = [FitRequest(tiny_task(), s, w) for s, w in zip((1, 13), watches, strict=True)]
    list(method.fit_many(tiny, wanted))
    assert [watch.steps for watch in watches] == [[25, 30], []]


def test_one_pass_is_made_for_all(tiny: Backbone) -> None:
    samples: list[int] = []
    tiny.pipeline.unet.register_forward_pre_hook(
        lambda _module, inputs: samples.append(len(inputs[0]))
    )
    method = Fragile(TokenSettings(steps=3, batch_size=2))
    list(method.fit_many(tiny, requests()))
    assert samples == [6, 6, 6]


def test_a_fit_of_a_subclass_is_what_its_fits_are_in_company(tiny: Backbone) -> None:
    class Doubled(Fragile):
        def fit(self, backbone: Backbone, task: ActionTask, **rest: Any) -> Customization:
            fitted = super().fit(backbone, task, **rest)
            return replace(fitted, tensors={"vectors": 2 * fitted.tensors["vectors"]})

    method = Doubled(TokenSettings(steps=2, batch_size=1))
    for request, fitted in zip(requests(), method.fit_many(tiny, requests()), strict=True):
        assert isinstance(fitted, Customization)
        expected = alone(method, tiny, request).tensors["vectors"]
        assert torch.equal(fitted.tensors["vectors"], expected)


def test_by_default_fits_follow_each_other(tiny: Backbone) -> None:
    method = configure(
        get_method("dreambooth"), ModelTraits(None), words=("steps=2", "prior_weight=0")
    )
    assert not method.lockstep
    broken = replace(requests()[1], task=replace(tiny_task(), exemplars=()))
    first, failed, last = method.fit_many(tiny, [requests()[0], broken, requests()[2]])
    assert isinstance(failed, UserError)
    for request, fitted in ((requests()[0], first), (requests()[2], last)):
        assert isinstance(fitted, Customization)
        expected = alone(method, tiny, request).tensors
        assert expected and all(torch.equal(fitted.tensors[k], t) for k, t in expected.items())


def test_alone_is_a_lockstep_of_one(tiny: Backbone) -> None:
    settings = TokenSettings(steps=4, batch_size=2)
    start = tiny.word_embedding("person").expand(1, 1, -1)
    draw = ExemplarBatches(tiny, tiny_task(), settings).draw
    single = learn_tokens(tiny, settings, start, draw, seed=3, progress=SILENT)
    (one,) = learn_together(tiny, settings, [Learner(start, draw, 3)])
    assert not isinstance(one, Exception) and torch.equal(one.vectors, single.vectors)
