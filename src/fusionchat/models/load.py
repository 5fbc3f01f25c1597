"""Models, their configurations and tokenizers, loaded by transformers.

A tokenizer always follows the rules of its own file. Python files that come with a model are run only where
the recipe says so (``trust_remote_code``); there is no prompt.
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, NamedTuple

from fusionchat.corpus.jinja import own_template
from fusionchat.errors import ModelError
from fusionchat.hub import Place, local_file
from fusionchat.models.files import ADAPTER, TOKENIZER, VOCABULARY, file_of, matching
from fusionchat.models.from_pretrained import finished, placed
from fusionchat.models.gguf import SAME_TOKENS, read_header, require_readable, same_tokens, without_bar
from fusionchat.models.opening import PLAIN, Opening
from fusionchat.models.own_code import trusted
from fusionchat.models.quantization import held_quantization
from fusionchat.models.ready import advice, first_line, ready
from fusionchat.models.ref import ModelRef
from fusionchat.models.template_files import with_template
from fusionchat.tokens.own_file import first_difference, read_file, with_rules_of

if TYPE_CHECKING:
    import torch
    from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

TEXT_FILES = (".json", ".jinja", ".model", ".txt", ".tiktoken")
_agreed: dict[tuple[object, ...], str | None] = {}
_configs: dict[tuple[object, ...], "PretrainedConfig"] = {}


class Source(NamedTuple):
    """The arguments of `from_pretrained`: a folder or hub id, its revision, and the GGUF file in it."""

    name: str
    revision: str | None = None
    file: str | None = None


@contextmanager
def source_of(place: Place) -> Iterator[Source]:
    """A place as transformers reads it; a GGUF file appears without the files beside it.

    Raises:
        ModelError: A GGUF file cannot be found, or transformers cannot read it.
    """
    if place.file is None:
        yield Source(place.name, place.revision)
        return
    path = local_file(place).absolute()
    require_readable(path)
    without_bar()
    with TemporaryDirectory(prefix="fusionchat-") as folder:
        (Path(folder) / path.name).symlink_to(path)
        yield Source(folder, file=path.name)


def load_tokenizer(ref: ModelRef) -> "PreTrainedTokenizerBase":
    """The model's fast tokenizer with the rules of its ``tokenizer.json``.

    Raises:
        ModelError: It cannot be loaded.
    """
    place = ref.tokenizer_place
    return with_template(as_its_file(open_tokenizer(ref), file_of(place)), place)


def open_tokenizer(ref: ModelRef) -> "PreTrainedTokenizerBase":
    """The model's tokenizer as transformers builds it, which may differ from its file.

    Raises as `load_tokenizer`.
    """
    from transformers import PreTrainedTokenizerFast

    place = ref.tokenizer_place
    ready(place, TEXT_FILES)
    try:
        tokenizer = declared_tokenizer(ref)
    except ModelError:
        raise
    except Exception as error:  # transformers raises many kinds
        if file_of(place) is not None:  # an unknown class, or one that cannot build it
            with suppress(Exception):
                return PreTrainedTokenizerFast.from_pretrained(place.name, revision=place.revision or "main")
        raise ModelError(
            f"The tokenizer of {ref.name!r} cannot be loaded: {first_line(error)}",
            where=ref.tokenizer,
            do=advice(place, error),
        ) from error
    _refuse_empty(ref, tokenizer)
    _refuse_other(ref, tokenizer)
    return tokenizer


def _refuse_empty(ref: ModelRef, tokenizer: "PreTrainedTokenizerBase") -> None:
    """Raise ModelError for a folder without tokens, for which transformers builds an empty tokenizer."""
    folder, own = ref.tokenizer_place.path, tuple(tokenizer.vocab_files_names.values())
    if ref.tokenizer_place.file is not None or folder is None or not own:
        return
    if not matching(folder, VOCABULARY + own):
        raise ModelError(
            f"The tokenizer of {ref.name!r} has no tokens: there is no {own[0]} in this folder",
            where=ref.tokenizer,
            do="download the whole model, or set `tokenizer:` to the tokenizer's folder",
        )


def _refuse_other(ref: ModelRef, tokenizer: "PreTrainedTokenizerBase") -> None:
    """Raise ModelError if a GGUF file's own list of tokens is not the tokenizer's."""
    if ref.place.file is None or ref.place == ref.tokenizer_place:
        return
    rows = list(range(len(tokenizer)))
    spellings = [str(one) for one in tokenizer.convert_ids_to_tokens(rows)]
    share = same_tokens(read_header(local_file(ref.place)), spellings)
    if share < SAME_TOKENS:
        raise ModelError(
            f"The tokenizer of {ref.name!r} is not that of its GGUF file: it has {100 * share:.0f} % of the file's tokens",
            where=ref.tokenizer,
            do="use the tokenizer that belongs to the model, or leave out `tokenizer:` to use the file's own",
        )


def declared_tokenizer(ref: ModelRef) -> "PreTrainedTokenizerBase":
    """The tokenizer of the class that its folder declares; raises what transformers raises."""
    from transformers import AutoTokenizer

    with source_of(ref.tokenizer_place) as source:
        return AutoTokenizer.from_pretrained(
            source.name,
            revision=source.revision,
            gguf_file=source.file,
            trust_remote_code=trusted(ref, ref.tokenizer_place),
        )


def other_template(ref: ModelRef) -> str | None:
    """The Jinja source that replaces the tokenizer's own template, or None.

    Raises:
        ModelError: The model borrows the pivot's, and that tokenizer cannot be loaded or has no template.
    """
    if ref.borrows is None:
        return ref.template
    if ref.borrows.template is not None:
        return ref.borrows.template
    return own_template(load_tokenizer(ref.borrows), f"pivot, whose template {ref.name!r} uses")


def as_its_file(tokenizer: "PreTrainedTokenizerBase", file: Path | None) -> "PreTrainedTokenizerBase":
    """The tokenizer, if it splits texts as its file does; else one with the file's rules.

    Raises:
        TokenizerError: The file is damaged, or neither matches it.
    """
    return (
        tokenizer if file is None or differs_on(tokenizer, file) is None else with_rules_of(tokenizer, file)
    )


def differs_on(tokenizer: "PreTrainedTokenizerBase", file: Path) -> str | None:
    """A text that a loaded tokenizer splits differently from its file; None if there is none.

    The answer is cached by file.
    """
    held = [file.parent / name for name in matching(file.parent, TOKENIZER)]
    key = tuple((str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in held)
    if key not in _agreed:
        _agreed[key] = first_difference(tokenizer, read_file(file))
    return _agreed[key]


def load_config(ref: ModelRef) -> "PretrainedConfig":
    """The model's configuration; raises ModelError if it cannot be loaded."""
    from transformers import AutoConfig

    ready(ref.place, ("config.json",))
    path = ref.place.path
    if path is not None and (path / ADAPTER).is_file() and not (path / "config.json").exists():
        raise ModelError(
            f"{ref.name!r} is an adapter, not a model",
            where=ref.model,
            do="set `adapter:` to this folder, and `model:` to the model that it was trained on",
        )
    key = _stamp(ref.place)
    if key in _configs:
        return _configs[key]
    trust = trusted(ref, ref.place)
    try:
        with source_of(ref.place) as source:
            config: PretrainedConfig = AutoConfig.from_pretrained(
                source.name, revision=source.revision, gguf_file=source.file, trust_remote_code=trust
            )
    except ModelError:
        raise
    except Exception as error:
        raise ModelError(
            f"The configuration of {ref.name!r} cannot be loaded: {first_line(error)}",
            where=ref.model,
            do=advice(ref.place, error),
        ) from error

    if key:
        config.name_or_path = ""  # a folder that no longer exists
        _configs[key] = config
    return config


