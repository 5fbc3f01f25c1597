"""What belongs to a model besides its weights: config, tokenizer, chat template, generation config, licence, code."""

import json
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from fusionchat.artifacts import Json, atomic_path, write_json
from fusionchat.merge.embeddings import with_added
from fusionchat.merge.plan import Dtype
from fusionchat.merge.references import LICENCES

TOKENIZER = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "vocab.txt",
    "tokenizer.model",
    "spiece.model",
    "chat_template.jinja",
    "chat_template.json",
)
"""Files that make a tokenizer and its chat template."""
COPIED = (*TOKENIZER, "generation_config.json", *LICENCES)
"""Files that are copied as they are, where the pivot has them."""

_MAPS = ("config.json", "tokenizer_config.json", "processor_config.json", "preprocessor_config.json")
_BESIDE = re.compile(r"^\s*(?:from\s+\.(\w+)\s+import|from\s+\.\s+import\s+(\w+))", re.MULTILINE)


def copy_surroundings(
    pivot: Path, out: Path, dtype: Dtype, changes: Mapping[str, Json], added: Sequence[Mapping[str, Json]]
) -> None:
    """Copy the pivot's files, and write its config with the fused model's dtype and ``changes``.

    ``added`` tokens are put into ``tokenizer.json``. Another tokenizer's files are deleted, nothing else is.
    """
    for name in (*COPIED, *code_files(pivot)):
        if name == "tokenizer.json" and added:
            write_json(out / name, with_added(pivot / name, added))
        elif (pivot / name).is_file():
            with atomic_path(out / name) as partial:
                shutil.copyfile(pivot / name, partial)
        elif name in TOKENIZER:
            (out / name).unlink(missing_ok=True)
    config = pivot / "config.json"
    if config.is_file():
        values = json.loads(config.read_text(encoding="utf-8"))
        values.pop("torch_dtype", None)
        write_json(out / "config.json", {**values, **changes, "dtype": dtype})


def code_files(folder: Path) -> list[str]:
    """The model's own Python files: those that ``auto_map`` names, and those they import from beside them."""
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
    """The modules in a config's ``auto_map`` (``module.Class``); those of other repositories are not the folder's."""
    try:
        values = json.loads(config.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    named = values.get("auto_map") if isinstance(values, dict) else None
    if not isinstance(named, dict):
        return []
    classes = [c for value in named.values() for c in (value if isinstance(value, list) else [value])]
    return [c.split(".")[0] for c in classes if isinstance(c, str) and re.fullmatch(r"\w+\.\w+", c)]
