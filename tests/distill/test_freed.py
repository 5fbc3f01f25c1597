"""Whether freed blocks go back to the system, by glibc's own count of the bytes that it has from the system block by block."""

import json
import os
import platform
import subprocess
import sys

import pytest

from fusionchat.distill.freed import USER

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="it is glibc that is asked")
COUNTED = """
import ctypes, json, sys
from fusionchat import machine_memory
from fusionchat.distill.freed import freed_goes_back

libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_size_t], [ctypes.c_void_p]

class Counts(ctypes.Structure):  # struct mallinfo2 of glibc's malloc.h; hblkhd: bytes in blocks of their own
    _fields_ = [(name, ctypes.c_size_t) for name in ("arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks",
                                                     "fsmblks", "uordblks", "fordblks", "keepcost")]

libc.mallinfo2.restype = Counts

def by_itself(size=300 * 2**10):
    before = libc.mallinfo2().hblkhd
    block = libc.malloc(size)
    during = libc.mallinfo2().hblkhd
    libc.free(block)
    assert libc.mallinfo2().hblkhd == before
    return during >= before + size

machine_memory.total = lambda: 100.0
by_itself(2**24)  # raises glibc's bound
found = [by_itself()]
shares = [float(share) for share in sys.argv[1:]]
machine_memory.available = lambda: shares[0]
with freed_goes_back() as settle:
    by_itself(2**24)
    found.append((by_itself(), by_itself(5 * 2**20)))
    while len(shares) > 1:
        shares.pop(0)
        settle()
        found.append(by_itself())
found.append(by_itself())
print(json.dumps(found))
"""
"""Whether a block has a place of its own before, inside and afterwards: in a process of its own, whose heap has no such gap."""


def counted(available, **user):
    """What `COUNTED` finds, with a percentage of memory available at first and after each step."""
    environment = {key: value for key, value in os.environ.items() if key not in USER} | user
    command = [sys.executable, "-c", COUNTED, *map(str, available)]
    return json.loads(
        subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    )


def test_where_memory_is_short_small_blocks_go_back_too():
    assert counted([24]) == [False, [True, True], False]


def test_where_memory_is_ample_small_blocks_are_kept():
    assert counted([25]) == [False, [False, True], False]


def test_once_memory_is_short_small_blocks_go_back_until_the_end():
    assert counted([90, 26, 24, 90]) == [False, [False, True], False, True, True, False]


@pytest.mark.parametrize("available", [90, 10])
def test_bounds_of_the_user_are_left_alone(available):
    for name in USER:
        assert counted([available], **{name: str(2**29)})[1][0] is (name == USER[1])
