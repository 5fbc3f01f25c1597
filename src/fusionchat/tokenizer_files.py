"""A tokenizer on disk: whether transformers loads what ``tokenizer.json`` says, and copies of its files."""

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from fusionchat.artifacts import Json, read_json, write_json, write_text
from fusionchat.errors import ModelError
from fusionchat.model_files import GENERATION, TOKENIZER, matching
from fusionchat.tokens.own_file import FLAGS, first_difference, read_file, with_rules_of

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from fusionchat.models import ModelRef

FILE, CONFIG, TEMPLATE = "tokenizer.json", "tokenizer_config.json", "chat_template.jinja"
GENERAL = "PreTrainedTokenizerFast"
"""The class that every version of transformers opens ``tokenizer.json`` with as it is."""
_agreed: dict[tuple[object, ...], str | None] = {}


def file_of(name: str, revision: str | None, file: str = FILE) -> Path | None:
    """The ``tokenizer.json`` (or another file) of a folder or hub id, None where it has none."""
    if Path(name).is_dir():
        path = Path(name) / file
        return path if path.is_file() else None
    from transformers.utils import cached_file

    try:
        found = cached_file(name, file, revision=revision)
    except OSError:  # it has none, or the hub does not answer: loading says so
        return None
    return Path(found) if isinstance(found, str) else None


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


def copy_tokenizer(ref: "ModelRef", folder: Path) -> None:
    """Put a model's tokenizer files, byte for byte, and its generation settings into a folder.

    What differs is written over them: the template where another one is used, and the tokenizer's class where
    transformers would build another tokenizer from it than ``tokenizer.json`` says.
    """
    from fusionchat.models import load_tokenizer, other_template

    source = _folder(ref)
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


def rebuilt_on(ref: "ModelRef") -> str | None:
    """A text that transformers splits differently than ``tokenizer.json`` says, None if there is none."""
    from fusionchat.models import open_tokenizer

    file = file_of(ref.tokenizer, ref.revision)
    return None if file is None else differs_on(open_tokenizer(ref), file)


def opens_as_declared(ref: "ModelRef") -> bool:
    """Whether transformers can build the class that a tokenizer's folder declares."""
    from fusionchat.models import declared_tokenizer

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


def _folder(ref: "ModelRef") -> Path:
    if Path(ref.tokenizer).is_dir():
        return Path(ref.tokenizer)
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(ref.tokenizer, revision=ref.revision, allow_patterns=list(TOKENIZER)))
    except Exception as error:  # the hub's client raises many kinds
        raise ModelError(
            f"The hub does not give the tokenizer of {ref.name!r}: {error}",
            where=ref.tokenizer,
            do="check the id and your connection, or give a local folder",
        ) from error
