"""Settings of a config that depend on the layer, after layers were cut, repeated or mixed.

There are four kinds: the number of layers; lists with an entry per layer; lists of layer numbers; and rules
(every fourth layer, the first three layers). A rule is kept if it still gives every layer what it had,
written out if the structure has a list for it, and otherwise refused by name.
"""

import re
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

from fusionchat.artifacts import Json
from fusionchat.errors import MergeError
from fusionchat.merge.inputs.layers.stack import COUNTS, layer_count
from fusionchat.merge.inputs.textmodel import Config, as_known, text_of, with_text

_NUMBERS = {
    "attn_layer_indices", "cross_attention_layers", "full_attn_idxs", "global_attention_blocks", "hybrid_layer_ids",
    "kv_source_layers", "local_layer_ids", "mlp_only_layers", "moe_layers", "ple_layer_ids", "rope_scaling_layers",
}  # fmt: skip
"""Lists of layer numbers."""
_ENTRIES = {
    "activation_sparsity_pattern", "attention_layers", "attention_window", "attn_type_list", "block_configs",
    "block_types", "ffn_multipliers", "hybrid_override_pattern", "indexer_types", "kv_sharing_modes", "layer_rope_theta",
    "layer_types", "layers_block_type", "mlp_layer_types", "moe_layer_freq", "no_rope_layers", "num_kv_heads",
    "num_query_heads", "per_layer_config", "sliding_windows", "swiglu_limits", "swiglu_limits_shared",
}  # fmt: skip
"""Lists (or strings) with an entry per layer, if their length is the number of layers."""
_LEADING = ("first_k_dense_replace", "num_dense_layers", "n_dense_layers")
"""Rules for the first n layers."""
_BOUNDS = ("max_window_layers", "moe_layer_start_index", "moe_layer_end_index")
_PERIODS = re.compile(
    r"_?(.*_interval|.*_layer_period|.*_every_n_layers|.*sliding_window_pattern|.*sparse_step|interleave_.*_step"
    r"|.*layer_freq|cross_attention_frequency)"
)
_WRITTEN = {
    "no_rope_layer_interval": ("no_rope_layers",),
    "interleave_moe_layer_step": ("moe_layers",),
    "max_window_layers": ("layer_types",),
    "decoder_sparse_step": ("mlp_layer_types",),
    "first_k_dense_replace": ("mlp_layer_types",),
    "num_dense_layers": ("mlp_layer_types",),
}
"""Lists for which a rule is only an abbreviation; those of other periods are the kinds of attention."""
_KINDS = ("layer_types", "layers_block_type")
_BY_DEPTH = ("scale_attn_by_inverse_layer_idx", "num_kv_shared_layers")
"""Settings that make a layer depend on its own number, or on its neighbours."""
_ELSEWHERE = re.compile(r".*token_ids?$|.*(rope|vision|image|video|audio|quantization|visual).*|mtp_.*|_.*")
_NOT_BY_LAYER = {
    "architectures",
    "time_step_limit",
    "ssm_multipliers",
    "mlp_multipliers",
    "attention_types",
    "auto_map",
}


class Pick(NamedTuple):
    """The origin of a layer of the fused model: the config of its model, and its number there."""

    config: Config
    layer: int


