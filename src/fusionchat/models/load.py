"""Models and their configurations as transformers loads them.

Python files that come with a model are never run (``trust_remote_code`` is off), and nobody is asked whether they should
be.
"""

from typing import TYPE_CHECKING, cast

from fusionchat.errors import ModelError
from fusionchat.models.ready import advice, first_line, ready
from fusionchat.models.ref import ModelRef

if TYPE_CHECKING:
    import torch
    from transformers import PretrainedConfig, PreTrainedModel


def load_config(ref: ModelRef) -> "PretrainedConfig":
    """The model's configuration; raises ModelError where it cannot be had."""
    from transformers import AutoConfig

    ready(ref.place, ("config.json",))
    try:
        return AutoConfig.from_pretrained(ref.model, revision=ref.place.revision, trust_remote_code=False)
    except Exception as error:
        raise ModelError(
            f"The configuration of {ref.name!r} cannot be loaded: {first_line(error)}",
            where=ref.model,
            do=advice(ref.place, error),
        ) from error


def load_model(ref: ModelRef, *, dtype: "torch.dtype", device: "torch.device") -> "PreTrainedModel":
    """The model in evaluation mode on a device; raises ModelError where it cannot be had."""
    import torch
    from transformers import AutoModelForCausalLM

    ready(ref.place, ("",))
    try:
        model = AutoModelForCausalLM.from_pretrained(
            ref.model, revision=ref.place.revision, dtype=dtype, trust_remote_code=False
        )
    except Exception as error:
        raise ModelError(
            f"The model {ref.name!r} cannot be loaded: {first_line(error)}",
            where=ref.model,
            do=advice(ref.place, error),
        ) from error
    cast(torch.nn.Module, model).to(device)
    return model.eval()
