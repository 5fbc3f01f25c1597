"""Tokenizers: loaded with the rules that ``tokenizer.json`` says, and copied file by file."""

import shutil
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from fusionchat.artifacts import Json, read_json, write_json, write_text
from fusionchat.corpus.jinja import own_template
from fusionchat.errors import ModelError
from fusionchat.hub import local_folder
from fusionchat.models.files import GENERATION, TOKENIZER, VOCABULARY, file_of, matching
from fusionchat.models.ready import advice, first_line, ready
from fusionchat.models.ref import ModelRef
from fusionchat.models.template_files import with_template
from fusionchat.tokens.own_file import FLAGS, first_difference, read_file, with_rules_of

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

FILE, CONFIG, TEMPLATE = "tokenizer.json", "tokenizer_config.json", "chat_template.jinja"
TEXT_FILES = (".json", ".jinja", ".model", ".txt", ".tiktoken")
GENERAL = "PreTrainedTokenizerFast"
"""The class that every version of transformers opens ``tokenizer.json`` with as it is."""
_agreed: dict[tuple[object, ...], str | None] = {}


def load_tokenizer(ref: ModelRef) -> "PreTrainedTokenizerBase":
    """The model's fast tokenizer with the rules of its ``tokenizer.json``; raises ModelError where it cannot be loaded."""
    place = ref.tokenizer_place
    return with_template(as_its_file(open_tokenizer(ref), file_of(place)), place)


def open_tokenizer(ref: ModelRef) -> "PreTrainedTokenizerBase":
    """The model's tokenizer as transformers builds it: not always what its file says. Raises as `load_tokenizer`."""
    from transformers import PreTrainedTokenizerFast

    place = ref.tokenizer_place
    ready(place, TEXT_FILES)
    try:
        tokenizer = declared_tokenizer(ref)
    except Exception as error:  # transformers raises many kinds
        if file_of(place) is not None:  # of a class that is not known, or cannot build it
            with suppress(Exception):
                return PreTrainedTokenizerFast.from_pretrained(place.name, revision=place.revision or "main")
        raise ModelError(
            f"The tokenizer of {ref.name!r} cannot be loaded: {first_line(error)}",
            where=ref.tokenizer,
            do=advice(place, error),
        ) from error
    _refuse_empty(ref, tokenizer)
    return tokenizer


def _refuse_empty(ref: ModelRef, tokenizer: "PreTrainedTokenizerBase") -> None:
    """Raise ModelError for a folder without tokens: transformers builds a tokenizer of the model's type, with none."""
    folder, own = ref.tokenizer_place.path, tuple(tokenizer.vocab_files_names.values())
    if folder is not None and own and not matching(folder, VOCABULARY + own):
        raise ModelError(
            f"The tokenizer of {ref.name!r} has no tokens: there is no {own[0]} in this folder",
            where=ref.tokenizer,
            do="download the whole model, or give the tokenizer's folder as `tokenizer:`",
        )


def declared_tokenizer(ref: ModelRef) -> "PreTrainedTokenizerBase":
    """The tokenizer of the class that its folder declares; raises what transformers raises where it cannot be built."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(
        ref.tokenizer, revision=ref.tokenizer_place.revision, trust_remote_code=False
    )


def other_template(ref: ModelRef) -> str | None:
    """The Jinja source that replaces the tokenizer's own template, or None.

    Raises:
        ModelError: The model borrows the pivot's, and that tokenizer cannot be loaded or has none to use.
    """
    if ref.borrows is None:
        return ref.template
    if ref.borrows.template is not None:
        return ref.borrows.template
    return own_template(load_tokenizer(ref.borrows), f"pivot, whose template {ref.name!r} uses")


def as_its_file(tokenizer: "PreTrainedTokenizerBase", file: Path | None) -> "PreTrainedTokenizerBase":
    """The tokenizer where it cuts texts as its file does, else one with the file's rules.

    Raises:
        TokenizerError: The file is damaged, or neither is right.
    """
    return (
        tokenizer if file is None or differs_on(tokenizer, file) is None else with_rules_of(tokenizer, file)
    )


def differs_on(tokenizer: "PreTrainedTokenizerBase", file: Path) -> str | None:
    """A text that a loaded tokenizer splits differently than its file, None if there is none; cached by file."""
    held = [file.parent / name for name in matching(file.parent, TOKENIZER)]
    key = tuple((str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in held)
    if key not in _agreed:
        _agreed[key] = first_difference(tokenizer, read_file(file))
    return _agreed[key]


def copy_tokenizer(ref: ModelRef, folder: Path) -> None:
    """Put a model's tokenizer files, byte for byte, and its generation settings into a folder.

    What differs is written over them: the template where another one is used, and the tokenizer's class where
    transformers would build another tokenizer from it than ``tokenizer.json`` says.
    """

    source = local_folder(ref.tokenizer_place, TOKENIZER)
    for name in matching(folder, TOKENIZER):
        (folder / name).unlink()
    for name in matching(source, TOKENIZER):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source / name, folder / name)
    template = other_template(ref)
    if template is not None:
        put_template(folder, template)
    if rebuilt_on(ref) is not None or ((folder / FILE).is_file() and not opens_as_declared(ref)):
        changes: dict[str, Json] = {"tokenizer_class": GENERAL}
        _set(folder / CONFIG, changes | added_tokens(folder), without="split_special_tokens")
    elif not (folder / FILE).is_file():
        load_tokenizer(ref).save_pretrained(folder)  # vLLM and others want one
        if template is not None:
            put_template(folder, template)
    generation = Path(ref.model) / GENERATION
    if generation.is_file():
        shutil.copyfile(generation, folder / GENERATION)


def rebuilt_on(ref: ModelRef) -> str | None:
    """A text that transformers splits differently than ``tokenizer.json`` says, None if there is none."""

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
    """The config's list of added tokens with the flags that ``tokenizer.json`` gives them, if the config has one."""
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
    """Make a template the only one of a folder's tokenizer."""
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
