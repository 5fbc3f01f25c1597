"""Adding a source to a recipe file without touching the rest of it: comments and order stay."""

import re
from pathlib import Path

from fusionchat.artifacts import write_text
from fusionchat.errors import RecipeError
from fusionchat.recipe import NAME, load_recipe, parse_yaml


def insert_source(path: Path, source: str, template: str) -> str:
    """Write ``NAME=MODEL`` as a new entry under ``sources:``; returns the name.

    Raises:
        RecipeError: The recipe is broken, has a source of this name, or its sources do not stand on lines of their own.
    """
    name, equals, model = source.partition("=")
    if not equals or not NAME.fullmatch(name) or not model:
        raise RecipeError("A source is NAME=MODEL", where=f"--source {source}")
    if name in load_recipe(path).sources:
        raise RecipeError("The recipe has a source of this name already", where=f"{path}: sources.{name}")
    lines = path.read_text(encoding="utf-8").split("\n")
    place = next((i for i, line in enumerate(lines) if re.fullmatch(r"sources:\s*(#.*)?", line)), None)
    first = (
        next((line for line in lines[place + 1 :] if line.strip() and not line.strip().startswith("#")), "")
        if place is not None
        else ""
    )
    indent = first[: len(first) - len(first.lstrip())]
    if place is None or not indent:
        raise RecipeError(
            "The sources do not stand on lines of their own",
            where=f"{path}: sources",
            do=f"add it by hand: {name}: {{model: {model}, template: {template}}}",
        )
    lines.insert(place + 1, f"{indent}{name}: {{model: {model!r}, template: {template!r}}}")
    text = "\n".join(lines)
    parse_yaml(text, name=str(path))
    write_text(path, text)
    return name
