"""Settings of how the work is done; they never change a result and are part of no fingerprint."""

from typing import Literal

from pydantic import Field, field_validator, model_validator

from fusionchat.devices import parse_device
from fusionchat.settings import Frozen

DEVICES = ("auto", "cpu", "cuda", "mps")


class TrainingRuntime(Frozen):
    """Where a training runs (docs/training.md)."""

    processes: Literal["auto"] | int = Field(
        "auto",
        description="processes that share each training; auto is one for each GPU that the job may use (on a Ray "
        "cluster: that a node has), and one without a GPU. Their number changes the order of sums, and so "
        "the last bits of the result",
    )

    strategy: Literal["ddp", "fsdp2"] = Field(
        "ddp",
        description="what each process holds. ddp: the whole model with its gradient and AdamW's state; fsdp2: a part of "
        "each, and a layer is gathered while it computes",
    )
    report_to: tuple[str, ...] = Field(
        (),
        description="programs that receive each step's figures besides `metrics.jsonl`, by transformers' names: `tensorboard`, "
        "`wandb`, `mlflow`, `trackio`, ...; their packages must be installed",
    )
    eval_steps: int | None = Field(
        None,
        ge=1,
        description="steps between two measurements of bits per byte on the validation part; unset: none",
    )

    @field_validator("report_to", mode="before")
    @classmethod
    def _programs(cls, value: object) -> object:
        return (value,) if isinstance(value, str) else value

    @field_validator("processes")
    @classmethod
    def _processes(cls, value: str | int) -> str | int:
        if isinstance(value, int) and value < 1:
            raise ValueError(f"must be auto or at least 1, not {value}")
        return value


class RayRuntime(Frozen):
    """The Ray cluster of ``engine: ray`` (docs/cluster.md)."""

    address: str | None = Field(
        None,
        description=(
            "address of the cluster, HOST:PORT; unset: the cluster that this machine is part of, otherwise a "
            "new one on this machine"
        ),
    )
    resources: dict[str, dict[str, float]] = Field(
        {},
        description="further resources that jobs ask for, by job as `fusionchat plan` names it (`*` and `?` stand for any "
        'text and letter): {"represent/mixtral": {big_gpu: 1}}',
    )
    patience: float = Field(
        30.0,
        ge=0,
        description=(
            "seconds that a job waits for a node with what it needs: for a lost node to return, or for the "
            "cluster to grow"
        ),
    )

    @field_validator("address")
    @classmethod
    def _address(cls, value: str | None) -> str | None:
        if value is not None and value.startswith("ray://"):
            raise ValueError(
                "must be HOST:PORT; start fusionchat on a node of the cluster, which sees the run's folder"
            )
        return value


class RuntimeSettings(Frozen):
    """How the work is done; never part of a fingerprint."""

    device: str = Field("auto", description="auto | cpu | cuda | cuda:N | mps")
    batch_tokens: int = Field(16384, ge=1, description="padded tokens in one forward pass of an evaluation")
    micro_batch_tokens: int = Field(
        4096, ge=1, description="padded tokens in one training pass on one device"
    )
    gradient_checkpointing: bool = Field(
        False, description="recompute activations in the backward pass to save memory"
    )
    checkpoint_steps: int = Field(200, ge=1, description="steps between two training checkpoints")
    threads: int = Field(
        0,
        ge=0,
        description="CPU threads; 0 for all, or for one if every model has under 2 million parameters",
    )
    workers: int = Field(
        1,
        ge=1,
        description=(
            "processes that make jobs in parallel, each with `threads` threads and its own GPUs; idle ones "
            "make shards of captures that others have begun"
        ),
    )
    training: TrainingRuntime = TrainingRuntime()
    engine: Literal["local", "ray"] = Field(
        "local",
        description="what runs the jobs. local: this machine, with `workers`; ray: the nodes of a Ray cluster, "
        "which all share the run's folder",
    )
    ray: RayRuntime = RayRuntime()

    @model_validator(mode="before")
    @classmethod
    def _gone(cls, values: object) -> object:
        if isinstance(values, dict) and "merge_device" in values:
            raise ValueError("`merge_device` was removed, because merges run on the CPU: delete it")
        return values

    @field_validator("device")
    @classmethod
    def _device(cls, value: str) -> str:
        device = parse_device(value)
        if device is None or device.kind not in DEVICES:
            raise ValueError(f"must be auto, cpu, cuda, cuda:N or mps, not {value!r}")
        return value
