"""Check that a method keeps the interface's promises: in small, on pipelines made on the spot.

Each check gets a backbone that no other check has changed, so that one broken promise does not hide
another.
"""

from __future__ import annotations

import copy
import dataclasses
import inspect
import random
import re
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property, lru_cache, partial
from itertools import combinations
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal, get_args, get_origin, get_type_hints

import numpy as np
import torch

from actionbench.diffusion.backbone import Backbone
from actionbench.errors import UserError, one_line
from actionbench.files.kinds import JOINT, SANA, TRANSFORMER, UNET, UNET_TWO, Kind
from actionbench.method import Customization, FitRequest, Method, check_fitted, check_images
from actionbench.plugins.tiny import backbone_state, load_tiny, tiny_items, tiny_pipeline, tiny_task
from actionbench.plugins.tiny_pixart import tiny_pixart_pipeline
from actionbench.plugins.tiny_sana import tiny_sana_pipeline
from actionbench.plugins.tiny_sd3 import tiny_sd3_pipeline
from actionbench.plugins.tiny_xl import tiny_xl_pipeline
from actionbench.progress import SILENT, Progress
from actionbench.runs.record import FitCost
from actionbench.runs.store import Store
from actionbench.settings import build_settings
from actionbench.suite.items import ActionTask, Item, Sampling, make_items


@dataclasses.dataclass(frozen=True)
class TinyModel:
    """A tiny pipeline that methods are checked on."""

    kind: Kind
    make: Callable[[Path], Path]
    """Saves it to a folder."""


PIPELINES: dict[str, TinyModel] = {
    "epsilon": TinyModel(UNET, partial(tiny_pipeline, levels=2, layers_per_block=1)),
    "v-prediction": TinyModel(
        UNET,
        partial(tiny_pipeline, prediction_type="v_prediction", levels=2, layers_per_block=1),
    ),
    "16 layers": TinyModel(UNET, partial(tiny_pipeline, levels=3, layers_per_block=2)),
    "two encoders": TinyModel(UNET_TWO, tiny_xl_pipeline),
    "transformer": TinyModel(TRANSFORMER, tiny_pixart_pipeline),
    "Gemma": TinyModel(SANA, tiny_sana_pipeline),
    "joint": TinyModel(JOINT, tiny_sd3_pipeline),
}
"""The first two have 7 cross-attention layers."""

PRESET = "tiny"
"""The preset of a method that needs other settings than its defaults on these pipelines."""

LAST_BIT = 1
"""How far an image may differ, of 255, between batch sizes, which sum in another order."""

COMPANY = 4e-5
"""How far a number learned in company may be from that learned alone: 0.001 after 50 steps
(docs/workers.md), so much after two."""

_COSTLY = re.compile("steps|batch|images|samples|iterations|epochs")
_RATE = re.compile("learning_rate|(^|_)lr$")
_HUGE = 1e38
"""A learning rate that nothing survives: the largest float32 is 3.4e38."""


@dataclasses.dataclass(frozen=True)
class CheckResult:
    """What one check says of a method on one pipeline."""

    check: str
    pipeline: str
    problem: str | None
    """Which promise is broken and how, in one line; None if it is kept."""
    remark: str = ""

    @property
    def passed(self) -> bool:
        """Whether the promise is kept."""
        return self.problem is None


class Broken(Exception):
    """A promise of the interface is not kept."""


def check_method(
    method: type[Method[Any]],
    *,
    pipelines: Sequence[str] | None = None,
    progress: Progress = SILENT,
) -> list[CheckResult]:
    """Run all `CHECKS` of a method on the named `PIPELINES`.

    Args:
        method: the class, registered or not.
        pipelines: names of `PIPELINES`; by default those of the kinds that the method claims.
        progress: is updated after each check.

    Returns:
        A result for each check and pipeline. What the method raises is a result too.

    Example:
        assert all(result.passed for result in check_method(MyMethod))
    """
    results: list[CheckResult] = []
    if pipelines is None:
        pipelines = [name for name, made in PIPELINES.items() if made.kind.name in method.kinds]
    total = len(pipelines) * len(CHECKS)
    with _random_state_kept():
        for pipeline in pipelines:
            trial = Trial(method, _pristine(pipeline))
            for name, check in CHECKS.items():
                results.append(_result(name, pipeline, check, trial))
                progress.update(len(results), total, f"{pipeline}: {name}")
    return results


