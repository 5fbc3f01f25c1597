"""The files of a model folder besides its weights, listed by purpose."""

import re
from pathlib import Path

from fusionchat.hub import Place

VOCABULARY = (
    "tokenizer.json",
    "vocab.json",
    "merges.txt",
    "vocab.txt",
    "tokenizer.model*",
    "*.model",
    "*.tiktoken",
    "*.spm",
    "tekken.json",
    "bpe.codes",
    "dict.txt",
)
"""Patterns of the files with a tokenizer's tokens."""
TOKENIZER = (
    *VOCABULARY,
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    "chat_template.json",
    "additional_chat_templates/*.jinja",
)
"""Patterns of the files of a tokenizer and its chat templates."""
PROCESSORS = (
    "processor_config.json",
    "*preprocessor_config.json",
    "*image_processor*.json",
    "*feature_extractor*.json",
)
"""Patterns of the files that say how images and sounds are processed."""
LICENCES = ("LICENSE*", "LICENCE*", "NOTICE*", "COPYING*", "USE_POLICY*")
"""Patterns of the files with a model's licence."""
GENERATION = "generation_config.json"
ADAPTER = "adapter_config.json"
"""The file that marks a folder as an adapter of peft."""
CARRIED = (*TOKENIZER, *PROCESSORS, GENERATION, *LICENCES)
"""Patterns of the files that a fused model copies unchanged from its pivot."""

_REPLACED = re.compile(
    r"config\.json|README\.md|\..*|.*\.(safetensors|bin|pt|pth|ckpt|h5|msgpack|onnx|gguf|index\.json)|merge_weights\.json"
)
"""Names of files of which a fused model has its own, or that have weights in another form."""


def matching(folder: Path, patterns: tuple[str, ...]) -> list[str]:
    """Relative paths of a folder's files that match one of the patterns, sorted."""
    found = {p for pattern in patterns for p in folder.glob(pattern) if p.is_file()}
    return sorted(str(path.relative_to(folder)) for path in found)


def left_out(folder: Path, taken: list[str]) -> list[str]:
    """Names in a model folder that are neither in ``taken`` nor weights, config or card, sorted."""
    heads = {name.partition("/")[0] for name in taken}
    return sorted(p.name for p in folder.iterdir() if p.name not in heads and not _REPLACED.fullmatch(p.name))


def file_of(place: Place, file: str = "tokenizer.json") -> Path | None:
    """The ``tokenizer.json`` (or another file) of a model; None if it has none."""
    if place.file is not None:  # a GGUF file has no other files
        return None
    if place.path is not None:
        path = place.path / file
        return path if path.is_file() else None
    from transformers.utils import cached_file

    try:
        found = cached_file(place.name, file, revision=place.revision)
    except OSError:  # it has none, or the hub does not answer, which loading reports
        return None
    return Path(found) if isinstance(found, str) else None
