"""The way of the data: plan -> fit -> generate -> judge, action by action, each step stored.

`plan_run` says what a command comes to and what of it is there already; `execute` does the rest.
Killed anywhere, the same command goes on from the last finished fit, image or batch of verdicts.
"""

from __future__ import annotations

import dataclasses
import hashlib
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from actionbench.device import PLAIN, Resources, out_of_memory, resolve_device
from actionbench.errors import MethodError, UserError, one_line
from actionbench.files.hashing import canonical_json, make_key
from actionbench.files.models import BATCH_SIZE, ModelSource
from actionbench.judge import Judge, Verdict
from actionbench.method import Customization, Method, check_fitted, check_images
from actionbench.progress import Observer, Progress
from actionbench.runs.canary import check_canary
from actionbench.runs.provenance import (
    git_state,
    machine,
    now,
    peak_memory_mib,
    reset_peak_memory,
    versions,
)
from actionbench.runs.store import FORMAT, Store
from actionbench.suite.items import Action, ActionTask, Item, Subject, make_items
from actionbench.suite.suite import Suite

if TYPE_CHECKING:
    from actionbench.diffusion.backbone import Backbone

_JUDGE_BATCH = 32
"""Verdicts are stored after every so many images: what a kill costs of a slow judge's work."""


@dataclass(frozen=True)
class ActionPlan:
    """One action's keys, and which of its steps are still to do."""

    action: Action
    task: ActionTask
    items: tuple[Item, ...]
    fit_key: str
    image_key: str
    verdict_key: str
    fit_stored: bool
    to_fit: bool
    to_draw: tuple[Item, ...]
    to_judge: tuple[Item, ...]

    @property
    def finished(self) -> bool:
        return not (self.to_fit or self.to_draw or self.to_judge)


@dataclass(frozen=True)
class Work:
    """How many of one kind of thing a run needs, and how many of them are still to make."""

    what: str
    total: int
    to_do: int


@dataclass(frozen=True)
class Plan:
    """A run, worked out but not begun."""

    store: Store
    suite: Suite
    method: Method[Any]
    source: ModelSource
    judge: Judge
    subjects: tuple[Subject, ...]
    images_per_pair: int
    seed: int
    device: str
    dtype: str
    batch_size: int
    resources: Resources
    command: tuple[str, ...]
    actions: tuple[ActionPlan, ...]

    @cached_property
    def run_id(self) -> str:
        return make_run_id(
            suite=self.suite.name,
            protocol=self.protocol,
            method=self.method.name,
            settings=self.settings,
            images_per_pair=self.images_per_pair,
            seed=self.seed,
            verdict_keys={action.action.name: action.verdict_key for action in self.actions},
            subjects=[subject.name for subject in self.subjects],
        )

    @property
    def protocol(self) -> str:
        """The suite's protocol under this judge."""
        return self.suite.protocol_of(self.judge.name)

    @property
    def settings(self) -> dict[str, Any]:
        values: dict[str, Any] = dataclasses.asdict(self.method.settings)
        return values

    @property
    def changed_settings(self) -> dict[str, Any]:
        """The settings that are not the method's own for this model: what a board's row names."""
        method = self.method
        own = dataclasses.asdict(
            method.Settings(**method.presets.get(self.source.preset or "", {}))
        )
        return {
            name: value
            for name, value in self.settings.items()
            if canonical_json(own[name]) != canonical_json(value)
        }

    @property
    def finished(self) -> bool:
        return all(action.finished for action in self.actions)

    def work(self) -> list[Work]:
        """Fits, images and verdicts: how many there are, how many of them are to do."""
        fits = len(self.actions) if self.method.needs_fit else 0
        items = sum(len(action.items) for action in self.actions)
        return [
            Work("fits", fits, sum(action.to_fit for action in self.actions)),
            Work("images", items, sum(len(action.to_draw) for action in self.actions)),
            Work("verdicts", items, sum(len(action.to_judge) for action in self.actions)),
        ]


@dataclass(frozen=True)
class ActionRow:
    """One line of the table that fills in: an action's counts and what it took."""

    action: str
    n: int
    action_correct: int
    subject_correct: int
    total_correct: int
    seconds: float
    """Of its fit, drawing and judging, whenever they were done."""


