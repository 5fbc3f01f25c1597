"""GGUF files: their headers, and which files transformers can read.

The format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md, versions 2 and 3, little endian. The
header is read here because the `gguf` package builds an object for every token of the vocabulary (3.5 s at 49
k tokens, 0.1 s here); the weights are read by transformers with that package.
"""

import importlib.util
import mmap
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from math import prod
from pathlib import Path

from fusionchat.errors import ModelError

MAGIC = b"GGUF"
VERSIONS = (2, 3)
ALIGNMENT = 32
STRING, ARRAY = 8, 9
FORMATS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
"""The value types of fixed width, with their `struct` codes."""
TOKENS = "tokenizer.ggml.tokens"
FREQUENCIES = "rope_freqs.weight"
AGAIN = "download it again"
NEEDS = "pip install 'fusionchat[quant]'"
SAME_TOKENS = 0.9
"""The least share of equal spellings for which a tokenizer belongs to a file.

Added tokens may be spelled differently.
"""

Value = str | int | float | bool | list[str]


@dataclass(frozen=True)
class Tensor:
    """A tensor of the file: its shape, its type's number, and its offset after the header."""

    shape: tuple[int, ...]
    kind: int
    offset: int

    @property
    def count(self) -> int:
        """The number of its elements."""
        return prod(self.shape)


@dataclass(frozen=True)
class Header:
    """What comes before the weights.

    Attributes:
        values: The metadata; only lists of texts are kept.
        tensors: The tensors by name.
        begin: The byte at which the weights begin.
        size: The size of the file in bytes.
    """

    values: Mapping[str, Value]
    tensors: Mapping[str, Tensor]
    begin: int
    size: int

    @property
    def architecture(self) -> str:
        """The structure's name; "" if the file has none."""
        return str(self.values.get("general.architecture", ""))

    @property
    def count(self) -> int:
        """The number of elements of all tensors."""
        return sum(tensor.count for tensor in self.tensors.values())

    @property
    def experts(self) -> int:
        """The number of experts of a layer; 0 for a model without experts."""
        found = self.values.get(f"{self.architecture}.expert_count", 0)
        return found if isinstance(found, int) else 0


class _Reader:
    """Reads a header from its bytes; raises struct.error or ValueError where they end or make no sense."""

    def __init__(self, raw: mmap.mmap) -> None:
        self.raw, self.at = raw, 0

    def take(self, format: str) -> tuple[int | float | bool, ...]:
        found = struct.unpack_from(f"<{format}", self.raw, self.at)
        self.at += struct.calcsize(f"<{format}")
        return found

    def number(self, format: str) -> int:
        return int(self.take(format)[0])

    def text(self) -> str:
        size = self.number("Q")
        if size > len(self.raw) - self.at:
            raise ValueError("a text goes past the end of the file")
        self.at += size
        return self.raw[self.at - size : self.at].decode(errors="replace")

    def value(self, kind: int) -> Value:
        if kind in FORMATS:
            return self.take(FORMATS[kind])[0]
        if kind == STRING:
            return self.text()
        if kind != ARRAY:
            raise ValueError(f"there is no type {kind}")
        inner, count = self.number("I"), self.number("Q")
        if count > len(self.raw):
            raise ValueError("a list goes past the end of the file")
        if inner == STRING:
            return [self.text() for _ in range(count)]
        if inner not in FORMATS:
            raise ValueError(f"there is no list of type {inner}")
        self.at += count * struct.calcsize(f"<{FORMATS[inner]}")
        return []


def read_header(path: Path) -> Header:
    """The header of a GGUF file.

    Raises:
        ModelError: It is no GGUF file, or its header or its weights are cut short.
    """
    try:
        stat = path.stat()
        header = _read_header(str(path), stat.st_size, stat.st_mtime_ns)
    except OSError as error:
        raise ModelError(f"The GGUF file cannot be read: {error.strerror}", where=str(path)) from error
    except struct.error as error:
        raise ModelError(
            "This is not a GGUF file, or it is cut short: its header ends too early",
            where=str(path),
            do=AGAIN,
        ) from error
    except (ValueError, OverflowError, MemoryError) as error:
        raise ModelError(
            f"This is not a GGUF file, or it is cut short: {error}", where=str(path), do=AGAIN
        ) from error
    return header


