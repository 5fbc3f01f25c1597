"""`Format`: how the turns of one shape of records are read, the base of all formats."""

from collections.abc import Mapping
from typing import ClassVar, NamedTuple

from fusionchat.corpus.conversation import Message
from fusionchat.corpus.keys import Unusable

ANSWER_COLUMNS = ("completion", "response", "output", "chosen", "answer")
"""Columns with the answer to a question in another column; a record's first one is used."""


class Turns(NamedTuple):
    """The messages of a record, the columns that they came from, and keys of turns that nothing reads."""

    messages: tuple[Message, ...]
    columns: frozenset[str] = frozenset()
    unused: tuple[str, ...] = ()


class Format:
    """One shape of records.

    A format reads only the turns of its own shape. Whatever may accompany any shape is read afterwards: a
    system prompt in a column, an answer in one of the format's ``answers``, switches of the loss, an id, a
    domain.

    A record is passed without empty keys (null, NaN, an empty text or list).

    Attributes:
        name: Its name in a recipe's ``format``.
        priority: ``format: auto`` uses the format with the lowest number among those that fit a record.
        columns: Keys that may have the turns, the preferred one first.
        answers: Columns whose answer follows the turns; by default that of a preference.
    """

    name: ClassVar[str]
    priority: ClassVar[int]
    columns: ClassVar[tuple[str, ...]]
    answers: ClassVar[tuple[str, ...]] = ("chosen",)

    def fits(self, record: Mapping[str, object]) -> bool:
        """Whether a record has this shape, for ``auto``; by default, whether it has one of the columns."""
        return any(column in record for column in self.columns)

    def column(self, record: Mapping[str, object]) -> str:
        """The first of the format's columns that a record has; raises Unusable if it has none."""
        for column in self.columns:
            if column in record:
                return column
        keys = " or ".join(f"`{column}`" for column in self.columns)
        raise Unusable("no messages", f"there is no key {keys}")

    def turns(self, record: Mapping[str, object]) -> Turns:
        """The turns of a record; it may not fit if the recipe names the format.

        Raises:
            Unusable: It has none of the format's columns, or they contain something else.
        """
        raise NotImplementedError
