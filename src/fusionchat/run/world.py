"""The processes that torchrun, accelerate launch or Slurm has started.

Rank 0 plans and writes; the others follow it.

    with leading(runtime):       # rank 0: carries out the run
        summon(run, job)         # the others begin this job, too
    follow(make)                 # any other rank: makes what rank 0 summons it to, until rank 0 ends

They communicate through the key-value store at ``MASTER_ADDR:MASTER_PORT`` that torch's process group uses,
too.
"""

import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from fusionchat.errors import FusionChatError, RecipeError
from fusionchat.run.job import Job
from fusionchat.runtime import RuntimeSettings

if TYPE_CHECKING:
    from torch.distributed import Store

POLL = 0.1
PATIENCE = 30.0
"""Seconds that rank 0 waits until the others know that all is done."""
FOREIGN = ("ACCELERATE_USE_FSDP", "ACCELERATE_USE_DEEPSPEED", "ACCELERATE_USE_MEGATRON_LM")
"""Configurations of `accelerate launch` that would wrap the model once more."""


class World(NamedTuple):
    """This process's rank and the number of processes, among all and on this machine."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1


def world_here(environment: Mapping[str, str] = os.environ) -> World:
    """The world that this process was started in, from the variables that torchrun sets.

    Raises:
        RecipeError: Some of them are missing.
    """
    size = int(environment.get("WORLD_SIZE") or 1)
    if size == 1:
        return World()
    names = ("RANK", "MASTER_ADDR", "MASTER_PORT")
    missing = [name for name in names if not environment.get(name)]
    if missing:
        raise RecipeError(
            f"WORLD_SIZE is {size}, but {' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} not set",
            where="environment",
            do="unset WORLD_SIZE, or start the processes with torchrun, which sets all of them",
        )
    rank = int(environment["RANK"])
    local = int(environment.get("LOCAL_RANK", rank))
    return World(rank, size, local, int(environment.get("LOCAL_WORLD_SIZE", size)))


def require_fitting(runtime: RuntimeSettings, world: World, environment: Mapping[str, str]) -> None:
    """Raise RecipeError if the settings contradict the processes that were started."""
    processes = runtime.training.processes
    if processes not in ("auto", world.size):
        raise RecipeError(
            f"The recipe asks for {processes} processes, but {world.size} were started",
            where="runtime.training.processes",
            do=f"set it to auto, or start {processes}",
        )
    if runtime.workers > 1:
        raise RecipeError(
            f"Workers cannot be divided among the {world.size} processes that were started",
            where="runtime.workers",
            do="set it to 1, or start `fusionchat run` alone: it starts its processes itself",
        )
    for name in FOREIGN:
        if environment.get(name, "").lower() == "true":
            raise RecipeError(
                f"{name} is set: accelerate would wrap the model a second time",
                where="environment",
                do="configure accelerate for plain multi-GPU or multi-CPU; the recipe says how the model is shared",
            )


@contextmanager
def leading(runtime: RuntimeSettings) -> Iterator[None]:
    """Lead the other ranks while the block runs; does nothing if there are none.

    Raises:
        RecipeError: As `require_fitting`.
    """
    world = world_here()
    if world.size == 1:
        yield
        return
    well = False
    try:
        require_fitting(runtime, world, os.environ)
        yield
        well = True
    finally:
        end(world.size - 1, well=well)


def end(others: int, *, well: bool) -> None:
    """Let the other ranks end, and wait until they know.

    The store may belong to this process and end with it.

    After an error they may wait for this process in an exchange, which its end interrupts.
    """
    _tell({"end": well})
    until = time.monotonic() + (PATIENCE if well else 0.0)
    while _store().add(f"heard-{_said}", 0) < others and time.monotonic() < until:
        time.sleep(POLL)


def summon(run: Path, job: Job) -> None:
    """Make the other ranks begin a job together with this one, which is rank 0."""
    _tell({"run": str(run.absolute()), "job": job.id, "mark": job.fingerprint})


def follow(make: Callable[[Path, str, str], object]) -> None:
    """Make the jobs that rank 0 summons this rank to, until rank 0 ends.

    Args:
        make: Makes a job of a run, given its folder, the job's id and its fingerprint.

    Raises:
        FusionChatError: Rank 0 has stopped with an error, which is in its output.
    """
    while "end" not in (said := _heard()):
        make(Path(said["run"]), said["job"], said["mark"])
    if not said["end"]:
        raise FusionChatError("Rank 0 has stopped", do="see its message")


def _heard() -> dict[str, str]:
    """The next order of rank 0; "end" if it has ended."""
    from torch.distributed import DistError

    key = f"order-{_next()}"
    try:
        store = _store()
        while not store.check([key]):
            time.sleep(POLL)
        said: dict[str, str] = json.loads(store.get(key))
        if "end" in said:
            store.add(f"heard-{_said}", 1)
    except DistError:
        return {"end": ""}
    return said


def _tell(what: dict[str, str | bool]) -> None:
    _store().set(f"order-{_next()}", json.dumps(what))


_said = 0


def _next() -> int:
    """The number of the next order; every rank counts all of them."""
    global _said  # noqa: PLW0603 (one store, one count)
    _said += 1
    return _said


@cache
def _store() -> "Store":
    """The store, which rank 0 or the launcher provides; raises MachineError if it cannot be reached."""
    from torch.distributed import DistError, PrefixStore, rendezvous

    from fusionchat.distill.parallel import unreachable

    try:
        store, _, _ = next(rendezvous("env://"))  # type: ignore[no-untyped-call]
    except DistError as error:
        raise unreachable(error) from error
    return PrefixStore("fusionchat", store)
