"""This machine's GPUs by their names in ``CUDA_VISIBLE_DEVICES``, and which worker gets which."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

VISIBLE = "CUDA_VISIBLE_DEVICES"
Gpus = tuple[str, ...]


def gpus_here(device: str, environment: Mapping[str, str], count: Callable[[], int]) -> Gpus:
    """The GPUs to share among workers; none if work goes to the CPU, or to one named GPU.

    Args:
        device: As `runtime.device` of a recipe.
        environment: Its ``CUDA_VISIBLE_DEVICES`` may already limit the GPUs: it names them up to the first
            -1.
        count: Counts the GPUs if it is not set.
    """
    if device not in ("auto", "cuda"):
        return ()
    given = environment.get(VISIBLE)
    if given is None:
        return tuple(map(str, range(count())))
    names = [name.strip() for name in given.split(",")]
    end = next((i for i, name in enumerate(names) if name in ("", "-1")), len(names))
    return tuple(names[:end])


def first_groups(gpus: Gpus, workers: int) -> list[Gpus]:
    """One GPU for each worker, as long as there are any."""
    return [(gpus[i],) if i < len(gpus) else () for i in range(workers)]


class Choice(NamedTuple):
    """Which of the idle workers gets a job, and the GPUs that it then has."""

    worker: int
    gpus: Gpus


def choose(need: int, idle: Sequence[Gpus], free: Gpus) -> Choice | None:
    """An idle worker for a job that needs some GPUs; None if free and idle workers' GPUs are too few.

    A worker that already has exactly that number is chosen, since it need not restart. Otherwise the one with
    the most gets more: its own first, then free ones, then those of other idle workers.

    Args:
        need: GPUs of the job.
        idle: The GPUs of each idle worker.
        free: GPUs of no worker.
    """
    if not idle:
        return None
    if need == 0:
        fewest = min(range(len(idle)), key=lambda i: len(idle[i]))
        return Choice(fewest, idle[fewest])
    same = next((i for i, gpus in enumerate(idle) if len(gpus) == need), None)
    if same is not None:
        return Choice(same, idle[same])
    most = max(range(len(idle)), key=lambda i: len(idle[i]))
    others = [gpu for i, gpus in enumerate(idle) if i != most for gpu in gpus]
    within_reach = (*idle[most], *free, *others)
    return Choice(most, within_reach[:need]) if len(within_reach) >= need else None
