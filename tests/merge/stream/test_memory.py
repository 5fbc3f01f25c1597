"""Memory that is used again."""

import threading

import numpy as np

from fusionchat.merge.stream.cut import BLOCK, CHUNK
from fusionchat.merge.stream.memory import FIXED, Scratch, Spare, private_bytes


def test_scratch_is_cut_to_what_is_asked_for_and_grows() -> None:
    scratch = Scratch()
    first = scratch.get("x", 2, 10, np.float32)
    assert first.shape == (2, 10) and first.dtype == np.float32 and first.flags.c_contiguous
    assert np.shares_memory(first, scratch.get("x", 1, 7, np.float32))
    assert not np.shares_memory(first, scratch.get("y", 2, 10, np.float32))
    assert scratch.get("x", 3, BLOCK + 1, np.float32).shape == (3, BLOCK + 1)


def test_every_thread_has_its_own() -> None:
    scratch, held = Scratch(), []
    mine = scratch.get("x", 1, 5, np.float64)
    thread = threading.Thread(target=lambda: held.append(scratch.get("x", 1, 5, np.float64)))
    thread.start()
    thread.join()
    assert not np.shares_memory(mine, held[0])


def test_spare_arrays_are_used_again_but_never_while_they_are_lent() -> None:
    spare, kind = Spare(), np.dtype(np.uint16)
    first, second = spare.take(20, kind), spare.take(10, kind)
    assert not np.shares_memory(first, second)
    spare.give(first)
    third = spare.take(10, kind)
    assert third.shape == (10,) and np.shares_memory(first, third) and not np.shares_memory(second, third)
    spare.give(np.zeros(10, kind))  # not from here
    assert not np.shares_memory(spare.take(10, kind), second)
    spare.give(third)
    assert spare.take(2**22, np.dtype(np.float32)).shape == (2**22,)  # larger than what is there


def test_a_merges_own_memory_is_blocks_and_chunks_of_each_thread() -> None:
    assert private_bytes(2, 10, width=2, threads=0) == FIXED
    each = BLOCK * (2 * 2 + 1 + 4) * 4 + 6 * CHUNK * 2
    assert private_bytes(2, 10, width=2, threads=3) == FIXED + 3 * each
    assert private_bytes(2, BLOCK + 1, width=2, threads=1) == FIXED + each + (2 * 2 + 1 + 4) * 4
