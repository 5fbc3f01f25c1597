"""YAML 1.2: exponents are numbers, ``on`` and dates are words, duplicate keys are errors.

The error names the line.
"""

import math
from io import StringIO
from typing import Any

from ruamel.yaml import YAML, Node, ScalarNode
from ruamel.yaml.constructor import DuplicateKeyError, SafeConstructor
from ruamel.yaml.error import MarkedYAMLError, StringMark, YAMLError
from ruamel.yaml.representer import SafeRepresenter

from fusionchat.errors import RecipeError

_BOOLEANS_1_1 = {"yes": True, "on": True, "no": False, "off": False}


class _Words(SafeConstructor):
    """Dates stay words, as in YAML 1.2's core schema: a run may be named 2026-11-28."""


class _Mergekit(_Words):
    """Plain ``yes``, ``on``, ``no`` and ``off`` are booleans, too, because mergekit reads YAML 1.1."""

    def construct_scalar(self, node: ScalarNode) -> Any:
        """The word, or the boolean that it is in YAML 1.1."""
        value = super().construct_scalar(node)
        if node.style is None and value in (
            word for low in _BOOLEANS_1_1 for word in (low, low.title(), low.upper())
        ):
            return _BOOLEANS_1_1[value.lower()]
        return value


_Words.add_constructor("tag:yaml.org,2002:timestamp", SafeConstructor.construct_yaml_str)


class _Both(SafeRepresenter):
    """Writes values that YAML 1.1 and 1.2 read the same way: 5.0e-06, 'on'."""


def _number(writer: SafeRepresenter, value: float) -> ScalarNode:
    text = repr(value)
    if not math.isfinite(value):
        return writer.represent_float(value)
    mantissa, e, exponent = text.partition("e")
    return writer.represent_scalar(
        "tag:yaml.org,2002:float", (mantissa if "." in mantissa else f"{mantissa}.0") + e + exponent
    )


def _word(writer: SafeRepresenter, value: str) -> ScalarNode:
    quoted = "'" if value.lower() in _BOOLEANS_1_1 else None
    return writer.represent_scalar("tag:yaml.org,2002:str", value, style=quoted)


_Both.add_representer(float, _number)
_Both.add_representer(str, _word)


def _reader(constructor: type[SafeConstructor] = _Words) -> YAML:
    reader = YAML(typ="safe", pure=True)
    reader.Constructor = constructor
    return reader


def parse_yaml(text: str, *, name: str) -> dict[str, Any]:
    """The mapping in a YAML text; raises RecipeError with the line where it is broken."""
    try:
        value = _reader().load(text)
    except YAMLError as error:
        raise _refusal(error, name) from error
    if not isinstance(value, dict):
        raise RecipeError(
            "A recipe must be a mapping of keys to values", where=name, do="start from `fusionchat init`"
        )
    return value


def parse_value(text: str, *, where: str) -> Any:
    """A single YAML value; raises RecipeError if the text is not YAML."""
    try:
        return _reader().load(text)
    except YAMLError as error:
        raise RecipeError(f"The value is not YAML: {_problem(error)}", where=where) from error


def parse_mergekit(text: str, *, name: str) -> list[Any]:
    """A file's documents as mergekit reads them; raises RecipeError with the line where it is broken.

    mergekit reads YAML 1.1, so ``on`` and ``yes`` are booleans here, too. Unlike there, ``1e-5`` is a number
    (mergekit converts the word later), ``012`` is 12, not 10, and a duplicate key is an error, where mergekit
    uses the last one.
    """
    try:
        return list(_reader(_Mergekit).load_all(text))
    except YAMLError as error:
        raise _refusal(error, name) from error


def entries(text: str) -> Node | None:
    """The nodes of a YAML text, with their places in it; None if it is empty."""
    return YAML(pure=True).compose(text)


def to_yaml(value: object) -> str:
    """YAML text of plain values, keys in the order given; YAML 1.1 and 1.2 read its numbers alike."""
    writer: Any = YAML(typ="safe", pure=True)  # its settings are annotated with the types of their defaults
    writer.Representer, writer.width = _Both, 4096
    writer.default_flow_style, writer.allow_unicode, writer.sort_base_mapping_type_on_output = (
        False,
        True,
        False,
    )
    out = StringIO()
    writer.dump(value, out)
    return out.getvalue()


def _refusal(error: YAMLError, name: str) -> RecipeError:
    if isinstance(error, DuplicateKeyError):
        key = str(error.problem).split('"')[1]
        return RecipeError(
            f"The key {key!r} is given twice", where=_at(error.problem_mark, name), do="remove one of them"
        )
    where = _at(error.problem_mark, name) if isinstance(error, MarkedYAMLError) else name
    return RecipeError(f"This is not YAML: {_problem(error)}", where=where)


def _problem(error: YAMLError) -> str:
    return str(error.problem) if isinstance(error, MarkedYAMLError) and error.problem else str(error)


def _at(mark: StringMark | None, name: str) -> str:
    return name if mark is None else f"{name}, line {mark.line + 1}, column {mark.column + 1}"
