"""A prompt and its completion, as TRL has them, and preferences with a prompt.

`{"prompt": ..., "completion": ...}`.
"""

from collections.abc import Mapping
from typing import ClassVar

from fusionchat.corpus.formats.base import ANSWER_COLUMNS, Format, Turns
from fusionchat.corpus.formats.questions import question


class PromptCompletion(Format):
    """The prompt is a text or a list of turns; so is the answer."""

    name: ClassVar[str] = "prompt_completion"
    priority: ClassVar[int] = 50
    columns: ClassVar[tuple[str, ...]] = ("prompt",)
    answers: ClassVar[tuple[str, ...]] = ANSWER_COLUMNS

    def turns(self, record: Mapping[str, object]) -> Turns:
        """The prompt."""
        column = self.column(record)
        return question(record, column)