@lru_cache
def _pristine(pipeline: str) -> Backbone:
    """Make one of the `PIPELINES`, once in a process; every check works on a copy."""
    with TemporaryDirectory() as folder:
        backbone = load_tiny(PIPELINES[pipeline].make(Path(folder)), PRESET)
    backbone.sampling = Sampling(steps=2, guidance_scale=4.0)
    return backbone


def quick_settings(cls: type, preset: Mapping[str, Any], **changes: Any) -> Any:
    """Make settings of the defaults, every number of steps, images and the like two at most."""
    values = {
        f.name: max(min(f.default, 2), f.metadata["low"] or 0)
        for f in dataclasses.fields(cls)
        if type(f.default) is int and _COSTLY.search(f.name)
    }
    return cls(**(values | dict(preset) | changes))


class Trial:
    """A method on one tiny pipeline."""

    def __init__(self, kind: type[Method[Any]], pristine: Backbone) -> None:
        self.kind = kind
        self._pristine = pristine
        self._state = backbone_state(pristine)
        self._last: Backbone | None = None

    def backbone(self, *, new: bool = False) -> Backbone:
        """Hand out a backbone as it was made: the last one if unchanged, as copying is slow."""
        if new or self._last is None or backbone_state(self._last) != self._state:
            self._last = copy.deepcopy(self._pristine)
        return self._last

    def method(self, **changes: Any) -> Method[Any]:
        """Make the method with quick settings."""
        preset = self.kind.presets.get(PRESET, {})
        return self.kind(quick_settings(self.kind.Settings, preset, **changes))

    def fit(
        self, method: Method[Any], backbone: Backbone, task: ActionTask | None = None
    ) -> Customization:
        """Fit, and refuse what the runner would refuse; nothing is learned if nothing is fitted."""
        task = task or tiny_task(exemplars=2)
        name, action, model = self.kind.name, task.action.name, backbone.fingerprint
        if not self.kind.needs_fit:
            return Customization(name, action, model)
        fitted = method.fit(backbone, task, seed=0, progress=SILENT)
        check_fitted(fitted, method=name, action=action, model=model)
        return fitted

    def draw(
        self,
        method: Method[Any],
        backbone: Backbone,
        customization: Customization,
        items: Sequence[Item],
    ) -> np.ndarray[Any, Any]:
        """Draw, and return the pixels, int16 [items, height, width, 3]."""
        drawn = check_images(method.generate(backbone, customization, items), len(items))
        size = (backbone.image_size, backbone.image_size)
        pixels = [np.zeros((0, *size, 3), np.int16)]
        for image in drawn:
            if image.mode != "RGB" or image.size != size:
                raise Broken(f"drew {image.mode} {image.size}, not RGB {size}")
            pixels.append(np.asarray(image, dtype=np.int16)[None])
        return np.concatenate(pixels)

    @cached_property
    def fitted(self) -> tuple[Method[Any], Customization]:
        """A method and what it learned, for the checks of drawing."""
        method = self.method()
        return method, self.fit(method, self.backbone())


# -- the checks: each returns a remark, and raises `Broken` or whatever the method raises ------


def fits_and_draws(trial: Trial) -> str:
    """Check that `fit` returns the right Customization, and `generate` an RGB image per item."""
    method, fitted = trial.fitted
    trial.draw(method, trial.backbone(), fitted, tiny_items())
    if not trial.kind.needs_fit:
        return "nothing is fitted"
    numbers = sum(tensor.numel() for tensor in fitted.tensors.values())
    return f"learns {numbers} numbers" if numbers else "learns no tensor"


