"""Plans of runs: their actions' keys, and which of their steps are still to do.

Keys depend only on inputs and are made only here; `judging.plan_rejudging` calls the same functions
with a stored run's record.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from actionbench.errors import UserError
from actionbench.files.hashing import canonical_json, make_key
from actionbench.files.models import ModelSource, model_traits
from actionbench.judge import Judge
from actionbench.method import Method
from actionbench.runs.options import DEFAULTS, RunOptions
from actionbench.runs.profiles import RECIPE, configure, is_defined
from actionbench.runs.store import Store
from actionbench.settings import recorded_settings
from actionbench.suite.drawn import redrawn
from actionbench.suite.items import Action, ActionTask, Item, Subject, make_items
from actionbench.suite.suite import Suite


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
        """Whether nothing is left to do."""
        return not (self.to_fit or self.to_draw or self.to_judge)


@dataclass(frozen=True)
class Tally:
    """How many fits, images or verdicts a run needs, and how many of them are still to do."""

    what: str
    total: int
    to_do: int


@dataclass(frozen=True)
class Plan:
    """A run that is planned but not begun."""

    store: Store
    suite: Suite
    method: Method[Any]
    source: ModelSource
    judge: Judge
    options: RunOptions
    subjects: tuple[Subject, ...]
    command: tuple[str, ...]
    actions: tuple[ActionPlan, ...] = ()

    @cached_property
    def run_id(self) -> str:
        """The method's name and a hash of everything that makes the run."""
        return make_run_id(
            suite=self.suite.name,
            protocol=self.protocol,
            method=self.method.name,
            settings=self.settings,
            images_per_pair=self.options.images_per_pair,
            seed=self.options.seed,
            profile=self.options.profile,
            prompts=self.prompts,
            verdict_keys={action.action.name: action.verdict_key for action in self.actions},
            subjects=[subject.name for subject in self.subjects],
        )

    @property
    def protocol(self) -> str:
        """The suite's protocol under this judge."""
        return self.suite.protocol_of(self.judge.name)

    @property
    def prompts(self) -> str:
        """The prompt block; a `prompts=` word among the settings puts the run in that block."""
        asked = self.options.prompts
        changed = self.changed_settings.get("prompts", asked)
        return asked if asked != "own" else str(changed)

    @property
    def settings(self) -> dict[str, Any]:
        """The method's settings by name, as keys and the record have them."""
        return recorded_settings(self.method.settings)

    @cached_property
    def changed_settings(self) -> dict[str, Any]:
        """The settings that differ from the profile's own for this model; boards name them.

        Of a published recipe that is its name, and what differs from it.
        """
        values = dataclasses.asdict(self.method.settings)
        recipe = values.get(RECIPE)
        traits = model_traits(self.source.preset, self.source.path)
        kind, prompts = type(self.method), self.options.prompts
        # The runs from before there were profiles count as tuned, whatever their model.
        asked = self.options.profile
        profile = asked if is_defined(kind, traits, asked) else "published"
        plain = configure(kind, traits, profile, prompts).settings
        own = dataclasses.asdict(plain)
        if recipe in kind.recipes:
            words = [f"{RECIPE}={recipe}"]
            chosen = configure(kind, traits, profile, prompts, words).settings
            own = dataclasses.asdict(chosen) | {RECIPE: getattr(plain, RECIPE)}
        return {
            name: value
            for name, value in values.items()
            if canonical_json(own[name]) != canonical_json(value)
        }

    @property
    def finished(self) -> bool:
        """Whether nothing is left to do."""
        return all(action.finished for action in self.actions)

    def work(self) -> list[Tally]:
        """Count fits, images and verdicts: how many there are, and how many are still to do."""
        fits = len(self.actions) if self.method.needs_fit else 0
        items = sum(len(action.items) for action in self.actions)
        return [
            Tally("fits", fits, sum(action.to_fit for action in self.actions)),
            Tally("images", items, sum(len(action.to_draw) for action in self.actions)),
            Tally("verdicts", items, sum(len(action.to_judge) for action in self.actions)),
        ]


