"""Chat templates in JSON files: ``{"chat_template": ...}``.

Processors of multimodal models are published with them.

A tokenizer reads its template from ``chat_template.jinja``, ``additional_chat_templates/`` and
``tokenizer_config.json``; only a processor reads ``chat_template.json`` (transformers 5.24,
`processing_utils.py`). The text model is the same, so this template is used where the tokenizer has none.
"""

import json
from pathlib import Path
from typing import TYPE_CHECKING

from fusionchat.errors import ModelError
from fusionchat.hub import Place
from fusionchat.models.files import file_of

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

OLD = "chat_template.json"
Templates = str | dict[str, str]
"""A template, or several by name."""


def with_template(tokenizer: "PreTrainedTokenizerBase", place: Place) -> "PreTrainedTokenizerBase":
    """A model's tokenizer, with its processor's template if it has none of its own.

    Raises:
        ModelError: The file with the template cannot be read.
    """
    if not tokenizer.chat_template and (file := file_of(place, OLD)) is not None:
        tokenizer.chat_template = read_json_template(file)  # type: ignore[assignment]
    return tokenizer


def read_template(path: Path) -> Templates:
    """The template in a file: Jinja, or JSON that contains it.

    Raises:
        ModelError: It is JSON without a template.
        OSError, UnicodeDecodeError: It cannot be read as text.
    """
    return read_json_template(path) if path.suffix == ".json" else path.read_text(encoding="utf-8-sig")


def read_json_template(path: Path) -> Templates:
    """The value of ``chat_template`` in a JSON file; raises ModelError if that is no template."""
    try:
        held = json.loads(path.read_text(encoding="utf-8-sig"))
        found = held["chat_template"]
        if isinstance(found, list):
            found = {one["name"]: one["template"] for one in found}
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise _no_template(path) from error
    if isinstance(found, str):
        return found
    if isinstance(found, dict) and all(isinstance(one, str) for one in found.values()):
        return {str(name): one for name, one in found.items()}
    raise _no_template(path)


def _no_template(path: Path) -> ModelError:
    return ModelError(
        'This file has no chat template; it should contain {"chat_template": "..."}',
        where=str(path),
        do="correct or remove it, or set `template:` to a Jinja file",
    )
