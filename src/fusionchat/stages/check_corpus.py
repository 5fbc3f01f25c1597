"""What `check` sees of a corpus: the first records of every part that is a file."""

from pathlib import Path

from fusionchat.corpus.parts import PARTS, count_rejects, count_words, locate, read_source
from fusionchat.corpus.read import ReadCorpus
from fusionchat.corpus.settings import CorpusFile
from fusionchat.errors import CorpusError
from fusionchat.recipe.schema import Recipe
from fusionchat.units import counted


def sample_parts(recipe: Recipe, sample: int, unseen: list[str]) -> dict[str, ReadCorpus]:
    """The first records of train, and of validation and test where they are files.

    Raises:
        CorpusError: A file that is here cannot be read, or nothing of its sample can be used.
    """
    sources = {part: getattr(recipe.corpus, part) for part in PARTS}
    return {
        part: _sample(recipe, part, source, sample, unseen)
        for part, source in sources.items()
        if isinstance(source, CorpusFile)
    }


def _sample(recipe: Recipe, part: str, source: CorpusFile, sample: int, unseen: list[str]) -> ReadCorpus:
    path = locate(source, recipe.folder)
    try:
        return read_source(source, recipe.folder, limit=sample, thinking=recipe.corpus.thinking)
    except CorpusError as error:
        if Path(path).exists():
            raise
        unseen.append(f"corpus.{part} {path}: {error.what}")
        return ReadCorpus([], [], {})


def describe(part: str, read: ReadCorpus) -> list[str]:
    """What was looked at of a part, what was rejected and which keys are not used, in lines."""
    name = "Corpus" if part == "train" else f"Corpus, {part}"
    rejects = count_rejects(read.rejects)
    records = counted(len(read.conversations) + len(read.rejects), "record")
    lines = [f"{name}: {records} looked at" + (f"; rejected: {count_words(rejects)}" if rejects else "")]
    if read.unused:
        lines.append(f"{name}: keys of records that are not used: {count_words(read.unused)}")
    return lines
