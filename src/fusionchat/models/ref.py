"""Which model a recipe means: a folder or a hub id, its tokenizer, its template.

Nothing is decided from a model's name but what `hub.find` does.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import JsonValue

from fusionchat.corpus.jinja import pick
from fusionchat.corpus.thoughts import Thinking
from fusionchat.errors import ModelError
from fusionchat.hub import GGUF, Place, find
from fusionchat.models.settings import ModelSpec
from fusionchat.models.template_files import read_template


@dataclass(frozen=True)
class ModelRef:
    """A model as a recipe means it, with every path resolved.

    Attributes:
        name: Its name in the run: "pivot" or the source's.
        model: A folder, a GGUF file or a hub id, as `find` takes it.
        tokenizer: The same.
        revision: The revision on the hub.
        template: Jinja source that replaces the tokenizer's own template, or None.
        borrows: The model whose template it uses instead, or None.
        thinking: Whether it sees the thoughts that the corpus keeps.
        variables: What its chat template is given besides the conversation.
    """

    name: str
    model: str
    tokenizer: str
    revision: str | None = None
    template: str | None = None
    borrows: "ModelRef | None" = None
    thinking: Thinking = "keep"
    variables: Mapping[str, JsonValue] = field(default_factory=dict)

    @property
    def place(self) -> Place:
        """Where the model is."""
        return find(self.model, revision=self.revision)

    @property
    def tokenizer_place(self) -> Place:
        """Where its tokenizer is."""
        return find(self.tokenizer, revision=self.revision)


def resolve(specs: Mapping[str, ModelSpec], folder: str) -> dict[str, ModelRef]:
    """The models of a recipe by name.

    Args:
        specs: The pivot first, then the sources.
        folder: What paths are relative to: the recipe's folder.

    Raises:
        ModelError: A path that looks like a folder is not there, or a template file cannot be read.
    """
    refs: dict[str, ModelRef] = {}
    for name, spec in specs.items():
        where = "pivot" if name == "pivot" else f"sources.{name}"
        model = locate(spec.model, folder, where=f"{where}.model")
        tokenizer = locate(spec.tokenizer, folder, where=f"{where}.tokenizer") if spec.tokenizer else model
        template = _template(spec, folder, where)
        borrows = refs["pivot"] if spec.template == "pivot" else None
        lent = {} if borrows is None else borrows.variables
        refs[name] = ModelRef(
            name,
            model,
            tokenizer,
            spec.revision,
            template,
            borrows,
            spec.thinking or "keep",
            {**lent, **spec.template_variables},
        )
    return refs


def locate(name: str, folder: str, *, where: str) -> str:
    """The folder or GGUF file a name means (relative to the recipe's), or the name itself if it can be a hub id."""
    place = find(name, folder)
    if place.file is None and name.endswith(GGUF):
        raise ModelError(
            f"There is no such GGUF file: {name}",
            where=where,
            do="check the path, which is relative to the recipe's folder; a file on the hub is OWNER/NAME:FILE.gguf",
        )
    if place.path is None and place.hub_id is None:
        raise ModelError(
            f"There is no such model folder: {name}",
            where=where,
            do="check the path; it is relative to the recipe's folder",
        )
    return place.given


def _template(spec: ModelSpec, folder: str, where: str) -> str | None:
    if spec.template in ("own", "pivot"):
        return None
    path = Path(folder) / spec.template
    try:
        return pick(read_template(path), where)
    except (OSError, UnicodeDecodeError) as error:
        raise ModelError(
            f"The chat template cannot be read: {spec.template}",
            where=f"{where}.template",
            do="give own, pivot, or a Jinja file relative to the recipe",
        ) from error
