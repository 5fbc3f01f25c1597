"""The two factors of one module as matrices, and how the tensor that they change is stored."""

# O outputs, I inputs, R rank

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from fusionchat.merge.inputs.adapters.config import Settings
from fusionchat.merge.inputs.checkpoint import Checkpoint
from fusionchat.merge.inputs.stored import Stored
from fusionchat.merge.weights import layer_of


@dataclass(frozen=True)
class Pair:
    """A and B of a module.

    Attributes:
        module: Its name in the adapter.
        down: A, [R, I].
        up: B, [O, R].
        down_blocks: The number of blocks of a block-diagonal A (BD-LoRA) that are stored one below the other,
            else 1.
        up_blocks: The same for B.
        embedding: Whether they belong to an embedding, whose weight is [I, O].
    """

    module: str
    down: Stored
    up: Stored
    down_blocks: int
    up_blocks: int
    embedding: bool

    @classmethod
    def of(cls, module: str, held: Mapping[str, Stored], settings: Settings) -> "Pair | None":
        """The factors among a module's tensors; None if one is missing."""
        embedding = "embedding_A" in held or "embedding_B" in held
        down, up = (held.get(f"embedding_{side}" if embedding else side) for side in "AB")
        if down is None or up is None:
            return None
        blocks = settings.blocks
        down_blocks, up_blocks = (
            blocks.count if blocks and any(part in module for part in named) else 1
            for named in ((blocks.down, blocks.up) if blocks else ((), ()))
        )
        return cls(module, down, up, down_blocks, up_blocks, embedding)

    @property
    def are_matrices(self) -> bool:
        """Whether both are non-empty matrices of floating-point numbers."""
        return all(len(f.shape) == 2 and f.count and f.is_float for f in (self.down, self.up))

    @property
    def shapes(self) -> tuple[tuple[int, int], tuple[int, int]]:
        """The shapes of B and A, unfolded."""
        up, down = self.up.shape, self.down.shape
        return (up[0], up[1] * self.up_blocks), (down[0], down[1] * self.down_blocks)

    @property
    def sides(self) -> tuple[int, int]:
        """Numbers of outputs and inputs."""
        up, down = self.shapes
        return up[0], down[1]

    def read(self) -> tuple[Float64[np.ndarray, "O R"], Float64[np.ndarray, "R I"]]:
        """B and A in float64, unfolded."""
        return _unfolded(values_of(self.up), self.up_blocks), _unfolded(
            values_of(self.down), self.down_blocks
        )

    def is_transposed(self, shape: tuple[int, ...], pivot: Checkpoint, default: bool) -> bool:
        """Whether a weight of this shape is stored as [I, O].

        Embeddings and GPT-2's Conv1D are, linear layers are not. The shape shows it; for square matrices the
        pivot's other layers do, or else ``default`` (fan_in_fan_out).
        """
        if self.embedding or self.sides[0] != self.sides[1]:
            return self.embedding or self.sides != shape
        found = _stored_as_inputs(pivot)
        return default if found is None else found


def _stored_as_inputs(pivot: Checkpoint) -> bool | None:
    """Whether the pivot's layers store [I, O], from the first matrix whose bias shows it; else None."""
    for name, held in pivot.tensors.items():
        bias = pivot.tensors.get(f"{name.removesuffix('.weight')}.bias")
        if bias is None or layer_of(name) is None or len(held.shape) != 2:
            continue
        if held.shape[0] != held.shape[1]:
            return bias.shape == held.shape[1:]
    return None


def _unfolded(values: Float64[np.ndarray, "P Q"], count: int) -> Float64[np.ndarray, "P W"]:
    """A block-diagonal matrix from its blocks, one below the other."""
    if count == 1:
        return values
    whole = np.zeros((len(values), values.shape[1] * count))
    height, width = len(values) // count, values.shape[1]
    for n in range(count):
        rows = slice(n * height, (n + 1) * height)
        whole[rows, n * width : (n + 1) * width] = values[rows]
    return whole


def values_of(stored: Stored) -> Float64[np.ndarray, "..."]:
    """A small tensor as float64."""
    values = np.empty(stored.count, np.float32)
    stored.decode(0, values)
    return values.reshape(stored.shape).astype(np.float64)
