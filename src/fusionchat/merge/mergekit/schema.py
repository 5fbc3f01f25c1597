"""mergekit's keys and types as frozen models, read as strictly as a recipe.

Each key is checked here on its own; how keys must fit each other and the merge method is checked in `config`
and `settings`.
"""

from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Discriminator,
    Field,
    Tag,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from fusionchat.errors import RecipeError
from fusionchat.merge.inputs.plan import Dtype
from fusionchat.merge.inputs.vocabulary.chat_templates import check_template
from fusionchat.merge.mergekit.kinds import KINDS
from fusionchat.mistakes import explain
from fusionchat.settings import Frozen, no_such_method

_DTYPES: dict[str, Dtype] = {"bfloat16": "bfloat16", "float16": "float16", "float32": "float32"}
_Any = TypeVar("_Any")
_BRANCHES = ("Text", "Folder", "Adapted", "Switch", "Number", "Gradient", "Filters")


class Folder(Frozen):
    """A model in mergekit's own form: ``{path: a, revision: r}`` is ``a@r``."""

    path: str
    revision: str | None = None

    def __str__(self) -> str:
        return f"{self.path}@{self.revision}" if self.revision else self.path


class Adapted(Frozen):
    """A model, perhaps with an adapter: ``{model: {path: a}, lora: {path: b}}`` is ``a+b``."""

    model: "Reference"
    lora: "Reference | None" = None

    def __str__(self) -> str:
        return f"{self.model}+{self.lora}" if self.lora else str(self.model)


def _form_of_reference(value: object) -> str:
    if isinstance(value, Folder | Adapted):
        return type(value).__name__
    return ("Folder" if "path" in value else "Adapted") if isinstance(value, dict) else "Text"


Reference = Annotated[
    Annotated[str, Tag("Text")] | Annotated[Folder, Tag("Folder")] | Annotated[Adapted, Tag("Adapted")],
    Discriminator(_form_of_reference),
]
"""A model in any of mergekit's forms; ``str`` of it is what `merge.inputs.references` takes."""


class Filter(Frozen):
    """A value for the tensors whose name contains ``filter``; for all if that is ``*`` or missing."""

    filter: str | None = None
    value: "Value"


