"""Ray clusters of this machine, whose nodes can be killed: all processes of a node at once."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from fusionchat.run.engine.ray.cluster import own_sigterm

ROOT = Path(__file__).resolve().parents[1]
NODE: dict[str, Any] = {
    "num_cpus": 1, "object_store_memory": 75 * 2**20, "memory": 8 * 10**9, "include_dashboard": False,
}  # fmt: skip
ENVIRONMENT = {
    "RAY_worker_niceness": "0",  # else workers have less of a busy machine than what they are compared with
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_agent_register_timeout_ms": "300000",  # a busy machine starts a node slowly
    "RAY_health_check_period_ms": "300",  # a dead node is found soon: nobody answers at its port
}


STARTS = 5
"""How often a node is started: its helpers must be there within 15 seconds, which Ray has in no setting."""


@contextmanager
def cluster(nodes: int, *, idle_head: bool = False) -> Iterator[Any]:
    """A cluster whose nodes have one CPU each; with ``idle_head`` one node more, which has none and is never killed."""
    from ray.cluster_utils import Cluster

    path = os.pathsep.join([str(ROOT), str(ROOT / "src"), os.environ.get("PYTHONPATH", "")])
    asked = {**ENVIRONMENT, "PYTHONPATH": path}
    before = {name: os.environ.get(name) for name in asked}
    os.environ.update(asked)
    head = {**NODE, "no_monitor": True, "include_log_monitor": False, "num_cpus": int(not idle_head)}
    try:
        made = started(lambda: Cluster(initialize_head=True, head_node_args=head))
        try:
            for _ in range(nodes - (not idle_head)):
                add_node(made)
            yield made
        finally:
            made.shutdown()
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


def add_node(on: Any) -> Any:
    """Start one node more."""
    return started(lambda: on.add_node(**NODE))


def started(start: Callable[[], Any]) -> Any:
    """Start a node, several times on a machine that is too busy; what the failed ones leave is ended."""
    import psutil

    this = psutil.Process()
    for left in reversed(range(STARTS)):
        before = set(this.children(recursive=True))
        try:
            with own_sigterm():
                return start()
        except Exception:  # Ray has no other class for it
            for process in set(this.children(recursive=True)) - before:
                with suppress(psutil.NoSuchProcess):
                    process.kill()
            if not left:
                raise
    raise AssertionError


def kill_node(on: Any, name: str) -> bool:
    """Kill the node that the engine calls so, with its workers; False for the head, which this process needs."""
    import psutil

    for node in list(on.worker_nodes):
        if name.endswith(node.node_id[:6]):
            raylet = psutil.Process(node.all_processes["raylet"][0].process.pid)
            for process in [*raylet.children(recursive=True), raylet]:
                with suppress(psutil.NoSuchProcess):
                    process.kill()
            on.remove_node(node, allow_graceful=False)
            return True
    return False
