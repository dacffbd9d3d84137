"""Several runs by one executor: they share what they load, and a failure stops only its own run.

A run of many methods, a search over settings and an ablation are all lists of plans; each run is
stored and continued by itself, like any other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass, replace
from traceback import format_exception
from typing import Any

from actionbench.diffusion.lengths import check_texts
from actionbench.errors import MethodError, UserError, one_line
from actionbench.files.models import ModelSource, model_traits, resolve_model
from actionbench.judge import Judge
from actionbench.method import Method, check_kind
from actionbench.progress import SILENT, Observer, Progress
from actionbench.registry import get_method, make_judge
from actionbench.runs.execute import Execution, RunResult
from actionbench.runs.lockstep import bytes_of_fits
from actionbench.runs.options import RunOptions
from actionbench.runs.plan import Plan, plan_run
from actionbench.runs.profiles import configure, is_defined
from actionbench.runs.workers.choose import open_executor
from actionbench.runs.workers.executor import Executor, InLine
from actionbench.runs.workers.schedule import Schedule
from actionbench.suite.drawn import base_model, check_world
from actionbench.suite.suite import Suite, get_suite


@dataclass(frozen=True)
class Setup:
    """What the runs of a campaign share: the options, and the suite, model and judge they name."""

    options: RunOptions
    suite: Suite
    source: ModelSource
    judge: Judge
    """One for all runs, so that its weights are loaded once."""
    command: Sequence[str] = ()

    def method(self, kind: type[Method[Any]], words: Sequence[str] = ()) -> Method[Any]:
        """Make a method with its settings for this model, by the options' profile and prompts."""
        traits = model_traits(self.source.preset, self.source.path)
        return configure(kind, traits, self.options.profile, self.options.prompts, words)

    def with_profile(self, names: Sequence[str]) -> list[str]:
        """List those methods that have settings by the options' profile for this model.

        A plug-in that cannot be imported is among them: planning it says why. All, if none has.
        """
        traits = model_traits(self.source.preset, self.source.path)

        def has(name: str) -> bool:
            try:
                return is_defined(get_method(name), traits, self.options.profile)
            except UserError:
                return True

        return [name for name in names if has(name)] or list(names)

    def plan(
        self, kind: type[Method[Any]], words: Sequence[str] = (), seed: int | None = None
    ) -> Plan:
        """Plan a method's run, with its settings for this model changed by `key=value` words.

        Args:
            kind: the method's class.
            words: changes to its settings.
            seed: the run's seed; by default that of the options.

        Raises:
            UserError: as `plan_run`, if the method does not serve the model's kind, and if the text
                encoder has no room for the action.
        """
        options = self.options if seed is None else replace(self.options, seed=seed)
        method = self.method(kind, words)
        if method.needs_backbone:
            check_kind(method, self.source.kind, self.source.name)
        plan = plan_run(
            suite=self.suite,
            method=method,
            source=self.source,
            judge=self.judge,
            options=options,
            command=self.command,
        )
        if not plan.finished:
            check_prompts(plan)
        return plan


def check_prompts(plan: Plan) -> list[str]:
    """Check that the base model's text encoder has room for what a run says to it.

    Returns:
        A line if texts lose words that are not the action's.

    Raises:
        UserError: if one loses the action.
    """
    tasks = [action.task for action in plan.actions]
    return check_texts(plan.source.path, plan.suite.prompt, plan.method, tasks, plan.subjects)


def prepare(options: RunOptions, command: Sequence[str] = (), progress: Progress = SILENT) -> Setup:
    """Load what the options name: suite, judge and base model, which is fetched if necessary.

    Args:
        options: what all runs are made with.
        command: the command line as it was typed, for the records.
        progress: receives the progress of hashing and fetching.

    Raises:
        UserError: for unknown names, missing exemplars, and a model that cannot be fetched.
    """
    suite = get_suite(options.suite)
    model = options.model or base_model(suite)
    judge = make_judge(options.judge or suite.judge, suite, options.judge_words)
    suite.make(progress)
    _ = suite.tasks  # missing exemplars are reported before a model is fetched
    source = resolve_model(model, progress)
    check_world(suite, source)
    return Setup(options, suite, source, judge, command)


@dataclass(frozen=True)
class Outcome:
    """What became of one plan."""

    plan: Plan
    result: RunResult | None
    """None if the run failed."""
    failure: str = ""
    """Why it failed, in one line. Words, because an exception would keep the frames that raised
    it alive, and with them the failed run's backbone."""
    trace: str = ""
    """The traceback, if the failure is a defect and no mistake of the user's."""
    of_method: bool = False
    """Whether the method failed at what it was asked for; if not, what is around it did: a disk
    that is full, a judge."""


View = Callable[[Plan], AbstractContextManager[Observer]]
"""Makes the observer of a run, for the time that the run takes."""


def unwatched(plan: Plan) -> AbstractContextManager[Observer]:
    """Watch a run without showing anything."""
    return nullcontext(Observer())


def execute_each(plans: Iterable[Plan], view: View = unwatched) -> Iterator[Outcome]:
    """Execute plans and yield what became of each, in order.

    Their units go to one executor, so that workers which a run leaves idle begin with the next,
    and neighbours that share a backbone load it once. A run that raises gives an outcome like any
    other; only an interruption stops the campaign.
    """
    plans = list(plans)
    schedule: Schedule | None = None
    with ExitStack() as stack:
        jobs = [Execution(plan) for plan in plans]
        while jobs:
            job, *jobs = jobs
            with view(job.plan) as observer:
                job.watch(observer)
                if schedule is None:
                    schedule = Schedule(stack.enter_context(_open(plans, observer)))
                schedule.run(job, jobs)
            yield _outcome(job)


def _open(plans: Sequence[Plan], observer: Observer) -> Executor:
    """Open the executor of a campaign, whose plans have the same options but for the seed."""
    unfinished = [action for plan in plans for action in plan.actions if not action.finished]
    if not unfinished:
        return InLine()
    travels = {id(thing): thing for plan in plans for thing in (plan.method, plan.judge)}
    return open_executor(
        plans[0].options,
        len(unfinished),
        note=observer.note,
        needed=lambda: max(map(_bytes_of_a_unit, plans)),
        travels=travels.values(),
    )


def _bytes_of_a_unit(plan: Plan) -> float:
    """Estimate what a worker's unit of a plan takes, the base model included."""
    if plan.finished:
        return 0.0
    together = plan.options.fits_at_once if plan.method.lockstep else None
    return bytes_of_fits(plan, min(together or 1, len(plan.actions)))


def _outcome(job: Execution) -> Outcome:
    try:
        return Outcome(job.plan, job.result())
    except Exception as error:  # of any kind: it is one method's, and reported under its name
        trace = "" if isinstance(error, UserError) else "".join(format_exception(error))
        return Outcome(job.plan, None, one_line(error), trace, isinstance(error, MethodError))
    finally:
        # An exception keeps the frames that raised it alive, and with them what they loaded.
        job.failure = None
