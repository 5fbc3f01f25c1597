"""Stage `represent`: capture every model's distributions over the training part, one job per model."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from fusionchat.artifacts import Json, is_begun
from fusionchat.console import progress
from fusionchat.corpus.conversation import Conversation
from fusionchat.corpus.rendered_part import StoredPart
from fusionchat.errors import ArtifactError, DamagedError
from fusionchat.lease import holder
from fusionchat.models.device import memory_used
from fusionchat.represent.capture import DEFAULT, AnyCapturer
from fusionchat.represent.capture.base import Asked, Sample
from fusionchat.represent.notes import Notes, sample
from fusionchat.represent.settings import RepresentSettings
from fusionchat.represent.store.cut import cut, shard_rows
from fusionchat.represent.store.layout import SHARDS, Encoding
from fusionchat.represent.store.shard import read_shard
from fusionchat.represent.store.write import StoreWriter
from fusionchat.run.attempts import Record
from fusionchat.run.estimate import OVERHEAD, capture_cost, capture_memory, parameters
from fusionchat.run.job import Context, Inputs, Summary
from fusionchat.run.plan import Run
from fusionchat.run.sharing import make_shares, shard_lease
from fusionchat.settings import Grown
from fusionchat.stages.capture_figures import Speed, drop_halves, keep_notes, summarize
from fusionchat.stages.capture_probe import prepare, probe, probed, read_probe
from fusionchat.stages.corpus import files_of, make_renderer, read_part, read_tokens
from fusionchat.stages.names import Trained, captured, corpus_of
from fusionchat.units import counted

VERSION = 6  # raised when the same settings and inputs give another output
SAMPLES, SAMPLE = 16, 400
"""The number of texts with which a backend's tokenizer is checked, and the characters of each."""


class Settings(Grown):
    """Everything that changes a capture except the corpus and the model.

    Attributes:
        model: The model's name.
        represent: What is kept of each distribution, the dtype and the size of a batch, ``auto`` resolved.
        capture: The program that captures.
        rows: The most rows of a shard.
        of: The target whose own answers are captured; None for the corpus itself.
    """

    later: ClassVar[tuple[str, ...]] = ("of",)
    model: str
    represent: RepresentSettings
    capture: AnyCapturer
    rows: int
    of: Trained | None = None

    @property
    def captured_by(self) -> str:
        """The backend in a word or two, for a plan; "" for the usual one."""
        return "" if self.capture.backend == DEFAULT.backend else str(self.capture)


PARTS = "shard-*"
"""The files of a shard: its distributions, and its notes (`fusionchat.stages.capture_figures`)."""


def settings_of(held: Mapping[str, Json]) -> Settings:
    """The settings of a job from their JSON."""
    return Settings.model_validate(held)


def plan(run: Run) -> None:
    """Plan one capture for the pivot and each source."""
    plan_captures(run, tuple(run.refs))


def plan_captures(run: Run, names: Sequence[str], of: Trained | None = None) -> None:
    """Plan the captures of some models, over the corpus or for a later round of a target."""
    dtype, batch_tokens = run.resolved.dtype("represent.dtype"), run.resolved.batch_tokens
    represent = run.recipe.represent.model_copy(update={"dtype": dtype, "batch_tokens": batch_tokens})
    corpus = corpus_of(of)
    for ref in (run.refs[name] for name in names):
        capturer, cost = run.recipe.models[ref.name].capture, capture_cost(run.recipe, ref)
        capturer.require(f"{ref.where}.capture")
        here = capturer.reads_weights
        run.add(
            "represent",
            captured(ref.name, of).removeprefix("represent/"),
            Settings(
                model=ref.name,
                represent=represent,
                capture=capturer,
                rows=shard_rows(parameters(ref)),
                of=of,
            ),
            means=capturer.means,
            needs=(corpus, *(job for name, job in run.adapted.items() if name == ref.name)),
            reads={corpus: files_of("train", ref.name)},
            content=run.teacher(ref.name),
            cost=cost if here else cost._replace(flops=0.0),
            memory=capture_memory(ref, dtype, capturer.opening) if here else OVERHEAD,
            on_device=here,
            gpus=capturer.needs_gpus,
            parallel="shards",
            parts=PARTS,
        )


def so_far(settings: Settings, inputs: Inputs, out: Path) -> str:
    """The progress of the capture in a folder, from its shards."""
    made = sorted(out.glob(SHARDS))
    if not made:
        return counted(0, "shard")
    try:
        total = read_shard(made[0]).about.shard[1]
    except DamagedError:
        return counted(len(made), "shard")
    return f"{len(made)} of {counted(total, 'shard')}"


