"""The ranks of a training on this machine, started by torch's elastic agent.

This is what ``torchrun --standalone`` does.

Each rank is ``fusionchat worker RUN JOB --as-rank FINGERPRINT``. Rank 0 has our stderr; the others print to
files that are removed after a success. Each writes an outcome: rank 0 the summary, a failed rank its error.
"""

import os
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from fusionchat.artifacts import Json, make_folder, read_json, write_json
from fusionchat.errors import FusionChatError, MachineError, RecipeError
from fusionchat.run.job import Job, Summary
from fusionchat.run.order import ranks_path
from fusionchat.run.outcome import raised, told
from fusionchat.runtime import RuntimeSettings

if TYPE_CHECKING:
    from torch.distributed.elastic.multiprocessing.errors import ProcessFailure

PROGRAM = ("-m", "fusionchat")
"""Python's arguments for a rank."""
LAST_LINES = 8
GRACE = 10
"""Seconds that the other ranks have to end when one has failed.

Most wait for it in an exchange and do not react to a signal.
"""
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)
MEMORY = ("OutOfMemoryError", "MemoryError")


def processes_of(runtime: RuntimeSettings, gpus: Callable[[], int]) -> int:
    """The number of processes that share a training.

    Args:
        runtime: With ``training.processes`` and ``device``.
        gpus: Counts the GPUs that this process may use.

    Raises:
        RecipeError: There are several processes, and a device that only one can have.
        MachineError: There are more processes than GPUs.
    """
    wanted, device = runtime.training.processes, runtime.device
    shared = device in ("auto", "cuda")
    if wanted == "auto":
        return max(1, gpus()) if shared else 1
    assert isinstance(wanted, int)
    if wanted > 1 and not shared and device != "cpu":
        raise RecipeError(
            f"{wanted} processes cannot share the device {device!r}",
            where="runtime.training.processes",
            do="set runtime.device to cuda for a GPU each, or to cpu",
        )
    there = gpus() if shared and wanted > 1 else 0
    if there and wanted > there:
        raise MachineError(
            f"A training needs {wanted} GPUs, one per process, but this job may use {there}",
            where="runtime.training.processes",
            do="set fewer, or auto; strategy fsdp2 and gradient checkpointing save memory",
        )
    return wanted


def launch(run: Path, job: Job, count: int) -> Summary:
    """Make a job, whose order is written, in ranks on this machine; returns its summary.

    Raises:
        FusionChatError: The error of the rank that failed first; a MachineError if it was killed or out of
            memory.
    """
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, Std
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    folder = ranks_path(run, job.id)
    shutil.rmtree(folder, ignore_errors=True)
    make_folder(folder)
    redirects = {rank: Std.ALL for rank in range(1, count)}
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=count,
        run_id="ranks",
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",  # a port that is free
        local_addr="127.0.0.1",
        max_restarts=0,  # the user should see why a rank died
        logs_specs=DefaultLogsSpecs(str(folder), redirects),
        shutdown_timeout=GRACE,
    )
    debug = ["--debug"] if "--debug" in sys.argv else []
    command = (*PROGRAM, *debug, "worker", str(run), job.id, "--as-rank", job.fingerprint)
    try:
        with started_with(environment(job.resources.threads, count)), own_signals():
            elastic_launch(config, sys.executable)(*command)
        summary = read_json(outcome_path(folder, 0))["summary"]
    except ChildFailedError as error:
        raise failure_of(job, folder, error.failures) from error
    shutil.rmtree(folder, ignore_errors=True)
    assert isinstance(summary, dict)
    return summary


def outcome_path(folder: Path, rank: int) -> Path:
    """The file of a rank's result."""
    return folder / f"rank-{rank}.outcome"


