"""Blocks small enough for small tensors to have several of them."""

import pytest

from fusionchat.merge.stream import cut


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    """A quarter of what merges use."""
    monkeypatch.setattr(cut, "BLOCK", 2**15)
