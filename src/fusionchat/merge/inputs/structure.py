"""What transformers knows of a model's tensors: parameters, and names in memory and files.

transformers is used only if names alone do not decide; it builds the model from its config without memory (on
torch's meta device) and matches the stored names as it would when it loads the folder. No weights are read.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fusionchat.artifacts import Json
from fusionchat.merge.inputs.textmodel import config_object, is_known, made_of

if TYPE_CHECKING:
    import torch
    from transformers import PretrainedConfig, PreTrainedModel

Shape = tuple[int, ...]

_PART = " < "
"""The separator between a parameter's name and that of a tensor stored for a part of it."""
NO_PARAMETERS = ("inv_freq", "masked_bias", "position_ids", "causal_mask", "bias_mask")
"""Last parts of names that are always buffers' and never parameters'.

Older transformers, and models with their own code, use them.
"""


@dataclass(frozen=True)
class Structure:
    """A model as transformers builds it, and how it matches the stored tensors.

    Attributes:
        kind: The class.
        missing: Parameters that the stored tensors lack; transformers would initialise them.
        misshapen: Parameters that are stored in another shape: name, stored, wanted.
        parameters: Names of the parameters and saved buffers in the model.
        buffers: Names of all buffers, including those that are not saved.
        saved: Shapes of what `save_pretrained` would write, by name.
        canonical: The model's name for a stored tensor; tied tensors share one. A tensor without a place
            keeps its name.
        ignored: Patterns of stored names that transformers ignores on purpose.
        unused: Stored tensors without a place, except those ignored on purpose.
        transposed: Modules whose parameters are [..., in, out], where others of their kind are [..., out,
            in].
    """

    kind: str
    missing: tuple[str, ...]
    misshapen: tuple[tuple[str, Shape, Shape], ...]
    parameters: frozenset[str]
    buffers: frozenset[str]
    saved: Mapping[str, Shape]
    canonical: Callable[[str], str]
    ignored: tuple[str, ...]
    unused: tuple[str, ...]
    transposed: frozenset[str]

    @property
    def fits(self) -> bool:
        """Whether the stored tensors have everything that the model needs."""
        return not self.missing and not self.misshapen

    def has(self, name: str) -> bool:
        """Whether the model has a place for a stored tensor."""
        return self.canonical(name).partition(_PART)[0] in self.parameters

    def is_buffer(self, name: str) -> bool:
        """Whether a stored tensor is a buffer, which training does not change.

        Its name in the model shows it; or, if it was elsewhere in older versions, the end of its name, which
        only buffers of the model have; or that transformers ignores it and it is not a weight.
        """
        held = self.canonical(name)
        if held in self.parameters or held in self.buffers:
            return held in self.buffers
        last = _last(name)
        if last not in {_last(n) for n in self.parameters - self.buffers}:
            return last in NO_PARAMETERS or last in {_last(n) for n in self.buffers}
        return last != "weight" and any(re.search(pattern, name) for pattern in self.ignored)

    def is_state(self, name: str) -> bool:
        """Whether a stored tensor is a saved buffer, such as an expert's bias.

        Models of one structure may differ in it.
        """
        held = self.canonical(name)
        return held in self.parameters and held in self.buffers


def is_plain(name: str, shape: Shape) -> bool:
    """Whether a tensor can only be a parameter, judging by its name and shape; others are looked up.

    >>> is_plain("h.0.attn.bias", (1, 1, 1024, 1024)), is_plain("h.0.attn.c_attn.bias", (2304,))
    (False, True)
    """
    last = _last(name)
    return (last == "weight" and len(shape) > 0) or (last == "bias" and len(shape) == 1)


def is_known_buffer(name: str, shape: Shape) -> bool:
    """Whether a tensor can only be a buffer, judging by its name, or as a causal mask.

    This is for models that transformers does not know.

    >>> is_known_buffer("h.0.attn.bias", (1, 1, 1024, 1024)), is_known_buffer("h.0.attn.c_attn.bias", (2304,))
    (True, False)
    """
    mask = _last(name) == "bias" and len(shape) == 4 and shape[:2] == (1, 1) and shape[2] == shape[3]
    return mask or _last(name) in NO_PARAMETERS