def leave_outcome(folder: Path, rank: int, work: Callable[[], Summary]) -> bool:
    """Do a rank's work and write its result; returns whether it succeeded."""
    path = outcome_path(folder, rank)
    try:
        write_json(path, {"summary": work()})
    except FusionChatError as error:
        write_json(path, {"error": told(error), "time": time.time()})
        return False
    except Exception as error:
        lines: list[Json] = [*"".join(traceback.format_exception(error)).splitlines()[-LAST_LINES:]]
        held: dict[str, Json] = {"kind": type(error).__name__, "lines": lines, "time": time.time()}
        write_json(path, held)
        return False
    return True


def failure_of(job: Job, folder: Path, failures: "Mapping[int, ProcessFailure]") -> FusionChatError:
    """The error of the rank that failed first; the others fail because of it.

    Args:
        job: The job.
        folder: The folder of the ranks' outcomes and logs.
        failures: Those of torch's agent, by rank; negative exit codes are signals.
    """
    for rank, failure in failures.items():
        code = failure.exitcode
        if code < 0 and -code != signal.SIGTERM and not outcome_path(folder, rank).is_file():
            return killed(job, folder, rank, signal.Signals(-code).name)
    held = {rank: read_json(path) for rank in failures if (path := outcome_path(folder, rank)).is_file()}
    if not held:
        rank = min(failures)
        return killed(job, folder, rank, f"exit code {failures[rank].exitcode}")
    rank = min(held, key=lambda one: float(str(held[one].get("time", "inf"))))
    error = held[rank].get("error")
    if isinstance(error, dict):
        return raised(error)
    kind, lines = str(held[rank].get("kind")), held[rank].get("lines")
    text = [str(line) for line in lines] if isinstance(lines, list) else []
    return ended(job, folder, rank, f"has failed with {kind}", text, memory=kind in MEMORY)


def killed(job: Job, folder: Path, rank: int, how: str) -> FusionChatError:
    """The error of a rank that left no outcome."""
    logs = sorted(folder.glob(f"ranks_*/attempt_0/{rank}/std*.log"))
    lines = [line for log in logs for line in log.read_text(errors="replace").splitlines()]
    return ended(job, folder, rank, f"was ended by {how}", lines[-LAST_LINES:], memory=how == "SIGKILL")


def ended(job: Job, folder: Path, rank: int, how: str, lines: list[str], *, memory: bool) -> FusionChatError:
    """The error of a rank, with the last lines that it printed."""
    shown = "".join(f"\n    {line}" for line in lines)
    what = f"Rank {rank} of {job.id} {how}" + (f"; its last lines:{shown}" if shown else "")
    do = "run the same command again to continue from the last checkpoint"
    if memory:
        do = (
            "if memory ran out, lower runtime.micro_batch_tokens or set runtime.gradient_checkpointing; then run again "
            "to continue from the last checkpoint"
        )
    error = FusionChatError(what, where=str(folder), do=do)
    error.exit_code = MachineError.exit_code if memory else 1
    return error


def environment(threads: int, count: int) -> dict[str, str]:
    """The environment of ranks, with their share of the CPU threads (0 for torch's default)."""
    import torch

    return {
        "OMP_NUM_THREADS": str(share_of_threads(threads or torch.get_num_threads(), count)),
        "TORCH_CPP_LOG_LEVEL": "ERROR",  # DDP warns that it searches for experts that no token has reached
    }


@contextmanager
def started_with(variables: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables for processes that are started inside the block."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def share_of_threads(threads: int, count: int) -> int:
    """CPU threads of each of ``count`` processes of a machine; 0 stays 0."""
    return max(1, threads // count) if threads else 0


@contextmanager
def own_signals() -> Iterator[None]:
    """Keep this process's signal handlers, which torch's agent replaces and does not restore.

    What the agent's handlers raise is passed to ours.
    """
    from torch.distributed.elastic.multiprocessing import SignalException

    before = {number: signal.getsignal(number) for number in SIGNALS}

    def restore() -> None:
        for number, handler in before.items():
            if signal.getsignal(number) is not handler and handler is not None:
                signal.signal(number, handler)

    try:
        yield
    except SignalException as stop:
        restore()
        signal.raise_signal(stop.sigval)
        raise
    finally:
        restore()
