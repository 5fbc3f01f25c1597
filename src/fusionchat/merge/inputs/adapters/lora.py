"""LoRA adapters as targets: applied to the pivot while its tensors are read, never written out.

The settings are read in `config`, the weight file in `file`; here both are matched with the pivot's tensors.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fusionchat.errors import MergeError
from fusionchat.merge.inputs.adapters.config import CONFIG, INITIAL, Settings, read_settings, unknown_start
from fusionchat.merge.inputs.adapters.experts import Place, matrices, parameters_of, places
from fusionchat.merge.inputs.adapters.factors import Pair, values_of
from fusionchat.merge.inputs.adapters.file import WEIGHTS, open_weights, read_contents
from fusionchat.merge.inputs.adapters.ground import AGAIN, Ground
from fusionchat.merge.inputs.adapters.initial import Factors, Initial
from fusionchat.merge.inputs.adapters.low_rank import Adapted, Change, Taken
from fusionchat.merge.inputs.adapters.token_rows import TokenRows
from fusionchat.merge.inputs.checkpoint import Checkpoint
from fusionchat.merge.inputs.plan import Source
from fusionchat.merge.inputs.stored import MappedFile, Stored
from fusionchat.merge.inputs.structure import Structure
from fusionchat.merge.inputs.tied import settle
from fusionchat.merge.inputs.zeros import Zeros
from fusionchat.merge.weights import layer_of

_TAKEN: Mapping[str, Taken] = {"plain": "nothing", "pissa": "largest", "olora": "first columns"}
_EXTRAS = {"magnitude_vector": "use_dora (DoRA)", "diag": "kasa_config (KaSA)", "bias": "lora_bias"}


@dataclass
class Adapter:
    """An opened adapter.

    Attributes:
        files: Its weight file, and that of its initial factors, if needed.
        settings: Its settings.
        changed: The tensors that it changes, by the pivot's names.
        head: The name of a head that the pivot does not store, because it is tied, and that the adapter
            trains separately from the embedding; it is in ``changed`` unless it is unchanged.
        biases: Biases of layers that have none in the pivot.
    """

    files: list[MappedFile]
    settings: Settings
    changed: dict[str, Source]
    head: str | None
    biases: dict[str, Source]


def open_adapter(
    folder: Path,
    pivot: Checkpoint,
    *,
    known: Callable[[], Structure | None] = lambda: None,
    allow_pickle: bool = False,
) -> Adapter:
    """An adapter's settings, and the pivot's tensors that it changes.

    Raises:
        MergeError: A setting or a tensor cannot be merged correctly, or does not fit the pivot; the message
            names it.
    """
    settings = read_settings(folder)
    with ExitStack() as stack:
        file = open_weights(folder, allow_pickle)
        stack.callback(file.close)
        opening = _Opening(settings, read_contents(file), pivot, known)
        files = [file]
        if settings.needs_factors and (folder / INITIAL / WEIGHTS).is_file():
            opening.initial = Initial.of(folder / INITIAL)
            stack.callback(opening.initial.file.close)
            files.append(opening.initial.file)
        made = opening.adapter(files)
        stack.pop_all()
    return made


class _Opening(Ground):
    """An adapter's changes, one after the other."""

    initial: Initial | None = None

    def adapter(self, files: list[MappedFile]) -> Adapter:
        """All changes, in the order full tensors, rows, factors; each builds on the ones before."""
        for name, stored in self.contents.replaced.items():
            self._replace(name, stored)
        self._check_saved()
        if self.settings.tokens and not self.contents.rows:
            raise self.lacks("trainable_token_indices", "trainable_tokens_delta")
        for module, stored in self.contents.rows.items():
            self._train_rows(module, stored)
        heads_first = sorted(self.contents.modules.items(), key=lambda item: "embedding_A" in item[1])
        for module, held in heads_first:
            self._adapt(module, held)
        head = settle(self.changed, self.how, self.pivot, ensured=self.trains_tied_as_one())
        return Adapter(files, self.settings, self.changed, head, self.biases)

    # Full tensors.

    def _replace(self, name: str, stored: Stored) -> None:
        found, base = self.find(name, stored.shape[0] if stored.shape else 1)
        fits = stored.shape == base.shape or (
            self.is_vocabulary(found) and stored.shape[1:] == base.shape[1:]  # tokens were added
        )
        if not fits or not stored.is_float:
            raise self.misfit(name, f"of shape {list(stored.shape)}, where the pivot has {list(base.shape)}")
        copied = any(name.rpartition(".")[0].endswith(saved) for saved in self.settings.saved)
        self.changed[found] = stored
        self.how[found] = "copy" if copied or ".modules_to_save." in stored.name else "stored"
        if self.how[found] == "stored" and (found in self.tied or found not in self.pivot.tensors):
            for one in self.tied:  # a tied head is also the embedding
                if one not in self.changed:
                    self.changed[one], self.how[one] = stored, "stored"

    def _check_saved(self) -> None:
        """Raise MergeError if a fully trained module of the pivot has no copy in the file."""
        for saved in self.settings.saved:
            inside = f".{saved}."
            if any(inside in f".{n}" for n in self.pivot.tensors) and not any(
                inside in f".{n}" for n in self.contents.replaced
            ):
                raise self.lacks("modules_to_save", saved)

    # Rows.

    def _train_rows(self, module: str, stored: Stored) -> None:
        name, setting = f"{module}.weight", "trainable_token_indices"
        tokens = self.settings.tokens_of(module)
        found, base = self.find(name)
        if not tokens or len(tokens) != stored.shape[0]:
            raise self.refusal(
                f"{setting} names {len(tokens or ())} tokens of {module}, but the file holds {stored.shape[0]} rows",
                AGAIN,
            )
        if stored.shape[1:] != base.shape[1:] or not stored.is_float:
            raise self.misfit(
                name, f"whose rows have {base.shape[1]} values in the pivot, not {stored.shape[1]}"
            )
        missing = sorted(set(range(base.shape[0], max(tokens) + 1)) - set(tokens))
        if missing:
            raise self.refusal(
                f"{setting} names token {max(tokens)} of {module}, which has {base.shape[0]} rows in the pivot; the "
                f"adapter was trained on a larger vocabulary, and row {missing[0]} is not in its file",
                "save the adapter with save_embedding_layers=True",
            )
        self.changed[found], self.how[found] = TokenRows(base, stored, tokens), "rows"

    # Factors.

    def _adapt(self, module: str, held: Mapping[str, Stored]) -> None:
        pair = Pair.of(module, held, self.settings)
        if pair is None:
            raise self.refusal(f"The file lacks a factor of {module}", AGAIN)
        if not pair.are_matrices:
            raise self.refusal(
                f"A factor of {module} is empty or not a floating-point matrix; perhaps its parts on several devices "
                "were not gathered",
                AGAIN,
            )
        self._check_extras(module, held, pair.embedding)
        path = re.sub(r"(\.base_layer)+$", "", module)
        leaves = parameters_of(path, self.settings.parameters, self.names, self.pivot)
        if leaves and not pair.embedding:
            self._adapt_parameter(pair, path, leaves)
        elif self.settings.parameters and self._is_no_layer(path):
            raise self.refusal(
                f"target_parameters is set, but the pivot has none of them in {path}: "
                f"{', '.join(self.settings.parameters)}",
                "merge the adapter with peft, and use that model",
            )
        else:
            self._adapt_module(pair, held)

    def _is_no_layer(self, path: str) -> bool:
        """Whether a module inside the layers has no weight of its own, such as one that contains experts."""
        return layer_of(path) is not None and self.names.find(f"{path}.weight") is None

    def _check_extras(self, module: str, held: Mapping[str, Stored], embedding: bool) -> None:
        wanted = {"magnitude_vector": self.settings.dora}
        if not embedding:
            wanted |= {"diag": self.settings.kasa, "bias": self.settings.bias}
        for kind, setting in _EXTRAS.items():
            tensor = f"{module}.lora_{'B.bias' if kind == 'bias' else kind}"
            if wanted.get(kind) and kind not in held:
                raise self.lacks(setting, tensor)
            if kind in held and not wanted.get(kind):
                raise self.refusal(
                    f"The file has {tensor}, but {setting} is not set", f"correct {CONFIG}, or {AGAIN}"
                )

    def _adapt_module(self, pair: Pair, held: Mapping[str, Stored]) -> None:
        module, settings, name = pair.module, self.settings, f"{pair.module}.weight"
        found, base = self.find(name, pair.sides[1 if pair.embedding else 0])
        transposed = pair.is_transposed(base.shape, self.pivot, settings.transposed)
        up, down = pair.shapes
        if (pair.sides[::-1] if transposed else pair.sides) != base.shape or up[1] != down[0]:
            raise self._factor_misfit(pair, found, base)
        if transposed and settings.kasa:
            raise self.refusal(f"kasa_config is set, but {module} is stored as [in, out]", AGAIN)
        lengths, diag = held.get("magnitude_vector"), held.get("diag")
        for extra, count in ((lengths, up[0]), (diag, up[1])):
            if extra is not None and extra.count != count:
                raise self.refusal(f"{extra.name} has {extra.count} values, not {count}", AGAIN)
        rank = self._rank(module, down[0])
        scale = settings.scale_of(module, rank)
        # A base layer in the file is what was left of the pivot's.
        whole = pair.embedding or settings.start == "plain" or self.how.get(found) == "stored"
        begun = None if whole else self._begun(pair, found)

        def read() -> tuple[np.ndarray, np.ndarray]:
            up_OR, down_RI = pair.read()
            up_OR = scale * up_OR * (1.0 if diag is None else values_of(diag))
            if begun is not None:
                before_OR, before_RI = begun()
                up_OR, down_RI = np.hstack([up_OR, -before_OR]), np.vstack([down_RI, before_RI])
            return up_OR[None], down_RI[None]

        stored = pair.embedding or self.how.get(found) == "stored"
        taken = "nothing" if stored or begun is not None else self._taken
        if taken != "nothing" and self.is_shared(found):
            base, taken = self.take_from_both(base, taken, rank, scale), "nothing"
        change = Change(
            read,
            transposed=transposed,
            taken=taken,
            rank=rank,
            scale=scale,
            lengths_O=None if lengths is None else lambda: values_of(lengths).reshape(-1),
        )
        self._put(found, base, change)
        if "bias" in held:
            self._adapt_bias(pair, held["bias"], scale)

    def _begun(self, pair: Pair, found: str) -> Factors | None:
        """The initial factors of a module (PiSSA, peft's conversion); W - scale B0 A0 was left of the base."""
        first = self.initial.factors(pair, self.settings) if self.initial else None
        if first is None and self.settings.start == "unknown":
            raise unknown_start(self.settings, pair.module)
        if first is not None and self.is_shared(found):
            raise self.refusal(
                f"{INITIAL} has factors of {pair.module}, whose weight is also the embedding's",
                "merge the adapter into a full model with the tool that made it, and use that model",
            )
        return first

    @property
    def _taken(self) -> Taken:
        """What peft removed from the pivot's weights."""
        return "smallest" if self.settings.kasa else _TAKEN[self.settings.start]

    def _adapt_bias(self, pair: Pair, stored: Stored, scale: float) -> None:
        """Apply lora_bias: add scale * (bias of B) to the layer's bias, which is created if missing."""
        name = f"{pair.module}.bias"
        if stored.shape != (pair.sides[0],):
            raise self.refusal(f"{stored.name} has shape {list(stored.shape)}, not {[pair.sides[0]]}", AGAIN)
        change = Change(lambda: (np.ones((1, 1, 1)), scale * values_of(stored)[None, None]))
        if self.names.find(name) is not None:
            found, base = self.find(name)
            if stored.shape != base.shape:
                raise self.misfit(
                    name, f"of shape {list(stored.shape)}, where the pivot has {list(base.shape)}"
                )
            self._put(found, base, change)
        elif values_of(stored).any():
            weight, _ = self.find(f"{pair.module}.weight", pair.sides[0])
            zeros = Zeros(stored.shape, stored.origin)
            self.biases[f"{weight.removesuffix('.weight')}.bias"] = Adapted(
                zeros, change, stored.origin, self.kept
            )

    def _adapt_parameter(self, pair: Pair, path: str, leaves: Sequence[str]) -> None:
        """Apply target_parameters; the parameter of a pair of factors is found by its shape."""
        factors = {"A": pair.down, "B": pair.up}
        found = {leaf: places(path, leaf, factors, self.names, self.pivot) for leaf in leaves}
        fits = {leaf: held for leaf, held in found.items() if held}
        if self.settings.start != "plain":
            raise self.refusal("target_parameters is set together with init_lora_weights", AGAIN)
        several = any(len(held) > 1 and held[0].expert is None for held in fits.values())
        if len(fits) != 1 or several:
            why = (
                "fit more than one parameter, or one in two ways" if fits else "fit no parameter of the pivot"
            )
            raise self.refusal(
                f"target_parameters is set, and the factors of {pair.module} {why}: "
                f"{', '.join(f'{path}.{leaf}' for leaf in leaves)}",
                "merge the adapter with peft, and use that model",
            )
        for leaf, held in fits.items():
            for place in held:
                self._adapt_experts(pair, f"{path}.{leaf}", place)

    def _adapt_experts(self, pair: Pair, parameter: str, place: Place) -> None:
        found, base = self.find(place.name)
        scale = self.settings.scale_of(parameter, self._rank(parameter, pair.down.shape[0] // place.experts))

        def read() -> tuple[np.ndarray, np.ndarray]:
            up_EOR, down_ERI = matrices(values_of(pair.down), values_of(pair.up), place)
            return scale * up_EOR, down_ERI

        self._put(found, base, Change(read, transposed=place.transposed))

    def _put(self, name: str, base: Source, change: Change) -> None:
        self.changed[name] = Adapted(base, change, str(self.contents.file.path), self.kept)
        self.how[name] = "factors"

    def _rank(self, module: str, rank: int) -> int:
        """A module's rank; raises MergeError if config and file disagree, since the scale is then unknown."""
        said = self.settings.rank_of(module)
        if said is not None and said != rank:
            raise self.refusal(
                f"r (or rank_pattern) says rank {said} for {module}, but its factors have rank {rank}", AGAIN
            )
        return rank

    def _factor_misfit(self, pair: Pair, found: str, base: Source) -> MergeError:
        (up, down), name = pair.shapes, f"{pair.module}.weight"
        sides = pair.sides[::-1] if pair.embedding else pair.sides
        if self.is_vocabulary(found) and sides[1] == base.shape[1]:
            return self.refusal(
                f"The adapter was trained with a vocabulary of {sides[0]} rows in {name}, and its file does not hold "
                f"them; the pivot has {base.shape[0]}",
                "save the adapter with save_embedding_layers=True",
            )
        return self.misfit(
            name, f"but its factors, {list(up)} x {list(down)}, do not make the pivot's {list(base.shape)}"
        )