def restacked(config: Config, picks: Sequence[Pick], layers: int, where: str) -> dict[str, Json]:
    """The config of a model with these layers.

    Args:
        config: The pivot's config.
        picks: The origin of each layer.
        layers: The number of the pivot's layers.
        where: The pivot, for messages.

    Raises:
        MergeError: A setting depends on the layer and cannot be adapted; it is named.
    """
    counted = layer_count(config)
    moved = [pick.layer for pick in picks] != list(range(layers))
    if not moved and all(text_of(pick.config) == text_of(config) for pick in picks):
        return dict(config)
    sources = _Sources(config, picks, layers)
    changes: dict[str, Json] = {}
    if counted is not None:
        changes |= {key: len(picks) for key in COUNTS if text_of(config).get(key) == counted[1]}
        changes[counted[0]] = len(picks)
    lists: dict[str, Json] = {}
    for key in sources.settings:
        picked = _picked(key, sources, where)
        if picked is not None:
            lists[key] = picked
    for key, value in sources.settings.items():
        if moved and key in _BY_DEPTH and value:
            raise _refused(f"{key}: {value}", "the work of a layer depends on its number", where)
        changes |= _rule(key, value, sources, lists, where) if isinstance(value, int | str) else {}
    raw = text_of(config)
    lists |= {key: value for key, value in changes.items() if key in lists}
    made = with_text(config, {**changes, **{key: value for key, value in lists.items() if key in raw}})
    known = as_known(made)
    missing = {k: v for k, v in lists.items() if known is None or text_of(known).get(k, v) != v}
    made = with_text(made, {**missing, **_grouped(raw, lists)})
    _check(made, lists, sources.known, where)
    return made


class _Sources:
    """The settings of the models of the layers, completed by transformers if it knows the structure."""

    def __init__(self, config: Config, picks: Sequence[Pick], layers: int) -> None:
        self.picks, self.layers = picks, layers
        completed: dict[int, dict[str, Json]] = {}
        for one in (config, *(pick.config for pick in picks)):
            if id(one) not in completed:
                known = as_known(one)
                completed[id(one)] = {**text_of(one), **(text_of(known) if known else {})}
        self.known = as_known(config) is not None
        self.settings = completed[id(config)]
        self.each = [(completed[id(pick.config)], pick.layer) for pick in picks]


def _picked(key: str, sources: _Sources, where: str) -> Json:
    """A list's new value for the layers there are now; None for what is no list by layer.

    Raises:
        MergeError: It may depend on the layer, but how is unknown.
    """
    value = sources.settings[key]
    if isinstance(value, dict) and not _ELSEWHERE.fullmatch(key) and _is_of_layers(key):
        for inner, part in value.items():
            if isinstance(part, list) and (len(part) == sources.layers or "layer" in str(inner)):
                raise _refused(f"{key}.{inner}", "it may be set by layer", where)
    kind = _kind(key, value, sources.layers, where)
    if kind is None:
        return None
    held = [(settings.get(key), layer) for settings, layer in sources.each]
    if kind == "numbers":
        return [
            n for n, (numbers, layer) in enumerate(held) if isinstance(numbers, list) and layer in numbers
        ]
    assert isinstance(value, list | str)
    entries = []
    for other, layer in held:
        own = other if isinstance(other, type(value)) and len(other) > layer else value
        entries.append(own[layer])
    if isinstance(value, str):
        return "".join(map(str, entries)) + value[sources.layers :]
    return [*entries, *value[sources.layers :]]


def _is_of_layers(key: str) -> bool:
    """Whether a group of settings can be about the language model's layers."""
    return not key.endswith("_config") or bool(re.search("attn|attention|linear|moe|ssm|mamba|layer", key))


def _kind(key: str, value: Json, layers: int, where: str) -> str | None:
    """``numbers``, ``entries``, or None for a value that is no list by layer."""
    if isinstance(value, str) and key != "hybrid_override_pattern":
        return None
    if not isinstance(value, list | str) or not value:
        return None
    if key in _NUMBERS:
        return "numbers"
    if key in _ENTRIES or key.endswith("_per_layer"):
        if len(value) < layers:
            raise _refused(key, f"it has {len(value)} entries for {layers} layers", where)
        return "entries"
    if _ELSEWHERE.fullmatch(key) or key in _NOT_BY_LAYER:
        return None
    numbers = [n for n in value if isinstance(n, int) and not isinstance(n, bool)]
    rising = len(numbers) == len(value) and all(a < b for a, b in pairwise(numbers))
    words = set(key.split("_"))
    by_layer = bool(words & {"layer", "layers", "block", "blocks"})
    if by_layer and rising and all(0 <= n < layers for n in numbers):
        return "numbers"
    if by_layer and len(value) == layers:
        return "entries"
    if by_layer or len(value) == layers:
        raise _refused(key, "it may be set by layer", where)
    return None


