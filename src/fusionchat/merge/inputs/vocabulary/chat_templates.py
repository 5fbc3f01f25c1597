"""mergekit's ``chat_template``: Jinja text, or the most common one (``auto``)."""

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from fusionchat.artifacts import atomic_path, write_json
from fusionchat.console import warn

AUTO = "auto"
_FILE, _CONFIG, _OLD = "chat_template.jinja", "tokenizer_config.json", "chat_template.json"


def check_template(value: str | None) -> str | None:
    """The setting of a mergekit file: ``auto`` or Jinja text; None if it has none.

    Raises:
        ValueError: It is neither, but the name of one of mergekit's templates, for example.
    """
    if value is None or value == AUTO or "{" in value:
        return value
    raise ValueError(
        f"{value!r} is neither {AUTO} nor Jinja text; remove it to keep the base model's template"
    )


def set_template(out: Path, wanted: str, models: Sequence[Path]) -> None:
    """Replace a fused model's template by the wanted one.

    Args:
        out: The fused model's folder.
        wanted: ``auto`` or Jinja text.
        models: The inputs; of equally common templates the first is used.
    """
    if wanted == AUTO:
        held = [text for folder in models if (text := _template_of(folder)) is not None]
        if not held:
            warn("no model has a chat template; the fused model has none")
            return
        wanted = Counter(held).most_common(1)[0][0]
    with atomic_path(out / _FILE) as partial:
        partial.write_text(wanted, encoding="utf-8")
    (out / _OLD).unlink(missing_ok=True)
    path = out / _CONFIG
    config = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    if config.pop("chat_template", None) is not None:
        write_json(path, config)


def _template_of(folder: Path) -> str | None:
    """A folder's template, from its own file or else its tokenizer's config; of several, the default one."""
    if (folder / _FILE).is_file():
        return (folder / _FILE).read_text(encoding="utf-8")
    for name in (_OLD, _CONFIG):
        path = folder / name
        found = json.loads(path.read_text(encoding="utf-8")).get("chat_template") if path.is_file() else None
        if isinstance(found, list):
            found = {one["name"]: one["template"] for one in found}.get("default")
        if isinstance(found, str):
            return found
    return None
