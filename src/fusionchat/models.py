"""Models and tokenizers: where they are, what identifies them, and how they are loaded.

Nothing is decided from a model's name: an existing folder is a folder, anything else is a hub id. Python files that
come with a model are never run (``trust_remote_code`` is off), and nobody is asked whether they should be.
"""

import hashlib
import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

from fusionchat.artifacts import canonical, sha256_file
from fusionchat.corpus.jinja import own_template, pick
from fusionchat.corpus.thoughts import Thinking
from fusionchat.damage import verified_folder
from fusionchat.errors import MachineError, ModelError
from fusionchat.hub import ask_the_hub_once, hub_commit
from fusionchat.model_files import TOKENIZER, VOCABULARY, matching
from fusionchat.recipe import ModelSpec, Recipe
from fusionchat.template_files import read_template, with_template
from fusionchat.tokenizer_files import as_its_file, file_of

if TYPE_CHECKING:
    import torch
    from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

WEIGHT_FILES = ("*.safetensors", "*.bin", "config.json", "*.index.json")
TEXT_FILES = (".json", ".jinja", ".model", ".txt", ".tiktoken")
WHOLE_HASH_BYTES = 256 * 2**20
OWN_CODE = "trust_remote_code"
"""What transformers' refusal to run a model's own files names."""
SAMPLES, SAMPLE_BYTES = 256, 4096


@dataclass(frozen=True)
class ModelRef:
    """A model as a recipe means it, with every path resolved.

    Attributes:
        name: Its name in the run: "pivot" or the source's.
        model: A folder, or a hub id.
        tokenizer: A folder, or a hub id.
        revision: The revision on the hub.
        template: Jinja source that replaces the tokenizer's own template, or None.
        borrows: The model whose template it uses instead, or None.
        thinking: Whether it sees the thoughts that the corpus keeps.
    """

    name: str
    model: str
    tokenizer: str
    revision: str | None = None
    template: str | None = None
    borrows: "ModelRef | None" = None
    thinking: Thinking = "keep"


def resolve(recipe: Recipe) -> dict[str, ModelRef]:
    """All models of a recipe by name, the pivot first.

    Raises:
        ModelError: A path that looks like a folder is not there, or a template file cannot be read.
    """
    refs: dict[str, ModelRef] = {}
    for name, spec in recipe.models.items():
        where = "pivot" if name == "pivot" else f"sources.{name}"
        model = locate(spec.model, recipe.folder, where=f"{where}.model")
        tokenizer = (
            locate(spec.tokenizer, recipe.folder, where=f"{where}.tokenizer") if spec.tokenizer else model
        )
        template = _template(spec, recipe, where)
        borrows = refs["pivot"] if spec.template == "pivot" else None
        refs[name] = ModelRef(
            name, model, tokenizer, spec.revision, template, borrows, spec.thinking or "keep"
        )
    return refs


def locate(name: str, folder: str, *, where: str) -> str:
    """The folder a name means (relative to the recipe's), or the name itself if it can be a hub id."""
    path = Path(name).expanduser()
    for candidate in (Path(folder) / path, path):
        if candidate.is_dir():
            return str(candidate)
    if name.startswith((".", "/", "~")) or name.count("/") > 1:
        raise ModelError(
            f"There is no such model folder: {name}",
            where=where,
            do="check the path; it is relative to the recipe's folder",
        )
    return name


def _template(spec: ModelSpec, recipe: Recipe, where: str) -> str | None:
    if spec.template in ("own", "pivot"):
        return None
    path = Path(recipe.folder) / spec.template
    try:
        return pick(read_template(path), where)
    except (OSError, UnicodeDecodeError) as error:
        raise ModelError(
            f"The chat template cannot be read: {spec.template}",
            where=f"{where}.template",
            do="give own, pivot, or a Jinja file relative to the recipe",
        ) from error


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


def load_tokenizer(ref: ModelRef) -> "PreTrainedTokenizerBase":
    """The model's fast tokenizer with the rules of its ``tokenizer.json``; raises ModelError where it cannot be loaded."""
    revision = _revision(ref, ref.tokenizer)
    tokenizer = as_its_file(open_tokenizer(ref), file_of(ref.tokenizer, revision))
    return with_template(tokenizer, ref.tokenizer, revision)


def declared_tokenizer(ref: ModelRef) -> "PreTrainedTokenizerBase":
    """The tokenizer of the class that its folder declares; raises what transformers raises where it cannot be built."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(
        ref.tokenizer, revision=_revision(ref, ref.tokenizer), trust_remote_code=False
    )


def open_tokenizer(ref: ModelRef) -> "PreTrainedTokenizerBase":
    """The model's tokenizer as transformers builds it: not always what its file says. Raises as `load_tokenizer`."""
    from transformers import PreTrainedTokenizerFast

    ready(ref.tokenizer, TEXT_FILES)
    revision = _revision(ref, ref.tokenizer)
    try:
        tokenizer = declared_tokenizer(ref)
    except Exception as error:  # transformers raises many kinds
        if file_of(ref.tokenizer, revision) is not None:  # of a class that is not known, or cannot build it
            with suppress(Exception):
                return PreTrainedTokenizerFast.from_pretrained(ref.tokenizer, revision=revision or "main")
        raise ModelError(
            f"The tokenizer of {ref.name!r} cannot be loaded: {_first_line(error)}",
            where=ref.tokenizer,
            do=_advice(ref.tokenizer, error),
        ) from error
    _refuse_empty(ref, tokenizer)
    return tokenizer


