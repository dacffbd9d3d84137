"""The interface that executors have, what those of several workers share, and the simplest one: in
line, in this process."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, Generic, Self, TypeVar

from actionbench.runs.workers.session import Session, Unfit, threads
from actionbench.runs.workers.unit import LAST, Failed, Result, Unit, message

Deliver = Callable[[Unit, Result], None]
"""Receives a result of a unit."""


class Executor(ABC):
    """Does units of work, several at once if it has several workers.

    A caller starts units while `free` and waits for one result after the other; after `Done`,
    `Failed` or `Lost` nothing more comes of a unit. What a unit's method prints or breaks stays
    with its worker. Used as a context manager, it ends its workers.
    """

    both: bool
    """Whether a worker may hold a backbone and a judge at once."""
    aside: Deliver
    """What `wait` cannot return in the midst of a fit in this process; its caller sets it."""

    @property
    @abstractmethod
    def free(self) -> bool:
        """Whether another unit can be started."""

    @abstractmethod
    def start(self, unit: Unit) -> None:
        """Begin a unit on a free worker, best on one that has loaded what it needs."""

    @abstractmethod
    def wait(self) -> tuple[Unit, Result]:
        """Wait for the next result of any started unit.

        Raises:
            UserError: if no worker is left.
        """

    @abstractmethod
    def abandon(self, unit: Unit) -> None:
        """Stop a unit, because nobody wants its results."""

    @abstractmethod
    def close(self) -> None:
        """End all workers, whatever they do."""

    def now(self) -> float:
        """Return the time in seconds since some moment."""
        return time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Worker(ABC):
    """One of several: it does one unit at a time, and may hold what the last one needed."""

    unit: Unit | None = None
    """What it is at."""
    holds: tuple[Any, ...] | None = None
    """What it has loaded, as the units' `needs`."""

    def start(self, unit: Unit) -> None:
        """Send it a unit."""
        sent = message(unit, self.holds)
        self.unit, self.holds = unit, unit.needs
        self._send(sent)

    def receive(self) -> Result:
        """Receive the unit's next result; `Lost` if the worker is gone."""
        result = self._receive()
        if isinstance(result, LAST):
            self.unit = None
            if isinstance(result, Failed):
                self.holds = None
        return result

    def kill(self) -> None:
        """End it at once; the store is none of its business, so only its unit is lost."""
        self._end()
        self.unit = self.holds = None

    @abstractmethod
    def _send(self, sent: bytes) -> None: ...

    @abstractmethod
    def _receive(self) -> Result: ...

    @abstractmethod
    def _end(self) -> None: ...


W = TypeVar("W", bound=Worker)


class Workers(Executor, Generic[W]):
    """Does a unit on each of several workers."""

    both = False
    workers: list[W]

    @property
    def free(self) -> bool:
        return any(worker.unit is None for worker in self.workers)

    def start(self, unit: Unit) -> None:
        idle = [worker for worker in self.workers if worker.unit is None]
        # One that has loaded it; else one that has loaded nothing.
        best = max(idle, key=lambda worker: (worker.holds == unit.needs, worker.holds is None))
        best.start(unit)

    def abandon(self, unit: Unit) -> None:
        for worker in self.workers:
            if worker.unit is unit:
                worker.kill()

    def close(self) -> None:
        for worker in self.workers:
            worker.kill()


class InLine(Executor):
    """Does one unit at a time in this process, with the backbone and the judge loaded once."""

    both = True

    def __init__(self) -> None:
        self.session = Session(both=True)
        self._going: tuple[Unit, Iterator[Result]] | None = None
        self._threads: int | None = None

    @property
    def free(self) -> bool:
        return self._going is None

    def start(self, unit: Unit) -> None:
        if self._threads is None:
            import torch

            # As many as a worker process has, so that both compute the same bits.
            self._threads = torch.get_num_threads()
            torch.set_num_threads(threads())

        self._going = unit, self.session.perform(unit, lambda result: self.aside(unit, result))

    def wait(self) -> tuple[Unit, Result]:
        assert self._going is not None
        unit, results = self._going
        try:
            result = next(results)
        except Unfit as error:
            result = Failed(str(error), "", "", error)
        if isinstance(result, LAST):
            self._going = None
        return unit, result

    def abandon(self, unit: Unit) -> None:
        self._close_unit()
        self.session.forget()

    def _close_unit(self) -> None:
        if self._going is not None:
            results: Any = self._going[1]
            self._going = None
            with suppress(Exception):  # a method's own clean-up; what failed is known already
                results.close()

    def close(self) -> None:
        self._close_unit()
        self.session.forget()
        if self._threads is not None:
            import torch

            torch.set_num_threads(self._threads)
            self._threads = None
