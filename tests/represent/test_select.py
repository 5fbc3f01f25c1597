"""The kept tokens are topk's, and the tail is exact: by compiled loops on a CPU, by torch elsewhere."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fusionchat.represent.select import BLOCK, Selection, _sum_exp, largest, select, select_on_device, sum_exp

BOTH = pytest.mark.parametrize("select", [select, select_on_device], ids=["compiled", "torch"])


@settings(max_examples=50, deadline=None)
@given(
    seed=st.integers(0, 10**6), v=st.integers(BLOCK * 8, BLOCK * 40), k=st.integers(1, 6), flat=st.booleans()
)
def test_block_maxima_find_the_same_values_as_topk(seed, v, k, flat):
    g = torch.Generator().manual_seed(seed)
    values = torch.randn(5, v, generator=g)
    values = values.round() if flat else values  # many ties
    got, ids = largest(values, k)
    torch.testing.assert_close(got, values.topk(k).values)
    torch.testing.assert_close(values.gather(1, ids), got)
    assert all(len(set(row.tolist())) == k for row in ids)


def test_the_last_tokens_are_not_forgotten():
    values = torch.zeros(1, BLOCK * 9 + 5)
    values[0, -1] = 3.0
    assert largest(values, 1)[1].item() == BLOCK * 9 + 4


@BOTH
def test_a_hand_written_row(select):
    kept = select(torch.tensor([[math.log(4.0), math.log(3.0), math.log(2.0), 0.0]]), torch.tensor([3]), 2)
    assert kept.ids.tolist() == [[0, 1]]
    assert kept.logprobs.exp().tolist()[0] == pytest.approx([0.4, 0.3])
    assert kept.tail.exp().item() == pytest.approx(0.3)
    assert kept.label_logprob.exp().item() == pytest.approx(0.1)


@BOTH
def test_mass_adds_up(select):
    logits = torch.randn(50, 1000, generator=torch.Generator().manual_seed(0)) * 4
    kept = select(logits, torch.zeros(50, dtype=torch.long), 10)
    torch.testing.assert_close(kept.logprobs.exp().sum(1) + kept.tail.exp(), torch.ones(50))


@BOTH
@pytest.mark.parametrize("gap", [5.0, 20.0, 60.0, 85.0, 300.0])
def test_a_tiny_tail_is_exact(select, gap):
    """A confident row: token 7 leads the other 2,999 by ``gap``, so the tail is 2,999 - 3 tokens at -gap each."""
    logits = torch.zeros(2, 3000)
    logits[:, 7] = gap
    kept = select(logits, torch.tensor([7, 9]), 4)
    total = math.log(math.exp(gap) + 2999) if gap < 100 else gap
    assert kept.tail.tolist() == pytest.approx([math.log(2996) - total] * 2, rel=1e-6, abs=1e-6)
    assert kept.label_logprob.tolist() == pytest.approx([gap - total, -total], abs=1e-6, rel=1e-6)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    scale=st.floats(0.1, 60),
    k=st.integers(1, 12),
    cut=st.booleans(),
    compiled=st.booleans(),
)
def test_tail_and_label_equal_those_of_fp64(seed, scale, k, cut, compiled):
    logits = torch.randn(8, 700, generator=torch.Generator().manual_seed(seed)) * scale
    labels = torch.arange(8) * 80
    exact = logits.double().log_softmax(1)
    kept = (select if compiled else select_on_device)(logits, labels, k, vocabulary=600 if cut else None)
    outside = exact.clone().scatter_(1, kept.ids, -math.inf)
    torch.testing.assert_close(kept.tail.double(), outside.logsumexp(1), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(
        kept.label_logprob.double(), exact.gather(1, labels[:, None])[:, 0], rtol=1e-5, atol=1e-5
    )
    torch.testing.assert_close(kept.logprobs.double(), exact.gather(1, kept.ids), rtol=1e-5, atol=1e-5)


@BOTH
def test_a_vocabulary_masked_with_minus_infinity_is_no_mass(select):
    logits = torch.tensor([[1.0, -math.inf, 1.0, -math.inf]])
    kept = select(logits, torch.tensor([0]), 3)
    assert kept.logprobs[0].tolist() == pytest.approx([math.log(0.5)] * 2 + [-math.inf])
    assert kept.tail.item() == -math.inf and kept.label_logprob.item() == pytest.approx(math.log(0.5))


@BOTH
def test_keeping_everything_leaves_no_tail(select):
    kept = select(torch.zeros(1, 4), torch.tensor([0]), 4)
    assert kept.tail.item() == -math.inf


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    v=st.integers(1, 9000),
    k=st.integers(1, 1024),
    flat=st.booleans(),
    cut=st.booleans(),
)
def test_ids_and_values_are_topks_and_ties_go_to_the_lower_id(seed, v, k, flat, cut):
    logits = torch.randn(3, v, generator=torch.Generator().manual_seed(seed)) * 3
    logits = logits.round() if flat else logits  # many ties
    vocabulary = max(1, v - 70) if cut else v
    k = min(k, vocabulary)
    inside = logits[:, :vocabulary].double()
    ids = torch.sort(inside, dim=1, descending=True, stable=True).indices[:, :k]
    exact = logits.double().log_softmax(1).gather(1, ids)
    kept = select(logits, torch.zeros(3, dtype=torch.long), k, vocabulary=vocabulary)
    assert torch.equal(kept.ids, ids)
    torch.testing.assert_close(kept.logprobs.double(), exact, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("size", [30, 100, 333, 1000])
@pytest.mark.parametrize("threads", [1, 2])
def test_tiles_and_threads_change_no_id_and_next_to_nothing_else(size, threads, monkeypatch):
    monkeypatch.setattr("fusionchat.represent.select.LEAST_WORK", 0)
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    logits = torch.randn(20, 1000, generator=torch.Generator().manual_seed(1)) * 5
    labels = torch.arange(20) * 50
    whole = select(logits.clone(), labels, 7, vocabulary=950)
    selection = Selection(labels, 7, vocabulary=950)
    for first in range(0, 1000, size):
        for row in (10, 0):
            selection.add(logits[row : row + 10, first : first + size], row, first)
    tiled = selection.finish()
    assert torch.equal(tiled.ids, whole.ids)
    for a, b in zip(tiled[1:], whole[1:], strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-6)


@BOTH
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("token", [0, 3, 700, 990])
@pytest.mark.parametrize("rest", [0.0, -float("inf")])
def test_a_row_with_nan_or_infinity_has_no_finite_label(select, value, token, rest):
    """Wherever it is, past the tokenizer's 980 tokens too; other rows do not suffer."""
    logits = torch.full((2, 1000), rest)
    logits[:, 5] = 1.0
    logits[1, token] = value
    label = select(logits, torch.tensor([5, 5]), 4, vocabulary=980).label_logprob
    assert label.isfinite().tolist() == [True, False]


def test_the_sum_is_that_of_the_exponentials():
    rest = torch.tensor([[1.0, 3.0, -math.inf], [0.0, 0.0, 0.0]])
    reference = torch.tensor([[3.0], [0.0]])
    assert sum_exp(rest, reference).flatten().tolist() == pytest.approx([1 + math.exp(-2), 3.0])


@pytest.mark.parametrize("works", [True, False])
def test_a_gpu_without_a_compiler_sums_uncompiled(works, monkeypatch):
    def compile(function, *, dynamic):
        def made(*given):
            if not works:
                raise RuntimeError("Failed to find C compiler")
            return function(*given)

        return made

    ones = torch.zeros(2, BLOCK)
    monkeypatch.setattr("torch.utils._triton.has_triton", lambda: True)
    monkeypatch.setattr(torch, "compile", compile)
    monkeypatch.setattr(torch, "zeros", lambda *_, device: ones)
    chosen = _sum_exp.__wrapped__("cuda")
    assert (chosen is sum_exp) == (not works)
    assert torch.equal(chosen(ones, ones[:, :1]), sum_exp(ones, ones[:, :1]))
    assert _sum_exp.__wrapped__("cpu") is sum_exp
