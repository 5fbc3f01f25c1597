"""``adapter_config.json``: which settings of a LoRA adapter can be merged, and how.

The rule: `W + scale * B A` holds if each setting is at its default, or is listed here as one that is merged
or one that does not affect the weights. A key that is not listed is refused by name unless it is off (null,
false, empty). docs/merge_methods.md shows the list.
"""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from fusionchat.artifacts import Json
from fusionchat.errors import MergeError

CONFIG = "adapter_config.json"
INITIAL = "pissa_init"
"""The folder in which LLaMA-Factory and peft's examples save a PiSSA adapter's initial state."""
_CONVERT = (
    "convert it to plain LoRA with peft (save_pretrained with path_initial_model_for_weight_conversion), or set "
    "init_lora_weights to true if the pivot is the changed model that it was trained on"
)
_PEFT = "merge it into a full model with the tool that made it, and use that model"

_HARMLESS = """
task_type auto_mapping base_model_name_or_path revision inference_mode peft_version merge_weights target_modules
exclude_modules layers_to_transform layers_pattern lora_dropout bias megatron_core loftq_config eva_config corda_config
lora_ga_config velora_config monteclora_config qalora_group_size runtime_config
"""
"""Settings about how or where an adapter was trained, which do not change what its weights mean."""
_OTHER_TOOLS = """
unsloth_fixed unsloth_version lora_dtype lorap_lr_ratio lorap_emb_lr use_merged_linear swift_type loraplus_lr_ratio
loraplus_lr_embedding transformers_version torch_dtype dtype library_name base_model_class parent_library _name_or_path
"""
"""Settings that tools around peft write and that do not change the weights.

These are unsloth's marks, ms-swift's type of the factors, kind of adapter and way to compute
(swift/tuners/lora.py), learning rates of LoRA+ (ms-swift, axolotl), and what transformers puts into configs.
"""
_MERGED = """
peft_type r lora_alpha use_rslora rank_pattern alpha_pattern init_lora_weights use_dora lora_bias kasa_config use_bdlora
fan_in_fan_out trainable_token_indices target_parameters modules_to_save ensure_weight_tying
"""
_KNOWN = frozenset((_HARMLESS + _OTHER_TOOLS + _MERGED).split())
_REFUSED = {
    "alora_invocation_tokens": "it works on the tokens after its invocation only (aLoRA), and no weights do that",
    "arrow_config": "it chooses between adapters token by token (Arrow), and no weights do that",
    "use_qa_lora": "its factors work on pooled inputs of a quantized model (QA-LoRA)",
    "use_qalora": "its factors work on pooled inputs of a quantized model (QA-LoRA)",
    "layer_replication": "it belongs to a model in which layers are repeated, and the pivot is not that model",
    "megatron_config": "it belongs to a Megatron model, whose layers hold other tensors than the pivot's",
    "enable_lora": "it changes parts of a fused projection only",
}
_PRESENT_IS_ON = ("arrow_config", "kasa_config", "use_bdlora")
"""Settings that are on unless they are null; even an empty object turns them on."""

Start = Literal["plain", "pissa", "olora", "unknown"]
"""What peft removes from the base weights when it creates the adapter.

It is nothing, a part that can be computed from them, or an unknown part.
"""


@dataclass(frozen=True)
class Blocks:
    """BD-LoRA: factors stored as the blocks of a block-diagonal matrix.

    Attributes:
        down: Parts of module names whose A is stored as blocks.
        up: Parts of module names whose B is stored as blocks.
        count: Number of blocks.
    """

    down: tuple[str, ...]
    up: tuple[str, ...]
    count: int