@dataclass(frozen=True)
class RunResult:
    run_id: str
    folder: Path
    rows: tuple[ActionRow, ...]
    record: Mapping[str, Any]


def plan_run(
    *,
    runs: Path | str,
    suite: Suite,
    method: Method[Any],
    source: ModelSource,
    judge: Judge,
    actions: Sequence[str] | None = None,
    subjects: Sequence[str] | None = None,
    images_per_pair: int = 2,
    seed: int = 0,
    device: str = "auto",
    dtype: str = "float32",
    batch_size: int = BATCH_SIZE,
    resources: Resources = PLAIN,
    command: Sequence[str] = (),
) -> Plan:
    """What a run comes to. Reads the store and writes nothing; needs no torch.

    Args:
        actions, subjects: names out of the suite; None is all of them.
        device: `auto`, `cpu` or `cuda`. Not part of any key: a run may go on elsewhere.
        batch_size: images drawn at once. It changes speed and memory, and no key.
        resources: what saves memory or time. Not part of any key either.
        command: the words that were typed, for the record.

    Raises UserError for unknown names and for what is damaged in the store.
    """
    store = Store(runs)
    chosen = suite.pick_subjects(subjects)
    picked = suite.pick_actions(actions)
    if not picked or not chosen:
        raise UserError("nothing to draw: name at least one action and one subject")
    plan = Plan(
        store, suite, method, source, judge, chosen, images_per_pair, seed, device, dtype,
        batch_size, resources, tuple(command), (),
    )  # fmt: skip
    return dataclasses.replace(
        plan,
        actions=tuple(_plan_action(plan, action) for action in picked),
    )


def _plan_action(plan: Plan, action: Action) -> ActionPlan:
    suite, method, store = plan.suite, plan.method, plan.store
    task = suite.tasks[action.name]
    fit_key = make_key(
        *("fit", method.name, method.version, plan.settings),
        *filter(None, [method.fingerprint]),
        *(plan.source.fingerprint, task.fingerprint, action.name, action.description),
        *(plan.seed, plan.dtype),
    )
    image_key = make_key(
        *("images", fit_key, suite.sampling.steps, suite.sampling.guidance_scale),
        [[subject.name, subject.phrase] for subject in suite.subjects],
        *suite.prompt_facts,
    )
    verdict_key = make_verdict_key(image_key, suite, plan.judge)
    items = tuple(
        make_items([action], plan.subjects, plan.images_per_pair, plan.seed, suite.prompt)
    )
    to_draw = tuple(item for item in items if not store.has_image(image_key, item))
    # A verdict whose image is gone is not trusted: it is judged again with the new image.
    undrawn = {item.id for item in to_draw}
    judged = store.load_verdicts(verdict_key)
    to_judge = tuple(i for i in items if item_name(i) not in judged or i.id in undrawn)
    fit_stored = method.needs_fit and store.has_fit(fit_key)
    return ActionPlan(
        action, task, items, fit_key, image_key, verdict_key,
        fit_stored=fit_stored,
        to_fit=method.needs_fit and not fit_stored and bool(to_draw),
        to_draw=to_draw,
        to_judge=to_judge,
    )  # fmt: skip


def make_verdict_key(image_key: str, suite: Suite, judge: Judge) -> str:
    return make_key(
        "verdicts", image_key, judge.name, judge.fingerprint, suite.name, suite.protocol
    )


def make_run_id(
    *,
    suite: str,
    protocol: str,
    method: str,
    settings: Mapping[str, Any],
    images_per_pair: int,
    seed: int,
    verdict_keys: Mapping[str, str],
    subjects: Sequence[str],
) -> str:
    """`verdict_keys` by the actions' names, in the run's order."""
    key = make_key(
        *(suite, protocol, method, settings, images_per_pair, seed),
        *([key, action] for action, key in verdict_keys.items()),
        subjects,
    )
    return f"{method}-{key[:8]}"


def load_backbone(source: ModelSource, device: str, dtype: str, resources: Resources) -> Backbone:
    from actionbench.diffusion.backbone import Backbone

    return Backbone.load(source, device, dtype, resources)


Load = Callable[[ModelSource, str, str, Resources], "Backbone"]
"""Gives the backbone of a model on a device in a number format."""


