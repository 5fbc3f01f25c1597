"""What `check` says about how each model is opened and shown text, in lines, before anything is opened."""

import difflib
import json

from fusionchat.corpus.render import Renderer
from fusionchat.corpus.variables import free_names, unread
from fusionchat.models.ref import ModelRef


def settings_path(name: str) -> str:
    """Where a model is in a recipe."""
    return name if name == "pivot" else f"sources.{name}"


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