def same_for_a_seed(trial: Trial) -> str:
    """Check that a seed gives the same bit for bit, whatever the global random generators do."""
    fits, images = [], []
    for noise in (1, 2):
        _set_global_seeds(noise)
        method, backbone = trial.method(), trial.backbone()
        fits.append(trial.fit(method, backbone))
        # Both draw with the first fit, so that only the drawing can differ.
        images.append(trial.draw(method, trial.backbone(), fits[0], tiny_items()))
    first, second = (fitted.tensors for fitted in fits)
    if first.keys() != second.keys():
        raise Broken(f"two fits with one seed gave tensors {sorted(first)} and {sorted(second)}")
    for name, tensor in first.items():
        if not torch.equal(tensor, second[name]):
            raise Broken(f"two fits with one seed gave another '{name}'")
    if (images[0] != images[1]).any():
        raise Broken("two drawings of the same items differ")
    return ""


def batch_and_order(trial: Trial) -> str:
    """Check that an image depends on its own item, and not on others drawn with it."""
    method, fitted = trial.fitted
    items = tiny_items()
    backbone = trial.backbone()
    together = trial.draw(method, backbone, fitted, items)
    for batch_size, order in ((1, [2, 1, 0]), (2, [1, 2, 0])):
        backbone.batch_size = batch_size
        again = trial.draw(method, backbone, fitted, [items[row] for row in order])
        difference = int(np.abs(again - together[order]).max())
        if difference > LAST_BIT:
            raise Broken(
                f"in batches of {batch_size} and another order, images differ by up to "
                f"{difference} of 255"
            )
    return ""


def item_seeds(trial: Trial) -> str:
    """Check that items that differ only in their seed give different images."""
    method, fitted = trial.fitted
    (item,) = tiny_items(count=1)
    items = make_items([item.action], [item.subject], 2, 0)
    items += make_items([item.action], [item.subject], 1, 1)
    images = trial.draw(method, trial.backbone(), fitted, items)
    for first, second in combinations(images, 2):
        if (first == second).all():
            raise Broken("items with one prompt and different seeds gave the same image")
    return ""


def fits_in_company(trial: Trial) -> str:
    """Check that `fit_many` learns of each of two tasks what `fit` learns of it alone."""
    if not trial.kind.needs_fit:
        return "nothing is fitted"
    if not trial.kind.lockstep:
        return "has no lockstep"
    tasks = tiny_task("cheer", exemplars=2), tiny_task("gesture", exemplars=4)
    # No exemplar of one is the other's.
    tasks = tasks[0], dataclasses.replace(tasks[1], exemplars=tasks[1].exemplars[2:])
    requests = [FitRequest(task, seed, SILENT) for seed, task in enumerate(tasks)]
    # Global randomness and a backbone that fits change are for other checks: alike both times.
    _set_global_seeds(1)
    outcomes = list(trial.method().fit_many(trial.backbone(), requests))
    if len(outcomes) != len(requests):
        raise Broken(f"fit_many gave {len(outcomes)} results of {len(requests)} fits")
    _set_global_seeds(1)
    backbone = trial.backbone()
    for request, fitted in zip(requests, outcomes, strict=True):
        if isinstance(fitted, Exception):
            raise fitted
        action = request.task.action.name
        check_fitted(fitted, method=trial.kind.name, action=action, model=backbone.fingerprint)
        alone = trial.method().fit(backbone, request.task, seed=request.seed, progress=SILENT)
        _check_company(fitted, alone)
    return ""


def _check_company(fitted: Customization, alone: Customization) -> None:
    one, other = fitted.tensors, alone.tensors
    shapes = [{name: tuple(t.shape) for name, t in each.items()} for each in (one, other)]
    if shapes[0] != shapes[1]:
        raise Broken(f"in company a fit gave tensors {shapes[0]}, and {shapes[1]} alone")
    for name, tensor in one.items():
        apart = (tensor.double() - other[name].double()).abs().flatten()
        difference = float(apart.max()) if len(apart) else 0.0
        if not difference <= COMPANY:
            raise Broken(
                f"'{name}' of {fitted.action} is up to {difference:.2g} from that of the same fit "
                "alone: keep nothing of a fit on self"
            )


