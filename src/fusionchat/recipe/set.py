"""``--set path.to.key=value``: settings applied to a recipe before it is validated.

The recipe's types say what is at a path that the file omits or abbreviates: a method's name or its
default, a model's name, a corpus's path. So ``merge.granularity=layer`` is a setting of the default method.
"""

from collections.abc import Sequence
from dataclasses import MISSING, fields, is_dataclass
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

from pydantic import BaseModel, JsonValue

from fusionchat.errors import RecipeError
from fusionchat.yaml import parse_value

Tree = dict[str, Any]
METHOD = "method"
KINDS = (METHOD, "backend")
"""Keys that determine which of several types, each with its own keys, a mapping is."""


def apply_settings(tree: Tree, settings: Sequence[str], root: Any) -> None:
    """Put settings into a recipe's tree in the given order, but a method before its own settings.

    Args:
        tree: The content of the file; it is changed.
        settings: Each ``path.to.key=value``; the value is read as YAML, lists are counted from 0.
        root: The type of the whole tree.

    Raises:
        RecipeError: There is no ``=``, the value is not YAML, or the path leads through something without
            keys.
    """
    for setting in _methods_first(settings):
        path, equals, text = setting.partition("=")
        where = f"--set {setting}"
        if not equals or not path.strip():
            raise RecipeError(
                "A setting is path.to.key=value",
                where=where,
                do="for example --set distill.label_weight=0.5",
            )
        _put(
            tree,
            path.strip().split("."),
            parse_value(text, where=where),
            kinds=alternatives(root),
            where=where,
            at="",
        )


def _methods_first(settings: Sequence[str]) -> list[str]:
    """The settings, with methods and backends first, since each has settings of its own."""
    ordered: list[str] = []
    for setting in settings:
        path = setting.partition("=")[0].strip()
        own, _, last = path.rpartition(".")
        place = len(ordered)
        if own and last in KINDS:
            place = next((i for i, other in enumerate(ordered) if other.strip().startswith(f"{own}.")), place)
        ordered.insert(place, setting)
    return ordered


def _put(
    node: Tree | list[Any], names: list[str], value: object, *, kinds: list[Any], where: str, at: str
) -> None:
    """Put a value where ``names`` lead from ``node``, which is at ``at`` and has one of ``kinds``."""
    count = _words(node, names, kinds)
    name, rest = ".".join(names[:count]), names[count:]
    here = f"{at}.{name}" if at else name
    key = _index(node, name, where, at) if isinstance(node, list) else name
    if not rest:
        if name in KINDS and isinstance(node, dict) and node.get(name) != value:
            node.clear()
        node[key] = value  # type: ignore[index]
        return
    under, default = below(kinds, name)
    given = node[key] if isinstance(node, list) else node.get(name)  # type: ignore[index]
    if rest[0].isdecimal() and _one_or_many(under):
        child: Any = given if isinstance(given, list) else _entries(given, under, default)
    else:
        child = _opened(given, under, default)
    if child is None:
        raise RecipeError(f"{here} is {given!r}, and nothing can be set below it", where=where)
    node[key] = child  # type: ignore[index]
    _put(child, rest, value, kinds=under, where=where, at=here)


def _entries(given: object, kinds: list[Any], default: object) -> list[Any] | None:
    """A list with the file's single value; None if that is not an entry."""
    opened = [] if given is None else _opened(given, kinds, default)
    return [opened] if isinstance(opened, dict) else opened


def _one_or_many(kinds: list[Any]) -> bool:
    """Whether a single value may stand for a list, so that `corpus.train.0` is the only one."""
    lists = [kind for kind in kinds if get_origin(kind) in (tuple, list)]
    return any(entry in kinds for kind in lists for entry in alternatives(get_args(kind)[0]))


def _words(node: Tree | list[Any], names: list[str], kinds: list[Any]) -> int:
    """How many of the names form one key, since a source may be named ``qwen2.5``."""
    named = next((kind for kind in kinds if get_origin(kind) is dict), None)
    if named is None:
        return 1
    known = [n for n in range(len(names), 0, -1) if ".".join(names[:n]) in node]
    values = alternatives(get_args(named)[1])
    settings = {key for kind in values for key in keys(kind)}
    # The last name is the key of a mapping in a mapping.
    last = (
        len(names) - 1 if any(get_origin(kind) is dict for kind in values) and len(names) > 1 else len(names)
    )
    new = next((n for n in range(1, len(names)) if names[n] in settings), last)
    return known[0] if known else new


def _index(node: list[Any], name: str, where: str, at: str) -> int:
    """An index of a list; one past its last entry adds an entry."""
    if not name.isdecimal() or int(name) > len(node):
        last = f"0 to {len(node)}; the last is a new one" if node else "0, a new one"
        raise RecipeError(f"{at} is a list, but has no entry {name!r}", where=where, do=f"use {last}")
    if int(name) == len(node):
        node.append(None)
    return int(name)


def _opened(child: object, kinds: list[Any], default: object) -> Tree | list[Any] | None:
    """The file's value as one with keys (or entries) of its own; None if it can have none."""
    if isinstance(child, dict | list):
        return child
    if child is None:
        if any(get_origin(kind) in (tuple, list) for kind in kinds) and not _one_or_many(kinds):
            return []
        method = getattr(default, METHOD, None)
        return {} if method is None else {METHOD: method}
    short = next((key for kind in kinds if (key := short_key(kind))), None)
    return {short: child} if isinstance(child, str | int) and short else None


def alternatives(annotation: Any) -> list[Any]:
    """The types that an annotation allows, with unions and ``Annotated`` unpacked."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return alternatives(get_args(annotation)[0])
    if origin in (Union, UnionType):
        return [kind for part in get_args(annotation) for kind in alternatives(part)]
    return [annotation]


def keys(kind: Any) -> dict[str, tuple[Any, object]]:
    """The keys that a type has in a recipe: the annotation and the default of each."""
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return {name: (field.annotation, field.default) for name, field in kind.model_fields.items()}
    if isinstance(kind, type) and is_dataclass(kind):
        hints = get_type_hints(kind, include_extras=True)
        return {
            field.name: (
                hints[field.name],
                field.default if field.default_factory is MISSING else field.default_factory(),
            )
            for field in fields(kind)
        }
    return {}


def short_key(kind: Any) -> str | None:
    """The key that a single word sets in an abbreviated type; None if there is none."""
    word = getattr(kind, "short", None)
    return word if isinstance(word, str) else METHOD if METHOD in keys(kind) else None


def below(kinds: list[Any], name: str) -> tuple[list[Any], object]:
    """The types that are allowed at a key of any of these types, and the default there."""
    found: list[Any] = []
    default: object = None
    for kind in kinds:
        arguments = get_args(kind)
        if get_origin(kind) is dict:
            found += alternatives(arguments[1])
        elif get_origin(kind) in (tuple, list):
            found += alternatives(arguments[0]) if name.isdecimal() else []
        elif kind is JsonValue:
            found.append(kind)
        elif name in keys(kind):
            annotation, default = keys(kind)[name]
            found += alternatives(annotation)
    return found, default
