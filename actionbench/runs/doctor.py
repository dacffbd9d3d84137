"""Checks of whether a run can work here, and what it will take, before it starts and offline."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from packaging.requirements import Requirement

from actionbench.device import GIB, memory, resolve_device
from actionbench.diffusion.lengths import check_texts
from actionbench.errors import UserError
from actionbench.files.hub import how_to_get
from actionbench.files.models import (
    MODEL_PRESETS,
    ModelPreset,
    Network,
    check_shape,
    kind_of_folder,
    local_model,
    model_repositories,
    model_traits,
    network_class,
    network_repository,
    preset_kind,
    preset_name,
    preset_of,
)
from actionbench.files.networks import check_network, check_pipeline
from actionbench.judge import Judge
from actionbench.method import Method, Work, check_kind
from actionbench.registry import (
    get_judge,
    get_method,
    judge_names,
    make_judge,
    method_names,
    system_names,
)
from actionbench.runs.options import DEFAULTS, RunOptions
from actionbench.runs.plan import learned_tasks
from actionbench.runs.profiles import configure
from actionbench.suite.bars import bars_note
from actionbench.suite.items import ActionTask, Sampling, Subject
from actionbench.suite.shipped import CHECKOUT
from actionbench.suite.suite import Suite, get_suite

if TYPE_CHECKING:
    import torch

    from actionbench.diffusion.cost import Networks, PresetNetworks

State = Literal["ok", "warn", "fail"]
EXEMPLARS = 10
"""Exemplars per action that are assumed if there are none yet: the paper's number."""
CONSTRAINTS = CHECKOUT / "constraints.txt"
"""The tested versions of packages; only a checkout has them."""


@dataclass(frozen=True)
class Finding:
    """One result of the examination."""

    what: str
    state: State
    """`fail`: the run cannot work; `warn`: it can, but the user should know something."""
    message: str
    fix: str = ""
    """How to fix it."""


def examine(
    options: RunOptions, methods: Sequence[str], words: Sequence[str] = ()
) -> Iterator[Finding]:
    """Yield findings about a run one by one; nothing is fetched or hashed.

    Of weights, names and shapes are read, and no numbers.

    Args:
        options: what the run is made with.
        methods: the methods' names.
        words: `key=value` changes to the methods' settings.
    """
    yield from check_packages(CONSTRAINTS)
    yield from check_plugins()
    device, finding = check_device(options.device, options.dtype)
    yield finding
    if device is not None and options.compile:
        yield check_compiling(device)
    try:
        suite = get_suite(options.suite)
    except UserError as error:
        yield Finding("suite", "fail", str(error), "see docs/photos.md, or take --suite puppets")
        return
    tasks, finding = check_suite(suite, options)
    yield finding
    actions = suite.pick_actions(options.actions)
    name = options.model or suite.model
    folder, finding = check_model(name)
    yield finding
    if folder is not None:
        yield from check_parts(folder)
    typed_in = _known_preset(name) if folder is None else None
    preset = preset_name(name, folder)
    try:
        traits = model_traits(preset, folder)
    except UserError as error:
        yield Finding("model", "fail", str(error))
        traits = model_traits(preset, None)
    systems = []
    for method in methods:
        try:
            kind = get_method(method)
            made = configure(kind, traits, options.profile, options.prompts, words)
            if made.needs_backbone and folder is not None:
                check_kind(made, kind_of_folder(folder), name)
            if made.needs_backbone and typed_in is not None:
                check_kind(made, preset_kind(typed_in), name)
            systems.append(made)
        except UserError as error:
            yield Finding(method, "fail", str(error))
    if tasks is not None:
        own = [tasks[action.name] for action in actions]
        yield from check_bars(own)
        yield from check_tasks(systems, own)
    if folder is not None:
        chosen = [tasks[a.name] if tasks else ActionTask(a, (), "") for a in actions]
        subjects = suite.pick_subjects(options.subjects)
        yield from check_prompts(systems, folder, suite.prompt, chosen, subjects)
    try:
        judge = make_judge(options.judge or suite.judge, suite, options.judge_words)
    except UserError as error:
        yield Finding("judge", "fail", str(error), "name another with --judge")
    else:
        command = _prefetch_command(options, methods, words)
        yield from check_downloads(systems, judge, command)
    counts = [len(tasks[action.name].exemplars) for action in actions] if tasks else [EXEMPLARS]
    if device is not None and folder is not None:
        yield from estimate(options, suite, max(counts), systems, folder, device)
    if device is not None and typed_in is not None:
        yield from estimate_preset(options, suite, max(counts), systems, typed_in, device)