@dataclass(frozen=True)
class Settings:
    """What an adapter's config says about its weights.

    Attributes:
        path: The file.
        base: The base model that it names, or "".
        rank: r; None if the config lacks it.
        alpha: lora_alpha.
        rslora: Whether the scale is alpha / sqrt(r).
        ranks: r by pattern of module names.
        alphas: lora_alpha by pattern of module names.
        start: What was removed from the base weights first.
        initialised: The setting for that, and what it does, for messages; "" unless ``start`` is unknown.
        dora: Whether rows are scaled to the lengths in ``lora_magnitude_vector``.
        bias: Whether B has a bias (lora_bias).
        kasa: Whether the smallest singular values were dropped and ``lora_diag`` is between A and B.
        blocks: BD-LoRA's blocks.
        transposed: fan_in_fan_out.
        tokens: Trained rows of the embeddings, or by name of a module.
        parameters: Parameters (not modules) that were adapted.
        saved: Modules that were trained in full.
        tied: Whether tied modules were trained as one (ensure_weight_tying).
    """

    path: Path
    base: str
    rank: int | None
    alpha: float
    rslora: bool
    ranks: Mapping[str, float]
    alphas: Mapping[str, float]
    start: Start
    initialised: str
    dora: bool
    bias: bool
    kasa: bool
    blocks: Blocks | None
    transposed: bool
    tokens: Mapping[str, tuple[int, ...]]
    parameters: tuple[str, ...]
    saved: tuple[str, ...]
    tied: bool

    @property
    def needs_factors(self) -> bool:
        """Whether the initial factors determine what was removed from the base weights.

        They do not if the rest was quantized, too.
        """
        return self.start != "plain" and "loftq" not in self.initialised

    def rank_of(self, module: str) -> int | None:
        """r of a module, by its name in the adapter; None if the config does not say."""
        found = _by_pattern(self.ranks, module)
        return self.rank if found is None else int(found)

    def scale_of(self, module: str, rank: int) -> float:
        """alpha / r, or alpha / sqrt(r) with rsLoRA (arXiv 2312.03732)."""
        found = _by_pattern(self.alphas, module)
        alpha = self.alpha if found is None else found
        return alpha / (math.sqrt(rank) if self.rslora else rank)

    def tokens_of(self, module: str) -> tuple[int, ...] | None:
        """The trained rows of a module's weight; None if the config does not say."""
        for key, rows in self.tokens.items():
            if not key or module.endswith(key):
                return rows
        return None


def read_settings(folder: Path) -> Settings:
    """The settings of an adapter.

    Raises:
        MergeError: The config is missing or damaged, or a setting cannot be merged correctly; the message
            names it.
    """
    path = folder / CONFIG
    config = _read(path)
    kind = config.get("peft_type")
    if kind != "LORA":
        raise MergeError(
            f"Only LoRA adapters can be merged; the peft_type of this one is {kind}",
            where=str(path),
            do=_PEFT,
        )
    _refuse_others(config, path)
    blocks, kasa = _blocks(config, path), config.get("kasa_config") not in (None, False)
    start, initialised = _start(config.get("init_lora_weights"), path)
    dora, parameters = _flag(config, "use_dora", path), _names(config, "target_parameters", path)
    for name, on in (("kasa_config", kasa), ("use_bdlora", blocks is not None)):
        if on and (start != "plain" or dora or (kasa and blocks)):
            raise _refusal(name, path, "together with use_dora, init_lora_weights or another variant", _PEFT)
    return Settings(
        path=path,
        base=str(config.get("base_model_name_or_path") or ""),
        rank=int(_number(config["r"], "r", path)) if config.get("r") is not None else None,
        alpha=_number(config.get("lora_alpha"), "lora_alpha", path, least=-math.inf),
        rslora=_flag(config, "use_rslora", path),
        ranks=_patterns(config, "rank_pattern", path),
        alphas=_patterns(config, "alpha_pattern", path),
        start=start,
        initialised=initialised,
        dora=dora,
        bias=_flag(config, "lora_bias", path),
        kasa=kasa,
        blocks=blocks,
        transposed=_flag(config, "fan_in_fan_out", path),
        tokens=_tokens(config.get("trainable_token_indices"), path),
        parameters=parameters,
        saved=_names(config, "modules_to_save", path),
        tied=_flag(config, "ensure_weight_tying", path),
    )


def _read(path: Path) -> dict[str, Json]:
    if not path.is_file():
        raise MergeError(
            "This adapter has no adapter_config.json, which has its scale",
            where=str(path),
            do="save or download the adapter with its config",
        )
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(config, dict):
            raise ValueError("it is not a JSON object")
    except (OSError, ValueError) as error:
        raise MergeError(
            f"This adapter's config is damaged: {error}", where=str(path), do="save it again"
        ) from error
    return config


def _refuse_others(config: Mapping[str, Json], path: Path) -> None:
    for key, value in config.items():
        off = value in (None, False) or (key not in _PRESENT_IS_ON and value in (0, "", [], {}))
        if off or key in _KNOWN:
            continue
        if key in _REFUSED:
            raise _refusal(key, path, f"is set, so {_REFUSED[key]}", _PEFT)
        raise MergeError(
            f"This adapter has the setting {key}, which FusionChat does not know and which may change its weights",
            where=str(path),
            do=f"remove {key} from the file if it does not; otherwise {_PEFT}",
        )


