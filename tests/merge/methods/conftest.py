"""Chunks of one block, so that small tensors have several of them."""

import pytest

from fusionchat.merge.stream import cut


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    monkeypatch.setattr(cut, "CHUNK", cut.BLOCK)
