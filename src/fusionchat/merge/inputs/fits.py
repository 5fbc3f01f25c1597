"""Whether config and weights of a fused model agree, checked before it is written.

Plain decoders are compared with their description here. All others are built without values from their class
in transformers, which reports missing and unused tensors. If it does not know the structure, the config's
layers and vocabulary are compared with the weights' names and shapes.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from fusionchat.console import warn
from fusionchat.errors import MergeError
from fusionchat.merge.inputs.checkpoint import Checkpoint
from fusionchat.merge.inputs.layers.stack import COUNTS, WIDTHS, numbered
from fusionchat.merge.inputs.plain_decoder import is_exactly
from fusionchat.merge.inputs.textmodel import Config, text_of
from fusionchat.merge.inputs.tied import TIE
from fusionchat.merge.weights import layer_of

Shapes = Mapping[str, tuple[int, ...]]

_HEADS = ("num_attention_heads", "n_head", "num_heads")


class Verdict(NamedTuple):
    """What was found about a fused model.

    Attributes:
        wrong: What does not fit.
        notices: What a user should know although the model can be written.
    """

    wrong: tuple[str, ...] = ()
    notices: tuple[str, ...] = ()


def check_fit(config: Config, shapes: Shapes, pivot: Checkpoint) -> None:
    """Raise MergeError if the fused model's config and weights disagree; warn of what is not checked.

    Args:
        config: The fused model's config.
        shapes: Its weights' shapes by name.
        pivot: The pivot.
    """
    if is_exactly(config, shapes):
        return
    wrong, notices = verdict(config, shapes)
    if wrong and "auto_map" in config:  # loaded with its own code, which may differ from transformers' class
        notices, wrong = (f"{_unchecked(config)}; for transformers' own class, {wrong[0]}",), ()
    if wrong:
        more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
        changed = config != pivot.config or shapes.keys() != pivot.tensors.keys()
        raise MergeError(
            f"The fused model's config.json would not fit its weights: {wrong[0]}{more}",
            where=str(pivot.folder),
            do="correct the pivot's config.json, or "
            + ("merge without slices" if changed else "download the model again"),
        )
    for notice in notices:
        warn(notice)


def verdict(config: Config, shapes: Shapes) -> Verdict:
    """What transformers reports of a config and these weights; without it, what the config shows."""
    from fusionchat.merge.inputs.structure import Unopened, opened_with

    doubt = doubtful(config, shapes)
    doubts = (doubt,) if doubt else ()
    if not _says_sizes(config):
        return Verdict(doubts, (_unchecked(config),))
    try:
        made = opened_with(config, shapes)
    except Unopened as error:
        return Verdict(doubts or (f"transformers does not open it: {error}",))
    if made is None:
        return Verdict(doubts, (_unchecked(config),))
    wrong = [f"{name} is missing" for name in made.missing]
    wrong += [f"{name} has shape {list(here)}, not {list(there)}" for name, here, there in made.misshapen]
    unused = [name for name in made.unused if not made.is_buffer(name)]
    wrong += [f"it has no {name}" for name in _uncounted(unused, shapes)]
    if wrong:
        return Verdict((*doubts, *wrong))
    more = f" and {len(unused) - 1} more" if len(unused) > 1 else ""
    notice = f"{made.kind} has no use for {', '.join(unused[:1])}{more}: kept in the fused model, and left out when it is opened"
    return Verdict((), (notice,) if unused else ())


def _uncounted(unused: list[str], names: Iterable[str]) -> list[str]:
    """The unused tensors of layers or experts that the config does not count.

    A layer with other parts than the used ones does not belong to their stack (DeepSeek's heads for further
    tokens).
    """
    left, used, lost = set(unused), defaultdict[str, set[str]](set), defaultdict[str, set[str]](set)
    for name in names:
        layer = re.match(r".*?\.\d+\.|", name)
        (lost if name in left else used)[layer[0] if layer else ""].add(_plain(name))
    layers = list(used.values())
    return [
        name
        for name in unused
        if (layer := re.match(r".*?\.\d+\.", name))
        and (_plain(name) in used[layer[0]] if layer[0] in used else lost[layer[0]] in layers)
    ]


def _unchecked(config: Config) -> str:
    kind = config.get("model_type")
    why = f"transformers does not know its structure ({kind})" if kind else "config.json has no model_type"
    if not _says_sizes(config):
        why = "config.json lacks its sizes (hidden_size, num_attention_heads)"
    if "auto_map" in config:
        why = "its structure has its own code (auto_map)"
    return f"whether config.json fits the fused weights was not checked: {why}"


def _says_sizes(config: Config) -> bool:
    text = text_of(config)
    return any(key in text for key in (*WIDTHS, *_HEADS))


def _plain(name: str) -> str:
    return re.sub(r"\d+", "#", name)


def _has_head(config: Config) -> bool:
    """Whether a config names a class with a head over the vocabulary."""
    named = config.get("architectures")
    return isinstance(named, list) and any(
        str(name).endswith(("ForCausalLM", "ForConditionalGeneration", "LMHeadModel")) for name in named
    )


def doubtful(config: Config, shapes: Shapes) -> str | None:
    """How a config contradicts the weights in layers, vocabulary, head or padding; None if it does not."""
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
        return f"it says {TIE}: false, but there is no separate head"
    if isinstance(rows, int) and isinstance(padding, int) and padding >= rows:
        return f"its pad_token_id {padding} is not among {rows} rows"
    return None
