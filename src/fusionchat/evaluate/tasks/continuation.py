"""The right continuation of an answer (code, for example) among those of other items."""

from typing import ClassVar

from pydantic import Field

from fusionchat.evaluate.choice.draw import divide, shorten
from fusionchat.evaluate.choice.question import Exchange
from fusionchat.evaluate.metric import Metric
from fusionchat.evaluate.tasks.choice import HeldOutTask, choice_metric

CONTINUATION = choice_metric(
    "continuation",
    "right continuation",
    "Percent of held-out answers whose own next words the model finds most likely",
)


class Continuation(HeldOutTask):
    """Whether a held-out answer's own continuation is likelier than those of others of its domain."""

    name: ClassVar[str] = "continuation"
    metrics: ClassVar[tuple[Metric, ...]] = (CONTINUATION,)
    needs: ClassVar[str] = "dialogues that end with an answer of several words"

    given: float = Field(
        0.5,
        gt=0,
        lt=1,
        description="share of the answer given to the model, up to a line end if it has several lines",
    )
    max_bytes: int = Field(
        24, ge=4, description="longest option in UTF-8 bytes; longer ones are cut after a word"
    )

    def question(self, one: Exchange) -> tuple[str, str, str] | None:
        """The first part of the answer as given, and the beginning of the rest as the option."""
        parts = divide(one.answer, self.given)
        if parts is None:
            return None
        given, space, rest = parts
        return given, space, shorten(rest, self.max_bytes)