def _rule(
    key: str, value: int | str, sources: _Sources, lists: Mapping[str, Json], where: str
) -> dict[str, Json]:
    """The replacement of a rule for layers; empty if it is no rule or stays unchanged.

    Raises:
        MergeError: It cannot express the new layers, and no list can.
    """
    if key in (*_LEADING, *_BOUNDS) and isinstance(value, int):
        new = _bound(key, value, sources)
    elif _PERIODS.fullmatch(key):
        new = _period(key, value, sources)
    else:
        return {}
    if new is None and not any(name in lists for name in _written(key)):
        raise _refused(f"{key}: {value}", "no value of it gives these layers", where)
    return new or {}


def _bound(key: str, value: int, sources: _Sources) -> dict[str, Json] | None:
    """The new value of a rule for the layers below a bound; None if no value is right."""
    if key == "max_window_layers" and sources.settings.get("use_sliding_window") is False:
        return {}
    if key == "moe_layer_end_index" and value in (-1, sources.layers - 1):
        return {key: len(sources.each) - 1} if value >= 0 else {}
    bounds = [(settings.get(key), layer) for settings, layer in sources.each]
    below = [isinstance(bound, int) and layer < bound for bound, layer in bounds]
    if below == [n < value for n in range(len(below))]:
        return {}
    first = below.index(False) if False in below else len(below)
    return {key: first} if key in _LEADING and not any(below[first:]) else None


def _period(key: str, value: int | str, sources: _Sources) -> dict[str, Json] | None:
    """The new value of a rule for every n-th layer; None if no value is right."""
    period = len(value) if isinstance(value, str) else value
    if period < 1 or all(
        settings.get(key) == value and (n - layer) % period == 0
        for n, (settings, layer) in enumerate(sources.each)
    ):
        return {}
    if key == "decoder_sparse_step" and "mlp_only_layers" in sources.settings:
        return {key: 1, "mlp_only_layers": _dense(sources)}
    return None


def _written(key: str) -> tuple[str, ...]:
    """The lists that express the same as a rule."""
    name = key.removeprefix("_")
    if name in _WRITTEN:
        return _WRITTEN[name]
    return ("mlp_layer_types",) if re.search("moe|expert|mlp|cross", name) else _KINDS


def _dense(sources: _Sources) -> list[Json]:
    """The layers without experts, by the rule of Qwen's mixtures: listed, or between two steps."""
    found: list[Json] = []
    for n, (settings, layer) in enumerate(sources.each):
        named, step = settings.get("mlp_only_layers") or [], settings.get("decoder_sparse_step", 1)
        assert isinstance(named, list) and isinstance(step, int)
        if layer in named or (layer + 1) % step:
            found.append(n)
    return found


def _grouped(raw: Config, lists: Mapping[str, Json]) -> dict[str, Json]:
    """GPT-Neo's own way of writing its attention layers."""
    if "attention_types" not in raw or "attention_layers" not in lists:
        return {}
    return {"attention_types": [[lists["attention_layers"], 1]]}


def _check(config: Config, lists: Mapping[str, Json], known: bool, where: str) -> None:
    """Raise MergeError if the structure's class interprets the new settings differently."""
    made = as_known(config)
    if made is None:
        if known:
            raise _refused("config.json", "transformers does not accept it with these layers", where)
        return
    settings = text_of(made)
    for key, value in lists.items():
        if key in settings and settings[key] != value:
            raise _refused(key, "its class does not take a list for these layers", where)


def _refused(what: str, why: str, where: str) -> MergeError:
    return MergeError(
        f"The layers cannot be arranged like this: {what} in config.json ({why})",
        where=where,
        do="take whole multiples of the pattern, or merge without slices",
    )
