"""`Run`: the jobs that a recipe needs, planned, and which of them are done."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from fusionchat.artifacts import Json, Manifest, is_begun, read_manifest
from fusionchat.damage import damaged_files, faults
from fusionchat.distill.trainable import FULL
from fusionchat.errors import DamagedError
from fusionchat.models.identity import (
    configuration_identity,
    generation_identity,
    identity,
    tokenizer_identity,
)
from fusionchat.models.ref import ModelRef, trained_as
from fusionchat.recipe.schema import Recipe
from fusionchat.run.auto import Resolved
from fusionchat.run.job import Content, Cost, Inputs, Job, Parallel, Resources, Stage, Status
from fusionchat.settings import Frozen

What = Literal["model", "tokenizer", "configuration", "generation"]
IDENTITIES: dict[What, Callable[[ModelRef], str]] = {
    "model": identity,
    "tokenizer": tokenizer_identity,
    "configuration": configuration_identity,
    "generation": generation_identity,
}


@dataclass
class Run:
    """A recipe, its models, its folder, and the jobs planned so far.

    Attributes:
        recipe: The recipe.
        refs: Its models by name.
        folder: The run's folder.
        stages: The stages by name.
        resolved: The settings that may be ``auto``.
        threads: CPU threads of a job; 0 for all cores.
        jobs: The jobs planned so far, by id.
        identities: What identifies each model, so that it is computed once.
        verify: Whether all files of finished jobs are read and compared with their checksums.
        unpacked: The jobs that write a model as an ordinary folder, by the model's name.
        adapted: The jobs that fine-tune a source before it is captured, by its name.
    """

    recipe: Recipe
    refs: dict[str, ModelRef]
    folder: Path
    stages: Mapping[str, Stage]
    resolved: Resolved
    threads: int = 0
    jobs: dict[str, Job] = field(default_factory=dict)
    identities: dict[str, str] = field(default_factory=dict)
    verify: bool = False
    unpacked: dict[str, str] = field(default_factory=dict)
    adapted: dict[str, str] = field(default_factory=dict)

    def read(self, name: str) -> ModelRef:
        """A model as jobs read its weights; if it is unpacked, the folder with the result."""
        ref = self.refs[name]
        if name not in self.unpacked:
            return ref
        folder = str(self.path(self.unpacked[name]) / "model")
        own = ref.tokenizer if ref.place != ref.tokenizer_place else folder
        return replace(ref, model=folder, tokenizer=own, adapter=None)

    def teacher(self, name: str) -> Content:
        """A model as it is captured: fine-tuned, if a job does that, which the capture then needs."""
        content = self.model(name)
        if name not in self.adapted or self.recipe.adapt is None:
            return content
        folder, adapter = (
            self.path(self.adapted[name]) / "model",
            self.recipe.adapt.training(name).train != FULL,
        )
        return content | Content(models={name: trained_as(self.read(name), folder, adapter=adapter)})

    def model(self, name: str) -> Content:
        """A model and its tokenizer, for a job that reads them."""
        return self.tokenizer(name) | self._content(f"model {name}", name, "model")

    def tokenizer(self, name: str) -> Content:
        """A model's tokenizer and template, for a job that reads them."""
        return self._content(f"tokenizer, template or thinking of {name}", name, "tokenizer")

    def configuration(self, name: str) -> Content:
        """A model's configuration without its weights, for a job that reads it."""
        return self._content(f"configuration of {name}", name, "configuration")

    def generation(self, name: str) -> Content:
        """The generation settings that go into models made from this one."""
        return self._content(f"generation settings of {name}", name, "generation")

    def follows(self, name: str) -> Content:
        """A model that a job reads, and that affects its output only through the jobs that it needs."""
        return Content(models={name: self.read(name)})

    def _content(self, words: str, name: str, what: What) -> Content:
        key = f"{what} {name}"
        if key not in self.identities:
            self.identities[key] = IDENTITIES[what](self.refs[name])
        weights = what in ("model", "generation")
        return Content({words: self.identities[key]}, {name: self.read(name) if weights else self.refs[name]})

    def add(
        self,
        stage: str,
        name: str,
        settings: Frozen,
        *,
        needs: tuple[str, ...] = (),
        reads: Mapping[str, tuple[str, ...]] = {},
        content: Content = Content(),  # noqa: B008 (immutable)
        means: Mapping[str, str | int | float | None] = {},
        cost: Cost = Cost(),  # noqa: B008 (immutable)
        memory: float | None = None,
        on_device: bool = False,
        gpus: int = 1,
        parallel: Parallel = "one",
        rewritten: tuple[str, ...] = (),
        stands_for: tuple[str, ...] = (),
        parts: str = "",
    ) -> Job:
        """Plan a job; the jobs it needs must be planned already.

        Of a job in ``reads``, it depends on these files alone. ``on_device`` means that it computes on
        `runtime.device`; if that is a GPU, on ``gpus`` of them in each process. See `Job` for the rest.
        """
        assert set(reads) <= set(needs), f"{stage}/{name} reads what it does not need"
        made = (job for model, job in self.unpacked.items() if content.models.get(model) == self.read(model))
        needs = tuple(dict.fromkeys((*needs, *made)))
        followed = {need: self.jobs[need].stands_for for need in needs if self.jobs[need].stands_for}
        read = {need: reads.get(need, files) for need, files in followed.items()}
        processes = self.recipe.runtime.training.processes if parallel == "ranks" else 1
        gpu = on_device and self.recipe.runtime.device.startswith(("auto", "cuda"))
        job = Job(
            stage=stage,
            name=name,
            version=self.stages[stage].VERSION,
            settings=settings,
            inputs={**content.digests, **{need: self._digest(need, read.get(need, ())) for need in needs}},
            needs=needs,
            reads=read,
            models=dict(content.models),
            files=dict(content.files),
            means=dict(means),
            resources=Resources(
                threads=self.threads,
                gpus=(processes if isinstance(processes, int) else 1) * gpus * gpu,
                memory=memory,
                parallel=parallel,
                processes=processes,
            ),
            cost=cost,
            rewritten=rewritten,
            stands_for=stands_for,
            parts=parts,
        )
        assert job.id not in self.jobs, f"{job.id} is planned twice"
        self.jobs[job.id] = job
        return job

    def _digest(self, job_id: str, files: tuple[str, ...]) -> str:
        job = self.jobs[job_id]
        return job.digest(read_manifest(self.path(job_id)) if job.stands_for else None, files)

    def path(self, job_id: str) -> Path:
        """The folder of a job."""
        return self.folder / job_id

    def manifest(self, job_id: str) -> Manifest:
        """The manifest of a finished job."""
        manifest = read_manifest(self.path(job_id))
        assert manifest is not None, f"{job_id} is not done"
        return manifest

    def inputs(self, job: Job) -> Inputs:
        """Where a job finds what it reads."""
        return Inputs(self.folder, job)

    def status(self, job: Job) -> Status:
        """Whether a job is done, stale, damaged, begun or to do."""
        folder = self.path(job.id)
        if is_begun(folder, job.fingerprint):
            so_far = self.stages[job.stage].so_far(job.settings, self.inputs(job), folder)
            return Status("begun", so_far=so_far)
        manifest = read_manifest(folder)
        if manifest is None:
            return Status("to do")
        if manifest.fingerprint != job.fingerprint:
            return Status("stale", changes(manifest, job))
        found = faults(folder, manifest, verify=self.verify)
        return (
            Status("damaged", tuple(f"{n} is {how}" for n, how in found.items())) if found else Status("done")
        )

    def damage(self, job: Job) -> list[DamagedError]:
        """The files of a finished job that are missing or damaged, as errors."""
        return damaged_files(self.path(job.id), self.manifest(job.id), verify=self.verify)


