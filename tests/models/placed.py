"""Models opened in one way or another."""

import torch

from fusionchat.models.load import load_model
from fusionchat.models.opening import PLAIN, Opening
from fusionchat.models.ref import ModelRef

CPU = torch.device("cpu")


IDS = torch.arange(30)[None]


NF4 = Opening(
    quantization={"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_quant_type": "nf4"}
)


def ref(folder, **more):
    return ModelRef("qwen", str(folder), str(folder), **more)


def opened(one, opening=PLAIN, **more):
    return load_model(one, dtype=torch.float32, device=CPU, opening=opening, **more)


def logits(model):
    with torch.no_grad():
        return model(IDS).logits
