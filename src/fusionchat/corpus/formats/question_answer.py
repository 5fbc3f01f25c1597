"""A question and its answer: `{"question": ..., "answer": ...}`.

As in GSM8K, OpenOrca and MetaMath (`query`).
"""

from collections.abc import Mapping
from typing import ClassVar

from fusionchat.corpus.formats.base import ANSWER_COLUMNS, Format, Turns
from fusionchat.corpus.formats.questions import question


class QuestionAnswer(Format):
    """Where another column holds the response, `answer` is what a reply is checked by."""

    name: ClassVar[str] = "question_answer"
    priority: ClassVar[int] = 60
    columns: ClassVar[tuple[str, ...]] = ("question", "query")
    answers: ClassVar[tuple[str, ...]] = ANSWER_COLUMNS

    def turns(self, record: Mapping[str, object]) -> Turns:
        """The question."""
        column = self.column(record)
        return question(record, column)
