"""Settings of a model: where it is, and how its chat template is found."""

from typing import ClassVar

from pydantic import Field, JsonValue, field_validator

from fusionchat.corpus.thoughts import Thinking
from fusionchat.corpus.variables import refuse_names
from fusionchat.settings import Named


class ModelSpec(Named):
    """A model: a folder (relative to the recipe) or a hub id, and how its chat template is found."""

    short: ClassVar[str] = "model"

    model: str = Field(
        description="folder or GGUF file, relative to the recipe file, or Hugging Face hub id (`OWNER/NAME`, "
        "`OWNER/NAME:FILE.gguf`)"
    )
    revision: str | None = Field(None, description="branch, tag or commit on the hub")
    tokenizer: str | None = Field(
        None, description="folder, GGUF file or hub id of the tokenizer, if not the model's"
    )
    adapter: str | None = Field(
        None,
        description="a peft adapter on top of the model: folder, or hub id (`OWNER/NAME`, `OWNER/NAME@REVISION`)",
    )
    trust_remote_code: bool = Field(
        False,
        description="run the Python files that come with this source; for a hub id only with `revision` set to a commit",
    )
    template: str = Field(
        "own",
        description="own | pivot | a Jinja file (or JSON with `chat_template`), relative to the recipe file",
    )
    thinking: Thinking | None = Field(
        None,
        description="drop: this model sees no thoughts; it is scored and compared without them",
    )
    template_variables: dict[str, JsonValue] = Field(
        {},
        description=(
            "values for variables of the chat template, such as `enable_thinking: false`; with `template: "
            "pivot` the pivot's apply, too. The fused model's template has the pivot's as defaults"
        ),
    )

    @field_validator("template_variables")
    @classmethod
    def _variables(cls, value: dict[str, JsonValue]) -> dict[str, JsonValue]:
        refuse_names(value)
        return value
