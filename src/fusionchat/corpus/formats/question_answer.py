"""A question and its answer: `{"question": ..., "answer": ...}`.

This is the shape of GSM8K, OpenOrca and MetaMath (`query`).
"""

from collections.abc import Mapping
from typing import ClassVar

from fusionchat.corpus.formats.base import ANSWER_COLUMNS, Format, Turns
from fusionchat.corpus.formats.questions import question


class QuestionAnswer(Format):
    """A question; if another column has the response, `answer` is for checking replies."""

    name: ClassVar[str] = "question_answer"
    priority: ClassVar[int] = 60
    columns: ClassVar[tuple[str, ...]] = ("question", "query")
    answers: ClassVar[tuple[str, ...]] = ANSWER_COLUMNS

    def turns(self, record: Mapping[str, object]) -> Turns:
        """The question."""
        column = self.column(record)
        return question(record, column)
