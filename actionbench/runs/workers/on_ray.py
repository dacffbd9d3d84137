"""Workers on the machines of a Ray cluster (`pip install 'actionbench[ray]'`).

Units and results travel through Ray; only the launcher writes the store, so the machines need no
shared file system. Each needs this package, and the base model, which it finds by its fingerprint.
"""

from __future__ import annotations

import logging
import os
import pickle
import socket
import sys
from typing import Any

from actionbench.errors import UserError, one_line
from actionbench.runs.provenance import versions
from actionbench.runs.workers.executor import Worker, Workers
from actionbench.runs.workers.session import threads
from actionbench.runs.workers.unit import Lost, Result, Unit

SECONDS = 10
"""How long an address may take to answer."""


def start_ray(address: str, cores: int) -> tuple[Any, bool]:
    """Join a Ray cluster, or start one here.

    Args:
        address: `local` starts one here; `auto` joins the one that this machine belongs to; else
            host:port of its head.
        cores: CPUs of one that is started here.

    Returns:
        The module `ray`, and whether this call connected it: who did is to disconnect.

    Raises:
        UserError: if Ray is not installed, or nobody answers at the address.
    """
    try:
        import ray
    except ImportError as error:
        raise UserError("--ray needs Ray: pip install 'actionbench[ray]'") from error
    _check_address(address)
    if ray.is_initialized():
        return ray, False
    quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
    path = os.pathsep.join(entry for entry in sys.path if entry)
    environment = {"OMP_NUM_THREADS": str(threads())}
    try:
        if address == "local":
            # Its own default is 15, under which any other work on this machine starves a worker.
            os.environ.setdefault("RAY_worker_niceness", "0")
            # Only here are the workers sure to have the launcher's folders.
            here = {"env_vars": {**environment, "PYTHONPATH": path}}
            ray.init(
                address="local", num_cpus=cores, include_dashboard=False, runtime_env=here, **quiet
            )
        else:
            ray.init(address=address, runtime_env={"env_vars": environment}, **quiet)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise UserError(
            f"--ray {address}: no Ray cluster is reached ({one_line(error)}): start one with "
            "`ray start --head`, or take --ray local"
        ) from error
    return ray, True


def _check_address(address: str) -> None:
    """Ask whether anybody listens; Ray itself would wait for minutes."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if address in ("local", "auto"):
        return
    if not (colon and host and port.isdigit()):
        raise UserError(f"--ray {address}: write local, auto, or the head's host:port")
    try:
        socket.create_connection((host, int(port)), SECONDS).close()
    except OSError as error:
        raise UserError(
            f"--ray {address}: nobody answers there ({error.strerror or error}); is the cluster's "
            "head up, and may this machine reach it?"
        ) from error


class RayWorkers(Workers["_Actor"]):
    """Does up to `count` units at once, each by a Ray actor with one GPU, or one CPU if none.

    An actor is bound to a machine. One whose machine lacks what a unit needs is not asked again;
    a dead one is replaced as long as its machine lives.

    Args:
        ray: the module, connected.
        count: the most actors; None is one a GPU, or one a CPU if there is no GPU.
        device: `cpu`, `cuda` or `auto`.
        disconnect: whether closing disconnects from the cluster, or ends one that was started.
    """

    def __init__(
        self, ray: Any, count: int | None, device: str, *, disconnect: bool = False
    ) -> None:
        self.ray, self.disconnect = ray, disconnect
        self.workers = []
        self.refused: dict[str, str] = {}
        """Machines that cannot do such units, and why."""
        alive = [node for node in ray.nodes() if node["Alive"]]
        gpus = device != "cpu" and any(node["Resources"].get("GPU") for node in alive)
        if device == "cuda" and not gpus:
            raise UserError("device cuda: the Ray cluster has no GPU; use --device cpu")
        kind = "GPU" if gpus else "CPU"
        slots = [
            (node["NodeID"], node["NodeManagerHostname"])
            for number in range(max(int(node["Resources"].get(kind, 0)) for node in alive))
            for node in alive  # in turns, so that few workers are spread over the machines
            if number < int(node["Resources"].get(kind, 0))
        ]
        self.workers = [_Actor(ray, *slot, kind) for slot in slots[:count]]

    def wait(self) -> tuple[Unit, Result]:
        busy = {worker.results: worker for worker in self.workers if worker.unit is not None}
        if not busy:
            reasons = "; ".join(self.refused.values()) or "all died"
            raise UserError(
                f"no machine is left ({reasons}): mend one and give the same command, which goes on"
            )
        ready, _ = self.ray.wait(list(busy), num_returns=1)
        worker = busy[ready[0]]
        unit, result = worker.unit, worker.receive()
        assert unit is not None
        if isinstance(result, Lost):
            if not result.dead:
                self.refused[worker.node] = f"{worker.host} {result.reason}"
            self._forget_machines()
            result = Lost(f"on {worker.host} {result.reason}", result.dead)
        return unit, result

    def _forget_machines(self) -> None:
        alive = {node["NodeID"] for node in self.ray.nodes() if node["Alive"]}
        self.workers = [
            worker
            for worker in self.workers
            if worker.unit is not None or (worker.node in alive and worker.node not in self.refused)
        ]

    def close(self) -> None:
        super().close()
        self.workers = []
        if self.disconnect:
            self.ray.shutdown()


class _Actor(Worker):
    """One worker, whose actor is made with its first unit."""

    def __init__(self, ray: Any, node: str, host: str, kind: str) -> None:
        self.ray, self.node, self.host, self.kind = ray, node, host, kind
        self.results: Any = None
        self.actor: Any = None

    def _send(self, sent: bytes) -> None:
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        if self.actor is None:
            from actionbench.runs.workers.serve import RayWorker

            self.actor = (
                self.ray.remote(RayWorker)
                .options(
                    num_cpus=0 if self.kind == "GPU" else 1,
                    num_gpus=1 if self.kind == "GPU" else 0,
                    max_restarts=0,
                    scheduling_strategy=NodeAffinitySchedulingStrategy(self.node, soft=False),
                )
                .remote(versions())
            )
        self.results = self.actor.perform.options(num_returns="streaming").remote(sent)

    def _receive(self) -> Result:
        # `wait` has seen that it is there.
        try:
            result: Result = pickle.loads(self.ray.get(next(self.results)))
        except (self.ray.exceptions.RayError, StopIteration) as error:
            result = Lost(f"died ({one_line(error)})", dead=True)
            self.kill()
        return result

    def _end(self) -> None:
        if self.actor is not None:
            self.ray.kill(self.actor)
        self.actor = self.results = None
