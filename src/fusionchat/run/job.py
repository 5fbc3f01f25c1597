"""`Job`: one unit of work with one folder, as data; and the `Stage` that does it.

A job's ``settings`` are both what is hashed and all that its work gets, so that a fingerprint cannot miss a
setting. Its inputs are named by digests, which are hashed, and by places, which are not: a moved run stays
done.
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
    """A rough estimate; None if the inputs do not exist yet.

    Attributes:
        disk: Bytes on disk of its results.
        flops: Floating-point operations.
        scratch: Further bytes on disk that it needs while it runs.
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
        threads: CPU threads; 0 for all cores. They belong to the job, so the engine does not change a bit of
            its result.
        gpus: GPUs, if the machine has any.
        memory: Bytes of host memory, or of a GPU's if it runs on one; None if the inputs do not exist yet.
        parallel: Who can work on it: one process, any number of processes by shards, or a world of ranks.
        processes: The number of ranks; auto if it depends on the machine.
    """

    threads: int = 0
    gpus: int = 0
    memory: float | None = None
    parallel: Parallel = "one"
    processes: Literal["auto"] | int = 1

    def processes_on(self, gpus: int) -> int:
        """The number of processes on machines with ``gpus`` GPUs each; ``auto`` is one per GPU of a machine."""
        if self.processes != "auto":
            return self.processes
        return max(1, gpus) if self.gpus else 1

    def gpus_on(self, gpus: int) -> int:
        """The GPUs of all processes on machines with ``gpus`` GPUs each."""
        return self.gpus * (self.processes_on(gpus) if self.processes == "auto" else 1)


class Job(Frozen):
    """One unit of work with one folder, which can be written as JSON (`to_json`, `Stage.settings_of`).

    Attributes:
        stage: The verb it belongs to.
        name: Unique within the stage; may contain slashes.
        version: The version of its stage's code.
        settings: Everything that changes its output: hashed, and passed to its work.
        inputs: Fingerprints of what it reads, by name: hashed. Those of jobs are named by their ids.
        needs: Ids of the jobs whose artifacts it reads.
        reads: Which files it reads, of those needed jobs that have `stands_for` files.
        models: The places of the models that it reads, by name. Not hashed.
        files: The places of other files that it reads, by name. Not hashed.
        means: Settings that change none of its output, by name. Not hashed.
        resources: What it needs of a machine.
        cost: A rough estimate for `plan`.
        rewritten: Files of its folder that a later job may write again; they are not checksummed.
        stands_for: Files whose content alone, once the job is done, decides whether later jobs are stale:
            each depends on those that it reads. Empty for a job on whose fingerprint they depend.
        parts: The name of its files that are made one by one; existing ones are not made again.
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
        """Its name in progress messages: ``represent qwen``, ``corpus``."""
        return self.stage if self.name == self.stage else f"{self.stage} {self.name}"

    @property
    def hashed(self) -> dict[str, Json]:
        """The settings as they are hashed and saved in the manifest."""
        return self.settings.model_dump(mode="json")

    @property
    def fingerprint(self) -> str:
        """SHA-256 of settings, inputs and the stage's version."""
        return fingerprint({"settings": self.hashed, "version": self.version}, self.inputs)

    def with_threads(self, threads: int) -> "Job":
        """The job with ``threads`` CPU threads if it leaves them open; its fingerprint is the same."""
        if self.resources.threads or not threads:
            return self
        return self.model_copy(update={"resources": self.resources.model_copy(update={"threads": threads})})

    def digest(self, manifest: Manifest | None, files: Collection[str] = ()) -> str:
        """The digest of the job in one that needs it: its fingerprint, or once it is done of what it wrote.

        Args:
            manifest: The manifest of its folder.
            files: Those of its `stands_for` files that the other job reads; by default all of them.
        """
        assert set(files) <= set(self.stands_for), f"{self.id} is not followed by {files}"
        if not self.stands_for or manifest is None or manifest.fingerprint != self.fingerprint:
            return self.fingerprint
        return content_digest(manifest, files or self.stands_for)


def content_digest(manifest: Manifest, files: Collection[str]) -> str:
    """The digest of the content of some files of a finished job."""
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
    """What a job's work gets besides its settings and inputs; nothing in it changes a result.

    Attributes:
        runtime: How the work is done.
        rank: Which of `world` processes this is.
        world: The number of processes that do this job together.
        helps: Whether another process has begun the job and will finish it.
    """

    runtime: RuntimeSettings
    rank: int = 0
    world: int = 1
    helps: bool = False


class Stage(Protocol):
    """The interface of a stage's module; `fusionchat.stages.STAGES` lists the stages."""

    VERSION: int
    """Raised whenever the same settings and inputs give a different output."""

    def settings_of(self, held: Mapping[str, Json]) -> Frozen:
        """A job's settings from their JSON."""
        ...

    def work(self, settings: Any, inputs: Inputs, out: Path, ctx: Context) -> Summary:
        """Write the job's files into ``out``; returns figures for the report."""
        ...

    def so_far(self, settings: Any, inputs: Inputs, out: Path) -> str:
        """The progress of the unfinished job in a folder; "" if nothing of it was saved."""
        ...


@dataclass(frozen=True)
class Content:
    """What a job reads from outside its run: digests that are hashed, and places that are not."""

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
    """Whether a job is done, and if not, why.

    It has what changed for a stale job, which files of a damaged one are damaged, and the progress of a begun
    one.
    """

    state: State
    changed: tuple[str, ...] = ()
    so_far: str = ""

    def __str__(self) -> str:
        """The state in words: ``begun, 3 of 12 shards``."""
        return f"{self.state}, {self.so_far}" if self.so_far else self.state


Announce = Callable[[Job, Status], None]
"""Called before each job with its status."""
