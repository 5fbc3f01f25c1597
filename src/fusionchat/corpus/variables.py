"""A chat template's own variables (``enable_thinking``): free names, names it reads, defaults.

Values are JSON. What the renderer sets itself (the messages, the special tokens) cannot be set.
"""

import json
from collections.abc import Iterable, Mapping
from functools import lru_cache

from jinja2 import Environment, meta
from jinja2.defaults import DEFAULT_NAMESPACE
from jinja2.ext import loopcontrols
from pydantic import JsonValue

from fusionchat.corpus.jinja import Generation

Variables = Mapping[str, JsonValue]
SET_BY_THE_RENDERER = frozenset(
    ["messages", "tools", "documents", "add_generation_prompt", "raise_exception", "strftime_now"]
)
SPECIAL_TOKENS = frozenset(f"{kind}_token" for kind in ("bos", "eos", "unk", "sep", "pad", "cls", "mask"))
CONSTANTS = ("true", "false", "none", "True", "False", "None")
WORDS = frozenset(
    ("and", "caller", "else", "if", "in", "is", "loop", "not", "or", "self", "super", *CONSTANTS)
)
"""Names with a meaning in Jinja itself."""
TAKEN = SET_BY_THE_RENDERER | SPECIAL_TOKENS | WORDS | frozenset(DEFAULT_NAMESPACE)


def refuse_names(names: Iterable[str], taken: Iterable[str] = TAKEN) -> None:
    """Raise ValueError if a name cannot be a variable's: it is not a word, or is taken."""
    held = frozenset(taken)
    for name in names:
        if not (name.isascii() and name.isidentifier()):
            raise ValueError(
                f"{name!r} is not a variable's name: letters, digits and '_' only, no digit first"
            )
        if name in held:
            raise ValueError(f"{name!r} cannot be set: the renderer sets it for every template")


@lru_cache(maxsize=64)
def read_by(source: str) -> frozenset[str]:
    """The undeclared names that a template reads, including those that the renderer sets.

    The template must be valid Jinja.
    """
    sandbox = Environment(extensions=[loopcontrols, Generation])
    return frozenset(meta.find_undeclared_variables(sandbox.parse(source)))


def unread(source: str, variables: Variables) -> list[str]:
    """Names of variables that a template never reads, sorted."""
    return sorted(variables.keys() - read_by(source))


def free_names(source: str) -> list[str]:
    """Names that a template reads and that may be set, sorted."""
    return sorted(read_by(source) - TAKEN)


def with_defaults(source: str, variables: Variables) -> str:
    """The template with default values for variables, so that a model's folder says how it was trained.

    They apply where the caller sets none. They are in a line of their own at the top, whose line end every
    reader of chat templates drops after a block (``trim_blocks``), so the rest reads as before.
    """
    if not variables:
        return source
    given = (
        f"{{%- if {name} is not defined %}}{{%- set {name} = {literal(value)} %}}{{%- endif %}}"
        for name, value in sorted(variables.items())
    )
    return "".join(given) + "\n" + source


def literal(value: JsonValue) -> str:
    """A JSON value as Jinja writes it: ``none`` for null, else as in JSON.

    A ``%}`` in a text ends no block: Jinja reads texts first.
    """
    match value:
        case None:
            return "none"
        case list():
            return f"[{', '.join(map(literal, value))}]"
        case dict():
            return f"{{{', '.join(f'{literal(key)}: {literal(held)}' for key, held in value.items())}}}"
    return json.dumps(value, ensure_ascii=False)