def _no_switch(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError(f"must be a number, not {str(value).lower()}")
    return value


def _form_of_value(value: object) -> str:
    if isinstance(value, bool):
        return "Switch"
    if isinstance(value, dict | Filter):
        return "Filters"
    if isinstance(value, list | tuple):
        return "Filters" if value and all(isinstance(entry, dict | Filter) for entry in value) else "Gradient"
    return "Number"


def _listed(value: object) -> object:
    return [value] if isinstance(value, dict) else value


def _some(entries: tuple[_Any, ...]) -> tuple[_Any, ...]:
    if not entries:
        raise ValueError("needs at least one entry")
    return entries


Number = Annotated[float, BeforeValidator(_no_switch), Field(allow_inf_nan=False)]
"""A number, perhaps in quotes: mergekit reads YAML 1.1, in which 1e-5 is a word."""
Value = Annotated[
    Annotated[bool, Tag("Switch")]
    | Annotated[Number, Tag("Number")]
    | Annotated[tuple[Number, ...], AfterValidator(_some), Tag("Gradient")]
    | Annotated[tuple[Filter, ...], BeforeValidator(_listed), Tag("Filters")],
    Discriminator(_form_of_value),
]
"""A setting: one value, a gradient over the layers, or either of them by filter."""
Parameters = dict[str, Value] | None


def parts(reference: Reference) -> tuple[str, str | None]:
    """A model of a merge and, if it is an adapter (``model+adapter``), the model that it belongs to.

    Raises:
        ValueError: It has a plus sign, but is neither an existing folder nor one model and one adapter.
    """
    text = str(reference)
    if "+" not in text or Path(text).exists():
        return text, None
    over, _, model = text.partition("+")
    if not over or not model or "+" in model:
        raise ValueError("a model with an adapter is MODEL+ADAPTER")
    return model, over


class Entry(Frozen):
    """A model of a merge of whole models."""

    model: Reference
    parameters: Parameters = None

    @model_validator(mode="before")
    @classmethod
    def _no_word(cls, value: object) -> object:
        if isinstance(value, str):
            raise ValueError(f"write it as `model: {value}`")
        return value

    @field_validator("model")
    @classmethod
    def _has_parts(cls, model: Reference) -> Reference:
        parts(model)
        return model


def _span(span: tuple[int, int]) -> tuple[int, int]:
    if not 0 <= span[0] < span[1]:
        raise ValueError(f"a layer range is [first, end), at least one layer, not {list(span)}")
    return span


class LayerEntry(Entry):
    """A model of a slice, and which of its layers."""

    layer_range: Annotated[tuple[int, int], AfterValidator(_span)]


_AnyEntry = TypeVar("_AnyEntry", bound=Entry)


def _once(entries: tuple[_AnyEntry, ...]) -> tuple[_AnyEntry, ...]:
    """The same entries; raises ValueError if a model is named twice.

    Only one of its settings could be used.
    """
    names = [parts(entry.model)[0] for entry in entries]
    twice = next((name for n, name in enumerate(names) if name in names[:n]), None)
    if twice is not None:
        raise ValueError(f"{twice} is named twice: name it once, with the weight of both, or use two slices")
    return entries


class SliceEntry(Frozen):
    """Some layers of the fused model, and the layers of models that they are merged from."""

    sources: Annotated[tuple[LayerEntry, ...], AfterValidator(_some), AfterValidator(_once)]
    parameters: Parameters = None

    @field_validator("sources")
    @classmethod
    def _same_length(cls, sources: tuple[LayerEntry, ...]) -> tuple[LayerEntry, ...]:
        if len({end - first for first, end in (source.layer_range for source in sources)}) != 1:
            raise ValueError("the sources have different numbers of layers; make them equal")
        return sources


def _unsupported(value: object) -> None:
    if value is not None:
        raise ValueError("FusionChat does not support this key of mergekit's; remove it")


Unsupported = Annotated[None, BeforeValidator(_unsupported)]


class TokenizerEntry(Frozen):
    """The longer way to say where the tokenizer comes from."""

    source: Reference = "union"
    tokens: Unsupported = None
    pad_to_multiple_of: Unsupported = None


class MergekitFile(Frozen):
    """A mergekit configuration."""

    merge_method: str
    name: str | None = None
    models: Annotated[tuple[Entry, ...], AfterValidator(_some), AfterValidator(_once)] | None = None
    slices: Annotated[tuple[SliceEntry, ...], AfterValidator(_some)] | None = None
    base_model: Reference | None = None
    parameters: Parameters = None
    out_dtype: str | None = None
    dtype: str | None = None
    tokenizer_source: Reference | None = None
    tokenizer: TokenizerEntry | None = None
    chat_template: Annotated[str | None, AfterValidator(check_template)] = None
    modules: Unsupported = None

    @property
    def stored(self) -> Dtype | None:
        """The dtype of the fused model's files; None if the file does not say."""
        name = self.out_dtype or self.dtype
        return _DTYPES[name] if name else None

    @field_validator("merge_method")
    @classmethod
    def _is_known(cls, name: str) -> str:
        if name not in KINDS:
            raise ValueError(no_such_method(name, sorted(KINDS)))
        return name

    @field_validator("out_dtype", "dtype")
    @classmethod
    def _can_be_stored(cls, name: str | None, info: ValidationInfo) -> str | None:
        counts = info.field_name == "out_dtype" or not info.data.get(
            "out_dtype"
        )  # computation is always in float64
        if counts and name is not None and name not in _DTYPES:
            raise ValueError(f"must be one of {', '.join(_DTYPES)}, not {name!r}")
        return name

    @field_validator("tokenizer")
    @classmethod
    def _is_said_once(cls, value: TokenizerEntry | None, info: ValidationInfo) -> TokenizerEntry | None:
        if value is not None and info.data.get("tokenizer_source") is not None:
            raise ValueError("use either `tokenizer_source` or `tokenizer`")
        return value

    @model_validator(mode="after")
    def _has_models(self) -> "MergekitFile":
        if (self.models is None) == (self.slices is None):
            raise ValueError("use either `models` or `slices`")
        return self


def validated(tree: dict[str, Any], *, name: str) -> MergekitFile:
    """A configuration from its tree; raises RecipeError with all mistakes, each with its YAML path."""
    try:
        return MergekitFile.model_validate(tree)
    except ValidationError as error:
        raise RecipeError(
            explain(error, MergekitFile.model_json_schema(), _BRANCHES),
            where=name,
            do="see docs/merge_methods.md for the supported keys of mergekit's files",
        ) from error
