"""Random masks that depend only on seed, target, tensor and element.

They drop and rescale changes, by chance or by rank.
"""

# R rows of L elements, B = R * L elements of a block

import hashlib

import numpy as np

from fusionchat.merge.kernels.compiled import SPAN, compiled, exact

_MAGNITUDE = np.uint32(0x7FFFFFFF)
_BIN_BITS = np.uint32(16)
BINS = 2048
_RUN = 65536


def stream_key(seed: int, target: int, name: str) -> int:
    """A 64-bit key for the random numbers of one target's tensor."""
    text = f"{seed}/{target}/{name}".encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little")


def stream_keys(seed: int, name: str, targets: int) -> list[np.uint64]:
    """The keys of a tensor's targets."""
    return [np.uint64(stream_key(seed, j, name)) for j in range(targets)]


@compiled
def _fold(key: int, part: int) -> tuple[np.uint32, np.uint32]:
    """Two 32-bit keys from a 64-bit key and a counter (SplitMix64's finalizer)."""
    z = np.uint64(key) + np.uint64(part) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z = z ^ (z >> np.uint64(31))
    return np.uint32(z & np.uint64(0xFFFFFFFF)), np.uint32(z >> np.uint64(32))


@compiled
def uniform_bits(out_B: np.ndarray, key: int, at: int) -> None:
    """Write one uniform 32-bit number per element: a hash of key and index, independent of the block.

    Each run of 65,536 indices has its own pair of keys; inside it the hash is lowbias32 (Wellons), which
    vectorises.
    """
    done = 0
    while done < out_B.size:
        index = at + done
        first, second = _fold(key, index >> 16)
        here = min(out_B.size - done, _RUN - (index & (_RUN - 1)))
        out, low = out_B[done : done + here], np.uint32(index & (_RUN - 1))
        for i in range(here):
            h = np.uint32(
                (low + np.uint32(i)) * np.uint32(0x9E3779B1) + first
            )  # numba widens, so narrow each
            h = np.uint32((h ^ (h >> np.uint32(16))) * np.uint32(0x7FEB352D))
            h = np.uint32((h ^ (h >> np.uint32(15))) * np.uint32(0x846CA68B))
            out[i] = (h ^ (h >> np.uint32(16))) ^ second
        done += here


@compiled
def drop(value_B: np.ndarray, random_B: np.ndarray, limit: int) -> int:
    """Zero the elements whose random number is at least ``limit``; returns how many stay.

    A limit of 2^32 keeps all.
    """
    kept = 0
    last = np.uint32(max(limit - 1, 0))
    any_stay = limit > 0
    for i in range(value_B.size):
        stays = any_stay & (random_B[i] <= last)
        value_B[i] = value_B[i] if stays else np.float32(0)
        kept += stays
    return kept


@compiled
def drop_by_chance(value_B: np.ndarray, key: int, at: int, limit: int) -> int:
    """`drop` by the `uniform_bits` of key and index, which never leave the first-level cache."""
    space, kept = np.empty(SPAN, np.uint32), 0
    for begin in range(0, value_B.size, SPAN):
        value = value_B[begin : min(value_B.size, begin + SPAN)]
        random = space[: value.size]
        uniform_bits(random, key, at + begin)
        kept += drop(value, random, limit)
    return kept


@compiled
def row_ranks(value_L: np.ndarray, place_L: np.ndarray, rank_K: np.ndarray, rank_L: np.ndarray) -> None:
    """Write each element's rank by magnitude in its row, 0 for the smallest; ties share their mean rank.

    Magnitudes count as tied if they agree in their exponent and first 7 bits after the point (1 part in 128),
    or are more than 16 octaves below the row's largest. Ranks come from a histogram: ``rank_K`` has one entry
    per bin.

    Args:
        value_L: The row.
        place_L: Scratch, uint16.
        rank_K: Scratch of `BINS` entries, float32.
        rank_L: The result, float32.
    """
    bits, count = value_L.view(np.uint32), rank_K.view(np.int32)
    largest, smallest = np.uint32(0), _MAGNITUDE
    for i in range(bits.size):
        largest = max(largest, bits[i] & _MAGNITUDE)
        smallest = min(smallest, bits[i] & _MAGNITUDE)
    base = np.int32(largest >> _BIN_BITS) - np.int32(BINS - 1)
    for i in range(bits.size):
        place_L[i] = np.uint16(max(np.int32((bits[i] & _MAGNITUDE) >> _BIN_BITS) - base, np.int32(0)))
    first = np.uint16(max(np.int32(smallest >> _BIN_BITS) - base, np.int32(0)))
    used = count[first:]
    for b in range(used.size):
        used[b] = 0
    for i in range(bits.size):
        count[place_L[i]] += 1
    below = np.int32(0)
    ranks = rank_K[first:]
    for b in range(used.size):
        here = used[b]
        ranks[b] = np.float32(below) + np.float32(0.5) * np.float32(here - 1)
        below += here
    for i in range(bits.size):
        rank_L[i] = rank_K[place_L[i]]


@exact
def drop_by_rank(value_B: np.ndarray, random_B: np.ndarray, row: int, density: float, epsilon: float) -> int:
    """Keep elements with a chance that rises with their rank in the row; returns how many stay.

    The chance rises from ``density - epsilon`` to ``density + epsilon``.

    An element that stays becomes its chance, others become 0.
    """
    kept = 0
    rank_L, place_L, rank_K = np.empty(row, np.float32), np.empty(row, np.uint16), np.empty(BINS, np.float32)
    low = np.float32(density - epsilon)
    step = np.float32(2 * epsilon / max(row - 1, 1))
    if row == 1:
        low = np.float32(density)
    for begin in range(0, value_B.size, row):
        value, random = value_B[begin : begin + row], random_B[begin : begin + row]
        row_ranks(value, place_L, rank_K, rank_L)
        for i in range(value.size):
            chance = low + step * rank_L[i]
            stays = np.float32(random[i] >> np.uint32(8)) < chance * np.float32(16777216)
            value[i] = chance if stays else np.float32(0)
            kept += stays
    return kept
