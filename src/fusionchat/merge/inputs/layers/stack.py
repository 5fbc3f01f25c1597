"""The stack of layers that a config counts, among all numbered parts in a model's names.

Vision and audio towers, encoders, experts and heads for several tokens have numbers of their own;
``num_hidden_layers`` counts only one list of numbered parts.
"""

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from fusionchat.artifacts import Json
from fusionchat.errors import MergeError
from fusionchat.merge.inputs.textmodel import Config, config_object, text_of, text_path
from fusionchat.merge.weights import layer_of

COUNTS = (
    "num_hidden_layers",
    "n_layer",
    "num_layers",
    "n_layers",
    "num_transformer_layers",
    "decoder_layers",
)
"""Names of the number of layers, for structures that transformers does not know."""

WIDTHS = ("hidden_size", "n_embd", "d_model")
"""Names of the width of the layers."""


class Stack(NamedTuple):
    """The layers of the language model.

    Attributes:
        prefix: The beginning of their names, before the number (``model.layers``).
        layers: The number that the config counts.
    """

    prefix: str
    layers: int

    def place(self, name: str) -> int | None:
        """The number of a parameter in this list; None for others. Counted layers come first."""
        return layer_of(name) if prefix_of(name) == self.prefix else None

    def layer(self, name: str) -> int | None:
        """The counted layer that a parameter belongs to; None for others.

        Heads that predict further tokens come after the counted ones.
        """
        number = self.place(name)
        return number if number is not None and number < self.layers else None


def prefix_of(name: str) -> str | None:
    """The part of a name before its first number; None if it has no number.

    >>> prefix_of("model.layers.3.mlp.experts.0.w1.weight")
    'model.layers'
    """
    parts = name.split(".")
    place = next((i for i, part in enumerate(parts) if part.isdigit()), None)
    return None if place is None else ".".join(parts[:place])


def renumbered(name: str, layer: int) -> str:
    """A parameter's name with another layer number.

    >>> renumbered("model.layers.3.mlp.weight", 7)
    'model.layers.7.mlp.weight'
    """
    parts = name.split(".")
    place = next(i for i, part in enumerate(parts) if part.isdigit())
    return ".".join([*parts[:place], str(layer), *parts[place + 1 :]])


class Depth(NamedTuple):
    """The depth of a parameter in the model.

    Attributes:
        layer: Its layer of the language model; None elsewhere.
        t: From 0 at the embeddings to 1 at the last layer, norm and head; other numbered parts have their own
            0 to 1.
    """

    layer: int | None
    t: float


def depths(names: Iterable[str], stack: Stack | None) -> dict[str, Depth]:
    """The depth of every parameter; ``stack`` has the language model's layers, if known."""
    names = list(names)
    last = {prefix: max(numbers) for prefix, numbers in numbered(names).items()}
    if stack is not None:
        last[stack.prefix] = stack.layers - 1
    made = {}
    for name in names:
        prefix, number = prefix_of(name), layer_of(name)
        if prefix is None or number is None:
            made[name] = Depth(None, 0.0 if is_before(name) else 1.0)
        else:
            t = min(number / last[prefix], 1.0) if last[prefix] > 0 else 1.0
            made[name] = Depth(stack.layer(name) if stack else None, t)
    return made


def is_before(name: str) -> bool:
    """Whether a parameter outside the layers is before them: an embedding that is not the head's.

    >>> names = ("gpt_neox.embed_in.weight", "embed_out.weight", "transformer.wte.weight", "model.norm.weight")
    >>> [is_before(name) for name in names]
    [True, False, True, False]
    """
    words = {word for part in name.split(".") for word in part.split("_")}
    first = any(word.startswith("emb") or word in ("wte", "wpe") for word in words)
    return first and not words & {"out", "output", "head", "unembed"}


