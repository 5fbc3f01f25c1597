"""Tiny models of real structures, as transformers saves them, and as they were once published."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

SIZES = {
    "vocab_size": 96,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "max_position_embeddings": 32,
    "pad_token_id": 0,
}
Tensors = dict[str, torch.Tensor]


def real(folder: Path, kind: str, *, seed: int = 0, **config) -> Path:
    """A random model, by its model_type, saved by transformers."""
    from transformers import AutoConfig, AutoModelForCausalLM

    torch.manual_seed(seed)
    settings = AutoConfig.for_model(kind, **{**SIZES, **config})
    AutoModelForCausalLM.from_config(settings).save_pretrained(folder)
    return folder


def tensors(folder: Path) -> Tensors:
    """All tensors of a folder."""
    found: Tensors = {}
    for path in sorted(folder.glob("*.safetensors")):
        found |= load_file(path)
    return found


def rewritten(source: Path, folder: Path, change: Callable[[Tensors], Tensors]) -> Path:
    """A copy of a folder with its tensors changed by a function."""
    shutil.copytree(source, folder, dirs_exist_ok=True)
    made = {name: t.contiguous().clone() for name, t in change(tensors(source)).items()}
    save_file(made, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def nudged(source: Path, folder: Path, seed: int = 1) -> Path:
    """A copy whose floating-point tensors are all moved a little, as after a training."""
    torch.manual_seed(seed)
    return rewritten(
        source, folder, lambda held: {n: t + 0.02 * torch.randn_like(t) if t.is_floating_point() else t for n, t in held.items()}
    )  # fmt: skip


def configured(folder: Path, **changes) -> Path:
    """A folder with entries of its config changed."""
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    return folder
