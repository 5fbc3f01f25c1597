"""The folder that Fisher merging reads, made from a model and a corpus.

This is ``fusionchat fisher`` without printing.
"""

import random
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fusionchat.artifacts import Json, machine_errors, write_json
from fusionchat.console import progress, warn
from fusionchat.corpus.conversation import Reject
from fusionchat.corpus.cut import fit
from fusionchat.corpus.parts import count_words
from fusionchat.corpus.read import read_corpus
from fusionchat.corpus.render import Rendered, Renderer
from fusionchat.errors import CorpusError, MergeError
from fusionchat.merge.fisher.diagonal import fisher_diagonal, write_fisher
from fusionchat.merge.inputs.adapters.file import is_adapter
from fusionchat.merge.inputs.checkpoint import open_checkpoint
from fusionchat.merge.inputs.references import find_model
from fusionchat.merge.inputs.stored import Stored
from fusionchat.models.device import pick_device
from fusionchat.models.load import load_config, load_model, load_tokenizer
from fusionchat.models.precision import auto_dtype
from fusionchat.models.ref import ModelRef
from fusionchat.units import counted

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

NOTE = "fisher.json"


@dataclass(frozen=True)
class FisherReport:
    """What a diagonal was made from.

    Attributes:
        examples: Conversations used.
        tokens: Their supervised tokens.
        rejects: Number of records that cannot be used, by reason.
    """

    examples: int
    tokens: int
    rejects: dict[str, int]