# -- what is installed and stored ----------------------------------------------------------


def check_packages(constraints: Path) -> Iterator[Finding]:
    """Compare versions with those that this project needs, and with the tested ones if known."""
    wrong = []
    for line in requires("actionbench") or []:
        needed = Requirement(line)
        if needed.marker is not None and not needed.marker.evaluate({"extra": ""}):
            continue
        try:
            installed = version(needed.name)
        except PackageNotFoundError:
            wrong.append(f"{needed} is missing")
            continue
        if not needed.specifier.contains(installed, prereleases=True):
            wrong.append(f"{needed.name} is {installed}, needed is {needed.specifier}")
    if wrong:
        yield Finding("packages", "fail", "; ".join(wrong), "pip install -e .")
        return
    tested = constraints.read_text("utf-8") if constraints.is_file() else ""
    other = []
    for name, exact in re.findall(r"^([\w.-]+)==(\S+)", tested, re.MULTILINE):
        try:
            # A local part (`+cu128`) says how it was built, not what it is.
            if version(name).partition("+")[0] != exact:
                other.append(f"{name} {version(name)} (tested: {exact})")
        except PackageNotFoundError:
            continue
    if other:
        fix = f"pip install -c {constraints.name} -e ."
        message = f"other versions than those tested: {', '.join(other)}"
        yield Finding("packages", "warn", message, fix)
    else:
        yield Finding("packages", "ok", "all needed packages are installed")


def check_plugins() -> Iterator[Finding]:
    """Report methods and judges that cannot be imported; they stop only their own runs."""
    broken = []
    for names, get in ((method_names(), get_method), (judge_names(), get_judge)):
        for name in names:
            try:
                get(name)
            except UserError as error:
                broken.append(str(error))
    if broken:
        yield Finding("plug-ins", "warn", "; ".join(broken), "fix or uninstall them")
    else:
        yield Finding("plug-ins", "ok", "every registered method and judge can be imported")


def check_device(device: str, dtype: str) -> tuple[str | None, Finding]:
    """Return the device that a run would use (None if there is none), and report its memory."""
    import torch

    try:
        chosen = resolve_device(device)
    except UserError as error:
        return None, Finding("device", "fail", str(error))
    free, total = memory(chosen)
    message = f"{chosen}, {free / GIB:.1f} of {total / GIB:.1f} GiB free"
    if chosen == "cpu":
        return chosen, Finding("device", "ok", f"{message}, {torch.get_num_threads()} threads")
    message = f"{torch.cuda.get_device_name()}: {message}"
    if dtype == "bfloat16" and not torch.cuda.is_bf16_supported(including_emulation=False):
        return chosen, Finding(
            "device", "warn", f"{message}; it only emulates bfloat16", "take --dtype float16"
        )
    return chosen, Finding("device", "ok", message)


def check_compiling(device: str) -> Finding:
    """Report whether `torch.compile` has a compiler for a device."""
    from actionbench.diffusion.backbone import check_compiler

    try:
        check_compiler(device)
    except UserError as error:
        return Finding("compile", "fail", str(error))
    return Finding("compile", "ok", "there is a compiler; the first steps wait for it")


def check_suite(
    suite: Suite, options: RunOptions = DEFAULTS
) -> tuple[Mapping[str, ActionTask] | None, Finding]:
    """Return a suite's tasks by action; None without exemplars, and times are then estimated."""
    known = f"{suite.name}: {len(suite.actions)} actions"
    try:
        tasks = learned_tasks(suite, options)
    except UserError as error:
        message = f"{known}, estimated with {EXEMPLARS} exemplars each; {error}"
        fix = "see docs/photos.md, or take --suite puppets"
        return None, Finding("suite", "fail", message, fix)
    exemplars = sum(len(task.exemplars) for task in tasks.values())
    return tasks, Finding("suite", "ok", f"{known}, {exemplars} exemplars")


