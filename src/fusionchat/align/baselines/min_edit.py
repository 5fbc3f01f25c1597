# V source vocabulary, W pivot vocabulary
"""The pivot token at the least edit distance from each source token. PURE.

Levenshtein's distance between byte strings, by Myers' bit-parallel algorithm (G. Myers, A fast bit-vector
algorithm for approximate string matching, J. ACM 46, 1999). Candidates are tried in the order of their
difference in length, and measured only if two lower bounds allow it: the difference in length, and the number
of byte classes that only one has.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fusionchat.compiled import njit
from fusionchat.tokens.spans import Array, ByteTable, Words


class Candidates(NamedTuple):
    """A vocabulary's text tokens by length: ids, where each length begins, and each one's `class_mask`."""

    ids: NDArray[np.int64]
    starts: NDArray[np.int64]
    classes: NDArray[np.uint64]


class Pattern(NamedTuple):
    """The bytes data[low:high], from which distances are measured, with their match masks.

    A mask has a bit for each of the first 64 bytes that has its value.
    """

    masks: NDArray[np.uint64]
    data: NDArray[np.uint8]
    low: int
    high: int


def nearest_tokens(
    source: ByteTable,
    pivot: ByteTable,
    tokens: NDArray[np.integer],
    within: NDArray[np.integer] | None = None,
) -> NDArray[np.int32]:
    """The pivot text token at the least edit distance from each of ``tokens``.

    Ties go to the lower id.

    Args:
        source, pivot: The two tables.
        tokens: int [T], the source's tokens.
        within: int [T], a distance within which some pivot token is known to exist (saves time); None if
            unknown.

    Returns:
        int32 [T], -1 where the pivot has no text token.
    """
    candidates = np.flatnonzero(pivot.in_text).astype(np.int64)
    if candidates.size == 0:
        return np.full(len(tokens), -1, np.int32)
    lengths = np.diff(pivot.offsets)[candidates]
    order = np.argsort(lengths, kind="stable")
    candidates, lengths = candidates[order], lengths[order]
    longest = int(lengths[-1])
    starts = np.searchsorted(lengths, np.arange(longest + 2)).astype(np.int64)
    classes = class_masks(pivot.data, pivot.offsets, candidates)
    bounds = np.full(len(tokens), 1 << 40) if within is None else within
    nearest: NDArray[np.int32] = _nearest(
        tokens.astype(np.int64),
        bounds.astype(np.int64),
        source.words,
        pivot.words,
        Candidates(candidates, starts, classes),
    )
    return nearest


@njit(nogil=True, inline="always")
def _popcount(word: np.uint64) -> np.int64:
    word = word - ((word >> np.uint64(1)) & np.uint64(0x5555555555555555))
    word = (word & np.uint64(0x3333333333333333)) + ((word >> np.uint64(2)) & np.uint64(0x3333333333333333))
    word = (word + (word >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return np.int64((word * np.uint64(0x0101010101010101)) >> np.uint64(56))


@njit(nogil=True)
def class_mask(data: Array, low: int, high: int) -> np.uint64:
    """Which of 64 classes of bytes occur (byte modulo 64), as bits."""
    mask = np.uint64(0)
    for at in range(low, high):
        mask |= np.uint64(1) << np.uint64(data[at] & 63)
    return mask


@njit(nogil=True)
def class_masks(data: Array, offsets: Array, ids: Array) -> Array:
    """`class_mask` of every token in ``ids``, uint64."""
    out = np.zeros(len(ids), np.uint64)
    for i in range(len(ids)):
        out[i] = class_mask(data, offsets[ids[i]], offsets[ids[i] + 1])
    return out


@njit(nogil=True)
def myers(pattern: Pattern, data: Array, low: int, high: int, most: int) -> int:
    """Edit distance of a pattern of at most 64 bytes to data[low:high].

    Gives up, with a distance above ``most``, as soon as ``most`` cannot be reached.
    """
    masks, size = pattern.masks, pattern.high - pattern.low
    if size == 0:
        return high - low
    positive, negative, score = ~np.uint64(0), np.uint64(0), size
    top = np.uint64(1) << np.uint64(size - 1)
    one = np.uint64(1)
    for at in range(low, high):
        match = masks[data[at]]
        vertical = match | negative
        horizontal = (((match & positive) + positive) ^ positive) | match
        up = negative | ~(horizontal | positive)
        down = positive & horizontal
        if up & top:
            score += 1
        elif down & top:
            score -= 1
        up = (up << one) | one
        down <<= one
        positive = down | ~(vertical | up)
        negative = up & vertical
        if score - (high - 1 - at) > most:
            return most + 1
    return score


@njit(nogil=True)
def plain_distance(pattern: Pattern, data: Array, low: int, high: int) -> int:
    """Edit distance of a pattern to data[low:high] by the recursion, two rows at a time."""
    left, first, width = pattern.data, pattern.low, high - low
    row = np.arange(width + 1)
    for i in range(pattern.high - first):
        diagonal, row[0] = row[0], i + 1
        for j in range(width):
            change = diagonal + (left[first + i] != data[low + j])
            diagonal = row[j + 1]
            row[j + 1] = min(change, row[j] + 1, row[j + 1] + 1)
    return row[width]


@njit(nogil=True)
def distance(pattern: Pattern, data: Array, low: int, high: int, most: int) -> int:
    """Edit distance of a pattern to data[low:high], or some number above ``most`` if it exceeds that."""
    if pattern.high - pattern.low <= 64:
        return myers(pattern, data, low, high, most)
    return plain_distance(pattern, data, low, high)


@njit(nogil=True)
def make_pattern(masks: Array, data: Array, low: int, high: int) -> Pattern:
    """The pattern data[low:high]; ``masks`` (uint64 [256], all zero) becomes its masks."""
    for at in range(low, min(high, low + 64)):
        masks[data[at]] |= np.uint64(1) << np.uint64(at - low)
    return Pattern(masks, data, low, high)


@njit(nogil=True)
def clear_masks(pattern: Pattern) -> None:
    """Set a pattern's masks to zero, so that the next one can use them."""
    for at in range(pattern.low, min(pattern.high, pattern.low + 64)):
        pattern.masks[pattern.data[at]] = np.uint64(0)


