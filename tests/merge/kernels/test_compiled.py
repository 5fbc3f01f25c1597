"""The cache of compiled loops: what makes it stale."""

import numpy as np
from numba import float64

from fusionchat.merge.kernels import bf16, compiled, gram


def test_code_is_kept_on_the_disk_and_found_by_another_function_of_the_same_file():
    raw, out = np.array([0x3F80, 0xC000], np.uint16), np.empty(2, np.float32)
    bf16.decode_bf16(raw, out)
    assert out.tolist() == [1.0, -2.0]
    kept = compiled.compiled(bf16.decode_bf16.py_func)
    kept(raw, out)
    assert sum(kept.stats.cache_hits.values()) == 1


def test_a_change_of_any_file_of_the_folder_makes_it_stale(monkeypatch):
    """`measure_files` is in another file than `measure`, which it calls."""
    signature, code = (float64,), gram.measure.targetctx.codegen()
    key = gram.measure._cache._index_key(signature, code)
    assert key == gram.measure._cache._index_key(signature, code)
    monkeypatch.setattr(compiled.Cache, "folder", "another")
    assert key != gram.measure._cache._index_key(signature, code)


def test_sources_are_those_of_the_folder(tmp_path, monkeypatch):
    first = compiled.sources()
    assert first == compiled.Cache.folder
    for name in ("a.py", "compiled.py"):
        (tmp_path / name).write_text("x = 1\n")
    monkeypatch.setattr(compiled, "__file__", str(tmp_path / "compiled.py"))
    second = compiled.sources()
    (tmp_path / "a.py").write_text("x = 2\n")
    assert len({first, second, compiled.sources()}) == 3


def test_exact_code_keeps_the_order_of_a_sum():
    """1e16 + 1 - 1e16 is 0 from left to right; another order gives 1."""

    def total(value):
        made = 0.0
        for i in range(value.size):
            made += value[i]
        return made

    assert compiled.exact(total)(np.array([1e16, 1.0, -1e16])) == 0.0


def test_without_a_folder_every_process_compiles(monkeypatch):
    def no_folder(function):
        raise RuntimeError("cannot cache function: no locator available")

    monkeypatch.setattr(compiled, "Cache", no_folder)
    assert compiled.exact(lambda value: value + 1)(1.0) == 2.0
