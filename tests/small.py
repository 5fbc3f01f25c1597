"""A model for tests of how models are opened: Qwen2's structure with the tiny world's tokenizer, random weights."""

import shutil
from pathlib import Path

import torch


def small_model(folder: Path, tokenizer: Path, *, intermediate: int = 256, seed: int = 0) -> Path:
    """Save a model whose matrices have sizes that quantization takes: multiples of 64."""
    from transformers import AutoConfig, AutoModelForCausalLM

    shutil.copytree(tokenizer, folder)
    config = AutoConfig.from_pretrained(folder)
    config.intermediate_size = intermediate
    torch.manual_seed(seed)
    AutoModelForCausalLM.from_config(config, dtype=torch.float32).save_pretrained(folder)
    return folder


def add_own_code(folder: Path) -> Path:
    """Make a folder's model one of a type that only the Python files beside it know."""
    import json

    (folder / "configuration_toy.py").write_text(
        "from transformers import Qwen2Config\n\n\nclass ToyConfig(Qwen2Config):\n    model_type = 'toy'\n"
    )
    (folder / "modeling_toy.py").write_text(
        "from transformers import Qwen2ForCausalLM\n\nfrom .configuration_toy import ToyConfig\n\n\n"
        "class ToyForCausalLM(Qwen2ForCausalLM):\n    config_class = ToyConfig\n"
    )
    config = json.loads((folder / "config.json").read_text())
    config |= {
        "model_type": "toy",
        "architectures": ["ToyForCausalLM"],
        "auto_map": {
            "AutoConfig": "configuration_toy.ToyConfig",
            "AutoModelForCausalLM": "modeling_toy.ToyForCausalLM",
        },
    }
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def save_adapter(folder: Path, base: Path) -> torch.nn.Module:
    """Save a LoRA adapter that changes something; returns the adapted model."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    settings = LoraConfig(r=4, target_modules=["q_proj", "up_proj"], task_type="CAUSAL_LM")
    adapted = get_peft_model(model, settings)
    torch.manual_seed(1)
    for name, weight in adapted.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.1)
    adapted.save_pretrained(folder)
    return adapted.eval()
