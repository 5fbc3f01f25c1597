"""What identifies a model: hashes of its files, or its hub commit."""

import hashlib
from pathlib import Path

from fusionchat.artifacts import canonical, sha256_file
from fusionchat.hub import Place, hub_commit
from fusionchat.models.files import GENERATION, TOKENIZER
from fusionchat.models.ref import ModelRef

WEIGHT_FILES = ("*.safetensors", "*.bin", "config.json", "*.index.json")
WHOLE_HASH_BYTES = 256 * 2**20
ADAPTER_FILES = ("adapter_config.json", "*.safetensors", "*.bin")
GENERATION_FILES = (GENERATION,)
SAMPLES, SAMPLE_BYTES = 256, 4096


def identity(ref: ModelRef) -> str:
    """What identifies a model's weights, adapter and configuration: a hash of files, or a hub commit.

    Files up to 256 MB are hashed completely; for larger ones, the size, the first megabyte (a safetensors
    header) and 256 evenly spread blocks are hashed. A GGUF file contains weights and configuration.
    """
    own = _identity(ref.place, with_code(ref, WEIGHT_FILES))
    adapter = ref.adapter_place
    if adapter is None:
        return own
    return hashlib.sha256(canonical([own, _identity(adapter, ADAPTER_FILES)]).encode()).hexdigest()


def configuration_identity(ref: ModelRef) -> str:
    """What identifies a model's configuration alone."""
    return _identity(ref.place, with_code(ref, ("config.json",)))


def generation_identity(ref: ModelRef) -> str:
    """What identifies the generation settings that a model made from this one inherits."""
    return _identity(ref.place, GENERATION_FILES)


def tokenizer_identity(ref: ModelRef) -> str:
    """What identifies a model's tokenizer, template and the template's variables."""
    own = _identity(ref.tokenizer_place, with_code(ref, TOKENIZER))
    borrowed = None if ref.borrows is None else tokenizer_identity(ref.borrows)
    held = [own, ref.template, borrowed, ref.thinking, *([dict(ref.variables)] if ref.variables else [])]
    return hashlib.sha256(canonical(held).encode()).hexdigest()


def with_code(ref: ModelRef, patterns: tuple[str, ...]) -> tuple[str, ...]:
    """The patterns, plus those of a model's Python files if they are run."""
    return (*patterns, "**/*.py") if ref.own_code else patterns


def _identity(place: Place, patterns: tuple[str, ...]) -> str:
    if place.path is None:
        return f"hub:{place.name}@{hub_commit(place)}" + (f":{place.file}" if place.file else "")
    if place.file is not None:
        return file_identity(place.path / place.file) if patterns != GENERATION_FILES else ""
    return folder_identity(place.path, patterns)


def folder_identity(folder: Path, patterns: tuple[str, ...] = WEIGHT_FILES) -> str:
    """What identifies a folder's files, as in `identity`; a folder that does not exist has no files."""
    files = sorted({path for pattern in patterns for path in folder.glob(pattern)})
    return hashlib.sha256(
        canonical([(path.relative_to(folder).as_posix(), file_identity(path)) for path in files]).encode()
    ).hexdigest()


def file_identity(path: Path) -> str:
    """What identifies a file's content, as in `identity`."""
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
