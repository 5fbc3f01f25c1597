"""The most common structures, so that merging their models does not need transformers.

Decoders of the Llama kind have the same parameters under the same names; their config has all sizes. For
anything that is not exactly as described here, `merge.inputs.fits` asks transformers.
"""

from collections.abc import Mapping
from typing import NamedTuple

from fusionchat.artifacts import Json
from fusionchat.merge.inputs.textmodel import Config
from fusionchat.merge.inputs.tied import TIE

Shape = tuple[int, ...]


class Kind(NamedTuple):
    """How a structure differs from Llama.

    Attributes:
        biased: Projections that always have a bias.
        switches: Projections that have one if a setting says so, by the setting.
        normed: Whether queries and keys have a norm each.
        says_head_dim: Whether the class has a default of its own if the config lacks ``head_dim``.
    """

    biased: tuple[str, ...] = ()
    switches: Mapping[str, tuple[str, ...]] = {}
    normed: bool = False
    says_head_dim: bool = False


_ATTENTION, _MLP = ("q_proj", "k_proj", "v_proj", "o_proj"), ("gate_proj", "up_proj", "down_proj")
KINDS = {
    "llama": Kind(switches={"attention_bias": _ATTENTION, "mlp_bias": _MLP}),
    "mistral": Kind(),
    "qwen2": Kind(biased=_ATTENTION[:3]),
    "qwen3": Kind(switches={"attention_bias": _ATTENTION}, normed=True, says_head_dim=True),
}
"""The structures by ``model_type``, as in transformers 5 (``models/*/modeling_*.py``)."""
_SIZES = (
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
)

_NUMBERS = ("rms_norm_eps", "initializer_range", "attention_dropout", "rope_theta", "max_position_embeddings")
_SWITCHES = ("use_cache", "use_sliding_window", TIE)
_ACTIVATIONS = ("silu", "gelu", "gelu_new", "gelu_pytorch_tanh", "relu")
_TYPES = {"full_attention", "sliding_attention"}
_LLAMA3 = ("factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings")
_ROPES = {("default", frozenset[str]()), ("linear", frozenset({"factor"})), ("llama3", frozenset(_LLAMA3))}


def is_exactly(config: Config, shapes: Mapping[str, Shape]) -> bool:
    """Whether these are exactly the parameters of the Llama-like decoder that the config describes."""
    wanted = expected(config) if _is_plain(config) else None
    return wanted is not None and shapes in (
        wanted | {"lm_head.weight": wanted["model.embed_tokens.weight"]},
        *([wanted] if config.get(TIE) is True else ()),
    )


def expected(config: Config) -> dict[str, Shape] | None:
    """Names and shapes that a config implies, without the head; None for another or unknown structure.

    >>> expected({"model_type": "gpt2"}) is None
    True
    """
    kind = KINDS.get(str(config.get("model_type")))
    sizes = [_size(config.get(key)) for key in _SIZES]
    if kind is None or "auto_map" in config or None in sizes:
        return None
    rows, width, inner, layers, heads, key_heads = (size or 0 for size in sizes)
    said = _size(config.get("head_dim"))
    padding = config.get("pad_token_id")
    switches = [config.get(key) for key in kind.switches]
    odd = width % heads or heads % key_heads or (isinstance(padding, int) and padding >= rows)
    if odd or (said is None and kind.says_head_dim) or any(s not in (None, True, False) for s in switches):
        return None
    head = said or width // heads
    made: dict[str, Shape] = {"model.embed_tokens.weight": (rows, width), "model.norm.weight": (width,)}
    for layer in range(layers):
        prefix = f"model.layers.{layer}"
        made[f"{prefix}.input_layernorm.weight"] = made[f"{prefix}.post_attention_layernorm.weight"] = (
            width,
        )
        for name, shape in _projections(width, inner, heads * head, key_heads * head).items():
            part = "self_attn" if name in _ATTENTION else "mlp"
            made[f"{prefix}.{part}.{name}.weight"] = shape
            if name in kind.biased or any(
                name in kind.switches[key] and config.get(key) for key in kind.switches
            ):
                made[f"{prefix}.{part}.{name}.bias"] = shape[:1]
        if kind.normed:
            made |= {f"{prefix}.self_attn.{name}_norm.weight": (head,) for name in "qk"}
    return made


def _is_plain(config: Config) -> bool:
    """Whether transformers certainly accepts the other settings."""
    layers, types = config.get("num_hidden_layers"), config.get("layer_types")
    rope = [config.get(key) for key in ("rope_scaling", "rope_parameters")]
    return (
        all(_is_number(config.get(key, 0)) for key in _NUMBERS)
        and all(config.get(key) in (None, True, False) for key in _SWITCHES)
        and config.get("hidden_act", "silu") in _ACTIVATIONS
        and all(held is None or _is_plain_rope(held) for held in rope)
        and (
            types is None
            or (isinstance(types, list) and len(types) == layers and set(map(str, types)) <= _TYPES)
        )
    )


def _is_plain_rope(held: Json) -> bool:
    if not isinstance(held, dict):
        return False
    kind = held.get("rope_type", held.get("type"))
    keys = held.keys() - {"rope_type", "type", "rope_theta"}
    return (kind, frozenset(keys)) in _ROPES and all(
        _is_number(held[key]) for key in {*keys, "rope_theta"} & held.keys()
    )


def _is_number(value: Json) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _projections(width: int, inner: int, queries: int, keys: int) -> dict[str, Shape]:
    """Shapes as [out, in]."""
    attention = [(queries, width), (keys, width), (keys, width), (width, queries)]
    mlp = [(inner, width), (inner, width), (width, inner)]
    return dict(zip((*_ATTENTION, *_MLP), (*attention, *mlp), strict=True))


def _size(value: Json) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None