def _refusal(key: str, path: Path, why: str, do: str) -> MergeError:
    return MergeError(f"This adapter cannot be merged: {key} {why}", where=str(path), do=do)


_PLAIN = ("gaussian", "eva", "orthogonal", "mica", "true", "false", "none")
_UNKNOWN_START = {
    "pissa_niter_": "takes away a part of the base weights that was found with random numbers",
    "corda": "takes away a part of the base weights that depends on the training data",
    "lora_ga": "takes away a part of the base weights that depends on the training data",
    "loftq": "quantizes the base weights first",
}


def _start(value: Json, path: Path) -> tuple[Start, str]:
    word = str(value).lower()
    if word == "pissa":
        return "pissa", ""
    if word == "olora":
        return "olora", ""
    if word in _PLAIN:
        return "plain", ""
    for beginning, why in _UNKNOWN_START.items():
        if word.startswith(beginning):
            return "unknown", f"init_lora_weights is {value!r}, which {why}"
    raise _refusal("init_lora_weights", path, f"is {value!r}, which FusionChat does not know", _PEFT)


def unknown_start(settings: Settings, module: str) -> MergeError:
    """The error for an adapter whose file lacks what was left of a module's base weights."""
    return MergeError(
        f"This adapter cannot be merged: {settings.initialised}, and its folder holds neither what was left of {module} "
        f"nor the factors it began with ({INITIAL})",
        where=str(settings.path),
        do=_PEFT if "loftq" in settings.initialised else _CONVERT,
    )


def _flag(config: Mapping[str, Json], key: str, path: Path) -> bool:
    value = config.get(key)
    if value is None or isinstance(value, bool):
        return bool(value)
    raise MergeError(f"{key} is {value!r}, not true or false", where=str(path), do="correct the file")


def _number(value: Json, key: str, path: Path, *, least: float = 1) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool) and value >= least:
        return float(value)
    lacks = "lacks" if value is None else f"has {value!r} as"
    raise MergeError(
        f"The adapter's config {lacks} {key}", where=str(path), do="save the adapter again with peft"
    )


def _patterns(config: Mapping[str, Json], key: str, path: Path) -> dict[str, float]:
    found = config.get(key) or {}
    if not isinstance(found, dict):
        raise MergeError(f"{key} is not a table of patterns", where=str(path), do="correct the file")
    made, least = {}, 1.0 if key == "rank_pattern" else -math.inf
    for pattern, value in found.items():
        try:
            re.compile(pattern)
        except re.error as error:
            raise MergeError(
                f"{key} has {pattern!r}, which is not a regular expression: {error}",
                where=str(path),
                do="correct the file",
            ) from error
        made[pattern] = _number(value, key, path, least=least)
    return made


def _by_pattern(patterns: Mapping[str, float], module: str) -> float | None:
    """The value of the first pattern (a regular expression for the end of a name) that matches.

    As peft's ``get_pattern_key``.
    """
    for pattern, value in patterns.items():
        if re.match(rf"(.*\.)?({pattern})$", module):
            return value
    return None


def _names(config: Mapping[str, Json], key: str, path: Path) -> tuple[str, ...]:
    found = config.get(key) or []
    if not (isinstance(found, list) and all(isinstance(name, str) for name in found)):
        raise MergeError(f"{key} is not a list of names", where=str(path), do="correct the file")
    return tuple(str(name) for name in found)


def _tokens(value: Json, path: Path) -> dict[str, tuple[int, ...]]:
    found = value if isinstance(value, dict) else {"": value} if value else {}
    for rows in found.values():
        if not (isinstance(rows, list) and all(type(row) is int and row >= 0 for row in rows)):
            raise MergeError(
                "trainable_token_indices is neither a list of token ids nor lists by module",
                where=str(path),
                do="correct the file",
            )
    return {name: tuple(rows) for name, rows in found.items()}  # type: ignore[arg-type]


def _blocks(config: Mapping[str, Json], path: Path) -> Blocks | None:
    value = config.get("use_bdlora")
    if value is None or value is False:
        return None
    if not isinstance(value, dict):
        raise MergeError("use_bdlora is not a table", where=str(path), do="correct the file")
    down, up = (_names(value, f"target_modules_bd_{side}", path) for side in "ab")
    return Blocks(down, up, int(_number(value.get("nblocks", 1), "use_bdlora.nblocks", path)))