def numbered(names: Iterable[str]) -> dict[str, set[int]]:
    """All lists of numbered parts: numbers by prefix, in the order of the names."""
    found: dict[str, set[int]] = {}
    for name in names:
        number = layer_of(name)
        if number is not None:
            found.setdefault(prefix_of(name) or "", set()).add(number)
    return found


def layer_count(config: Config) -> tuple[str, int] | None:
    """The setting that counts the layers, and its value; None if the config has none."""
    text = text_of(config)
    key = next((key for key in COUNTS if isinstance(text.get(key), int)), None) or _mapped(config)
    value = text.get(key) if key else None
    return (key, value) if key and isinstance(value, int) else None


def _mapped(config: Config) -> str | None:
    """transformers' name of ``num_hidden_layers`` for a structure (``n_layer`` of GPT-2)."""
    made = config_object(config)
    if made is None:
        return None
    name = made.get_text_config(decoder=True).attribute_map.get("num_hidden_layers")
    return str(name) if name else None


def find_stack(shapes: Mapping[str, tuple[int, ...]], config: Config, where: str) -> Stack:
    """The language model's layers.

    Args:
        shapes: All parameters' shapes by name.
        config: The whole ``config.json``.
        where: The model, for messages.

    Raises:
        MergeError: There are no layers, or config and names do not determine which they are.
    """
    lists = numbered(shapes)
    if config.get("is_encoder_decoder"):
        raise MergeError(
            "An encoder-decoder model has two stacks of layers; its layers cannot be rearranged",
            where=where,
            do="merge whole models",
        )
    counted = layer_count(config)
    if counted is None:
        whole = [prefix for prefix, numbers in lists.items() if numbers == set(range(len(numbers)))]
        if len(whole) == 1:
            return Stack(whole[0], len(lists[whole[0]]))
        raise MergeError(
            "The config does not say how many layers there are",
            where=where,
            do="add num_hidden_layers to its config.json",
        )
    key, count = counted
    fitting = [prefix for prefix, numbers in lists.items() if set(range(count)) <= numbers]
    for narrow in (_of_width, _of_no_other_part):
        if len(fitting) > 1:
            fitting = narrow(fitting, shapes, config) or fitting
    if len(fitting) > 1:
        fitting = [prefix for prefix in fitting if len(lists[prefix]) == count] or fitting
    if len(fitting) == 1:
        return Stack(fitting[0], count)
    if fitting:
        raise MergeError(
            f"{' and '.join(fitting)} both have the {count} layers that the config counts",
            where=where,
            do="merge whole models",
        )
    found = ", ".join(f"{prefix} ({len(numbers)})" for prefix, numbers in lists.items()) or "none"
    raise MergeError(
        f"config.json says {key}: {count}, but there are no {count} layers among the weights: {found}",
        where=where,
        do="correct config.json, or download the model again",
    )


def _of_width(prefixes: list[str], shapes: Mapping[str, tuple[int, ...]], config: Config) -> list[str]:
    """The prefixes whose parameters have the language model's hidden size on one side."""
    text = text_of(config)
    width: Json = next((text[key] for key in WIDTHS if text.get(key)), None)
    wide = {prefix_of(name) for name, shape in shapes.items() if width in shape}
    return [prefix for prefix in prefixes if prefix in wide]


def _of_no_other_part(
    prefixes: list[str], shapes: Mapping[str, tuple[int, ...]], config: Config
) -> list[str]:
    """The prefixes not named after another part of the config (``vision_config``: ``visual``)."""
    others: list[str] = []
    for key in (*text_path(config), None):
        others += [
            k[:3] for k, v in config.items() if k != key and k.endswith("_config") and isinstance(v, dict)
        ]
        part = config.get(key) if key else None
        config = part if isinstance(part, dict) else {}
    words = {prefix: re.split(r"[._]", prefix) for prefix in prefixes}
    return [p for p in prefixes if not any(word.startswith(other) for word in words[p] for other in others)]
