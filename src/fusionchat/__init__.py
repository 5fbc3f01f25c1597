"""FusionChat: fuse chat LLMs of different architecture, size and tokenizer into one.

The public names are resolved on first use, so that ``import fusionchat`` imports neither torch nor
transformers.
"""

import importlib
from typing import Any

__version__ = "0.1.0"

_PUBLIC = {
    "Recipe": "fusionchat.recipe.schema",
    "load_recipe": "fusionchat.recipe.schema",
    "run": "fusionchat.stages.pipeline",
    "plan": "fusionchat.stages.pipeline",
    "TopK": "fusionchat.represent.topk",
    "TokenTable": "fusionchat.tokens.table",
    "merge_models": "fusionchat.merge.stream.merge",
    "FusionChatError": "fusionchat.errors",
}

__all__ = ["FusionChatError", "Recipe", "TokenTable", "TopK", "load_recipe", "merge_models", "plan", "run"]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'fusionchat' has no attribute {name!r}")
    return getattr(importlib.import_module(_PUBLIC[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_PUBLIC])