def _last(name: str) -> str:
    return name.rpartition(".")[2]


def structure_of(folder: Path, shapes: Mapping[str, Shape], *, causal: bool = False) -> Structure | None:
    """What transformers knows of a folder whose weights have these names and shapes.

    Of the classes that the config can mean, the causal language model comes first, as a run loads it, then
    the one that the config names; the first that lacks nothing is used, or else the first. With ``causal`` it
    is only the causal language model. None if transformers cannot build any of them.
    """
    path = folder / "config.json"
    if not path.is_file():
        return None
    return _structure_of(folder, path.stat().st_mtime_ns, tuple(shapes.items()), causal)


@lru_cache(maxsize=4)  # a search merges the same models many times
def _structure_of(
    folder: Path, _: int, shapes: tuple[tuple[str, Shape], ...], causal: bool
) -> Structure | None:
    with _silence():
        config = _config(folder)
        return None if config is None else _first_fitting(config, dict(shapes), causal)


def structure_with(config: Mapping[str, Json], shapes: Mapping[str, Shape]) -> Structure | None:
    """The same for a config that is not in a folder yet."""
    with _silence():
        made = config_object(config)
        return None if made is None else _first_fitting(_unquantized(made), shapes, False)


class Unopened(Exception):
    """transformers knows a structure but cannot load it; the text is its message."""


def opened_with(config: Mapping[str, Json], shapes: Mapping[str, Shape]) -> Structure | None:
    """The same, ignoring the model's own code, for the last check of a model before it is written.

    None if transformers does not know the structure, or lacks a package for it.

    Raises:
        Unopened: transformers refuses the config, or these weights with it.
    """
    return _opened_with(json.dumps(config, sort_keys=True), tuple(shapes.items()))


@lru_cache(maxsize=4)
def _opened_with(text: str, named: tuple[tuple[str, Shape], ...]) -> Structure | None:
    config, shapes = json.loads(text), dict(named)
    if not is_known(config):
        return None
    with _silence():
        try:
            made = _unquantized(made_of(config))
        except Exception as error:
            raise Unopened(_said(error)) from error
        found = _first_fitting(made, shapes, False)
        kind = next(_classes(made, False), None)
        if found is not None or kind is None:
            return found
        try:
            _load(deepcopy(made), kind, shapes)
        except ImportError:
            return None
        except Exception as error:
            raise Unopened(_said(error)) from error
    return None


def _said(error: Exception) -> str:
    """The first sentence of an error; the rest refers to a report that is not printed here."""
    return " ".join(str(error).split()).split(". ")[0][:300] or type(error).__name__


def _first_fitting(config: "PretrainedConfig", shapes: Mapping[str, Shape], causal: bool) -> Structure | None:
    looks = (_look(deepcopy(config), kind, shapes) for kind in _classes(config, causal))
    found = [made for made in looks if made is not None]
    return next((made for made in found if made.fits), found[0] if found else None)


def _classes(config: "PretrainedConfig", causal: bool) -> Iterator[type["PreTrainedModel"]]:
    import transformers
    from transformers import MODEL_FOR_CAUSAL_LM_MAPPING

    seen: set[type] = set()
    kind: Any = MODEL_FOR_CAUSAL_LM_MAPPING.get(type(config), None)
    listed = () if causal else getattr(config, "architectures", None) or ()
    named = [getattr(transformers, name, None) for name in listed]
    for one in (kind, *named):
        if isinstance(one, type) and issubclass(one, transformers.PreTrainedModel) and one not in seen:
            seen.add(one)
            yield one


def _config(folder: Path) -> "PretrainedConfig | None":
    from transformers import AutoConfig

    try:
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    except Exception:  # unknown structures, code of their own: transformers raises many types
        return None
    return _unquantized(config)


