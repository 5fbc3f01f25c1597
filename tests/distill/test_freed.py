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
import ctypes, json
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

by_itself(2**24)  # raises glibc's bound
found = [by_itself()]
with freed_goes_back():
    by_itself(2**24)
    found.append(by_itself())
found.append(by_itself())
print(json.dumps(found))
"""
"""Whether a block has a place of its own before, inside and afterwards: in a process of its own, whose heap has no such gap."""


@pytest.mark.parametrize(
    ("user", "found"), [(None, [False, True, False]), (str(2**29), [False, False, False])]
)
def test_blocks_go_back_inside_where_the_user_has_set_no_bound(user, found):
    environment = {key: value for key, value in os.environ.items() if key != USER}
    environment |= {} if user is None else {USER: user}
    ran = subprocess.run(
        [sys.executable, "-c", COUNTED], env=environment, capture_output=True, text=True, check=True
    )
    assert json.loads(ran.stdout) == found
