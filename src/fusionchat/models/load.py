"""Models, their configurations and tokenizers, loaded by transformers; a tokenizer with the rules of its own file.

Python files that come with a model are never run (``trust_remote_code`` is off), and nobody is asked whether they should
be.
"""

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, cast

from fusionchat.corpus.jinja import own_template
from fusionchat.errors import ModelError
from fusionchat.models.files import TOKENIZER, VOCABULARY, file_of, matching
from fusionchat.models.ready import advice, first_line, ready
from fusionchat.models.ref import ModelRef
from fusionchat.models.template_files import with_template
from fusionchat.tokens.own_file import first_difference, read_file, with_rules_of

if TYPE_CHECKING:
    import torch
    from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

TEXT_FILES = (".json", ".jinja", ".model", ".txt", ".tiktoken")
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


def load_config(ref: ModelRef) -> "PretrainedConfig":
    """The model's configuration; raises ModelError where it cannot be had."""
    from transformers import AutoConfig

    ready(ref.place, ("config.json",))
    try:
        return AutoConfig.from_pretrained(ref.model, revision=ref.place.revision, trust_remote_code=False)
    except Exception as error:
        raise ModelError(
            f"The configuration of {ref.name!r} cannot be loaded: {first_line(error)}",
            where=ref.model,
            do=advice(ref.place, error),
        ) from error


def load_model(ref: ModelRef, *, dtype: "torch.dtype", device: "torch.device") -> "PreTrainedModel":
    """The model in evaluation mode on a device; raises ModelError where it cannot be had."""
    import torch
    from transformers import AutoModelForCausalLM

    ready(ref.place, ("",))
    try:
        model = AutoModelForCausalLM.from_pretrained(
            ref.model, revision=ref.place.revision, dtype=dtype, trust_remote_code=False
        )
    except Exception as error:
        raise ModelError(
            f"The model {ref.name!r} cannot be loaded: {first_line(error)}",
            where=ref.model,
            do=advice(ref.place, error),
        ) from error
    cast(torch.nn.Module, model).to(device)
    return model.eval()
