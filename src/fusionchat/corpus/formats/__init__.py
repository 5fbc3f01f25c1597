"""The shapes of records, one per file.

A new file here with a `Format` in it is a new format; nothing else changes.

`FormatName` has the values of a recipe's ``format``: ``auto`` uses the first format that fits each record,
and ``text`` is not a shape of records but a file of plain text (`fusionchat.corpus.files`).
"""

from typing import TYPE_CHECKING, Literal

from fusionchat.corpus.formats.base import Format
from fusionchat.discover import discover

_FOUND = [kind() for kind in discover(__name__, __path__, Format, key="name").values()]
FORMATS: dict[str, Format] = {one.name: one for one in sorted(_FOUND, key=lambda one: one.priority)}
"""Every format by name, in the order in which ``auto`` tries them."""

if TYPE_CHECKING:
    FormatName = str
else:
    FormatName = Literal["auto", *FORMATS, "text"]

__all__ = ["FORMATS", "Format", "FormatName"]
