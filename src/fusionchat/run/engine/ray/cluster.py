"""A Ray cluster: joining it for a run, its nodes, and a check that each sees the run's folder."""

import importlib.util
import logging
import os
import secrets
import signal
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import current_thread, main_thread

from fusionchat.artifacts import write_text
from fusionchat.errors import MachineError, RecipeError
from fusionchat.run.engine.ray.asks import Node
from fusionchat.run.order import ORDERS
from fusionchat.runtime import RayRuntime
from fusionchat.units import counted

NEEDS = "pip install 'fusionchat[ray]'"
PROBE_S = 60.0
"""Seconds that a node has to answer the probe, for which it starts a worker process."""


ANSWER_S = 10.0
"""Seconds that a cluster's address has to answer."""
TRIES = "RAY_NUM_REDIS_GET_RETRIES"
"""How often Ray asks at an address whether a cluster answers, 40 seconds each: by default 20 times."""


def require_ray() -> None:
    """Raise RecipeError if the package is absent; otherwise limit how long Ray tries to connect.

    Call it before the import.
    """
    if importlib.util.find_spec("ray") is None:
        raise RecipeError("runtime.engine: ray needs the package ray", where="runtime.engine", do=NEEDS)
    os.environ.setdefault(TRIES, "2")


def require_answer(address: str) -> None:
    """Raise MachineError if nothing listens at HOST:PORT."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=ANSWER_S).close()
    except (OSError, OverflowError, ValueError) as error:
        raise no_cluster(f"nothing answers at {address} ({error})") from error


@contextmanager
def own_sigterm() -> Iterator[None]:
    """Keep what a SIGTERM does: Ray's own handler aborts the process and prints a stack."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if before is not None and current_thread() is main_thread():
            signal.signal(signal.SIGTERM, before)


def not_joined(error: Exception) -> MachineError:
    """The error of a run that Ray does not let join a cluster."""
    first, *others = (line.strip() for line in str(error).strip().splitlines() or [type(error).__name__])
    if first.startswith("Version mismatch"):
        return MachineError(
            " ".join((first, *others)),
            where="runtime.ray.address",
            do="use the Python and Ray versions of the cluster here, and the same on every node",
        )
    return no_cluster(first)


def no_cluster(why: str) -> MachineError:
    """The error of a run that finds no cluster."""
    return MachineError(
        f"No Ray cluster can be joined: {why}",
        where="runtime.ray.address",
        do="start one with `ray start --head --port 6379` and set the address to HOST:6379, or leave it out on a machine "
        "that is part of one; see docs/cluster.md",
    )


@contextmanager
def joined(settings: RayRuntime) -> Iterator[None]:
    """Join a cluster while the block runs; a process that has joined one already stays in it.

    Raises:
        MachineError: There is no cluster at the address.
    """
    require_ray()
    import ray

    if ray.is_initialized():
        yield
        return
    if settings.address is not None:
        require_answer(settings.address)
    try:
        with own_sigterm():
            ray.init(
                address=settings.address,
                log_to_driver=False,  # workers print into the run's folder
                logging_level=logging.ERROR,
                include_dashboard=False,
                configure_logging=False,
            )
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise not_joined(error) from error
    try:
        yield
    finally:
        with own_sigterm():
            ray.shutdown()


def nodes_now() -> list[Node]:
    """The live nodes of the cluster, by name."""
    import ray

    from fusionchat.run.engine.ray.remote import name_of

    alive = [one for one in ray.nodes() if one["Alive"]]
    return sorted(
        Node(name_of(one["NodeManagerHostname"], one["NodeID"]), one["NodeID"], one["Resources"])
        for one in alive
    )


def probe(run: Path, nodes: Sequence[Node]) -> None:
    """Check that every node sees the run's folder: each reads a file that is written there now.

    Raises:
        MachineError: Nodes do not see it, or do not answer; it names them.
    """
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    from fusionchat.run.engine.ray.remote import read_probe

    path, token = (run / ORDERS / f"probe-{secrets.token_hex(4)}").absolute(), secrets.token_hex(16)
    write_text(path, token)
    try:
        asked = {
            node.name: ray.remote(read_probe)
            .options(
                num_cpus=0, max_retries=0, scheduling_strategy=NodeAffinitySchedulingStrategy(node.id, False)
            )
            .remote(str(path))
            for node in nodes
        }
        ready, _ = ray.wait(list(asked.values()), num_returns=len(asked), timeout=PROBE_S)
        answers = dict[str, str | None]()
        for name, ref in asked.items():
            answers[name] = None
            if ref in ready:
                with suppress(ray.exceptions.RayError):
                    answers[name] = ray.get(ref)
    finally:
        path.unlink(missing_ok=True)
    there = {node.name for node in nodes_now()}  # asking reveals one that died a moment ago
    require_seen(run, token, {name: read for name, read in answers.items() if name in there})


def require_seen(run: Path, token: str, answers: Mapping[str, str | None]) -> None:
    """Raise MachineError if a node has read something else, or has not answered (None)."""
    blind = [name for name, read in answers.items() if read is not None and read != token]
    silent = [name for name, read in answers.items() if read is None]
    if blind:
        raise MachineError(
            f"{_named(blind, len(answers))} not see the run's folder",
            where=str(run),
            do="set `output:` in the recipe to a folder on a file system that all nodes share",
        )
    if silent:
        raise MachineError(
            f"{_named(silent, len(answers))} not answer",
            where="runtime.ray",
            do="check that fusionchat and its packages are installed there as here, or remove the node from the cluster",
        )


def _named(names: Sequence[str], total: int) -> str:
    """``a and b of 4 nodes do``."""
    return f"{' and '.join(names)} of {counted(total, 'node')} {'does' if len(names) == 1 else 'do'}"
