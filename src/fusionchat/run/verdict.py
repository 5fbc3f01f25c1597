"""Whether each job fits its devices, what to change if it does not, and how long it takes."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from fusionchat import machine_memory
from fusionchat.devices import Machines, parse_machines
from fusionchat.distill.footprint import NAMES
from fusionchat.distill.settings import TrainingSettings
from fusionchat.errors import RecipeError
from fusionchat.hub import configuration_folder
from fusionchat.models.device import cuda_count, cuda_memory
from fusionchat.models.ref import ModelRef
from fusionchat.recipe.schema import Recipe
from fusionchat.run.estimate import OVERHEAD, parameters
from fusionchat.run.host_work import host_memory, host_seconds
from fusionchat.run.job import Job
from fusionchat.run.smaller import smaller
from fusionchat.run.structure import configuration
from fusionchat.run.training_memory import training_memory
from fusionchat.units import size

USABLE = 0.95
"""The usable share of a device's memory; the rest is lost between allocations."""
FOUR_BITS = 0.55
"""Bytes of a weight in 4 bits, with scales."""
TRAININGS = ("distill", "adapt")
HOST_WORK = ("corpus", "unpack", "align", "fuse", "report")
"""Stages that never compute on a GPU."""


class Devices(NamedTuple):
    """The devices that a run would use.

    Attributes:
        machines: The number of machines, of GPUs in each, and their memory; without GPUs, one machine and its
            memory.
        gpu: Whether they are GPUs.
        tflops: 10^12 operations a second that a job reaches on each; None if unknown.
        host: Bytes of a machine's own memory; 0 for the total of its GPUs.
    """

    machines: Machines
    gpu: bool
    tflops: float | None = None
    host: int = 0

    @property
    def total(self) -> int:
        """The number of all GPUs."""
        return self.machines.nodes * self.machines.gpus

    @property
    def host_memory(self) -> float:
        """Bytes of a machine's own memory that jobs may use."""
        return USABLE * (self.host or self.machines.gpus * self.machines.memory)


class Verdict(NamedTuple):
    """What is known of a job before it runs.

    Attributes:
        job: Its id.
        needs: Bytes of one device's memory (for a capture that spreads over several, their total); None if
            unknown.
        has: Bytes that it would get.
        hours: How long it computes; None if unknown.
        change: What to change if it does not fit; "" if it does, or if that is unknown.
        on_host: Whether the memory is the host's.
        besides: Bytes of host memory that a job on GPUs needs temporarily.
        lacks: What must be known to determine ``needs``; "" if it is known.
    """

    job: str
    needs: float | None
    has: float
    hours: float | None
    change: str = ""
    on_host: bool = False
    besides: float = 0.0
    lacks: str = ""

    @property
    def fits(self) -> bool | None:
        """Whether it fits; None if unknown."""
        return False if self.change else None if self.needs is None else True


def devices_of(named: str | None, device: str, tflops: float) -> Devices:
    """The named GPUs, or else this machine's devices.

    Args:
        named: Words for `parse_machines`; None for this machine.
        device: `runtime.device`.
        tflops: 10^12 operations a second that a GPU reaches.

    Raises:
        RecipeError: The words describe no devices, or the recipe works on the CPU.
    """
    if named is not None:
        machines = parse_machines(named, where="--devices")
        if not device.startswith(("auto", "cuda")):
            raise RecipeError(
                f"--devices names GPUs, but the recipe runs on {device}",
                where="runtime.device",
                do="plan with --set runtime.device=auto, or leave --devices out",
            )
        return Devices(machines, True, tflops)
    memory = int(machine_memory.total())
    if device.startswith(("auto", "cuda")) and (count := cuda_count()):
        return Devices(Machines(1, count, cuda_memory()), True, tflops, memory)
    return Devices(Machines(1, 1, memory), False)


def ranks_on(recipe: Recipe, devices: Devices) -> int:
    """The number of processes of a training there: the recipe's, or one for each GPU that it may use.

    With `runtime.workers` each worker has one GPU; otherwise a training has those of one machine.
    """
    asked, own = (
        recipe.runtime.training.processes,
        recipe.runtime.engine == "local" and recipe.runtime.workers > 1,
    )
    if isinstance(asked, int):
        return asked
    return devices.machines.gpus if devices.gpu and not own else 1


def verdicts(
    jobs: Sequence[Job], recipe: Recipe, refs: Mapping[str, ModelRef], devices: Devices
) -> list[Verdict]:
    """A verdict for every job."""
    return [_verdict(job, recipe, refs, devices) for job in jobs]


def _verdict(job: Job, recipe: Recipe, refs: Mapping[str, ModelRef], devices: Devices) -> Verdict:
    if job.stage == "distill":
        return _training(job, recipe, refs["pivot"], recipe.distill, devices)
    if job.stage == "adapt":
        assert recipe.adapt is not None
        return _training(job, recipe, refs[job.name], recipe.adapt.training(job.name), devices)
    of_host = job.stage in HOST_WORK or (job.stage == "merge" and job.resources.memory is None)
    if of_host or (devices.gpu and not job.resources.gpus):
        return _on_host(job, recipe, refs, devices)
    return _other(job, recipe, refs, devices)