def plan_run(
    *,
    suite: Suite,
    method: Method[Any],
    source: ModelSource,
    judge: Judge,
    options: RunOptions = DEFAULTS,
    command: Sequence[str] = (),
) -> Plan:
    """Plan a run. This reads the store but writes nothing, and needs no torch.

    Args:
        suite, source, judge: what the options name.
        method: the method, with its settings.
        options: their `actions` and `subjects` are names of the suite's.
        command: the command line as it was typed, for the record.

    Raises:
        UserError: for unknown names, and for damaged files in the store.
    """
    chosen = suite.pick_subjects(options.subjects)
    picked = suite.pick_actions(options.actions)
    if not picked or not chosen:
        raise UserError("nothing to draw: name one at least with --actions and --subjects")
    tasks = learned_tasks(suite, options)
    store = Store(options.runs)
    plan = Plan(store, suite, method, source, judge, options, chosen, tuple(command))
    actions = tuple(_plan_action(plan, tasks[action.name]) for action in picked)
    return dataclasses.replace(plan, actions=actions)


def learned_tasks(suite: Suite, options: RunOptions) -> Mapping[str, ActionTask]:
    """Return what methods learn from, by the action's name: the suite's exemplars, or redrawn ones.

    Raises:
        UserError: for other exemplars of a suite that is not drawn.
    """
    if not options.redraws_exemplars:
        return suite.tasks
    return redrawn(suite, options.exemplar_seed, options.exemplars).tasks


def _plan_action(plan: Plan, task: ActionTask) -> ActionPlan:
    suite, method, store, options = plan.suite, plan.method, plan.store, plan.options
    action = task.action
    fit_key = make_key(
        *("fit", method.name, method.version, plan.settings),
        *filter(None, [method.fingerprint]),
        *(plan.source.fingerprint, task.fingerprint, action.name, action.description),
        *(options.seed, options.dtype),
    )
    image_key = make_key(
        *("images", fit_key, suite.sampling.steps, suite.sampling.guidance_scale),
        [[subject.name, subject.phrase] for subject in suite.subjects],
        *suite.prompt_facts,
    )
    verdict_key = make_verdict_key(image_key, suite, plan.judge)
    items = tuple(
        make_items([action], plan.subjects, options.images_per_pair, options.seed, suite.prompt)
    )
    to_draw = store.missing_images(image_key, items)
    # If an image is gone, its verdict is not trusted: the new image is judged again.
    undrawn = {item.id for item in to_draw}
    judged = store.load_verdicts(verdict_key)
    to_judge = tuple(i for i in items if i.name not in judged or i.id in undrawn)
    fit_stored = method.needs_fit and store.has_fit(fit_key)
    return ActionPlan(
        action, task, items, fit_key, image_key, verdict_key,
        fit_stored=fit_stored,
        to_fit=method.needs_fit and not fit_stored and bool(to_draw),
        to_draw=to_draw,
        to_judge=to_judge,
    )  # fmt: skip


def make_verdict_key(image_key: str, suite: Suite, judge: Judge) -> str:
    """Return the key of a judge's verdicts on an action's images."""
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
    profile: str,
    prompts: str,
    verdict_keys: Mapping[str, str],
    subjects: Sequence[str],
) -> str:
    """Return a run's id; `verdict_keys` are by the actions' names, in the run's order.

    Runs of two profiles or prompt blocks may share all fits and images, and each has its record.
    """
    block = (profile, prompts)
    key = make_key(
        *(suite, protocol, method, settings, images_per_pair, seed),
        *([key, action] for action, key in verdict_keys.items()),
        subjects,
        # Nothing for what all runs were before there were profiles and blocks.
        *([] if block == ("tuned", "own") else [block]),
    )
    return f"{method}-{key[:8]}"


def fit_seed(run_seed: int, action: str) -> int:
    """Return the seed of an action's fit, a 63-bit hash that does not depend on other actions."""
    digest = hashlib.blake2b(f"fit|{run_seed}|{action}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1
