"""An adapter's weight file by module: factors, trained rows, replaced tensors."""

import re
from dataclasses import dataclass
from pathlib import Path

from fusionchat.errors import MergeError
from fusionchat.merge.inputs.adapters.config import CONFIG
from fusionchat.merge.inputs.checkpoint import WRAPPERS
from fusionchat.merge.inputs.header import read_header
from fusionchat.merge.inputs.pickles import open_pickle
from fusionchat.merge.inputs.stored import MappedFile, Stored

WEIGHTS, PICKLE = "adapter_model.safetensors", "adapter_model.bin"
_MODEL = ("*.safetensors", "*.safetensors.index.json", "pytorch_model*.bin")
_PREFIXES = ("module.", "base_model.model.")
_FACTOR = re.compile(
    r"(?P<module>.+)\.lora_(?P<kind>embedding_A|embedding_B|A|B|magnitude_vector|diag)"
    r"(?P<adapter>\.(?!(?:weight|bias)$)[^.]+)?(?:\.(?P<leaf>weight|bias))?$"
)
_TRAINING = re.compile(
    r".+\.(?:lora_(?:monteclora_sampler|velora_embed)|token_adapter\.trainable_tokens_original)\b.*"
)
"""Tensors that MonteCLoRA, VeLoRA and trained tokens need only in training."""
_ROWS = re.compile(r"(?P<module>.+)\.token_adapter\.trainable_tokens_delta(?:\.[^.]+)?$")
_COPIES = (
    (re.compile(r"(?P<module>.+)\.modules_to_save(?:\.default)?\.(?P<rest>.+)$"), 1),
    (re.compile(r"(?P<module>.+)\.token_adapter\.base_layer\.(?P<rest>.+)$"), 2),
    (re.compile(r"(?P<module>.+)\.base_layer\.(?P<rest>.+)$"), 2),
)
_ORIGINAL = re.compile(r".+\.original_module\..+")
"""The base model's own weights beside a trained copy, which peft does not load either."""


@dataclass
class Contents:
    """All tensors of an adapter; names are the base model's, as the adapter knows them.

    Attributes:
        file: The weight file.
        modules: LoRA tensors by module and kind: A, B, embedding_A, embedding_B, bias (of B),
            magnitude_vector, diag. A name ends in ``.base_layer`` where two parameters of one module were
            adapted.
        replaced: Tensors that replace the base model's.
        rows: Trained rows by module.
    """

    file: MappedFile
    modules: dict[str, dict[str, Stored]]
    replaced: dict[str, Stored]
    rows: dict[str, Stored]


def is_adapter(folder: Path) -> bool:
    """Whether a folder has a LoRA adapter and no model weights; its config may be the model's."""
    if not any((folder / name).is_file() for name in (CONFIG, WEIGHTS, PICKLE)):
        return False
    held = {path.name for kind in _MODEL for path in folder.glob(kind)}
    return not held - {WEIGHTS}


def open_weights(folder: Path, allow_pickle: bool) -> MappedFile:
    """An adapter's weight file: safetensors, or a pickle if allowed."""
    path = folder / WEIGHTS
    if not path.is_file() and (folder / PICKLE).is_file():
        path = folder / PICKLE
        if not allow_pickle:
            raise MergeError(
                "This adapter's weights are a pickle, which can run code when it is opened",
                where=str(path),
                do="save the adapter as safetensors, or allow pickles if you trust it (--allow-pickle)",
            )
    if not path.is_file():
        raise MergeError(
            f"This adapter has no weights ({WEIGHTS})", where=str(folder), do="save or download it again"
        )
    if not path.stat().st_size:
        raise MergeError("This file is empty", where=str(path), do="save or download the adapter again")
    return MappedFile(path)


def read_contents(file: MappedFile) -> Contents:
    """The tensors of a weight file, sorted by kind.

    Raises:
        MergeError: A tensor is of an unknown kind or occurs twice, or there is none.
    """
    found = Contents(file, {}, {}, {})
    order: dict[str, int] = {}
    held = open_pickle(file) if file.path.name == PICKLE else read_header(file)
    for stored in held.values():
        name = plain_name(stored.name)
        factor, rows = _FACTOR.fullmatch(name), _ROWS.fullmatch(name)
        if factor:
            _add_factor(found, factor, stored)
        elif rows:
            found.rows[rows["module"]] = stored
        elif _ORIGINAL.fullmatch(name) or _TRAINING.fullmatch(name):
            continue
        else:
            name, rank = _base_name(name)
            if ".lora_" in name or ".token_adapter." in name:
                raise _unknown(stored)
            if rank < order.get(name, 9):
                found.replaced[name], order[name] = stored, rank
    if not (found.modules or found.replaced or found.rows):
        raise MergeError(
            "This adapter has no trained tensors", where=str(file.path), do="save the adapter again"
        )
    return found


def plain_name(name: str) -> str:
    """A tensor's name without what peft, torch.compile, FSDP and DDP add to it."""
    name = WRAPPERS.sub("", name)
    for prefix in _PREFIXES:
        name = name.removeprefix(prefix)
    return name


def _add_factor(found: Contents, match: "re.Match[str]", stored: Stored) -> None:
    kind = "bias" if match["leaf"] == "bias" else match["kind"]
    if match["leaf"] == "bias" and match["kind"] != "B":
        raise _unknown(stored)
    held = found.modules.setdefault(match["module"], {})
    if kind in held:
        raise MergeError(
            f"This file holds two adapters: {held[kind].name} and {stored.name}",
            where=stored.origin,
            do="save one adapter (save_pretrained with selected_adapters)",
        )
    held[kind] = stored


def _base_name(name: str) -> tuple[str, int]:
    """The base model's name of a full tensor, and its rank among others of that name (0 is best)."""
    for pattern, rank in _COPIES:
        match = pattern.fullmatch(name)
        if match:
            return f"{match['module']}.{match['rest']}", rank
    return name, 0


def _unknown(stored: Stored) -> MergeError:
    return MergeError(
        f"FusionChat cannot merge the adapter's tensor {stored.name}",
        where=stored.origin,
        do="merge the adapter into a full model with the tool that made it, and use that model",
    )
