"""The inputs of a merge brought into one shape: adapters applied, tied tensors named, vocabularies aligned, all checked.

Nothing is written before this is done.
"""

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

from fusionchat.artifacts import Json
from fusionchat.errors import MergeError
from fusionchat.merge.inputs.adapters.file import is_adapter
from fusionchat.merge.inputs.adapters.lora import Adapter, open_adapter
from fusionchat.merge.inputs.checkpoint import Checkpoint, open_checkpoint, unwrapped
from fusionchat.merge.inputs.fits import check_fit
from fusionchat.merge.inputs.layers.arrange import Arrangement, arranged, passthrough_arrangement
from fusionchat.merge.inputs.layers.stack import Stack, find_stack
from fusionchat.merge.inputs.names import STRUCTURE as _STRUCTURE
from fusionchat.merge.inputs.names import Known, find
from fusionchat.merge.inputs.new_biases import add_biases
from fusionchat.merge.inputs.plan import Job, Source, Taking
from fusionchat.merge.inputs.prefixes import without_prefix
from fusionchat.merge.inputs.published import refuse_adapter, refuse_quantized
from fusionchat.merge.inputs.reconcile import Buffers, check_kind, own_head, reconciled
from fusionchat.merge.inputs.stored import MappedFile, Stored
from fusionchat.merge.inputs.tied import tied_names, untied, with_head
from fusionchat.merge.inputs.vocabulary.embeddings import Embeddings
from fusionchat.merge.inputs.vocabulary.vocabularies import aligned, check_tokens
from fusionchat.merge.methods.base import Method
from fusionchat.merge.methods.passthrough import Passthrough
from fusionchat.models.base import require_same_weights


@dataclass
class Inputs:
    """What a merge reads, and what follows for the fused model.

    Attributes:
        jobs: The tensors of the fused model in order.
        stack: The fused model's layers, where the merge had to know them.
        files: Weight files by input name; the pivot's is ``""``, the method's own are named after it and the target.
        changes: Entries of the config that differ from the pivot's.
        added: Entries of the tokens the fused tokenizer gets in addition.
    """

    jobs: list[Job]
    files: dict[str, list[MappedFile]]
    changes: dict[str, Json] = field(default_factory=dict)
    added: tuple[dict[str, Json], ...] = ()
    stack: Stack | None = None

    @property
    def nbytes(self) -> int:
        """Bytes of all weight files."""
        return sum(file.size for files in self.files.values() for file in files)