def make_fisher(
    model: str, corpus: str, out: Path, *, examples: int, max_tokens: int, seed: int, device: str
) -> FisherReport:
    """Write the diagonal of a model's Fisher information over conversations into a folder.

    Each example is one conversation in the model's own chat template; its log-likelihood is that of its
    supervised tokens. The tensors are named as the model's checkpoint names them.

    Args:
        model: A folder or a hub id.
        corpus: A file or the id of a hub dataset, in any form a recipe's corpus may have.
        out: The folder; its ``model.safetensors`` appears whole or not at all.
        examples: Conversations drawn; fewer if the corpus has fewer usable ones.
        max_tokens: Longer conversations are cut.
        seed: The seed of the draw.
        device: As in ``runtime.device``.

    Raises:
        MergeError: ``out`` is not empty, or the model cannot be used.
        ModelError: The model cannot be loaded or has no chat template.
        CorpusError: The corpus cannot be read, or nothing of it can be used.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise MergeError("This folder is not empty", where=str(out), do="choose another")
    place = pick_device(device)
    folder = find_model(model, allow_pickle=True)
    if is_adapter(folder):
        raise MergeError(
            "This is a LoRA adapter, whose parameters are not the model's",
            where=str(folder),
            do="merge it into a model first: fusionchat merge --pivot P --target ADAPTER --method linear --out DIR",
        )
    checkpoint = open_checkpoint(folder, allow_pickle=True)  # transformers opens them below in the same way
    checkpoint.close()
    ref = ModelRef(model, str(folder), str(folder))
    renderer = Renderer(load_tokenizer(ref), name=model)
    built_for = getattr(load_config(ref).get_text_config(), "max_position_embeddings", None)
    limit = min(max_tokens, built_for) if built_for else max_tokens
    rendered, rejects = draw(corpus, renderer, limit, examples, seed)
    with machine_errors(out):  # fail before the work, not after it
        out.mkdir(parents=True, exist_ok=True)
    loaded = load_model(ref, dtype=auto_dtype(place), device=place)
    loaded.config.use_cache = False
    if getattr(
        loaded.config, "output_router_logits", False
    ):  # the experts' balance does not belong to the likelihood
        loaded.config.output_router_logits = False
    with progress(f"fisher {folder.name}", len(rendered), "conversations") as advance:
        diagonal = fisher_diagonal(loaded, _batches(rendered, place), progress=advance)
    named = as_stored(loaded, diagonal, checkpoint.tensors, where=str(folder))
    tokens = sum(len(one.rows) for one in rendered)
    note: dict[str, Json] = {"model": model, "corpus": corpus, "seed": seed, "max_tokens": limit}
    note |= {"examples": len(rendered), "supervised_tokens": tokens, "rejects": dict(rejects)}
    write_fisher(out, named)
    write_json(out / NOTE, note)
    return FisherReport(len(rendered), tokens, rejects)


def draw(
    corpus: str, renderer: Renderer, limit: int, examples: int, seed: int
) -> tuple[list[Rendered], dict[str, int]]:
    """At most ``examples`` random conversations, rendered, and counts of unusable ones.

    Raises:
        CorpusError: None can be used.
    """
    read = read_corpus(corpus)
    rejects = Counter(reject.reason for reject in read.rejects)
    if read.unused:
        warn(f"{corpus}: keys of records that are not used: {count_words(read.unused)}")
    rendered: list[Rendered] = []
    for conversation in random.Random(seed).sample(read.conversations, len(read.conversations)):
        if len(rendered) == examples:
            break
        fitted = fit(conversation, [(renderer, limit)])
        one = fitted if isinstance(fitted, Reject) else renderer.render(fitted.conversation)
        if isinstance(one, Reject):
            rejects[one.reason] += 1
        else:
            rendered.append(one)
    counts = dict(sorted(rejects.items()))
    if not rendered:
        raise CorpusError(
            f"No conversation of this corpus can be used ({count_words(counts)})",
            where=corpus,
            do="use conversations that the model's chat template can render",
        )
    return rendered, counts


def describe(report: FisherReport) -> str:
    """What was used and what was not, in one line."""
    used = f"{counted(report.examples, 'conversation')}, {counted(report.tokens, 'supervised token')}"
    return f"{used}; not used: {count_words(report.rejects)}" if report.rejects else used


def _batches(rendered: Sequence[Rendered], device: "torch.device") -> Iterator[dict[str, "torch.Tensor"]]:
    import torch

    for one in rendered:
        ids = torch.from_numpy(one.input_ids).long()
        labels = torch.full_like(ids, -100)
        rows = torch.from_numpy(one.rows).long()
        labels[rows] = ids[rows]
        yield {"input_ids": ids[None].to(device), "labels": labels[None].to(device)}


def as_stored(
    model: "PreTrainedModel",
    diagonal: Mapping[str, "torch.Tensor"],
    stored: Mapping[str, Stored],
    *,
    where: str,
) -> dict[str, "torch.Tensor"]:
    """A diagonal by parameter, under the names and in the shapes of the checkpoint.

    transformers may have weights in another form than they are stored (experts in one tensor, prefixes); the
    diagonal is converted back as the weights would be. A tied tensor appears under each stored name. Stored
    tensors without a parameter in the model (buffers) get an information of 0.

    Raises:
        MergeError: A parameter is not in the checkpoint.
    """
    import torch
    from transformers.core_model_loading import revert_weight_conversion

    first = {id(parameter): diagonal[name] for name, parameter in model.named_parameters()}
    every = {name: first[id(p)] for name, p in model.named_parameters(remove_duplicate=False)}
    prefix = f"{model.base_model_prefix}."  # which checkpoints of only a model's body lack
    found: dict[str, torch.Tensor] = {
        name if name in stored else name.removeprefix(prefix): value
        for name, value in revert_weight_conversion(model, every).items()
    }
    kept = {n: v for n, v in found.items() if n in stored and tuple(v.shape) == stored[n].shape}
    there = {value.data_ptr() for value in kept.values()}
    for name, value in found.items():
        if name not in kept and value.data_ptr() not in there:
            raise MergeError(
                f"The model has parameter {name}, which its checkpoint does not have in this shape",
                where=where,
                do="load the model with transformers and save it again",
            )
    return {
        name: kept[name] if name in kept else torch.zeros(tensor.shape)
        for name, tensor in stored.items()
        if tensor.is_float
    }