def _unquantized(config: "PretrainedConfig") -> "PretrainedConfig":
    for part in (config, config.get_text_config()):
        if hasattr(part, "quantization_config"):
            del part.quantization_config
    return config


def _meant(config: "PretrainedConfig", kind: type["PreTrainedModel"]) -> "PretrainedConfig":
    """The part of a config that a class is built from, as transformers chooses it.

    For a text model it is the config's text part.
    """
    text = config.sub_configs.get("text_config")
    return config.get_text_config() if text is not None and kind.config_class is text else config


def opens_as_causal(folder: Path) -> bool:
    """Whether transformers has a causal language model for a folder's config, if it knows the config."""
    config = _config(folder)
    return config is None or any(True for _ in _classes(config, causal=True))


def _look(
    config: "PretrainedConfig", kind: type["PreTrainedModel"], shapes: Mapping[str, Shape]
) -> Structure | None:
    try:
        return _load(config, kind, shapes)
    except Exception:  # a structure that cannot be built this way counts as unknown
        return None


def _load(
    config: "PretrainedConfig", kind: type["PreTrainedModel"], shapes: Mapping[str, Shape]
) -> Structure:
    import torch

    stored = {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}
    loaded: Any = kind.from_pretrained(
        None,
        config=_meant(config, kind),
        state_dict=stored,
        device_map={"": "meta"},
        output_loading_info=True,
        ignore_mismatched_sizes=True,
    )
    return _described(*loaded)


def _described(model: "PreTrainedModel", info: Mapping[str, Any]) -> Structure:
    from transformers.core_model_loading import revert_weight_conversion

    tied = dict(getattr(model, "all_tied_weights_keys", None) or {})
    state: dict[str, torch.Tensor] = model.state_dict()
    buffers = frozenset(name for name, _ in model.named_buffers())
    saved = revert_weight_conversion(model, {n: t for n, t in state.items() if n not in tied})
    return Structure(
        kind=type(model).__name__,
        missing=tuple(sorted(set(info["missing_keys"]) - buffers)),
        misshapen=tuple(sorted((n, tuple(a), tuple(b)) for n, a, b in info["mismatched_keys"])),
        parameters=frozenset(state),
        buffers=buffers,
        saved={name: tuple(tensor.shape) for name, tensor in saved.items()},
        canonical=_canonical(model, state, tied),
        ignored=tuple(sorted(model._keys_to_ignore_on_load_unexpected or ())),
        unused=tuple(sorted(info["unexpected_keys"])),
        transposed=frozenset(n for n, m in model.named_modules() if getattr(m, "is_transposed", False)),
    )


def _canonical(
    model: "PreTrainedModel", state: Mapping[str, "torch.Tensor"], tied: Mapping[str, str]
) -> Callable[[str], str]:
    """How loading renames a key (`transformers.core_model_loading.convert_and_load_state_dict_in_model`)."""
    from transformers.conversion_mapping import get_model_conversion_mapping
    from transformers.core_model_loading import WeightConverter, WeightRenaming, rename_source_key

    mapping = get_model_conversion_mapping(model) or []
    renamings = [entry for entry in mapping if isinstance(entry, WeightRenaming)]
    converters = [entry for entry in mapping if isinstance(entry, WeightConverter)]
    prefix = model.base_model_prefix

    def canonical(name: str) -> str:
        held, converted = rename_source_key(name, renamings, converters, prefix, dict(state))
        if converted is not None and held in state:
            return f"{held}{_PART}{name}"  # one of several stored tensors for it
        if held not in state and name in state:
            held, _ = rename_source_key(name, [], [], prefix, dict(state))
        return tied.get(held, held) if held in state else name

    return canonical


@contextmanager
def _silence() -> Iterator[None]:
    """Silence the reports and progress bars of transformers."""
    from transformers.utils import logging

    level = logging.get_verbosity()
    bars = logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
