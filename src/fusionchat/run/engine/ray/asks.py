"""What a job requests from a Ray cluster, and whether a cluster has it."""

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import NamedTuple

from fusionchat.run.job import Job
from fusionchat.runtime import RuntimeSettings
from fusionchat.units import size

CPU, GPU, MEMORY = "CPU", "GPU", "memory"
"""Ray's names of resources."""

STEP = 10**8
"""Memory is requested in multiples of this many bytes."""


class Node(NamedTuple):
    """A live node of a cluster: its name, Ray's id, and its resources by name, used or not."""

    name: str
    id: str
    has: Mapping[str, float]


class Ask(NamedTuple):
    """What one process of a job needs.

    Attributes:
        cpus: CPU threads.
        gpus: GPUs.
        memory: Bytes of host memory; 0 if unknown.
        custom: Custom resources of the cluster, by name.
        processes: The number of such processes, at once.
    """

    cpus: int
    gpus: int = 0
    memory: int = 0
    custom: tuple[tuple[str, float], ...] = ()
    processes: int = 1

    @property
    def resources(self) -> dict[str, float]:
        """All resources of one process, by Ray's names."""
        held = {CPU: float(self.cpus), GPU: float(self.gpus), MEMORY: float(self.memory), **dict(self.custom)}
        return {name: amount for name, amount in held.items() if amount}

    @property
    def options(self) -> dict[str, object]:
        """The options of a Ray task or actor."""
        return {
            "num_cpus": self.cpus,
            "num_gpus": self.gpus,
            "memory": self.memory or None,
            "resources": dict(self.custom) or None,
        }


def ask_of(job: Job, runtime: RuntimeSettings, nodes: Sequence[Node]) -> Ask:
    """What a job requests from a cluster.

    GPUs are requested where there are any, or where ``runtime.device`` is one. A job that uses all cores of
    its machine (``threads: 0``) requests those of the smallest node that it can run on, or a GPU's share of
    them, so that its threads, and so its bits, are the same on every node. The memory of a job on a GPU is
    the GPU's, which Ray does not manage; that of others is rounded up, so that models of about one size share
    actors. A training whose processes are ``auto`` has one for each GPU of a node, as on a machine without Ray.
    """
    resources = job.resources
    there = min((int(node.has[GPU]) for node in nodes if node.has.get(GPU, 0.0) >= 1), default=0)
    several = resources.processes_on(there)
    gpus = resources.gpus_on(there) // several if there or runtime.device.startswith("cuda") else 0
    custom = {
        name: amount
        for pattern, named in runtime.ray.resources.items()
        if fnmatchcase(job.id, pattern)
        for name, amount in named.items()
    }
    return Ask(
        cpus=max(1, resources.threads // several) if resources.threads else cores(nodes, gpus, several),
        gpus=gpus,
        memory=0 if gpus else -(-int(resources.memory or 0) // (several * STEP)) * STEP,
        custom=tuple(sorted(custom.items())),
        processes=several,
    )


def cores(nodes: Sequence[Node], gpus: int, processes: int) -> int:
    """CPU threads of each process of a job that uses all cores of the smallest node, or its GPUs' share."""
    fit = [node for node in nodes if node.has.get(GPU, 0.0) >= gpus and node.has.get(CPU, 0.0) >= 1]
    shares = [node.has[CPU] * (gpus / node.has[GPU] if gpus else 1 / processes) for node in fit]
    return max(1, int(min(shares, default=1.0)))


def lacking(ask: Ask, nodes: Sequence[Node]) -> str:
    """Which resources a cluster lacks for a job, in words; "" if it has enough, used or not."""
    wanted = ask.resources
    for name, amount in wanted.items():
        most = max((node.has.get(name, 0.0) for node in nodes), default=0.0)
        if most < amount:
            each = "in one node" if ask.processes == 1 else "for each process in one node"
            return f"{_amount(name, amount)} {each}, and the most that a node has is {_amount(name, most)}"
    room = sum(_times(wanted, node.has) for node in nodes)
    if room == 0:
        return f"{_all(wanted)} in one node, and no node has all of it"
    if room < ask.processes:
        return f"{ask.processes} processes with {_all(wanted)} each, and there is room for {room}"
    return ""


def is_room(ask: Ask, used: Sequence[Ask], nodes: Sequence[Node]) -> bool:
    """Whether a cluster has what some processes use and another one, all nodes together.

    If so, the other one is not in their way.
    """
    for name, amount in ask.resources.items():
        total = sum(node.has.get(name, 0.0) for node in nodes)
        if total < amount + sum(one.resources.get(name, 0.0) * one.processes for one in used):
            return False
    return True


def _times(wanted: Mapping[str, float], has: Mapping[str, float]) -> int:
    """How many processes a node has room for."""
    return min(int(has.get(name, 0.0) // amount) for name, amount in wanted.items())


def _all(wanted: Mapping[str, float]) -> str:
    return " and ".join(_amount(name, amount) for name, amount in wanted.items())


def _amount(name: str, amount: float) -> str:
    """``2 CPU``, ``4.0 GB of memory``."""
    return f"{size(amount)} of memory" if name == MEMORY else f"{amount:g} {name}"