def _hours(job: Job, devices: Devices, count: int) -> float | None:
    if job.cost.flops is None or devices.tflops is None:
        return None
    return job.cost.flops / (devices.tflops * 1e12 * count) / 3600


def _on_host(job: Job, recipe: Recipe, refs: Mapping[str, ModelRef], devices: Devices) -> Verdict:
    """The verdict for a job that computes without a GPU."""
    needs, has, seconds = host_memory(job, recipe, refs), devices.host_memory, host_seconds(job, recipe, refs)
    change = ""
    if needs is not None and needs > has:
        change = "lower corpus.train.limit, or use a machine with more memory"
    hours = None if seconds is None else seconds / 3600
    return Verdict(job.id, needs, has, hours, change, on_host=True)


def _training(job: Job, recipe: Recipe, ref: ModelRef, how: TrainingSettings, devices: Devices) -> Verdict:
    ranks = ranks_on(recipe, devices)
    on_a_machine = max(1, ranks // devices.machines.nodes)
    has = USABLE * devices.machines.memory / (1 if devices.gpu else on_a_machine)
    needs = training_memory(recipe, ref, how, ranks=ranks, gpu=devices.gpu)
    hours = _hours(job, devices, ranks if devices.gpu else 1)
    if devices.gpu and ranks > devices.total:
        change = (
            f"{ranks} processes need one GPU each: set runtime.training.processes to {devices.total}, or auto"
        )
        return Verdict(job.id, needs, has, hours, change)
    besides, change, lacks = 0.0, "", "" if needs is not None else lacking(ref)
    if needs is not None and needs > has:
        change = smaller(recipe, ref, how, job.stage, ranks=ranks, gpu=devices.gpu, has=has)
    elif devices.gpu and ranks > 1 and recipe.runtime.training.strategy == "fsdp2":
        besides = on_a_machine * 4.0 * (parameters(ref) or 0)
        if besides > devices.host_memory:
            change = f"each of {on_a_machine} processes first reads the model into host memory: {size(besides)} in all"
    return Verdict(job.id, needs, has, hours, change, besides=besides, lacks=lacks)


def lacking(ref: ModelRef) -> str:
    """What must be known of a model to compute its training's memory."""
    config = configuration(configuration_folder(ref.place))
    if not config:
        return f"the memory of a training is computed from config.json: set a folder with it (--set {ref.where}.model=FOLDER)"
    inside = config.get("text_config")
    own = inside if isinstance(inside, dict) else config
    keys = [names[0] for names in NAMES.values() if not any(isinstance(own.get(name), int) for name in names)]
    return f"config.json of {ref.name} lacks {', '.join(keys)}"


def _other(job: Job, recipe: Recipe, refs: Mapping[str, ModelRef], devices: Devices) -> Verdict:
    """The verdict for a job that runs a model in one process, on the GPUs that it spreads over.

    Workers share captures.
    """
    spread = min(max(1, job.resources.gpus), devices.machines.gpus) if devices.gpu else 1
    has = USABLE * devices.machines.memory * spread
    needs, change = job.resources.memory, ""
    if needs is not None and needs > has:
        change = _elsewhere(job, recipe, refs, devices, needs=needs, has=has)
    workers = min(recipe.runtime.workers, devices.total) if devices.gpu else 1
    share = max(1, workers // spread) if job.resources.parallel == "shards" else 1
    return Verdict(job.id, needs, has, _hours(job, devices, spread * share), change)


def _elsewhere(
    job: Job, recipe: Recipe, refs: Mapping[str, ModelRef], devices: Devices, *, needs: float, has: float
) -> str:
    name = job.name.rpartition("/")[2]
    of_pivot = job.stage == "evaluate" and name == "pivot"
    weights = parameters(refs[name]) if name in refs and not of_pivot else None
    if weights is None:  # the pivot's size, as for a trained row, a merge, or a target that answers
        return _narrower(job, recipe, needs, has)
    machines, ways = devices.machines, list[str]()
    where = f"{'pivot' if name == 'pivot' else f'sources.{name}'}.capture"
    if devices.gpu and machines.gpus * machines.memory * USABLE >= needs:
        gpus = int(-(-needs // (machines.memory * USABLE)))
        ways.append(f"{where}: {{device_map: auto, gpus: {gpus}}}")
    if FOUR_BITS * weights + OVERHEAD <= has and name != "pivot":
        ways.append(f"{where}.quantization in 4 bits ({size(FOUR_BITS * weights + OVERHEAD)})")
    elsewhere = "its shards" if job.stage == "represent" else "this job"
    ways.append(f"{where}: an endpoint that serves it")
    ways.append(f"make {elsewhere} on a larger machine that has the run's folder (run --only {job.id})")
    return "; or ".join(ways)


def _narrower(job: Job, recipe: Recipe, needs: float, has: float) -> str:
    """Advice to compute in a dtype of half the size, if that fits; else ""."""
    where = "represent" if job.stage == "answer" else "evaluate"
    dtype, half = getattr(recipe, where).dtype, (needs - OVERHEAD) / 2 + OVERHEAD
    if dtype in ("auto", "float32") and half <= has:
        return f"set {where}.dtype: bfloat16: {size(half)}"
    return "use a device with more memory, or make this job elsewhere (run --only)"
