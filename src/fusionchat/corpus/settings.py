"""Settings of the corpus: its files, its parts, and what is kept of a conversation."""

from typing import ClassVar

from pydantic import Field, field_validator

from fusionchat.corpus.conversation import PARAGRAPH
from fusionchat.corpus.formats import FormatName
from fusionchat.corpus.thoughts import Thinking
from fusionchat.settings import Frozen, Named, with_group


class CorpusFile(Named):
    """A corpus file or dataset.

    A record has its turns in ``messages`` or ``conversations`` (role and content, or from and value), or a question and
    an answer: prompt and completion or response, Alpaca's instruction, input and output, question and answer. A
    ``system`` key becomes the first turn, ``chosen`` the last one. Turns with ``weight: 0``, ``train: false``,
    ``loss: false`` or ``masked: true`` are context and bear no loss. A record that holds more than text (tools, images)
    is rejected; every other key is harmless (id, source, score ...) or counted by name.
    """

    short: ClassVar[str] = "path"

    path: str = Field(description="JSONL, JSON, Parquet, text file, or Hugging Face dataset id")
    format: FormatName = Field(
        "auto", description="auto: `text` for .txt, else the first of the others that fits each record"
    )
    split: str = Field("train", description="the split of a hub dataset")
    revision: str | None = Field(None, description="branch, tag or commit of a hub dataset")
    pattern: str = Field(
        PARAGRAPH,
        description="plain text: each match of this regular expression (its group 1) is one conversation",
    )
    limit: int | None = Field(None, ge=1, description="read at most this many records")

    @field_validator("pattern")
    @classmethod
    def _pattern(cls, value: str) -> str:
        return with_group(value)


class CorpusSettings(Frozen):
    """The corpus and its parts. A number for ``validation`` or ``test`` draws that share of ``train``.

    Shares are drawn by ``seed``, with as much of every ``domain``. No part repeats text of another: what test has leaves
    validation and train, what validation has leaves train, counted.
    """

    train: CorpusFile
    validation: CorpusFile | float = Field(0.02, description="a file, or the share of train that is drawn")
    test: CorpusFile | float = Field(0.02, description="a file, or the share of train that is drawn")
    max_tokens: int = Field(2048, ge=8, description="longest conversation, in each model's own tokens")
    thinking: Thinking = Field(
        "keep",
        description="`<think>...</think>` in assistant turns: keep (seen and trained on) or drop (removed)",
    )

    @field_validator("validation", "test")
    @classmethod
    def _share(cls, value: CorpusFile | float) -> CorpusFile | float:
        if isinstance(value, float) and not 0 < value < 0.5:
            raise ValueError(f"a share must be more than 0 and less than 0.5, not {value:g}")
        return value
