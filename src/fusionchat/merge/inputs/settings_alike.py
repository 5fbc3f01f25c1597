"""Settings that change what weights mean: they must agree, or a warning names them.

The fused model gets the pivot's config. There are three kinds of settings: those that decide how a weight is
used (heads, activation, scales, routing) must agree, since an average of weights that are used differently is
no model; those that do not affect the weights' use (dtype, ids of tokens, dropout) do not matter; all others
may differ (a rope base raised for longer texts, a sliding window) and cause a warning that names them.
"""

import re
from collections.abc import Iterator

from fusionchat.artifacts import Json
from fusionchat.console import warn
from fusionchat.errors import MergeError
from fusionchat.merge.inputs.textmodel import Config, as_known

_NO_MATTER = re.compile(
    r"_.*|(torch_)?dtype|transformers_version|use_cache|.*token_ids?|.*token_index|.*_version|architectures|auto_map"
    r"|initializer_.*|init_.*|.*dropout.*|.*_pdrop|layerdrop|vocab_size.*|output_.*|return_dict|id2label|label2id|num_labels"
    r"|pretraining_tp|router_aux_loss_coef|.*z_loss.*|.*jitter.*|unsloth.*|quantization_config|.*attn_implementation"
    r"|use_flash_.*|problem_type|finetuning_task|task_specific_params|tokenizer_class|tie_word_embeddings|tie_encoder_decoder"
    r"|chunk_size_feed_forward|gradient_checkpointing|model_type|max_window_layers|use_sliding_window|name"
    r"|num_nextn_predict_layers|is_decoder|is_encoder_decoder|model_max_length|use_kernels|.*use_mamba_kernels"
)
_MUST_AGREE = re.compile(
    r"n_heads?|num_heads|n_head_kv|num_kv_heads|num_(attention|key_value)_heads|.*head_dim|kv_channels|multi_query"
    r"|hidden_act(ivation)?|activation(_function|_fn)?|act_fn|mlp_hidden_act|ffn_act_fn|ffn_activation"
    r"|partial_rotary_factor|rotary_pct|rotary_dim|rope_interleave|position_embedding_type|alibi|no_rope_layers"
    r"|query_pre_attn_scalar|.*_multipliers?|logits?_scal(e|ing)|scale_.*|.*softcap(ping)?|emb(edding)?_scale|normalize_.*"
    r"|parallel_attn|use_parallel_residual|new_decoder_architecture|do_layer_norm_before|apply_residual_.*|norm_type"
    r"|num_experts_per_tok(en)?|moe_k|moe_topk|norm_topk_prob|n_group|topk_group|topk_method|scoring_func"
    r"|routed_scaling_factor|first_k_dense_replace|decoder_sparse_step|mlp_only_layers|.*qk_norm|qk_layernorm|clip_qkv"
    r"|.*_bias|add_bias_.*|swiglu_.*"
)


def check_alike(pivot: Config, target: Config, name: str, where: str) -> None:
    """Compare a target's config with the pivot's, both completed by their class if transformers knows it.

    Settings that may differ cause a warning.

    Raises:
        MergeError: A setting that decides how the weights are used differs.
    """
    differing = list(differences(pivot, target))
    must = [one for one in differing if _MUST_AGREE.fullmatch(_last(one[0]))]
    if must:
        said = "; ".join(f"{key} is {_said(theirs)}, the pivot's {_said(mine)}" for key, mine, theirs in must)
        raise MergeError(
            f"Target {name} uses its weights differently than the pivot: {said}",
            where=where,
            do="merge only models whose config.json agrees in these settings",
        )
    if differing:
        said = "; ".join(
            f"{key} is {_said(theirs)}, the pivot's {_said(mine)}" for key, mine, theirs in differing
        )
        warn(f"target {name} differs from the pivot, whose settings the fused model gets: {said}")


def differences(pivot: Config, target: Config) -> Iterator[tuple[str, Json, Json]]:
    """Settings that both have, that differ and that matter: path, the pivot's value, the target's."""
    mine, theirs = dict(_flat(pivot)), dict(_flat(target))
    if mine == theirs:
        return
    known = as_known(pivot), as_known(target)
    if known[0] is not None and known[1] is not None:
        mine, theirs = dict(_flat(known[0])), dict(_flat(known[1]))
    for key, value in mine.items():
        if key in theirs and theirs[key] != value:
            yield key, value, theirs[key]


def _flat(config: Config, path: str = "") -> Iterator[tuple[str, Json]]:
    """Settings that matter by path; those of a part as ``text_config.hidden_act``."""
    for key, value in config.items():
        if _NO_MATTER.fullmatch(key):
            continue
        if isinstance(value, dict):
            yield from _flat(value, f"{path}{key}.")
        else:
            yield f"{path}{key}", value


def _last(path: str) -> str:
    return path.rpartition(".")[2]


def _said(value: Json) -> str:
    text = str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
