"""`Format`: how the turns of one shape of records are read, the base of all formats."""

from collections.abc import Mapping
from typing import ClassVar, NamedTuple

from fusionchat.corpus.conversation import Message
from fusionchat.corpus.keys import Unusable

ANSWER_COLUMNS = ("completion", "response", "output", "chosen", "answer")
"""Columns with the answer to a question in another column; the first that a record has is taken."""


class Turns(NamedTuple):
    """Messages of a record, the columns they came from, and the keys of turns that nothing reads."""

    messages: tuple[Message, ...]
    columns: frozenset[str] = frozenset()
    unused: tuple[str, ...] = ()


class Format:
    """One shape of records.

    A format reads only the turns that are the shape's own. What may be beside those of any shape is read after it: a
    system prompt in a column, an answer in one of the format's ``answers``, switches of the loss, an id, a domain.

    A record is given without the keys that say nothing (null, NaN, an empty text or list).

    Attributes:
        name: What ``format`` in a recipe calls it.
        priority: ``format: auto`` takes the format with the lowest number among those that fit a record.
        columns: Keys that may hold the turns, the preferred one first.
        answers: Columns whose answer follows the turns; by default that of a preference.
    """

    name: ClassVar[str]
    priority: ClassVar[int]
    columns: ClassVar[tuple[str, ...]]
    answers: ClassVar[tuple[str, ...]] = ("chosen",)

    def fits(self, record: Mapping[str, object]) -> bool:
        """Whether a record has this shape, so that ``auto`` reads it by this format: by default, has one of its columns."""
        return any(column in record for column in self.columns)

    def column(self, record: Mapping[str, object]) -> str:
        """The first of the format's columns that a record has; raises Unusable where it has none."""
        for column in self.columns:
            if column in record:
                return column
        keys = " or ".join(f"`{column}`" for column in self.columns)
        raise Unusable("no messages", f"there is no key {keys}")

    def turns(self, record: Mapping[str, object]) -> Turns:
        """The turns of a record, also of one that does not fit, where the recipe names the format.

        Raises:
            Unusable: It has none of the format's columns, or they hold something else.
        """
        raise NotImplementedError
