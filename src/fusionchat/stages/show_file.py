"""What a file contains: a shard, arrays, a GGUF file, records, JSON; as facts by name and tables."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from fusionchat.arrays import shapes_in
from fusionchat.artifacts import Json
from fusionchat.errors import ArtifactError
from fusionchat.hub import GGUF
from fusionchat.models.gguf import read_header
from fusionchat.represent.store.layout import SHARDS
from fusionchat.represent.store.shard import read_shard
from fusionchat.units import counted, size

NESTED = 3
"""Levels of nested settings that are shown one by one."""
MOST = 500
"""The most characters that are shown of a value."""
Rows = list[tuple[str, ...]]


@dataclass(frozen=True)
class Table:
    """A table of texts."""

    title: str | None
    columns: tuple[str, ...]
    rows: Rows


@dataclass(frozen=True)
class Shown:
    """The description of an artifact: one line, facts by name, tables."""

    what: str
    facts: Mapping[str, str] = field(default_factory=dict)
    tables: tuple[Table, ...] = ()


def flat(tree: Mapping[str, Json], above: str = "", levels: int = NESTED) -> dict[str, str]:
    """A tree's values by their paths; values deeper than ``levels`` are JSON."""
    found: dict[str, str] = {}
    for key, value in tree.items():
        if isinstance(value, dict) and value and levels > 1:
            found |= flat(value, f"{above}{key}.", levels - 1)
        else:
            found[f"{above}{key}"] = value if isinstance(value, str) else in_part(value)
    return found


def in_part(value: Json) -> str:
    """A value as JSON; of a long one, the beginning."""
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= MOST else f"{text[:MOST]} ... ({len(text):,} characters)"


def describe_file(path: Path) -> Shown:
    """The description of a file by its kind: a shard, arrays, records, JSON, a GGUF file.

    Raises:
        ArtifactError: It is damaged, or none of these.
    """
    if path.match(SHARDS):
        about = read_shard(path).about
        first, last, total = about.conversations
        facts = {
            "shard": f"{about.shard[0] + 1} of {about.shard[1]}",
            "conversations": f"{first} to {last - 1} of {total:,}",
            "rows": f"{about.count:,}",
            "columns": ", ".join(column.name for column in about.columns),
            "size": size(path.stat().st_size),
        }
        return Shown(f"A shard of a store of distributions: {path}", facts)
    if path.suffix == ".safetensors":
        rows: Rows = [(name, " x ".join(map(str, shape)) or "1") for name, shape in shapes_in(path).items()]
        return Shown(
            f"Arrays: {path}", {"size": size(path.stat().st_size)}, (Table(None, ("array", "shape"), rows),)
        )
    if path.suffix == ".jsonl":
        line, count = first_and_count(path)
        return Shown(
            f"Records: {path}", {"records": f"{count:,}"} | (json_facts(path, line) if count else {})
        )
    if path.suffix == ".json":
        return Shown(f"JSON: {path}", json_facts(path, path.read_bytes()))
    if path.suffix == GGUF:
        header = read_header(path)
        facts = {
            "structure": header.architecture or "not named",
            "parameters": f"{header.count:,} in {counted(len(header.tensors), 'tensor')}",
            "size": size(header.size),
        }
        return Shown(f"A GGUF file: {path}", facts)
    raise ArtifactError(
        "FusionChat does not know this file",
        where=str(path),
        do="use a shard, a file in safetensors, JSON or JSONL, or a GGUF file",
    )


def first_and_count(path: Path) -> tuple[bytes, int]:
    """The first non-empty line of a file, and the number of such lines."""
    first, count = b"", 0
    with path.open("rb") as file:
        for line in file:
            if line.strip():
                first, count = first or line, count + 1
    return first, count


def json_facts(path: Path, text: bytes) -> dict[str, str]:
    """What a file's JSON text contains; raises as `read_value`."""
    value = read_value(path, text)
    return flat(value) if isinstance(value, dict) else {"JSON": in_part(value)}


def read_value(path: Path, text: bytes) -> Json:
    """The value of a file's JSON text; raises ArtifactError if it is not JSON."""
    try:
        value: Json = json.loads(text.decode("utf-8"))
    except ValueError as error:
        raise ArtifactError(
            f"This is not JSON, or it is damaged: {error}", where=str(path), do="open it in an editor"
        ) from error
    return value
