"""A tokenizer's files: how they are copied to another model, and whether transformers reads them."""

import shutil
from pathlib import Path

from fusionchat.artifacts import Json, read_json, write_json, write_text
from fusionchat.corpus.jinja import own_template
from fusionchat.corpus.variables import with_defaults
from fusionchat.hub import local_folder
from fusionchat.models.files import GENERATION, TOKENIZER, file_of, matching
from fusionchat.models.load import (
    declared_tokenizer,
    differs_on,
    load_tokenizer,
    open_tokenizer,
    other_template,
)
from fusionchat.models.ref import ModelRef
from fusionchat.tokens.own_file import FLAGS, read_file

FILE, CONFIG, TEMPLATE = "tokenizer.json", "tokenizer_config.json", "chat_template.jinja"
GENERAL = "PreTrainedTokenizerFast"
"""The class with which every version of transformers reads ``tokenizer.json`` unchanged."""


def copy_tokenizer(ref: ModelRef, folder: Path) -> None:
    """Copy a model's tokenizer files, byte for byte, and its generation settings into a folder.

    Differences are written over them: the template if another one is used, and the tokenizer's class if
    transformers would build a tokenizer from it that differs from ``tokenizer.json``.
    """

    for name in matching(folder, TOKENIZER):
        (folder / name).unlink()
    if ref.tokenizer_place.file is None:
        _copy_files(ref, folder)
    else:
        load_tokenizer(ref).save_pretrained(folder)
        if (template := template_to_save(ref)) is not None:
            put_template(folder, template)
    generation = Path(ref.model) / GENERATION
    if generation.is_file():
        shutil.copyfile(generation, folder / GENERATION)


def _copy_files(ref: ModelRef, folder: Path) -> None:
    """Copy the files of a tokenizer that has its own, and write what differs from them."""
    source = local_folder(ref.tokenizer_place, TOKENIZER)
    for name in matching(source, TOKENIZER):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source / name, folder / name)
    template = template_to_save(ref)
    if template is not None:
        put_template(folder, template)
    if rebuilt_on(ref) is not None or ((folder / FILE).is_file() and not opens_as_declared(ref)):
        changes: dict[str, Json] = {"tokenizer_class": GENERAL}
        _set(folder / CONFIG, changes | added_tokens(folder), without="split_special_tokens")
    elif not (folder / FILE).is_file():
        load_tokenizer(ref).save_pretrained(folder)  # vLLM and others want one
        if template is not None:
            put_template(folder, template)


def template_to_save(ref: ModelRef) -> str | None:
    """The template for a model made from this one, with its variables as defaults.

    None if the files' own template suffices.

    Raises:
        ModelError: There is none to use.
    """
    template = other_template(ref)
    if not ref.variables:
        return template
    return with_defaults(
        own_template(load_tokenizer(ref), ref.name) if template is None else template, ref.variables
    )


def rebuilt_on(ref: ModelRef) -> str | None:
    """A text that transformers splits differently from ``tokenizer.json``; None if there is none."""

    file = file_of(ref.tokenizer_place)
    return None if file is None else differs_on(open_tokenizer(ref), file)


def opens_as_declared(ref: ModelRef) -> bool:
    """Whether transformers can build the class that a tokenizer's folder declares."""

    try:
        declared_tokenizer(ref)
    except Exception:  # transformers raises many kinds
        return False
    return True


def added_tokens(folder: Path) -> dict[str, Json]:
    """The config's list of added tokens, if any, with the flags that ``tokenizer.json`` gives them."""
    listed = _read(folder / CONFIG).get("added_tokens_decoder")
    if not isinstance(listed, dict):
        return {}
    of_file = {str(row): token for row, token in read_file(folder / FILE).get_added_tokens_decoder().items()}
    entries: dict[str, Json] = {
        row: {"content": token.content} | {flag: bool(getattr(token, flag)) for flag in FLAGS}
        if (token := of_file.get(row))
        else entry
        for row, entry in listed.items()
    }
    return {"added_tokens_decoder": entries}


def put_template(folder: Path, template: str) -> None:
    """Write a template as the only one of a folder's tokenizer."""
    for name in ("chat_template.json", *matching(folder, ("additional_chat_templates/*.jinja",))):
        (folder / name).unlink(missing_ok=True)
    write_text(folder / TEMPLATE, template)
    if "chat_template" in _read(folder / CONFIG):
        _set(folder / CONFIG, {}, without="chat_template")


def _read(path: Path) -> dict[str, Json]:
    return read_json(path) if path.is_file() else {}


def _set(path: Path, changes: dict[str, Json], without: str = "") -> None:
    held = {key: value for key, value in _read(path).items() if key != without}
    write_json(path, held | changes)
