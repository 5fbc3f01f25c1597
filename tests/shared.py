"""Where the real inputs for tests lie, and the mark that skips a test where they do not."""

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared" / "data"

needs_shared = pytest.mark.skipif(
    not SHARED.is_dir(), reason="../shared/data, the folder of real inputs, is not here"
)
