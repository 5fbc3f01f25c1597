"""What `check` says about how each model is loaded and prompted, before anything is loaded."""

import json
from collections.abc import Mapping
from pathlib import Path

from fusionchat.corpus.render import Renderer
from fusionchat.corpus.variables import free_names, unread
from fusionchat.hub import here
from fusionchat.models.gguf import doubts, read_header, require_readable
from fusionchat.models.opening import Opening
from fusionchat.models.own_code import describe as own_code
from fusionchat.models.packed import packed
from fusionchat.models.quantization import describe, held_quantization, lacks
from fusionchat.models.ref import ModelRef
from fusionchat.recipe.schema import Recipe
from fusionchat.report.text import count
from fusionchat.run.estimate import parameters
from fusionchat.settings import meant
from fusionchat.stages.openable import require_openable
from fusionchat.stages.variants import opened_sources
from fusionchat.units import size as text_of

UNPACKED = "written once into an ordinary folder of the run"


def openings(recipe: Recipe, refs: Mapping[str, ModelRef]) -> list[str]:
    """`opening_lines` of all models of a recipe that are opened on this machine."""
    here = ("pivot", *opened_sources(recipe))
    return [line for n in here for line in opening_lines(refs[n], recipe.models[n].capture.opening)]


def opening_lines(ref: ModelRef, opening: Opening) -> list[str]:
    """How a model is loaded and prompted, if not in the usual way: at most one line for each.

    Raises:
        ModelError: It cannot be loaded in this way.
    """
    require_openable(ref, opening)
    size = parameters(ref) if ref.name == "pivot" and packed(ref) else None
    parts = [file_part(ref), stored_part(ref), wanted_part(ref, opening), adapter_part(ref)]
    parts += [f"{UNPACKED}, {text_of(4.0 * size)} in float32" if size is not None else "", map_part(opening)]
    parts += [own_code(ref) if ref.own_code else ""]
    said = "; ".join(part for part in parts if part)
    return [line for line in (f"{ref.name}: {said}" if said else "", variables_line(ref)) if line]


def stored_part(ref: ModelRef) -> str:
    """The quantization of a model's stored weights; "" for plain ones."""
    held = held_quantization(ref)
    if held is None:
        return ""
    missing = "" if (found := lacks(held)) == "" else f", which this machine cannot do: {found}"
    how = "" if ref.name == "pivot" else ", opened as it is"
    return f"quantized with {describe(held)}{how}{missing}"


def wanted_part(ref: ModelRef, opening: Opening) -> str:
    """The quantization of a model when it is loaded; "" for none."""
    wanted = opening.quantization
    if wanted is None:
        return ""
    missing = (
        "" if (found := lacks(wanted, stored=False)) == "" else f", which this machine cannot do: {found}"
    )
    why = " for its capture" if ref.name == "pivot" else ""
    return f"quantized with {describe(wanted)} on loading{why}{missing}"


def adapter_part(ref: ModelRef) -> str:
    """The adapter of a model; "" for none."""
    place = ref.adapter_place
    if place is None:
        return ""
    return f"with the adapter {place.name if place.path is None else Path(place.name).name}"


def map_part(opening: Opening) -> str:
    """The devices of a model's weights; "" for one device."""
    if opening.device_map is None:
        return ""
    how = opening.device_map if isinstance(opening.device_map, str) else "as device_map says"
    most = "".join(f", at most {size} on {name}" for name, size in (opening.max_memory or {}).items())
    return f"spread over devices ({how}{most})"


def file_part(ref: ModelRef) -> str:
    """What a GGUF file contains and how it is used; "" for other models."""
    place = ref.place
    if place.file is None:
        return ""
    path = here(place)
    if path is None:
        return "a GGUF file on the hub: its contents are checked after the download"
    header = require_readable(path)
    words = (
        "tokenizer and template of the file"
        if place == ref.tokenizer_place
        else f"tokenizer of {ref.tokenizer}"
    )
    what = "" if ref.name == "pivot" else "dequantized on loading; "
    return (
        f"GGUF file of structure {header.architecture}, {count(header.count)} parameters in {text_of(header.size)}; "
        f"{what}{words}"
    )


def variables_line(ref: ModelRef) -> str:
    """The variables that a model's template gets, in one line; "" for none."""
    if not ref.variables:
        return ""
    given = (f"{name} = {json.dumps(value, ensure_ascii=False)}" for name, value in ref.variables.items())
    return f"{ref.name}: its chat template is given {', '.join(given)}"


def file_doubts(ref: ModelRef) -> list[str]:
    """What transformers ignores in a model's GGUF file, a line for each."""
    path = here(ref.place)
    if path is None:
        return []
    found = doubts(read_header(path), own_tokenizer=ref.place == ref.tokenizer_place)
    return [f"{ref.where}.model: {line}" for line in found]


def unread_variables(ref: ModelRef, renderer: Renderer) -> list[str]:
    """A line for each variable that a model's template never reads."""
    source = renderer.template.source
    names = free_names(source)
    return [
        f"{ref.where}.template_variables.{name}: the chat template never reads it{meant(name, names)}"
        for name in unread(source, ref.variables)
    ]