def execute(
    plan: Plan,
    observer: Observer | None = None,
    load: Load = load_backbone,
) -> RunResult:
    """Do what a plan leaves to do, storing each step, and return the run's table.

    A finished run is only read, and loads nothing. Several runs may be given the same backbone by
    `load`.

    Raises MethodError where the method fails, whatever it raises: its finished actions are kept,
    and the record says why. Raises UserError for a store that cannot be written, and for too little
    memory.
    """
    return _Execution(plan, observer or Observer(), load).run()


class _Execution:
    def __init__(
        self,
        plan: Plan,
        observer: Observer,
        load: Load,
    ) -> None:
        self.plan = plan
        self.store = plan.store
        self.observer = observer
        self.load = load
        self.rows: dict[str, list[dict[str, Any]]] = {}
        """Verdict rows of the finished actions, by action."""

    def run(self) -> RunResult:
        plan = self.plan
        earlier = self.store.load_record(plan.run_id)
        if plan.finished and earlier and earlier["complete"] and self.store.has_rows(plan.run_id):
            self.record = earlier
            for row in self.store.load_row_dicts(plan.run_id):
                self.rows.setdefault(row["action"], []).append(row)
            return self._result([self._report(action) for action in plan.actions])

        self.store.prepare()
        self.store.forget_failure(plan.run_id)
        reset_peak_memory()
        self.record = _record(plan, earlier)
        # What an earlier run finished stays in the rows while this one is at work on the rest.
        self.rows = {
            a.action.name: self._verdict_rows(a, self.store.load_verdicts(a.verdict_key))
            for a in plan.actions
            if a.finished
        }
        self._save()
        table = []
        for action in plan.actions:
            if not action.finished:
                with _memory_told(plan):
                    verdicts = self._do(action)
                self.rows[action.action.name] = self._verdict_rows(action, verdicts)
            table.append(self._report(action))
            self._save()
        self.record |= {"complete": True, "finished": now()}
        self._save()
        return self._result(table)

    def _report(self, action: ActionPlan) -> ActionRow:
        name = action.action.name
        rows = self.rows[name]
        costs = self.record["costs"][name].values()
        row = ActionRow(
            action=name,
            n=len(rows),
            action_correct=sum(row["action_correct"] for row in rows),
            subject_correct=sum(row["subject_correct"] for row in rows),
            total_correct=sum(row["total_correct"] for row in rows),
            seconds=sum(cost["seconds"] for cost in costs if cost),
        )
        self.observer.row(row)
        return row

    def _save(self) -> None:
        names = [action.action.name for action in self.plan.actions]
        rows = [row for name in names for row in self.rows.get(name, [])]
        self._note_peak()
        # A kill between the two must not leave "complete" beside too few rows.
        if self.record["complete"]:
            self.store.save_rows(self.plan.run_id, rows)
            self.store.save_record(self.plan.run_id, self.record)
        else:
            self.store.save_record(self.plan.run_id, self.record)
            self.store.save_rows(self.plan.run_id, rows)

    def _note_peak(self) -> None:
        """The run's peak is the highest of its parts', each measured from a reset on."""
        self.record["peak_mib"] = max(self.record["peak_mib"], peak_memory_mib())

    def _result(self, table: Sequence[ActionRow]) -> RunResult:
        run_id = self.plan.run_id
        return RunResult(run_id, self.store.run_folder(run_id), tuple(table), self.record)

    # The steps of one action

    def _do(self, action: ActionPlan) -> dict[tuple[str, int], Verdict]:
        """The action's verdicts, those of earlier runs among them."""
        costs = self.record["costs"][action.action.name]
        if action.to_draw:
            if self.plan.method.needs_fit:
                if action.to_fit:
                    self._fit(action)
                costs["fit"] = self.store.fit_record(action.fit_key)["cost"]
            self._forget_verdicts(action)
            self._draw(action, costs["generate"])
            self.store.save_record(self.plan.run_id, self.record)
        return self._judge(action, costs["judge"])

    def _fit(self, action: ActionPlan) -> None:
        import torch

        backbone = self.backbone
        name = action.action.name
        if self.device == "cuda":
            torch.cuda.reset_peak_memory_stats()
        self._note_peak()
        reset_peak_memory()
        started = time.monotonic()
        with self._failure_told(action, "fitting"):
            fitted = self.plan.method.fit(
                backbone,
                action.task,
                seed=fit_seed(self.plan.seed, name),
                progress=_FitProgress(self.observer, name),
            )
            seconds = time.monotonic() - started
            check_fitted(
                fitted,
                method=self.plan.method.name,
                action=name,
                model=self.plan.source.fingerprint,
            )
        cost = {"seconds": round(seconds, 3), "peak_mib": peak_memory_mib(), "device": self.device}
        if self.device == "cuda":
            cost["peak_cuda_mib"] = int(torch.cuda.max_memory_allocated() // 2**20)
        self.store.save_fit(action.fit_key, fitted, cost, self.plan.method.version)

    def _customization(self, action: ActionPlan) -> Customization:
        """As stored, also right after the fit: a resumed run then draws from the same numbers."""
        method, name, model = self.plan.method, action.action.name, self.plan.source.fingerprint
        if not method.needs_fit:
            return Customization(method.name, name, model)
        return self.store.load_fit(
            action.fit_key, method=method.name, action=name, model=model, version=method.version
        )

    def _draw(self, action: ActionPlan, cost: dict[str, Any]) -> None:
        name, total = action.action.name, len(action.items)
        customization = self._customization(action)
        images = self._images(action, self.backbone, customization)
        there = total - len(action.to_draw)
        self.observer.step(name, "generate", there, total)
        started = time.monotonic()
        for number, (item, image) in enumerate(zip(action.to_draw, images, strict=True), 1):
            self.store.save_image(action.image_key, item, image)
            self.observer.step(name, "generate", there + number, total)
        add_cost(cost, time.monotonic() - started, len(action.to_draw))

    def _images(
        self, action: ActionPlan, backbone: Backbone, customization: Customization
    ) -> Iterator[Image.Image]:
        """Where memory does not suffice, the rest is drawn in batches of half the size, down to
        one: an image does not depend on its batch."""
        done = 0
        with self._failure_told(action, "drawing"):
            while done < len(action.to_draw):
                items = action.to_draw[done:]
                try:
                    drawn = self.plan.method.generate(backbone, customization, items)
                    for image in check_images(drawn, len(items)):
                        yield image
                        done += 1
                except Exception as error:
                    if backbone.batch_size == 1 or not out_of_memory(error):
                        raise
                # Outside the handler: the error no longer holds on to what filled the memory.
                if done < len(action.to_draw):
                    self._halve_batches(action, backbone, done)

    def _halve_batches(self, action: ActionPlan, backbone: Backbone, done: int) -> None:
        import torch

        torch.cuda.empty_cache()
        backbone.batch_size //= 2
        self.record["resources"]["batch_size"] = backbone.batch_size
        total = len(action.items)
        self.observer.step(
            *(action.action.name, "generate", total - len(action.to_draw) + done, total),
            f"out of memory: now {backbone.batch_size} at once",
        )

    @contextmanager
    def _failure_told(self, action: ActionPlan, doing: str) -> Iterator[None]:
        """Whatever the method raises becomes one line under its name, also in the record."""
        try:
            yield
        except Exception as error:
            run_id, name = self.plan.run_id, action.action.name
            if out_of_memory(error):
                reason = _memory_advice(self.plan, self.record["resources"]["batch_size"])
            else:
                reason = one_line(error)
                if not isinstance(error, UserError):
                    self.store.save_failure(run_id, traceback.format_exc())
                    reason += f" (traceback in {self.store.failure_path(run_id)})"
            self.record["failure"] = {"action": name, "doing": doing, "reason": reason}
            self._save()
            raise MethodError(
                f"{self.plan.method.name} failed {doing} '{name}': {reason}"
            ) from error

    def _forget_verdicts(self, action: ActionPlan) -> None:
        """Drop what was seen on images that are gone, lest a kill leave it beside new ones."""
        verdicts = self.store.load_verdicts(action.verdict_key)
        gone = {item_name(item) for item in action.to_draw}
        kept = {name: verdict for name, verdict in verdicts.items() if name not in gone}
        if kept != verdicts:
            self.store.save_verdicts(action.verdict_key, kept)

    def _judge(self, action: ActionPlan, cost: dict[str, Any]) -> dict[tuple[str, int], Verdict]:
        judge, store = self.plan.judge, self.store
        judge.device = self.device
        return judge_images(
            store, judge, action.image_key, action.verdict_key, action.items, action.to_judge,
            self.observer, cost,
        )  # fmt: skip

    # What the steps stand on

    @cached_property
    def backbone(self) -> Backbone:
        plan = self.plan
        backbone = self.load(plan.source, self.device, plan.dtype, plan.resources)
        backbone.sampling = self.plan.suite.sampling
        backbone.batch_size = self.plan.batch_size
        return backbone

    @cached_property
    def device(self) -> str:
        device = resolve_device(self.plan.device)
        self.record["device"] = device
        return device

    # Rows

    def _verdict_rows(
        self, action: ActionPlan, verdicts: Mapping[tuple[str, int], Verdict]
    ) -> list[dict[str, Any]]:
        plan = self.plan
        return verdict_rows(
            plan.store, plan.suite, plan.judge, plan.method.name, action.image_key, action.items,
            verdicts,
        )  # fmt: skip


def judge_images(
    store: Store,
    judge: Judge,
    image_key: str,
    verdict_key: str,
    items: Sequence[Item],
    to_judge: Sequence[Item],
    observer: Observer,
    cost: dict[str, Any],
) -> dict[tuple[str, int], Verdict]:
    """Judge the images of one action that are not judged yet, storing verdicts as they come.

    Returns those of all its items; adds to `cost` what it took.
    """
    before = store.load_verdicts(verdict_key)
    found: dict[tuple[str, int], Verdict] = {}
    total, there = len(items), len(items) - len(to_judge)
    observer.step(items[0].action.name, "judge", there, total)
    if to_judge:
        with _judges_memory_told(judge):
            check_canary(store, judge)
    started = time.monotonic()
    for begin in range(0, len(to_judge), _JUDGE_BATCH):
        batch = to_judge[begin : begin + _JUDGE_BATCH]
        images = [store.load_image(image_key, item) for item in batch]
        with _judges_memory_told(judge):
            seen = judge.judge(images, batch)
        found |= {item_name(item): v for item, v in zip(batch, seen, strict=True)}
        store.add_verdicts(verdict_key, found)
        observer.step(items[0].action.name, "judge", there + begin + len(batch), total)
    add_cost(cost, time.monotonic() - started, len(to_judge))
    return {**before, **found}


@contextmanager
def _judges_memory_told(judge: Judge) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        if not out_of_memory(error):
            raise
        raise UserError(
            f"there is not enough memory for the {judge.name} judge: lower its batch size "
            "(--judge-set batch_size=N), or let `actionbench judges run` judge the drawn images, "
            "which loads no base model; finished work is kept"
        ) from error


def verdict_rows(
    store: Store,
    suite: Suite,
    judge: Judge,
    method: str,
    image_key: str,
    items: Sequence[Item],
    verdicts: Mapping[tuple[str, int], Verdict],
) -> list[dict[str, Any]]:
    """Rows of `judge.VERDICT_COLUMNS`, one an item."""
    return [
        {
            "method": method,
            "suite": suite.name,
            "protocol": suite.protocol_of(judge.name),
            "action": item.action.name,
            "subject": item.subject.name,
            "category": item.subject.category,
            "index": item.index,
            "seed": item.seed,
            "image": store.image_path(image_key, item).relative_to(store.root).as_posix(),
            "total_correct": verdict.action_correct and verdict.subject_correct,
            "judge": judge.name,
            "judge_fingerprint": judge.fingerprint,
            **vars(verdict),
        }
        for item in items
        for verdict in [verdicts[item_name(item)]]
    ]


def judge_facts(judge: Judge) -> dict[str, Any]:
    """What a run's record says of its judge."""
    return {
        "name": judge.name,
        "fingerprint": judge.fingerprint,
        "settings": dataclasses.asdict(judge.settings),
    }


class _FitProgress(Progress):
    def __init__(self, observer: Observer, action: str) -> None:
        self.observer, self.action = observer, action

    def update(self, done: int, total: int, what: str = "") -> None:
        self.observer.step(self.action, "fit", done, total, what)


def fit_seed(run_seed: int, action: str) -> int:
    """Seed of an action's fit, a 63-bit hash: the same whichever actions a run has."""
    digest = hashlib.blake2b(f"fit|{run_seed}|{action}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


@contextmanager
def _memory_told(plan: Plan) -> Iterator[None]:
    """Turn a lack of memory outside the method, in loading or judging, into one line."""
    try:
        yield
    except Exception as error:
        if not out_of_memory(error):
            raise
        raise UserError(_memory_advice(plan, plan.batch_size)) from error


def _memory_advice(plan: Plan, batch_size: int) -> str:
    """What to change, of what is not changed yet."""
    saving = plan.resources
    ways = {
        f"lower --batch-size (now {batch_size})": batch_size > 1,
        "take --dtype bfloat16": plan.dtype == "float32",
        "take --gradient-checkpointing": not saving.gradient_checkpointing,
        "take --vae-slicing": not saving.vae_slicing,
        "take --offload": not saving.offload,
        "take a --model of smaller images": True,
    }
    told = " or ".join(way for way, open_still in ways.items() if open_still)
    return f"there is not enough memory: {told}; finished work is kept"


def item_name(item: Item) -> tuple[str, int]:
    """An item's name among its action's items."""
    return item.subject.name, item.index


def add_cost(cost: dict[str, Any], seconds: float, images: int) -> None:
    cost["seconds"] = round(cost["seconds"] + seconds, 3)
    cost["images"] += images


def _record(plan: Plan, earlier: Mapping[str, Any] | None) -> dict[str, Any]:
    """The run's record; costs and the beginning are taken over from an earlier, unfinished part.

    Costs of drawing and judging come with the number of images that were timed: a step that was
    killed is in neither.
    """
    costs = {a.action.name: _costs_so_far(plan, a, earlier) for a in plan.actions}
    fits = [cost["fit"] for cost in costs.values() if cost["fit"]]
    return {
        "format": FORMAT,
        "id": plan.run_id,
        "complete": False,
        "method": plan.method.name,
        "method_version": plan.method.version,
        "title": plan.method.title,
        "reference": plan.method.reference,
        "settings": plan.settings,
        "changed_settings": plan.changed_settings,
        "suite": plan.suite.name,
        "suite_file": plan.suite.file and str(plan.suite.file.resolve()),
        "suite_fingerprint": plan.suite.fingerprint,
        "protocol": plan.protocol,
        "sampling": dataclasses.asdict(plan.suite.sampling),
        "model": {
            "name": plan.source.name,
            "path": str(plan.source.path),
            "preset": plan.source.preset,
            "fingerprint": plan.source.fingerprint,
        },
        "judge": judge_facts(plan.judge),
        "actions": [action.action.name for action in plan.actions],
        "subjects": [subject.name for subject in plan.subjects],
        "images_per_pair": plan.images_per_pair,
        "n_items": sum(len(action.items) for action in plan.actions),
        "seed": plan.seed,
        "dtype": plan.dtype,
        "resources": {"batch_size": plan.batch_size, **dataclasses.asdict(plan.resources)},
        "safety_checker": False,
        "device": earlier.get("device") if earlier else None,
        "command": list(plan.command),
        "versions": versions(),
        "machine": machine(),
        "git": git_state(),
        "peak_mib": max(
            [earlier["peak_mib"] if earlier else 0, *(fit.get("peak_mib", 0) for fit in fits)]
        ),
        "keys": {
            a.action.name: {"fit": a.fit_key, "images": a.image_key, "verdicts": a.verdict_key}
            for a in plan.actions
        },
        "costs": costs,
        "started": earlier["started"] if earlier else now(),
        "finished": None,
        "failure": None,
    }


def _costs_so_far(
    plan: Plan, action: ActionPlan, earlier: Mapping[str, Any] | None
) -> dict[str, Any]:
    """A fit's cost is that of the stored fit, whichever run paid it: a killed run had no time to
    note it."""
    costs: dict[str, Any] = {
        "fit": None,
        **{step: {"seconds": 0.0, "images": 0} for step in ("generate", "judge")},
    }
    if earlier:
        costs |= earlier["costs"].get(action.action.name, {})
    if action.fit_stored:
        costs["fit"] = plan.store.fit_record(action.fit_key)["cost"]
    return costs
