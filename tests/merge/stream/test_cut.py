"""How a tensor is divided."""

from fusionchat.merge.stream import cut
from fusionchat.merge.stream.cut import Cut, cut_of


def test_chunks_and_blocks_of_a_tensor():
    tensor = Cut(size=25, chunk=10, block=4)
    assert tensor.chunks == 3 and [tensor.span(n) for n in range(3)] == [(0, 10), (10, 20), (20, 25)]
    assert list(tensor.blocks(1)) == [(10, 14), (14, 18), (18, 20)]
    assert list(tensor.blocks(2)) == [(20, 24), (24, 25)]
    assert Cut(0, 10, 4).chunks == 0


def test_rows_are_kept_inside_one_block(monkeypatch):
    monkeypatch.setattr(cut, "BLOCK", 100)
    monkeypatch.setattr(cut, "CHUNK", 1000)
    assert cut_of(5000, 30, False) == Cut(5000, 1000, 100)
    assert cut_of(5000, 30, True) == Cut(5000, 990, 90)
    assert cut_of(5000, 300, True) == Cut(5000, 900, 300)
    assert cut_of(5000, 2500, True) == Cut(5000, 2500, 2500)
