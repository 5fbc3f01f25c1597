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
        description="sample from the smallest set of tokens with this total probability (top-p)",
    )
    max_new_tokens: int = Field(512, ge=1, description="longest answer in tokens; longer ones are cut")
    turns: AnswerTurns = Field(
        "last",
        description=(
            "last: answer the last question, after the dialogue as it is; each: answer every question of a "
            "dialogue, after the model's own earlier answers"
        ),
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
        description="share of the training part that has the target's own answers in a later round; the rest is unchanged",
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
