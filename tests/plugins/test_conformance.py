"""methods check: the built-ins keep every promise, and each broken one is caught by its check."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch

from actionbench.diffusion.backbone import Backbone
from actionbench.diffusion.token_learning import DrawBatch, Fit
from actionbench.method import Customization, FitRequest, Method
from actionbench.plugins.conformance import (
    CHECKS,
    PIPELINES,
    CheckResult,
    check_method,
    quick_settings,
)
from actionbench.settings import setting
from actionbench.suite.items import ActionTask, Item
from methods.adi import Settings as ADISettings
from methods.textual_inversion import TextualInversion

ROOT = Path(__file__).resolve().parents[2]
BUILT_IN = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"][
    "actionbench.methods"
]


def failed(method: type[Method[Any]]) -> dict[str, str]:
    """The problems of a method on one pipeline, by check."""
    results = check_method(method, pipelines=["epsilon"])
    assert [result.check for result in results] == [*CHECKS], "each is reported"
    return {o.check: o.problem for o in results if o.problem is not None}


@pytest.mark.parametrize("name", BUILT_IN)
def test_built_ins_keep_every_promise_on_every_pipeline(name: str) -> None:
    module, _, cls = BUILT_IN[name].partition(":")
    state = torch.get_rng_state()
    method = getattr(import_module(module), cls)
    results = check_method(method)
    claimed = [how for how in PIPELINES.values() if how.kind.name in method.kinds]
    assert len(results) == len(CHECKS) * len(claimed) and len(claimed) > 2
    assert [o for o in results if not o.passed] == []
    assert torch.equal(torch.get_rng_state(), state), "the caller's randomness is its own"


def test_pipelines_differ_in_prediction_and_layers(tmp_path: Path) -> None:
    from actionbench.plugins.tiny import load_tiny

    made = [load_tiny(how.make(tmp_path / name)) for name, how in PIPELINES.items()]
    assert [b.kind for b in made] == [how.kind for how in PIPELINES.values()]
    assert [backbone.prediction_type for backbone in made] == [
        "epsilon",
        "v_prediction",
        "epsilon",
        "epsilon",
        "epsilon",
        "flow",
        "flow",
    ]
    assert [len(backbone.layers) for backbone in made] == [7, 7, 16, 4, 3, 3, 3]


def test_any_methods_cost_is_shrunk() -> None:
    quick = quick_settings(ADISettings, {"pool_steps": 7}, beta=0.2)
    assert (quick.steps, quick.pool_steps, quick.pool_sampling_steps) == (2, 7, 2)
    assert (quick.batch_size, quick.pool_images) == (1, 1), "what is less stays"
    assert quick.beta == 0.2 and quick.pool == "per-anchor"

    @dataclass(frozen=True)
    class Needy:
        images: int = setting(10, "at least five", low=5)

    assert quick_settings(Needy, {}).images == 5


class ChangesWeights(TextualInversion):
    def fit(self, backbone: Backbone, task: ActionTask, **rest: Any) -> Customization:
        learned = super().fit(backbone, task, **rest)
        with torch.no_grad():
            backbone.pipeline.unet.conv_in.weight[0, 0, 0, 0] += 1e-3
        backbone.pipeline.vae.requires_grad_(True)
        return learned


class LeavesHook(TextualInversion):
    """Only if the drawing stops half way: its last line is then never reached."""

    def generate(
        self, backbone: Backbone, customization: Customization, items: Sequence[Item]
    ) -> Iterator[Any]:
        handle = backbone.pipeline.unet.register_forward_hook(lambda *_: None)
        yield from super().generate(backbone, customization, items)
        handle.remove()


class ChangesSchedule(TextualInversion):
    def generate(
        self, backbone: Backbone, customization: Customization, items: Sequence[Item]
    ) -> Iterator[Any]:
        backbone.pipeline.scheduler.register_to_config(steps_offset=0)
        return super().generate(backbone, customization, items)


class IgnoresSeed(TextualInversion):
    def generate(
        self, backbone: Backbone, customization: Customization, items: Sequence[Item]
    ) -> Iterator[Any]:
        prompts = [item.slot_prompt for item in items]
        return backbone.generate(prompts, [7] * len(items), customization.tensors["vectors"])


class SeedsByPlace(TextualInversion):
    def generate(
        self, backbone: Backbone, customization: Customization, items: Sequence[Item]
    ) -> Iterator[Any]:
        prompts = [item.slot_prompt for item in items]
        places = list(range(len(items)))
        return backbone.generate(prompts, places, customization.tensors["vectors"])


class GlobalNoise(TextualInversion):
    def fit(self, backbone: Backbone, task: ActionTask, **rest: Any) -> Customization:
        learned = super().fit(backbone, task, **rest)
        vectors = learned.tensors["vectors"]
        return replace(learned, tensors={"vectors": vectors + 0.01 * torch.randn(vectors.shape)})


class KeepsToItself(TextualInversion):
    """What it learned stays in the object."""

    def fit(self, backbone: Backbone, task: ActionTask, **rest: Any) -> Customization:
        learned = super().fit(backbone, task, **rest)
        self.kept = learned
        return replace(learned, tensors={})

    def generate(
        self, backbone: Backbone, customization: Customization, items: Sequence[Item]
    ) -> Iterator[Any]:
        return super().generate(backbone, self.kept, items)


class KeepsFitOnSelf(TextualInversion):
    """Its batches are those of whichever fit was prepared last."""

    def batches(self, fit: Fit) -> DrawBatch:
        self.fit_at_hand = fit
        return lambda generator: super(KeepsFitOnSelf, self).batches(self.fit_at_hand)(generator)


class KeepsFirstExemplars(TextualInversion):
    """A fit alone on a new object is right, and the next on the same one is not."""

    kept: ActionTask | None = None

    def fit(self, backbone: Backbone, task: ActionTask, **rest: Any) -> Customization:
        self.kept = self.kept or task
        shown = replace(task, exemplars=self.kept.exemplars)
        return super().fit(backbone, shown, **rest)


class LosesOne(TextualInversion):
    def fit_many(
        self, backbone: Backbone, requests: Sequence[FitRequest]
    ) -> Iterator[Customization | Exception]:
        return super().fit_many(backbone, requests[:1])


class DeafToSettings(TextualInversion):
    def fit(self, backbone: Backbone, task: ActionTask, **rest: Any) -> Customization:
        plain = TextualInversion(quick_settings(TextualInversion.Settings, {}))
        return plain.fit(backbone, task, **rest)


class FailsOnOddInput(TextualInversion):
    def fit(self, backbone: Backbone, task: ActionTask, **rest: Any) -> Customization:
        first, _ = task.exemplars[:2]
        assert first
        return super().fit(backbone, task, **rest)

    def generate(
        self, backbone: Backbone, customization: Customization, items: Sequence[Item]
    ) -> Iterator[Any]:
        size = max(len(item.slot_prompt) for item in items)
        assert size
        return super().generate(backbone, customization, items)


class RaisesWhenDiverging(TextualInversion):
    def fit(self, backbone: Backbone, task: ActionTask, **rest: Any) -> Customization:
        if self.settings.learning_rate > 1:
            raise OverflowError("loss is nan")
        return super().fit(backbone, task, **rest)


@pytest.mark.parametrize(
    ("method", "problems"),
    [
        (
            ChangesWeights,
            {"backbone after fit": "the fit changed: vae requires_grad, unet weights"},
        ),
        (
            LeavesHook,
            {"backbone after drawing": "drawing that stopped after one image changed: unet hooks"},
        ),
        (ChangesSchedule, {"backbone after drawing": "drawing changed: scheduler config"}),
        (IgnoresSeed, {"item seeds": "items with one prompt and different seeds gave the same"}),
        (SeedsByPlace, {"batch size and order": "in batches of 1 and another order, images diff"}),
        (GlobalNoise, {"same for a seed": "two fits with one seed gave another 'vectors'"}),
        (KeepsToItself, {"saved and loaded": "AttributeError: 'KeepsToItself' object has no attr"}),
        (KeepsFitOnSelf, {"fits in company": "'vectors' of cheer is up to 0.0"}),
        (KeepsFirstExemplars, {"fits in company": "'vectors' of gesture is up to 0.0"}),
        (LosesOne, {"fits in company": "fit_many gave 1 results of 2 fits"}),
        (DeafToSettings, {"settings": "no effect of steps"}),
        (
            FailsOnOddInput,
            {
                "no items": "ValueError: max() ",
                "one exemplar": "ValueError: not enough values to unpack (expected 2, got 1) (test",
                "no exemplar": "ValueError: not enough values to unpack (expected 2, got 0) (test",
            },
        ),
        (RaisesWhenDiverging, {"divergence": "OverflowError: loss is nan (test_conformance.py:"}),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else "",
)
def test_each_broken_promise_is_caught_by_its_check(
    method: type[Method[Any]], problems: dict[str, str]
) -> None:
    failures = failed(method)
    assert failures.keys() == problems.keys(), "these fail and no other"
    for check, problem in problems.items():
        assert failures[check].startswith(problem), failures[check]


def test_a_method_that_fails_at_once_still_has_every_check_reported() -> None:
    class Hopeless(TextualInversion):
        def __init__(self, settings: Any = None) -> None:
            raise RuntimeError("no\nhope")

    failures = failed(Hopeless)
    assert len(failures) == len(CHECKS)
    assert all(problem.startswith("RuntimeError: no (") for problem in failures.values())


def test_failures_of_several_pipelines_share_a_line() -> None:
    from actionbench.commands.methods.check import checks_table, failed_checks

    results = [
        CheckResult("settings", "a", "no effect of steps"),
        CheckResult("settings", "b", "no effect of steps"),
        CheckResult("no items", "a", None, "works"),
        CheckResult("no items", "b", "ValueError: [x]"),
    ]
    assert failed_checks(results) == [
        "FAILED settings (a, b): no effect of steps",
        "FAILED no items (b): ValueError: [x]",
    ]
    assert checks_table("m", results).row_count == 2
