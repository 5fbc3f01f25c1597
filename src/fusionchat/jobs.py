"""`Job` and `Run`: what a stage plans, and what all stages of a run share.

A job reads artifacts, calls pure code and writes one folder. Its fingerprint covers its settings, the content
of what it reads from outside, the fingerprints of the jobs it needs, and the version of its stage's code: so a
change makes stale what depends on it and nothing else. Runtime settings never enter it; where a setting is
``auto``, the value that it has in this run does.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

from fusionchat.artifacts import Json, Manifest, fingerprint, is_begun, read_manifest
from fusionchat.damage import faults
from fusionchat.errors import DamagedError
from fusionchat.models import (
    ModelRef,
    configuration_identity,
    generation_identity,
    identity,
    tokenizer_identity,
)
from fusionchat.precision import Dtypes
from fusionchat.recipe import Recipe

Summary = dict[str, Json]
State = Literal["done", "stale", "damaged", "begun", "to do"]
What = Literal["model", "tokenizer", "configuration", "generation"]
IDENTITIES: dict[What, Callable[[ModelRef], str]] = {
    "model": identity,
    "tokenizer": tokenizer_identity,
    "configuration": configuration_identity,
    "generation": generation_identity,
}


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


@dataclass(frozen=True)
class Job:
    """One unit of work with one folder.

    Attributes:
        stage: The verb it belongs to.
        name: Unique within the stage; may contain slashes.
        settings: Everything in the recipe that changes its output.
        inputs: Fingerprints of what it reads, by name.
        needs: Ids of the jobs whose artifacts it reads.
        work: Writes into the folder it is given and returns figures for the report.
        cost: A rough estimate for `plan`.
        rewritten: Files of its folder that a later job may write again; they are not checksummed.
        stands_for: Files whose content alone, once it is done, decides whether later jobs are stale; empty for a
            job that they follow by its fingerprint.
        version: Of its stage's code.
        so_far: Says of the folder of an unfinished job how far it is, "" for nothing.
        parts: What its files are called that are made one by one; those that are there are not made again.
    """

    stage: str
    name: str
    settings: dict[str, Json]
    inputs: dict[str, str]
    needs: tuple[str, ...]
    work: Callable[[Path], Summary]
    cost: Cost = Cost()  # noqa: RUF009 (immutable)
    rewritten: tuple[str, ...] = ()
    stands_for: tuple[str, ...] = ()
    version: int = 1
    parts: str = ""
    so_far: Callable[[Path], str] = lambda _: ""

    @property
    def id(self) -> str:
        """``stage/name``: also its folder below the run's."""
        return f"{self.stage}/{self.name}"

    @property
    def label(self) -> str:
        """What it is called where its progress is said: ``represent qwen``, ``corpus``."""
        return self.stage if self.name == self.stage else f"{self.stage} {self.name}"

    @property
    def fingerprint(self) -> str:
        """SHA-256 of settings, inputs and the stage's version."""
        return fingerprint({"settings": self.settings, "version": self.version}, self.inputs)


class Status(NamedTuple):
    """Whether a job is done; what changed for a stale one, which files of a damaged one, and how far a begun one is."""

    state: State
    changed: tuple[str, ...] = ()
    so_far: str = ""

    def __str__(self) -> str:
        """The state in words: ``begun, 3 of 12 shards``."""
        return f"{self.state}, {self.so_far}" if self.so_far else self.state


