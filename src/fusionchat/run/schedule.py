"""When the jobs of a run are done on identical machines: list scheduling with known durations.

Whenever GPUs become free, the ready job with the longest path to the end is placed first (critical-path list
scheduling, R. L. Graham, SIAM J. Appl. Math. 17, 1969: at most twice as long as the best order). GPUs without
a ready job help with jobs that have shards, in proportion, and move to the next job that becomes ready, as
between two shards.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

TINY = 1e-9


class Task(NamedTuple):
    """A job.

    Attributes:
        name: Its id.
        seconds: How long it takes on its own GPUs.
        gpus: How many it needs; 0 for one that runs on CPUs, of which there are always enough.
        needs: The tasks that must end before it.
        shards: Whether other GPUs can help, in groups of the size that it needs itself.
        spreads: Whether its GPUs may be on several nodes.
    """

    name: str
    seconds: float
    gpus: int = 0
    needs: tuple[str, ...] = ()
    shards: bool = False
    spreads: bool = False


class Placed(NamedTuple):
    """When a task begins and ends, in seconds from the start, and its GPU-seconds."""

    name: str
    begin: float
    end: float
    gpu_seconds: float


class Schedule(NamedTuple):
    """A schedule.

    Attributes:
        placed: Every task in the order of its end.
        length: Seconds until all are done.
        critical: The chain of tasks that more machines cannot shorten.
        critical_seconds: Its length, with all GPUs for each of its tasks with shards.
        gpu_seconds: GPU-seconds of all tasks.
        idle: Share of the GPUs' time in which they are idle.
    """

    placed: tuple[Placed, ...]
    length: float
    critical: tuple[str, ...]
    critical_seconds: float
    gpu_seconds: float
    idle: float


def schedule(tasks: Sequence[Task], nodes: int, gpus: int) -> Schedule:
    """Place tasks on ``nodes`` machines with ``gpus`` GPUs each.

    Raises:
        ValueError: A task needs more GPUs than a node has, or than there are; it names the task.
    """
    for task in tasks:
        most = nodes * gpus if task.spreads else gpus
        if task.gpus > most:
            where = "all nodes have" if task.spreads else "a node has"
            raise ValueError(f"{task.name} needs {task.gpus} GPUs, and {where} {most}")
    shortest = {task.name: _shortest(task, nodes, gpus) for task in tasks}
    ways = ways_to_end(tasks, shortest)
    placed = tuple(_Machines(tasks, nodes, gpus, ways).run())
    length = max((one.end for one in placed), default=0.0)
    work = sum(one.gpu_seconds for one in placed)
    room = length * nodes * gpus
    critical = critical_path(tasks, ways)
    return Schedule(
        placed,
        length,
        critical,
        sum(shortest[name] for name in critical),
        work,
        1.0 - work / room if room else 0.0,
    )


def _shortest(task: Task, nodes: int, gpus: int) -> float:
    """Seconds of a task with the help of all GPUs."""
    if not task.gpus or not task.shards:
        return task.seconds
    groups = nodes * gpus // task.gpus if task.spreads else nodes * (gpus // task.gpus)
    return task.seconds / groups


def ways_to_end(tasks: Sequence[Task], seconds: Mapping[str, float]) -> dict[str, float]:
    """The longest path from the begin of each task to the end of all, in seconds.

    ``tasks`` come after those that they need.
    """
    ways = {task.name: seconds[task.name] for task in tasks}
    for task in reversed(tasks):
        for need in task.needs:
            if need in ways:
                ways[need] = max(ways[need], seconds[need] + ways[task.name])
    return ways


def critical_path(tasks: Sequence[Task], ways: Mapping[str, float]) -> tuple[str, ...]:
    """The tasks of the longest path, in order."""
    chain = list[str]()
    open_tasks = [task.name for task in tasks if not set(task.needs) & ways.keys()]
    while open_tasks:
        first = max(open_tasks, key=lambda name: ways[name])
        chain.append(first)
        open_tasks = [task.name for task in tasks if first in task.needs]
    return tuple(chain)


@dataclass
class _Running:
    """A running task.

    Attributes:
        task: The task.
        left: Seconds that it still needs on its own GPUs alone.
        begin: When it began.
        held: Its own GPUs by node.
        groups: How many groups of its size work on it now, helpers included.
        gpu_seconds: GPU-seconds that it has used so far.
    """

    task: Task
    left: float
    begin: float
    held: dict[int, int]
    groups: int = 1
    gpu_seconds: float = 0.0


@dataclass
class _Machines:
    """Nodes with free GPUs, and the tasks on them."""

    tasks: Sequence[Task]
    nodes: int
    gpus: int
    ways: Mapping[str, float]
    now: float = 0.0
    running: list[_Running] = field(default_factory=list)

    def run(self) -> list[Placed]:
        """Every task in the order of its end."""
        waiting, done, placed = list(self.tasks), set[str](), list[Placed]()
        known = {task.name for task in self.tasks}
        free = dict.fromkeys(range(self.nodes), self.gpus)
        while waiting or self.running:
            ready = [task for task in waiting if not (set(task.needs) & known) - done]
            for task in sorted(ready, key=lambda one: -self.ways[one.name]):
                held = take(task, free)
                if held is not None:
                    waiting.remove(task)
                    self.running.append(_Running(task, task.seconds, self.now, held))
            self._help(dict(free))
            assert self.running, "tasks need each other in a circle"
            for over in self._advance():
                self.running.remove(over)
                for node, count in over.held.items():
                    free[node] += count
                done.add(over.task.name)
                placed.append(Placed(over.task.name, over.begin, self.now, over.gpu_seconds))
        return placed

    def _help(self, free: dict[int, int]) -> None:
        """Let free GPUs help the task with the fewest helpers, of equal ones that with the longest path."""
        for one in self.running:
            one.groups = 1
        open_to_help = [one for one in self.running if one.task.shards and one.task.gpus]
        while open_to_help:
            one = min(open_to_help, key=lambda running: (running.groups, -self.ways[running.task.name]))
            if take(one.task, free) is None:
                open_to_help.remove(one)
            else:
                one.groups += 1

    def _advance(self) -> list[_Running]:
        """Advance the time to the end of the next task; returns the tasks that have ended."""
        step = min(one.left / one.groups for one in self.running)
        self.now += step
        for one in self.running:
            one.left -= step * one.groups
            one.gpu_seconds += step * one.groups * one.task.gpus
        return [one for one in self.running if one.left <= TINY * max(1.0, one.task.seconds)]


def take(task: Task, free: dict[int, int]) -> dict[int, int] | None:
    """A task's GPUs by node, chosen from the free ones; None if there are too few.

    They come from the fullest node that has enough.
    """
    if not task.gpus:
        return {}
    fit = [node for node, count in free.items() if count >= task.gpus]
    if fit:
        node = min(fit, key=lambda one: (free[one], one))
        free[node] -= task.gpus
        return {node: task.gpus}
    if not task.spreads or sum(free.values()) < task.gpus:
        return None
    held, left = dict[int, int](), task.gpus
    for node in sorted(free, key=lambda one: (-free[one], one)):
        count = min(free[node], left)
        if count:
            held[node], left = count, left - count
            free[node] -= count
    return held
