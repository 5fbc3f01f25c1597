"""Settings of the evaluation: which tasks are on."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Self

from pydantic import Field, create_model

from fusionchat.evaluate.metric import Metric
from fusionchat.evaluate.tasks import ALWAYS, METRICS, TASKS
from fusionchat.evaluate.tasks.base import Task
from fusionchat.settings import AnyDtype, Frozen, no_such


class _Tasks(Frozen):
    @property
    def tasks(self) -> tuple[Task, ...]:
        """The tasks that are on; those that are always on come first."""
        asked = (getattr(self, name, None) for name in TASKS)
        return ALWAYS + tuple(task for task in asked if task is not None)

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """The metrics, the one that a run is judged by first."""
        return tuple(metric for task in self.tasks for metric in task.metrics)

    def task_of(self, metric: str) -> Task:
        """The task that measures a metric; raises ValueError if none that is on does."""
        if metric not in METRICS:
            raise ValueError(no_such("metric", metric, list(METRICS)))
        found = next((task for task in self.tasks if METRICS[metric] in task.metrics), None)
        if found is None:
            owner = next(name for name, kind in TASKS.items() if METRICS[metric] in kind.metrics)
            raise ValueError(f"{metric} needs evaluate.{owner}")
        return found

    @property
    def reads(self) -> dict[str, str]:
        """The paths of the files that tasks read, by ``TASK.SETTING``."""
        return {f"{task.name}.{key}": path for task in self.tasks for key, path in task.reads.items()}

    def refuse(self, files: Mapping[str, Path]) -> None:
        """Raise FusionChatError if one of the files, as in `reads`, is not what its task needs."""
        for task in self.tasks:
            task.refuse({key: files[f"{task.name}.{key}"] for key in task.reads})

    def only(self, *names: str) -> Self:
        """The same settings with only these optional tasks."""
        off = {name: None for name, kind in TASKS.items() if not kind.always and name not in names}
        return self.model_copy(update=off)


if TYPE_CHECKING:

    class EvaluateSettings(_Tasks):
        """What is measured on the test part."""

        dtype: AnyDtype = "auto"
else:
    EvaluateSettings = create_model(
        "EvaluateSettings",
        __base__=_Tasks,
        __module__=__name__,
        __doc__="What is measured on the test part: held-out bits per byte always, the other tasks if asked for.",
        **{name: (kind | None, None) for name, kind in TASKS.items() if not kind.always},
        dtype=(
            AnyDtype,
            Field(
                "auto",
                description="dtype that models are evaluated in, independent of the capture's; auto as in `represent.dtype`",
            ),
        ),
    )
