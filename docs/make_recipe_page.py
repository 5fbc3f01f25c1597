"""Writes docs/recipe.md from the recipe's models, so that it is always true: python docs/make_recipe_page.py"""

import re
from pathlib import Path
from typing import Any

from fusionchat.recipe.schema import Recipe

HEAD = """# The recipe, key by key

Made from the code by `python docs/make_recipe_page.py`. A misspelt key is an error that names its place.
Any key can be set on the command line: `--set distill.label_weight=0.5`, `--set merge.granularity=layer` (of the default
method, too), `--set sources.qwen.template=pivot`, `--set compare.merges.0.density=0.3` (lists count from 0).

- Paths of models, templates and corpora are relative to the recipe file; `output` to the working directory.
- `fuse: min_ce`, `merge: varm`, `align.vocabulary: exact` are short for `{method: ...}`; a model or a corpus may be
  given by its name or path alone.
- Only settings under `runtime` leave finished work as it is. Every other one runs again what depends on it.
"""


SHARED = {
    "fuse": "how one distribution is made of those of all models",
    "merge": "how the targets become one model",
    "method": "which of the methods this is",
    "backend": "which of the programs this is",
    "temperatures": "of a model's distributions by its name, 1 for others: above 1 they are flatter; scores stay",
    "weight": "one number per target, in the order of the sources; unset: the same for all",
    "scale": "multiplies the sum of the changes",
    "origin": "centre of the sphere: `pivot` takes the targets' changes, `zero` the weights themselves",
}
"""Meanings of keys that several methods share, or that choose one."""


def page() -> str:
    """The whole page."""
    schema = Recipe.model_json_schema()
    parts = [HEAD, *section(schema, schema, "the recipe", "", set())]
    return "\n".join(parts).rstrip() + "\n"


def section(
    schema: dict[str, Any], node: dict[str, Any], title: str, prefix: str, seen: set[str]
) -> list[str]:
    """A table of a model's keys, then a section for each key that is a model itself."""
    if list(node.get("properties", {})) == ["method"]:
        return [f"\n## `{title}`\n", describe(node)]
    meanings = attributes(node)
    lines = [f"\n## `{title}`\n" if prefix else "\n## Top level\n", describe(node), ""]
    lines += ["| key | type | default | |", "|---|---|---|---|"]
    nested: list[str] = []
    for key, value in node.get("properties", {}).items():
        if key == "folder":  # not a key of the file
            continue
        branches = models(schema, value)
        meaning = note(value) or meanings.get(key, "") or SHARED.get(key, "") or one_line(branches)
        lines.append(
            f"| `{key}` | {kind(schema, value)} | {default(value, key in node.get('required', []))} | {meaning} |"
        )
        for branch in branches:
            name = f"{prefix}{key}" + (".NAME" if key == "sources" else "")
            if name in {"fuse", "merge", "align.vocabulary"}:
                name += f": {branch['properties']['method']['const']}"
            elif key == "capture":
                name += f": {branch['properties']['backend']['const']}"
            elif len(branches) > 1 and len(branch["properties"]) == 1:
                name += f": {next(iter(branch['properties']))}"
            if branch["title"] not in seen:
                seen.add(branch["title"])
                nested += section(schema, branch, name, f"{prefix}{key}.", seen)
    return lines + nested


def one_line(branches: list[dict[str, Any]]) -> str:
    """The first line of a section's own text, for the key that has that section; "" where there are several."""
    return describe(branches[0]).split("\n")[0].rstrip(".") if len(branches) == 1 else ""


def describe(node: dict[str, Any]) -> str:
    """The docstring of a model, without its list of attributes."""
    text = node.get("description", "")
    return text.split("\n\nAttributes:")[0].split("\n\nArgs:")[0].strip()


def attributes(node: dict[str, Any]) -> dict[str, str]:
    """What a dataclass's docstring says of each attribute, one line each."""
    _, _, text = node.get("description", "").partition("Attributes:\n")
    found: dict[str, str] = {}
    for entry in re.split(r"\n(?=    \w)", "\n" + text):
        name, colon, meaning = entry.strip().partition(":")
        if colon:
            found[name] = " ".join(meaning.split()).replace("|", "\\|")
    return found


def models(schema: dict[str, Any], value: dict[str, Any]) -> list[dict[str, Any]]:
    """The models a key may hold."""
    if "$ref" in value:
        found = schema["$defs"][value["$ref"].rpartition("/")[2]]
        return [found] if "properties" in found else []
    inner = [*value.get("anyOf", []), *value.get("oneOf", []), *value.get("allOf", [])]
    inner += [value[k] for k in ("items", "additionalProperties") if isinstance(value.get(k), dict)]
    return [model for part in inner for model in models(schema, part)]


def kind(schema: dict[str, Any], value: dict[str, Any]) -> str:
    """A key's type in words."""
    if "enum" in value:
        return ", ".join(f"`{v}`" for v in value["enum"])
    if "const" in value:
        return f"`{value['const']}`"
    found = models(schema, value)
    if found and all("method" in model.get("properties", {}) for model in found):
        if value.get("type") == "array":  # only merges come in lists
            return "list, each as under `merge`"
        return "one of " + ", ".join(f"`{m['properties']['method']['const']}`" for m in found)
    parts = value.get("anyOf") or value.get("oneOf")
    if parts:
        return " or ".join(dict.fromkeys(kind(schema, part) for part in parts))
    if "$ref" in value:
        return "see below"
    names = {
        "integer": "whole number",
        "array": "list",
        "object": "mapping",
        "null": "null",
        "string": "text",
    }
    return names.get(value.get("type", ""), value.get("type", ""))


def default(value: dict[str, Any], required: bool) -> str:
    """A key's default."""
    if required:
        return "required"
    found = value.get("default")
    if isinstance(found, dict):
        return f"`{found['method']}`" if "method" in found else ""
    return (
        ""
        if "default" not in value
        else "null"
        if found is None
        else f"`{str(found).lower() if isinstance(found, bool) else found}`"
    )


def note(value: dict[str, Any]) -> str:
    """What a key means, and its limits."""
    limits = [
        f"{word} {value[key]}"
        for key, word in (
            ("minimum", "at least"),
            ("exclusiveMinimum", "more than"),
            ("maximum", "at most"),
            ("exclusiveMaximum", "less than"),
        )
        if key in value
    ]
    return "; ".join(
        [*([value["description"]] if "description" in value and "$ref" not in value else []), *limits]
    ).replace("|", "\\|")


if __name__ == "__main__":
    (Path(__file__).parent / "recipe.md").write_text(page())
