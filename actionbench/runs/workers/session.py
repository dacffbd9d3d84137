"""A worker's side: do a unit with what is loaded, and hand back each result as it comes."""

from __future__ import annotations

import errno
import io
import json
import os
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

from actionbench.device import Resources, out_of_memory, resolve_device
from actionbench.errors import UserError, one_line
from actionbench.files.models import ModelSource, resolve_model
from actionbench.judge import Judge, verdicts_of
from actionbench.method import (
    MEASURES,
    Customization,
    FitRequest,
    Method,
    check_fitted,
    check_images,
)
from actionbench.progress import Progress
from actionbench.runs.canary import score_canary
from actionbench.runs.options import RunOptions
from actionbench.runs.provenance import peak_memory_mib, reset_peak_memory
from actionbench.runs.record import FitCost
from actionbench.runs.store import read_image
from actionbench.runs.workers.unit import (
    JUDGE_BATCH,
    Canary,
    Done,
    Drawn,
    DrawUnit,
    Failed,
    Fitted,
    FitUnit,
    Judged,
    JudgeUnit,
    Note,
    Result,
    Shared,
    Started,
    Step,
    Unit,
)
from actionbench.suite.items import ActionTask

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

    from actionbench.diffusion.backbone import Backbone

_FULL = (errno.ENOSPC, errno.EDQUOT)

Aside = Callable[[Step | Note | Shared], None]
"""Receives what comes in the midst of a fit or of drawing."""


class Unfit(UserError):
    """This worker cannot do such units, another one may."""


class MethodFailure(Exception):
    """What a method raised, while it was `doing` something."""

    def __init__(self, doing: str, action: str = "") -> None:
        self.doing, self.action = doing, action


def load_backbone(source: ModelSource, device: str, dtype: str, resources: Resources) -> Backbone:
    """Load a base model onto a device in a number format."""
    from actionbench.diffusion.backbone import Backbone

    return Backbone.load(source, device, dtype, resources)


def threads() -> int:
    """Return the threads that a worker computes with on a CPU: one, or `OMP_NUM_THREADS`.

    One, so that the same bits come out whatever the number of workers and cores: sums over another
    number of threads differ in their last bits.
    """
    return max(1, int(os.environ.get("OMP_NUM_THREADS", "1") or 1))


