"""A plan on the terminal: a row for each job, then what makes jobs stale, and damaged files.

Each change is shown once.
"""

import shlex
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fusionchat import console
from fusionchat.models.device import cuda_count
from fusionchat.run.estimate import most_disk, work
from fusionchat.units import counted, duration, size

if TYPE_CHECKING:
    from fusionchat.run.job import Cost, Job
    from fusionchat.run.verdict import Devices, Verdict
    from fusionchat.stages.pipeline import Planned

CHANGES = 10
NAMED = 3
BRIEF = 1.0
"""Seconds below which a job's time is not shown."""
FITS = {True: "yes", False: "no", None: "?"}


def show(planned: "Sequence[Planned]", folder: str) -> None:
    """Print the table, what changed, and the disk space that the run needs."""
    console.table(
        f"Plan of {folder}",
        ("job", "state", "disk", "compute"),
        [(job.id, str(status), disk(job.cost), work(job.cost.flops)) for job, status in planned],
        caption="rough estimates; +: while it runs; ?: model or corpus not on this machine yet",
    )
    for line in (*backends(planned), *trainings(planned), *changes(planned), *damages(planned)):
        console.say(line)
    most = most_disk([job.cost for job, _ in planned])
    if most is not None:
        console.say(f"Disk: at most {size(most)}, checkpoints of one training included")


def show_verdict(found: "Sequence[Verdict]", devices: "Devices") -> None:
    """Print which jobs fit the devices, and what to change for those that do not.

    Jobs of one stage with the same figures share a line.
    """
    machines = devices.machines
    kind = "GPUs" if devices.gpu else "memory of this machine"
    rows = [
        (
            jobs,
            f"{size(one.needs)}{' *' * (one.on_host and devices.gpu)}",
            size(one.has),
            FITS[one.fits],
            "-" if one.hours is None or one.hours * 3600 < BRIEF else duration(one.hours * 3600),
        )
        for jobs, one in grouped(found)
    ]
    said = "rough, with the process's own memory; for a training, per process"
    if devices.gpu:
        said += "; *: host memory" + (", assumed to equal its GPUs'" if not devices.host else "")
    if devices.tflops is not None:
        said += f"; time of one job at {devices.tflops:g} TFLOP/s per GPU (--tflops)"
    words = (
        f"{machines.nodes} x {machines.gpus} x {size(machines.memory)}"
        if devices.gpu
        else size(machines.memory)
    )
    console.table(f"On {words} {kind}", ("jobs", "need", "have", "fits", "time"), rows, caption=said)
    for line in (*remarks(found), *unknown(found)):
        console.say(line)


def remarks(found: "Sequence[Verdict]") -> list[str]:
    """What to change for jobs that do not fit, and what others need of the host's memory for a while."""
    lines = []
    for jobs, one in grouped(found):
        if one.fits is False:
            lines.append(f"{jobs}: {one.change}")
        elif one.besides:
            lines.append(f"{jobs}: {size(one.besides)} of host memory while the processes read the model")
    return lines


def unknown(found: "Sequence[Verdict]") -> list[str]:
    """How to provide what is unknown; no lines if nothing is."""
    lines = [f"{jobs}: {one.lacks}" for jobs, one in grouped(found) if one.lacks]
    models = any(one.needs is None and not one.on_host and not one.lacks for one in found)
    corpus = any(one.needs is None and one.on_host for one in found)
    if models:
        lines.append(
            "A model's size is not known: --set pivot.model=FOLDER (with its config.json), or --assume pivot=7e9"
        )
    if corpus:
        lines.append("The corpus's size is not known: --assume tokens=63e6")
    return lines


def in_all(found: "Sequence[Verdict]") -> list[str]:
    """How long all jobs take one after the other; no lines if that is unknown."""
    hours = [one.hours for one in found]
    known = [one for one in hours if one is not None]
    if len(known) < len(hours) or not sum(known):
        return []
    served = any(one.on_host and one.job.startswith("represent/") for one in found)
    more = ", without the time of servers" if served else ""
    return [f"All jobs, one after the other: {duration(3600 * sum(known))}{more}"]


