"""`Job`: one unit of work with one folder, as data; and the `Stage` that does it.

A job's ``settings`` are both what is hashed and all that its work is given, so that a fingerprint cannot forget a
setting. What it reads is named by digests, which are hashed, and by places, which are not: a moved run stays done.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

from pydantic import Field, SerializeAsAny

from fusionchat.artifacts import Json, Manifest, fingerprint, read_manifest
from fusionchat.models.ref import ModelRef
from fusionchat.runtime import RuntimeSettings
from fusionchat.settings import Frozen

Summary = dict[str, Json]
State = Literal["done", "stale", "damaged", "begun", "to do"]
Parallel = Literal["one", "shards", "ranks"]


class Cost(NamedTuple):
    """A rough estimate; None where the inputs are not here yet.

    Attributes:
        disk: Bytes on disk that it leaves.
        flops: Floating-point operations.
        scratch: Bytes on disk that it needs besides while it runs.
    """

    disk: float | None = None
    flops: float | None = None
    scratch: float | None = 0.0


class Place(Frozen):
    """Where a file is: a path, or a hub id with its revision."""

    path: str
    revision: str | None = None


class Resources(Frozen):
    """What a job needs of a machine.

    Attributes:
        threads: CPU threads; 0 for all cores. They are the job's, not the engine's: so no engine changes a bit.
        gpus: GPUs, where the machine has any.
        memory: Bytes of host memory, or of a GPU's where it runs on one; None where the inputs are not here yet.
        parallel: Who can work on it: one process, any number that take shards, or a world of ranks.
        processes: Of a world of ranks: how many; auto where that depends on the machine.
    """

    threads: int = 0
    gpus: int = 0
    memory: float | None = None
    parallel: Parallel = "one"
    processes: Literal["auto"] | int = 1

    def processes_on(self, gpus: int) -> int:
        """How many processes there are on machines with so many GPUs each: ``auto`` is one for each GPU of one machine."""
        if self.processes != "auto":
            return self.processes
        return max(1, gpus) if self.gpus else 1

    def gpus_on(self, gpus: int) -> int:
        """The GPUs of all processes on machines with so many GPUs each."""
        return self.gpus * (self.processes_on(gpus) if self.processes == "auto" else 1)


class Job(Frozen):
    """One unit of work with one folder. It goes to JSON and back, see `to_json` and `Stage.settings_of`.

    Attributes:
        stage: The verb it belongs to.
        name: Unique within the stage; may contain slashes.
        version: Of its stage's code.
        settings: Everything that changes its output: hashed, and given to its work.
        inputs: Fingerprints of what it reads, by name: hashed. Those of jobs are named by their ids.
        needs: Ids of the jobs whose artifacts it reads.
        reads: The files that it reads of those of them that are followed file by file.
        models: The models it reads, by name: where they are. Not hashed.
        files: Other files it reads, by name: where they are. Not hashed.
        means: Settings that change none of its output, by name. Not hashed.
        resources: What it needs of a machine.
        cost: A rough estimate for `plan`.
        rewritten: Files of its folder that a later job may write again; they are not checksummed.
        stands_for: Files whose content alone, once it is done, decides whether later jobs are stale: each follows those
            that it reads. Empty for a job that they follow by its fingerprint.
        parts: What its files are called that are made one by one; those that are there are not made again.
    """

    stage: str
    name: str
    version: int
    settings: SerializeAsAny[Frozen]
    inputs: dict[str, str] = Field(default={})
    needs: tuple[str, ...] = ()
    reads: dict[str, tuple[str, ...]] = Field(default={})
    models: dict[str, ModelRef] = Field(default={})
    files: dict[str, Place] = Field(default={})
    means: dict[str, str | int | float | None] = Field(default={})
    resources: Resources = Resources()
    cost: Cost = Field(default=Cost())
    rewritten: tuple[str, ...] = ()
    stands_for: tuple[str, ...] = ()
    parts: str = ""

    @property
    def id(self) -> str:
        """``stage/name``: also its folder below the run's."""
        return f"{self.stage}/{self.name}"

    @property
    def label(self) -> str:
        """What it is called where its progress is said: ``represent qwen``, ``corpus``."""
        return self.stage if self.name == self.stage else f"{self.stage} {self.name}"

    @property
    def hashed(self) -> dict[str, Json]:
        """The settings as they are hashed and kept in the manifest."""
        return self.settings.model_dump(mode="json")

    @property
    def fingerprint(self) -> str:
        """SHA-256 of settings, inputs and the stage's version."""
        return fingerprint({"settings": self.hashed, "version": self.version}, self.inputs)

    def with_threads(self, threads: int) -> "Job":
        """The job with this many CPU threads where it leaves them open; its fingerprint is the same."""
        if self.resources.threads or not threads:
            return self
        return self.model_copy(update={"resources": self.resources.model_copy(update={"threads": threads})})

    def digest(self, manifest: Manifest | None, files: Collection[str] = ()) -> str:
        """What represents it in a job that needs it: its fingerprint, or once it is done what it wrote.

        Args:
            manifest: Of its folder.
            files: Those of its `stands_for` files that the other job reads; all of them if there are none.
        """
        assert set(files) <= set(self.stands_for), f"{self.id} is not followed by {files}"
        if not self.stands_for or manifest is None or manifest.fingerprint != self.fingerprint:
            return self.fingerprint
        return content_digest(manifest, files or self.stands_for)