def open_inputs(
    stack: ExitStack,
    pivot: Path,
    targets: Mapping[str, Path],
    method: Method,
    *,
    embeddings: Embeddings = "error",
    allow_pickle: bool = False,
    arrangement: Arrangement | None = None,
    with_stack: bool = False,
) -> Inputs:
    """Open and check everything a merge reads; ``stack`` closes it.

    Args:
        stack: Closes the files.
        pivot: The pivot's folder.
        targets: Folders of models or LoRA adapters by name.
        method: Its auxiliary folders are opened too.
        embeddings: What to do where vocabularies differ.
        allow_pickle: Whether pickles are opened, as weights only, where there are no safetensors.
        arrangement: Which layers of which input each layer of the fused model is merged from; None is one to one.
        with_stack: Whether the caller wants to know which parameters are the layers.

    Raises:
        MergeError: Something cannot be read or does not fit; the message names the tensor.
    """
    refuse_adapter(pivot)
    base = _open(stack, pivot, allow_pickle)
    refuse_quantized(base)
    base = without_prefix(base)
    known = Known(base)
    buffers = Buffers(known.buffers())
    adapters = _open_adapters(stack, base, targets, known, allow_pickle)
    opened: dict[str, Checkpoint | None] = {
        n: None if n in adapters else _open(stack, folder, allow_pickle) for n, folder in targets.items()
    }
    for name, checkpoint in opened.items():
        if checkpoint is not None:
            refuse_quantized(checkpoint)
            check_kind(name, checkpoint, base)
    heads = [a.head for a in adapters.values()] + [own_head(c, base, known) for c in opened.values() if c]
    base, config = _parted(base, heads)
    files = {"": base.files}
    tensors: dict[str, dict[str, Source]] = {}
    for name, checkpoint in opened.items():
        if checkpoint is None:
            tensors[name], files[name] = _adapted(adapters[name], base), adapters[name].files
        else:
            tensors[name] = reconciled(name, checkpoint, base, known, buffers)
            files[name] = checkpoint.files
    rows, config, added = aligned(base, config, tensors, opened, targets, embeddings)
    new = [adapters[name].biases if name in adapters else {} for name in targets]
    config = add_biases(rows, [{}, *new], config, str(base.folder))
    arranges = arrangement is not None or isinstance(method, Passthrough)
    stack_of_layers = _stack(base, arranges) if arranges or with_stack else None
    if arrangement is None and isinstance(method, Passthrough):
        assert stack_of_layers is not None
        arrangement = passthrough_arrangement(method, stack_of_layers)
    if arrangement is None:
        jobs = [_job(name, [held[name] for held in rows], list(targets), name, buffers) for name in rows[0]]
    else:
        assert stack_of_layers is not None
        inputs = dict(zip(["pivot", *targets], rows, strict=True))
        jobs = _arranged_jobs(arrangement, stack_of_layers, buffers, inputs)
        configs = {"pivot": config} | {n: c.config if c else config for n, c in opened.items()}
        config = arrangement.config(configs, stack_of_layers, str(base.folder))
        stack_of_layers = stack_of_layers._replace(layers=len(arrangement.layers))
    check_fit(config, {job.name: job.shape for job in jobs}, base)
    if not added and embeddings != "rows":  # a recipe's fused model gets the recipe's tokenizer
        check_tokens(base.folder, config)
    jobs = _with_auxiliary(stack, jobs, method, list(targets), base, known, files)
    changes = {key: value for key, value in config.items() if base.config.get(key) != value}
    return Inputs(jobs, files, changes, added, stack_of_layers)


def _stack(base: Checkpoint, needed: bool) -> Stack | None:
    """The pivot's layers; None where they are not known and not needed."""
    try:
        return find_stack({n: s.shape for n, s in base.tensors.items()}, base.config, str(base.folder))
    except MergeError:
        if needed:
            raise
        return None


def _arranged_jobs(
    arrangement: Arrangement, layers: Stack, buffers: Buffers, inputs: Mapping[str, Mapping[str, Source]]
) -> list[Job]:
    """One job per tensor of an arrangement; targets that take no part in one are named by it."""
    names = list(inputs)
    several = any(len(layer) > 1 for layer in arrangement.layers)
    jobs = []
    for part in arranged(arrangement, layers, list(inputs["pivot"]), inputs):
        targets = [name for name, _ in part.sources][1:]
        sources = [inputs[name][tensor] for name, tensor in part.sources]
        job = _job(part.name, sources, targets, part.sources[0][1], buffers)
        places = tuple(names.index(name) - 1 for name in targets)
        everyone = not several or len(places) == len(names) - 1
        jobs.append(job if everyone else replace(job, part=Taking(places, len(names) - 1)))
    return jobs


def _open_adapters(
    stack: ExitStack, pivot: Checkpoint, targets: Mapping[str, Path], known: Known, allow_pickle: bool
) -> dict[str, Adapter]:
    """The targets that are adapters, opened."""
    opened = {}
    for name, folder in targets.items():
        if is_adapter(folder):
            require_same_weights(folder, pivot.folder)
            opened[name] = open_adapter(folder, pivot, known=known, allow_pickle=allow_pickle)
            for file in opened[name].files:
                stack.callback(file.close)
    return opened


