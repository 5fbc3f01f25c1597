"""The memory that building the maps 152k onto 32k takes, over what the two tables take: in a process of its own."""

import ctypes
import subprocess
import sys
from pathlib import Path

import numpy as np

STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def status(field: str) -> float:
    """A figure of this process in MB (VmRSS: now, VmHWM: the most so far)."""
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith(field + ":"))
    return int(line.split()[1]) / 1024


def map_peak_mb() -> float:
    """The most memory, in MB, that `byte_prefix` and `min_edit` need above the tables; NaN where /proc does not tell."""
    command = [sys.executable, "-m", "benchmarks.align_memory"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return float(done.stdout.split()[-1]) if done.returncode == 0 else float("nan")


def main() -> None:
    from benchmarks.align_data import LARGE, SMALL, renderers
    from fusionchat.align.baselines.min_edit import nearest_tokens
    from fusionchat.align.settings import BytePrefix, MinEdit
    from fusionchat.align.vocabulary import build_map
    from fusionchat.tokens.spans import make_table

    sides = renderers([SMALL, LARGE])
    mine, theirs = sides[SMALL].table, sides[LARGE].table
    for method in (BytePrefix(), MinEdit()):  # compile first: the compiler's memory is not the map's
        build_map(make_table([b"ab", b"a"]), make_table([b"a"]), method)
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    CLEAR.write_text("5")
    before = status("VmRSS")
    build_map(theirs, mine, BytePrefix())
    # What min_edit holds does not depend on how many tokens it has done: every sixteenth is enough.
    nearest_tokens(theirs, mine, np.flatnonzero(theirs.in_text)[::16])
    print(round(status("VmHWM") - before, 1))


if __name__ == "__main__":
    main()
