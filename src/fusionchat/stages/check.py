"""`fusionchat check`: what tokenizers, configurations and a sample of the corpus show of a recipe.

No weights are loaded. What cannot be checked (a hub that does not answer) is reported, never skipped
silently.
"""

from collections import Counter
from typing import NamedTuple

from fusionchat.align.preview import PairPreview, preview
from fusionchat.corpus.parts import count_rejects
from fusionchat.corpus.render import Renderer
from fusionchat.distill.settings import TrainingSettings
from fusionchat.distill.trainable import FULL
from fusionchat.errors import FusionChatError, ModelError
from fusionchat.hub import Place, cached_folder
from fusionchat.merge.inputs.files import is_without_weights, opens_in_transformers
from fusionchat.merge.methods.checks import check_targets
from fusionchat.models.load import load_config
from fusionchat.models.packed import packed
from fusionchat.models.ref import ModelRef
from fusionchat.models.tokenizer import rebuilt_on
from fusionchat.recipe.schema import Recipe
from fusionchat.run.auto import Resolved
from fusionchat.run.estimate import most_disk, total
from fusionchat.run.plan import Run
from fusionchat.stages.adapt import require_captured_here
from fusionchat.stages.check_corpus import Shown, describe, sample_entries, show_records
from fusionchat.stages.check_models import file_doubts, openings, unread_variables
from fusionchat.stages.check_usable import Usable, notes, usable
from fusionchat.stages.corpus import make_renderer
from fusionchat.stages.names import aligned
from fusionchat.stages.pipeline import open_run
from fusionchat.stages.rehearse import require_factors, require_trainable, require_weights
from fusionchat.stages.variants import adapted, opened_sources


class ModelCheck(NamedTuple):
    """What is known of one model: structure and vocabulary, "?" if they could not be read."""

    name: str
    structure: str
    layers: str
    hidden: str
    head_rows: str
    tokens: str
    template: str


class Check(NamedTuple):
    """Everything `check` found.

    Attributes:
        models: One entry for each model.
        records: Records of train that were read.
        rejects: How many of them cannot be used, by reason.
        unused_keys: How many of the others have a key that nothing reads, by key.
        corpus: The same in lines, by entry, with those of validation and test if they have any.
        previews: One entry for each source whose tokenizer could be read, as could the pivot's.
        renderings: The first records of each entry as each model sees them.
        retention: The figures of each source whose alignment an earlier run has finished (see
            `AlignSummary`).
        disk, flops: Rough total cost of the run; None if models or corpus are not on this machine.
        unseen: What could not be checked, and why.
        resolved: The settings that may be ``auto``.
        opens: How models are loaded and prompted, for those that need more than a folder of weights.
        doubts: Settings of models that have no effect, or that deserve a second look.
        pivot: Notes on the pivot's tensors.
        rebuilt: Models whose tokenizer transformers would build differently from its file, and a text that
            shows it.
        backends: Programs and servers that a capture needs and that were not found.
        unfit: The search's candidates that cannot merge this number of targets, and why.
        usable: For each model that cannot use all of the sample, how much it can use, and why not the rest.
        notes: How many conversations each peculiarity of a template or tokenizer affects.
    """

    models: list[ModelCheck]
    records: int
    rejects: dict[str, int]
    unused_keys: dict[str, int]
    corpus: list[str]
    previews: list[PairPreview]
    renderings: list[Shown]
    retention: dict[str, dict[str, float]]
    disk: float | None
    flops: float | None
    unseen: list[str]
    backends: list[str]
    unfit: list[str]
    pivot: list[str]
    usable: list[Usable]
    notes: dict[str, int]
    rebuilt: dict[str, str]
    resolved: Resolved
    opens: list[str]
    doubts: list[str]


