"""How long a run would take on other machines: critical path, GPU-hours and idle share."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from fusionchat.devices import Machines
from fusionchat.errors import MachineError, RecipeError
from fusionchat.run.estimate import DISK_RATE
from fusionchat.run.schedule import Schedule, Task, schedule
from fusionchat.units import counted, duration

if TYPE_CHECKING:
    from fusionchat.run.job import Job
    from fusionchat.stages.pipeline import Planned

TFLOPS = 125.0
"""10^12 operations a second of a GPU with 80 GB in a run: 40 % of an A100's 312 in bf16."""
LEAST = 10.0
"""The least seconds of a job, which starts a process and loads libraries and a model."""


def tasks_of(planned: "Sequence[Planned]", tflops: float, gpus: int) -> list[Task]:
    """The jobs that are to run, on nodes with some GPUs each, as tasks with their lengths.

    Raises:
        RecipeError: Costs are unknown, because models or the corpus are not on this machine.
    """
    todo = [job for job, status in planned if status.state != "done"]
    unknown = [job.id for job in todo if job.resources.gpus and job.cost.flops is None]
    if unknown:
        raise RecipeError(
            f"The cost of {counted(len(unknown), 'job')} is not known: {', '.join(unknown[:3])}{' ...' * (len(unknown) > 3)}",
            where="--devices",
            do="set the sizes of corpus and models: --assume tokens=63e6 --assume pivot=7.2e9, and so on for each source",
        )
    return [
        Task(
            job.id,
            seconds_of(job, tflops, gpus),
            job.resources.gpus_on(gpus),
            job.needs,
            shards=job.resources.parallel == "shards",
            spreads=job.resources.parallel == "ranks",
        )
        for job in todo
    ]


def seconds_of(job: "Job", tflops: float, gpus: int) -> float:
    """How long a job takes on its own GPUs, on nodes with some GPUs each."""
    if own := job.resources.gpus_on(gpus):
        return LEAST + (job.cost.flops or 0.0) / (tflops * 1e12 * own)
    return LEAST + (job.cost.disk or 0.0) / DISK_RATE


def schedule_lines(planned: "Sequence[Planned]", machines: Machines, tflops: float) -> list[str]:
    """How long the run takes and why, in lines.

    Raises:
        MachineError: A job needs more GPUs than there are.
        RecipeError: As `tasks_of`.
    """
    tasks = tasks_of(planned, tflops, machines.gpus)
    try:
        found = schedule(tasks, machines.nodes, machines.gpus)
    except ValueError as error:
        raise MachineError(
            str(error),
            where="--devices",
            do="use more devices, or lower capture.gpus or runtime.training.processes",
        ) from error
    return lines_of(found, machines, tflops)


def lines_of(found: Schedule, machines: Machines, tflops: float) -> list[str]:
    """A schedule in words."""
    gpus = machines.nodes * machines.gpus
    return [
        f"On {counted(machines.nodes, 'node')} with {counted(machines.gpus, 'GPU')} each, at {tflops:g} "
        "TFLOP/s per GPU (--tflops); a rough estimate:",
        f"  {duration(found.length)}, {found.gpu_seconds / 3600:.1f} GPU-hours, {100 * found.idle:.0f} % of "
        f"{counted(gpus, 'GPU')} idle",
        f"  critical path {duration(found.critical_seconds)}: {' -> '.join(found.critical) or 'none'}",
    ]
