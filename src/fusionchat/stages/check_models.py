"""What `check` says about how each model is opened and shown text, in lines, before anything is opened."""

import difflib
import json

from fusionchat.corpus.render import Renderer
from fusionchat.corpus.variables import free_names, unread
from fusionchat.hub import here
from fusionchat.models.gguf import require_readable
from fusionchat.models.ref import ModelRef
from fusionchat.report.text import count
from fusionchat.units import size


def settings_path(name: str) -> str:
    """Where a model is in a recipe."""
    return name if name == "pivot" else f"sources.{name}"


def opening_lines(ref: ModelRef) -> list[str]:
    """How a model is opened and shown text, where it is not the usual way: a line for each."""
    return [line for line in (file_line(ref), variables_line(ref)) if line]


def file_line(ref: ModelRef) -> str:
    """What a GGUF file holds and what is made of it, in one line; "" for other models."""
    place = ref.place
    if place.file is None:
        return ""
    path = here(place)
    if path is None:
        return f"{ref.name}: a GGUF file on the hub; what it holds shows when it is here"
    header = require_readable(path)
    words = (
        "tokenizer and template of the file"
        if place == ref.tokenizer_place
        else f"tokenizer of {ref.tokenizer}"
    )
    what = (
        f"dequantized once into an ordinary folder of the run, {size(4.0 * header.count)} in float32"
        if ref.name == "pivot"
        else "dequantized when it is opened"
    )
    return (
        f"{ref.name}: GGUF file of structure {header.architecture}, {count(header.count)} parameters in "
        f"{size(header.size)}; {what}; {words}"
    )


def variables_line(ref: ModelRef) -> str:
    """The variables that a model's template is given, in one line; "" for none."""
    if not ref.variables:
        return ""
    given = (f"{name} = {json.dumps(value, ensure_ascii=False)}" for name, value in ref.variables.items())
    return f"{ref.name}: its chat template is given {', '.join(given)}"


def unread_variables(ref: ModelRef, renderer: Renderer) -> list[str]:
    """A line for each variable that a model's template never reads."""
    source = renderer.template.source
    names = free_names(source)
    return [
        f"{settings_path(ref.name)}.template_variables.{name}: the chat template never reads it{meant(name, names)}"
        for name in unread(source, ref.variables)
    ]


def meant(name: str, names: list[str]) -> str:
    """The name among those that exist that was perhaps meant, in parentheses; "" for none."""
    close = difflib.get_close_matches(name, names, n=1)
    return f" (did you mean {close[0]}?)" if close else ""
