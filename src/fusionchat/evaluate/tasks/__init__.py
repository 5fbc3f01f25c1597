"""The tasks that measure models, one per file.

A new file here with a `Task` in it is a new task; nothing else changes.

Its settings are a key of the recipe's `evaluate`, and its metrics are in every table and picture of the
report.
"""

from fusionchat.discover import discover
from fusionchat.evaluate.metric import Metric
from fusionchat.evaluate.tasks.base import Task

_FOUND = discover(__name__, __path__, Task, key="name")
TASKS = dict(sorted(_FOUND.items(), key=lambda item: not item[1].always))
"""Every task's settings by name; those that are always on come first.

The first metric is the one that a run is judged by.
"""
ALWAYS: tuple[Task, ...] = tuple(kind() for kind in TASKS.values() if kind.always)
"""The tasks that are always on."""
METRICS: dict[str, Metric] = {metric.name: metric for kind in TASKS.values() for metric in kind.metrics}
"""Every metric by name."""
PRIMARY = next(iter(METRICS.values()))
"""The metric that label weights and runs are judged by."""

assert len(METRICS) == sum(len(kind.metrics) for kind in TASKS.values()), "two metrics have one name"

__all__ = ["ALWAYS", "METRICS", "PRIMARY", "TASKS", "Task"]
