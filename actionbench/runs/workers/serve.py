"""A worker's process: it does the units that its launcher sends, one after another.

A local one is started as a fresh process, never forked: a fork would share the launcher's threads
and GPU context. Nothing of the launcher's main module runs here.
"""

from __future__ import annotations

import os
import pickle
import queue
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from multiprocessing.connection import Connection
from typing import Any

from actionbench.errors import one_line
from actionbench.runs.provenance import versions
from actionbench.runs.workers.session import Session, Unfit
from actionbench.runs.workers.unit import Failed, Lost, Result


def serve(channel: int, lifeline: int) -> None:
    """Do units until the launcher closes the channel or dies.

    Args:
        channel: the descriptor of the connection that units and results go through.
        lifeline: a pipe's reading end, which ends when the launcher does, however it is killed.
    """
    # As in the command itself: what a library will change some day is its callers' matter.
    warnings.filterwarnings("ignore", category=FutureWarning, module="diffusers")
    threading.Thread(target=_end_with, args=(lifeline,), daemon=True).start()
    connection: Connection[Any, Any] = Connection(channel)
    session = Session(both=False)
    while True:
        try:
            message = connection.recv_bytes()
        except (EOFError, ConnectionError):  # reset: it died before it read the last result
            return
        _perform(session, message, connection.send_bytes)


def _end_with(lifeline: int) -> None:
    os.read(lifeline, 1)
    os._exit(1)


class RayWorker:
    """A worker as a Ray actor. It needs no Ray itself.

    Args:
        launcher: the launcher's versions of Python and of the packages that matter.
    """

    def __init__(self, launcher: Mapping[str, str]) -> None:
        self.session = Session(both=False, elsewhere=True)
        here = versions()
        self.differs = ", ".join(
            f"{name} {here[name]} instead of {version}"
            for name, version in launcher.items()
            if name != "python" and here.get(name) != version
        )

    def perform(self, message: bytes) -> Iterator[bytes]:
        """Do a unit and yield its pickled results, also those in the midst of a fit."""
        if self.differs:
            yield pickle.dumps(Lost(f"has {self.differs}", dead=False))
            return
        results: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()

        def work() -> None:
            try:
                _perform(self.session, message, results.put)
            finally:
                results.put(None)

        threading.Thread(target=work, daemon=True).start()
        while (result := results.get()) is not None:
            yield result


def _perform(session: Session, message: bytes, send: Callable[[bytes], None]) -> None:
    """Do a pickled unit and send each result, pickled."""

    def send_result(result: Result) -> None:
        if isinstance(result, Failed):
            # Its words are enough, and not every exception can be pickled.
            result = replace(result, cause=None)
        send(pickle.dumps(result))

    try:
        unit = pickle.loads(message)
    except Exception as error:  # of any kind: unpickling runs a plug-in's code
        send_result(Lost(f"cannot read the unit ({one_line(error)})", dead=False))
        return
    try:
        for result in session.perform(unit, send_result):
            send_result(result)
    except Unfit as error:
        send_result(Lost(str(error), dead=False))
