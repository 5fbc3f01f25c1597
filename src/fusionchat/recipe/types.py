"""A recipe's tree before it is validated: default methods added, values of wrong types marked.

pydantic would accept ``true`` for 1, ``"5"`` for 5 and ``1`` for true. In a recipe such a value is a mistake:
a word in the wrong place, or YAML that does not mean what its writer thinks.
"""

import math
from types import NoneType
from typing import Any, Literal, get_args, get_origin

from pydantic import JsonValue

from fusionchat.mistakes import Wrong
from fusionchat.recipe.set import KINDS, Tree, alternatives, below, keys, short_key

SCALARS = (str, int, float, bool, NoneType)


def prepare(node: object, kinds: list[Any], default: object = None) -> Any:
    """The tree, ready for validation.

    Args:
        node: The recipe's value.
        kinds: The types that are allowed there.
        default: The default value there; a mapping without ``method`` belongs to its method, one without
            ``backend`` to its backend.
    """
    if isinstance(node, dict):
        own = {key: value for key in KINDS if (value := getattr(default, key, None)) is not None}
        tree: Tree = {**own, **node}
        of = _chosen(kinds, tree)
        return {name: prepare(value, *below(of, str(name))) for name, value in tree.items()}
    if isinstance(node, list):
        listed = [kind for kind in kinds if get_origin(kind) in (tuple, list) or kind is JsonValue]
        entries, _ = below(listed, "0")
        return [prepare(value, entries) for value in node]
    return node if _fits(node, kinds) else Wrong(node)


def _chosen(kinds: list[Any], tree: Tree) -> list[Any]:
    """The method or backend that the tree names; of other types all."""
    named = [
        kind
        for kind in kinds
        for key in KINDS
        if key in keys(kind) and tree.get(key) in get_args(keys(kind)[key][0])
    ]
    return named or kinds


def _fits(value: object, kinds: list[Any]) -> bool:
    """Whether a value that is no mapping or list is allowed for these types; dates and such always are."""
    known = {kind for kind in kinds if kind in SCALARS}
    known |= {type(word) for kind in kinds if get_origin(kind) is Literal for word in get_args(kind)}
    for kind in kinds:
        if short := short_key(kind):
            known.add(str)
            known.update(one for one in alternatives(keys(kind)[short][0]) if one in SCALARS)
    if isinstance(value, float):
        return math.isfinite(value) and (
            JsonValue in kinds or float in known or (int in known and value.is_integer())
        )
    if isinstance(value, int) and not isinstance(value, bool):
        return bool(known & {int, float}) or JsonValue in kinds
    return not isinstance(value, bool | str) or not known or type(value) in known
