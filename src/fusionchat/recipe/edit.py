"""Adding a source to a recipe file without touching the rest of it: comments and order stay."""

import re
from pathlib import Path

from fusionchat.artifacts import write_text
from fusionchat.errors import RecipeError
from fusionchat.recipe.schema import NAME, Recipe, load_recipe, validate_recipe
from fusionchat.recipe.set import apply_settings
from fusionchat.recipe.yaml import parse_yaml


def insert_source(path: Path, source: str, template: str, settings: tuple[str, ...] = ()) -> str:
    """Write ``NAME=MODEL`` as the last entry under ``sources:``; returns the name.

    The file is left as it is unless the new recipe, with ``settings`` over it, is valid and the new source is there.

    Raises:
        RecipeError: The recipe is broken, has a source of this name, or its sources are not on lines of their own.
        ModelError: The new source or its template is not there.
    """
    name, equals, model = source.partition("=")
    if not equals or not NAME.fullmatch(name) or not model:
        raise RecipeError(
            "A source is NAME=MODEL",
            where=f"--source {source}",
            do="for instance --source solar=models/solar",
        )
    if name in load_recipe(path).sources:
        raise RecipeError(
            "The recipe has a source of this name already",
            where=f"{path}: sources.{name}",
            do="give the new one another name",
        )
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
            "The sources are not on lines of their own",
            where=f"{path}: sources",
            do=f"add it by hand: {name}: {{model: {model}, template: {template}}}",
        )
    lines.insert(_end(lines, place), f"{indent}{name}: {{model: {model!r}, template: {template!r}}}")
    text = "\n".join(lines)
    tree = parse_yaml(text, name=str(path))
    apply_settings(tree, settings, Recipe)
    validate_recipe(tree, name=str(path), folder=str(path.parent)).refs()
    write_text(path, text)
    return name


def _end(lines: list[str], place: int) -> int:
    """The line after the last entry of the block that begins in line ``place``."""
    end = place + 1
    for number in range(place + 1, len(lines)):
        if lines[number].strip() and not lines[number][0].isspace() and lines[number][0] != "#":
            break
        if lines[number].strip() and lines[number][0].isspace():
            end = number + 1
    return end
