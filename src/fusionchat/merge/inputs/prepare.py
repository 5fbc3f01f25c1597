"""The inputs of a merge as one list of jobs, made by a chain of steps.

    open_models         folders -> Family: checkpoints and adapters, opened and of one kind
    reconcile           -> all under the pivot's names: adapters applied, the pivot's buffers, an untied head
    align_vocabulary    -> rows of the vocabulary matched by token
    add_biases          -> biases that adapters add
    slice_layers        -> one job per tensor of the fused model, from the layers that are merged in it
    pair_fisher         -> jobs with the method's own inputs (Fisher information), one tensor per target

Nothing is written before this is done.
"""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

from fusionchat.artifacts import Json
from fusionchat.errors import MergeError
from fusionchat.merge.inputs.checkpoint import Checkpoint
from fusionchat.merge.inputs.fits import check_fit
from fusionchat.merge.inputs.layers.arrange import Arrangement, arranged, passthrough_arrangement
from fusionchat.merge.inputs.layers.stack import Stack, find_stack
from fusionchat.merge.inputs.models import PIVOT, Family, open_folder, open_models, reconcile
from fusionchat.merge.inputs.names import STRUCTURE as _STRUCTURE
from fusionchat.merge.inputs.names import find
from fusionchat.merge.inputs.new_biases import add_biases
from fusionchat.merge.inputs.plan import Source, Taking, TensorJob
from fusionchat.merge.inputs.reconcile import Buffers
from fusionchat.merge.inputs.stored import MappedFile, Stored
from fusionchat.merge.inputs.vocabulary.embeddings import Embeddings
from fusionchat.merge.inputs.vocabulary.vocabularies import align_vocabulary, check_tokens
from fusionchat.merge.methods.base import Method
from fusionchat.merge.methods.passthrough import Passthrough


@dataclass
class Inputs:
    """What a merge reads, and what follows for the fused model.

    Attributes:
        jobs: The tensors of the fused model in order.
        stack: The fused model's layers, if the merge had to know them.
        files: Weight files by input name; the pivot's is ``""``, the method's own are named after it and the
            target.
        changes: Entries of the config that differ from the pivot's.
        added: Entries of the tokens that are added to the fused tokenizer.
    """

    jobs: list[TensorJob]
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
    """Everything that a merge reads, opened and checked; ``stack`` closes it.

    Args:
        stack: Closes the files.
        pivot: The pivot's folder.
        targets: Folders of models or LoRA adapters by name.
        method: The method; its auxiliary folders are opened too.
        embeddings: What to do if vocabularies differ.
        allow_pickle: Whether pickles are opened, as weights only, if there are no safetensors.
        arrangement: Which layers of which input each layer of the fused model is merged from; None is one to
            one.
        with_stack: Whether the caller needs to know which parameters are the layers.

    Raises:
        MergeError: Something cannot be read or does not fit; the message names the tensor.
    """
    family = reconcile(open_models(stack, pivot, targets, allow_pickle=allow_pickle))
    family, added = align_vocabulary(family, embeddings)
    family = add_biases(family)
    jobs, config, layers = slice_layers(family, method, arrangement, with_stack=with_stack)
    check_fit(config, {job.name: job.shape for job in jobs}, family.base)
    if not added and embeddings != "rows":  # a recipe's fused model gets the recipe's tokenizer
        check_tokens(family.base.folder, config)
    files = {"" if model is family.pivot else model.name: model.files for model in family.models}
    jobs, more = pair_fisher(stack, jobs, method, family)
    changes = {key: value for key, value in config.items() if family.base.config.get(key) != value}
    return Inputs(jobs, files | more, changes, added, layers)


def slice_layers(
    family: Family, method: Method, arrangement: Arrangement | None, *, with_stack: bool
) -> tuple[list[TensorJob], dict[str, Json], Stack | None]:
    """One job per tensor of the fused model, its config, and its layers if they had to be known."""
    base, config = family.base, family.config
    arranges = arrangement is not None or isinstance(method, Passthrough)
    layers = _stack(base, arranges) if arranges or with_stack else None
    if arrangement is None and isinstance(method, Passthrough):
        assert layers is not None
        arrangement = passthrough_arrangement(method, layers)
    if arrangement is None:
        held = [model.tensors for model in family.models]
        jobs = [
            _job(name, [tensors[name] for tensors in held], family.names, name, family.buffers)
            for name in family.pivot.tensors
        ]
        return jobs, config, layers
    assert layers is not None
    jobs = _arranged_jobs(arrangement, layers, family)
    configs = {PIVOT: config} | {
        target.name: target.checkpoint.config if target.checkpoint else config for target in family.targets
    }
    config = arrangement.config(configs, layers, str(base.folder))
    return jobs, config, layers._replace(layers=len(arrangement.layers))


