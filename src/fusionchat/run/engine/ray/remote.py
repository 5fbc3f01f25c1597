"""What runs on the nodes of a Ray cluster: the usual worker, as a task or an actor.

The worker is `fusionchat.run.worker`.

It gets the run's folder and the job to do, and returns the outcome as JSON. It prints into the run folder.
"""

import os
import socket
import sys
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import ray
from ray import cloudpickle

from fusionchat.artifacts import Json, make_folder
from fusionchat.errors import FusionChatError, MachineError
from fusionchat.host import this_host
from fusionchat.run.attempts import NODE
from fusionchat.run.job import Stage
from fusionchat.run.order import ORDERS
from fusionchat.run.outcome import told
from fusionchat.threads import wait_passively

Outcome = dict[str, Json]
MEMORY = ("OutOfMemoryError", "MemoryError")
LAST_LINES = 6


class Errand(NamedTuple):
    """A job to do.

    Attributes:
        run: The run's folder.
        job_id: The job.
        mark: Its fingerprint.
        threads: CPU threads, if the job leaves them open.
        stages: The stages by name, pickled: modules by their names, which are imported where the job is
            done.
        helps: Whether another process has begun the job, so that only shards of it are made.
    """

    run: str
    job_id: str
    mark: str
    threads: int
    stages: bytes
    helps: bool = False


def packed(stages: Mapping[str, Stage]) -> bytes:
    """Stages, pickled for an errand."""
    found: bytes = cloudpickle.dumps(dict(stages))
    return found


def unpacked(stages: bytes) -> dict[str, Stage]:
    """The stages of an errand, imported here."""
    found: dict[str, Stage] = cloudpickle.loads(stages)
    return found


def do(errand: Errand) -> Outcome:
    """Do a job here; returns its summary, or the error."""
    os.environ[NODE] = node_name()
    wait_passively()  # before torch is loaded
    log = log_path(Path(errand.run), errand.job_id)
    with printed_to(log):
        try:
            from fusionchat.run.worker import outcome_of

            return outcome_of(
                Path(errand.run),
                errand.job_id,
                errand.mark,
                stages=unpacked(errand.stages),
                helps=errand.helps,
                threads=errand.threads,
            )
        except Exception as error:
            return {"error": dict(told(unforeseen(error, errand.job_id, log)))}


def unforeseen(error: Exception, job_id: str, log: Path) -> FusionChatError:
    """The `FusionChatError` for any other error, whose traceback is printed.

    Running out of memory becomes the machine's error.
    """
    traceback.print_exception(error)
    sys.stderr.flush()
    kind, text = type(error).__name__, (str(error).strip() or "no message").splitlines()[0]
    found = FusionChatError(f"{job_id} has failed with {kind}: {text}", where=str(log), do="see this log")
    found.exit_code = 1
    if kind in MEMORY:
        found = FusionChatError(
            f"{job_id} ran out of memory: {text}",
            where=str(log),
            do="lower represent.batch_tokens (capture), runtime.batch_tokens (evaluation) or runtime.micro_batch_tokens "
            "(training), or ask for larger nodes with runtime.ray.resources; then run again",
        )
        found.exit_code = MachineError.exit_code
    return found


def node_name() -> str:
    """The name of this process's node: its host, and the first digits of its Ray id."""
    return name_of(socket.gethostname(), ray.get_runtime_context().get_node_id())


def name_of(host: str, node_id: str) -> str:
    """The name of a node with a Ray id."""
    return f"{host}.{node_id[:6]}"


def log_path(run: Path, job_id: str) -> Path:
    """The file that this process prints to while it does a job."""
    return run / ORDERS / job_id / f"log-{this_host()}-{os.getpid()}.txt"


@contextmanager
def printed_to(path: Path) -> Iterator[None]:
    """Append everything that this process and its libraries print to a file while the block runs."""
    make_folder(path.parent)
    sys.stdout.flush()
    sys.stderr.flush()
    before = os.dup(1), os.dup(2)
    with path.open("ab") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    try:
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for number, kept in zip((1, 2), before, strict=True):
            os.dup2(kept, number)
            os.close(kept)


def read_probe(path: str) -> str:
    """What a node reads in the coordinator's probe file; "" if it does not see the file."""
    try:
        return Path(path).read_text(encoding="utf-8")
    except OSError:
        return ""


class Hand:
    """A worker that stays and makes one job after another, with libraries and model kept loaded."""

    def ready(self) -> str:
        """The name of its node."""
        return node_name()

    def do(self, errand: Errand) -> Outcome:
        """Do a job, or help with its shards."""
        return do(errand)


class Meeting(NamedTuple):
    """The address of a rank."""

    node: str
    address: str
    port: int


class Rank:
    """A rank of a training."""

    def where(self) -> Meeting:
        """The rank's address, with a port that is free there."""
        with socket.socket() as free:
            free.bind(("", 0))
            port = int(free.getsockname()[1])
        return Meeting(ray.get_runtime_context().get_node_id(), ray.util.get_node_ip_address(), port)

    def do(self, errand: Errand, world: dict[str, str]) -> Outcome:
        """Do this rank's part, in the world that these environment variables name."""
        os.environ.update(world)
        os.environ[NODE] = node_name()
        wait_passively()
        log = log_path(Path(errand.run), errand.job_id)
        with printed_to(log):
            try:
                from fusionchat.distill.parallel import part
                from fusionchat.run.worker import work_as_rank

                stages = unpacked(errand.stages)
                summary = work_as_rank(
                    Path(errand.run), errand.job_id, errand.mark, stages, threads=errand.threads
                )
                part()
            except FusionChatError as error:
                return {"error": dict(told(error))}
            except Exception as error:
                return {"error": dict(told(unforeseen(error, errand.job_id, log)))}
            return {"summary": summary}
