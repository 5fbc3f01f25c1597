"""The distributions of a run's job, with their conversations and tokens."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fusionchat.artifacts import MANIFEST, Manifest, read_manifest
from fusionchat.corpus.conversation import Conversation
from fusionchat.corpus.rendered_part import StoredPart
from fusionchat.errors import ArtifactError
from fusionchat.models.load import load_tokenizer
from fusionchat.models.ref import ModelRef
from fusionchat.represent.export.base import About, Example
from fusionchat.represent.store.read import DistributionStore
from fusionchat.run.order import read_order
from fusionchat.stages.corpus import read_part, read_tokens
from fusionchat.stages.names import CORPUS, corpus_of
from fusionchat.stages.pipeline import STAGES

HOLD = ("represent", "align", "fuse")
"""Stages whose jobs store distributions."""


@dataclass(frozen=True)
class Stored:
    """The distributions that a job has stored, with their text.

    Attributes:
        job: The job's id.
        manifest: The manifest of its folder.
        store: The distributions.
        conversations: The conversations of the training part.
        rendered: The same in the tokens that the distributions are for.
        ref: The model whose tokens these are: the pivot, or the captured model.
    """

    job: str
    manifest: Manifest
    store: DistributionStore
    conversations: list[Conversation]
    rendered: StoredPart
    ref: ModelRef

    def example(self, index: int) -> Example:
        """A conversation as it is exported."""
        own, conversation = self.rendered[index], self.conversations[index]
        return Example(
            conversation.id,
            conversation.domain,
            np.asarray(own.input_ids, np.int32),
            np.asarray(own.rows, np.int32),
            self.store[index],
        )

    def examples(self, members: range) -> Iterator[Example]:
        """Some conversations as they are exported."""
        return map(self.example, members)

    def about(self) -> About:
        """What all exported conversations have in common."""
        tokenizer = load_tokenizer(self.ref)
        end = tokenizer.eos_token_id
        pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else end
        return About(
            job=self.job,
            fingerprint=self.manifest.fingerprint,
            model=self.ref.model,
            vocabulary=self.store.encoding.vocabulary,
            k=self.store.k,
            longest=int(self.rendered.lengths.max(initial=0)),
            pad=int(pad or 0),
            end=int(end or 0),
        )


def open_stored(run: Path, job_id: str) -> Stored:
    """The distributions of a finished job.

    Raises:
        ArtifactError: There is no such job, it is not done, or it stores no distributions.
    """
    order = read_order(run, job_id, STAGES)
    if order.job.stage not in HOLD:
        raise ArtifactError(
            f"{job_id} holds no distributions", where=str(run), do="use a job of represent, align or fuse"
        )
    manifest = read_manifest(run / job_id)
    if manifest is None:
        raise ArtifactError(
            f"{job_id} is not done", where=str(run / job_id), do="run `fusionchat run` with its recipe first"
        )
    model, of = getattr(order.job.settings, "model", "pivot"), getattr(order.job.settings, "of", None)
    corpus = run / corpus_of(of)
    rendered = read_tokens(corpus, "train", model)
    store = DistributionStore(run / job_id).require(rendered.offsets)
    refs = read_order(run, CORPUS, STAGES).job.models
    return Stored(job_id, manifest, store, read_part(corpus, "train"), rendered, refs[model])


def stored_jobs(run: Path, stage: str) -> list[str]:
    """The ids of a stage's finished jobs."""
    folders = sorted(path.parent for path in (run / stage).glob(f"*/{MANIFEST}"))
    return [folder.relative_to(run).as_posix() for folder in folders]
