"""A recipe's YAML: exponents are numbers, ``on`` is a word, and a key given twice is an error."""

import re
from typing import Any

import yaml

from fusionchat.errors import RecipeError


class Loader(yaml.SafeLoader):
    """YAML 1.1 reads ``5e-6`` as a string and ``on`` as true, and allows a key twice; this one does not."""


Loader.yaml_implicit_resolvers = {
    first: [
        (tag, regex)
        for tag, regex in resolvers
        if tag not in ("tag:yaml.org,2002:float", "tag:yaml.org,2002:bool")
    ]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(
        r"^[-+]?(?:[0-9]+\.[0-9]*(?:[eE][-+]?[0-9]+)?|\.[0-9]+(?:[eE][-+]?[0-9]+)?|[0-9]+[eE][-+]?[0-9]+)$"
    ),
    list("-+.0123456789"),
)
Loader.add_implicit_resolver(
    "tag:yaml.org,2002:bool", re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF")
)


def _mapping(loader: yaml.SafeLoader, node: yaml.MappingNode) -> dict[object, object]:
    seen: set[object] = set()
    for key_node, _ in node.value:
        key = loader.construct_object(key_node, deep=True)
        if key in seen:
            raise RecipeError(
                f"The key {key!r} is given twice", where=_at(key_node.start_mark), do="remove one of them"
            )
        seen.add(key)
    return loader.construct_mapping(node, deep=True)


Loader.add_constructor("tag:yaml.org,2002:map", _mapping)


def _at(mark: yaml.Mark | None) -> str | None:
    return None if mark is None else f"{mark.name}, line {mark.line + 1}, column {mark.column + 1}"


def parse_yaml(text: str, *, name: str) -> dict[str, Any]:
    """A YAML mapping; raises RecipeError with the line where it is broken."""
    loader = Loader(text)
    loader.name = name
    try:
        value = loader.get_single_data()
    except yaml.MarkedYAMLError as error:
        raise RecipeError(
            f"This is not YAML: {error.problem}", where=_at(error.problem_mark) or name
        ) from error
    except yaml.YAMLError as error:
        raise RecipeError(f"This is not YAML: {error}", where=name) from error
    if not isinstance(value, dict):
        raise RecipeError(
            "A recipe is a mapping of keys to values", where=name, do="start from `fusionchat init`"
        )
    return value


def parse_value(text: str, *, where: str) -> object:
    """A single YAML value; raises RecipeError where the text is not YAML."""
    try:
        return yaml.load(text, Loader=Loader)
    except yaml.YAMLError as error:
        raise RecipeError(f"The value is not YAML: {error}", where=where) from error
