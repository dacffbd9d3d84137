"""Which unit is done next, and what becomes of its results."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence

from actionbench.errors import UserError
from actionbench.progress import Observer
from actionbench.runs.workers.executor import Executor
from actionbench.runs.workers.unit import (
    ASIDE,
    LAST,
    Done,
    DrawUnit,
    FitUnit,
    JudgeUnit,
    Lost,
    Note,
    Result,
    Started,
    Step,
    Unit,
)

TRIES = 2
"""How often a unit may take a worker down with it."""
SWITCH = 0.05
"""The share of an action's time that may go into loading a judge and then the base model again."""


class Job(ABC):
    """What is done in units: a run, or the judging of a finished run's images."""

    observer: Observer
    failure: Exception | None = None

    @abstractmethod
    def begin(self) -> None:
        """Prepare; called once, before any unit is asked for."""

    @property
    @abstractmethod
    def finished(self) -> bool:
        """Whether everything is done."""

    @property
    @abstractmethod
    def drawing(self) -> bool:
        """Whether images are still to be drawn or under way."""

    @abstractmethod
    def draw_unit(self, under_way: Collection[str]) -> DrawUnit | FitUnit | None:
        """Hand out the next action to fit and draw, or actions to fit; None if there is none now.

        Args:
            under_way: names of what other units are drawing that fits share. A unit that needs
                one of them is kept back until it is there.
        """

    @abstractmethod
    def judge_unit(self) -> JudgeUnit | None:
        """Hand out the next action to judge; None if there is none now."""

    @abstractmethod
    def take(self, unit: Unit, result: Result) -> None:
        """Store a result. Raises what makes the job fail."""

    @abstractmethod
    def give_back(self, unit: Unit) -> None:
        """Take a unit back that was not done: it is handed out again."""


class Schedule:
    """Does jobs in order, by one executor; slots that a job leaves free work ahead on the next.

    Judging is a wave of its own: an action's images wait until its job has drawn all, so that
    workers do not load the judge and the base model in turns. They are judged earlier if both can
    be held at once, or if loading takes little beside an action's fit and drawing.
    """

    def __init__(self, executor: Executor) -> None:
        self.executor = executor
        executor.aside = self._deliver
        self._begun: set[int] = set()
        self._under_way: list[tuple[Unit, Job]] = []
        self._tries: dict[tuple[int, type, str], int] = {}
        self._loading: dict[type, float] = {}
        """The longest loading of a base model and of a judge so far."""
        self._drawing = 0.0
        """What an action's fit and drawing took last."""
        self._since: dict[int, float] = {}
        """When the units under way were started, by the units' ids."""

    def run(self, job: Job, later: Sequence[Job] = ()) -> None:
        """Do a job to its end, and begin `later` ones where a slot is free.

        A failure is left in `job.failure`; what had been begun of the job is finished first.
        """
        self._watched = job
        while True:
            self._fill([job, *later])
            if not any(other is job for _, other in self._under_way) and (
                job.failure is not None or job.finished
            ):
                return
            self._deliver(*self.executor.wait())

    def _fill(self, jobs: Sequence[Job]) -> None:
        while self.executor.free:
            chosen = self._choose(jobs)
            if chosen is None:
                return
            self._under_way.append(chosen)
            self.executor.start(chosen[0])

    def _choose(self, jobs: Sequence[Job]) -> tuple[Unit, Job] | None:
        shared = self._shared()
        for job in jobs:
            if not self._usable(job):
                continue
            judge_now = self.executor.both or not job.drawing or self._switch_pays()
            unit: Unit | None = None
            try:
                unit = (job.judge_unit() if judge_now else None) or job.draw_unit(shared)
            except BrokenPipeError:
                raise
            except Exception as error:  # of any kind: it is this job's alone
                job.failure = error
            if unit is not None:
                return unit, job
        return None

    def _usable(self, job: Job) -> bool:
        if id(job) not in self._begun:
            self._begun.add(id(job))
            try:
                job.begin()
            except BrokenPipeError:  # nobody reads the output any more
                raise
            except Exception as error:  # of any kind: it is this job's alone
                job.failure = error
        return job.failure is None

    def _shared(self) -> set[str]:
        return {
            name
            for unit, _ in self._under_way
            if not isinstance(unit, JudgeUnit)
            for name in unit.draws
        }

    def _switch_pays(self) -> bool:
        loading = self._loading.get(DrawUnit, 0.0) + self._loading.get(JudgeUnit, 0.0)
        return self._drawing > 0 and loading <= SWITCH * self._drawing

    def _deliver(self, unit: Unit, result: Result) -> None:
        job = next(job for other, job in self._under_way if other is unit)
        if isinstance(result, LAST):
            self._under_way = [pair for pair in self._under_way if pair[0] is not unit]
        if isinstance(result, Step):
            action = result.action or unit.action
            job.observer.step(action, result.stage, result.done, result.total, result.what)
            return
        if isinstance(result, Note):
            self._watched.observer.note(result.text)
            return
        if isinstance(result, Lost):
            self._lost(unit, job, result)
            return
        self._note_time(unit, result)
        try:
            job.take(unit, result)
        except BrokenPipeError:  # nobody reads the output any more
            raise
        except Exception as error:  # of any kind: it is this job's alone
            job.failure = job.failure or error
            if not isinstance(result, (*LAST, *ASIDE)):
                self._under_way = [pair for pair in self._under_way if pair[0] is not unit]
                self.executor.abandon(unit)

    def _lost(self, unit: Unit, job: Job, lost: Lost) -> None:
        key = (id(job), type(unit), unit.action)
        self._tries[key] = self._tries.get(key, 0) + lost.dead
        if self._tries[key] < TRIES:
            again = "another worker does it" if not lost.dead else "it is tried once more"
            self._watched.observer.note(f"the worker on '{unit.action}' {lost.reason}: {again}")
            job.give_back(unit)
            return
        job.failure = job.failure or UserError(
            f"'{unit.action}' took {TRIES} workers down, the last {lost.reason}: if memory ran "
            "out, take fewer with --workers; finished work is kept"
        )

    def _note_time(self, unit: Unit, result: Result) -> None:
        if isinstance(result, Started):
            self._since[id(unit)] = self.executor.now()
            kind = JudgeUnit if isinstance(unit, JudgeUnit) else DrawUnit
            known = self._loading.get(kind, 0.0)
            self._loading[kind] = max(known, result.load_seconds)
        elif isinstance(result, Done) and isinstance(unit, DrawUnit):
            self._drawing = self.executor.now() - self._since.pop(id(unit))
