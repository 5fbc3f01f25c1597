"""Settings of answers: how tokens are drawn, where answers are cut, what of a dialogue is answered."""

from typing import ClassVar, Literal

from pydantic import Field, model_validator

from fusionchat.settings import Frozen

AnswerTurns = Literal["last", "each"]


class Sampling(Frozen):
    """How answers are drawn. At the defaults a token is drawn from the model's own distribution."""

    temperature: float = Field(
        1.0,
        ge=0,
        description="sampling temperature; 0 takes the most likely token each time",
    )
    top_p: float = Field(
        1.0,
        gt=0,
        le=1,
        description="sample from the fewest tokens that together have this probability (top-p)",
    )
    max_new_tokens: int = Field(512, ge=1, description="longest answer in tokens; longer ones are cut")
    turns: AnswerTurns = Field(
        "last",
        description="last: the last question is answered, with the dialogue before it as it is; each: every question of a "
        "dialogue is answered, after the model's own answers to those before",
    )


class RoundsSettings(Sampling):
    """Rounds of training: from the second on, targets are trained further on their own answers.

    In every round after the first each target answers a share of the corpus's questions, the pivot and its source score these
    answers, and the target learns their distributions (on-policy distillation). ``rounds: 2`` is short for ``rounds: {n: 2}``.
    """

    short: ClassVar[str] = "n"

    n: int = Field(
        1, ge=1, description="rounds of training; 1: targets are trained once, on the corpus alone"
    )
    share: float = Field(
        0.5,
        gt=0,
        le=1,
        description="share of the training part whose answers are the target's own in a later round; the others stay as they are",
    )
    epochs: float = Field(
        1, gt=0, description="passes over the training part in a later round; may be a fraction"
    )

    @property
    def sampling(self) -> Sampling:
        """How answers are drawn."""
        return Sampling(**self.model_dump(include=set(Sampling.model_fields)))

    @model_validator(mode="before")
    @classmethod
    def _from_number(cls, value: object) -> object:
        return {"n": value} if isinstance(value, int) else value
