"""GGUF files for tests: a folder's Llama or Qwen2 model, its tokenizer and its template, as llama.cpp writes them."""

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

gguf = pytest.importorskip("gguf", reason="the package gguf, of the extra [quant], is not here")

NAMES = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
CONTROL, BYTE, NORMAL = 3, 6, 1


def write_gguf(folder: Path, path: Path, *, kind: str = "F32", **values: int | str) -> Path:
    """Write a model folder as a GGUF file; ``values`` are put over its metadata."""
    config = json.loads((folder / "config.json").read_text())
    arch = config["model_type"]
    writer = gguf.GGUFWriter(path, values.pop("architecture", arch))
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_freq_base(config["rope_parameters"]["rope_theta"])
    writer.add_rope_dimension_count(config["hidden_size"] // config["num_attention_heads"])
    writer.add_vocab_size(config["vocab_size"])
    for key, value in values.items():
        writer.add_uint32(key, value) if isinstance(value, int) else writer.add_string(key, value)
    add_tokenizer(writer, folder)
    for name, tensor in sorted(load_file(folder / "model.safetensors").items()):
        add_tensor(writer, name, tensor.astype(np.float32), config if arch == "llama" else None, kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def add_tensor(writer, name: str, tensor: np.ndarray, permuted: dict | None, kind: str) -> None:
    """Add a tensor by llama.cpp's name, its rows in llama.cpp's order, matrices quantized."""
    stem, _, suffix = name.rpartition(".")
    if stem.startswith("model.layers."):
        number, _, inner = stem.removeprefix("model.layers.").partition(".")
        stem = f"blk.{number}.{NAMES[inner]}"
    else:
        stem = NAMES[stem]
    if permuted is not None and stem.endswith(("attn_q", "attn_k")):
        heads = permuted["num_attention_heads" if stem.endswith("attn_q") else "num_key_value_heads"]
        tensor = tensor.reshape(heads, 2, -1, tensor.shape[1]).swapaxes(1, 2).reshape(tensor.shape)
    quantized = gguf.GGMLQuantizationType[kind if tensor.ndim == 2 and tensor.shape[1] % 32 == 0 else "F32"]
    writer.add_tensor(f"{stem}.{suffix}", gguf.quantize(tensor, quantized), raw_dtype=quantized)


def add_tokenizer(writer, folder: Path) -> None:
    """Add a folder's tokenizer: byte-level (as Qwen's), or with byte fallback (as Llama's)."""
    held = json.loads((folder / "tokenizer.json").read_text())
    own = json.loads((folder / "tokenizer_config.json").read_text())
    vocabulary = dict(held["model"]["vocab"])
    special = {one["content"]: one["id"] for one in held["added_tokens"]}
    vocabulary |= special
    tokens = sorted(vocabulary, key=vocabulary.__getitem__)
    byte_level = not held["model"].get("byte_fallback")
    writer.add_tokenizer_model("gpt2" if byte_level else "llama")
    writer.add_tokenizer_pre("qwen2" if byte_level else "default")
    writer.add_token_list(tokens)
    writer.add_token_types(
        [CONTROL if t in special else BYTE if t.startswith("<0x") else NORMAL for t in tokens]
    )
    writer.add_token_merges([" ".join(pair) for pair in held["model"]["merges"]])
    writer.add_add_bos_token(False)
    for key, add in (
        ("bos_token", writer.add_bos_token_id),
        ("eos_token", writer.add_eos_token_id),
        ("pad_token", writer.add_pad_token_id),
        ("unk_token", writer.add_unk_token_id),
    ):
        if own.get(key) is not None:
            add(vocabulary[own[key]])
    writer.add_chat_template((folder / "chat_template.jinja").read_text())
