"""LoRA adapters as targets: applied to the pivot while its tensors are read, never written out.

The settings are read in `adapter_config`, the weight file in `adapter_file`; here both meet the pivot's tensors.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Float64

from fusionchat.errors import MergeError
from fusionchat.merge.adapter_config import CONFIG, Settings, read_settings
from fusionchat.merge.adapter_experts import Place, matrices, parameters_of, places
from fusionchat.merge.adapter_file import PICKLE, WEIGHTS, Contents, open_weights, read_contents
from fusionchat.merge.adapter_names import Names, why_absent
from fusionchat.merge.checkpoint import Checkpoint
from fusionchat.merge.low_rank import Adapted, Change, Kept, Taken
from fusionchat.merge.plan import Source
from fusionchat.merge.stored import MappedFile, Stored
from fusionchat.merge.tied import alike, head_name, tied_names, vocabulary_rows
from fusionchat.merge.token_rows import TokenRows
from fusionchat.merge.weights import layer_of

_MODEL = ("*.safetensors", "*.safetensors.index.json", "pytorch_model*.bin")
_AGAIN = "save the adapter again with peft"
_TAKEN: dict[str, Taken] = {"plain": "nothing", "pissa": "largest", "olora": "first columns"}
_EXTRAS = {"magnitude_vector": "use_dora (DoRA)", "diag": "kasa_config (KaSA)", "bias": "lora_bias"}
How = Literal["stored", "copy", "rows", "factors"]


@dataclass
class Adapter:
    """An opened adapter.

    Attributes:
        file: Its weight file.
        settings: Its settings.
        changed: The tensors it changes, by the pivot's names.
        head: The name of a head that the pivot does not store, as it is tied, and that the adapter trains apart from the
            embedding; it is in ``changed`` unless it stays as it was.
    """

    file: MappedFile
    settings: Settings
    changed: dict[str, Source] = field(default_factory=dict)
    head: str | None = None


def is_adapter(folder: Path) -> bool:
    """Whether a folder holds a LoRA adapter and no model's weights; many hold their model's config."""
    if not any((folder / name).is_file() for name in (CONFIG, WEIGHTS, PICKLE)):
        return False
    held = {path.name for kind in _MODEL for path in folder.glob(kind)}
    return not held - {WEIGHTS}


def open_adapter(folder: Path, pivot: Checkpoint, *, allow_pickle: bool = False) -> Adapter:
    """An adapter's settings, and the pivot's tensors that it changes.

    Raises:
        MergeError: A setting or a tensor has no right merge, or does not fit the pivot; the message names it.
    """
    settings = read_settings(folder)
    file = open_weights(folder, allow_pickle)
    try:
        return _Opening(settings, read_contents(file), pivot).adapter()
    except BaseException:
        file.close()
        raise


class _Opening:
    """An adapter while it is brought together with the pivot."""

    def __init__(self, settings: Settings, contents: Contents, pivot: Checkpoint) -> None:
        self.settings, self.contents, self.pivot = settings, contents, pivot
        self.names, self.kept, self.tied = Names(pivot.tensors), Kept(), tied_names(pivot)
        self.made = Adapter(contents.file, settings)
        self.full: dict[str, Stored] = {}
        self.how: dict[str, How] = {}

    def adapter(self) -> Adapter:
        """All changes, in the order full tensors, rows, factors: each builds on what is before it."""
        for name, stored in self.contents.replaced.items():
            self._replace(name, stored)
        self._check_saved()
        if self.settings.tokens and not self.contents.rows:
            raise self._lacks("trainable_token_indices", "trainable_tokens_delta")
        for module, stored in self.contents.rows.items():
            self._train_rows(module, stored)
        for module, held in self.contents.modules.items():
            self._adapt(module, held)
        self._settle_tie()
        return self.made

    # What a change is made on.

    def _find(self, name: str, rows: int | None = None) -> tuple[str, Source]:
        """The pivot's name for an adapter's, and the tensor before the change.

        A head of as many ``rows`` as the embedding that the pivot does not store, as it is tied, keeps its name.
        """
        found = self.names.find(name)
        if found is not None:
            base: Source = self.made.changed.get(found) or self.pivot.tensors[found]
            if not base.is_float:
                raise self._misfit(name, "which the pivot stores quantized", "give the model unquantized")
            return found, base
        if len(self.tied) == 1 and layer_of(name) is None and name.endswith(".weight"):
            embedding = self.tied[0]
            shared = self.full.get(embedding) if self.how.get(embedding) == "stored" else None
            twin = self.made.changed.get(name) or shared or self.pivot.tensors[embedding]
            if rows in (None, twin.shape[0]):
                return name, twin
        raise self._misfit(name, why_absent(name, self.pivot))

    def _is_vocabulary(self, name: str) -> bool:
        """Whether a tensor of the pivot has a row for each token; a tied head has, too."""
        held = self.pivot.tensors.get(name)
        rows = vocabulary_rows(self.pivot.config)
        if held is None:
            return True
        return layer_of(name) is None and (held.shape[:1] == (rows,) if rows else len(held.shape) == 2)

    # Full tensors.

    def _replace(self, name: str, stored: Stored) -> None:
        found, base = self._find(name)
        fits = stored.shape == base.shape or (
            self._is_vocabulary(found) and stored.shape[1:] == base.shape[1:]  # tokens were added
        )
        if not fits or not stored.is_float:
            raise self._misfit(name, f"of shape {list(stored.shape)}, where the pivot has {list(base.shape)}")
        copied = any(name.rpartition(".")[0].endswith(saved) for saved in self.settings.saved)
        self.made.changed[found], self.full[found] = stored, stored
        self.how[found] = "copy" if copied or ".modules_to_save." in stored.name else "stored"

    def _check_saved(self) -> None:
        """Raise MergeError where a module that was trained in full is in the pivot, but its copy not in the file."""
        for saved in self.settings.saved:
            inside = f".{saved}."
            if any(inside in f".{n}" for n in self.pivot.tensors) and not any(
                inside in f".{n}" for n in self.contents.replaced
            ):
                raise self._lacks("modules_to_save", saved)

    # Rows.

    def _train_rows(self, module: str, stored: Stored) -> None:
        name, (tokens, setting) = (
            f"{module}.weight",
            (self.settings.tokens_of(module), "trainable_token_indices"),
        )
        found, base = self._find(name)
        if not tokens or len(tokens) != stored.shape[0]:
            raise self._refusal(
                f"{setting} names {len(tokens or ())} tokens of {module}, but the file holds {stored.shape[0]} rows",
                _AGAIN,
            )
        if stored.shape[1:] != base.shape[1:] or not stored.is_float:
            raise self._misfit(
                name, f"whose rows have {base.shape[1]} values in the pivot, not {stored.shape[1]}"
            )
        missing = sorted(set(range(base.shape[0], max(tokens) + 1)) - set(tokens))
        if missing:
            raise self._refusal(
                f"{setting} names token {max(tokens)} of {module}, which has {base.shape[0]} rows in the pivot; the "
                f"adapter was trained on a larger vocabulary, and row {missing[0]} is not in its file",
                "save the adapter with save_embedding_layers=True",
            )
        self.made.changed[found], self.how[found] = TokenRows(base, stored, tokens), "rows"

    # Factors.

    def _adapt(self, module: str, held: Mapping[str, Stored]) -> None:
        embedding = "embedding_A" in held or "embedding_B" in held
        kinds = ("embedding_A", "embedding_B") if embedding else ("A", "B")
        if not all(kind in held for kind in kinds):
            raise self._refusal(f"The file lacks a factor of {module}", _AGAIN)
        factors = {side: held[kind] for side, kind in zip("AB", kinds, strict=True)}
        if any(len(f.shape) != 2 or not f.count or not f.is_float for f in factors.values()):
            raise self._refusal(
                f"A factor of {module} is empty or no matrix of floating-point numbers, as where the parts of it that "
                "several devices held were not gathered",
                _AGAIN,
            )
        self._check_extras(module, held, embedding)
        path = module
        while path.endswith(".base_layer"):
            path = path.removesuffix(".base_layer")
        if parameters_of(path, self.settings.parameters) and not embedding:
            self._adapt_parameter(module, path, factors)
        else:
            self._adapt_module(module, held, factors, embedding)

    def _check_extras(self, module: str, held: Mapping[str, Stored], embedding: bool) -> None:
        wanted = {"magnitude_vector": self.settings.dora}
        if not embedding:
            wanted |= {"diag": self.settings.kasa, "bias": self.settings.bias}
        for kind, setting in _EXTRAS.items():
            tensor = f"{module}.lora_{'B.bias' if kind == 'bias' else kind}"
            if wanted.get(kind) and kind not in held:
                raise self._lacks(setting, tensor)
            if kind in held and not wanted.get(kind):
                raise self._refusal(
                    f"The file has {tensor}, but {setting} is not set", f"correct {CONFIG}, or {_AGAIN}"
                )

    def _adapt_module(
        self, module: str, held: Mapping[str, Stored], factors: Mapping[str, Stored], embedding: bool
    ) -> None:
        name = f"{module}.weight"
        down_shape, up_shape = (
            self._dense_shape(module, "A", factors),
            self._dense_shape(module, "B", factors),
        )
        found, base = self._find(name, down_shape[1] if embedding else up_shape[0])
        sides = (up_shape[0], down_shape[1])
        if len(base.shape) != 2:
            raise self._misfit(name, f"which is no matrix in the pivot but has shape {list(base.shape)}")
        transposed = embedding or (sides != base.shape if sides != sides[::-1] else self._stored_as_inputs)
        if (sides[::-1] if transposed else sides) != base.shape or up_shape[1] != down_shape[0]:
            raise self._factor_misfit(name, found, up_shape, down_shape, base, embedding)
        rank = self._rank(module, down_shape[0])
        scale = self.settings.scale_of(module, rank)
        taken = "smallest" if self.settings.kasa else _TAKEN[self.settings.start]
        if transposed and self.settings.kasa:
            raise self._refusal(f"kasa_config is set, but {module} is stored as [in, out]", _AGAIN)
        lengths = held.get("magnitude_vector")
        if lengths is not None and lengths.count != up_shape[0]:
            raise self._misfit(name, f"as lora_magnitude_vector has {lengths.count} values")
        diag = held.get("diag")

        def read() -> tuple[np.ndarray, np.ndarray]:
            up, down = self._dense(module, "B", factors), self._dense(module, "A", factors)
            return (scale * up * (1.0 if diag is None else _values(diag)))[None], down[None]

        change = Change(
            read,
            transposed=transposed,
            taken="nothing" if embedding else taken,
            rank=rank,
            scale=scale,
            lengths_O=None if lengths is None else lambda: _values(lengths).reshape(-1),
        )
        self._put(found, base, change)
        if "bias" in held:
            self._adapt_bias(module, held["bias"], scale)

    def _adapt_bias(self, module: str, stored: Stored, scale: float) -> None:
        """lora_bias: the layer's bias moves by scale * (bias of B)."""
        name = f"{module}.bias"
        if self.names.find(name) is None and not _values(stored).any():
            return
        if self.names.find(name) is None:
            raise self._refusal(
                f"lora_bias is set, but {module} has no bias in the pivot to which it could be added",
                "train the adapter without lora_bias; no merge with this pivot can be right",
            )
        found, base = self._find(name)
        if stored.shape != base.shape:
            raise self._misfit(name, f"of shape {list(stored.shape)}, where the pivot has {list(base.shape)}")
        self._put(found, base, Change(lambda: (np.ones((1, 1, 1)), scale * _values(stored)[None, None])))

    def _adapt_parameter(self, module: str, path: str, factors: Mapping[str, Stored]) -> None:
        """target_parameters: which parameter a pair of factors is for is not stored, but its shape is."""
        leaves = parameters_of(path, self.settings.parameters)
        fits = [found for leaf in leaves if (found := places(path, leaf, factors, self.names, self.pivot))]
        if self.settings.start != "plain":
            raise self._refusal("target_parameters is set together with init_lora_weights", _AGAIN)
        if len(fits) != 1 or (fits[0][0].expert is None and len(fits[0]) != 1):
            why = (
                "fit more than one parameter, or one in two ways" if fits else "fit no parameter of the pivot"
            )
            raise self._refusal(
                f"target_parameters is set, and the factors of {module} {why}: "
                f"{', '.join(f'{path}.{leaf}' for leaf in leaves)}",
                "merge the adapter with peft, and give that model",
            )
        for place in fits[0]:
            self._put_experts(path, factors, place)

    def _put_experts(self, path: str, factors: Mapping[str, Stored], place: Place) -> None:
        found, base = self._find(place.name)
        rank = self._rank(path, factors["A"].shape[0] // place.experts)
        scale = self.settings.scale_of(path, rank)

        def read() -> tuple[np.ndarray, np.ndarray]:
            up, down = matrices(_values(factors["A"]), _values(factors["B"]), place)
            return scale * up, down

        self._put(found, base, Change(read, transposed=place.transposed))

    def _put(self, name: str, base: Source, change: Change) -> None:
        self.made.changed[name] = Adapted(base, change, str(self.made.file.path), self.kept)
        self.how[name] = "factors"

    def _rank(self, module: str, rank: int) -> int:
        """A module's rank; raises MergeError where the config and the file do not agree, so the scale is not known."""
        said = self.settings.rank_of(module)
        if said is not None and said != rank:
            raise self._refusal(
                f"r (or rank_pattern) says rank {said} for {module}, but its factors have rank {rank}", _AGAIN
            )
        return rank

    @cached_property
    def _stored_as_inputs(self) -> bool:
        """Whether square matrices are stored as [in, out]: as the pivot's others are, where a bias shows it."""
        for name, held in self.pivot.tensors.items():
            bias = self.pivot.tensors.get(f"{name.removesuffix('.weight')}.bias")
            if bias is None or layer_of(name) is None or len(held.shape) != 2:
                continue
            if held.shape[0] != held.shape[1]:
                return bias.shape == held.shape[1:]
        return self.settings.transposed

    def _dense_shape(self, module: str, side: str, factors: Mapping[str, Stored]) -> tuple[int, int]:
        rows, columns = factors[side].shape
        return rows, columns * self._blocks(module, side)

    def _dense(self, module: str, side: str, factors: Mapping[str, Stored]) -> Float64[np.ndarray, "P Q"]:
        """A factor as a full matrix: BD-LoRA stores the blocks of a block-diagonal one below each other."""
        values, count = _values(factors[side]), self._blocks(module, side)
        if count == 1:
            return values
        whole = np.zeros((len(values), values.shape[1] * count))
        for n, block in enumerate(np.split(values, count)):
            whole[n * len(block) :][: len(block), n * values.shape[1] :][:, : values.shape[1]] = block
        return whole

    def _blocks(self, module: str, side: str) -> int:
        blocks = self.settings.blocks
        named = () if blocks is None else blocks.down if side == "A" else blocks.up
        return blocks.count if blocks and any(part in module for part in named) else 1

    # Tied heads.

    def _settle_tie(self) -> None:
        """Keep a tied head and its embedding one tensor where the adapter trained them as one, else part them.

        peft ties trained rows by itself, and copies and factors with ensure_weight_tying.
        """
        changed = self.made.changed
        known = [n for n in changed if n not in self.pivot.tensors]
        if not self.tied or not (known or any(n in changed for n in self.tied)):
            return
        embedding, head = self.tied[0], (*self.tied[1:], *known, None)[0]
        moved = [n for n in (embedding, head) if n in changed]
        if len(moved) == 2:
            together = alike(changed[moved[0]], changed[moved[1]])
        else:
            together = self.settings.tied or self.how[moved[0]] in ("stored", "rows")
        if not together:
            self.made.head = head or head_name(self.pivot)
            return
        one = changed[moved[0]]
        for name in self.tied:
            changed[name] = one
        if head is not None and head not in self.pivot.tensors:
            changed.pop(head, None)

    # What is said where something is wrong.

    def _refusal(self, what: str, do: str) -> MergeError:
        return MergeError(what, where=str(self.made.file.path), do=do)

    def _lacks(self, setting: str, tensor: str) -> MergeError:
        return self._refusal(f"{setting} is set, but the file lacks {tensor}", _AGAIN)

    def _misfit(self, name: str, why: str, do: str = "") -> MergeError:
        base = f" ({self.settings.base})" if self.settings.base else ""
        return self._refusal(
            f"The adapter changes {name}, {why}", do or f"use the adapter's own base model{base} as pivot"
        )

    def _factor_misfit(
        self, name: str, found: str, up: tuple[int, int], down: tuple[int, int], base: Source, embedding: bool
    ) -> MergeError:
        sides = (down[1], up[0]) if embedding else (up[0], down[1])
        if self._is_vocabulary(found) and sides[1] == base.shape[1]:
            return self._refusal(
                f"The adapter was trained with a vocabulary of {sides[0]} rows in {name}, and its file does not hold "
                f"them; the pivot has {base.shape[0]}",
                "save the adapter with save_embedding_layers=True",
            )
        return self._misfit(
            name, f"but its factors, {list(up)} x {list(down)}, do not make the pivot's {list(base.shape)}"
        )


def _values(stored: Stored) -> Float64[np.ndarray, "..."]:
    """A small tensor as float64."""
    values = np.empty(stored.count, np.float32)
    stored.decode(0, values)
    return values.reshape(stored.shape).astype(np.float64)