@lru_cache(maxsize=8)
def _read_header(path: str, size: int, _changed: int) -> Header:
    if size < len(MAGIC):
        raise ValueError("it has no content")
    with Path(path).open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as raw:
        if raw[:4] != MAGIC:
            raise ValueError("it does not begin with GGUF")
        reader = _Reader(raw)
        reader.at = 4
        version = reader.number("I")
        if version not in VERSIONS:
            raise ValueError(f"version {version} is not one of {', '.join(map(str, VERSIONS))}")
        tensor_count, value_count = reader.number("Q"), reader.number("Q")
        values: dict[str, Value] = {}
        for _ in range(value_count):
            key = reader.text()
            values[key] = reader.value(reader.number("I"))
        tensors: dict[str, Tensor] = {}
        for _ in range(tensor_count):
            name, dimensions = reader.text(), reader.number("I")
            shape = tuple(int(one) for one in reader.take(f"{dimensions}Q"))
            tensors[name] = Tensor(shape, reader.number("I"), reader.number("Q"))
    wide = values.get("general.alignment", ALIGNMENT)
    wide = wide if isinstance(wide, int) and wide > 0 else ALIGNMENT
    return Header(values, tensors, -(-reader.at // wide) * wide, size)


def require_whole(path: Path, header: Header) -> None:
    """Raise ModelError if a tensor extends past the end of the file.

    The types' widths are the `gguf` package's.
    """
    from gguf import GGML_QUANT_SIZES, GGMLQuantizationType

    for name, tensor in header.tensors.items():
        elements, width = GGML_QUANT_SIZES[GGMLQuantizationType(tensor.kind)]
        if header.begin + tensor.offset + tensor.count // elements * width > header.size:
            raise ModelError(
                f"The GGUF file is cut short: {name} goes past its end",
                where=str(path),
                do="download it again",
            )


def require_readable(path: Path) -> Header:
    """The header of a GGUF file, checked to be complete and readable by transformers.

    Raises:
        ModelError: The `gguf` package is missing, the file is no GGUF file or cut short, or transformers does
            not read its structure.
    """
    header = read_header(path)
    if importlib.util.find_spec("gguf") is None:
        raise ModelError(
            "Reading a GGUF file needs the package `gguf`, which is not installed", where=str(path), do=NEEDS
        )
    refuse_unread(path, header)
    require_whole(path, header)
    return header


def refuse_unread(path: Path, header: Header) -> None:
    """Raise ModelError if transformers cannot read a file's structure, or would ignore its experts."""
    known = structures()
    keys = known.get(plain(header.architecture))
    if keys is None:
        named = header.architecture or "a structure that the file does not name"
        raise ModelError(
            f"transformers does not read {named} from a GGUF file",
            where=str(path),
            do=f"use the model's folder or hub id instead; from GGUF files it reads {', '.join(sorted(known))}",
        )
    if header.experts and keys and "expert_count" not in keys:
        raise ModelError(
            f"This GGUF file holds a mixture of {header.experts} experts of structure {header.architecture} (as Mixtral "
            "has), which transformers does not read from GGUF files",
            where=str(path),
            do="use the model's folder or hub id instead, with `capture: {quantization: ...}` if memory is short",
        )


def structures() -> dict[str, frozenset[str]]:
    """The structures that transformers reads from GGUF files, with the keys of each if it lists them."""
    from transformers import modeling_gguf_pytorch_utils as gguf

    listed: Mapping[str, Mapping[str, str]] = gguf.GGUF_TO_TRANSFORMERS_MAPPING["config"]  # type: ignore[assignment]
    found = {
        plain(name): frozenset(keys) for name, keys in listed.items() if name not in ("general", "tokenizer")
    }
    try:
        from transformers.integrations.gguf import GGUF_CONFIG_ARCHS
    except ImportError:  # an earlier transformers
        return found
    return {plain(name): frozenset[str]() for name in GGUF_CONFIG_ARCHS} | found


def plain(name: str) -> str:
    """A structure's name in the spelling of GGUF files: ``qwen2moe`` for ``qwen2_moe``."""
    return re.sub("[-_]", "", name.lower())


def same_tokens(header: Header, spellings: list[str]) -> float:
    """The share of the file's tokens that a tokenizer spells the same at the same id; 1 if it lists none."""
    own = header.values.get(TOKENS)
    if not isinstance(own, list) or not own:
        return 1.0
    return sum(a == b for a, b in zip(own, spellings, strict=False)) / len(own)


def without_bar() -> None:
    """Remove the progress bar that transformers shows while it reads a GGUF file.

    It has no setting for that.
    """
    from transformers import modeling_gguf_pytorch_utils as gguf

    gguf.tqdm = lambda found, **_: found


def doubts(header: Header, *, own_tokenizer: bool) -> list[str]:
    """What transformers ignores in a file, in sentences.

    Args:
        header: The file's header.
        own_tokenizer: Whether the tokenizer comes from the file, too.
    """
    found = []
    if own_tokenizer and (rules := unknown_rules(header)):
        found.append(
            f"its tokenizer splits text by the rules called {rules!r}, which transformers does not have: it uses GPT-2's; "
            "give the original tokenizer as `tokenizer:`"
        )
    if FREQUENCIES in header.tensors:
        found.append(
            f"it holds {FREQUENCIES} (Llama 3.1's scaled rotary frequencies), which transformers ignores: its "
            "log-probabilities differ from the original's; use the model's folder or hub id where that matters"
        )
    return found


def unknown_rules(header: Header) -> str:
    """A byte-level tokenizer's rules for splitting text, if transformers does not know them; else ""."""
    rules = str(header.values.get("tokenizer.ggml.pre", ""))
    if header.values.get("tokenizer.ggml.model") != "gpt2" or rules in ("", "default", "gpt-2", "gpt2"):
        return ""
    try:
        from transformers.integrations.gguf.gguf_tokenizer_mapping import GGUF_PRE_TOKENIZER_SPLITS
    except ImportError:  # an earlier transformers, whose rules are unknown
        return ""
    return "" if rules in GGUF_PRE_TOKENIZER_SPLITS else rules
