"""Whether freed blocks go back to the system, by glibc's own count of the bytes that it has from the system block by block."""

import ctypes
import platform

import pytest
import torch

from fusionchat.distill.freed import USER, freed_goes_back

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="it is glibc that is asked")
BLOCK = 300 * 2**10


class Counts(ctypes.Structure):
    """struct mallinfo2 of glibc's malloc.h."""

    _fields_ = [
        (name, ctypes.c_size_t)
        for name in [
            "arena",
            "ordblks",
            "smblks",
            "hblks",
            "hblkhd",
            "usmblks",
            "fsmblks",
            "uordblks",
            "fordblks",
            "keepcost",
        ]
    ]


def by_itself() -> bool:
    """Whether a block comes from the system, and is returned."""
    count = ctypes.CDLL(None).mallinfo2
    count.restype = Counts
    before = count().hblkhd
    block = torch.empty(BLOCK, dtype=torch.uint8)
    during = count().hblkhd
    del block
    assert count().hblkhd == before
    return during >= before + BLOCK


def test_blocks_go_back_inside_and_share_a_heap_afterwards(monkeypatch):
    monkeypatch.delenv(USER, raising=False)
    with freed_goes_back():
        torch.empty(2**24, dtype=torch.uint8)  # would raise glibc's bound
        assert by_itself()
    assert not by_itself()


def test_a_bound_of_the_user_stays(monkeypatch):
    monkeypatch.delenv(USER, raising=False)
    with freed_goes_back():
        pass
    monkeypatch.setenv(USER, "1000000")
    with freed_goes_back():
        assert not by_itself()
