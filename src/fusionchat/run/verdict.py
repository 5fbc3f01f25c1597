"""Whether each job fits the devices that it would get, what to change where it does not, and how long it takes."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from fusionchat.devices import Machines, parse_machines
from fusionchat.distill.precision import Bf16Weights
from fusionchat.distill.trainable import FULL, Lora, Qlora
from fusionchat.models.device import cuda_count, cuda_memory
from fusionchat.models.ref import ModelRef
from fusionchat.recipe.schema import Recipe
from fusionchat.run.estimate import OVERHEAD, parameters
from fusionchat.run.job import Job
from fusionchat.run.training_memory import training_memory
from fusionchat.units import size

USABLE = 0.95
"""Of a device's memory: the rest is lost between allocations."""
FOUR_BITS = 0.55
"""Bytes of a weight in 4 bits, with scales."""
CHECKPOINTING = ("runtime.gradient_checkpointing: true",)
FSDP2 = ("runtime.training.strategy: fsdp2",)
NARROW = ("distill.precision: bf16_weights", "distill.optim: adamw_bnb_8bit")
LORA, QLORA = ("distill.train: lora",), ("distill.train: qlora",)
CHANGES: dict[str, dict[str, object]] = {
    NARROW[0]: {"precision": Bf16Weights()}, NARROW[1]: {"optim": "adamw_bnb_8bit"}, LORA[0]: {"train": Lora()},
    QLORA[0]: {"train": Qlora()},
}  # fmt: skip
"""What the settings of `distill` among them are."""
WAYS = (
    CHECKPOINTING, FSDP2, CHECKPOINTING + FSDP2, NARROW, CHECKPOINTING + NARROW, LORA, CHECKPOINTING + LORA, QLORA,
    CHECKPOINTING + QLORA,
)  # fmt: skip
"""What makes a training smaller, what changes its result least first."""


class Devices(NamedTuple):
    """What a run is to be made on.

    Attributes:
        machines: How many, with how many GPUs of how much memory; without a GPU one machine, whose memory it is.
        gpu: Whether they are GPUs.
        tflops: 10^12 operations a second that a job reaches on each; None if not known.
    """

    machines: Machines
    gpu: bool
    tflops: float | None = None

    @property
    def total(self) -> int:
        """All GPUs."""
        return self.machines.nodes * self.machines.gpus


class Verdict(NamedTuple):
    """What is known of a job before it runs.

    Attributes:
        job: Its id.
        needs: Bytes of one device's memory (of those that a capture spreads over, together); None if not known.
        has: Bytes that it would get.
        hours: How long it computes; None if not known.
        change: What to change where it does not fit.
    """

    job: str
    needs: float | None
    has: float
    hours: float | None
    change: str = ""

    @property
    def fits(self) -> bool | None:
        """Whether it fits; None if not known."""
        return None if self.needs is None else self.needs <= self.has


def devices_of(named: str | None, device: str, tflops: float) -> Devices:
    """The GPUs that are named, or else what this machine has.

    Args:
        named: Words for `parse_machines`; None for this machine.
        device: `runtime.device`.
        tflops: What a GPU reaches.
    """
    if named is not None:
        return Devices(parse_machines(named, where="--devices"), True, tflops)
    if device.startswith(("auto", "cuda")) and (count := cuda_count()):
        return Devices(Machines(1, count, cuda_memory()), True, tflops)
    import psutil

    return Devices(Machines(1, 1, psutil.virtual_memory().total), False)


def ranks_on(recipe: Recipe, devices: Devices) -> int:
    """The processes of a training there: as many as the recipe says, or one for each GPU of one machine."""
    asked = recipe.runtime.training.processes
    return asked if isinstance(asked, int) else devices.machines.gpus if devices.gpu else 1


def verdicts(
    jobs: Sequence[Job], recipe: Recipe, refs: Mapping[str, ModelRef], devices: Devices
) -> list[Verdict]:
    """A verdict for every job that computes with a model."""
    return [
        (_training if job.stage == "distill" else _other)(job, recipe, refs, devices)
        for job in jobs
        if job.stage in ("represent", "distill", "evaluate", "unpack")
    ]


def _hours(job: Job, devices: Devices, count: int) -> float | None:
    if job.cost.flops is None or devices.tflops is None:
        return None
    return job.cost.flops / (devices.tflops * 1e12 * count) / 3600