def work(settings: Settings, inputs: Inputs, out: Path, ctx: Context) -> Summary:
    """Capture shard by shard; existing shards are not made again, whoever made them."""
    corpus = inputs.folder(corpus_of(settings.of))
    conversations, rendered = read_part(corpus, "train"), read_tokens(corpus, "train", settings.model)
    offsets, kept = rendered.offsets, settings.represent
    ranges = cut(offsets, settings.rows)
    if ctx.helps and len(ranges) < 2:
        return {}  # the process that has begun it makes the only shard
    asked = ask(settings, inputs, rendered, conversations, ctx)
    encoding = Encoding(asked.vocabulary, kept.logprobs, kept.compression)
    writer = StoreWriter(out, offsets, ranges, encoding, inputs.job.fingerprint)
    # Only the process that has begun the folder clears it: a helper's order may be older than the files.
    if not ctx.helps:
        drop_halves(out)
    missing = writer.missing() if ctx.helps else writer.keep_own()
    if missing or not probed(out):
        capturer = settings.capture.model_copy(update=inputs.job.means)
        speed = capture_shards(
            capturer, asked, rendered, conversations, writer=writer, inputs=inputs, helps=ctx.helps
        )
    else:
        speed = Speed()
    # The process that finishes it has probed it, and reports the result.
    return {} if ctx.helps else {**summarize(out, rendered, conversations, speed), **read_probe(out)}


def ask(
    settings: Settings,
    inputs: Inputs,
    rendered: StoredPart,
    conversations: list[Conversation],
    ctx: Context,
) -> Asked:
    """The request to a backend."""
    ref = inputs.model(settings.model)
    renderer = make_renderer(ref)
    texts = [c.messages[-1].content[:SAMPLE] for c in conversations[:SAMPLES]]
    return Asked(
        ref,
        vocabulary=renderer.table.size,
        k=settings.represent.k,
        dtype=settings.represent.dtype,
        device=ctx.runtime.device,
        batch_tokens=int(settings.represent.batch_tokens),
        longest=int(rendered.lengths.max(initial=0)),
        samples=tuple(Sample(text, tuple(renderer.encoder.ids(text).tolist())) for text in texts),
        notes=Notes(),
    )


def capture_shards(
    capturer: AnyCapturer,
    asked: Asked,
    rendered: StoredPart,
    conversations: list[Conversation],
    *,
    writer: StoreWriter,
    inputs: Inputs,
    helps: bool,
) -> Speed:
    """Probe, and capture the missing shards except those that another worker makes; returns the speed."""
    missing, names, out = writer.missing(), [c.id for c in conversations], writer.folder
    if helps and all(holder(shard_lease(inputs.run, inputs.job.id, i)) for i in missing):
        return Speed()
    probing = None if helps or probed(out) else prepare(asked, capturer, rendered, conversations)
    lengths, rows = rendered.lengths, sample(int(rendered.offsets[-1]))
    total = int(lengths.sum())
    before = total - sum(
        int(lengths[writer.ranges[index].start : writer.ranges[index].stop].sum()) for index in missing
    )
    with (
        capturer.open(asked) as capture,
        progress(f"represent {asked.ref.name}", total, "tokens", also=memory_used, before=before) as advance,
    ):
        if probing is not None:
            require_begun(out, writer.made_by)
            probe(probing, capture, capturer, asked, out)
        done: list[Speed] = []
        record = Record(inputs.run, inputs.job.id, writer.made_by)

        def make(index: int) -> None:
            members = writer.ranges[index]
            begun, notes = time.monotonic(), asked.notes or Notes()
            notes.begin(rows_of(rows, rendered, members))
            part = slice(members.start, members.stop)
            with record.attempted(index):
                scored = capture(rendered[part], names=names[part], advance=advance)
                done.append(Speed(int(lengths[part].sum()), time.monotonic() - begun))
                require_begun(out, writer.made_by)
                if not writer.has(index):  # a faster worker may have made it, too
                    keep_notes(out, index, notes)
                    writer.write_scored(index, scored)

        make_shares(
            len(writer.ranges),
            writer.has,
            make,
            lambda index: shard_lease(inputs.run, inputs.job.id, index),
            helps=helps,
        )
    return Speed(sum(one.tokens for one in done), sum(one.seconds for one in done))


def rows_of(rows: NDArray[np.int64], rendered: StoredPart, members: range) -> NDArray[np.int64]:
    """The ``rows`` that are in the conversations ``members``, counted from the first of these."""
    low, high = (int(rendered.offsets[at]) for at in (members.start, members.stop))
    return rows[(rows >= low) & (rows < high)] - low


def require_begun(out: Path, mark: str) -> None:
    """Check that a folder is still the one that was begun; a changed recipe may have cleared it.

    Raises:
        ArtifactError: Another job uses the folder now, or none.
    """
    if not is_begun(out, mark):
        raise ArtifactError(
            "This job was planned again while a worker was making it",
            where=str(out),
            do="start the worker again",
        )
