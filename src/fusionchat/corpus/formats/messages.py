"""Turns under `messages`: `{"messages": [{"role": ..., "content": ...}, ...]}`."""

from collections.abc import Mapping
from typing import ClassVar

from fusionchat.corpus.formats.base import Format, Turns
from fusionchat.corpus.formats.lists import read_turns


class Messages(Format):
    """OpenAI's and the Hugging Face hub's shape; turns may have ShareGPT's keys, too."""

    name: ClassVar[str] = "messages"
    priority: ClassVar[int] = 10
    columns: ClassVar[tuple[str, ...]] = ("messages",)

    def turns(self, record: Mapping[str, object]) -> Turns:
        """The turns of the list."""
        column = self.column(record)
        return read_turns(record[column], column)
