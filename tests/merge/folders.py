"""Tiny model folders for the tests of merging."""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file

SHAPES: dict[str, tuple[int, ...]] = {
    "model.embed_tokens.weight": (60, 16),
    "model.layers.0.self_attn.q_proj.weight": (16, 16),
    "model.layers.0.self_attn.k_proj.weight": (8, 16),
    "model.layers.0.mlp.up_proj.weight": (40, 16),
    "model.layers.0.input_layernorm.weight": (16,),
    "model.layers.1.self_attn.q_proj.weight": (16, 16),
    "model.layers.1.mlp.up_proj.weight": (40, 16),
    "model.norm.weight": (16,),
    "lm_head.weight": (60, 16),
}
TYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def save(
    folder: Path, tensors: Mapping[str, torch.Tensor], *, shards: int = 1, config: dict | None = None
) -> Path:
    """Write a model folder, sharded if asked."""
    folder.mkdir(parents=True, exist_ok=True)
    names = list(tensors)
    (folder / "config.json").write_text(
        json.dumps(config or {"model_type": "llama", "torch_dtype": "float32"})
    )
    if shards == 1:
        save_file(dict(tensors), folder / "model.safetensors")
        return folder
    weight_map = {}
    for n in range(shards):
        file = f"model-{n + 1:05d}-of-{shards:05d}.safetensors"
        part = names[n::shards]
        save_file({name: tensors[name] for name in part}, folder / file)
        weight_map.update(dict.fromkeys(part, file))
    (folder / "model.safetensors.index.json").write_text(
        json.dumps({"metadata": {}, "weight_map": weight_map})
    )
    return folder


def random_tensors(
    seed: int,
    base: Mapping[str, torch.Tensor] | None = None,
    scale: float = 0.02,
    dtype: str = "float32",
    shapes=None,
) -> dict[str, torch.Tensor]:
    """Normal tensors, around a base if there is one."""
    rng = np.random.default_rng(seed)
    made = {}
    for name, shape in (shapes or SHAPES).items():
        noise = torch.from_numpy(rng.normal(0, scale, shape).astype(np.float32))
        made[name] = ((base[name].float() if base else 0) + noise).to(TYPES[dtype])
    return made


def family(
    root: Path, targets: int = 2, *, scale: float = 1e-3, dtype: str = "float32", shards: int = 1, shapes=None
) -> tuple[Path, dict[str, Path]]:
    """A pivot and its targets, target j with changes ``j + 1`` times ``scale``."""
    base = random_tensors(0, dtype=dtype, shapes=shapes)
    pivot = save(root / "pivot", base, shards=shards)
    paths = {}
    for j in range(targets):
        tensors = random_tensors(j + 1, base, scale * (j + 1), dtype, shapes=shapes)
        paths[f"t{j}"] = save(root / f"t{j}", tensors, shards=shards)
    return pivot, paths


def adapter(folder: Path, tensors: Mapping[str, torch.Tensor], **config) -> Path:
    """Write a LoRA adapter of rank 2, scale 3."""
    folder.mkdir()
    save_file({name: t.contiguous() for name, t in tensors.items()}, folder / "adapter_model.safetensors")
    config = {"peft_type": "LORA", "r": 2, "lora_alpha": 6, **config}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    return folder


def load(folder: Path) -> dict[str, np.ndarray]:
    """All tensors of a folder as float64."""
    found = {}
    for path in sorted(folder.glob("*.safetensors")):
        found.update({name: tensor.double().numpy() for name, tensor in load_file(path).items()})
    return found


def stacked(paths: Mapping[str, Path]) -> dict[str, np.ndarray]:
    """The targets' tensors, stacked by name."""
    loaded = [load(path) for path in paths.values()]
    return {name: np.stack([tensors[name] for tensors in loaded]) for name in loaded[0]}