def grouped(found: "Sequence[Verdict]") -> "list[tuple[str, Verdict]]":
    """Equal verdicts of one stage, each once, with a name for their jobs: ``distill/sft and 4 more``."""
    groups: dict[tuple[object, ...], list[Verdict]] = {}
    for one in found:
        groups.setdefault((one.job.partition("/")[0], *one[1:]), []).append(one)
    more = {key: f" and {len(held) - 1} more" if len(held) > 1 else "" for key, held in groups.items()}
    return [(f"{held[0].job}{more[key]}", held[0]) for key, held in groups.items()]


def disk(cost: "Cost") -> str:
    """The disk space of a job's results, and what else it needs while it runs: ``2 MB + 18 MB``."""
    return size(cost.disk) + (f" + {size(cost.scratch)}" if cost.scratch != 0 else "")


def backends(planned: "Sequence[Planned]") -> list[str]:
    """The models that a program other than transformers captures; no lines for none."""
    found = {job.name: job.settings for job, _ in planned if job.stage == "represent"}
    words = [f"{name} by {who}" for name, own in found.items() if (who := getattr(own, "captured_by", ""))]
    return [f"Captured by other programs: {', '.join(words)}"] if words else []


def trainings(planned: "Sequence[Planned]") -> list[str]:
    """The number of processes of each training; no lines if each has one."""
    asked = [job.resources for job, _ in planned if job.resources.parallel == "ranks"]
    counts = {one.processes if one.processes != "auto" else cuda_count() if one.gpus else 1 for one in asked}
    return [f"Each training has {count} processes (runtime.training)" for count in counts if count > 1]


def changes(planned: "Sequence[Planned]") -> list[str]:
    """Each change with the jobs that it makes stale, and how many jobs only depend on these.

    No lines if nothing changed.
    """
    jobs_by_change: dict[str, list[str]] = {}
    following = 0
    for job, status in planned:
        if status.state == "damaged":
            continue
        own = [change for change in status.changed if not change.startswith("follows ")]
        for change in own:
            jobs_by_change.setdefault(change, []).append(job.id)
        following += status.state == "stale" and not own
    lines = [f"  {change}  ({_named(jobs)})" for change, jobs in jobs_by_change.items()]
    if len(lines) > CHANGES:
        lines[CHANGES:] = [f"  and {counted(len(lines) - CHANGES, 'more change')}"]
    if following:
        lines.append(
            f"  {counted(following, 'more job')} {'follows' if following == 1 else 'follow'} a stale one"
        )
    return ["Stale because of:", *lines] if lines else []


def damages(planned: "Sequence[Planned]") -> list[str]:
    """Each file of a finished job that is missing or damaged; no lines for none."""
    lines = [
        f"  {j.id}/{fault}" for j, status in planned if status.state == "damaged" for fault in status.changed
    ]
    if len(lines) > CHANGES:
        lines[CHANGES:] = [f"  and {counted(len(lines) - CHANGES, 'more file')}"]
    return ["Damaged, to be made again:", *lines] if lines else []


def _named(jobs: Sequence[str]) -> str:
    """Jobs by name; of many, the first few."""
    more = len(jobs) - NAMED
    return ", ".join(jobs[:NAMED]) + (f" and {more} more" if more > 0 else "")


def commands(planned: "Sequence[Planned]", recipe: Path, settings: Sequence[str]) -> list[str]:
    """A line for each job that is to run: a command for a shell, and after ``#`` what it needs.

    Only needed jobs that are to run are listed; others are done. A line is ``COMMAND  # JOB after=A,B
    threads=N ...``.
    """
    given = "".join(f" --set {shlex.quote(setting)}" for setting in settings)
    todo = {job.id for job, status in planned if status.state != "done"}
    return [
        f"fusionchat run {shlex.quote(str(recipe))}{given} --only {shlex.quote(job.id)}  # {needs(job, todo)}"
        for job, _ in planned
        if job.id in todo
    ]


def needs(job: "Job", todo: Collection[str]) -> str:
    """What a job needs of a machine and of other jobs, as ``key=value``; memory in MB, 0 for unknown."""
    after = ",".join(need for need in job.needs if need in todo)
    asked = job.resources
    memory = 0 if asked.memory is None else -(-int(asked.memory) // 10**6)
    return (
        f"{job.id} after={after or '-'} threads={asked.threads} gpus={asked.gpus} memory={memory} "
        f"parallel={asked.parallel} processes={asked.processes}"
    )