def _training(job: Job, recipe: Recipe, refs: Mapping[str, ModelRef], devices: Devices) -> Verdict:
    ranks, pivot = ranks_on(recipe, devices), refs["pivot"]
    on_a_machine = max(1, ranks // devices.machines.nodes)
    has = USABLE * devices.machines.memory / (1 if devices.gpu else on_a_machine)
    needs = training_memory(recipe, pivot, ranks=ranks, gpu=devices.gpu)
    hours = _hours(job, devices, ranks if devices.gpu else 1)
    change = ""
    if devices.gpu and ranks > devices.total:
        change = (
            f"{ranks} processes need a GPU each: set runtime.training.processes to {devices.total}, or auto"
        )
        return Verdict(job.id, needs, 0.0, hours, change)
    if needs is not None and needs > has:
        change = smaller(recipe, pivot, ranks=ranks, gpu=devices.gpu, has=has)
    return Verdict(job.id, needs, has, hours, change)


def smaller(recipe: Recipe, pivot: ModelRef, *, ranks: int, gpu: bool, has: float) -> str:
    """The first of `WAYS` with which a training fits, in words; what else can be done where none does."""
    for way in WAYS:
        changed = with_settings(recipe, way)
        if changed is None or (way == FSDP2 and ranks == 1):
            continue
        needs = training_memory(changed, pivot, ranks=ranks, gpu=gpu)
        if needs is not None and needs <= has:
            return f"set {' and '.join(way)}: {size(needs)}"
    tokens = recipe.runtime.micro_batch_tokens
    return f"lower runtime.micro_batch_tokens ({tokens}) or corpus.max_tokens, or take a smaller pivot or more memory"


def with_settings(recipe: Recipe, way: Sequence[str]) -> Recipe | None:
    """The recipe with settings of `WAYS`; None where it has them, or they do not go together."""
    runtime, distill = recipe.runtime, recipe.distill
    for setting in way:
        if setting in CHECKPOINTING:
            if runtime.gradient_checkpointing:
                return None
            runtime = runtime.model_copy(update={"gradient_checkpointing": True})
        elif setting in FSDP2:
            if isinstance(distill.train, Qlora) or isinstance(distill.precision, Bf16Weights):
                return None
            shared = runtime.training.model_copy(update={"strategy": "fsdp2"})
            runtime = runtime.model_copy(update={"training": shared})
        else:
            if setting in NARROW and runtime.training.strategy == "fsdp2":
                return None
            if setting in (*LORA, *QLORA) and (distill.train != FULL or runtime.training.strategy == "fsdp2"):
                return None
            distill = distill.model_copy(update=CHANGES[setting])
    changed = recipe.model_copy(update={"runtime": runtime, "distill": distill})
    return None if changed == recipe else changed


def _other(job: Job, recipe: Recipe, refs: Mapping[str, ModelRef], devices: Devices) -> Verdict:
    """Of a capture or an evaluation: in one process, on as many GPUs as it spreads its model over."""
    spread = min(max(1, job.resources.gpus), devices.machines.gpus) if devices.gpu else 1
    has = USABLE * devices.machines.memory * spread
    needs, change = job.resources.memory, ""
    if needs is not None and needs > has:
        change = _elsewhere(job, refs, devices, needs, has)
    return Verdict(job.id, needs, has, _hours(job, devices, spread), change)


def _elsewhere(job: Job, refs: Mapping[str, ModelRef], devices: Devices, needs: float, has: float) -> str:
    name = job.name if job.stage == "represent" else job.name.rpartition("/")[2]
    where = f"{'pivot' if name == 'pivot' else f'sources.{name}'}.capture"
    machines, weights = devices.machines, parameters(refs[name]) if name in refs else None
    ways = []
    if weights is None:  # a trained row, or a merge
        return "set evaluate.dtype: bfloat16 if it is float32, or take a GPU with more memory"
    if devices.gpu and machines.gpus * machines.memory * USABLE >= needs:
        gpus = int(-(-needs // (machines.memory * USABLE)))
        ways.append(f"{where}: {{device_map: auto, gpus: {gpus}}}")
    if FOUR_BITS * weights + OVERHEAD <= has and name != "pivot":
        ways.append(f"{where}.quantization in 4 bits ({size(FOUR_BITS * weights + OVERHEAD)})")
    ways.append(f"{where}: an endpoint that serves it, or shards that are made on another machine")
    return "; or ".join(ways)
