"""Which model a recipe means: a folder or a hub id, its tokenizer, its template.

Nothing is decided from a model's name except in `hub.find`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from pydantic import JsonValue

from fusionchat.corpus.jinja import pick
from fusionchat.corpus.thoughts import Thinking
from fusionchat.errors import ModelError
from fusionchat.hub import GGUF, Place, find
from fusionchat.models.files import ADAPTER
from fusionchat.models.settings import ModelSpec
from fusionchat.models.template_files import read_template


@dataclass(frozen=True)
class ModelRef:
    """A model as a recipe means it, with every path resolved.

    Attributes:
        name: Its name in the run: "pivot" or the source's.
        model: A folder, a GGUF file or a hub id, as `find` takes it.
        tokenizer: The same for its tokenizer.
        revision: The revision on the hub.
        template: Jinja source that replaces the tokenizer's own template, or None.
        borrows: The model whose template it uses instead, or None.
        thinking: Whether it sees the thoughts in the corpus.
        variables: What its chat template gets besides the conversation.
        adapter: A peft adapter on top of it: a folder or a hub id, with ``@REVISION``; None for none.
        own_code: Whether the Python files that come with it are run.
    """

    name: str
    model: str
    tokenizer: str
    revision: str | None = None
    template: str | None = None
    borrows: "ModelRef | None" = None
    thinking: Thinking = "keep"
    variables: Mapping[str, JsonValue] = field(default_factory=dict)
    adapter: str | None = None
    own_code: bool = False

    @property
    def place(self) -> Place:
        """Where the model is."""
        return find(self.model, revision=self.revision)

    @property
    def tokenizer_place(self) -> Place:
        """Where its tokenizer is."""
        return find(self.tokenizer, revision=self.revision)

    @property
    def where(self) -> str:
        """Its path in a recipe."""
        return self.name if self.name == "pivot" else f"sources.{self.name}"

    @property
    def adapter_place(self) -> Place | None:
        """Where its adapter is; None for none."""
        if self.adapter is None:
            return None
        name, _, revision = self.adapter.partition("@")
        whole = find(self.adapter)
        return whole if whole.path is not None else find(name, revision=revision or None)


def resolve(specs: Mapping[str, ModelSpec], folder: str) -> dict[str, ModelRef]:
    """The models of a recipe by name.

    Args:
        specs: The pivot first, then the sources.
        folder: The recipe's folder, which paths are relative to.

    Raises:
        ModelError: A path that looks like a folder does not exist, or a template file cannot be read.
    """
    refs: dict[str, ModelRef] = {}
    for name, spec in specs.items():
        where = "pivot" if name == "pivot" else f"sources.{name}"
        model = locate(spec.model, folder, where=f"{where}.model")
        tokenizer = locate(spec.tokenizer, folder, where=f"{where}.tokenizer") if spec.tokenizer else model
        if name == "pivot" and spec.trust_remote_code:
            raise ModelError(
                "The pivot's own Python files cannot be run: targets and the fused model are opened without them",
                where="pivot.trust_remote_code",
                do="use a pivot whose structure transformers has; a source may bring its own files",
            )
        adapter = _adapter(spec, folder, f"{where}.adapter")
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
            adapter,
            spec.trust_remote_code,
        )
    return refs


def made_of(pivot: ModelRef, folder: Path, name: str) -> ModelRef:
    """A model or an adapter in a run's folder that was made from the pivot, with the tokenizer beside it."""
    place = str(folder)
    if (folder / ADAPTER).is_file():
        return replace(pivot, name=name, adapter=place, tokenizer=place)
    return replace(pivot, name=name, model=place, tokenizer=place, revision=None)


def trained_as(ref: ModelRef, folder: Path, *, adapter: bool) -> ModelRef:
    """A model with the result of its training in a folder: an adapter, or all weights.

    It keeps its own tokenizer.
    """
    return replace(ref, adapter=str(folder)) if adapter else replace(ref, model=str(folder))


def locate(name: str, folder: str, *, where: str) -> str:
    """The folder or GGUF file that a name means, or the name itself if it can be a hub id.

    Paths are relative to the recipe's folder.
    """
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


def _adapter(spec: ModelSpec, folder: str, where: str) -> str | None:
    """An adapter's folder, or its id with ``@REVISION``; None for none."""
    if spec.adapter is None:
        return None
    whole = find(spec.adapter, folder)
    if whole.path is not None and whole.file is None:
        return whole.name
    name, mark, revision = spec.adapter.partition("@")
    return locate(name, folder, where=where) + mark + revision


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
            do="use own, pivot, or a Jinja file relative to the recipe",
        ) from error
