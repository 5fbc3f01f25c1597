"""The yardsticks of benchmarks.merge_correctness: rounding, ranks, masks, and that a wrong merge is seen."""

import numpy as np
import torch
from benchmarks.merge_cases import (
    BINARY,
    cases,
    dare_masks,
    della_masks,
    family,
    load,
    round_once,
    row_ranks,
    save,
)
from benchmarks.merge_correctness import count_wrong

from fusionchat.merge.stream import merge_models
from tests.reference import merge as reference

A, B = "model.layers.0.a", "model.layers.0.b"


def test_rounding_once_is_the_references_with_halves_to_even():
    rng = np.random.default_rng(0)
    stored = reference.to_bf16(rng.normal(0, 0.02, 2000))
    ulp = np.exp2(np.floor(np.log2(np.abs(stored))) - 7)
    values = np.concatenate([rng.normal(0, 0.02, 2000), stored + ulp / 2, stored * (1 + 1e-9), [0.0]])
    np.testing.assert_array_equal(round_once(values), reference.to_bf16(values))


def test_ranks_by_a_sort_are_the_references():
    rows = np.random.default_rng(1).normal(0, 1e-3, (7, 300)).astype(np.float32)
    rows[:, ::5] = 0
    rows[:, 1::5] = rows[:, 2::5]
    np.testing.assert_array_equal(row_ranks(rows), reference.row_ranks(rows))


def test_masks_are_found_and_right_merges_told_from_wrong_ones(tmp_path, monkeypatch):
    monkeypatch.setattr("benchmarks.merge_cases.llama_shapes", lambda layers: {A: (50, 90), B: (700,)})
    monkeypatch.setattr(
        "benchmarks.merge_cases.CONFIG", {"model_type": "tiny"}
    )  # no llama: not compared with its class
    pivot, targets = family(tmp_path, 1, (1e-3, 1e-3, 2e-3), lambda: torch.bfloat16)
    base, others = load(pivot), [load(folder) for folder in targets.values()]
    dare = dare_masks(tmp_path / "dare-masks", 1, BINARY.density)
    given = {"dare_linear": dare, "della": della_masks(tmp_path / "della-masks", base, others, 1, BINARY)}
    assert 0.4 < dare[A].mean() < 0.6
    chosen = cases(BINARY)
    for name in ("varm", "ties", "sce", "karcher", "dare_linear", "della"):
        merge_models(pivot, targets, chosen[name].method, tmp_path / name)
        wrong = count_wrong(chosen[name], base, others, given.get(name, {}), tmp_path / name)
        assert wrong.all <= 5, name
        tensors = {n: torch.from_numpy(v).clone() for n, v in load(tmp_path / name).items()}
        tensors[B][:100] *= 1 + 2**-7
        broken = save(tmp_path / f"{name}-broken", tensors)
        assert (
            90 < count_wrong(chosen[name], base, others, given.get(name, {}), broken).all - wrong.all <= 100
        )