def _parted(pivot: Checkpoint, heads: list[str | None]) -> tuple[Checkpoint, dict[str, Json]]:
    """The pivot, with a head of its own where a target has its head apart from the embedding, and the config for that."""
    head = next((head for head in heads if head is not None), None)
    if head is None:
        return pivot, pivot.config
    return with_head(pivot, tied_names(pivot)[0], head), untied(pivot.config)


def _adapted(adapter: Adapter, base: Checkpoint) -> dict[str, Source]:
    """All of the pivot's tensors as an adapter makes them; where it keeps the head tied, both are the embedding."""
    tensors: dict[str, Source] = {**base.tensors, **adapter.changed}
    tied = tied_names(base)
    if adapter.head is None and len(tied) == 2:
        tensors[tied[1]] = tensors[tied[0]]
    return tensors


def _open(stack: ExitStack, folder: Path, allow_pickle: bool) -> Checkpoint:
    checkpoint = open_checkpoint(folder, allow_pickle=allow_pickle)
    stack.callback(checkpoint.close)
    return unwrapped(checkpoint)


def _job(name: str, sources: list[Source], targets: list[str], base: str, buffers: Buffers) -> Job:
    """One tensor's job, by its name in the pivot; raises MergeError where shapes or types cannot be merged."""
    first = sources[0]
    if base in buffers.copied - buffers.moved:
        assert isinstance(first, Stored), "only what a file holds is copied"
        return Job(name, first.shape, copied=first)
    for target, source in zip(targets, sources[1:], strict=True):
        if source.shape != first.shape:
            hint = (
                "; differing vocabularies: set embeddings to pivot or union"
                if source.shape[1:] == first.shape[1:]
                else ""
            )
            raise MergeError(
                f"Tensor {name} has shape {list(source.shape)} in target {target}, {list(first.shape)} in the pivot",
                where=source.origin,
                do=_STRUCTURE + hint,
            )
    job = Job(name, first.shape, tuple(sources), exact=base in buffers.moved)
    if all(source.is_float for source in sources) and job.count:
        return job
    odd = next((source for source in sources if not source.is_float), first)
    assert isinstance(odd, Stored), "only tensors of a file can be whole numbers"
    for source in sources:
        if not isinstance(source, Stored) or source.dtype != odd.dtype or source.raw() != odd.raw():
            raise MergeError(
                f"Tensor {name} ({odd.dtype}) is no floating-point tensor and is not the same everywhere",
                where=odd.origin,
                do="save the models unquantized (bfloat16, float16 or float32)",
            )
    return Job(name, first.shape, copied=odd)


def _with_auxiliary(
    stack: ExitStack,
    jobs: list[Job],
    method: Method,
    targets: list[str],
    base: Checkpoint,
    known: Known,
    files: dict[str, list[MappedFile]],
) -> list[Job]:
    """Jobs with the method's own inputs, one tensor per target, which may have the target's names."""
    folders = [Path(folder) for folder in method.auxiliary()]
    if not folders:
        return jobs
    opened = [_open(stack, folder, False) for folder in folders]
    files |= {f"{method.method} of {t}": c.files for t, c in zip(targets, opened, strict=True)}
    places = [find({n: t.shape for n, t in c.tensors.items()}, base, known) for c in opened]
    made = []
    for job in jobs:
        if job.copied is not None:
            made.append(job)
            continue
        held = tuple(_auxiliary(job, c, names) for c, names in zip(opened, places, strict=True))
        made.append(replace(job, auxiliary=held))
    return made


def _auxiliary(job: Job, checkpoint: Checkpoint, names: Mapping[str, str]) -> Stored:
    held = checkpoint.tensors.get(names.get(job.name, job.name))
    if held is None or held.shape != job.shape or not held.is_float:
        raise MergeError(
            f"Tensor {job.name} is missing or misshaped", where=str(checkpoint.folder), do="make it again"
        )
    return held
