"""Chunks of one block, so that small tensors have several of them."""

import pytest

from fusionchat.merge.kernels import blocks as kernels
from fusionchat.merge.stream import work


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    monkeypatch.setattr(work, "CHUNK", kernels.BLOCK)
