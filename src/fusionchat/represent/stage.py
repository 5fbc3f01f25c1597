"""Stage `represent`: capture every model's distributions over the training part. One job a model."""

from pathlib import Path

import numpy as np

from fusionchat.artifacts import Json, read_manifest
from fusionchat.console import progress
from fusionchat.corpus.conversation import Conversation, Reject
from fusionchat.corpus.render import Rendered, Renderer
from fusionchat.corpus.stage import JOB as CORPUS
from fusionchat.corpus.stage import make_renderer, read_part
from fusionchat.errors import ArtifactError
from fusionchat.estimate import capture_cost
from fusionchat.jobs import Run, Summary
from fusionchat.models import ModelRef, load_model, pick_device
from fusionchat.precision import torch_dtype
from fusionchat.represent.events import NATS_PER_BIT, bits_per_byte, events_of, message_bytes
from fusionchat.represent.shards import (
    SHARDS,
    iterate,
    shard_count,
    shard_files,
    shard_path,
    shard_range,
    write_shard,
)
from fusionchat.represent.topk import TopK
from fusionchat.units import counted

VERSION = 3  # raised when the same settings and inputs give another output


def job_id(name: str) -> str:
    """The job that captures a model."""
    return f"represent/{name}"


def plan(run: Run) -> None:
    """Plan one capture for the pivot and each source."""
    represent = run.recipe.represent.model_dump() | {"dtype": run.dtypes.of("represent.dtype")}
    settings: dict[str, Json] = {"represent": represent}
    for ref in run.refs.values():
        run.add(
            "represent",
            ref.name,
            lambda folder, ref=ref: work(run, ref, folder),  # type: ignore[misc]
            settings=settings,
            needs=(CORPUS,),
            content=run.model(ref.name),
            cost=capture_cost(run.recipe, ref),
            parts=SHARDS,
            so_far=lambda folder: so_far(run, folder),
        )


def so_far(run: Run, folder: Path) -> str:
    """How far a capture is whose folder this is."""
    corpus = read_manifest(run.path(CORPUS))
    train = corpus.summary.get("train") if corpus else None
    conversations = train.get("conversations") if isinstance(train, dict) else None
    made = len(shard_files(folder))
    total = shard_count(conversations) if isinstance(conversations, int) else None
    return f"{made} of {counted(total, 'shard')}" if total else counted(made, "shard")


def work(run: Run, ref: ModelRef, folder: Path) -> Summary:
    """Capture shard by shard; shards that a killed run finished are kept."""
    from fusionchat.heads import Head
    from fusionchat.represent.transformers import capture

    conversations = read_part(run, "train")
    missing = [i for i in range(shard_count(len(conversations))) if not shard_path(folder, i).is_file()]
    if missing:
        renderer = make_renderer(ref)
        runtime = run.recipe.runtime
        device = pick_device(runtime.device)
        dtype = torch_dtype(run.dtypes.of("represent.dtype"), device, where="represent.dtype")
        head = Head.of(load_model(ref, dtype=dtype, device=device))
        total = sum(len(shard_range(i, len(conversations))) for i in missing)
        with progress(f"represent {ref.name}", total, "conversations") as advance:
            for index in missing:
                members = [conversations[i] for i in shard_range(index, len(conversations))]
                rendered = render_all(renderer, members)
                topk = capture(
                    head,
                    rendered,
                    k=run.recipe.represent.k,
                    vocabulary=renderer.table.size,
                    batch_tokens=runtime.batch_tokens,
                    names=[c.id for c in members],
                    advance=advance,
                )
                write_shard(shard_path(folder, index), topk)
    return summarize(folder, conversations)


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


def load(run: Run, name: str) -> list[TopK]:
    """The shards of a finished capture."""
    return list(iterate(run.path(job_id(name))))
