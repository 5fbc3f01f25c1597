"""Settings of the evaluation."""

from pydantic import Field, field_validator

from fusionchat.settings import AnyDtype, Frozen, with_group


class ExactMatchSettings(Frozen):
    """Greedy answers compared with the records' ``answer``."""

    answer_pattern: str = Field(
        r"(?s)(.*)", description="regular expression; group 1 of its last match is the answer"
    )
    max_new_tokens: int = Field(256, ge=1, description="most tokens of a reply, its thought included")
    limit: int | None = Field(None, ge=1, description="at most this many conversations")

    @field_validator("answer_pattern")
    @classmethod
    def _pattern(cls, value: str) -> str:
        return with_group(value)


class EvaluateSettings(Frozen):
    """What is measured on the test part: held-out bits per byte always, exact match if asked for."""

    exact_match: ExactMatchSettings | None = None
    dtype: AnyDtype = Field(
        "auto",
        description="dtype models are evaluated in, whatever they were captured in; auto as in `represent.dtype`",
    )
