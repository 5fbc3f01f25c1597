"""Multiple choice from a file of the user."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from fusionchat.evaluate.choice.file import read_questions
from fusionchat.evaluate.choice.question import Question
from fusionchat.evaluate.metric import Metric
from fusionchat.evaluate.tasks.base import PartSize, Subject
from fusionchat.evaluate.tasks.choice import ChoiceTask, choice_metric

if TYPE_CHECKING:
    from fusionchat.corpus.conversation import Conversation

BYTES_A_TOKEN = 4.0

MULTIPLE_CHOICE = choice_metric(
    "multiple_choice",
    "multiple choice",
    "Percent of questions whose right option the model finds most likely",
)


class MultipleChoice(ChoiceTask):
    """Whether the right option of a question is the most likely answer."""

    name: ClassVar[str] = "multiple_choice"
    metrics: ClassVar[tuple[Metric, ...]] = (MULTIPLE_CHOICE,)
    from_corpus: ClassVar[bool] = False

    path: str = Field(
        description=(
            "file with one question per line: `question` (or `messages`), `options`, `answer` (the index of "
            "the right option, from 0, or its text), optionally `domain` and `id`; JSON Lines (or .gz), JSON "
            "or Parquet"
        )
    )
    limit: int | None = Field(None, ge=1, description="at most this many questions, the first of the file")

    @property
    def reads(self) -> Mapping[str, str]:
        """The file with the questions."""
        return {"path": self.path}

    def refuse(self, files: Mapping[str, Path]) -> None:
        """Raise CorpusError if the file has no questions, or a record that is not one."""
        read_questions(files["path"])

    def tokens(self, part: PartSize, files: Mapping[str, Path]) -> float:
        """The tokens of a pass with each option of each question of the file."""
        questions = read_questions(files["path"])[: self.limit]
        texts = (one.conversation(option).messages for one in questions for option in range(len(one.options)))
        return sum(len(message.content) for messages in texts for message in messages) / BYTES_A_TOKEN

    def places(self, conversations: "Sequence[Conversation]") -> list[int]:
        """No places, since its questions are in the file."""
        return []

    def questions(self, subject: Subject) -> tuple[list[Question], int]:
        """The questions of the file."""
        return read_questions(subject.files[f"{self.name}.path"])[: self.limit], 0