@njit(nogil=True)
def _nearest(tokens: Array, within: Array, words: Words, words_W: Words, among: Candidates) -> Array:
    data, offsets, data_W, offsets_W = words.data, words.offsets, words_W.data, words_W.offsets
    candidates, starts, classes = among
    out = np.full(len(tokens), -1, np.int32)
    masks = np.zeros(256, np.uint64)
    longest = len(starts) - 2
    for t in range(len(tokens)):
        low, high = offsets[tokens[t]], offsets[tokens[t] + 1]
        size = high - low
        mask = class_mask(data, low, high)
        pattern = make_pattern(masks, data, low, high)
        # 1. candidates by their difference in length, a lower bound of their distance
        best, best_id = within[t], 1 << 40
        for difference in range(max(size, longest) + 1):
            if difference > best:
                break
            for side in range(2 if difference else 1):
                length = size + difference if side else size - difference
                if length < 1 or length > longest:
                    continue
                # 2. bytes that only one side has bound the distance from below: most candidates end here
                for c in range(starts[length], starts[length + 1]):
                    theirs = classes[c]
                    bound = max(_popcount(mask & ~theirs), _popcount(theirs & ~mask), difference)
                    index = candidates[c]
                    if bound > best or (bound == best and index > best_id):
                        continue
                    # 3. the distance itself, given up beyond the best; ties to the lower id
                    found = distance(pattern, data_W, offsets_W[index], offsets_W[index + 1], best)
                    if found < best or (found == best and index < best_id):
                        best, best_id = found, index
        clear_masks(pattern)
        out[t] = best_id
    return out
