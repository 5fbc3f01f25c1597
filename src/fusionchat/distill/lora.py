"""LoRA: factors beside the pivot's frozen matrices, added, checked and saved by PEFT.

    W + alpha / r * B A        (arXiv 2106.09685), B zero and A random at the start

The target is an adapter that `PeftModel.from_pretrained`, vLLM and the merge can read. A file beside it names
the weights that it belongs to.
"""

from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from fusionchat.artifacts import read_json, write_json
from fusionchat.distill.trainable import Lora, LoraSettings, Qlora
from fusionchat.errors import ModelError
from fusionchat.models.adapter import NEEDS
from fusionchat.models.base import write_base
from fusionchat.models.card import README
from fusionchat.models.files import ADAPTER
from fusionchat.models.load import load_config
from fusionchat.models.opening import PLAIN, Opening
from fusionchat.models.quantization import COMPUTE, describe, lacks
from fusionchat.models.ref import ModelRef
from fusionchat.settings import meant

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel

WHERE = "distill.train.lora"


def linear_layers(model: "PreTrainedModel") -> dict[str, tuple[int, int]]:
    """Inputs and outputs of each linear layer except the head, by its name in the model.

    The structure may be on any device.
    """
    head = model.get_output_embeddings()
    return {
        name: _sides(module)
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear | Conv1D) and module is not head
    }


def _sides(module: nn.Linear | Conv1D) -> tuple[int, int]:
    if isinstance(module, Conv1D):  # stores [inputs, outputs]
        return int(module.weight.shape[0]), int(module.weight.shape[1])
    return module.in_features, module.out_features


def chosen_layers(
    model: "PreTrainedModel", settings: LoraSettings, where: str = WHERE
) -> dict[str, tuple[int, int]]:
    """Inputs and outputs of the linear layers that get factors, by name.

    Raises:
        ModelError: A name matches no linear layer, a rank exceeds a matrix's, or a module to save does not
            exist.
    """
    layers = linear_layers(model)
    known = _ends(layers)
    for name in settings.targets:
        if not any(is_called(layer, name) for layer in layers):
            raise ModelError(
                f"The model has no linear layer {name!r} that can have factors{meant(name, known)}",
                where=f"{where}.targets",
                do=f"use some of {', '.join(known)}; train a head or an embedding as a whole, with modules_to_save",
            )
    chosen = {
        layer: sides
        for layer, sides in layers.items()
        if not settings.targets or any(is_called(layer, name) for name in settings.targets)
    }
    for layer, sides in chosen.items():
        if settings.r > min(sides):
            raise ModelError(
                f"A matrix of {sides[1]} x {sides[0]} ({layer}) cannot have rank {settings.r}",
                where=f"{where}.r",
                do=f"use at most {min(min(one) for one in chosen.values())}, or leave that layer out with `targets`",
            )
    _require_saved(model, settings, chosen, where)
    return chosen


def require_fitting(ref: ModelRef, how: Lora | Qlora, where: str = "distill.train") -> None:
    """Check how a model is to be trained, against its structure and this machine.

    This runs before anything is captured.

    Raises:
        ModelError: As `chosen_layers`; or the package that quantizes is missing.
    """
    from transformers import AutoModelForCausalLM

    require_quantizer(how, where)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(load_config(ref))
    chosen_layers(model, how.factors, f"{where}.lora")


def require_quantizer(how: Lora | Qlora, where: str = "distill.train") -> None:
    """Raise ModelError if the matrices are to be in 4 bits and this machine cannot quantize them."""
    if how.quantization is not None and (missing := lacks(how.quantization)):
        raise ModelError(
            f"This machine cannot train with QLoRA: {missing}",
            where=f"{where}.qlora",
            do="pip install 'fusionchat[quant]', or train: lora",
        )


def opening_of(how: Lora | Qlora, compute: str) -> Opening:
    """How the pivot is loaded for training: as it is, or quantized and computing in ``compute``.

    Only its linear layers are quantized.
    """
    if how.quantization is None:
        return PLAIN
    return Opening(quantization={**how.quantization, COMPUTE: compute})


def _require_saved(
    model: "PreTrainedModel", settings: LoraSettings, chosen: dict[str, tuple[int, int]], where: str
) -> None:
    """Raise ModelError if a module to save does not exist, or has factors too."""
    modules = [name for name, module in model.named_modules() if any(True for _ in module.parameters(False))]
    for name in settings.modules_to_save:
        found = [module for module in modules if is_called(module, name)]
        if not found:
            known = _ends(modules)
            raise ModelError(
                f"The model has no module {name!r} with weights{meant(name, known)}",
                where=f"{where}.modules_to_save",
                do=f"use some of {', '.join(known)}",
            )
        both = next((module for module in found if module in chosen), None)
        if both is not None and not settings.targets:
            continue  # it is trained whole, and gets no factors
        if both is not None:
            raise ModelError(
                f"{both} would be trained both as a whole and by factors",
                where=where,
                do=f"remove {name!r} from one of the two",
            )


def is_called(module: str, name: str) -> bool:
    """Whether a name matches a module: its full name, or the end of it (peft's rule)."""
    return module == name or module.endswith(f".{name}")


