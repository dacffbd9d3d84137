"""Workers that are processes on this machine."""

from __future__ import annotations

import json
import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from multiprocessing.connection import Pipe, wait
from pathlib import Path

from actionbench.runs.workers.executor import Worker, Workers
from actionbench.runs.workers.session import threads
from actionbench.runs.workers.unit import Failed, Lost, Result, Unit

_PROGRAM = """
import json, sys
sys.path[:] = json.loads(sys.argv[3])
from actionbench.runs.workers.serve import serve
serve(int(sys.argv[1]), int(sys.argv[2]))
"""


class LocalWorkers(Workers["_Process"]):
    """Does up to `count` units at once, each in a process of its own.

    Processes are started when they are first needed, and anew if one dies. They get units and give
    back results through a pipe; none opens the run store.

    Args:
        count: the number of processes.
        devices: values of CUDA_VISIBLE_DEVICES, one for each GPU; worker n gets the n-th, in turns
            if there are fewer. Empty on a CPU.
    """

    def __init__(self, count: int, devices: Sequence[str] = ()) -> None:
        self.workers = [
            _Process(devices[number % len(devices)] if devices else None) for number in range(count)
        ]

    def wait(self) -> tuple[Unit, Result]:
        busy = {worker.connection: worker for worker in self.workers if worker.unit is not None}
        worker = busy[wait(list(busy))[0]]  # type: ignore[index]
        unit = worker.unit
        assert unit is not None
        return unit, worker.receive()


class _Process(Worker):
    """One worker process, started with its first unit."""

    def __init__(self, device: str | None) -> None:
        self.device = device
        self.process: subprocess.Popen[bytes] | None = None

    def _send(self, sent: bytes) -> None:
        if self.process is None:
            self._launch()
        with suppress(OSError):  # it has died since its last unit: `receive` finds the pipe's end
            self.connection.send_bytes(sent)

    def _receive(self) -> Result:
        try:
            result: Result = pickle.loads(self.connection.recv_bytes())
        except (EOFError, OSError):
            result = Lost(self._last_words(), dead=True)
            self.kill()
        if isinstance(result, Lost) and not result.dead:
            # Another process of this machine would say the same.
            result = Failed(f"a worker {result.reason}", "", "")
        return result

    def _launch(self) -> None:
        self.connection, theirs = Pipe()
        lifeline, self._lifeline = os.pipe()
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads())}
        if self.device is not None:
            environment["CUDA_VISIBLE_DEVICES"] = self.device
        ends = (theirs.fileno(), lifeline)
        path = json.dumps([str(Path(entry).absolute()) for entry in sys.path])
        self.process = subprocess.Popen(
            [sys.executable, "-c", _PROGRAM, *map(str, ends), path],
            env=environment,
            pass_fds=ends,
            stdin=subprocess.DEVNULL,
            stdout=2,  # what a method prints must not come between the launcher's rows
            start_new_session=True,  # Ctrl-C is the launcher's, which then ends its workers
        )
        theirs.close()
        os.close(lifeline)

    def _last_words(self) -> str:
        assert self.process is not None
        try:
            status = self.process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            return "no longer answers"
        if status < 0:
            return f"was killed by signal {-status} ({signal.Signals(-status).name})"
        return f"ended with status {status}"

    def _end(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.connection.close()
            os.close(self._lifeline)
        self.process = None
