"""A plan on the terminal: a row for each job, and below it what makes jobs stale, each change once, and damaged files."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from fusionchat import console
from fusionchat.estimate import most_disk, work
from fusionchat.units import counted, size

if TYPE_CHECKING:
    from fusionchat.jobs import Cost
    from fusionchat.pipeline import Planned

CHANGES = 10
NAMED = 3


def show(planned: "Sequence[Planned]", folder: str) -> None:
    """Print the table, what changed, and the disk that the run needs."""
    console.table(
        f"Plan of {folder}",
        ("job", "state", "disk", "compute"),
        [(job.id, str(status), disk(job.cost), work(job.cost.flops)) for job, status in planned],
        caption="rough estimates; + while it runs; ? model or corpus not here yet",
    )
    for line in (*changes(planned), *damages(planned)):
        console.say(line)
    most = most_disk([job.cost for job, _ in planned])
    if most is not None:
        console.say(f"Disk: at most {size(most)}, checkpoints of one training included")


def disk(cost: "Cost") -> str:
    """What a job leaves on disk, and what it needs besides while it runs: ``2 MB + 18 MB``."""
    return size(cost.disk) + (f" + {size(cost.scratch)}" if cost.scratch != 0 else "")


def changes(planned: "Sequence[Planned]") -> list[str]:
    """Each change with the jobs that it makes stale, and how many jobs only follow one of these; no lines for none."""
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
    """Jobs by their names, the first few of many."""
    more = len(jobs) - NAMED
    return ", ".join(jobs[:NAMED]) + (f" and {more} more" if more > 0 else "")
