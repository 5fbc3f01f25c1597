"""Blocks small enough for small tensors to have several of them."""

import pytest

from fusionchat.merge.kernels import blocks as kernels


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    """A quarter of what merges use."""
    monkeypatch.setattr(kernels, "BLOCK", 2**15)