def _stack(base: Checkpoint, needed: bool) -> Stack | None:
    """The pivot's layers; None if they are unknown and not needed."""
    try:
        return find_stack({n: s.shape for n, s in base.tensors.items()}, base.config, str(base.folder))
    except MergeError:
        if needed:
            raise
        return None


def _arranged_jobs(arrangement: Arrangement, layers: Stack, family: Family) -> list[TensorJob]:
    """One job per tensor of an arrangement; each says which targets take part."""
    inputs = {model.name: model.tensors for model in family.models}
    several = any(len(layer) > 1 for layer in arrangement.layers)
    jobs = []
    for part in arranged(arrangement, layers, list(family.pivot.tensors), inputs):
        targets = [name for name, _ in part.sources][1:]
        sources = [inputs[name][tensor] for name, tensor in part.sources]
        job = _job(part.name, sources, targets, part.sources[0][1], family.buffers)
        places = tuple(list(inputs).index(name) - 1 for name in targets)
        everyone = not several or len(places) == len(family.targets)
        jobs.append(job if everyone else replace(job, part=Taking(places, len(family.targets))))
    return jobs


def _job(name: str, sources: list[Source], targets: list[str], base: str, buffers: Buffers) -> TensorJob:
    """One tensor's job, by its name in the pivot; raises MergeError if shapes or types cannot be merged."""
    first = sources[0]
    if base in buffers.copied - buffers.moved:
        assert isinstance(first, Stored), "only what a file holds is copied"
        return TensorJob(name, first.shape, copied=first)
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
    job = TensorJob(name, first.shape, tuple(sources), exact=base in buffers.moved)
    odd = next((source for source in sources if not source.is_float), None)
    if odd is None and job.count:
        return job
    if odd is None:  # without elements there is nothing to merge
        assert isinstance(first, Stored), "only tensors of a file can have no elements"
        return TensorJob(name, first.shape, copied=first)
    assert isinstance(odd, Stored), "only tensors of a file can be whole numbers"
    for source in sources:
        if not isinstance(source, Stored) or source.dtype != odd.dtype or source.raw() != odd.raw():
            raise MergeError(
                f"Tensor {name} ({odd.dtype}) is not a floating-point tensor, and differs between models",
                where=odd.origin,
                do="save the models unquantized (bfloat16, float16 or float32)",
            )
    return TensorJob(name, first.shape, copied=odd)


def pair_fisher(
    stack: ExitStack, jobs: Sequence[TensorJob], method: Method, family: Family
) -> tuple[list[TensorJob], dict[str, list[MappedFile]]]:
    """Jobs with the method's own inputs, one tensor per target, and their files.

    The inputs may use the target's names.
    """
    opened = [open_folder(stack, Path(folder)) for folder in method.auxiliary()]
    if not opened:
        return list(jobs), {}
    files = {f"{method.method} of {t}": c.files for t, c in zip(family.names, opened, strict=True)}
    places = [find({n: t.shape for n, t in c.tensors.items()}, family.base, family.known) for c in opened]
    pairs = list(zip(opened, places, strict=True))
    made = [
        job
        if job.copied is not None
        else replace(job, auxiliary=tuple(_auxiliary(job, *pair) for pair in pairs))
        for job in jobs
    ]
    return made, files


def _auxiliary(job: TensorJob, checkpoint: Checkpoint, names: Mapping[str, str]) -> Stored:
    held = checkpoint.tensors.get(names.get(job.name, job.name))
    if held is None or held.shape != job.shape or not held.is_float:
        raise MergeError(
            f"Tensor {job.name} is missing or has another shape",
            where=str(checkpoint.folder),
            do="make it again",
        )
    return held
