"""Instructions with their input, as in Alpaca, Dolly and their derivatives.

`{"instruction": ..., "input": ..., "output": ...}`.
"""

from collections.abc import Mapping
from typing import ClassVar

from fusionchat.corpus.formats.base import ANSWER_COLUMNS, Format, Turns
from fusionchat.corpus.formats.questions import question


class Alpaca(Format):
    """The input (or `context`) is written under the instruction; `history` comes before."""

    name: ClassVar[str] = "alpaca"
    priority: ClassVar[int] = 40
    columns: ClassVar[tuple[str, ...]] = ("instruction", "input")
    answers: ClassVar[tuple[str, ...]] = ANSWER_COLUMNS

    def fits(self, record: Mapping[str, object]) -> bool:
        """Whether there is an instruction; an input beside another question is that question's context."""
        return "instruction" in record

    def turns(self, record: Mapping[str, object]) -> Turns:
        """The instruction with its input, or the input alone if the instruction is empty."""
        column = self.column(record)
        return question(record, column)
