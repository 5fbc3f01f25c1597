"""The Jinja environment of chat templates, as in transformers, with a fixed date.

As in transformers 5.24, `utils/chat_template_utils.py`, it is an immutable sandbox with `trim_blocks` and
`lstrip_blocks`, loop controls, `{% generation %}`, `tojson` without escapes for HTML, `raise_exception` and
`strftime_now`.
"""

from collections.abc import Callable, Mapping
from datetime import datetime
from functools import lru_cache
from json import dumps
from typing import NoReturn, Protocol

from jinja2 import Template
from jinja2.exceptions import TemplateError, TemplateSyntaxError
from jinja2.ext import Extension, loopcontrols
from jinja2.nodes import CallBlock, Node
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from fusionchat.errors import ModelError

RENDERING_DAY = datetime(2024, 7, 26)
"""The date that templates print as today's, so that a capture made tomorrow is the same."""


class Generation(Extension):
    """The ``{% generation %}`` block of training templates, which renders its body unchanged."""

    tags = {"generation"}  # noqa: RUF012

    def parse(self, parser: Parser) -> Node:
        """Read the block up to ``{% endgeneration %}``."""
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return CallBlock(self.call_method("_body"), [], [], body).set_lineno(line)

    def _body(self, caller: Callable[[], str]) -> str:
        return caller()


def refuse(message: str) -> NoReturn:
    """Refuse a conversation; templates call this as `raise_exception`."""
    raise TemplateError(message)


def to_json(
    value: object,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """JSON as chat templates expect it: no escapes for HTML, no escapes beyond ASCII."""
    return dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


@lru_cache(maxsize=64)
def compiled(source: str) -> Template:
    """A template in an immutable sandbox with the extensions that the hub's chat templates use.

    Raises:
        ModelError: It is not valid Jinja.
    """
    sandbox = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols, Generation]
    )
    sandbox.filters["tojson"] = to_json
    sandbox.globals["raise_exception"] = refuse
    sandbox.globals["strftime_now"] = RENDERING_DAY.strftime
    try:
        return sandbox.from_string(source)
    except TemplateSyntaxError as error:
        raise ModelError(
            f"The chat template is not valid Jinja: {error.message}",
            where=f"line {error.lineno} of the template",
            do="correct the template or set another one",
        ) from error


class HasTemplate(Protocol):
    """A tokenizer as transformers loads it: one template, several by name, or none."""

    chat_template: str | dict[str, str] | None


def own_template(tokenizer: HasTemplate, where: str) -> str:
    """The Jinja source of a tokenizer's chat template; of several, the one named ``default``.

    Raises:
        ModelError: There is none, or several and none of them is the default.
    """
    return pick(tokenizer.chat_template, where)


def pick(found: object, where: str) -> str:
    """The template itself, or of several the one named ``default``; raises as `own_template`."""
    names: list[str] = []
    if isinstance(found, Mapping):
        names = sorted(map(str, found))
        found = found.get("default")
    if isinstance(found, str) and found:
        return found
    if names:
        raise ModelError(
            f"The tokenizer has several chat templates ({', '.join(names)}), and none is named `default`",
            where=where or None,
            do="copy the one to use into a file and set `template: FILE` for this model",
        )
    raise ModelError(
        "The tokenizer has no chat template",
        where=where or None,
        do="set `template:` to `pivot` or to a Jinja file",
    )
