"""The mistakes in a YAML file in plain words: the path, what was given, what was perhaps meant."""

import re
from collections.abc import Collection
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any, NamedTuple

from pydantic import ValidationError

from fusionchat.settings import meant, no_such_method

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

Schema = dict[str, Any]
SHOWN_MISTAKES = 8
WORDS = (
    ("a valid dictionary", "a mapping"),
    ("a valid tuple", "a list"),
    ("a valid integer", "a whole number"),
    ("a valid number", "a number"),
    ("a valid string", "text"),
    ("a valid boolean", "true or false"),
    ("greater than or equal to", "at least"),
    ("less than or equal to", "at most"),
)
"""Pydantic's words with the recipe's words for them."""


@dataclass(frozen=True)
class Wrong:
    """A value of a wrong type, which any validation refuses; it knows its place."""

    value: object


class _Tree(NamedTuple):
    """A file's JSON schema, and the parts of pydantic's paths that YAML paths lack."""

    schema: Schema
    branches: frozenset[str]

    def is_branch(self, part: str | int) -> bool:
        """Whether a part of a path is pydantic's name of a union's branch."""
        return part in self.branches or str(part).startswith("tuple[")


def explain(error: ValidationError, schema: Schema, branches: Collection[str] = ()) -> str:
    """All mistakes, one per line, below a title.

    Args:
        error: What pydantic found.
        schema: The JSON schema of the whole file.
        branches: pydantic's names of unions' branches, which are in its paths but not in YAML paths.
    """
    tree = _Tree(schema, frozenset(branches) | _methods(schema))
    lines = []
    for mistake in _of_the_chosen_branch(error.errors()):
        path = ".".join(str(part) for part in mistake["loc"] if part != "[key]" and not tree.is_branch(part))
        said = _say(mistake, tree)
        joint = "" if said.startswith(".") or not path else ": "  # ".key: ..." refers to a key below
        lines.append(f"  {path}{joint}{said}")
    lines = list(dict.fromkeys(lines))
    title = "There are mistakes:" if len(lines) > 1 else "There is a mistake:"
    more = [f"  and {len(lines) - SHOWN_MISTAKES} more"] if len(lines) > SHOWN_MISTAKES else []
    return "\n".join([title, *lines[:SHOWN_MISTAKES], *more])


def _say(mistake: "ErrorDetails", tree: _Tree) -> str:
    """One mistake in our words: what is wrong, what was given, what was perhaps meant."""
    kind, given = mistake["type"], mistake["input"]
    given = given.value if isinstance(given, Wrong) else given
    if mistake["loc"][-1:] == ("[key]",):
        return f"a name is text: write {str(given)!r} in quotes"
    if kind in {"extra_forbidden", "unexpected_keyword_argument"}:
        return "there is no such key" + _did_you_mean(mistake["loc"], tree)
    if kind == "missing":
        return "this key is missing"
    if kind == "union_tag_invalid":
        context = mistake["ctx"]
        return no_such_method(context["tag"], re.findall(r"'(\w+)'", context["expected_tags"]))
    if kind == "union_tag_not_found":
        return "say which method it is for: {method: NAME, ...}"
    message = mistake["msg"].removeprefix("Value error, ").replace("Input should be", "must be")
    message = re.sub(r", (unable to|got a) .*", "", message)
    message = re.sub(r"a (valid )?dictionary or (an )?(instance of \w+|object .*)", "a mapping", message)
    for theirs, ours in WORDS:
        message = message.replace(theirs, ours)
    given = str(given) if isinstance(given, date) else given
    shown = isinstance(given, str | int | float) and kind != "value_error"
    return f"{message}, not {given!r}" if shown else message


def _of_the_chosen_branch(mistakes: "list[ErrorDetails]") -> "list[ErrorDetails]":
    """The mistakes without those of a union's branches other than the given ``method``'s."""
    other = {m["loc"][:-1] for m in mistakes if m["type"] == "literal_error" and m["loc"][-1] == "method"}
    return [m for m in mistakes if not any(m["loc"][: len(branch)] == branch for branch in other)]


def _methods(schema: Schema) -> frozenset[str]:
    return frozenset(name for kind in schema.get("$defs", {}).values() for name in _tags(kind))


def _tags(node: Schema) -> set[str]:
    """What distinguishes a node of the schema from its alternatives: its ``method`` or ``backend``."""
    found = (node.get("properties", {}).get(key, {}).get("const") for key in ("method", "backend"))
    return {name for name in found if name}


def _did_you_mean(location: tuple[str | int, ...], tree: _Tree) -> str:
    return meant(str(location[-1]), _keys_at(location[:-1], tree))


def _keys_at(location: tuple[str | int, ...], tree: _Tree) -> list[str]:
    """The keys that a file may have at a place."""
    nodes = _expand(tree.schema, tree.schema)
    for part in location:
        if tree.is_branch(part):
            nodes = [n for n in nodes if not _tags(n) or part in _tags(n)]
            continue
        below = [n.get("properties", {}).get(part) or n.get("additionalProperties") for n in nodes]
        below += [n.get("items") for n in nodes]
        nodes = [found for node in below if isinstance(node, dict) for found in _expand(node, tree.schema)]
    return sorted({key for node in nodes for key in node.get("properties", {})})


def _expand(node: Schema, schema: Schema) -> list[Schema]:
    """A schema node, or its alternatives."""
    if "$ref" in node:
        return _expand(schema["$defs"][node["$ref"].rpartition("/")[2]], schema)
    choices = [*node.get("anyOf", []), *node.get("oneOf", [])]
    return [found for choice in choices for found in _expand(choice, schema)] or [node]
