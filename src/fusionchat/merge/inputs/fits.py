"""Whether a config makes a model of the weights beside it: the last check before a fused model is written.

What the config says of layers and vocabulary is compared with the weights' names and shapes. Where that is in doubt, or
a merge changes the config, the model is built without values from its class in transformers and asked what it lacks.
"""

import re
from collections.abc import Mapping

from fusionchat.errors import MergeError
from fusionchat.merge.inputs.checkpoint import Checkpoint
from fusionchat.merge.inputs.layers.stack import COUNTS, numbered
from fusionchat.merge.inputs.names import Known
from fusionchat.merge.inputs.structure import Structure, structure_with
from fusionchat.merge.inputs.textmodel import Config, text_of
from fusionchat.merge.inputs.tied import TIE
from fusionchat.merge.weights import layer_of

Shapes = Mapping[str, tuple[int, ...]]


def check_fit(config: Config, shapes: Shapes, pivot: Checkpoint, known: Known) -> None:
    """Raise MergeError where the fused model's config and weights disagree.

    Args:
        config: The fused model's.
        shapes: Its weights' shapes by name.
        pivot: The pivot: names that its class has no use for are no mistake of the merge.
        known: What transformers knows of the pivot.
    """
    doubt = doubtful(config, shapes)
    changed = config != pivot.config or shapes.keys() != pivot.tensors.keys()
    if doubt is None and not changed:
        return
    stored = known()
    if stored is None:  # not known, or the pivot's own config does not fit its weights
        wrong = [doubt] if doubt else []
    else:
        wrong = _wrong(structure_with(config, shapes), shapes, stored, pivot) if changed else []
    if wrong:
        more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
        raise MergeError(
            f"The fused model's config.json would not fit its weights: {sorted(wrong)[0]}{more}",
            where=str(pivot.folder),
            do="correct the pivot's config.json, or merge without slices",
        )


def _wrong(made: Structure | None, shapes: Shapes, stored: Structure, pivot: Checkpoint) -> list[str]:
    """What a model that was built lacks, has in another shape, or has no place for."""
    if made is None:
        return ["transformers cannot build it"]
    wrong = [f"{name} is missing" for name in made.missing]
    wrong += [f"{name} has shape {list(here)}, not {list(there)}" for name, here, there in made.misshapen]
    usual = {_plain(name) for name in pivot.tensors if not stored.has(name)}
    return wrong + [f"it has no {n}" for n in shapes if not made.has(n) and _plain(n) not in usual]


def _plain(name: str) -> str:
    return re.sub(r"\d+", "#", name)


def _has_head(config: Config) -> bool:
    """Whether a config names a class with a head over the vocabulary."""
    named = config.get("architectures")
    return isinstance(named, list) and any(
        str(name).endswith(("ForCausalLM", "ForConditionalGeneration", "LMHeadModel")) for name in named
    )


def doubtful(config: Config, shapes: Shapes) -> str | None:
    """What a config says of layers, vocabulary, head or padding that the weights do not show; None where they agree."""
    text = text_of(config)
    count = next((n for key in COUNTS if isinstance(n := text.get(key), int)), None)
    lists = numbered(shapes)
    if count is not None and lists and not any(set(range(count)) <= numbers for numbers in lists.values()):
        return f"it says {count} layers, the weights have {max(map(len, lists.values()))}"
    rows, padding = text.get("vocab_size"), text.get("pad_token_id")
    tables = [shape[0] for name, shape in shapes.items() if len(shape) == 2 and layer_of(name) is None]
    if isinstance(rows, int) and tables and rows not in tables:
        return f"it says vocab_size {rows}, the weights have tables of {' and '.join(map(str, dict.fromkeys(tables)))} rows"
    alone = sum(n == rows for n in tables) == 1
    if alone and text.get(TIE, config.get(TIE)) is False and _has_head(config):
        return f"it says {TIE}: false, and there is no head beside the embedding"
    if isinstance(rows, int) and isinstance(padding, int) and padding >= rows:
        return f"its pad_token_id {padding} is not among {rows} rows"
    return None
