"""Turns under `conversations`: `{"conversations": [{"from": "human", "value": ...}, ...]}`."""

from collections.abc import Mapping
from typing import ClassVar

from fusionchat.corpus.formats.base import Format, Turns
from fusionchat.corpus.formats.lists import read_turns


class ShareGPT(Format):
    """ShareGPT's shape; turns may have role and content, too."""

    name: ClassVar[str] = "sharegpt"
    priority: ClassVar[int] = 20
    columns: ClassVar[tuple[str, ...]] = ("conversations",)

    def turns(self, record: Mapping[str, object]) -> Turns:
        """The turns of the list."""
        column = self.column(record)
        return read_turns(record[column], column)
