"""Adding a source to a recipe file without changing any other byte."""

import re
from pathlib import Path

from ruamel.yaml import MappingNode, Node

from fusionchat.artifacts import write_text
from fusionchat.errors import RecipeError
from fusionchat.recipe.schema import NAME, Recipe, load_recipe, validate_recipe
from fusionchat.recipe.set import apply_settings
from fusionchat.yaml import entries, parse_yaml


def insert_source(path: Path, source: str, template: str, settings: tuple[str, ...] = ()) -> str:
    """Write ``NAME=MODEL`` as the last entry under ``sources:``; returns the name.

    The file does not change unless the new recipe, with ``settings`` applied, is valid and differs only in
    the source.

    Raises:
        RecipeError: The recipe is broken, has a source of this name, or takes its sources from an alias.
        ModelError: The new source or its template does not exist.
    """
    name, equals, model = source.partition("=")
    if not equals or not NAME.fullmatch(name) or not model:
        raise RecipeError(
            "A source is NAME=MODEL",
            where=f"--source {source}",
            do="for example --source solar=models/solar",
        )
    if name in load_recipe(path).sources:
        raise RecipeError(
            "The recipe has a source of this name already",
            where=f"{path}: sources.{name}",
            do="choose another name for the new one",
        )
    before = path.read_bytes().decode("utf-8")
    entry = f"{name}: {{model: {_quoted(model)}, template: {_quoted(template)}}}"
    text = with_source(before, entry)
    tree = {} if text is None else parse_yaml(text, name=str(path))
    if text is None or not _differs_by(name, parse_yaml(before, name=str(path)), tree):
        raise RecipeError(
            "The sources are not written out here",
            where=f"{path}: sources",
            do=f"add it by hand: {entry}",
        )
    apply_settings(tree, settings, Recipe)
    validate_recipe(tree, name=str(path), folder=str(path.parent)).refs()
    write_text(path, text)
    return name


def _quoted(word: str) -> str:
    return "'" + word.replace("'", "''") + "'"


def _differs_by(name: str, before: dict[str, object], after: dict[str, object]) -> bool:
    sources = dict(after.get("sources", {}))  # type: ignore[call-overload]
    return sources.pop(name, None) is not None and {**after, "sources": sources} == before


def with_source(text: str, entry: str) -> str | None:
    """A recipe's text with one more entry under ``sources``; None if ``sources`` is an alias."""
    text = text.removeprefix("\ufeff")
    root = entries(text)
    if not isinstance(root, MappingNode):
        return None
    keys = [key.value for key, _ in root.value]
    place = keys.index("sources")
    key, sources = root.value[place]
    if not isinstance(sources, MappingNode) or sources.start_mark.index < key.end_mark.index:
        return None
    if sources.flow_style or not sources.value:
        return _in_braces(text, sources, entry)
    following = root.value[place + 1][0].start_mark.index if place + 1 < len(keys) else len(text)
    return _on_a_line(text, sources, following, entry)


def _in_braces(text: str, sources: MappingNode, entry: str) -> str:
    """``{a: ..., b: ...}`` with one more entry, right after the last value."""
    if not sources.value:
        at = text.index("{", sources.start_mark.index) + 1
        return f"{text[:at]}{entry}{text[at:]}"
    at = _end(text, *sources.value[-1])
    return f"{text[:at]}, {entry}{text[at:]}"


def _end(text: str, key: Node, value: Node) -> int:
    """Where a value ends; the node of an alias is its anchor's, at the anchor's place."""
    if value.start_mark.index >= key.end_mark.index:
        return int(value.end_mark.index)
    alias = re.compile(r"\*[^\s,\[\]{}]+").search(text, key.end_mark.index)
    assert alias is not None
    return alias.end()


def _on_a_line(text: str, sources: MappingNode, following: int, entry: str) -> str:
    """The text with a line for the entry, indented like the others, after the last one and its comments."""
    first = sources.value[0][0].start_mark
    indent = " " * first.column
    at = text.index("\n", first.index) + 1 if "\n" in text[first.index :] else len(text)
    end = at
    for line in text[at:following].splitlines(keepends=True):
        at += len(line)
        if line.strip() and line.startswith(indent) and not _ends_document(line):
            end = at
    line_end = "\r\n" if "\r\n" in text else "\n"
    before = text[:end] if text[:end].endswith("\n") else text[:end] + line_end
    last = end == len(text) and not text.endswith("\n")
    return f"{before}{indent}{entry}{'' if last else line_end}{text[end:]}"


def _ends_document(line: str) -> bool:
    return line.startswith(("...", "---"))
