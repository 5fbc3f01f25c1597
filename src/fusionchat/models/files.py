"""The files of a model folder besides its weights, by what they are for: the one list of them."""

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
"""Patterns of the files that hold a tokenizer's tokens."""
TOKENIZER = (
    *VOCABULARY,
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    "chat_template.json",
    "additional_chat_templates/*.jinja",
)
"""Patterns of the files that make a tokenizer and its chat templates."""
PROCESSORS = (
    "processor_config.json",
    "*preprocessor_config.json",
    "*image_processor*.json",
    "*feature_extractor*.json",
)
"""Patterns of the files that say how images and sounds are brought in."""
LICENCES = ("LICENSE*", "LICENCE*", "NOTICE*", "COPYING*", "USE_POLICY*")
"""Patterns of the files with a model's licence."""
GENERATION = "generation_config.json"
ADAPTER = "adapter_config.json"
"""What a folder with an adapter of peft has."""
CARRIED = (*TOKENIZER, *PROCESSORS, GENERATION, *LICENCES)
"""Patterns of the files that a fused model takes over from its pivot as they are."""

_REPLACED = re.compile(
    r"config\.json|README\.md|\..*|.*\.(safetensors|bin|pt|pth|ckpt|h5|msgpack|onnx|gguf|index\.json)|merge_weights\.json"
)
"""Names of files that a fused model has its own of, or that hold weights in another form."""


def matching(folder: Path, patterns: tuple[str, ...]) -> list[str]:
    """Relative paths of a folder's files that fit one of the patterns, sorted."""
    found = {p for pattern in patterns for p in folder.glob(pattern) if p.is_file()}
    return sorted(str(path.relative_to(folder)) for path in found)


def left_out(folder: Path, taken: list[str]) -> list[str]:
    """Names in a model folder that are neither among those taken nor weights, config or card, sorted."""
    heads = {name.partition("/")[0] for name in taken}
    return sorted(p.name for p in folder.iterdir() if p.name not in heads and not _REPLACED.fullmatch(p.name))


def file_of(place: Place, file: str = "tokenizer.json") -> Path | None:
    """The ``tokenizer.json`` (or another file) of a model, None where it has none."""
    if place.file is not None:  # a GGUF file is all there is
        return None
    if place.path is not None:
        path = place.path / file
        return path if path.is_file() else None
    from transformers.utils import cached_file

    try:
        found = cached_file(place.name, file, revision=place.revision)
    except OSError:  # it has none, or the hub does not answer: loading says so
        return None
    return Path(found) if isinstance(found, str) else None