def backbone_after_fit(trial: Trial) -> str:
    """Check that a fit leaves weights, hooks, modes and schedule unchanged, bit for bit."""
    if not trial.kind.needs_fit:
        return "nothing is fitted"
    backbone = trial.backbone()
    with _left_alone(backbone, "the fit"):
        trial.fit(trial.method(), backbone)
    return ""


def backbone_after_drawing(trial: Trial) -> str:
    """The same after drawing, also if the caller stops after the first image."""
    method, fitted = trial.fitted
    backbone = trial.backbone()
    with _left_alone(backbone, "drawing"):
        trial.draw(method, backbone, fitted, tiny_items())
    with _left_alone(backbone, "drawing that stopped after one image"):
        images = iter(method.generate(backbone, fitted, tiny_items()))
        next(images)
        del images
    return ""


def saved_and_loaded(trial: Trial) -> str:
    """Check that a new object draws the same images with the stored customization."""
    method, fitted = trial.fitted
    items = tiny_items()
    images = trial.draw(method, trial.backbone(), fitted, items)
    if trial.kind.needs_fit:
        with TemporaryDirectory() as folder:
            store = Store(folder)
            store.save_fit("check", fitted, FitCost(seconds=0.0))
            fitted = store.load_fit(
                "check", method=fitted.method, action=fitted.action, model=fitted.model
            )
    again = trial.draw(trial.method(), trial.backbone(new=True), fitted, items)
    if (again != images).any():
        raise Broken("a new object with the stored customization draws other images")
    return ""


def settings_act(trial: Trial) -> str:
    """Check that an unknown setting is refused, and a changed one changes what is learned or drawn.

    The numbers of steps are tried, or without one the other settings until one acts.
    """
    settings = trial.kind.Settings
    try:
        build_settings(settings, {}, ["no_such_setting=1"])
    except UserError:
        pass
    else:
        raise Broken("an unknown setting is accepted")
    kind = trial.kind
    for what, changes in (
        ("preset", kind.presets),
        ("tuned preset", kind.tuned),
        ("recipe", kind.recipes),
        ("profile", {"quick": kind.quick}),
    ):
        for name, change in changes.items():
            try:
                build_settings(settings, change, [])
            except Exception as error:
                raise Broken(
                    f"the {what} {name} does not fit the settings: {one_line(error)}"
                ) from error
    if not dataclasses.fields(settings):
        return "has none"
    values = _other_values(trial.method().settings)
    steps = {name: value for name, value in values.items() if "steps" in name}
    before = _learned_and_drawn(trial, {})
    idle = []
    acting = False
    for name, value in (steps or values).items():
        try:
            after = _learned_and_drawn(trial, {name: value})
        except UserError:  # it cannot be combined with the others
            continue
        if _differ(before, after):
            acting = True
            if not steps:
                break
        else:
            idle.append(name)
    if idle and not acting:
        raise Broken(f"no effect of {', '.join(idle)}")
    return f"no effect at this size: {', '.join(idle)}" if idle else ""


def no_items(trial: Trial) -> str:
    """Check that drawing nothing gives no images and no error."""
    method, fitted = trial.fitted
    trial.draw(method, trial.backbone(), fitted, [])
    return ""


def one_exemplar(trial: Trial) -> str:
    """Check that a single exemplar works or is refused by a UserError."""
    return _works_or_refuses(trial, tiny_task(exemplars=1))


def no_exemplar(trial: Trial) -> str:
    """Check that a task without exemplars works or is refused by a UserError."""
    return _works_or_refuses(trial, tiny_task(exemplars=0))


def divergence(trial: Trial) -> str:
    """With an absurd learning rate a fit stops with a UserError, if its numbers do not survive."""
    remarks = []
    for field in dataclasses.fields(trial.kind.Settings):
        if not _RATE.search(field.name):
            continue
        method = trial.method(**{field.name: field.metadata["high"] or _HUGE})
        backbone = trial.backbone()
        with _left_alone(backbone, "a fit that diverged"):
            try:
                trial.fit(method, backbone)
            except UserError as error:
                remarks.append(_refusal(error))
            else:
                remarks.append(f"{field.name}: stays finite")
    return "; ".join(remarks) or "has no learning rate"