def changes(manifest: Manifest, job: Job) -> tuple[str, ...]:
    """What differs between a manifest and a job, in words.

    Differences that only follow from other jobs are reported if there are no others.
    """
    found = []
    if manifest.version != job.version:
        found.append(f"{job.stage}: version {manifest.version} -> {job.version}")
    found += differences(_flat(manifest.settings), _flat(job.hashed))
    inputs = sorted(manifest.inputs.keys() | job.inputs.keys())
    moved = [name for name in inputs if manifest.inputs.get(name) != job.inputs.get(name)]
    gone = [f"{name} is not used any more" for name in moved if name not in job.inputs]
    content = [f"{name} changed" for name in moved if name in job.inputs and name not in job.needs]
    follows = [f"follows {name}" for name in moved if name in job.needs]
    own = (*found, *gone, *content)
    return own or tuple(follows)


def differences(before: Mapping[str, Json], now: Mapping[str, Json]) -> list[str]:
    """What differs between two flat settings, in words; a list entry that only one has is one line."""
    one_sided = {key for key in before.keys() ^ now.keys() if key.rpartition(".")[2].isdecimal()}
    found = []
    for key in sorted(before.keys() | now.keys()):
        name = key.removeprefix("recipe.")
        if key in one_sided:
            found.append(f"{name} is {'new' if key in now else 'gone'}")
        elif before.get(key) != now.get(key) and not any(key.startswith(f"{one}.") for one in one_sided):
            found.append(f"{name}: {before.get(key)} -> {now.get(key)}")
    return found


def _flat(settings: Mapping[str, Json], prefix: str = "") -> dict[str, Json]:
    """Settings by their paths; mappings in a list have their indices as keys."""
    flat: dict[str, Json] = {}
    for key, value in settings.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{key}.")
        elif isinstance(value, list) and value and all(isinstance(one, dict) for one in value):
            for i, one in enumerate(value):
                assert isinstance(one, dict)
                flat |= {f"{prefix}{key}.{i}": True} | _flat(one, f"{prefix}{key}.{i}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat
