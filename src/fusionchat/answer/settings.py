"""Settings of answers: how their tokens are drawn, where they are cut, and what of a dialogue is answered."""

from typing import Literal

from pydantic import Field

from fusionchat.settings import Frozen

AnswerTurns = Literal["last", "each"]


class Sampling(Frozen):
    """How answers are drawn. At the defaults a token is drawn from the model's own distribution."""

    temperature: float = Field(1.0, ge=0, description="0 takes the most likely token each time")
    top_p: float = Field(
        1.0, gt=0, le=1, description="draw from the fewest tokens that have this mass together"
    )
    max_new_tokens: int = Field(512, ge=1, description="where an answer is cut")
    turns: AnswerTurns = Field(
        "last",
        description="last: the last question is answered, with the dialogue before it as it is; each: every question of a "
        "dialogue is answered, after the model's own answers to those before",
    )