CHECKS: dict[str, Callable[[Trial], str]] = {
    "fits and draws": fits_and_draws,
    "same for a seed": same_for_a_seed,
    "batch size and order": batch_and_order,
    "item seeds": item_seeds,
    "fits in company": fits_in_company,
    "backbone after fit": backbone_after_fit,
    "backbone after drawing": backbone_after_drawing,
    "saved and loaded": saved_and_loaded,
    "settings": settings_act,
    "no items": no_items,
    "one exemplar": one_exemplar,
    "no exemplar": no_exemplar,
    "divergence": divergence,
}


# -- what the checks use -----------------------------------------------------------------------


def _result(name: str, pipeline: str, check: Callable[[Trial], str], trial: Trial) -> CheckResult:
    try:
        return CheckResult(name, pipeline, None, check(trial))
    except Broken as error:
        return CheckResult(name, pipeline, str(error))
    except Exception as error:  # whatever a method raises is reported, and the next check runs
        return CheckResult(name, pipeline, one_line(error) + _place(error, trial.kind))


def _place(error: Exception, kind: type) -> str:
    """Return the line of the method's file that an exception came from: " (my_method.py:41)"."""
    try:
        own = inspect.getfile(kind)
    except (TypeError, OSError):  # a class that was typed into a console has no file
        return ""
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if frame.filename == own]
    return f" ({Path(own).name}:{lines[-1]})" if lines else ""


@contextmanager
def _left_alone(backbone: Backbone, what: str) -> Iterator[None]:
    before = backbone_state(backbone)
    yield
    after = backbone_state(backbone)
    if changed := [name for name in before if before[name] != after[name]]:
        raise Broken(f"{what} changed: {', '.join(changed)}")


def _works_or_refuses(trial: Trial, task: ActionTask) -> str:
    method, backbone = trial.method(), trial.backbone()
    try:
        fitted = trial.fit(method, backbone, task)
        trial.draw(method, backbone, fitted, tiny_items(count=1))
    except UserError as error:
        return _refusal(error)
    return "works"


def _refusal(error: UserError) -> str:
    if "\n" in str(error):
        raise Broken(f"an error of several lines: {one_line(error)} ...")
    return f"refused: {error}"


def _other_values(settings: Any) -> dict[str, Any]:
    """Choose another value for each setting that has an obvious one; text has a meaning."""
    hints = get_type_hints(type(settings))
    values: dict[str, Any] = {}
    for field in dataclasses.fields(settings):
        value, high = getattr(settings, field.name), field.metadata["high"]
        if isinstance(value, bool):
            values[field.name] = not value
        elif get_origin(hints[field.name]) is Literal:
            choices = get_args(hints[field.name])
            values[field.name] = choices[choices.index(value) - 1]
        elif isinstance(value, int):
            values[field.name] = value + 1 if high is None or value < high else value - 1
        elif isinstance(value, float):
            larger = 2 * value or 0.5
            values[field.name] = larger if high is None or larger <= high else value / 2
    return values


def _learned_and_drawn(
    trial: Trial, changes: dict[str, Any]
) -> tuple[Customization, np.ndarray[Any, Any]]:
    method, backbone = trial.method(**changes), trial.backbone()
    fitted = trial.fit(method, backbone)
    return fitted, trial.draw(method, backbone, fitted, tiny_items(count=1))


def _differ(
    first: tuple[Customization, np.ndarray[Any, Any]],
    second: tuple[Customization, np.ndarray[Any, Any]],
) -> bool:
    one, other = first[0].tensors, second[0].tensors
    return (
        one.keys() != other.keys()
        or any(not torch.equal(one[name], other[name]) for name in one)
        or bool((first[1] != second[1]).any())
    )


def _set_global_seeds(seed: int) -> None:
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002, what a method may not depend on
    torch.manual_seed(seed)


@contextmanager
def _random_state_kept() -> Iterator[None]:
    kept = random.getstate(), np.random.get_state()  # noqa: NPY002
    try:
        with torch.random.fork_rng():
            yield
    finally:
        random.setstate(kept[0])
        np.random.set_state(kept[1])  # noqa: NPY002