class Session:
    """What a worker has loaded, and kept from unit to unit.

    Args:
        both: whether it may hold a backbone and a judge at once. A worker among several may not:
            it drops one before it loads the other.
        elsewhere: whether the launcher may be another machine, with other folders.
    """

    def __init__(self, *, both: bool, elsewhere: bool = False) -> None:
        self.both, self.elsewhere = both, elsewhere
        self.forget()

    def forget(self) -> None:
        """Drop what is loaded, as after a failure that may have left it changed."""
        self._backbone: Backbone | None = None
        self._judge: Judge | None = None
        self._held: dict[type, tuple[Any, ...]] = {}

    def perform(self, unit: Unit, aside: Aside) -> Iterator[Result]:
        """Do a unit and yield its results; the last one is `Done` or `Failed`.

        Args:
            aside: receives what comes between the results.

        Raises:
            Unfit: before anything is done, if this worker lacks what the unit needs.
        """
        reset_peak_memory()
        try:
            if isinstance(unit, DrawUnit):
                yield from self._draw(unit, aside)
            elif isinstance(unit, FitUnit):
                yield from self._fit(unit, aside)
            else:
                yield from self._judge_images(unit)
        except Unfit:
            self.forget()
            raise
        except Exception as error:
            if self.elsewhere and isinstance(error, OSError) and error.errno in _FULL:
                raise Unfit(f"is out of disk ({error})") from error
            failed = self._failed(unit, error)
            self.forget()
            yield failed

    def _failed(self, unit: Unit, error: Exception) -> Failed:
        doing = action = ""
        if isinstance(error, MethodFailure) and isinstance(error.__cause__, Exception):
            doing, action, error = error.doing, error.action, error.__cause__
        if not isinstance(unit, JudgeUnit) and out_of_memory(error):
            size = self._backbone.batch_size if self._backbone else unit.batch_size
            return Failed(memory_advice(unit.options, size), doing, "", error, action)
        trace = "" if isinstance(error, UserError) else "".join(traceback.format_exception(error))
        return Failed(one_line(error), doing, trace, error, action)

    # Drawing

    def _draw(self, unit: DrawUnit, aside: Aside) -> Iterator[Result]:
        began = time.monotonic()
        device = resolve_device(unit.options.device)
        backbone = self._load_backbone(unit, device)
        yield Started(device, time.monotonic() - began)
        method, peak = unit.method, 0
        for name, tensor in unit.drawn.items():
            backbone.drawn.setdefault(name, tensor.to(device))
        customization = unit.fitted
        if customization is None and method.needs_fit:
            peak = peak_memory_mib()
            customization, cost = _fit(unit, backbone, device, aside)
            yield Fitted(customization, cost)
        elif customization is None:
            customization = Customization(method.name, unit.action, unit.model)
        began = time.monotonic()
        images = _images(unit, backbone, customization, aside)
        for item, image in zip(unit.items, images, strict=True):
            if item.id in unit.missing:
                yield Drawn(item, image)
        seconds = time.monotonic() - began
        size = backbone.batch_size if backbone else unit.batch_size
        yield Done(seconds, max(peak, peak_memory_mib()), size)

    def _fit(self, unit: FitUnit, aside: Aside) -> Iterator[Result]:
        began = time.monotonic()
        device = resolve_device(unit.options.device)
        backbone = self._load_backbone(unit, device)
        yield Started(device, time.monotonic() - began)
        for name, tensor in unit.drawn.items():
            backbone.drawn.setdefault(name, tensor.to(device))
        began, peak = time.monotonic(), 0
        for fitted in _fit_group(unit, backbone, device, aside):
            peak = max(peak, fitted.cost.peak_mib)
            yield fitted
        yield Done(time.monotonic() - began, max(peak, peak_memory_mib()), unit.batch_size)

    def _load_backbone(self, unit: DrawUnit | FitUnit, device: str) -> Backbone:
        """Load the base model, unless it is loaded; None for a method that needs none."""
        options = unit.options
        if not unit.method.needs_backbone:
            return cast("Backbone", None)
        if self._held.get(DrawUnit) != unit.needs:
            # Before loading, so that memory never holds two.
            self._backbone = None
            self._held.pop(DrawUnit, None)
            if not self.both:
                self._judge = None
                self._held.pop(JudgeUnit, None)
            source = _same_model(unit.source) if self.elsewhere else unit.source
            with _reporting_memory(options, unit.batch_size):
                self._backbone = load_backbone(source, device, options.dtype, options.resources)
            self._held[DrawUnit] = unit.needs
        backbone = self._backbone
        assert backbone is not None
        backbone.sampling = unit.sampling
        backbone.batch_size = unit.batch_size
        return backbone

    # Judging

    def _judge_images(self, unit: JudgeUnit) -> Iterator[Result]:
        began = time.monotonic()
        judge, device = self._load_judge(unit), resolve_device(unit.options.device)
        judge.device = device
        with _reporting_judge_memory(judge):
            scores = score_canary(judge)
        yield Started(device, time.monotonic() - began)
        yield Canary(device, scores)
        began = time.monotonic()
        for begin in range(0, len(unit.items), JUDGE_BATCH):
            items = unit.items[begin : begin + JUDGE_BATCH]
            images = [
                read_image(path, io.BytesIO(content))
                for path, content in unit.images[begin : begin + JUDGE_BATCH]
            ]
            with _reporting_judge_memory(judge):
                verdicts = verdicts_of(judge, images, items)
            yield Judged({item.name: v for item, v in zip(items, verdicts, strict=True)})
        seconds = time.monotonic() - began
        yield Done(seconds, peak_memory_mib(), unit.options.batch_size)

    def _load_judge(self, unit: JudgeUnit) -> Judge:
        if self._held.get(JudgeUnit) != unit.needs:
            judge, self._judge = unit.judge, None
            assert judge is not None
            if not self.both:
                self._backbone = None
                self._held.pop(DrawUnit, None)
            try:
                here = judge.fingerprint
            except UserError as error:
                raise Unfit(f"lacks a judge: {error}") from error
            if here != unit.fingerprint:
                raise Unfit(
                    f"has other weights or rules of the {unit.name} judge: {here}, not "
                    f"{unit.fingerprint}"
                )
            self._judge, self._held[JudgeUnit] = judge, unit.needs
        assert self._judge is not None
        return self._judge


