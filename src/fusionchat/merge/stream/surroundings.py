"""What belongs to a model besides its weights: config, tokenizer, template, licence, code."""

import json
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from fusionchat.artifacts import Json, atomic_path, write_json
from fusionchat.merge.inputs.plan import Dtype
from fusionchat.merge.inputs.vocabulary.embeddings import with_added
from fusionchat.models.files import CARRIED, TOKENIZER, matching

_MAPS = ("config.json", "tokenizer_config.json", "processor_config.json", "preprocessor_config.json")
_NOT_TRUE = ("torch_dtype", "quantization_config", "compression_config")
_BESIDE = re.compile(r"^\s*(?:from\s+\.(\w+)\s+import|from\s+\.\s+import\s+(\w+))", re.MULTILINE)


def copy_surroundings(
    pivot: Path, out: Path, dtype: Dtype, changes: Mapping[str, Json], added: Sequence[Mapping[str, Json]]
) -> None:
    """Copy the pivot's files, and write its config with the fused model's dtype and ``changes``.

    ``added`` tokens are written into ``tokenizer.json``. Only another tokenizer's files are deleted.
    """
    taken = carried(pivot)
    copy_files(pivot, out, taken)
    if added:
        write_json(out / "tokenizer.json", with_added(pivot / "tokenizer.json", added))
    for name in set(matching(out, TOKENIZER)) - set(taken):
        (out / name).unlink()
    config = pivot / "config.json"
    if config.is_file():
        values = json.loads(config.read_text(encoding="utf-8"))
        write_json(out / "config.json", {**_plain({**values, **changes}), "dtype": dtype})


def _plain(config: Mapping[str, Json]) -> dict[str, Json]:
    """A config without the old name of the dtype, and without a quantization that was removed."""
    kept = {key: value for key, value in config.items() if key not in _NOT_TRUE}
    text = kept.get("text_config")
    return {**kept, "text_config": _plain(text)} if isinstance(text, dict) else kept


def carried(folder: Path) -> list[str]:
    """Relative paths of the files that a fused model copies unchanged from its pivot."""
    return [*matching(folder, CARRIED), *code_files(folder)]


def copy_files(folder: Path, out: Path, names: Sequence[str]) -> None:
    """Copy files of a folder into another one, byte for byte."""
    for name in names:
        with atomic_path(out / name) as partial:
            shutil.copyfile(folder / name, partial)


def code_files(folder: Path) -> list[str]:
    """The model's own Python files: those named in ``auto_map``, and those that these import."""
    waiting = [module for name in _MAPS for module in _modules(folder / name)]
    found: set[str] = set()
    while waiting:
        file = f"{waiting.pop()}.py"
        if file not in found and (folder / file).is_file():
            found.add(file)
            text = (folder / file).read_text(encoding="utf-8", errors="replace")
            waiting += [one or other for one, other in _BESIDE.findall(text)]
    return sorted(found)


def _modules(config: Path) -> list[str]:
    """The modules in a config's ``auto_map`` (``module.Class``), without those of other repositories."""
    try:
        values = json.loads(config.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    named = values.get("auto_map") if isinstance(values, dict) else None
    if not isinstance(named, dict):
        return []
    classes = [c for value in named.values() for c in (value if isinstance(value, list) else [value])]
    return [c.split(".")[0] for c in classes if isinstance(c, str) and re.fullmatch(r"\w+\.\w+", c)]
