"""A list of turns under another name: `{"conversation": [...]}`.

This is the shape of WildChat, LMSYS-Chat, Capybara and XTuner.
"""

from collections.abc import Mapping
from typing import ClassVar

from fusionchat.corpus.formats.base import Format, Turns
from fusionchat.corpus.formats.lists import read_turns


class Dialogue(Format):
    """A column with one of these names and a list in it; a text is no dialogue."""

    name: ClassVar[str] = "dialogue"
    priority: ClassVar[int] = 30
    columns: ClassVar[tuple[str, ...]] = ("conversation", "dialogue", "dialog", "turns")

    def fits(self, record: Mapping[str, object]) -> bool:
        """Whether one of the columns has a list."""
        return any(isinstance(record.get(column), list) for column in self.columns)

    def turns(self, record: Mapping[str, object]) -> Turns:
        """The turns of the first list, else of the first column."""
        lists = [column for column in self.columns if isinstance(record.get(column), list)]
        column = lists[0] if lists else self.column(record)
        return read_turns(record[column], column)