def _same_model(source: ModelSource) -> ModelSource:
    """Find a launcher's base model on this machine: in the same folder, or by its name."""
    name = str(source.path) if source.path.is_dir() else source.name
    try:
        here = resolve_model(name)
    except UserError as error:
        raise Unfit(f"lacks the base model: {error}") from error
    if here.fingerprint != source.fingerprint:
        raise Unfit(f"has other weights as {name}: {here.fingerprint}, not {source.fingerprint}")
    return here


def _fit(
    unit: DrawUnit, backbone: Backbone, device: str, aside: Aside
) -> tuple[Customization, FitCost]:
    """Fit an action; return what was learned as the store would give it back, and what it took."""
    method = unit.method
    _reset_peaks(device)
    progress = _FitProgress(method, unit.task, unit.seed, backbone, aside)
    began = time.monotonic()
    with _failing("fitting"):
        fitted = method.fit(backbone, unit.task, seed=unit.seed, progress=progress)
        seconds = time.monotonic() - began
        check_fitted(fitted, method=method.name, action=unit.action, model=unit.model)
    progress.hand_out()
    return _as_stored(fitted), _cost(fitted, seconds, device)


def _reset_peaks(device: str) -> None:
    import torch

    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    reset_peak_memory()


def _cost(fitted: Customization, seconds: float, device: str, at_once: int = 1) -> FitCost:
    """Note what a fit took since the peaks were reset."""
    import torch

    cost = FitCost(round(seconds, 3), peak_memory_mib(), device)
    cost.measures = fitted.facts.get(MEASURES)
    if at_once > 1:
        cost.at_once = at_once
    if device == "cuda":
        cost.peak_cuda_mib = int(torch.cuda.max_memory_allocated() // 2**20)
    return cost


def _fit_group(unit: FitUnit, backbone: Backbone, device: str, aside: Aside) -> Iterator[Fitted]:
    """Fit a group of actions and yield what was learned of each.

    If the group fails as a whole, as by too little memory, its halves are tried, down to one.

    Raises:
        MethodFailure: the first action's that could not be fitted, after the others.
    """
    method = unit.method
    pairs = zip(unit.tasks, unit.seeds, strict=True)

    def tell(result: Step | Note | Shared) -> None:
        if not isinstance(result, Step) or result.action in unit.wanted:
            aside(result)

    progresses = [_FitProgress(method, *pair, backbone, tell) for pair in pairs]
    failed: list[tuple[str, Exception]] = []
    waiting = [progresses]
    while waiting:
        group = waiting.pop(0)
        _reset_peaks(device)
        began = time.monotonic()
        outcomes, broken = _outcomes(method, backbone, group)
        seconds = (time.monotonic() - began) / len(group)
        for progress, outcome in zip(group, outcomes):
            action = progress.request.task.action.name
            try:
                if isinstance(outcome, Exception):
                    raise outcome
                check_fitted(outcome, method=method.name, action=action, model=unit.model)
            except Exception as error:  # of any kind: it is this fit's alone
                failed.append((action, error))
                continue
            progress.hand_out()
            if action in unit.wanted:
                yield Fitted(_as_stored(outcome), _cost(outcome, seconds, device, len(group)))
        if broken is not None:
            left = group[len(outcomes) :]
            if len(left) == 1:
                failed.append((left[0].request.task.action.name, broken))
                continue
            half = (len(left) + 1) // 2
            waiting[:0] = [left[:half], left[half:]]
            if out_of_memory(broken):
                _empty_cache()
                aside(Note(f"there is no memory for {len(left)} fits at once: {half} at once"))
    for action, failure in failed:
        raise MethodFailure("fitting", action) from failure


def _outcomes(
    method: Method[Any], backbone: Backbone, group: Sequence[_FitProgress]
) -> tuple[list[Customization | Exception], Exception | None]:
    """Fit a group together: what became of each, and what ended it before all were through."""
    outcomes: list[Customization | Exception] = []
    try:
        for outcome in method.fit_many(backbone, [progress.request for progress in group]):
            outcomes.append(outcome)
    except Exception as error:  # of any kind: it is the method's
        return outcomes, error
    if len(outcomes) != len(group):
        with _failing("fitting"):
            raise UserError(f"{len(outcomes)} results of {len(group)} fits: fix its fit_many")
    return outcomes, None


def _as_stored(fitted: Customization) -> Customization:
    """Return a customization as it is loaded from the store: resumed runs draw from the same."""
    tensors = {name: t.detach().cpu().contiguous() for name, t in fitted.tensors.items()}
    facts = json.loads(json.dumps(dict(fitted.facts)))
    return Customization(fitted.method, fitted.action, fitted.model, tensors, facts)


def _images(
    unit: DrawUnit, backbone: Backbone, customization: Customization, aside: Aside
) -> Iterator[Image]:
    """Draw the unit's images, in ever smaller batches if memory does not suffice.

    The batch size is halved down to one: an image depends on its batch by rounding only.
    """
    done = 0
    with _failing("drawing"):
        while done < len(unit.items):
            items = unit.items[done:]
            try:
                drawn = unit.method.generate(backbone, customization, items)
                for image in check_images(drawn, len(items)):
                    yield image
                    done += 1
            except Exception as error:
                if not out_of_memory(error) or not backbone or backbone.batch_size == 1:
                    raise
            # Outside the handler, where the error no longer keeps alive what filled memory.
            if done < len(unit.items):
                _halve_batches(backbone)
                what = f"out of memory: now {backbone.batch_size} at once"
                left = sum(item.id in unit.missing for item in unit.items[done:])
                aside(Step("generate", unit.total - left, unit.total, what))


def _halve_batches(backbone: Backbone) -> None:
    _empty_cache()
    backbone.batch_size //= 2


def _empty_cache() -> None:
    import torch

    torch.cuda.empty_cache()


class _FitProgress(Progress):
    """Passes a fit's progress on, and what it drew for others as soon as that is there."""

    def __init__(
        self, method: Method[Any], task: ActionTask, seed: int, backbone: Backbone, aside: Aside
    ) -> None:
        self.request = FitRequest(task, seed, self)
        self.drawn: dict[str, Tensor] = backbone.drawn if backbone else {}
        self.aside = aside
        self.missing = {n for n in method.shared(task, seed) if n not in self.drawn}

    def update(self, done: int, total: int, what: str = "") -> None:
        self.hand_out()
        self.aside(Step("fit", done, total, what, self.request.task.action.name))

    def note(self, text: str) -> None:
        self.aside(Note(text))

    def hand_out(self) -> None:
        for name in sorted(self.missing & self.drawn.keys()):
            self.missing.discard(name)
            self.aside(Shared(name, self.drawn[name].cpu()))


# What fails


@contextmanager
def _failing(doing: str) -> Iterator[None]:
    """Mark whatever the method raises as its own failure."""
    try:
        yield
    except Exception as error:
        raise MethodFailure(doing) from error


@contextmanager
def _reporting_memory(options: RunOptions, batch_size: int) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        if not out_of_memory(error):
            raise
        raise UserError(memory_advice(options, batch_size)) from error


@contextmanager
def _reporting_judge_memory(judge: Judge) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        if not out_of_memory(error):
            raise
        raise UserError(
            f"there is not enough memory for the {judge.name} judge: lower its batch size "
            "(--judge-set batch_size=N) or --workers, or let `actionbench judges run` judge the "
            "drawn images, which loads no base model; finished work is kept"
        ) from error


def memory_advice(options: RunOptions, batch_size: int) -> str:
    """Say which options that save memory are not used yet."""
    ways = {
        f"lower --batch-size (now {batch_size})": batch_size > 1,
        "take --dtype bfloat16": options.dtype == "float32",
        "take --gradient-checkpointing": not options.gradient_checkpointing,
        "take --vae-slicing": not options.vae_slicing,
        "take --offload": not options.offload,
        "take a --model of smaller images": True,
    }
    advice = " or ".join(way for way, unused in ways.items() if unused)
    return f"there is not enough memory: {advice}; finished work is kept"