def _stamp(place: Place) -> tuple[object, ...]:
    """A GGUF file's key in the cache, which changes with the file; empty for other models.

    Reading the header takes seconds.
    """
    if place.file is None:
        return ()
    path = local_file(place)
    stat = path.stat()
    return str(path), stat.st_size, stat.st_mtime_ns


def load_model(
    ref: ModelRef,
    *,
    dtype: "torch.dtype",
    device: "torch.device",
    opening: Opening = PLAIN,
    plain: bool = False,
) -> "PreTrainedModel":
    """The model in evaluation mode, its adapter merged into it.

    Args:
        ref: The model.
        dtype: The dtype of plain weights; those that are stored quantized keep their own.
        device: Where it goes, unless ``opening`` says it. Weights are placed as they are read.
        opening: How its weights are loaded.
        plain: Whether weights that are stored quantized are dequantized.

    Raises:
        ModelError: It cannot be loaded.
    """
    from transformers import AutoModelForCausalLM

    ready(ref.place, ("",))
    held = held_quantization(ref)
    how = placed(ref, opening, dtype=dtype, device=device, held=held, plain=plain)
    try:
        with source_of(ref.place) as source:
            found: Any = AutoModelForCausalLM.from_pretrained(
                source.name,
                revision=source.revision,
                gguf_file=source.file,
                trust_remote_code=trusted(ref, ref.place),
                output_loading_info=True,
                **({} if source.file is None else {"config": load_config(ref)}),
                **how,
            )
    except ModelError:
        raise
    except Exception as error:
        where, do = (
            (ref.model, advice(ref.place, error)) if opening == PLAIN else opened_otherwise(ref, opening)
        )
        raise ModelError(
            f"The model {ref.name!r} cannot be loaded: {first_line(error)}", where=where, do=do
        ) from error
    return finished(ref, found[0], list(found[1]["missing_keys"]), how, plain=plain, dtype=dtype).eval()


def opened_otherwise(ref: ModelRef, opening: Opening) -> tuple[str, str]:
    """Where a recipe asks for an unusual way to load a model, and what to do if that fails."""
    names = [name for name in type(opening).model_fields if getattr(opening, name) is not None]
    return (
        f"{ref.where}.capture: {', '.join(names)}",
        "correct these settings, or remove them",
    )