def _refuse_empty(ref: ModelRef, tokenizer: "PreTrainedTokenizerBase") -> None:
    """Raise ModelError for a folder without tokens: transformers builds a tokenizer of the model's type, with none."""
    folder, own = Path(ref.tokenizer), tuple(tokenizer.vocab_files_names.values())
    if folder.is_dir() and own and not matching(folder, VOCABULARY + own):
        raise ModelError(
            f"The tokenizer of {ref.name!r} has no tokens: there is no {own[0]} in this folder",
            where=ref.tokenizer,
            do="download the whole model, or give the tokenizer's folder as `tokenizer:`",
        )


def load_config(ref: ModelRef) -> "PretrainedConfig":
    """The model's configuration; raises ModelError where it cannot be had."""
    from transformers import AutoConfig

    ready(ref.model, ("config.json",))
    try:
        return AutoConfig.from_pretrained(
            ref.model, revision=_revision(ref, ref.model), trust_remote_code=False
        )
    except Exception as error:
        raise ModelError(
            f"The configuration of {ref.name!r} cannot be loaded: {_first_line(error)}",
            where=ref.model,
            do=_advice(ref.model, error),
        ) from error


def load_model(ref: ModelRef, *, dtype: "torch.dtype", device: "torch.device") -> "PreTrainedModel":
    """The model in evaluation mode on a device; raises ModelError where it cannot be had."""
    import torch
    from transformers import AutoModelForCausalLM

    ready(ref.model, ("",))
    try:
        model = AutoModelForCausalLM.from_pretrained(
            ref.model, revision=_revision(ref, ref.model), dtype=dtype, trust_remote_code=False
        )
    except Exception as error:
        raise ModelError(
            f"The model {ref.name!r} cannot be loaded: {_first_line(error)}",
            where=ref.model,
            do=_advice(ref.model, error),
        ) from error
    cast(torch.nn.Module, model).to(device)
    return model.eval()


def ready(name: str, endings: tuple[str, ...]) -> None:
    """Before a model is read: a run's own files of these endings are as they were written, or the hub was asked for."""
    quiet()
    if Path(name).is_dir():
        verified_folder(Path(name), endings=endings)
    else:
        ask_the_hub_once()


def quiet() -> None:
    """Progress bars and warnings of transformers would tear ours; errors still pass."""
    from huggingface_hub.utils import logging as hub_logging
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    hub_logging.set_verbosity_error()


def _revision(ref: ModelRef, name: str) -> str | None:
    return None if Path(name).is_dir() else ref.revision


def _first_line(error: Exception) -> str:
    if OWN_CODE in str(error):
        return "it needs Python files that come with it, and these are never run"
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _advice(name: str, error: Exception) -> str:
    if OWN_CODE in str(error):
        return "use a model whose structure and tokenizer transformers has"
    if Path(name).is_dir():
        return "check that the folder holds a complete model"
    return "check the id and your connection, or give a local folder"


def identity(ref: ModelRef) -> str:
    """What identifies a model's weights and configuration: a hash of its files, or its hub commit.

    Files up to 256 MB are hashed whole; of larger ones the size, the first megabyte (a safetensors header)
    and 256 blocks spread evenly are.
    """
    return _identity(ref.model, ref, WEIGHT_FILES)


def configuration_identity(ref: ModelRef) -> str:
    """What identifies a model's configuration alone."""
    return _identity(ref.model, ref, ("config.json",))


def generation_identity(ref: ModelRef) -> str:
    """What identifies the generation settings that a model made from this one is given."""
    return _identity(ref.model, ref, ("generation_config.json",))


def tokenizer_identity(ref: ModelRef) -> str:
    """What identifies a model's tokenizer and template."""
    own = _identity(ref.tokenizer, ref, TOKENIZER)
    borrowed = None if ref.borrows is None else tokenizer_identity(ref.borrows)
    return hashlib.sha256(canonical([own, ref.template, borrowed, ref.thinking]).encode()).hexdigest()


def _identity(name: str, ref: ModelRef, patterns: tuple[str, ...]) -> str:
    folder = Path(name)
    if not folder.is_dir():
        return f"hub:{name}@{hub_commit('models', name, ref.revision)}"
    return folder_identity(folder, patterns)


def folder_identity(folder: Path, patterns: tuple[str, ...] = WEIGHT_FILES) -> str:
    """What identifies a folder's files, as `identity` does; a folder that is not there yet has none."""
    files = sorted({path for pattern in patterns for path in folder.glob(pattern)})
    return hashlib.sha256(
        canonical([(path.relative_to(folder).as_posix(), _file_identity(path)) for path in files]).encode()
    ).hexdigest()


def _file_identity(path: Path) -> str:
    size = path.stat().st_size
    if size <= WHOLE_HASH_BYTES:
        return sha256_file(path)
    digest = hashlib.sha256(str(size).encode())
    with path.open("rb") as file:
        digest.update(file.read(2**20))
        for sample in range(SAMPLES):
            file.seek((size - SAMPLE_BYTES) * sample // (SAMPLES - 1))
            digest.update(file.read(SAMPLE_BYTES))
    return digest.hexdigest()


def pick_device(name: str) -> "torch.device":
    """The device a recipe's ``runtime.device`` means; raises MachineError if this machine has none."""
    import torch

    if name != "auto":
        if not _is_there(name):
            raise MachineError(
                f"torch finds no device {name!r} on this machine",
                where="runtime.device, or --device of chat",
                do="give auto, cpu, cuda, cuda:N or mps; a GPU needs a torch build made for it",
            )
        return torch.device(name)
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def _is_there(name: str) -> bool:
    import torch

    if cuda := re.fullmatch(r"cuda(?::(\d+))?", name):
        return int(cuda[1] or 0) < torch.cuda.device_count()
    return name == "cpu" or (name == "mps" and torch.backends.mps.is_available())
