"""What belongs to a model besides its weights: config, tokenizer, chat template, generation config, licence."""

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from fusionchat.artifacts import Json, atomic_path, write_json
from fusionchat.merge.embeddings import with_added
from fusionchat.merge.plan import Dtype

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
COPIED = (*TOKENIZER, "generation_config.json", "LICENSE", "LICENSE.txt", "NOTICE")
"""Files that are copied as they are, where the pivot has them."""


def copy_surroundings(
    pivot: Path, out: Path, dtype: Dtype, changes: Mapping[str, Json], added: Sequence[Mapping[str, Json]]
) -> None:
    """Copy the pivot's files, and write its config with the fused model's dtype and ``changes``.

    ``added`` tokens are put into ``tokenizer.json``.
    """
    for name in COPIED:
        if name == "tokenizer.json" and added:
            write_json(out / name, with_added(pivot / name, added))
        elif (pivot / name).is_file():
            with atomic_path(out / name) as partial:
                shutil.copyfile(pivot / name, partial)
        else:
            (out / name).unlink(missing_ok=True)
    config = pivot / "config.json"
    if config.is_file():
        values = json.loads(config.read_text(encoding="utf-8"))
        values.pop("torch_dtype", None)
        write_json(out / "config.json", {**values, **changes, "dtype": dtype})
