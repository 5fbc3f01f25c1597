"""Adapters of peft: the model is its base with the adapter's changes merged into the weights."""

import json
from typing import TYPE_CHECKING, cast

from fusionchat.errors import ModelError
from fusionchat.hub import Place, cached_folder, find
from fusionchat.models.base import require_same_weights
from fusionchat.models.files import ADAPTER as CONFIG
from fusionchat.models.files import TOKENIZER, matching
from fusionchat.models.ready import ready
from fusionchat.models.ref import ModelRef, locate

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedModel

NEEDS = "pip install 'fusionchat[lora]'"


def base_of(place: Place) -> str:
    """The model that an adapter names as its base; "" if it names none or is not on this machine.

    Raises:
        ModelError: A folder is no adapter's.
    """
    folder = cached_folder(place)
    path = None if folder is None else folder / CONFIG
    if path is None or not path.is_file():
        if place.path is not None:
            raise ModelError(
                f"This folder holds no adapter: there is no {CONFIG}",
                where=str(place.path),
                do="use the folder that peft wrote",
            )
        return ""
    try:
        return str(json.loads(path.read_text(encoding="utf-8")).get("base_model_name_or_path") or "")
    except (ValueError, AttributeError) as error:
        raise ModelError(f"The adapter's {CONFIG} cannot be read: {error}", where=str(path)) from error


def ref_of(name: str, where: str) -> ModelRef:
    """A model by its folder or hub id; an adapter's folder means its base model with the adapter.

    Raises:
        ModelError: An adapter does not name its base, or the base does not exist.
    """
    folder = find(where).path
    if folder is None or not (folder / CONFIG).is_file() or (folder / "config.json").is_file():
        return ModelRef(name, where, where)
    base = base_of(find(where))
    if not base:
        raise ModelError(
            "This adapter does not name the model that it belongs to",
            where=str(folder / CONFIG),
            do="set base_model_name_or_path in it",
        )
    model = locate(base, str(folder), where=f"{folder / CONFIG}: base_model_name_or_path")
    own = bool(matching(folder, TOKENIZER))
    revision = json.loads((folder / CONFIG).read_text(encoding="utf-8")).get("revision")
    return ModelRef(name, model, where if own else model, revision, adapter=where)


def require_base(ref: ModelRef) -> None:
    """Raise ModelError if an adapter names another base than its model.

    Names are compared if both are ids on the hub; otherwise the adapter's record of its base is checked.
    """
    place = ref.adapter_place
    if place is None:
        return
    base, own = base_of(place), ref.place
    on_hub = find(base).hub_id if base else None
    if on_hub is not None and "/" in on_hub and own.path is None and on_hub.lower() != own.name.lower():
        raise ModelError(
            f"The adapter of {ref.name!r} was trained on {base}, and its model is {own.name}",
            where=place.given,
            do=f"set model: {base}, or use a local copy of the model if they are the same",
        )
    adapter, folder = cached_folder(place), None if own.file is not None else cached_folder(own)
    if adapter is not None and folder is not None:
        require_same_weights(adapter, folder)


def with_adapter(ref: ModelRef, model: "PreTrainedModel", *, merged: bool) -> "PreTrainedModel":
    """A base model with its adapter.

    Args:
        ref: The model.
        model: The base.
        merged: Whether the changes are merged into the weights; they stay separate from quantized weights.

    Raises:
        ModelError: peft is missing, or the adapter does not fit the base.
    """
    place = ref.adapter_place
    if place is None:
        return model
    require_base(ref)
    ready(place, ("",))
    try:
        from peft import PeftModel
    except ImportError as error:
        raise ModelError(
            "Reading adapters needs the package `peft`, which is not installed", do=NEEDS
        ) from error
    try:
        adapted = PeftModel.from_pretrained(model, place.name, revision=place.revision, is_trainable=False)
        if merged:
            return cast("PreTrainedModel", adapted.merge_and_unload(safe_merge=True))
        return cast("PreTrainedModel", adapted.get_base_model())
    except Exception as error:  # peft raises many kinds
        raise ModelError(
            f"The adapter of {ref.name!r} does not fit its model: {' '.join(str(error).split())[:300]}",
            where=place.given,
            do="use the model that it was trained on",
        ) from error


def trained_module(module: "nn.Module") -> "nn.Module":
    """The copy of a module that peft trains in its place (``modules_to_save``), or the module itself."""
    copies = getattr(module, "modules_to_save", None)
    return module if copies is None else cast("nn.Module", copies[module.active_adapters[0]])  # type: ignore[index]
