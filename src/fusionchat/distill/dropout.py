"""Training without dropout, so that the size of a micro-batch does not change the result."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn
from transformers import PreTrainedModel

WORDS = ("drop", "jitter")
"""Parts of the rates' names: attention_dropout, resid_pdrop, layerdrop, router_jitter_noise."""

OF_FACTORS = ".lora_dropout."
"""The part of a module's name under which peft keeps the dropout of its factors."""


@contextmanager
def without_dropout(model: PreTrainedModel) -> Iterator[None]:
    """Turn off a model's random numbers in training passes; afterwards its rates are as before.

    A dropout mask has the shape of a micro-batch: with GPT-2's 0.1 the trained weights depended on
    ``runtime.micro_batch_tokens``. Rates are numbers in modules, in `torch.nn.Dropout`, and in
    configurations. The rate of LoRA's factors is a setting, and stays.
    """
    modules = [module for name, module in model.named_modules() if OF_FACTORS not in name]
    owners: list[object] = [*modules, model.config, model.config.get_text_config()]
    kept = [(owner, name, rate) for owner in owners for name, rate in _rates(owner)]
    try:
        for owner, name, _ in kept:
            setattr(owner, name, 0.0)
        yield
    finally:
        for owner, name, rate in reversed(kept):
            setattr(owner, name, rate)


def _rates(owner: object) -> list[tuple[str, float]]:
    dropout = isinstance(owner, nn.Module) and type(owner).__name__.endswith("Dropout")
    return [
        (name, value)
        for name, value in vars(owner).items()
        if isinstance(value, float)
        and value != 0.0
        and (any(w in name for w in WORDS) or (dropout and name == "p"))
    ]