@dataclass
class Run:
    """What all stages of a run share: the recipe, its models, the folder, and the jobs planned so far.

    Attributes:
        recipe: The recipe.
        refs: Its models by name.
        folder: The run's folder.
        versions: The version of each stage's code.
        dtypes: What models are loaded in, by the setting that says so; ``auto`` is resolved.
        jobs: The jobs planned so far, by id.
        identities: What identifies each model, so that it is worked out once.
        verify: Whether all files of finished jobs are read and compared with their checksums.
    """

    recipe: Recipe
    refs: dict[str, ModelRef]
    folder: Path
    versions: dict[str, int]
    dtypes: Dtypes
    jobs: dict[str, Job] = field(default_factory=dict)
    identities: dict[str, str] = field(default_factory=dict)
    verify: bool = False

    def model(self, name: str) -> dict[str, str]:
        """What identifies a model and its tokenizer, to be part of a job's content."""
        return {f"model {name}": self._identity(name, "model")} | self.tokenizer(name)

    def tokenizer(self, name: str) -> dict[str, str]:
        """What identifies a model's tokenizer and template, to be part of a job's content."""
        return {f"tokenizer, template or thinking of {name}": self._identity(name, "tokenizer")}

    def configuration(self, name: str) -> dict[str, str]:
        """What identifies a model's configuration without its weights, to be part of a job's content."""
        return {f"configuration of {name}": self._identity(name, "configuration")}

    def generation(self, name: str) -> dict[str, str]:
        """What identifies the generation settings that go into models made from this one."""
        return {f"generation settings of {name}": self._identity(name, "generation")}

    def _identity(self, name: str, what: What) -> str:
        key = f"{what} {name}"
        if key not in self.identities:
            self.identities[key] = IDENTITIES[what](self.refs[name])
        return self.identities[key]

    def add(
        self,
        stage: str,
        name: str,
        work: Callable[[Path], Summary],
        *,
        settings: Mapping[str, Json],
        needs: tuple[str, ...] = (),
        content: Mapping[str, str] | None = None,
        cost: Cost = Cost(),  # noqa: B008 (immutable)
        rewritten: tuple[str, ...] = (),
        stands_for: tuple[str, ...] = (),
        parts: str = "",
        so_far: Callable[[Path], str] = lambda _: "",
    ) -> Job:
        """Plan a job; the jobs it needs must be planned already."""
        inputs = dict(content or {}) | {need: self._digest(need) for need in needs}
        job = Job(
            stage,
            name,
            dict(settings),
            inputs,
            needs,
            work,
            cost,
            rewritten,
            stands_for,
            self.versions[stage],
            parts,
            so_far,
        )
        assert job.id not in self.jobs, f"{job.id} is planned twice"
        self.jobs[job.id] = job
        return job

    def _digest(self, job_id: str) -> str:
        """What stands for a job in those that need it."""
        job = self.jobs[job_id]
        manifest = read_manifest(self.path(job_id)) if job.stands_for else None
        if manifest is None or manifest.fingerprint != job.fingerprint:
            return job.fingerprint
        return fingerprint({}, {name: manifest.files.get(name, "") for name in job.stands_for})

    def path(self, job_id: str) -> Path:
        """The folder of a job."""
        return self.folder / job_id

    def manifest(self, job_id: str) -> Manifest:
        """The manifest of a finished job."""
        manifest = read_manifest(self.path(job_id))
        assert manifest is not None, f"{job_id} is not done"
        return manifest

    def status(self, job: Job) -> Status:
        """Whether a job is done, stale, damaged, begun or to do."""
        folder = self.path(job.id)
        if is_begun(folder, job.fingerprint):
            return Status("begun", so_far=job.so_far(folder))
        manifest = read_manifest(folder)
        if manifest is None:
            return Status("to do")
        if manifest.fingerprint != job.fingerprint:
            return Status("stale", _changes(manifest, job))
        found = faults(folder, manifest, verify=self.verify)
        return (
            Status("damaged", tuple(f"{n} is {how}" for n, how in found.items())) if found else Status("done")
        )

    def damage(self, job: Job) -> list[DamagedError]:
        """The files of a finished job that are missing or damaged, as errors."""
        folder = self.path(job.id)
        found = faults(folder, self.manifest(job.id), verify=self.verify)
        return [
            DamagedError(f"This file is {how}", path=folder / n, folder=folder) for n, how in found.items()
        ]


def _changes(manifest: Manifest, job: Job) -> tuple[str, ...]:
    """What differs between a manifest and a job, in words."""
    changes = []
    if manifest.version != job.version:
        changes.append(f"{job.stage}: version {manifest.version} -> {job.version}")
    before, now = _flat(manifest.settings), _flat(job.settings)
    for key in sorted(before.keys() | now.keys()):
        if before.get(key) != now.get(key):
            changes.append(f"{key}: {before.get(key)} -> {now.get(key)}")
    inputs = sorted(manifest.inputs.keys() | job.inputs.keys())
    moved = [name for name in inputs if manifest.inputs.get(name) != job.inputs.get(name)]
    gone = [f"{name} is not used any more" for name in moved if name not in job.inputs]
    content = [f"{name} changed" for name in moved if name in job.inputs and name not in job.needs]
    follows = [f"follows {name}" for name in moved if name in job.needs]
    own = (*changes, *gone, *content)
    return own or tuple(follows)


def _flat(settings: Mapping[str, Json], prefix: str = "") -> dict[str, Json]:
    flat: dict[str, Json] = {}
    for key, value in settings.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat
