"""A head tied to the embeddings, and what happens if an adapter trains them separately."""

from collections.abc import Mapping
from typing import Literal

import numpy as np

from fusionchat.artifacts import Json
from fusionchat.errors import MergeError
from fusionchat.merge.inputs.checkpoint import Checkpoint
from fusionchat.merge.inputs.layers.stack import is_before
from fusionchat.merge.inputs.plan import Source
from fusionchat.merge.inputs.stored import Stored
from fusionchat.merge.inputs.textmodel import text_of, with_text
from fusionchat.merge.weights import layer_of

How = Literal["stored", "copy", "rows", "factors"]
"""How a tensor was trained: only stored, as a module's copy, in some rows, by low-rank factors."""
TIE = "tie_word_embeddings"
_STEP = 2**20


def vocabulary_rows(config: Mapping[str, Json]) -> int | None:
    """``vocab_size`` of a config's language model; None if it has none."""
    value = text_of(config).get("vocab_size")
    return value if isinstance(value, int) else None


def tied_names(pivot: Checkpoint) -> tuple[str, ...]:
    """The embedding's name, and the head's if it is stored too, if the two are tied; otherwise nothing.

    transformers ties unless the config forbids it. A stored head is tied only if it is equal byte by byte.
    """
    says = pivot.config.get(TIE, text_of(pivot.config).get(TIE))
    rows = vocabulary_rows(pivot.config)
    if says is False or rows is None:
        return ()
    found = [n for n, t in pivot.tensors.items() if len(t.shape) == 2 and t.shape[0] == rows]
    found = sorted((n for n in found if layer_of(n) is None), key=lambda n: not is_before(n))
    first = pivot.tensors[found[0]] if found else None
    if len(found) == 1 or (len(found) == 2 and first and _same_bytes(first, pivot.tensors[found[1]])):
        return tuple(found)
    return ()


def _same_bytes(one: Source, two: Source) -> bool:
    assert isinstance(one, Stored) and isinstance(two, Stored)
    return (one.dtype, one.shape) == (two.dtype, two.shape) and one.raw() == two.raw()


def settle(
    changed: dict[str, Source], how: Mapping[str, How], pivot: Checkpoint, *, ensured: bool
) -> str | None:
    """Keep a tied head and its embedding one tensor if an adapter trained them as one.

    Returns the head's name otherwise. peft ties trained rows by itself, and copies and factors with
    ensure_weight_tying (``ensured``). ``changed`` gets one tensor for both names, or loses the name of a head
    that the pivot does not store.
    """
    tied = tied_names(pivot)
    known = [name for name in changed if name not in pivot.tensors]
    moved = [name for name in (*tied, *known) if name in changed]
    if not tied or not moved:
        return None
    one, other = changed[moved[0]], changed[moved[-1]]
    said = ensured or how[moved[0]] in ("stored", "rows")
    if not (said if one is other else alike(one, other)):
        return next(iter((*tied[1:], *known)), None) or head_name(pivot)
    for name in tied:
        changed[name] = one
    for name in known:
        del changed[name]
    return None


def alike(one: Source, two: Source, *, rounding: float = 1e-6) -> bool:
    """Whether two tensors have the same values, up to ``rounding`` (that of a product)."""
    if one.shape != two.shape:
        return False
    size = int(np.prod(one.shape, dtype=np.int64))
    for begin in range(0, size, _STEP):
        values = np.empty((2, min(_STEP, size - begin)), np.float32)
        one.decode(begin, values[0])
        two.decode(begin, values[1])
        if not np.allclose(values[0], values[1], rtol=max(rounding, 1e-6), atol=1e-9, equal_nan=True):
            return False
    return True


def untied(config: Mapping[str, Json]) -> dict[str, Json]:
    """A config whose model has an untied head."""
    inner = with_text(config, {TIE: False}) if TIE in text_of(config) else config
    return {**inner, TIE: False}


def with_head(pivot: Checkpoint, embedding: str, head: str) -> Checkpoint:
    """A pivot whose head is a tensor of its own, equal to the embedding."""
    tensors = {**pivot.tensors, head: pivot.tensors[embedding]}
    return Checkpoint(pivot.folder, tensors, pivot.config, pivot.files)


def head_name(pivot: Checkpoint) -> str:
    """The name of a tied head's weight, which the files lack, from the model's structure.

    Raises:
        MergeError: transformers cannot build the structure.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    try:
        config = AutoConfig.from_pretrained(pivot.folder, trust_remote_code=False)
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(config)
        head = model.get_output_embeddings()
        return next(f"{name}.weight" for name, module in model.named_modules() if module is head)
    except Exception as error:  # transformers raises many types
        raise MergeError(
            f"The adapter trains the embeddings apart from the tied head, whose name is not known: {error}",
            where=str(pivot.folder),
            do="train the adapter with ensure_weight_tying, or merge it with peft and use that model",
        ) from error
