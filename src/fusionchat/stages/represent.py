"""Stage `represent`: capture every model's distributions over the training part. One job a model."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from fusionchat.artifacts import Json, is_begun, read_manifest
from fusionchat.console import progress
from fusionchat.corpus.conversation import Conversation, Reject
from fusionchat.corpus.render import Rendered, Renderer
from fusionchat.errors import ArtifactError
from fusionchat.models.device import pick_device
from fusionchat.models.load import load_model
from fusionchat.models.precision import torch_dtype
from fusionchat.models.ref import ModelRef
from fusionchat.represent.events import NATS_PER_BIT, bits_per_byte, events_of, message_bytes
from fusionchat.represent.settings import RepresentSettings
from fusionchat.represent.shards import (
    SHARDS,
    iterate,
    shard_count,
    shard_files,
    shard_path,
    shard_range,
    write_shard,
)
from fusionchat.run.estimate import capture_cost, capture_memory
from fusionchat.run.job import Context, Inputs, Summary
from fusionchat.run.planned import Run
from fusionchat.settings import Frozen
from fusionchat.stages.corpus import make_renderer, read_part
from fusionchat.stages.names import CORPUS
from fusionchat.units import counted

VERSION = 3  # raised when the same settings and inputs give another output


class Settings(Frozen):
    """All that changes a capture but the corpus and the model.

    Attributes:
        model: The model's name.
        represent: What is kept of each distribution, and the dtype, ``auto`` resolved.
    """

    model: str
    represent: RepresentSettings


def settings_of(held: Mapping[str, Json]) -> Settings:
    """The settings of a job from their JSON."""
    return Settings.model_validate(held)


def plan(run: Run) -> None:
    """Plan one capture for the pivot and each source."""
    dtype = run.dtypes.of("represent.dtype")
    represent = run.recipe.represent.model_copy(update={"dtype": dtype})
    for ref in run.refs.values():
        run.add(
            "represent",
            ref.name,
            Settings(model=ref.name, represent=represent),
            needs=(CORPUS,),
            content=run.model(ref.name),
            cost=capture_cost(run.recipe, ref),
            memory=capture_memory(ref, dtype),
            on_device=True,
            parallel="shards",
            parts=SHARDS,
        )


def so_far(settings: Settings, inputs: Inputs, out: Path) -> str:
    """How far a capture is whose folder this is."""
    corpus = read_manifest(inputs.folder(CORPUS))
    train = corpus.summary.get("train") if corpus else None
    conversations = train.get("conversations") if isinstance(train, dict) else None
    made = len(shard_files(out))
    total = shard_count(conversations) if isinstance(conversations, int) else None
    return f"{made} of {counted(total, 'shard')}" if total else counted(made, "shard")


def work(settings: Settings, inputs: Inputs, out: Path, ctx: Context) -> Summary:
    """Capture shard by shard; those that are there are not made again, whoever made them."""
    conversations = read_part(inputs.folder(CORPUS), "train")
    missing = [i for i in range(shard_count(len(conversations))) if not shard_path(out, i).is_file()]
    if missing:
        capture_shards(
            settings, inputs.model(settings.model), conversations, missing, out, inputs.job.fingerprint, ctx
        )
    return summarize(out, conversations)


def capture_shards(
    settings: Settings,
    ref: ModelRef,
    conversations: list[Conversation],
    missing: list[int],
    out: Path,
    mark: str,
    ctx: Context,
) -> None:
    """Capture the missing shards but those that another worker makes in the meantime."""
    from fusionchat.models.head import Head
    from fusionchat.represent.capture.transformers import capture

    renderer = make_renderer(ref)
    device = pick_device(ctx.runtime.device)
    dtype = torch_dtype(settings.represent.dtype, device, where="represent.dtype")
    head = Head.of(load_model(ref, dtype=dtype, device=device))
    total = sum(len(shard_range(i, len(conversations))) for i in missing)
    with progress(f"represent {ref.name}", total, "conversations") as advance:
        # Helpers go the other way, so that not all make the same shard.
        for index in reversed(missing) if ctx.helps else missing:
            members = [conversations[i] for i in shard_range(index, len(conversations))]
            if shard_path(out, index).is_file():
                advance(len(members))
                continue
            rendered = render_all(renderer, members)
            topk = capture(
                head,
                rendered,
                k=settings.represent.k,
                vocabulary=renderer.table.size,
                batch_tokens=ctx.runtime.batch_tokens,
                names=[c.id for c in members],
                advance=advance,
            )
            if not shard_path(out, index).is_file():
                require_begun(out, mark)
                write_shard(shard_path(out, index), topk)


def require_begun(out: Path, mark: str) -> None:
    """Check that a folder is still the one that was begun: a recipe that was changed may have cleared it.

    Raises:
        ArtifactError: Another job, or nobody, works there now.
    """
    if not is_begun(out, mark):
        raise ArtifactError(
            "This job was planned anew while it was worked on", where=str(out), do="start the worker again"
        )


def render_all(renderer: Renderer, conversations: list[Conversation]) -> list[Rendered]:
    """Render conversations that the corpus stage has accepted."""
    rendered = []
    for conversation in conversations:
        result = renderer.render(conversation)
        if isinstance(result, Reject):
            raise ArtifactError(
                f"A conversation of the corpus cannot be rendered: {result.reason}",
                where=f"{conversation.id} for {renderer.name}",
                do="remove the run's corpus folder and run again",
            )
        rendered.append(result)
    return rendered


def summarize(folder: Path, conversations: list[Conversation]) -> Summary:
    """Tokens, the model's own bits per byte of the training text, and the bytes it does not score."""
    nats, tokens, size = 0.0, 0, 0
    for index, topk in enumerate(iterate(folder)):
        members = [conversations[i] for i in shard_range(index, len(conversations))]
        events = events_of(topk, message_bytes([c.message_bytes for c in members]))
        nats -= float(topk.label_logprob.sum(dtype=np.float64))
        tokens, size = tokens + topk.rows, size + int(events.bytes.sum())
    return {
        "supervised_tokens": tokens,
        "bits_per_byte": round(bits_per_byte(nats / NATS_PER_BIT, size), 5),
        "unscored_bytes": sum(c.supervised_bytes for c in conversations) - size,
    }
