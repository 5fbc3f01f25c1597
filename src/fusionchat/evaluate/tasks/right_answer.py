"""The right answer among answers of other items (GSM8K's held-out problems, for example)."""

from typing import ClassVar

from fusionchat.evaluate.choice.draw import shorten
from fusionchat.evaluate.choice.question import Exchange
from fusionchat.evaluate.metric import Metric
from fusionchat.evaluate.tasks.choice import HeldOutTask, choice_metric

RIGHT_ANSWER = choice_metric(
    "right_answer",
    "right answer",
    "Percent of held-out questions whose own answer the model finds most likely",
)


class RightAnswer(HeldOutTask):
    """Whether a held-out answer is likelier than answers to other questions of its domain."""

    name: ClassVar[str] = "right_answer"
    metrics: ClassVar[tuple[Metric, ...]] = (RIGHT_ANSWER,)
    needs: ClassVar[str] = "dialogues that end with an answer"

    def question(self, one: Exchange) -> tuple[str, str, str] | None:
        """An empty given part, and the beginning of the answer as the option."""
        return "", "", shorten(one.answer, self.max_bytes)