def _ends(names: "dict[str, tuple[int, int]] | list[str]") -> list[str]:
    """The last part of each name, once."""
    return list(dict.fromkeys(name.rpartition(".")[2] for name in names))


def with_factors(
    model: "PreTrainedModel", settings: LoraSettings, ref: ModelRef, *, seed: int, where: str = WHERE
) -> "PeftModel":
    """The model, changed in place, with factors beside its matrices; everything else is frozen.

    A module to save that is tied to another one (embedding and head) stays tied: both are trained as one.

    Args:
        model: The pivot, or a source.
        settings: Which factors.
        ref: Where the model is.
        seed: The seed of the factors A.
        where: The recipe's key of the settings, for messages.

    Raises:
        ModelError: peft is missing, or the settings do not fit the model (`chosen_layers`).
    """
    try:
        from peft import LoraConfig, TaskType, get_peft_model
    except ImportError as error:
        raise ModelError(
            "Training with LoRA needs the package `peft`, which is not installed", where=where, do=NEEDS
        ) from error
    chosen = chosen_layers(model, settings, where)
    saved = list(settings.modules_to_save)
    place, embedding, head = ref.place, model.get_input_embeddings(), model.get_output_embeddings()
    names = {module: name for name, module in model.named_modules()}
    ends = {names[embedding], names[head]} if embedding.weight is head.weight else set()
    config = LoraConfig(
        task_type=TaskType.CAUSAL_LM,
        r=settings.r,
        lora_alpha=settings.scale,  # type: ignore[arg-type]
        lora_dropout=settings.dropout,
        target_modules=_target_names(model, chosen, saved),
        modules_to_save=_saved_names(model, saved) or None,
        ensure_weight_tying=any(is_called(end, name) for end in ends for name in saved),
        fan_in_fan_out=any(isinstance(model.get_submodule(layer), Conv1D) for layer in chosen),
    )
    torch.manual_seed(seed)
    adapted = get_peft_model(model, config, revision=place.revision)
    made = adapted.peft_config["default"]
    made.base_model_name_or_path = place.name if place.path is None else str(place.path.resolve())
    return adapted  # type: ignore[return-value]


def load_factors(adapted: "PeftModel", folder: Path) -> None:
    """Load the factors, and what else was trained, from an adapter that `save_adapter` wrote.

    A training continues from it.
    """
    from peft import load_peft_weights, set_peft_model_state_dict

    set_peft_model_state_dict(adapted, load_peft_weights(str(folder), device="cpu"))


def round_frozen(model: "PreTrainedModel", dtype: torch.dtype) -> None:
    """Round the weights of frozen linear layers to a dtype, in place, as autocast to it would.

    Autocast rounds them in every pass, so no bit of a training changes, and they need half the memory.
    Weights that something else reads too (a tied embedding), norms, biases and quantized weights stay as they
    are.
    """
    linear = {id(m.weight) for m in model.modules() if isinstance(m, nn.Linear)}
    for module in model.modules():
        if not isinstance(module, nn.Linear):
            linear -= {id(parameter) for parameter in module.parameters(recurse=False)}
    for module in model.modules():
        if not isinstance(module, nn.Linear) or id(module.weight) not in linear:
            continue
        if module.weight.is_floating_point() and not module.weight.requires_grad:
            module.weight.data = module.weight.data.to(dtype)


def _target_names(
    model: "PreTrainedModel", chosen: dict[str, tuple[int, int]], saved: list[str]
) -> list[str]:
    """The layers by the names that peft looks for.

    These are the last parts of their names, or full names where another module's name ends the same way.
    """
    left = [name for name in chosen if not any(is_called(name, one) for one in saved)]
    others = [name for name, _ in model.named_modules() if name and name not in left]
    clear = {end for end in _ends(left) if not any(is_called(name, end) for name in others)}
    return sorted({end if (end := name.rpartition(".")[2]) in clear else name for name in left})


def _saved_names(model: "PreTrainedModel", saved: list[str]) -> list[str]:
    """Modules to save, by the names that peft looks for.

    peft matches ``norm`` with ``input_layernorm`` too; full names are used then.
    """
    modules = [name for name, _ in model.named_modules(remove_duplicate=False) if name]
    found = list[str]()
    for name in saved:
        meant = [module for module in modules if is_called(module, name)]
        found += [name] if all(is_called(one, name) for one in modules if one.endswith(name)) else meant
    return found


def save_adapter(adapted: "PeftModel", ref: ModelRef, out: Path, how: Lora | Qlora) -> None:
    """Write an adapter: factors in fp32, modules trained whole, and which weights it belongs to."""
    adapted.save_pretrained(str(out), save_embedding_layers=False)
    (out / README).unlink(missing_ok=True)  # an empty template
    config = read_json(out / ADAPTER)
    targets = config["target_modules"]
    assert isinstance(targets, list)
    write_json(
        out / ADAPTER, config | {"target_modules": sorted(targets, key=str)}
    )  # peft stores them as a set
    quantized = None if how.quantization is None else describe(how.quantization)
    write_base(out, ref.place, trained_in=quantized)