def content_digest(manifest: Manifest, files: Collection[str]) -> str:
    """What some files of a finished job are, as one digest."""
    return fingerprint({}, {name: manifest.files.get(name, "") for name in files})


@dataclass(frozen=True)
class Inputs:
    """Where a job finds what it reads.

    Attributes:
        run: The run's folder.
        job: The job.
    """

    run: Path
    job: Job

    def folder(self, job_id: str) -> Path:
        """The folder of a job that this one needs."""
        assert job_id in self.job.needs, f"{self.job.id} reads {job_id} without needing it"
        return self.run / job_id

    def manifest(self, job_id: str) -> Manifest:
        """The manifest of a job that this one needs."""
        manifest = read_manifest(self.folder(job_id))
        assert manifest is not None, f"{job_id} is not done"
        return manifest

    def model(self, name: str) -> ModelRef:
        """A model that this job reads."""
        return self.job.models[name]

    def file(self, name: str) -> Place:
        """A file that this job reads."""
        return self.job.files[name]


@dataclass(frozen=True)
class Context:
    """What a job's work is given besides: nothing in it changes a result.

    Attributes:
        runtime: How the work is done.
        rank: Which of `world` processes this is.
        world: How many processes do this job together.
        helps: Whether another process has begun the job and finishes it.
    """

    runtime: RuntimeSettings
    rank: int = 0
    world: int = 1
    helps: bool = False


class Stage(Protocol):
    """What a stage's module has. `fusionchat.stages.STAGES` lists them."""

    VERSION: int
    """Raised when the same settings and inputs give another output."""

    def settings_of(self, held: Mapping[str, Json]) -> Frozen:
        """A job's settings from their JSON."""
        ...

    def work(self, settings: Any, inputs: Inputs, out: Path, ctx: Context) -> Summary:
        """Write into ``out``; returns figures for the report."""
        ...

    def so_far(self, settings: Any, inputs: Inputs, out: Path) -> str:
        """How far an unfinished job is whose folder this is; "" where nothing is kept of one."""
        ...


@dataclass(frozen=True)
class Content:
    """Things from outside a run that a job reads: digests that are hashed, and places that are not."""

    digests: Mapping[str, str] = field(default_factory=dict)
    models: Mapping[str, ModelRef] = field(default_factory=dict)
    files: Mapping[str, Place] = field(default_factory=dict)

    def __or__(self, other: "Content") -> "Content":
        return Content(
            {**self.digests, **other.digests},
            {**self.models, **other.models},
            {**self.files, **other.files},
        )


class Status(NamedTuple):
    """Whether a job is done; what changed for a stale one, which files of a damaged one, and how far a begun one is."""

    state: State
    changed: tuple[str, ...] = ()
    so_far: str = ""

    def __str__(self) -> str:
        """The state in words: ``begun, 3 of 12 shards``."""
        return f"{self.state}, {self.so_far}" if self.so_far else self.state


Announce = Callable[[Job, Status], None]
"""Called before each job with its status."""