def check(recipe: Recipe, *, sample: int = 200) -> Check:
    """Check a recipe's models and the first ``sample`` records of each part of its corpus.

    Raises:
        FusionChatError: Something on this machine is broken: a folder, a template, the corpus.
    """
    refs, unseen = recipe.refs(), list[str]()
    opens = openings(recipe, refs)
    samples = sample_entries(recipe, sample, unseen)
    train = [sample.read for sample in samples if sample.part == "train"]
    conversations = [one for read in train for one in read.conversations]
    rejects = count_rejects([one for read in train for one in read.rejects])
    pivot = _rehearsed(refs["pivot"], unseen)
    require_trainable(recipe.distill, recipe.runtime.training.report_to)
    _trainable(recipe.distill, refs["pivot"], unseen, "distill")
    if recipe.adapt is not None:
        require_trainable(recipe.adapt, recipe.runtime.training.report_to)
        require_captured_here(recipe, recipe.adapt)
        for name in adapted(recipe):
            _trainable(recipe.adapt.training(name), refs[name], unseen, "adapt")
    renderers: dict[str, Renderer] = {}
    models = [_look(ref, renderers, unseen) for ref in refs.values()]
    unseen += [line for name in opened_sources(recipe) if (line := _closed(refs[name]))]
    previews = []
    if "pivot" in renderers and conversations:
        for name in recipe.sources:
            if name in renderers:
                found = preview(
                    renderers["pivot"],
                    renderers[name],
                    conversations,
                    recipe.align,
                    max_tokens=recipe.corpus.max_tokens,
                )
                previews.append(found._replace(name=name))
    planned = open_run(recipe)
    return Check(
        models=models,
        records=len(conversations) + sum(rejects.values()),
        rejects=rejects,
        unused_keys=dict(sum((Counter(read.unused) for read in train), Counter[str]())),
        corpus=[
            line
            for one in samples
            if one.part == "train" or one.read.rejects or one.read.unused
            for line in describe(one)
        ],
        previews=previews,
        renderings=show_records(renderers, samples),
        retention={name: figures for name in recipe.sources if (figures := _retention(planned, name))},
        disk=most_disk([job.cost for job in planned.jobs.values()]),
        flops=total(job.cost.flops for job in planned.jobs.values()),
        unseen=unseen,
        backends=[
            line
            for name, spec in recipe.models.items()
            for line in spec.capture.faults(f"{refs[name].where}.capture", refs[name].model)
        ],
        unfit=_unfit(recipe),
        pivot=pivot,
        usable=usable(previews),
        notes={**sum((Counter(read.notes) for read in train), Counter[str]()), **notes(previews)},
        rebuilt={
            n: text for n, ref in refs.items() if n in renderers and (text := rebuilt_on(ref)) is not None
        },
        resolved=planned.resolved,
        opens=opens,
        doubts=[
            *(line for ref in refs.values() for line in file_doubts(ref)),
            *(line for n, made in renderers.items() for line in unread_variables(refs[n], made)),
        ],
    )


def _rehearsed(ref: ModelRef, unseen: list[str]) -> list[str]:
    """What the merge's own checks say about the pivot; if its weights are not here, that is noted."""
    from fusionchat.merge.inputs.rehearsal import rehearse

    place = ref.place
    if packed(ref):
        return []
    folder = cached_folder(place)
    if (
        folder is None
        or is_without_weights(folder)
        or not (place.path is not None or opens_in_transformers(folder))
    ):
        unseen.append(
            f"the weights of {ref.model}: they are not on this machine yet; a run checks them first"
        )
        return []
    return rehearse(folder)


def _trainable(how: TrainingSettings, ref: ModelRef, unseen: list[str], where: str) -> None:
    """Check some settings' `train` against a model's structure.

    A model that is not on this machine is noted in ``unseen``.
    """
    try:
        if how.train != FULL:
            load_config(ref)
    except ModelError as error:
        _unless_here(ref.place, error, unseen)
        return
    require_factors(how, ref, where)


def _closed(source: ModelRef) -> str:
    """Why the headers of a source's weights cannot be read; "" if they can, or if it is not here."""
    try:
        require_weights(source)
    except ModelError as error:
        cause = error.__cause__ if isinstance(error.__cause__, FusionChatError) else error
        return f"the weights of {source.name}: {error.where}: {cause.what[0].lower()}{cause.what[1:]}"
    return ""


def _unfit(recipe: Recipe) -> list[str]:
    found = []
    for i, method in enumerate(recipe.search.candidates if recipe.search else ()):
        try:
            check_targets(method, len(recipe.sources))
        except ValueError as error:
            found.append(f"search.candidates.{i}: {error}")
    return found


def _retention(planned: Run, source: str) -> dict[str, float]:
    """The figures of an alignment that an earlier run has finished; none if it has not."""
    job = planned.jobs[aligned(source)]
    if planned.status(job).state != "done":
        return {}
    summary = planned.manifest(job.id).summary
    return {key: float(value) for key, value in summary.items() if isinstance(value, int | float)}


def _look(ref: ModelRef, renderers: dict[str, Renderer], unseen: list[str]) -> ModelCheck:
    structure = layers = hidden = rows = tokens = template = "?"
    try:
        config = load_config(ref).get_text_config()
        structure = (config.architectures or [config.model_type])[0].removesuffix("ForCausalLM")
        layers, hidden, rows = str(config.num_hidden_layers), str(config.hidden_size), str(config.vocab_size)
    except ModelError as error:
        _unless_here(ref.place, error, unseen)
    try:
        renderer = make_renderer(ref)
        renderers[ref.name] = renderer
        tokens = str(renderer.table.size)
        template = "the pivot's" if ref.borrows else "a file" if ref.template is not None else "its own"
    except ModelError as error:
        _unless_here(ref.tokenizer_place, error, unseen)
    return ModelCheck(ref.name, structure, layers, hidden, rows, tokens, template)


def _unless_here(place: Place, error: FusionChatError, unseen: list[str]) -> None:
    """Raise the error of a broken folder on this machine; note a hub that does not answer."""
    if place.path is not None:
        raise error
    unseen.append(f"{place.name}: {error.what}")