def check_bars(tasks: Sequence[ActionTask]) -> Iterator[Finding]:
    """Warn of actions whose exemplars are black bars for a good part."""
    for task in tasks:
        if note := bars_note(task.action.name, [exemplar.image for exemplar in task.exemplars]):
            fix = "actionbench data import DIR --fit crop"
            yield Finding("exemplars", "warn", note, fix)


def check_tasks(methods: Sequence[Method[Any]], tasks: Sequence[ActionTask]) -> Iterator[Finding]:
    """Report methods that cannot use the exemplars."""
    for method in methods:
        try:
            for task in tasks:
                method.check_task(task)
        except UserError as error:
            yield Finding(method.name, "fail", str(error))


def check_prompts(
    methods: Sequence[Method[Any]],
    folder: Path,
    prompt: str,
    tasks: Sequence[ActionTask],
    subjects: Sequence[Subject],
) -> Iterator[Finding]:
    """Report methods whose prompts or captions the text encoder has no room for.

    Args:
        folder: the base model.
        prompt: the suite's.
        tasks: the run's actions, with their exemplars if there are any.
        subjects: the run's subjects.
    """
    fix = "shorten descriptions, phrases or captions"
    for method in methods:
        try:
            lines = check_texts(folder, prompt, method, tasks, subjects)
        except UserError as error:
            yield Finding("prompts", "fail", str(error), fix)
        else:
            for line in lines:
                yield Finding("prompts", "warn", line, fix)


def check_model(name: str) -> tuple[Path | None, Finding]:
    """Return a base model's folder, None if it is not on this machine, and report its size."""
    try:
        folder = local_model(name)
        if folder is not None:
            size = sum(f.stat().st_size for f in folder.rglob("*") if f.is_file())
            return folder, Finding("model", "ok", f"{size / GIB:.2f} GiB in {folder}")
        offline = how_to_get(model_repositories(name)[0], "--model")
        fix = f"actionbench prefetch --model {name}; or, {offline}"
        lacking = [path for place in model_repositories(name) for path in place.missing()]
        return None, Finding("model", "fail", _not_here(name, lacking) + _terms(name), fix)
    except UserError as error:
        return None, Finding("model", "fail", str(error))


def _terms(name: str) -> str:
    """Say under which licence a preset is to be had, and where; nothing of other models."""
    preset = preset_of(name)
    if preset is None:
        return ""
    page = model_repositories(name)[0].page
    if preset.gated:
        return (
            f"; it is gated: accept its licence ({preset.licence}) on {page}, then log in with "
            "`hf auth login`"
        )
    return f"; its licence ({preset.licence}) is on {page}"


def _known_preset(name: str) -> ModelPreset | None:
    """Return the preset of that name, if its kind is known."""
    preset = preset_of(name)
    try:
        if preset is not None:
            preset_kind(preset)
    except UserError:  # reported as the model's
        return None
    return preset


def _not_here(name: str, lacking: Sequence[str]) -> str:
    if not lacking:
        return f"{name} is not on this machine"
    return f"{name} is not whole on this machine: {', '.join(lacking)} missing"


def check_parts(folder: Path) -> Iterator[Finding]:
    """Report parts of a base model whose weights are not those that their classes need."""
    fix = "fetch it again, or save it anew with the library that made it"
    try:
        parts = check_pipeline(folder, check_shape(folder))
    except UserError as error:
        yield Finding("weights", "fail", str(error), fix)
        return
    for part, differences in parts.items():
        if differences:
            kind = network_class(folder, part)
            message = f"{folder / part}: its weights are not those of {kind}: {differences}"
            yield Finding("weights", "fail", message, fix)
    if not any(parts.values()):
        yield Finding("weights", "ok", "names and shapes are those that the classes need")
    scheduler = json.loads((folder / "scheduler" / "scheduler_config.json").read_text("utf-8"))
    noise = scheduler.get("prediction_type", "epsilon") == "epsilon"
    if noise and scheduler.get("rescale_betas_zero_snr"):
        message = (
            "the scheduler may begin with pure noise, where a model that predicts noise cannot"
        )
        fix = "set rescale_betas_zero_snr to false in scheduler/scheduler_config.json"
        yield Finding("scheduler", "warn", message, fix)


