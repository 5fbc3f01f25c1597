"""What `check` finds in a corpus: the first records of every entry."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from fusionchat.align.preview import Piece, show_all
from fusionchat.corpus.conversation import Conversation, Reject
from fusionchat.corpus.entries import read_entry, under_own_ids
from fusionchat.corpus.located import locate
from fusionchat.corpus.parts import PARTS, count_rejects, count_words
from fusionchat.corpus.read import ReadCorpus
from fusionchat.corpus.render import Renderer
from fusionchat.corpus.settings import CorpusFile
from fusionchat.errors import CorpusError
from fusionchat.recipe.schema import Recipe
from fusionchat.units import counted

RECORDS_SHOWN = 3


class Sample(NamedTuple):
    """The first records of one entry.

    Attributes:
        name: Its name: ``train.1 data.jsonl``, or ``train`` if it is the part's only entry.
        part: Its part.
        read: The records.
    """

    name: str
    part: str
    read: ReadCorpus


class Shown(NamedTuple):
    """A record as each model sees it, after the edits that apply to all models."""

    entry: str
    id: str
    domain: str
    models: Mapping[str, list[Piece] | Reject]


def sample_entries(recipe: Recipe, sample: int, unseen: list[str]) -> list[Sample]:
    """The first records of every entry; ``sample`` of each part.

    Raises:
        CorpusError: A file on this machine cannot be read, or nothing of its sample can be used.
    """
    found = []
    for part in PARTS:
        entries, seen = recipe.corpus.entries(part), dict[str, Conversation]()
        size = max(RECORDS_SHOWN, -(-sample // max(len(entries), 1)))
        for place, entry in entries.items():
            name = place if place == part else f"{place} {Path(entry.path).name}"
            found.append(
                Sample(name, part, _sample(recipe, place, entry, sample=size, seen=seen, unseen=unseen))
            )
    return found


def _sample(
    recipe: Recipe,
    place: str,
    entry: CorpusFile,
    *,
    sample: int,
    seen: dict[str, Conversation],
    unseen: list[str],
) -> ReadCorpus:
    try:
        read = read_entry(place, entry, recipe.folder, sample=sample, thinking=recipe.corpus.thinking)
    except CorpusError as error:
        if not _on_the_hub(entry, recipe.folder):
            raise
        unseen.append(f"corpus.{place} {entry.path}: {error.what}")
        return ReadCorpus([], [], {})
    taken, again = under_own_ids(place, entry, read.conversations, seen)
    return read._replace(conversations=taken, rejects=[*read.rejects, *again])


def _on_the_hub(entry: CorpusFile, folder: str) -> bool:
    try:
        return locate(entry.path, folder, entry.revision).hub is not None
    except CorpusError:
        return False


def describe(sample: Sample) -> list[str]:
    """What was read of an entry, what was rejected and which keys are not used, in lines."""
    name, read = "Corpus" if sample.name == "train" else f"Corpus, {sample.name}", sample.read
    rejects = count_rejects(read.rejects)
    records = counted(len(read.conversations) + len(read.rejects), "record")
    left = "".join(f"; {count} others {reason}" for reason, count in read.left.items())
    said = f"; rejected: {count_words(rejects)}" if rejects else ""
    lines = [f"{name}: {records} looked at{left}{said}"]
    if read.unused:
        lines.append(f"{name}: keys of records that are not used: {count_words(read.unused)}")
    return lines


def show_records(renderers: Mapping[str, Renderer], samples: list[Sample]) -> list[Shown]:
    """The first records of every entry as each model will read them."""
    return [
        Shown(sample.name, one.id, one.domain, show_all(renderers, one))
        for sample in samples
        for one in sample.read.conversations[:RECORDS_SHOWN]
        if renderers
    ]
