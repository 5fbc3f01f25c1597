"""Tiny models of many structures, as transformers saves them."""

from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

SIZE = {
    "vocab_size": 64, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 4, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 128, "pad_token_id": 0,
}  # fmt: skip


def model(folder: Path, kind: str = "llama", *, seed: int = 0, **more) -> Path:
    """A random model of a structure (its ``model_type``)."""
    from transformers import AutoConfig, AutoModelForCausalLM

    torch.manual_seed(seed)
    made = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **{**SIZE, **more}))
    made.save_pretrained(folder)
    return folder


def gemma3(folder: Path, *, seed: int = 0, rows: int = 64) -> Path:
    """Text and image: 4 layers of text, 6 of vision, the text's settings in ``text_config``."""
    from transformers import Gemma3Config, Gemma3ForConditionalGeneration

    torch.manual_seed(seed)
    text = {**SIZE, "vocab_size": rows, "head_dim": 8, "sliding_window": 16}
    vision = {
        "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 6, "num_attention_heads": 2,
        "image_size": 28, "patch_size": 14,
    }  # fmt: skip
    config = Gemma3Config(text_config=text, vision_config=vision, mm_tokens_per_image=4, image_token_index=5)
    Gemma3ForConditionalGeneration(config).save_pretrained(folder)
    return folder


def nudged(pivot: Path, folder: Path, seed: int) -> Path:
    """A copy whose weights are all moved a little."""
    import shutil

    shutil.copytree(pivot, folder)
    torch.manual_seed(seed)
    path = folder / "model.safetensors"
    moved = {k: v + 0.02 * torch.randn_like(v) for k, v in load_file(path).items()}
    save_file(moved, path, metadata={"format": "pt"})
    return folder
