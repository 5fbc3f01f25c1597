"""Compiled loops are kept on disk where they can be, and run where they cannot."""

import os
import subprocess
import sys

import pytest

WORK = """
from fusionchat.compiled import njit

@njit(nogil=True)
def twice(x):
    return 2 * x

print(twice(21))
"""


@pytest.mark.parametrize("keeps", [True, False])
def test_a_loop_runs_whether_or_not_there_is_a_folder_for_it(tmp_path, keeps):
    """numba that may use only a folder of the user's, with and without one: without, it refuses to cache."""
    (tmp_path / "work.py").write_text(WORK)
    environment = os.environ | {"NUMBA_CACHE_LOCATOR_CLASSES": "UserProvidedCacheLocator"}
    environment["NUMBA_CACHE_DIR"] = str(tmp_path / "kept") if keeps else ""
    command = [sys.executable, str(tmp_path / "work.py")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "42\n"
    assert len(list(tmp_path.rglob("*.nbc"))) == int(keeps)