def check_downloads(methods: Sequence[Method[Any]], judge: Judge, fix: str) -> Iterator[Finding]:
    """Report whether the models that methods and judge use are on this machine, and fit.

    Args:
        fix: the command that fetches them.
    """
    owners: list[Method[Any] | Judge] = [*methods, judge]
    for owner in owners:
        for network in owner.networks:
            yield _check_network(owner.name, network, fix)
        for hub_id in sorted({*owner.downloads} - {n.path_or_id for n in owner.networks}):
            repository = network_repository(hub_id)
            if repository.cached() is not None:
                yield Finding(owner.name, "ok", f"{hub_id} is on this machine")
            else:
                message = _not_here(hub_id, repository.missing())
                yield Finding(owner.name, "fail", message, fix)


def _check_network(owner: str, network: Network, fix: str) -> Finding:
    name = network.path_or_id
    try:
        folder = network.local()
        if folder is None:
            return Finding(owner, "fail", _not_here(name, network.missing()), fix)
        differences = check_network(network, folder)
    except UserError as error:
        return Finding(owner, "fail", str(error), fix)
    if differences:
        message = f"{name}: its weights are not those of {network.loader}: {differences}"
        return Finding(owner, "fail", message, "fetch it again, or name another")
    return Finding(owner, "ok", f"{name} is on this machine, and its weights fit")


def _prefetch_command(options: RunOptions, methods: Sequence[str], words: Sequence[str]) -> str:
    command = ["actionbench", "prefetch", "--suite", options.suite]
    if list(methods) != system_names():
        command += ["--method", ",".join(methods)]
    command += ["--model", options.model] if options.model else []
    command += ["--judge", options.judge] if options.judge else []
    command += [word for value in options.judge_words for word in ("--judge-set", value)]
    command += [word for value in words for word in ("--set", value)]
    return shlex.join(command)


# -- what it takes -------------------------------------------------------------------------


def estimate(
    options: RunOptions,
    suite: Suite,
    exemplars: int,
    methods: Sequence[Method[Any]],
    folder: Path,
    device: str,
) -> Iterator[Finding]:
    """Estimate time, memory and disk of each method's run; finished work is not subtracted.

    Time is a lower bound: the counted operations of the networks, at the speed at which this device
    multiplies matrices. A run takes longer, because no other kernel is as fast as that.

    Args:
        exemplars: the number of exemplars per action.
        folder: the base model.
    """
    from actionbench.diffusion.cost import Networks

    networks = Networks(folder, gradient_checkpointing=options.gradient_checkpointing)
    yield from _estimates(networks, options, suite, exemplars, methods, device)


def estimate_preset(
    options: RunOptions,
    suite: Suite,
    exemplars: int,
    methods: Sequence[Method[Any]],
    preset: ModelPreset,
    device: str,
) -> Iterator[Finding]:
    """Estimate as `estimate` does for a preset that is not here, by sizes that were typed in."""
    from actionbench.diffusion.cost import PresetNetworks

    yield Finding(
        "sizes",
        "warn",
        f"{preset.name} is not here, so that estimates are from sizes that were typed in "
        f"({preset.sizes.source}), without activations",
    )
    networks = PresetNetworks(preset)
    yield from _estimates(networks, options, suite, exemplars, methods, device)


