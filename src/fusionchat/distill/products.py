# N rows of a chunk, V vocabulary, H hidden size
"""The loss's three matrix products with a head, chunk by chunk, and how long a chunk is. PURE.

Half-precision products on a CPU have half-precision results, so only there are `exact_logits` needed. A GPU,
and full precision, produce fp32 logits.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from fusionchat.models.logits import product, wide

CHUNK_ROWS, CHUNK_BYTES, CHUNK_HALF, CHUNK_MOST = 256, 48 * 2**20, 32 * 2**20, 96 * 2**20
"""A CPU's chunk: its rows, the bytes it aims at in full and in half precision, and the most bytes.

With more rows, the head's gradient is read and written less often, but more memory is needed.
"""
EVEN = 64
"""Half-precision chunks have a multiple of this many rows.

A row takes 8 % longer in chunks of 524 than of 512.
"""
CHUNK_GPU = 2**26
"""Logits of a GPU's chunk (256 MiB in fp32), which reads the head three times a chunk."""
BLOCK = 2**18
"""Logits that stay in a core's cache between the steps from logits to gradient."""
TILE = 4096
"""Rows of the head whose half-precision gradient is in the cache when it is added in fp32."""


def default_rows(vocabulary: int, dtype: torch.dtype, device: torch.device) -> int:
    """Rows of a chunk; see `cpu_rows` for a CPU."""
    if device.type != "cpu":
        return max(1, CHUNK_GPU // vocabulary)
    return cpu_rows(vocabulary * dtype.itemsize, half=dtype != wide(dtype))


def cpu_rows(row: int, *, half: bool) -> int:
    """Rows of a chunk on a CPU, from the bytes of one row's logits.

    256, but at least those of 48 MiB (in half precision 32) and at most those of 96 MiB.
    """
    rows = max(1, min(max(CHUNK_ROWS, (CHUNK_HALF if half else CHUNK_BYTES) // row), CHUNK_MOST // row))
    return rows - rows % EVEN if half and rows > EVEN else rows


def block_rows(vocabulary: int, device: torch.device) -> int:
    """Rows that go from logits to gradient together; all of a chunk on a GPU."""
    if device.type != "cpu":
        return CHUNK_GPU
    threads = torch.get_num_threads()
    return max(threads, BLOCK * threads // vocabulary)


def in_place(dtype: torch.dtype, device: torch.device) -> bool:
    """Whether the gradient overwrites the logits, because both have the same dtype."""
    return device.type == "cpu" or dtype == wide(dtype)


def raw_logits(
    hidden_NH: Float[Tensor, "N H"], head_VH: Float[Tensor, "V H"], buffer: Float[Tensor, "M V"] | None
) -> Float[Tensor, "N V"]:
    """x W^T of states and weights of one dtype, in the first rows of a CPU's ``buffer``; fp32 on a GPU."""
    if buffer is None:
        return product(hidden_NH, head_VH)
    return torch.mm(hidden_NH, head_VH.T, out=buffer[: hidden_NH.shape[0]])


def exact_logits(
    hidden_NH: Float[Tensor, "N H"], head_VH: Float[Tensor, "V H"], ids_NK: Int[Tensor, "N K"]
) -> Float[Tensor, "N K"]:
    """Some of the logits as fp32 products of the same numbers.

    A bf16 result near 20 is off by up to 0.06.
    """
    chosen = head_VH.index_select(0, ids_NK.flatten()).view(*ids_NK.shape, -1)
    return torch.einsum("nkh,nh->nk", chosen.float(), hidden_NH.float())


def add_head_gradient(
    total_VH: Float[Tensor, "V H"],
    gradient_NV: Float[Tensor, "N V"],
    hidden_NH: Float[Tensor, "N H"],
    *,
    first: bool,
) -> None:
    """Add G^T x to the head's gradient, in fp32 (or fp64); the first chunk is written without reading."""
    if gradient_NV.dtype == total_VH.dtype:
        torch.addmm(total_VH, gradient_NV.T, hidden_NH, beta=0 if first else 1, out=total_VH)
        return
    tile = TILE if total_VH.device.type == "cpu" else total_VH.shape[0]
    part = hidden_NH.new_empty(min(tile, total_VH.shape[0]), total_VH.shape[1])
    for start in range(0, total_VH.shape[0], tile):
        into = total_VH[start : start + tile]
        made = torch.mm(gradient_NV[:, start : start + tile].T, hidden_NH, out=part[: into.shape[0]])
        if first:
            into.copy_(made)
        else:
            into.add_(made)
