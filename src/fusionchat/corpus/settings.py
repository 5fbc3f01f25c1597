"""Settings of the corpus: its entries, its parts, and what is kept of a conversation."""

from collections.abc import Mapping
from typing import Annotated, ClassVar

from pydantic import BeforeValidator, Discriminator, Field, Tag, field_validator, model_validator

from fusionchat.corpus.conversation import PARAGRAPH
from fusionchat.corpus.filters import Scalar
from fusionchat.corpus.formats import FormatName
from fusionchat.corpus.mapping import ROLES, Names
from fusionchat.corpus.thoughts import Thinking
from fusionchat.settings import Frozen, Named, no_such, with_group


class Domain(Named):
    """The domain of a corpus; ``domain: code`` is short for ``domain: {name: code}``."""

    short: ClassVar[str] = "name"

    name: str | None = Field(None, description="the domain of all records")
    column: str | None = Field(None, description="the column that holds each record's domain")

    @model_validator(mode="after")
    def _one(self) -> "Domain":
        if (self.name is None) == (self.column is None):
            raise ValueError("use either a name or {column: NAME}")
        return self


def plain_values(value: object) -> object:
    """The values of a filter, each a value or a list; raises a ValueError that names the column."""
    for column, wanted in value.items() if isinstance(value, dict) else ():
        for one in wanted if isinstance(wanted, list | tuple) else [wanted]:
            if not isinstance(one, str | int | float | None):
                raise ValueError(
                    f".{column}: must be text, a number, true, false or null, or a list of these"
                )
    return value


class CorpusFile(Named):
    """An entry of a corpus: a file, the files of a pattern, or a data set.

    A record has its turns in ``messages`` or ``conversations`` (role and content, or from and value), or a question and
    an answer: prompt and completion or response, Alpaca's instruction, input and output, question and answer. A
    ``system`` key becomes the first turn, ``chosen`` the last one. Turns with ``weight: 0``, ``train: false``,
    ``loss: false`` or ``masked: true`` are context and bear no loss. A record that holds more than text (tools, images)
    is rejected; every other key is harmless (id, source, score ...) or counted by name.

    ``columns: {prompt: problem, completion: solution}`` reads the column ``problem`` as ``prompt`` and ``solution`` as
    ``completion``. It takes any column that a format reads, ``system``, ``history``, ``context``, ``id``, and ``role`` and
    ``content`` for the keys of turns: ``{messages: chat, role: speaker, content: utterance}``. Where it names turns, no
    other column with turns is read. ``filter: {language: [en, de], verified: true}`` reads the records in which every one
    of these columns (as the file has them) has the value, or one of them, exactly. A record that the filter, ``limit`` or
    ``share`` leaves out is counted in the report.
    """

    short: ClassVar[str] = "path"

    path: str = Field(
        description="JSONL, JSON, Parquet or text file, a pattern (`data/*.jsonl`), or Hugging Face dataset id"
    )
    format: FormatName = Field(
        "auto", description="auto: `text` for .txt, else the first of the others that fits each record"
    )
    split: str = Field("train", description="the split of a hub dataset")
    subset: str | None = Field(None, description="the subset (configuration) of a hub dataset")
    revision: str | None = Field(None, description="branch, tag or commit of a hub dataset")
    pattern: str = Field(
        PARAGRAPH,
        description="plain text: each match of this regular expression (its group 1) is one conversation",
    )
    columns: dict[str, str] = Field(
        {}, description="columns whose names differ from the format's: `{prompt: problem}`"
    )
    domain: Domain | None = Field(
        None,
        description="domain of the records: a name, or `{column: NAME}`; by default column `domain`",
    )
    filter: Annotated[dict[str, Scalar | tuple[Scalar, ...]], BeforeValidator(plain_values)] = Field(
        {},
        description="read only records whose columns have these values: `{language: en}`, `{level: [1, 2]}`",
    )
    limit: int | None = Field(
        None, ge=1, description="read at most this many records, the first that pass the filter"
    )
    share: float | None = Field(
        None, gt=0, le=1, description="draw this share of the conversations, by `seed` and by domain"
    )

    @field_validator("pattern")
    @classmethod
    def _pattern(cls, value: str) -> str:
        return with_group(value)

    @field_validator("columns")
    @classmethod
    def _columns(cls, value: dict[str, str]) -> dict[str, str]:
        for role in value:
            if role == "domain":
                raise ValueError("set the column of domains with `domain: {column: NAME}`, outside `columns`")
            if role not in ROLES:
                raise ValueError(no_such("role", role, list(ROLES)))
        return value

    @model_validator(mode="after")
    def _limit_or_share(self) -> "CorpusFile":
        if self.limit is not None and self.share is not None:
            raise ValueError(
                "`limit` takes the first records, `share` draws from all of them: use one of the two"
            )
        return self

    @property
    def names(self) -> Names:
        """The names of its columns."""
        if self.domain is None:
            return Names(self.columns)
        return Names(self.columns, self.domain.name, self.domain.column)


ONE, MANY, DRAWN = "an entry", "a list of entries", "a share"


def kind_of(value: object) -> str:
    """The kind of part that a value means, so that pydantic reports only what is wrong with that kind."""
    if isinstance(value, list | tuple):
        return MANY
    return ONE if isinstance(value, str | Mapping | CorpusFile) else DRAWN


def kind_of_train(value: object) -> str:
    """The same for train, of which no share can be drawn."""
    return MANY if isinstance(value, list | tuple) else ONE


Entry = Annotated[CorpusFile, Tag(ONE)]
Entries = Annotated[tuple[CorpusFile, ...], Tag(MANY)]
Train = Annotated[Entry | Entries, Discriminator(kind_of_train)]
Held = Annotated[Entry | Entries | Annotated[float, Tag(DRAWN)], Discriminator(kind_of)]
HELD = "one entry or a list of them, or a share of train to draw"


class CorpusSettings(Frozen):
    """The corpus and its parts. A number for ``validation`` or ``test`` draws that share of ``train``.

    Shares are drawn by ``seed``, with as much of every ``domain``. No part repeats text of another: what test has leaves
    validation and train, what validation has leaves train, counted.
    """

    train: Train = Field(description="one entry or a list of them; a path is short for `{path: ...}`")
    validation: Held = Field(0.02, description=HELD)
    test: Held = Field(0.02, description=HELD)
    max_tokens: int = Field(2048, ge=8, description="longest conversation, in each model's own tokens")
    thinking: Thinking = Field(
        "keep",
        description="`<think>...</think>` in assistant turns: keep (seen and trained on) or drop (removed)",
    )

    @field_validator("validation", "test")
    @classmethod
    def _share(cls, value: object) -> object:
        if isinstance(value, float) and not 0 < value < 0.5:
            raise ValueError(f"a share must be more than 0 and less than 0.5, not {value:g}")
        return value

    @field_validator("train", "validation", "test")
    @classmethod
    def _some(cls, value: object) -> object:
        if value == ():
            raise ValueError("needs at least one entry")
        return value

    def entries(self, part: str) -> dict[str, CorpusFile]:
        """The entries of a part by path: `train`, or `train.0`, `train.1` ... of a list; none if drawn."""
        given = getattr(self, part)
        if isinstance(given, tuple):
            return {f"{part}.{i}": entry for i, entry in enumerate(given)}
        return {part: given} if isinstance(given, CorpusFile) else {}
