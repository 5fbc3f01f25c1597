"""An input and its output and nothing else: `{"input": ..., "output": ...}`."""

from collections.abc import Mapping
from typing import ClassVar

from fusionchat.corpus.formats.base import ANSWER_COLUMNS, Format, Turns
from fusionchat.corpus.formats.questions import question


class InputOutput(Format):
    """An input and its output; tried last, since Alpaca records with an empty instruction fit, too."""

    name: ClassVar[str] = "input_output"
    priority: ClassVar[int] = 70
    columns: ClassVar[tuple[str, ...]] = ("input",)
    answers: ClassVar[tuple[str, ...]] = ANSWER_COLUMNS

    def turns(self, record: Mapping[str, object]) -> Turns:
        """The input."""
        column = self.column(record)
        return question(record, column)