def _estimates(
    networks: Networks | PresetNetworks,
    options: RunOptions,
    suite: Suite,
    exemplars: int,
    methods: Sequence[Method[Any]],
    device: str,
) -> Iterator[Finding]:
    from actionbench.diffusion.backbone import DTYPES

    dtype = DTYPES[options.dtype]
    speed = matmul_speed(device, dtype)
    free, _ = memory(device)
    actions = suite.pick_actions(options.actions)
    images = len(actions) * len(suite.pick_subjects(options.subjects)) * options.images_per_pair
    drawing = images * image_flops(networks, suite.sampling)
    disk = 0
    for method in methods:
        disk += images * 3 * networks.pixels**2
        work = method.fit_work(exemplars, networks.layers) if method.needs_fit else Work()
        if work is None:
            message = _took("its fits are not estimated", images, drawing / speed)
            work = Work()
        elif method.needs_fit:
            flops = networks.flops(work, exemplars)
            once = work.drawn_once * networks.forward.flops if work.drawn_once else 0.0
            fits = f"{len(actions)} fits of {_duration(flops / speed)}"
            if once:
                fits += f" and {_duration(once / speed)} once"
            message = _took(fits, images, (len(actions) * flops + once + drawing) / speed)
        else:
            message = _took("no fit", images, drawing / speed)
        needed = networks.fit_bytes(work, dtype) if method.needs_backbone else 0
        what = "a fit" if work != Work() else "the model"
        message += f"; {what} needs at least {needed / GIB:.1f} GiB"
        if work.trained_batch and not work.conditioned:
            disk += len(actions) * 2 * networks.denoiser_parameters
        if needed > free:
            fix = _what_fits(networks, work, options, free)
            yield Finding(method.name, "fail", f"{message}, {free / GIB:.1f} GiB are free", fix)
        else:
            yield Finding(method.name, "ok", message)
    yield Finding(
        "speed", "ok", f"{speed / 1e12:.2f} TFLOP/s in a matrix product of {options.dtype}"
    )
    yield check_disk(options.runs, disk)


def _what_fits(
    networks: Networks | PresetNetworks, work: Work, options: RunOptions, free: int
) -> str:
    """Say with which options a fit has room, or else what it takes and which models have room."""
    from actionbench.diffusion.backbone import DTYPES
    from actionbench.diffusion.cost import PresetNetworks

    checkpoints, half = "--gradient-checkpointing", "--dtype bfloat16"
    whole = options.dtype == "float32"
    again = not options.gradient_checkpointing and networks.checkpointed() is not networks
    least = networks.fit_bytes(work, DTYPES[options.dtype])
    words = ""
    for flags, apart, dtype in (
        (checkpoints, again, options.dtype),
        (half, whole, "bfloat16"),
        (f"{checkpoints} {half}", again and whole, "bfloat16"),
    ):
        if not apart:
            continue
        chosen = networks.checkpointed() if checkpoints in flags else networks
        needed = chosen.fit_bytes(work, DTYPES[dtype])
        if needed <= free:
            return f"take {flags}: at least {needed / GIB:.1f} GiB are then needed"
        if needed <= least:
            least, words = needed, f" with {flags}"
    smaller = [
        preset.name
        for preset in MODEL_PRESETS.values()
        if PresetNetworks(preset).fit_bytes(work, DTYPES["bfloat16"]) <= free
    ]
    fix = f"take a device with {least / GIB:.1f} GiB{words}"
    if smaller:
        fix += f", or a smaller model; with {half} there is room for the weights of "
        fix += ", ".join(smaller)
    return fix


def _took(fits: str, images: int, seconds: float) -> str:
    return f"estimate: at least {_duration(seconds)} ({fits}, {images} images)"


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def image_flops(networks: Networks | PresetNetworks, sampling: Sampling) -> float:
    """Return the operations of drawing one image with guidance."""
    return 2 * sampling.steps * networks.forward.flops + networks.decoded.flops


def matmul_speed(
    device: str,
    dtype: torch.dtype,
    seconds: float = 0.5,
    clock: Callable[[], float] = time.perf_counter,
) -> float:
    """Measure the floating-point operations per second of a `clock` in products of matrices."""
    import torch

    side = 8192 if device == "cuda" else 1024
    matrix = torch.randn(side, side, device=device).to(dtype)

    def product() -> None:
        matrix @ matrix
        if device == "cuda":
            torch.cuda.synchronize()

    product()
    best, ends = float("inf"), clock() + seconds
    while (began := clock()) < ends:
        product()
        # The best of them, because other work on the machine is not the device's fault.
        best = min(best, clock() - began)
    return 2 * side**3 / best


def check_disk(runs: Path, needed: int) -> Finding:
    """Check that there is room for `needed` bytes: images, uncompressed, and what fits store."""
    place = next(p for p in (runs, *runs.resolve().parents) if p.exists())
    free = shutil.disk_usage(place).free
    message = f"{free / GIB:.1f} GiB free at {place}, {needed / GIB:.2f} needed at most"
    if free < needed:
        return Finding(
            "disk", "fail", message, "free some space, or name another folder with --runs"
        )
    return Finding("disk", "ok", message)
